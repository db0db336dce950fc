"""Adopting: models out of the Hugging Face cache of this machine, at their commits, without a network.

Their bytes are shared with the cache where that can be done; ``vcm.store.admitting`` says how.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

from vcm.core import configs
from vcm.core.completeness import gaps
from vcm.core.formats import only_format
from vcm.core.importing import cached_requirement, names_for, revision_of, snapshots_in_order
from vcm.core.lock import LockedFile, LockedModel
from vcm.core.metadata import RemoteFile
from vcm.core.plan import SnapshotState
from vcm.core.reporter import Reporter
from vcm.core.wording import byte_count, counted, listed, short_commit
from vcm.errors import DiskSpaceError
from vcm.store.admitting import Claim, NotAsClaimedError, admit
from vcm.store.files import disk_errors, free_space, read_small
from vcm.store.hub_cache import CachedRepo, CachedSnapshot, HubCache
from vcm.store.store import Store


@dataclass(frozen=True, slots=True)
class CachedModel:
    """A model that can be adopted.

    Attributes:
        values: the keys of its table in ``models.toml``.
        files: each file as the cache claims it is, and where its bytes are.
    """

    name: str
    repo: str
    commit: str
    values: dict[str, Any]
    files: dict[RemoteFile, Path]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


def survey(cache: HubCache, notice: Callable[[str], None]) -> list[CachedModel]:
    """The models of a cache, one commit each, in the order of their names.

    Of their bytes only those of small files are read that name other files, and not hashed yet.

    Args:
        cache: where to look.
        notice: told what is left out, and why.
    """
    repos, problems = cache.repos()
    for problem in problems:
        notice(f"left out {problem}")
    found: dict[str, tuple[CachedRepo, str, CachedSnapshot]] = {}
    for repo in repos:
        chosen = _first_usable(cache, repo, notice)
        if chosen is not None:
            found[repo.repo] = (repo, *chosen)
    models = []
    for name, repo_id in sorted((name, repo_id) for repo_id, name in names_for(found).items()):
        repo, commit, snapshot = found[repo_id]
        values = cached_requirement(repo_id, revision_of(repo.refs, commit), list(snapshot.files), snapshot.listing)
        if "allow-pickle" in values:
            notice(
                f"{name}: allow-pickle = true, because some of its files may hold Python pickles, which run code when "
                "they are loaded"
            )
        models.append(CachedModel(name, repo_id, commit, values, snapshot.files))
    return models


def _first_usable(
    cache: HubCache, repo: CachedRepo, notice: Callable[[str], None]
) -> tuple[str, CachedSnapshot] | None:
    commits = snapshots_in_order(repo.refs, repo.snapshots)
    if not commits:
        notice(f"left out {repo.repo}: no snapshot of it is there")
    for commit in commits:
        try:
            snapshot = cache.snapshot(repo.repo, commit)
            _refuse_gaps(snapshot)
        except ValueError as error:
            notice(f"left out {repo.repo} at {short_commit(commit)}: {error}")
            continue
        for problem in snapshot.left_out:
            notice(f"left out a file of {repo.repo}: {problem}")
        others = [short_commit(other) for other in commits[commits.index(commit) + 1 :]]
        if others:
            notice(f"{repo.repo}: took {short_commit(commit)}, left out {listed(others)}")
        return commit, snapshot
    return None


def _refuse_gaps(snapshot: CachedSnapshot) -> None:
    """Refuse what a download that was broken off has left: locking would refuse it too.

    Raises:
        ValueError: says which file is missing, and which one names it.
    """
    places = {file.path: place for file, place in snapshot.files.items()}

    def read(path: str) -> bytes | None:
        place = places.get(path)
        return read_small(place, configs.LARGEST) if place is not None else None

    listing = places if snapshot.listing is None else [file.path for file in snapshot.listing]
    found = gaps(places, listing, read)
    if found:
        more = f"; and {len(found) - 1} more" if len(found) > 1 else ""
        raise ValueError(f"the cache lacks {replace(found[0], present=True)}{more}")


class Adopter:
    """Takes files into the store, each after hashing it.

    Args:
        store: where they go.
        reporter: told of progress, and of models whose bytes are damaged.
        cancelled: ends waiting for another process.
    """

    def __init__(self, store: Store, reporter: Reporter, cancelled: Event) -> None:
        self._store = store
        self._reporter = reporter
        self._cancelled = cancelled

    def adopt(self, models: Iterable[CachedModel]) -> list[tuple[CachedModel, LockedModel]]:
        """Have the models in the store, whole and installed; without those whose bytes are not what they should be.

        Raises:
            DiskSpaceError: their bytes must be copied, and there is no room for them.
            VcmError: the store cannot be written.
        """
        models = list(models)
        adopted = []
        with disk_errors(self._store.root):
            self._store.blobs.prepare()
            self._check_space(models)
            self._reporter.started(f"hashing {counted(len(models), 'model')}", sum(model.size for model in models))
            try:
                for model in models:
                    try:
                        adopted.append((model, self._locked(model)))
                    except NotAsClaimedError as error:
                        self._reporter.notice(
                            f"left out {model.repo}: {error}; for a good copy: vcm add {model.name} {model.repo}"
                        )
            finally:
                self._reporter.finished()
            self._store.blobs.settle()
            for _, locked in adopted:
                with self._store.blobs.exclusive(locked.tree_digest, self._cancelled):
                    if self._store.snapshots.state(locked) is not SnapshotState.INSTALLED:
                        self._store.snapshots.build(locked, self._store.blobs.path)
        return adopted

    def _check_space(self, models: Iterable[CachedModel]) -> None:
        device = self._store.blobs.folder.stat().st_dev
        copied = {
            path: file.size
            for model in models
            for file, path in model.files.items()
            if _device(path) != device and not (file.sha256 and self._store.blobs.has(file.sha256, file.size))
        }
        needed, free = sum(copied.values()), free_space(self._store.root)
        if free < needed:
            raise DiskSpaceError(
                f"the Hugging Face cache is on another file system, so that {byte_count(needed)} must be copied to "
                f"{self._store.root}; {byte_count(free)} are free, {byte_count(needed - free)} too little",
                needed=needed,
                free=free,
                hint="free some space, or choose a folder beside the Hugging Face cache with --cache-dir",
            )

    def _locked(self, model: CachedModel) -> LockedModel:
        files = []
        for file, path in model.files.items():
            try:
                files.append(self._take(model.name, file, path))
            except NotAsClaimedError as error:
                raise NotAsClaimedError(f"{file.path} {error}") from None
        revision = model.values.get("revision")
        return LockedModel(
            name=model.name,
            source="huggingface",
            repo=model.repo,
            requested=revision,
            ref=None if revision == model.commit else revision,
            commit=model.commit,
            format=only_format(file.path for file in files),
            files=tuple(sorted(files, key=lambda file: file.path.encode())),
        )

    def _take(self, label: str, claim: RemoteFile, source: Path) -> LockedFile:
        progress = partial(self._reporter.advanced, label)
        if claim.sha256 is not None:
            # Another project may have it: nothing to link, and on another file system nothing to copy.
            file = LockedFile(claim.path, claim.size, claim.sha256)
            if self._store.has_whole(file, progress):
                return file
        said = Claim(claim.sha256, claim.oid)
        sha256, size = admit(self._store.blobs, source, said, may_link=True, progress=progress)
        return LockedFile(claim.path, size, sha256, claim.oid)


def _device(path: Path) -> int | None:
    try:
        return path.stat().st_dev
    except OSError:
        return None
