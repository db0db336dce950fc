"""Following: the repos that a model's files refer to are locked with it, theirs too, and so on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from vcm.core.following import CODE_ALONE, Reference, entry_name, is_there_with
from vcm.core.lock import LockedModel
from vcm.core.manifest import Requirement
from vcm.core.metadata import RepoInfo
from vcm.errors import ModelNotFoundError, VcmError
from vcm.hub.refusals import RepoNotFoundError

_WORDS = {"base-model": "base model", "code": "code"}
_TAKEN = {"base-model": (), "code": CODE_ALONE}
"""What is included of a repo that is pulled in."""


@dataclass(frozen=True, slots=True)
class Pinned:
    """A model that was locked, and the repo it came from.

    Attributes:
        is_new: whether nothing of it was locked before.
    """

    model: LockedModel
    info: RepoInfo
    is_new: bool


def follow(
    requirement: Requirement,
    pinned: Pinned,
    declared: Collection[Requirement],
    lock: Callable[[Requirement], Pinned],
    references: Callable[[Pinned], list[Reference]],
    notice: Callable[[str], None],
) -> Iterator[LockedModel]:
    """What a model pulls in, each repo once.

    Args:
        requirement: the model of the manifest.
        pinned: what it was locked to.
        declared: all that the manifest requires.
        lock: locks a repo that is pulled in.
        references: tells what a locked model refers to.
        notice: told what is new, and what is left to the program.

    Raises:
        VcmError: one of them cannot be locked; says what pulled it in.
    """
    names = {requirement.name, *(each.name for each in declared)}
    beside = [each.repo for each in declared if is_there_with(each, requirement)]
    seen = {repo.lower() for repo in (pinned.model.repo, pinned.model.asked, *beside) if repo}
    pending = references(pinned)
    while pending:
        reference = pending.pop(0)
        what = f"its {_WORDS[reference.kind]}"
        no_repo = f'{what} "{reference.written}" ({reference.named_by}) is no repo; the program must bring it'
        if reference.repo is None:
            notice(no_repo)
            continue
        if reference.repo.lower() in seen:
            continue
        seen.add(reference.repo.lower())
        if not requirement.follow:
            notice(
                f"{what} {reference.repo} ({reference.named_by}) is not locked, since follow = false; the program must "
                "bring it"
            )
            continue
        entry = _entry(requirement, reference, reference.repo, names)
        try:
            with _named(reference, requirement, entry):
                found = lock(entry)
        except RepoNotFoundError:
            if "/" in reference.repo:
                raise
            # A few old repos have no namespace; what the hub does not know is a folder on the publisher's disk.
            notice(no_repo)
            continue
        if str(found.model.repo).lower() in seen - {reference.repo.lower()}:
            continue
        seen.add(str(found.model.repo).lower())
        names.add(entry.name)
        with _named(reference, requirement, entry):
            pending += references(found)
        if found.is_new:
            notice(f"{what} {reference.repo} is locked beside it")
        yield replace(found.model, via=requirement.name)


def _entry(requirement: Requirement, reference: Reference, repo: str, names: Collection[str]) -> Requirement:
    """What a reference asks for, as the manifest would say it."""
    return Requirement(
        name=entry_name(requirement.name, repo, names),
        repo=repo,
        revision=reference.revision,
        include=_TAKEN[reference.kind],
        allow_pickle=requirement.allow_pickle,
    )


@contextmanager
def _named(reference: Reference, requirement: Requirement, entry: Requirement) -> Iterator[None]:
    """Have errors about a repo that was pulled in say what pulled it in, and how to do without."""
    try:
        yield
    except VcmError as error:
        error.message = (
            f"its {_WORDS[reference.kind]} {reference.repo}, which {reference.named_by} names: {error.message}"
        )
        error.model = requirement.name
        if isinstance(error, ModelNotFoundError) and not isinstance(error, RepoNotFoundError):
            error.hint = f"require {reference.repo} itself in models.toml, as it is there"
        # The entry has no table; one that is written for its repo takes its place.
        error.hint = error.hint.replace(f"[models.{entry.name}]", f'a [models.NAME] with repo = "{reference.repo}"')
        error.hint = f"{error.hint}; or set follow = false on [models.{requirement.name}]".removeprefix("; or ")
        raise
