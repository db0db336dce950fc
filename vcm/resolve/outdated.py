"""Asking the hub what is new of locked models, with as few questions as possible.

A model on the default branch takes one; a ref costs one more; a commit that is no branch's and no tag's head any more
one; each set of files to compare one; and each commit one for its date.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from contextlib import nullcontext
from dataclasses import replace
from threading import Event
from typing import TypeVar

from vcm.core.following import CODE_ALONE, python_files
from vcm.core.formats import is_licence
from vcm.core.lock import LockedModel
from vcm.core.manifest import Manifest, Requirement
from vcm.core.metadata import Ref, RemoteFile, RepoInfo
from vcm.core.outdated import (
    Absence,
    News,
    Release,
    Upstream,
    highest_version,
    is_another_repo,
    judge,
    locked_release,
    ref_now,
)
from vcm.core.selection import select
from vcm.core.versions import candidates
from vcm.errors import ConfigError, ModelNotFoundError, VcmError
from vcm.hub.client import HubClient
from vcm.install.pools import workers
from vcm.resolve.reaching import Reaching
from vcm.resolve.successors import successors

MODELS_AT_ONCE = 12

Found = TypeVar("Found")


def find_news(client: HubClient, models: Iterable[LockedModel], manifest: Manifest, cancelled: Event) -> list[News]:
    """What is new of each model, in the order given. What fails for one does not hide the others.

    Args:
        client: asks the hub, or knows.
        models: locked models; of a direct file nothing is asked.
        manifest: what is required of them.
        cancelled: once set, nobody waits for the rest.
    """

    def ask(model: LockedModel) -> News:
        if model.source == "url":
            return News(model=model)
        return _news(client, model, _requirement(model, manifest))

    def failed(model: LockedModel, error: VcmError) -> News:
        return News(model=model, current=locked_release(model), error=error)

    return ask_for_each(models, ask, failed, cancelled)


def ask_for_each(
    models: Iterable[LockedModel],
    ask: Callable[[LockedModel], Found],
    failed: Callable[[LockedModel, VcmError], Found],
    cancelled: Event,
) -> list[Found]:
    """What is found out of each model, in the order given; once the hub cannot be reached, nobody tries again.

    Args:
        models: locked models.
        ask: finds it out, for several at once.
        failed: makes what cannot be found out of an error.
        cancelled: once set, nobody waits for the rest.
    """
    reaching = Reaching()

    def one(model: LockedModel) -> Found:
        try:
            with nullcontext() if model.url else reaching.attempt():
                return ask(model)
        except VcmError as error:
            error.model = error.model or model.name
            return failed(model, error)

    with workers(MODELS_AT_ONCE, "vcm-upstream", cancelled) as pool:
        return list(pool.map(one, models))


def default_branch(client: HubClient, repo: str) -> RepoInfo | Absence:
    """A repo at its default branch, or why there is no such thing.

    Raises:
        RegistryError: the hub cannot be asked.
    """
    try:
        return client.info(repo, None)
    except ModelNotFoundError as error:
        # Nothing but the words of hub.refusals tells a repo that is withheld from one that is not there.
        return "disabled" if "the repo is disabled" in error.message else "gone"


def has_commit(client: HubClient, repo: str, commit: str) -> bool:
    """Whether a repo, which is there, still has a commit.

    Raises:
        RegistryError: the hub cannot be asked.
    """
    try:
        client.info(repo, commit)
    except ModelNotFoundError:
        return False
    return True


def ref_of(client: HubClient, repo: str, refs: Collection[Ref], name: str, commit: str | None) -> Ref | None:
    """Where a ref points now; None where it is not there any more.

    Raises:
        RegistryError: the hub cannot be asked.
    """
    found = ref_now(refs, name, commit)
    if found is not None:
        return found
    try:
        # Some names that the hub knows are in no list, such as refs/pr/1. A name that is listed no more may still be
        # in an older answer.
        return Ref(name, "branch", client.revalidating().info(repo, name).commit)
    except ModelNotFoundError:
        return None


def _requirement(model: LockedModel, manifest: Manifest) -> Requirement:
    """What is asked of a model: its table in the manifest; of one that was pulled in, what locking asks of it."""
    found, root = manifest.get(model.name), manifest.get(model.root)
    if found is not None:
        return found
    paths = [file.path for file in model.files if not is_licence(file.path)]
    return Requirement(
        name=model.name,
        repo=model.repo,
        revision=model.requested,
        # A repo that is wanted for its code alone is locked without its weights.
        include=CODE_ALONE if len(python_files(paths)) == len(paths) else (),
        allow_pickle=root is not None and root.allow_pickle,
    )


def _news(client: HubClient, model: LockedModel, requirement: Requirement) -> News:
    try:
        news = _Question(client, model, requirement).news()
        if not any(notice.kind == "commit-gone" for notice in news.notices):
            return news
    except ModelNotFoundError:
        pass
    # What is missing may have been there when an older answer was given: the repo itself may be gone by now.
    return _Question(client.revalidating(), model, requirement).news()


class _Question:
    """What is new of one model that was locked from a repo."""

    def __init__(self, client: HubClient, model: LockedModel, requirement: Requirement) -> None:
        assert model.repo is not None and model.commit is not None
        self._client = client
        self._model = model
        self._requirement = requirement
        self._commit = model.commit
        self._repo = model.repo
        self._refs: tuple[Ref, ...] = ()

    def news(self) -> News:
        info = default_branch(self._client, self._repo)
        if isinstance(info, str) or is_another_repo(self._model, info):
            return judge(self._model, Upstream(repo=info, current=locked_release(self._model)))
        self._repo = info.repo
        if self._model.ref is not None or self._requirement.version is not None or self._is_moving:
            self._refs = self._client.refs(self._repo)
        ref = self._ref(self._model.ref) if self._model.ref else None
        heads = {info.commit, *(each.commit for each in self._refs)}
        allowed, latest = self._allowed(info), self._latest(info)
        successors, missing = self._successors(info)
        return judge(
            self._model,
            Upstream(
                repo=info,
                ref=ref,
                has_commit=self._commit in heads or has_commit(self._client, self._repo, self._commit),
                current=self._dated(locked_release(self._model)),
                allowed=self._dated(allowed) if allowed else None,
                latest=self._dated(latest),
                files=self._files(allowed, latest),
                successors=successors,
                missing_successor=missing,
            ),
        )

    @property
    def _is_moving(self) -> bool:
        """Whether the requirement names a branch or tag."""
        return self._requirement.revision not in (None, self._commit)

    def _ref(self, name: str) -> Ref | None:
        return ref_of(self._client, self._repo, self._refs, name, self._commit)

    def _allowed(self, info: RepoInfo) -> Release | None:
        """The newest that the requirement allows, found as locking would find it."""
        if self._requirement.version is None:
            if not self._is_moving:
                return Release(self._requirement.revision or info.commit)
            ref = self._ref(self._requirement.revision or "")
            return Release(ref.commit) if ref else None
        fitting = candidates(self._refs, self._requirement.version)
        for candidate in fitting:
            if candidate.ref.commit == self._commit or self._is_complete(candidate.ref.commit):
                return Release(candidate.ref.commit, str(candidate.version))
        return Release(fitting[0].ref.commit, str(fitting[0].version)) if fitting else None

    def _latest(self, info: RepoInfo) -> Release:
        highest = highest_version(self._refs) if self._requirement.version is not None else None
        return highest or Release(info.commit)

    def _is_complete(self, commit: str) -> bool:
        try:
            selection = select(self._client.tree(self._repo, commit), self._requirement)
        except ConfigError:
            return False
        return bool(selection.files) and not selection.unmatched

    def _files(self, allowed: Release | None, latest: Release) -> tuple[RemoteFile, ...] | None:
        """What would be locked of what is newer."""
        newer = latest if allowed is None or allowed.commit == self._commit else allowed
        if newer.commit == self._commit:
            return None
        tree = self._client.tree(self._repo, newer.commit)
        try:
            return select(tree, self._requirement).files
        except ConfigError:
            # It could not be locked as it is: then what became of the files that are.
            paths = {file.path for file in self._model.files}
            return tuple(file for file in tree if file.path in paths)

    def _dated(self, release: Release) -> Release:
        known = self._model.committed if release.commit == self._commit else None
        return replace(release, date=known or self._client.commit_date(self._repo, release.commit))

    def _successors(self, info: RepoInfo) -> tuple[tuple[str, ...], str | None]:
        """Where the card's ``new_version`` leads, one repo after the other; and the one at the end that is gone."""
        found: list[str] = []
        following = info.new_version
        try:
            for successor in successors(self._client, info):
                found.append(successor.repo)
                following = successor.new_version
        except ModelNotFoundError:
            return tuple(found), following
        return tuple(found), None
