"""``cache``: what the store has, for whom, whether it is whole, and what of it nobody needs."""

from __future__ import annotations

import time
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vcm.cli import output
from vcm.cli.context import Json, open_own_store
from vcm.cli.dispatch import command
from vcm.core.pruning import Kind, Part, Pruning, total_size, usage
from vcm.core.wording import byte_count, counted, listed, short_commit
from vcm.errors import ConfigError
from vcm.store.store import Store

if TYPE_CHECKING:
    from vcm.core.entries import ModelEntry
    from vcm.core.lock import LockedModel
    from vcm.store.pruning import Projects, Pruned


class Action(StrEnum):
    """What to do with the store."""

    DIR = "dir"
    SIZE = "size"
    LIST = "list"
    VERIFY = "verify"
    PRUNE = "prune"
    CLEAN = "clean"


@command("cache")
def cache(
    action: Annotated[Action, typer.Argument(metavar="ACTION", help="dir, size, list, verify, prune or clean.")],
    repair: Annotated[bool, typer.Option("--repair", help="With verify: fetch what is damaged, or remove it.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With prune and clean: only tell what would be removed.")
    ] = False,
    json: Json = False,
) -> int:
    """Where the store is, what it holds, and what it need not.

    dir: its folder. size: its bytes, and those of each project. list: its models. verify: hash every byte of it.
    prune: remove what no known project's lock names. clean: remove all of it.
    """
    if repair and action is not Action.VERIFY:
        raise ConfigError(f"--repair does not go with vcm cache {action}", hint="run vcm cache verify --repair")
    if dry_run and action not in (Action.PRUNE, Action.CLEAN):
        raise ConfigError(f"vcm cache {action} removes nothing", hint="leave out --dry-run")
    store = open_own_store()
    match action:
        case Action.DIR:
            return _dir(store, json=json)
        case Action.SIZE:
            return _size(store, json=json)
        case Action.LIST:
            return _list(store, json=json)
        case Action.VERIFY:
            from vcm.cli.cache_verify import verify_store

            return verify_store(store, repair=repair, json=json)
        case Action.PRUNE:
            return _prune(store, dry_run=dry_run, json=json)
        case Action.CLEAN:
            return _clean(store, dry_run=dry_run, json=json)


def _dir(store: Store, *, json: bool) -> int:
    if json:
        output.print_json({"dir": str(store.root)})
    else:
        print(store.root)
    return 0


def _size(store: Store, *, json: bool) -> int:
    from vcm.store.pruning import plan_pruning

    planned = plan_pruning(store, time.time())
    parts = (*planned.pruning.keep, *planned.pruning.drop)
    blobs = total_size(parts, Kind.BLOB)
    sizes = {
        "bytes": total_size(parts),
        "blobs": blobs,
        # Hard links take no room of their own.
        "snapshots": total_size(parts, Kind.BLOB, Kind.SNAPSHOT) - blobs,
        "partial": total_size(parts, Kind.PARTIAL, Kind.LEFTOVER, Kind.LOCK),
        "metadata": total_size(parts, Kind.ANSWER, Kind.INDEX, Kind.RECORD, Kind.REGISTRY, Kind.LEASE),
        "prunable": planned.pruning.freed,
    }
    projects = usage(parts, {str(folder): models for folder, models in planned.projects.locks.items()})
    _warn_of_unreadable(planned.projects)
    if json:
        rows = [
            {"project": project, "bytes": used.size, "unique": used.unique, "shared": used.shared}
            for project, used in projects.items()
        ]
        output.print_json({"dir": str(store.root), **sizes, "projects": rows})
        return 0
    print(f"{byte_count(sizes.pop('bytes'))} in {store.root}")
    print(output.table([key, f"{byte_count(size):>9}"] for key, size in sizes.items()))
    if projects:
        print()
        used_by = [
            (project, *(f"{byte_count(size):>9}" for size in (used.size, used.unique, used.shared)))
            for project, used in projects.items()
        ]
        print(output.table([("PROJECT", f"{'BYTES':>9}", f"{'UNIQUE':>9}", f"{'SHARED':>9}"), *used_by]))
    return 0


def _warn_of_unreadable(projects: Projects) -> None:
    from vcm.cli.progress import make_reporter

    for folder, error in projects.unreadable:
        make_reporter(quiet=True).notice(f"{folder}: {error.message}")


class _Names:
    """What snapshots are called: by the locks of the known projects, else by the record of what was installed."""

    def __init__(self, store: Store, projects: Projects) -> None:
        self._store = store
        self._locked: dict[str, list[tuple[Path, LockedModel]]] = {}
        for folder, models in projects.locks.items():
            for model in models:
                self._locked.setdefault(model.tree_digest, []).append((folder, model))
        self._recorded: dict[str, ModelEntry] = {
            str(entry.metadata.get("tree_digest")): entry for entry in store.registry.list_models()
        }

    def document(self, part: Part) -> dict[str, Any]:
        """What the JSON answers say of a snapshot."""
        digest = f"sha256:{part.name}"
        entry = self._recorded.get(digest)
        about: dict[str, Any] = dict.fromkeys(("name", "version", "commit", "repo", "url"))
        since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(part.used))
        if entry is not None:
            about |= {key: value for key, value in entry.metadata.items() if key in about and isinstance(value, str)}
            about["version"] = entry.version
            since = entry.download_date.strftime("%Y-%m-%dT%H:%M:%SZ") if entry.download_date else since
        users = self._locked.get(part.name, [])
        for _, model in users[:1]:
            about |= {key: getattr(model, key) for key in about}
        return {
            **about,
            "tree_digest": digest,
            "size": sum(file.size for file in part.files),
            "installed": since,
            "path": str(self._store.snapshots.path(part.name)),
            "projects": sorted({str(folder) for folder, _ in users}),
        }

    def documents(self, parts: Iterable[Part]) -> list[dict[str, Any]]:
        """Those of several, by name and source."""
        rows = [self.document(part) for part in parts]
        return sorted(rows, key=lambda row: (str(row["name"] or ""), row["tree_digest"]))


def _row(about: dict[str, Any]) -> tuple[str, ...]:
    release = short_commit(about["commit"] or "") or about["version"] or "-"
    return (
        about["repo"] or about["url"] or "-",
        release,
        about["tree_digest"].removeprefix("sha256:")[:12],
        f"{byte_count(about['size']):>9}",
        about["installed"][:10],
        listed(about["projects"]) if about["projects"] else "-",
    )


def _list(store: Store, *, json: bool) -> int:
    from vcm.store.pruning import plan_pruning

    planned = plan_pruning(store, time.time())
    parts = (*planned.pruning.keep, *planned.pruning.drop)
    models = _Names(store, planned.projects).documents(part for part in parts if part.kind is Kind.SNAPSHOT)
    _warn_of_unreadable(planned.projects)
    if json:
        output.print_json({"models": models})
    elif not models:
        print(f"No models in {store.root}")
    else:
        head = ("SOURCE", "COMMIT", "TREE DIGEST", f"{'SIZE':>9}", "INSTALLED", "PROJECTS")
        print(output.table([head, *map(_row, models)]))
    return 0


def _prune(store: Store, *, dry_run: bool, json: bool) -> int:
    from vcm.store.pruning import plan_pruning, prune

    before = plan_pruning(store, time.time())
    # While the record still has them.
    names = _Names(store, before.projects)
    done = before if dry_run else prune(store, time.time())
    _warn_of_unreadable(done.projects)
    models = names.documents(done.pruning.dropped(Kind.SNAPSHOT))
    if json:
        output.print_json(
            {
                **_removed_document(done.pruning, dry_run=dry_run),
                "models": models,
                "forgotten": [str(folder) for folder in done.projects.gone],
                "unreadable": [
                    {"project": str(folder), "message": error.message} for folder, error in done.projects.unreadable
                ],
                "running": done.running,
            }
        )
        return 0
    _print_pruned(store, done, models, dry_run=dry_run)
    return 0


def _print_pruned(store: Store, done: Pruned, models: list[dict[str, Any]], *, dry_run: bool) -> None:
    for folder in done.projects.gone:
        print(f"{'Would forget' if dry_run else 'Forgot'} {folder}: it has no models.lock any more")
    if not done.projects.are_known:
        print("Would prune nothing: this store has models, and no record of the projects that use them")
    elif done.projects.unreadable:
        print("Would prune nothing, because what a project needs cannot be read")
    elif not done.pruning.drop:
        print(f"Nothing to prune in {store.root}")
    else:
        _print_removed(done.pruning, dry_run=dry_run)
        for about in models:
            source, release, digest, size, *_ = _row(about)
            print(f" - {about['name'] or '-'}  {source}  {release}  {digest}  {size.strip()}")
    if done.running:
        print(f"Left alone what {counted(done.running, 'running vcm')} may need")


def _clean(store: Store, *, dry_run: bool, json: bool) -> int:
    from vcm.store.pruning import clean, plan_cleaning

    removed = plan_cleaning(store) if dry_run else clean(store, time.time())
    if json:
        output.print_json(_removed_document(removed, dry_run=dry_run))
    elif removed.drop:
        _print_removed(removed, dry_run=dry_run)
    else:
        print(f"Nothing of vcm in {store.root}")
    return 0


_SHOWN = {
    "snapshots": ("model", (Kind.SNAPSHOT,)),
    "blobs": ("blob", (Kind.BLOB,)),
    "partial": ("partial download", (Kind.PARTIAL,)),
    "leftovers": ("leftover", (Kind.LEFTOVER, Kind.VIEW)),
    "answers": ("hub answer", (Kind.ANSWER,)),
}


def _removed_document(removed: Pruning, *, dry_run: bool) -> dict[str, Any]:
    counts = {key: len(removed.dropped(*kinds)) for key, (_, kinds) in _SHOWN.items()}
    return {
        "dry_run": dry_run,
        "bytes_freed": removed.freed,
        "bytes_linked_elsewhere": removed.linked_elsewhere,
        **counts,
    }


def _print_removed(removed: Pruning, *, dry_run: bool) -> None:
    counts = [(len(removed.dropped(*kinds)), noun) for noun, kinds in _SHOWN.values()]
    others = len(removed.drop) - sum(count for count, _ in counts)
    shown = [counted(count, noun) for count, noun in (*counts, (others, "small file")) if count]
    print(f"{'Would free' if dry_run else 'Freed'} {byte_count(removed.freed)}: {listed(shown)}")
    if removed.linked_elsewhere:
        # Said because the sizes of what goes do not add up to what the disk gets back.
        print(f"{byte_count(removed.linked_elsewhere)} more stay on the disk: files outside of the store share them")
