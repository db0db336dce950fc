"""The store: blobs and snapshots of one cache folder."""

from __future__ import annotations

from functools import cached_property

from vcm.core.plan import Plan, SnapshotState, make_plan
from vcm.store.files import disk_errors
from vcm.store.snapshots import SnapshotStore

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from vcm.core.lock import LockedFile, LockedModel
    from vcm.store.blobs import BlobStore
    from vcm.store.registry import ModelRegistry


class Store:
    """A content-addressed cache on this machine, shared by all projects."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.snapshots = SnapshotStore(root)

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

    def plan(self, models: Iterable[LockedModel]) -> Plan:
        """What sync would do for these models, as things stand on the disk now.

        Raises:
            VcmError: the disk cannot be read.
        """
        models = tuple(models)
        with disk_errors(self.root):
            states = {model.tree_digest: self.snapshots.state(model) for model in models}
            present = {
                file.sha256
                for model in models
                if states[model.tree_digest] is not SnapshotState.INSTALLED
                for file in model.files
                if self._has(file, damaged=states[model.tree_digest] is SnapshotState.DAMAGED)
            }
        return make_plan(models, states, present)

    def _has(self, file: LockedFile, *, damaged: bool) -> bool:
        # A damaged snapshot may share its bytes with the blob, so that only hashing tells. Elsewhere the size will
        # do for a plan: no blob is linked before it was hashed.
        look = self.blobs.is_whole if damaged else self.blobs.has
        return look(file.sha256, file.size)
