"""Resolving: requirements into exact commits and files, with what the hub says today."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from copy import copy
from dataclasses import replace
from threading import Event

from vcm.core import configs
from vcm.core.completeness import gaps, refuse_gaps
from vcm.core.differences import HasContent
from vcm.core.following import Reference, python_files, references
from vcm.core.formats import only_format
from vcm.core.lock import Lock, LockedFile, LockedModel
from vcm.core.manifest import Requirement
from vcm.core.metadata import RemoteFile, RepoInfo
from vcm.core.outdated import identity_notice, is_another_repo
from vcm.core.reporter import Reporter
from vcm.core.selection import select
from vcm.core.wording import listed
from vcm.errors import (
    AUTHENTICATION_ERROR,
    CHECKSUM_MISMATCH,
    NOT_FOUND,
    ModelDownloadError,
    ModelNotFoundError,
    RegistryError,
    VcmError,
)
from vcm.http.client import CONNECTIONS
from vcm.hub.client import HubClient
from vcm.hub.refusals import RepoNotFoundError, RevisionNotFoundError
from vcm.install.pools import workers
from vcm.install.transfer import Transfer
from vcm.install.wanted import WantedFile
from vcm.resolve.choosing import Choice, choose, still_satisfies
from vcm.resolve.direct import lock_file
from vcm.resolve.following import Pinned, follow
from vcm.resolve.reaching import Reaching
from vcm.resolve.small_files import SmallFiles
from vcm.resolve.suggesting import suggest, suggest_refs
from vcm.store.git_ids import GitIds
from vcm.store.hub_cache import HubCache
from vcm.store.store import Store


class Resolver:
    """Answers requirements with locked models; may be used once.

    Args:
        client: whom to ask.
        transfer: fetches small files, and direct ones.
        store: where they go, and may be already.
        hub_cache: the user's Hugging Face cache, where they may be too.
        reporter: told what was decided on the way.
        cancelled: once set, all work ends with KeyboardInterrupt.
        dated: whether the lock shall say when each commit was made.
    """

    def __init__(  # noqa: PLR0913  (one thing each, made in one place)
        self,
        client: HubClient,
        transfer: Transfer,
        store: Store,
        hub_cache: HubCache,
        reporter: Reporter,
        cancelled: Event,
        *,
        dated: bool = False,
    ) -> None:
        self._client = client
        self._transfer = transfer
        self._store = store
        self._hub_cache = hub_cache
        self._reporter = reporter
        self._cancelled = cancelled
        self._dated = dated
        self._previous: Lock | None = None
        self._locked_as: defaultdict[str, list[LockedModel]] = defaultdict(list)
        self._declared: tuple[Requirement, ...] = ()
        self._notices: list[tuple[str, str]] = []
        self.small_files: SmallFiles

    def resolve(
        self,
        requirements: Iterable[Requirement],
        previous: Lock | None,
        upgrade: Callable[[str], bool],
        declared: Iterable[Requirement] = (),
    ) -> list[LockedModel]:
        """The locked models for some requirements. What still satisfies its requirement stays.

        The names of what was pulled in are free only among the declared ones and within its model; see
        ``following.with_free_names``.

        Args:
            requirements: what is required.
            previous: the lock so far.
            upgrade: tells for a model's name whether its old lock shall be forgotten.
            declared: all that the manifest requires; it is not locked a second time for others.

        Raises:
            VcmError: the first model's, in name order, that cannot be locked; ``others`` holds the rest.
        """
        self._previous, self._declared = previous, tuple(declared)
        for model in previous.models if previous else ():
            for repo in filter(None, (model.repo, model.asked)):
                self._locked_as[repo].append(model)
        ordered = sorted(requirements, key=lambda requirement: requirement.name)

        reaching = Reaching()

        def one(requirement: Requirement) -> list[LockedModel] | VcmError:
            try:
                with nullcontext() if requirement.url else reaching.attempt():
                    return self._entries(requirement, upgrade=upgrade(requirement.name))
            except VcmError as error:
                error.model = error.model or requirement.name
                return error
            finally:
                self._reporter.step()

        self._reporter.steps("locking", len(ordered))
        try:
            answers = self._in_parallel(one, ordered)
        finally:
            self._reporter.finished()
            # In the order of the models, whoever was answered first.
            for _, text in dict.fromkeys(sorted(self._notices, key=lambda notice: notice[0])):
                self._reporter.notice(text)
        errors = [answer for answer in answers if isinstance(answer, VcmError)]
        if errors:
            errors[0].others = tuple(errors[1:])
            raise errors[0]
        return [entry for answer in answers if not isinstance(answer, VcmError) for entry in answer]

    def _in_parallel(
        self, one: Callable[[Requirement], list[LockedModel] | VcmError], ordered: list[Requirement]
    ) -> list[list[LockedModel] | VcmError]:
        with (
            workers(CONNECTIONS, "vcm-small-file", self._cancelled) as files,
            workers(CONNECTIONS, "vcm-model", self._cancelled) as models,
        ):
            git_ids = GitIds(self._store.root)
            self.small_files = SmallFiles(self._store.blobs, git_ids, self._hub_cache, self._transfer, files)
            return list(models.map(one, ordered))

    def _notice(self, name: str, text: str) -> None:
        self._notices.append((name, f"{name}: {text}"))

    def _entries(self, requirement: Requirement, *, upgrade: bool) -> list[LockedModel]:
        """The model itself, and what it pulls in."""
        before = self._before(requirement)
        if requirement.url is not None:
            return [lock_file(self._transfer, requirement, requirement.url, None if upgrade else before)]
        pinned = self._pinned(requirement, before, upgrade=upgrade)
        return [pinned.model, *self._followed(requirement, pinned, upgrade=upgrade)]

    def _before(self, requirement: Requirement, via: str | None = None) -> LockedModel | None:
        """What is locked under the requirement's name; else what of the same repo answers it, so that no name moves it.

        Args:
            requirement: what is required.
            via: the model that pulls it in.
        """
        if self._previous is None:
            return None
        own = self._previous.get(requirement.name)
        if own is not None and own.via == via:
            return own
        return next((each for each in self._previous.models if _answers(each, requirement)), None)

    # One model

    def _pinned(self, requirement: Requirement, before: LockedModel | None, *, upgrade: bool) -> Pinned:
        try:
            return self._pinned_as_cached(requirement, before, upgrade=upgrade)
        except VcmError:
            if not any(map(self._client.reused, requirement.repos)):
                raise
        # Whatever is wrong may have been put right since: no refusal rests on an answer of yesterday.
        asking_anew = copy(self)
        asking_anew._client = self._client.refreshing()  # noqa: SLF001
        return asking_anew._pinned_as_cached(requirement, before, upgrade=upgrade)  # noqa: SLF001

    def _pinned_as_cached(self, requirement: Requirement, before: LockedModel | None, *, upgrade: bool) -> Pinned:
        if (
            before is not None
            and before.source == "huggingface"
            and not upgrade
            and still_satisfies(before, requirement)
        ):
            kept = self._keep(requirement, before)
            if kept is not None:
                return kept
        return self._first_usable(requirement, before)

    def _keep(self, requirement: Requirement, before: LockedModel) -> Pinned | None:
        """The model at the commit it is locked to; None when the repo is gone, or is another one by now."""
        repo = before.repo if before.fallback_for else requirement.repo
        assert repo is not None and before.commit is not None
        known = (before.repo, before.asked)
        try:
            info = self._client.info(repo, before.commit)
        except ModelNotFoundError as error:
            if repo not in known:
                return None
            try:
                now = self._client.info(repo, None)
            except ModelNotFoundError:
                # Not the commit alone, the repo is gone: a fallback may do, and without one that is what to say.
                return None
            self._check_identity(repo, now, requirement.name)
            error.hint = f"the locked commit is gone: vcm lock --upgrade-model {requirement.name} takes a newer one"
            raise
        self._check_identity(repo, info, requirement.name)
        if repo not in known and info.repo not in known and (not before.repo_id or info.repo_id != before.repo_id):
            return None
        files = self._client.tree(info.repo, before.commit)
        selection = select(files, requirement)
        choice = Choice(info=info, files=files, selection=selection, version=before.version, ref=before.ref)
        model = replace(self._locked(repo, requirement, choice, before), fallback_for=before.fallback_for)
        return Pinned(model, info, is_new=False)

    def _first_usable(self, requirement: Requirement, before: LockedModel | None) -> Pinned:
        errors: list[RegistryError | ModelDownloadError] = []
        for repo in requirement.repos:
            try:
                choice = choose(self._client, repo, requirement)
                self._check_identity(repo, choice.info, requirement.name)
                model = self._locked(repo, requirement, choice, before)
            except (RegistryError, ModelDownloadError) as error:
                if error.error_code not in (AUTHENTICATION_ERROR, NOT_FOUND):
                    raise
                errors.append(error)
                continue
            if errors:
                self._notice(requirement.name, f"{errors[0].message}; {repo} was taken instead")
                model = replace(model, fallback_for=requirement.repo)
            return Pinned(model, choice.info, is_new=before is None)
        self._suggest(requirement, errors)
        raise errors[0]

    def _check_identity(self, asked: str, info: RepoInfo, name: str) -> None:
        """Refuse another repo under a name that is locked, for whichever model."""
        for model in (*self._locked_as.get(asked, ()), *self._locked_as.get(info.repo, ())):
            if is_another_repo(model, info):
                raise RegistryError(
                    f"{identity_notice(model, info).message}; the name may have been taken over by a stranger",
                    error_code=CHECKSUM_MISMATCH,
                    hint=f"look at who owns it now; to trust it all the same: vcm remove {model.root}, then vcm add it "
                    "again",
                    model=name,
                )

    def _suggest(self, requirement: Requirement, errors: list[RegistryError | ModelDownloadError]) -> None:
        missing = errors[0]
        if len(errors) > 1:
            missing.details = tuple(f"nor its fallback: {error.message}" for error in errors[1:])
        elif requirement.repo and isinstance(missing, RepoNotFoundError):
            suggest(self._client, requirement.repo, missing)
        elif requirement.repo and requirement.revision and isinstance(missing, RevisionNotFoundError):
            suggest_refs(self._client, requirement.repo, requirement.revision, missing)

    def _locked(self, repo: str, requirement: Requirement, choice: Choice, before: LockedModel | None) -> LockedModel:
        info, selection = choice.info, choice.selection
        if not selection.files:
            raise ModelNotFoundError(
                f"{info.repo} has no file" + (f" like {', '.join(requirement.include)}" if requirement.include else ""),
                hint=f"check include and exclude under [models.{requirement.name}]",
                model=requirement.name,
            )
        if any(file.masked for file in selection.files):
            self._refuse_masked(info)
        model = LockedModel(
            name=requirement.name,
            source="huggingface",
            repo=info.repo,
            asked=repo if repo != info.repo else None,
            repo_id=info.repo_id,
            gated=info.gated,
            requested=requirement.version or requirement.revision,
            version=choice.version,
            ref=choice.ref,
            commit=info.commit,
            committed=self._client.commit_date(info.repo, info.commit) if self._dated else None,
            format=only_format(file.path for file in selection.files),
            type=requirement.type or info.task,
            license=info.license,
            files=self._files(requirement, info, selection.files, before),
        )
        taken, present = [file.path for file in model.files], [file.path for file in choice.files]
        refuse_gaps(gaps(taken, present, self._reader(model)), requirement)
        name = requirement.name
        if info.repo != repo and (before is None or before.repo != info.repo):
            self._notice(name, f"{repo} is called {info.repo} now")
        if choice.passed_over:
            lack = "lacks" if len(choice.passed_over) == 1 else "lack"
            self._notice(name, f"{listed(choice.passed_over)} {lack} the wanted files; {choice.ref} was taken instead")
        if before is None or before.files != model.files:
            for notice in choice.notices():
                self._notice(name, notice)
            if info.new_version and requirement.version is None and requirement.revision is None:
                # On another branch or commit the card may be an old one, which does not count.
                self._notice(name, f"the card of {info.repo} names a successor: {info.new_version}")
            code = python_files(taken)
            if code:
                self._notice(
                    name,
                    "holds Python code, which runs only where a program says trust_remote_code; pinned like every "
                    f"other file: {', '.join(code)}",
                )
        return model

    def _refuse_masked(self, info: RepoInfo) -> None:
        try:
            self._client.refuse_masked(info.repo)
        except RegistryError as error:
            if info.new_version:
                error.hint += f"; its card names a successor: {info.new_version}"
            raise

    def _files(
        self, requirement: Requirement, info: RepoInfo, files: Iterable[RemoteFile], before: LockedModel | None
    ) -> tuple[LockedFile, ...]:
        """Every file with its SHA-256. Small files, for which the hub publishes none, are had and hashed."""
        known: dict[tuple[str | None, int], str] = {
            (file.oid, file.size): file.sha256 for file in (before.files if before else ()) if file.oid
        }
        digests = {file.path: file.sha256 or known.get((file.oid, file.size)) for file in files}
        unknown = [
            self._wanted(requirement.name, info.repo, info.commit, file) for file in files if digests[file.path] is None
        ]
        digests |= zip((each.path for each in unknown), self.small_files.digests(unknown), strict=True)
        return tuple(LockedFile(file.path, file.size, str(digests[file.path]), file.oid) for file in files)

    def _wanted(self, name: str, repo: str, commit: str, file: HasContent) -> WantedFile:
        return WantedFile(
            model=name,
            path=file.path,
            url=self._client.file_url(repo, commit, file.path),
            repo=repo,
            commit=commit,
            size=file.size,
            sha256=file.sha256,
            oid=file.oid,
        )

    def _reader(self, model: LockedModel) -> Callable[[str], bytes | None]:
        """Gives the bytes of a model's small files; those that are not in the store are fetched."""
        files = {file.path: file for file in model.files}

        def read(path: str) -> bytes | None:
            file = files.get(path)
            if file is None or file.size > configs.LARGEST or model.repo is None or model.commit is None:
                return None
            blobs = self._store.blobs
            if not blobs.is_whole(file.sha256, file.size):
                self._transfer.fetch(self._wanted(model.name, model.repo, model.commit, file))
            return blobs.path(file.sha256).read_bytes()

        return read

    # What it pulls in

    def _followed(self, requirement: Requirement, pinned: Pinned, *, upgrade: bool) -> Iterator[LockedModel]:
        def lock(entry: Requirement) -> Pinned:
            return self._pinned(entry, self._before(entry, requirement.name), upgrade=upgrade)

        def notice(text: str) -> None:
            self._notice(requirement.name, text)

        return follow(requirement, pinned, self._declared, lock, self._references, notice)

    def _references(self, pinned: Pinned) -> list[Reference]:
        model, info = pinned.model, pinned.info
        return references(info.repo, info, self._reader(model), [file.path for file in model.files])


def _answers(model: LockedModel, requirement: Requirement) -> bool:
    if requirement.url is not None:
        return model.url == requirement.url
    return requirement.repo in (model.repo, model.asked, model.fallback_for) and still_satisfies(model, requirement)
