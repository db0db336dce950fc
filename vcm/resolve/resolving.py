"""Resolving: requirements into exact commits and files, with what the hub says today."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from threading import Event

from packaging.specifiers import SpecifierSet

from vcm.core.lock import Lock, LockedFile, LockedModel
from vcm.core.manifest import Requirement
from vcm.core.metadata import RemoteFile, RepoInfo
from vcm.core.reference import file_name
from vcm.core.reporter import Reporter
from vcm.core.selection import Selection, refuse_pickle, select, weight_format
from vcm.core.versions import Candidate, candidates
from vcm.core.wording import byte_count, listed
from vcm.errors import (
    AUTHENTICATION_ERROR,
    CHECKSUM_MISMATCH,
    NOT_FOUND,
    ModelDownloadError,
    ModelNotFoundError,
    RegistryError,
    VcmError,
)
from vcm.hub.client import HubClient
from vcm.install.pools import workers
from vcm.install.transfer import Transfer
from vcm.install.wanted import WantedFile

_MODELS_AT_ONCE = 8
_FILES_AT_ONCE = 16
_VERSIONS_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class _Choice:
    """A revision of a repo that was chosen, and its files."""

    info: RepoInfo
    selection: Selection
    version: str | None = None
    ref: str | None = None


class Resolver:
    """Answers requirements with locked models; may be used once."""

    def __init__(self, client: HubClient, transfer: Transfer, reporter: Reporter, cancelled: Event) -> None:
        self._client = client
        self._transfer = transfer
        self._reporter = reporter
        self._cancelled = cancelled
        self._file_pool: ThreadPoolExecutor

    def resolve(
        self, requirements: Iterable[Requirement], previous: Lock | None, upgrade: Callable[[str], bool]
    ) -> list[LockedModel]:
        """The locked models for some requirements, in name order. What still satisfies its requirement stays.

        Args:
            requirements: what is required.
            previous: the lock so far.
            upgrade: tells for a model's name whether its old lock shall be forgotten.

        Raises:
            VcmError: the first model's, in name order, that cannot be locked.
        """
        ordered = sorted(requirements, key=lambda requirement: requirement.name)

        def one(requirement: Requirement) -> LockedModel | VcmError:
            before = previous.get(requirement.name) if previous else None
            try:
                return self._model(requirement, before, upgrade=upgrade(requirement.name))
            except VcmError as error:
                error.model = error.model or requirement.name
                return error

        with (
            workers(_FILES_AT_ONCE, "vcm-small-file", self._cancelled) as self._file_pool,
            workers(_MODELS_AT_ONCE, "vcm-model", self._cancelled) as pool,
        ):
            answers = list(pool.map(one, ordered))
        for answer in answers:
            if isinstance(answer, VcmError):
                raise answer
        return [answer for answer in answers if isinstance(answer, LockedModel)]

    def _model(self, requirement: Requirement, before: LockedModel | None, *, upgrade: bool) -> LockedModel:
        if requirement.url is not None:
            return self._direct(requirement, requirement.url, None if upgrade else before)
        if (
            before is not None
            and before.source == "huggingface"
            and not upgrade
            and _still_satisfies(before, requirement)
        ):
            kept = self._keep(requirement, before)
            if kept is not None:
                return kept
        return self._first_usable(requirement, before)

    def _keep(self, requirement: Requirement, before: LockedModel) -> LockedModel | None:
        """The model at the commit it is locked to; None when the repo is gone, or is another one by now."""
        repo = before.repo if before.fallback_for else requirement.repo
        assert repo is not None and before.commit is not None  # noqa: S101, PT018
        try:
            info = self._client.info(repo, before.commit)
        except ModelNotFoundError as error:
            if repo != before.repo:
                return None
            try:
                now = self._client.info(repo, None)
            except ModelNotFoundError:
                # Not the commit alone, the repo is gone: a fallback may do, and without one that is what to say.
                return None
            _check_identity(now, before, requirement.name)
            error.hint = f"the locked commit is gone: vcm lock --upgrade-model {requirement.name} takes a newer one"
            raise
        if before.repo in (repo, info.repo):
            _check_identity(info, before, requirement.name)
        elif not before.repo_id or info.repo_id != before.repo_id:
            return None
        files = self._client.tree(info.repo, before.commit)
        choice = _Choice(info=info, selection=select(files, requirement), version=before.version, ref=before.ref)
        return replace(self._locked(requirement, choice, before), fallback_for=before.fallback_for)

    def _first_usable(self, requirement: Requirement, before: LockedModel | None) -> LockedModel:
        errors: list[RegistryError | ModelDownloadError] = []
        for repo in requirement.repos:
            try:
                choice = self._choose(repo, requirement)
                if choice.info.repo != repo:
                    self._reporter.notice(f"{requirement.name}: {repo} is called {choice.info.repo} now")
                if before is not None and before.repo in (repo, choice.info.repo):
                    _check_identity(choice.info, before, requirement.name)
                model = self._locked(requirement, choice, before)
            except (RegistryError, ModelDownloadError) as error:
                if error.error_code not in (AUTHENTICATION_ERROR, NOT_FOUND):
                    raise
                errors.append(error)
                continue
            if not errors:
                return model
            self._reporter.notice(f"{requirement.name}: {errors[0].message}; {repo} was taken instead")
            return replace(model, fallback_for=requirement.repo)
        raise errors[0]

    def _choose(self, repo: str, requirement: Requirement) -> _Choice:
        if requirement.version is None:
            info = self._client.info(repo, requirement.revision)
            selection = select(self._client.tree(info.repo, info.commit), requirement)
            ref = None if requirement.revision == info.commit else requirement.revision
            return _Choice(info=info, selection=selection, ref=ref)
        refs = self._client.refs(repo)
        fitting = candidates(refs, requirement.version)
        if not fitting:
            raise _no_version(repo, requirement, candidates(refs))
        candidate, selection = self._first_with_files(repo, requirement, fitting)
        info = self._client.info(repo, candidate.ref.commit)
        return _Choice(info=info, selection=selection, version=str(candidate.version), ref=candidate.ref.name)

    def _first_with_files(
        self, repo: str, requirement: Requirement, fitting: list[Candidate]
    ) -> tuple[Candidate, Selection]:
        """The highest version with all wanted files, else the highest with any."""
        partial: list[tuple[Candidate, Selection]] = []
        for candidate in fitting:
            selection = select(self._client.tree(repo, candidate.ref.commit), requirement)
            if selection.files and not selection.unmatched:
                break
            partial.append((candidate, selection))
        else:
            usable = [(candidate, selection) for candidate, selection in partial if selection.files]
            return usable[0] if usable else partial[0]
        if partial:
            passed = listed(each.ref.name for each, _ in partial)
            self._reporter.notice(
                f"{requirement.name}: {passed} lacks the wanted files; {candidate.ref.name} was taken instead"
            )
        return candidate, selection

    def _locked(self, requirement: Requirement, choice: _Choice, before: LockedModel | None) -> LockedModel:
        self._check_selection(requirement, choice)
        info, selection = choice.info, choice.selection
        # One weight format per snapshot is a decision; with include it was the user's.
        formats = {weight_format(file.path) for file in selection.files} - {None}
        return LockedModel(
            name=requirement.name,
            source="huggingface",
            repo=info.repo,
            repo_id=info.repo_id,
            gated=info.gated,
            requested=requirement.version or requirement.revision,
            version=choice.version,
            ref=choice.ref,
            commit=info.commit,
            format=formats.pop() if len(formats) == 1 else None,
            type=requirement.type or info.task,
            license=info.license,
            files=self._files(requirement, info, selection, before),
        )

    def _check_selection(self, requirement: Requirement, choice: _Choice) -> None:
        selection, repo = choice.selection, choice.info.repo
        if not selection.files:
            raise ModelNotFoundError(
                f"{repo} has no file that [models.{requirement.name}] takes",
                hint="check include and exclude in models.toml",
                model=requirement.name,
            )
        for pattern in selection.unmatched:
            self._reporter.notice(f'{requirement.name}: no file of {repo} matches "{pattern}"')
        if selection.left_out:
            self._reporter.notice(
                f"{requirement.name}: took the weights in {selection.format}; left out "
                f"{listed(selection.left_out)}, which saves {byte_count(selection.saved)}"
            )
        if any(file.masked for file in selection.files):
            self._client.check_access(repo)
            raise RegistryError(
                f"{repo}: the hub hides the digests of this repo's files", error_code=AUTHENTICATION_ERROR
            )

    def _files(
        self, requirement: Requirement, info: RepoInfo, selection: Selection, before: LockedModel | None
    ) -> tuple[LockedFile, ...]:
        """Every file with its SHA-256. Small files, for which the hub publishes none, are fetched and hashed."""
        known = {(file.oid, file.size): file.sha256 for file in (before.files if before else ())}

        def locked(file: RemoteFile) -> LockedFile:
            digest = file.sha256 or (known.get((file.oid, file.size)) if file.oid else None)
            if digest is None:
                wanted = WantedFile(
                    model=requirement.name,
                    path=file.path,
                    url=self._client.file_url(info.repo, info.commit, file.path),
                    repo=info.repo,
                    commit=info.commit,
                    size=file.size,
                    oid=file.oid,
                )
                digest = self._transfer.fetch(wanted).sha256
            return LockedFile(file.path, file.size, digest, file.oid)

        return tuple(self._file_pool.map(locked, selection.files))

    def _direct(self, requirement: Requirement, url: str, before: LockedModel | None) -> LockedModel:
        """A direct file; it is fetched at lock time unless the manifest says all there is to know."""
        path = file_name(url, requirement.name)
        refuse_pickle([RemoteFile(path, 0)], requirement)
        if before is not None and before.url == url and _keeps_promises(before.files[0], requirement):
            file = before.files[0]
        else:
            file = self._direct_file(requirement, url, path)
        return LockedModel(
            name=requirement.name,
            source="url",
            url=url,
            format=weight_format(path),
            type=requirement.type,
            files=(file,),
        )

    def _direct_file(self, requirement: Requirement, url: str, path: str) -> LockedFile:
        checksum = requirement.checksum
        sha256 = checksum.hex if checksum and checksum.algorithm == "sha256" else None
        if sha256 is not None and requirement.size is not None:
            return LockedFile(path, requirement.size, sha256)
        wanted = WantedFile(
            model=requirement.name,
            path=path,
            url=url,
            size=requirement.size,
            sha256=sha256,
            checksum=checksum,
        )
        fetched = self._transfer.fetch(wanted)
        return LockedFile(path, fetched.size, fetched.sha256)


def _keeps_promises(file: LockedFile, requirement: Requirement) -> bool:
    checksum = requirement.checksum
    if requirement.size is not None and requirement.size != file.size:
        return False
    return checksum is None or (checksum.algorithm == "sha256" and checksum.hex == file.sha256)


def _still_satisfies(before: LockedModel, requirement: Requirement) -> bool:
    if before.fallback_for is not None and (
        before.fallback_for != requirement.repo or before.repo not in requirement.fallback
    ):
        return False
    if requirement.version is not None:
        return before.version is not None and SpecifierSet(requirement.version).contains(
            before.version, prereleases=True
        )
    return before.version is None and before.requested == requirement.revision


def _check_identity(info: RepoInfo, before: LockedModel, name: str) -> None:
    if before.repo_id and info.repo_id and before.repo_id != info.repo_id:
        raise RegistryError(
            f"{info.repo} is not the repo that was locked: its id on the hub was {before.repo_id}, now it is "
            f"{info.repo_id}; the name may have been taken over by a stranger",
            error_code=CHECKSUM_MISMATCH,
            hint=f"look at who owns it now; to trust it all the same: vcm remove {name}, then vcm add it again",
            model=name,
        )


def _no_version(repo: str, requirement: Requirement, existing: Iterable[Candidate]) -> ModelNotFoundError:
    versions = [str(candidate.version) for candidate in existing]
    if versions:
        hint = f"versions that exist: {', '.join(versions[:_VERSIONS_SHOWN])}"
        hint += f" and {len(versions) - _VERSIONS_SHOWN} more" if len(versions) > _VERSIONS_SHOWN else ""
    else:
        hint = 'its tags and branches name no version: use revision = "main" or a commit'
    return ModelNotFoundError(
        f"{repo} has no version that satisfies {requirement.version}", hint=hint, model=requirement.name
    )
