"""Choosing: which commit of a repo a requirement means today, and which of its files."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from vcm.core.formats import FORMATS, PICKLE_FORMAT
from vcm.core.lock import LockedModel
from vcm.core.manifest import Requirement
from vcm.core.metadata import RemoteFile, RepoInfo
from vcm.core.selection import Selection, select
from vcm.core.versions import Candidate, candidates
from vcm.core.wording import byte_count, listed
from vcm.errors import ModelNotFoundError
from vcm.hub.client import HubClient

_VERSIONS_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A commit of a repo that was chosen.

    Attributes:
        info: the repo at that commit.
        files: all files of the commit.
        selection: those to lock.
        version: the version it is, where one was asked for.
        ref: the tag or branch that led to it.
        passed_over: refs of higher versions, which lack the wanted files.
    """

    info: RepoInfo
    files: tuple[RemoteFile, ...]
    selection: Selection
    version: str | None = None
    ref: str | None = None
    passed_over: tuple[str, ...] = ()

    def notices(self) -> list[str]:
        """What was decided on the way and is worth knowing, one line each."""
        selection = self.selection
        notices = [f'no file of {self.info.repo} matches "{each}"' for each in selection.unmatched]
        if selection.left_out:
            # What most programs load by default stood back for what holds no pickles.
            stood_back = PICKLE_FORMAT in selection.left_out and selection.format != FORMATS[0]
            notices.append(
                f"took the weights in {selection.format}; left out {listed(selection.left_out)}, "
                f"which saves {byte_count(selection.saved)}"
                + (f"; allow-pickle = true takes {PICKLE_FORMAT}" if stood_back else "")
            )
        return notices


def choose(client: HubClient, repo: str, requirement: Requirement) -> Choice:
    """The commit that a requirement means in one of its repos.

    Raises:
        ModelNotFoundError: the repo, the revision or a fitting version does not exist.
        RegistryError: the hub cannot be asked.
        ConfigError: its files cannot be taken.
    """
    if requirement.version is not None:
        return _highest_version(client, repo, requirement, requirement.version)
    info = client.info(repo, requirement.revision)
    files = client.tree(info.repo, info.commit)
    ref = None if requirement.revision == info.commit else requirement.revision
    return Choice(info=info, files=files, selection=select(files, requirement), ref=ref)


def _highest_version(client: HubClient, repo: str, requirement: Requirement, specifier: str) -> Choice:
    """The highest version with all wanted files, else the highest with any, else the highest."""
    refs = client.refs(repo)
    fitting = candidates(refs, specifier)
    if not fitting:
        raise _no_version(repo, requirement, specifier, candidates(refs))
    tried: list[tuple[Candidate, tuple[RemoteFile, ...], Selection]] = []
    for candidate in fitting:
        files = client.tree(repo, candidate.ref.commit)
        selection = select(files, requirement)
        tried.append((candidate, files, selection))
        # What is wanted without include are weights, too.
        if selection.files and not selection.unmatched and (requirement.include or selection.format):
            break
    else:
        tried = next(([each] for each in tried if each[2].files), tried[:1])
    candidate, files, selection = tried[-1]
    return Choice(
        info=client.info(repo, candidate.ref.commit),
        files=files,
        selection=selection,
        version=str(candidate.version),
        ref=candidate.ref.name,
        passed_over=tuple(each.ref.name for each, *_ in tried[:-1]),
    )


def still_satisfies(before: LockedModel, requirement: Requirement) -> bool:
    """Whether what is locked answers the requirement, so that it may stay."""
    if before.fallback_for is not None and (
        before.fallback_for != requirement.repo or before.repo not in requirement.fallback
    ):
        return False
    if requirement.version is not None:
        return before.version is not None and SpecifierSet(requirement.version).contains(
            before.version, prereleases=True
        )
    return before.version is None and before.requested == requirement.revision


def _no_version(
    repo: str, requirement: Requirement, specifier: str, existing: Sequence[Candidate]
) -> ModelNotFoundError:
    if len(existing) > _VERSIONS_SHOWN:
        near = _nearest([each.version for each in existing], specifier)
        hint = f"the nearest of its {len(existing)} versions: {', '.join(map(str, near))}"
    elif existing:
        hint = f"versions that exist: {', '.join(str(each.version) for each in existing)}"
    else:
        hint = 'its tags and branches name no version: use revision = "main" or a commit'
    return ModelNotFoundError(f"{repo} has no version that satisfies {specifier}", hint=hint, model=requirement.name)


def _nearest(existing: Iterable[Version], specifier: str) -> list[Version]:
    """The versions around the one that was asked for, highest first."""
    ordered = sorted(existing)
    asked = []
    for each in SpecifierSet(specifier):
        try:
            asked.append(Version(each.version.removesuffix(".*")))
        except InvalidVersion:
            continue
    middle = bisect_left(ordered, max(asked)) if asked else len(ordered)
    start = max(0, min(middle - _VERSIONS_SHOWN // 2, len(ordered) - _VERSIONS_SHOWN))
    return ordered[start : start + _VERSIONS_SHOWN][::-1]
