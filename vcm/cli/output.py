"""Results as text and as JSON. Keys of the JSON documents are promises: they are only ever added to."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from typing import TYPE_CHECKING, Any, TextIO

from vcm.cli.context import options
from vcm.core.plan import Origin
from vcm.core.wording import byte_count, counted, listed, short_commit
from vcm.errors import gravest

if TYPE_CHECKING:
    from vcm.core.differences import ModelDifference
    from vcm.core.lock import LockedModel
    from vcm.core.manifest import Manifest
    from vcm.core.plan import Plan
    from vcm.enforce.gate import Checked
    from vcm.errors import VcmError
    from vcm.install.syncing import Synced
    from vcm.session import Locking


_ERRORS_SHOWN = 10
_LEAST_COLUMN = 12
_WORTH_TIMING = 1_000_000  # bytes: fewer say nothing about the speed
_ORIGIN = "origin"
MARKS = {"added": "+", "changed": "~", "removed": "-"}
"""How what came, went or became another is marked in front of its line."""


def print_json(document: Mapping[str, Any], errors: Sequence[VcmError] = ()) -> None:
    """One JSON document on standard output, with the gravest of the errors."""
    failure = {"error": error_document(gravest(errors))} if errors else {}
    print(json.dumps({**document, **failure}, indent=2))


def error_document(error: VcmError) -> dict[str, Any]:
    """The ``error`` of a JSON answer."""
    return {
        "code": error.error_code,
        "message": str(error),
        "hint": error.hint,
        "model": error.model,
        "retry_after": error.retry_after,
        **({"details": list(error.details)} if error.details else {}),
    }


def print_error(error: VcmError) -> None:
    """What happened and what to do next, on standard error."""
    red, cyan, plain = ("\033[1;31m", "\033[1;36m", "\033[0m") if options().use_color else ("", "", "")
    print(f"{red}error{plain}: {_visible(str(error))}", file=sys.stderr)
    for line in error.details:
        print(f"  {_visible(line)}", file=sys.stderr)
    if error.hint:
        print(f"{cyan}hint{plain}: {_visible(error.hint)}", file=sys.stderr)


def print_errors(errors: Sequence[VcmError]) -> None:
    """The errors of several models; what befell more than one in the same words is said once."""
    told = _together(errors)
    for each in told[:_ERRORS_SHOWN]:
        print_error(each)
    if len(told) > _ERRORS_SHOWN:
        print(f"and {counted(len(told) - _ERRORS_SHOWN, 'error')} more", file=sys.stderr)


def _together(errors: Sequence[VcmError]) -> list[VcmError]:
    """Errors of several models; what befell all of them in the same words is said once."""
    alike: dict[tuple[object, ...], list[VcmError]] = {}
    for error in errors:
        alike.setdefault((error.message, error.hint, error.details, error.file), []).append(error)
    told = []
    for same in alike.values():
        one = copy(same[0])
        one.model = listed(dict.fromkeys(each.model for each in same if each.model)) if len(same) > 1 else one.model
        told.append(one)
    return told


def _visible(text: str) -> str:
    """Text that may come from a stranger's file, without what would steer a terminal."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def release(model: LockedModel) -> str:
    """Which one it is, for people: version or ref, and the commit's beginning."""
    commit = short_commit(model.commit) if model.commit else ""
    return " ".join(part for part in (model.version or model.ref, commit) if part) or "-"


def table(rows: Iterable[Sequence[str]], *, columns: int | None = None) -> str:
    """Columns, two blanks apart.

    Args:
        rows: the cells.
        columns: the width that is there: the widest column is cut until the table fits, as far as it stays readable.
    """
    rows = [list(row) for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))] if rows else []
    while columns and sum(widths) + 2 * (len(widths) - 1) > columns and max(widths) > _LEAST_COLUMN:
        widths[widths.index(max(widths))] -= 1
    return "\n".join(
        "  ".join(_cut(cell, width).ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def terminal_columns(stream: TextIO) -> int | None:
    """How wide the terminal is that a stream leads to; None where it leads to something else, which gets all."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or None
    except (OSError, ValueError):
        return None


def model_document(model: LockedModel) -> dict[str, Any]:
    """What every answer says of a model."""
    return {"name": model.name, "version": model.version, "commit": model.commit}


def headline(difference: ModelDifference) -> str:
    """A model that two locks do not have alike: its name, where it comes from, and which one it was and is."""
    model = difference.model
    releases = dict.fromkeys(release(each) for each in (difference.before, difference.after) if each)
    return f" {MARKS[difference.change]} {model.name}  {model.repo or model.url}  {' → '.join(releases)}"


def lock_document(locking: Locking) -> dict[str, Any]:
    """The JSON answer of ``lock``: each model of either lock, in name order."""
    from vcm.core.differences import lock_differences

    changes = {each.model.name: each for each in lock_differences(locking.before, locking.after)}
    models = {model.name: model for model in locking.after.models}
    models |= {name: change.model for name, change in changes.items()}
    return {
        "changed": locking.before != locking.after,
        "small_files_fetched": locking.small_files_fetched,
        "small_files_reused": locking.small_files_reused,
        "models": [
            {
                **model_document(model),
                "status": changes[name].change if name in changes else "unchanged",
                "via": model.via,
                "tree_digest": f"sha256:{model.tree_digest}",
                "size": model.size,
                "files": len(model.files),
            }
            for name, model in sorted(models.items())
        ],
    }


def print_lock(locking: Locking, *, verb: str) -> None:
    """What locking came to, one line for each model that is not as before."""
    from vcm.core.differences import lock_differences

    models = locking.after.models
    if locking.before == locking.after:
        asked = "" if locking.requested else ", no network used"
        print(f"models.lock is up to date ({counted(len(models), 'model')}{asked})")
        return
    size = sum(model.size for model in models)
    print(f"{verb} {counted(len(models), 'model')}, {byte_count(size)}{_small_files(locking)}")
    for each in lock_differences(locking.before, locking.after):
        print(f"{headline(each)}  {counted(len(each.model.files), 'file')}, {byte_count(each.model.size)}")


def _small_files(locking: Locking) -> str:
    """What locking had to read itself, because the hub publishes no SHA-256 of it."""
    fetched, reused = locking.small_files_fetched, locking.small_files_reused
    parts = [f"{fetched} fetched"] if fetched else []
    parts += [f"{reused} already here"] if reused else []
    return f" (small files: {', '.join(parts)})" if parts else ""


def sync_document(answers: Sequence[Synced], mirrors: Sequence[str] = ()) -> dict[str, Any]:
    """The JSON answer of ``sync``; where there are mirrors, with what came from each of them."""
    models = []
    for answer in answers:
        entry = {
            **model_document(answer.model),
            "path": str(answer.path) if answer.path else None,
            "status": answer.status,
            "bytes_fetched": answer.bytes_fetched,
            "bytes_reused": answer.bytes_reused,
        }
        if answer.error is not None:
            entry["error"] = error_document(answer.error)
        models.append(entry)
    return {
        "models": models,
        "bytes_fetched": sum(answer.bytes_fetched for answer in answers),
        "bytes_reused": sum(answer.bytes_reused for answer in answers),
        **({"sources": {**dict.fromkeys([*mirrors, _ORIGIN], 0), **_supplied(answers)}} if mirrors else {}),
    }


def _supplied(answers: Iterable[Synced]) -> dict[str, int]:
    """By source, how many bytes came from there."""
    supplied: dict[str, int] = {}
    for answer in answers:
        for mirror, count in answer.supplied.items():
            supplied[mirror or _ORIGIN] = supplied.get(mirror or _ORIGIN, 0) + count
    return supplied


def plan_document(plan: Plan) -> dict[str, Any]:
    """The JSON answer of ``sync --dry-run``."""
    supplied = plan.bytes_supplied
    return {
        "models": [
            {
                **model_document(each.model),
                "status": each.state.value,
                "bytes_to_fetch": each.bytes_to_fetch,
                "bytes_to_reuse": each.bytes_to_reuse,
                "files": [{"path": file.path, "size": file.size, "sha256": file.sha256} for file in each.fetch],
            }
            for each in plan.models
        ],
        "bytes_to_fetch": plan.bytes_to_fetch,
        "bytes_lacking": plan.bytes_lacking,
        "bytes_supplied": {origin.name.lower(): supplied.get(origin, 0) for origin in Origin},
    }


def print_plan(plan: Plan) -> None:
    """What sync would do."""
    if not plan.changes:
        print(f"Nothing to do: {counted(len(plan.models), 'model')} installed")
        return
    whose = counted(len(plan.changes), "model")
    if plan.lacking:
        had = byte_count(plan.bytes_to_fetch - plan.bytes_lacking)
        print(f"Would fetch {had} of {byte_count(plan.bytes_to_fetch)} for {whose}: nobody can give the rest")
    else:
        print(f"Would fetch {byte_count(plan.bytes_to_fetch)} for {whose}")
    for origin, size in plan.bytes_supplied.items():
        print(f" of which up to {byte_count(size)} are in {origin}")
    for each in plan.changes:
        verb = "repair" if each.state == "damaged" else "install"
        print(f" {verb} {each.model.name}: fetch {byte_count(each.bytes_to_fetch)}, ", end="")
        print(f"reuse {byte_count(each.bytes_to_reuse)}")
        for file in each.fetch:
            lacking = "  lacking" if file.sha256 in plan.lacking else ""
            print(f"   {byte_count(file.size):>9}  {file.path}{lacking}")


def print_sync(answers: Sequence[Synced], *, asked_hub: bool, seconds: float) -> None:
    """What sync did, one line for each model that is not as before.

    Args:
        answers: what became of each model.
        asked_hub: whether locking came before it and used the network.
        seconds: how long it took.
    """
    answers = [answer for answer in answers if answer.status != "skipped"]
    done = [answer for answer in answers if answer.status in ("installed", "repaired")]
    if all(answer.status == "present" for answer in answers):
        network = "" if asked_hub else ", no network used"
        print(f"Nothing to do: {counted(len(answers), 'model')} installed{network}")
        return
    fetched, reused = (sum(getattr(answer, key) for answer in done) for key in ("bytes_fetched", "bytes_reused"))
    kept = f", {byte_count(reused)} reused" if reused else ""
    mirrors = [
        f"{byte_count(count)} from {source}" for source, count in _supplied(done).items() if count and source != _ORIGIN
    ]
    whose = f" ({', '.join(mirrors)})" if mirrors else ""
    took = _took(seconds, fetched) if fetched + reused >= _WORTH_TIMING else ""
    print(f"Installed {counted(len(done), 'model')}: {byte_count(fetched)} fetched{whose}{kept}{took}")
    marks = {"installed": "+", "repaired": "~", "failed": "!"}
    for answer in answers:
        if answer.status != "present":
            print(f" {marks[answer.status]} {answer.model.name}  {release(answer.model)}  {answer.status}")


def _took(seconds: float, fetched: int) -> str:
    minutes, rest = divmod(round(seconds), 60)
    text = f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"
    speed = f" ({byte_count(fetched / seconds)}/s)" if fetched and seconds > 0 else ""
    return f", in {text}{speed}"


def check_document(answers: Sequence[Checked]) -> dict[str, Any]:
    """The JSON answer of ``check`` and ``verify``."""
    return {
        "ok": all(answer.passes for answer in answers),
        "models": [
            {
                **model_document(answer.model),
                "path": str(answer.path),
                "status": state(answer),
                "optional": answer.optional,
                "findings": [
                    {"kind": each.kind, "path": each.path, "expected": each.expected, "actual": each.actual}
                    for each in answer.findings
                    if each.path
                ],
            }
            for answer in answers
        ],
    }


def state(answer: Checked) -> str:
    """``installed``, ``missing`` or ``damaged``."""
    if not answer.findings:
        return "installed"
    return "missing" if answer.is_absent else "damaged"


def list_document(answers: Sequence[Checked], manifest: Manifest) -> dict[str, Any]:
    """The JSON answer of ``list``; ``excluded`` is what is not there because of its ``marker``."""
    models = []
    for answer in answers:
        model, marker = answer.model, _excluding_marker(answer, manifest)
        models.append(
            {
                **model_document(model),
                "source": model.source,
                "repo": model.repo,
                "url": model.url,
                "size": model.size,
                "files": len(model.files),
                "path": str(answer.path),
                "status": "excluded" if marker else state(answer),
                **({"marker": marker} if marker else {}),
            }
        )
    return {"models": models}


def print_list(answers: Sequence[Checked], manifest: Manifest) -> None:
    """What is locked and installed, a line for each model, and why one is not there that need not be."""
    rows = [("NAME", "SOURCE", "LOCKED", "SIZE", "STATE")]
    for answer in answers:
        model, marker = answer.model, _excluding_marker(answer, manifest)
        word = f"not for this machine: {marker}" if marker else state(answer)
        if answer.is_absent and not marker:
            reasons = [f"group {listed(answer.groups)}"] if answer.groups else []
            reasons += ["optional"] if answer.optional else []
            word += f" ({', '.join(reasons)})" if reasons else ""
        rows.append((model.name, model.repo or model.url or "", release(model), byte_count(model.size), word))
    print(table(rows, columns=terminal_columns(sys.stdout)))


def _excluding_marker(answer: Checked, manifest: Manifest) -> str | None:
    """The marker because of which a model is not there; None where it is, or should be."""
    requirement = manifest.get(answer.model.root)
    if requirement is None or not answer.is_absent or requirement.applies():
        return None
    return requirement.marker


def show_document(answer: Checked) -> dict[str, Any]:
    """The JSON answer of ``show``: the lock's own keys in snake_case, and where it is."""
    from vcm.core.modelpack import package

    model = answer.model
    artifact = package(model)
    texts = {key: value for key, value in vars(model).items() if value is not None and isinstance(value, str)}
    return {
        **texts,
        "tree_digest": f"sha256:{model.tree_digest}",
        "size": model.size,
        "path": str(answer.path),
        "status": state(answer),
        "oci_name": artifact.reference,
        "oci_digest": f"sha256:{artifact.digest}",
        "files": [
            {"path": file.path, "size": file.size, "sha256": file.sha256, **({"oid": file.oid} if file.oid else {})}
            for file in model.files
        ],
    }


def print_show(answer: Checked) -> None:
    """One model in full."""
    document = show_document(answer)
    document["tree_digest"] = document["tree_digest"].removeprefix("sha256:")
    document["size"] = f"{byte_count(answer.model.size)} ({answer.model.size} bytes)"
    files = document.pop("files")
    print(table([key.replace("_", "-"), str(value)] for key, value in document.items()))
    print("files")
    print(table(["", f"{file['size']:>12}", file["sha256"], file["path"]] for file in files))
