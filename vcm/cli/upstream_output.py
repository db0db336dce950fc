"""What ``diff``, ``outdated`` and ``lock --check --upstream`` say, as text and as JSON."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from vcm.cli import output
from vcm.core.differences import FieldChange, FileChange, ModelDifference, by_role, changed_roles
from vcm.core.lock import Lock, LockedModel
from vcm.core.outdated import News, Release
from vcm.core.upstream import Confirmation
from vcm.core.wording import byte_count, counted, listed

WIDTH = 80
# Said in the first line of a block already.
_RELEASE_KEYS = ("version", "ref", "commit", "committed")
# What somebody should look at before they agree.
_TRUST_KEYS = ("source", "repo", "repo_id", "url", "license")
_TRUST_MARK = "!"


def print_news(news: Sequence[News]) -> None:
    """What is new of each model, then what to know and to do."""
    print(output.table([_NEWS_HEAD, *itertools.chain.from_iterable(_news_rows(news))]))
    for each in news:
        for notice in each.notices:
            print(_filled(f"{each.model.name}: {notice.message}; {notice.hint}", indent="  "))
    # A notice that says how to upgrade also says what to find out before.
    roots = dict.fromkeys(each.model.root for each in news if each.has_update and not _is_suspicious(each))
    if roots:
        words = " ".join(f"--upgrade-model {root}" for root in roots)
        print(_filled(f"to take what is allowed: vcm lock {words}", indent="  "))
    elif not any(each.needs_action or each.error for each in news):
        print("everything is up to date")


def _is_suspicious(news: News) -> bool:
    return any(notice.kind in ("tag-moved", "commit-gone") for notice in news.notices)


_NEWS_HEAD = ("NAME", "LOCKED", "ALLOWED", "LATEST", "CHANGES")
_LABEL = 12
_NAME = 22
_CHANGES = WIDTH - _NAME - 3 * _LABEL - 4 * 2


def _news_rows(news: Iterable[News]) -> Iterable[Iterable[Sequence[str]]]:
    """For each model one row, and more below it: the dates, and what does not fit."""
    for each in news:
        releases = [_release_lines(each, release) for release in (each.current, each.allowed, each.latest)]
        columns = [[_shortened(each.model.name, _NAME)], *releases, textwrap.wrap(_change_words(each), _CHANGES)]
        yield itertools.zip_longest(*columns, fillvalue="")


def _release_lines(news: News, release: Release | None) -> list[str]:
    if release is None:
        return ["?" if news.error else "-"]
    label = release.commit[:_LABEL] if release.version is None else _shortened(release.version, _LABEL)
    return [label, release.date[:10]] if release.date else [label]


def _change_words(news: News) -> str:
    if news.error is not None:
        return "not known"
    if news.latest is None and not news.changes:
        return "-"
    return ", ".join(news.changes) or "nothing"


def _shortened(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _filled(text: str, *, indent: str, first: str = "") -> str:
    return textwrap.fill(
        text, WIDTH, initial_indent=first, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def news_document(news: Iterable[News]) -> dict[str, Any]:
    """The JSON answer of ``outdated``."""
    return {
        "models": [
            {
                **output.model_document(each.model),
                "current": _release_document(each.current),
                "allowed": _release_document(each.allowed),
                "latest": _release_document(each.latest),
                "changes": list(each.changes),
                "notices": [
                    {"kind": notice.kind, "message": notice.message}
                    | ({"replacement": notice.replacement} if notice.replacement else {})
                    for notice in each.notices
                ],
                **({"error": output.error_document(each.error)} if each.error else {}),
            }
            for each in news
        ]
    }


def _release_document(release: Release | None) -> dict[str, Any] | None:
    if release is None:
        return None
    return {"version": release.version, "commit": release.commit, "date": release.date}


def print_confirmation(answers: Sequence[Confirmation]) -> None:
    """What is upstream not as it was locked, one line each."""
    for answer in answers:
        for finding in answer.findings:
            mark = "!" if finding.is_wrong else "note:"
            print(_filled(f"{mark} {answer.model.name}: {finding.message}", indent="  "))
    wrong = [answer for answer in answers if answer.is_wrong]
    if wrong:
        print(f"{len(wrong)} of {counted(len(answers), 'model')} not as locked any more")
    elif not any(answer.error for answer in answers):
        print(f"models.lock fits models.toml, and upstream is as it was locked ({counted(len(answers), 'model')})")


def confirmation_document(answers: Sequence[Confirmation]) -> dict[str, Any]:
    """The JSON answer of ``lock --check --upstream``."""
    return {
        "ok": not any(answer.is_wrong or answer.error for answer in answers),
        "models": [
            {
                **output.model_document(answer.model),
                "findings": [
                    {"kind": finding.kind, "message": finding.message}
                    | ({"path": finding.path} if finding.path is not None else {})
                    for finding in answer.findings
                ],
                **({"error": output.error_document(answer.error)} if answer.error else {}),
            }
            for answer in answers
        ],
    }


def print_differences(before: Lock, after: Lock, differences: Sequence[ModelDifference]) -> None:
    """What changed between two locks, one block for each model that did."""
    if not differences:
        print("no difference")
        return
    for difference in differences:
        via = difference.model.via
        headline = output.headline(difference) + (f"  (pulled in by {via})" if via else "")
        print(_filled(headline, indent="      "))
        for line in _block(difference):
            print(_filled(line, first="    ", indent="      "))
    counts = {change: sum(each.change == change for each in differences) for change in output.MARKS}
    said = listed(f"{count} {change}" for change, count in counts.items() if count)
    print(f"{said}; {_sizes(_size(before.models), _size(after.models))} in all")


def _block(difference: ModelDifference) -> Iterable[str]:
    for key in difference.keys:
        if key.key not in _RELEASE_KEYS:
            yield from _key_lines(key)
    if not difference.files:
        yield "the same files"
    for name, changes in by_role(difference.files).items():
        size = byte_count(sum(change.size for change in changes))
        if name == "code":
            # Code is named: whoever reviews it wants to read it.
            yield f"code: {', '.join(f'{change.path} {change.change}' for change in changes)}, {size}"
        else:
            yield f"{name}: {_counted(changes)}, {size}"
    if difference.before and difference.after and difference.before.size != difference.after.size:
        yield f"size: {_sizes(difference.before.size, difference.after.size)}"


def _key_lines(key: FieldChange) -> Iterable[str]:
    mark = f"{_TRUST_MARK} " if key.key in _TRUST_KEYS else ""
    yield f"{mark}{key.key.replace('_', '-')}: {key.before or 'none'} → {key.after or 'none'}"
    if key.key == "repo" and key.before and key.after:
        owners = [repo.rpartition("/")[0] or "none" for repo in (key.before, key.after)]
        if owners[0] != owners[1]:
            yield f"{_TRUST_MARK} owner: {owners[0]} → {owners[1]}"


def _counted(changes: Sequence[FileChange]) -> str:
    counts = {change: sum(each.change == change for each in changes) for change in output.MARKS}
    return ", ".join(f"{count} {change}" for change, count in counts.items() if count)


def _size(models: Iterable[LockedModel]) -> int:
    return sum(model.size for model in models)


def _sizes(before: int, after: int) -> str:
    return f"{byte_count(before)} → {byte_count(after)}"


def differences_document(before: Lock, after: Lock, differences: Sequence[ModelDifference]) -> dict[str, Any]:
    """The JSON answer of ``diff``."""
    return {
        "models": [
            {
                **output.model_document(each.model),
                "status": each.change,
                "via": each.model.via,
                "before": _side(each.before),
                "after": _side(each.after),
                "changes": list(changed_roles(each.files)),
                "keys": [{"key": key.key, "before": key.before, "after": key.after} for key in each.keys],
                "files": [
                    {
                        "path": file.path,
                        "role": file.role,
                        "status": file.change,
                        "size_before": file.before,
                        "size_after": file.after,
                    }
                    for file in each.files
                ],
            }
            for each in differences
        ],
        "size_before": _size(before.models),
        "size_after": _size(after.models),
    }


def _side(model: LockedModel | None) -> dict[str, Any] | None:
    if model is None:
        return None
    keys = ("version", "ref", "commit", "repo", "repo_id", "url", "license", "format")
    sides: dict[str, Any] = {key: getattr(model, key) for key in keys}
    return sides | {"tree_digest": f"sha256:{model.tree_digest}", "size": model.size, "files": len(model.files)}
