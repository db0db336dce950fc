"""Kept answers of the hub: a cache, so that whatever is wrong with it is only a miss.

    <cache>/hub-metadata/models--acme--frames/<SHA-256 of the address>

One file an answer: the SHA-256 of all that follows, a line of JSON, and the answer's body as it came. Files are
replaced whole, so that any number of processes may read and write at once.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from vcm.core.metadata import KeptAnswer
from vcm.store.files import read_small, remove_folder, replace_file
from vcm.store.hub_cache import folder_name

_LARGEST = 65 << 20
"""Bytes; the client takes no answer of this length, so that no such file is one of ours."""
_LAST_SECOND = 1 << 40


class MetadataStore:
    """Address → answer, in a folder for each repo."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "hub-metadata"

    def read(self, repo: str, address: str) -> KeptAnswer | None:
        """The answer that is kept for an address; None where there is none, or not a whole one."""
        answer = _parsed(read_small(self._path(repo, address), _LARGEST) or b"")
        return answer if answer is not None and answer.address == address else None

    def write(self, repo: str, answer: KeptAnswer) -> bool:
        """Keep an answer, and say whether it is kept: a folder that cannot be written keeps none."""
        path = self._path(repo, answer.address)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, _text(answer), durable=False)
        except OSError:
            return False
        return True

    def forget(self, repo: str, address: str) -> None:
        """Keep no answer for an address any more; one that cannot be removed stays."""
        with suppress(OSError, ValueError):
            self._path(repo, address).unlink(missing_ok=True)

    def clear(self, repo: str | None = None) -> None:
        """Forget the answers about one repo, or all of them; what else stands beside them stays."""
        with suppress(OSError):
            for folder in self.folder.glob("models--*") if repo is None else (self._folder(repo),):
                remove_folder(folder)

    def _folder(self, repo: str) -> Path:
        # Two ids that differ in case alone may share a folder; their answers differ in name.
        return self.folder / quote(folder_name(repo), safe="", errors="replace")

    def _path(self, repo: str, address: str) -> Path:
        return self._folder(repo) / hashlib.sha256(address.encode("utf-8", "surrogatepass")).hexdigest()


def _text(answer: KeptAnswer) -> bytes:
    about = {
        "address": answer.address,
        "fetched": answer.fetched,
        "etag": answer.etag,
        "following": answer.following,
        "with_token": answer.with_token,
    }
    rest = json.dumps(about).encode() + b"\n" + answer.body
    return hashlib.sha256(rest).hexdigest().encode() + b"\n" + rest


def _parsed(data: bytes) -> KeptAnswer | None:
    digest, _, rest = data.partition(b"\n")
    if digest != hashlib.sha256(rest).hexdigest().encode():
        return None
    line, _, body = rest.partition(b"\n")
    try:
        about = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return _kept(about, body) if isinstance(about, dict) else None


def _kept(about: dict[str, Any], body: bytes) -> KeptAnswer | None:
    address, fetched = about.get("address"), about.get("fetched")
    etag, following, with_token = about.get("etag"), about.get("following"), about.get("with_token")
    if not isinstance(address, str) or not isinstance(fetched, int) or not 0 <= fetched < _LAST_SECOND:
        return None
    if not isinstance(etag, str | None) or not isinstance(following, str | None) or not isinstance(with_token, bool):
        return None
    return KeptAnswer(
        address=address, fetched=fetched, body=body, etag=etag, following=following, with_token=with_token
    )
