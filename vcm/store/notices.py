"""What ``vcm outdated`` found out of locked repos, kept so that the gate can say it without asking anybody.

    <cache>/hub-metadata/notices.json    endpoint → repo → locked commit → notices

A convenience and nothing more: what is wrong with the file is as if it were not there.
"""

from __future__ import annotations

import json
from contextlib import suppress

from vcm.store.files import read_small, replace_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Any

    from vcm.core.notices import Notice

_LARGEST = 1 << 20
"""Bytes; a thousand notices have some 200 kB."""
_LONGEST_MESSAGE = 500

Place = tuple[str, str, str]
"""Endpoint, repo and commit."""


def read_notices(root: Path) -> dict[Place, tuple[Notice, ...]]:
    """All that is known, by the endpoint, repo and commit that it applies to; never raises."""
    found = {}
    for endpoint, repos in _objects(_read(_path(root))).items():
        for repo, commits in _objects(repos).items():
            for commit, rows in _objects(commits).items():
                notices = tuple(filter(None, map(_notice, rows if isinstance(rows, list) else [])))
                if notices:
                    found[endpoint, repo, commit] = notices
    return found


def write_notices(root: Path, endpoint: str, known: Mapping[tuple[str, str], tuple[Notice, ...]]) -> None:
    """Keep what is known now of some repos, in place of what was; a cache that cannot be written keeps none.

    Args:
        root: the store's folder.
        endpoint: the hub that said so.
        known: by repo and locked commit; an empty tuple where there is nothing to say.
    """
    path = _path(root)
    before = _objects(_read(path))
    repos = {repo for repo, _ in known}
    kept = {repo: rows for repo, rows in _objects(before.get(endpoint)).items() if repo not in repos}
    for (repo, commit), notices in known.items():
        if notices:
            kept.setdefault(repo, {})[commit] = list(map(_row, notices))
    after = {**before, endpoint: kept} if kept else {key: value for key, value in before.items() if key != endpoint}
    if after != before:
        # Of two that write at once the later wins: what is lost is found out again the next time.
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, json.dumps(after, indent=1).encode())


def _path(root: Path) -> Path:
    return root / "hub-metadata" / "notices.json"


def _read(path: Path) -> object:
    try:
        return json.loads(read_small(path, _LARGEST) or b"null")
    except (ValueError, RecursionError):
        return None


def _objects(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _row(notice: Notice) -> dict[str, str]:
    row = {"kind": notice.kind, "message": notice.message}
    return row | ({"replacement": notice.replacement} if notice.replacement else {})


def _notice(row: object) -> Notice | None:
    from vcm.core.notices import KINDS, Notice

    row = _objects(row)
    message, replacement = row.get("message"), row.get("replacement")
    kind = next((kind for kind in KINDS if kind == row.get("kind")), None)
    if kind is None or not isinstance(message, str) or not message.isprintable() or len(message) > _LONGEST_MESSAGE:
        return None
    return Notice(kind, message, replacement=replacement if isinstance(replacement, str) else None)
