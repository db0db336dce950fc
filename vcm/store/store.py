"""The store: blobs and snapshots of one cache folder."""

from __future__ import annotations

import errno

from vcm.core.cached import cached_property
from vcm.core.plan import Plan, SnapshotState, make_plan
from vcm.store.files import disk_errors
from vcm.store.snapshots import SnapshotStore, state_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path
    from threading import Event

    from vcm.core.lock import LockedFile, LockedModel
    from vcm.core.reporter import Reporter
    from vcm.store.blobs import BlobStore
    from vcm.store.hashing import Hasher, Job
    from vcm.store.layout import Layout
    from vcm.store.registry import ModelRegistry


class Store:
    """A content-addressed cache on this machine, shared by all projects."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.snapshots = SnapshotStore(root, lambda: self.hasher)

    @cached_property
    def hasher(self) -> Hasher:
        """What reads files, and remembers what it read."""
        from vcm.store.hashing import Hasher

        return Hasher()

    @cached_property
    def blobs(self) -> BlobStore:
        """The bytes, which a gate does not look at."""
        from vcm.store.blobs import BlobStore

        return BlobStore(self.root)

    @cached_property
    def registry(self) -> ModelRegistry:
        """What is installed here, and for which projects."""
        from vcm.store.registry import ModelRegistry

        return ModelRegistry(self.root / "registry.json")

    @cached_property
    def layout(self) -> Layout:
        """What other tools find in it: an OCI image layout."""
        from vcm.store.layout import Layout

        return Layout(self.root, self.blobs)

    def plan(
        self, models: Iterable[LockedModel], reporter: Reporter | None = None, cancelled: Event | None = None
    ) -> Plan:
        """What sync would do for these models, as things stand on the disk now.

        Args:
            models: what is wanted.
            reporter: told where much has to be hashed to know that.
            cancelled: once set, it ends with KeyboardInterrupt.

        Raises:
            VcmError: the disk cannot be read.
        """
        models = tuple(models)
        states: dict[str, SnapshotState] = {}
        standing: dict[str, set[str]] = {}
        doubtful: dict[str, Job] = {}
        with disk_errors(self.root):
            for model, findings in zip(
                models, self.snapshots.inspect_all(models, reporter=reporter, cancelled=cancelled), strict=True
            ):
                state = states[model.tree_digest] = state_of(findings)
                if state is SnapshotState.DAMAGED:
                    wrong = {finding.path for finding in findings}
                    standing[model.tree_digest] = {file.path for file in model.files} - wrong
                    # A damaged file may share its bytes with the blob, so that only hashing tells. Elsewhere the size
                    # will do for a plan: no blob is linked before it was hashed.
                    doubtful |= {
                        file.sha256: (f"{model.name}/{file.path}", self.blobs.path(file.sha256))
                        for file in model.files
                        if file.path in wrong and self.blobs.has(file.sha256, file.size)
                    }
            digests = self.hasher.digests(list(doubtful.values()), reporter, cancelled) if doubtful else []
            damaged = {sha256 for sha256, digest in zip(doubtful, digests, strict=True) if digest != sha256}
            present = {
                file.sha256
                for model in models
                if states[model.tree_digest] is not SnapshotState.INSTALLED
                for file in model.files
                if file.sha256 not in damaged and self.blobs.has(file.sha256, file.size)
            }
        return make_plan(models, states, present, standing)

    def has_whole(self, file: LockedFile, progress: Callable[[int], None] | None = None) -> bool:
        """Whether a file is a blob whose bytes were hashed in this run and are right.

        Args:
            file: what is wanted.
            progress: told how many bytes were read, where that was not done before.

        Raises:
            OSError: the disk cannot be read.
        """
        blobs = self.blobs
        try:
            return (
                blobs.has(file.sha256, file.size)
                and self.hasher.digest(blobs.path(file.sha256), progress) == file.sha256
            )
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            # The disk has lost it.
            return False
