"""What of a lock stays as it is, because what is required has not changed: nobody is asked about it again."""

from __future__ import annotations

from collections.abc import Collection

from vcm.core.configs import is_config
from vcm.core.following import CARD
from vcm.core.lock import Lock, LockedModel, staleness
from vcm.core.manifest import Manifest
from vcm.core.policy import is_undecided
from vcm.store.blobs import BlobStore


def unchanged(
    manifest: Manifest, before: Lock, edited_from: Manifest, upgrade: Collection[str], blobs: BlobStore
) -> dict[str, list[LockedModel]]:
    """By name, the entries of models that stay without a question: the requirement is the one they answer.

    Args:
        manifest: what is required now.
        before: the lock so far.
        edited_from: what was required when it was made, as far as is known.
        upgrade: names of models that are asked about in any case.
        blobs: what is here of the files that tell what a model pulls in.
    """
    if staleness(before, edited_from) is not None:
        return {}
    old = {requirement.name: requirement.meaning() for requirement in edited_from.models}
    kept: dict[str, list[LockedModel]] = {
        requirement.name: []
        for requirement in manifest.models
        if old.get(requirement.name) == requirement.meaning() and requirement.name not in upgrade
    }
    for model in before.models:
        if model.root in kept:
            kept[model.root].append(model)
    # What a model pulls in is locked for it as long as the manifest does not require it: an edit of the one may concern
    # the other.
    moved = _repos(manifest) ^ _repos(edited_from)
    kept = {name: models for name, models in kept.items() if not any(_may_name(blobs, each, moved) for each in models)}
    # A policy that came after the lock may need to know what nobody asked the hub for.
    undecided = {model.root for model in before.models if is_undecided(manifest.policy, model)}
    return {name: models for name, models in kept.items() if name not in undecided}


def _repos(manifest: Manifest) -> set[str]:
    return {requirement.repo for requirement in manifest.models if requirement.repo}


def _may_name(blobs: BlobStore, model: LockedModel, repos: Collection[str]) -> bool:
    """Whether a model may pull in one of these repos, as far as the files tell that would name it."""
    if not repos:
        return False
    wanted = [repo.lower().encode() for repo in repos]
    for file in model.files:
        if is_config(file.path) or file.path == CARD:
            try:
                text = blobs.path(file.sha256).read_bytes().lower()
            except OSError:
                return True
            if any(each in text for each in wanted):
                return True
    return model.via is not None and not {model.repo, model.asked}.isdisjoint(repos)
