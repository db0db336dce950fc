"""``cache verify``: every byte of the store hashed, and what is wrong put right."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from vcm.cli import output
from vcm.cli.context import open_reporter, open_session
from vcm.core.manifest import DEFAULT_HEADROOM, Manifest
from vcm.core.wording import counted, listed
from vcm.errors import ConfigError, ModelChecksumError, VcmError, exit_code_of
from vcm.store.files import disk_errors
from vcm.store.integrity import Integrity, check_store, discard_damaged
from vcm.store.leases import Leases
from vcm.store.project import Project
from vcm.store.pruning import Projects, read_projects
from vcm.store.store import Store


def verify_store(store: Store, *, repair: bool, json: bool) -> int:
    """Hash the whole store and tell what is wrong; with ``repair``, fetch it again or take it away."""
    with disk_errors(store.root):
        found = check_store(store, open_reporter())
    errors = list[VcmError]()
    removed: Integrity | None = None
    projects = read_projects(store.registry.projects())
    if repair and not found.is_whole:
        with disk_errors(store.root), Leases(store.root).take([]):
            store.layout.drop(found.damaged_blobs)
            errors = _fetch_again(store, found, projects)
            # A manifest that is damaged is made anew, for it is known what it says.
            standing = [each for each in projects.models if store.snapshots.path(each.tree_digest).is_dir()]
            store.layout.record(standing, whole=True)
            removed = discard_damaged(store, found)
    elif not found.is_whole:
        errors = [_damage(found)]
    names = {model.tree_digest: model.name for model in projects.models}
    rows = list(_damage_rows(store, found, removed, names))
    if json:
        document = {"ok": not errors, "blobs": found.blobs, "snapshots": found.snapshots, "bytes": found.size}
        output.print_json({**document, "damaged": rows}, errors)
    else:
        for row in rows:
            print(f"{row['kind']} {row['digest']}{' of ' + row['name'] if row['name'] else ''}: {row['status']}")
        if found.is_whole:
            print(f"{counted(found.blobs, 'blob')} and {counted(found.snapshots, 'model')}, every byte verified")
    output.print_errors(errors)
    return exit_code_of(errors)


def _damage(found: Integrity) -> ModelChecksumError:
    what = [
        counted(len(names), noun)
        for names, noun in ((found.damaged_blobs, "blob"), (found.damaged_snapshots, "model"))
        if names
    ]
    digests = (*found.damaged_blobs, *found.damaged_snapshots)
    return ModelChecksumError(
        f"{listed(what)} of the store no longer have the bytes that their names promise",
        expected=digests[0],
        actual="other bytes",
        hint="run vcm cache verify --repair",
    )


def _damage_rows(
    store: Store, found: Integrity, removed: Integrity | None, names: dict[str, str]
) -> Iterable[dict[str, Any]]:
    kinds: tuple[tuple[str, Callable[[Integrity], tuple[str, ...]], Callable[[str], Path]], ...] = (
        ("blob", lambda each: each.damaged_blobs, store.blobs.path),
        ("snapshot", lambda each: each.damaged_snapshots, store.snapshots.path),
    )
    for kind, damaged, path in kinds:
        for digest in damaged(found):
            status = "damaged"
            if removed is not None:
                # A repair that failed has taken the wrong bytes away before there was anything to take.
                is_whole = digest not in damaged(removed) and path(digest).exists()
                status = "repaired" if is_whole else "removed"
            yield {"kind": kind, "digest": f"sha256:{digest}", "name": names.get(digest), "status": status}


def _fetch_again(store: Store, found: Integrity, projects: Projects) -> list[VcmError]:
    """Have the damaged models of known projects put right; what failed."""
    blobs, snapshots = set(found.damaged_blobs), set(found.damaged_snapshots)
    errors, done = list[VcmError](), set[str]()
    for folder, models in projects.locks.items():
        wanted = [
            model
            for model in models
            if model.tree_digest not in done
            and store.snapshots.path(model.tree_digest).is_dir()
            and (model.tree_digest in snapshots or any(file.sha256 in blobs for file in model.files))
        ]
        if not wanted:
            continue
        done |= {model.tree_digest for model in wanted}
        for model in wanted:
            # Its record may be older than the damage: without it, every byte is hashed before the plan is made.
            store.snapshots.forget(model.tree_digest)
        try:
            project = Project(folder)
            manifest = _manifest(project)
            headroom = manifest.disk_headroom if manifest else DEFAULT_HEADROOM
            with open_session(project, manifest, cache_dir=store.root) as session:
                answers = session.install(store.plan(wanted), headroom, whole=False)
        except VcmError as error:
            errors.append(error)
        else:
            errors += [answer.error for answer in answers if answer.error is not None]
    return errors


def _manifest(project: Project) -> Manifest | None:
    try:
        return project.manifest()
    except ConfigError:
        return None
