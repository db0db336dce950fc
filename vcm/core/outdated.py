"""What is new of a locked model: facts of the hub in, judgement out.

A commit that changes nothing but documentation among the locked files is no update.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from vcm.core.differences import changed_roles, file_changes
from vcm.core.lock import LockedModel
from vcm.core.metadata import Ref, RemoteFile, RepoInfo
from vcm.core.notices import Notice
from vcm.core.roles import Role
from vcm.core.versions import candidates
from vcm.core.wording import short_commit
from vcm.errors import VcmError

Absence = Literal["gone", "disabled"]


@dataclass(frozen=True, slots=True)
class Release:
    """One commit of a repo.

    Attributes:
        version: the version that a ref spells, where versions are asked for.
        date: when the commit was made, ISO 8601; None where the hub does not say.
    """

    commit: str
    version: str | None = None
    date: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """What the hub says today of the repo that a model was locked from.

    Attributes:
        repo: at its default branch, or why there is no such thing; then there is nothing more to say.
        ref: where the ref that is locked points now; None where it is not there, or none is locked.
        has_commit: whether the locked commit is still there.
        current: what is locked.
        allowed: the newest that the requirement allows; None where nothing does any more.
        latest: the newest of all.
        files: what would be locked of ``allowed``, or of ``latest`` where the one that is allowed is locked already;
            None where all three are one commit.
        successors: the repos that the card's ``new_version`` leads to, one after the other.
        missing_successor: the one at the end of them that is not there.
    """

    repo: RepoInfo | Absence
    ref: Ref | None = None
    has_commit: bool = True
    current: Release
    allowed: Release | None = None
    latest: Release | None = None
    files: tuple[RemoteFile, ...] | None = None
    successors: tuple[str, ...] = ()
    missing_successor: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """What is new of one locked model.

    Attributes:
        current: what is locked; None for a direct file.
        changes: roles of the locked files that are others in ``allowed``, or in ``latest`` where the one that is
            allowed is locked already.
        error: why the hub could not be asked.
    """

    model: LockedModel
    current: Release | None = None
    allowed: Release | None = None
    latest: Release | None = None
    changes: tuple[Role, ...] = ()
    notices: tuple[Notice, ...] = ()
    error: VcmError | None = field(default=None, compare=False)

    @property
    def has_update(self) -> bool:
        """Whether the requirement allows other files than those that are locked, documentation aside."""
        moved = self.allowed is not None and self.current is not None and self.allowed.commit != self.current.commit
        return moved and bool(set(self.changes) - {"docs"})

    @property
    def needs_action(self) -> bool:
        """Whether somebody should do something."""
        return self.has_update or bool(self.notices)


def judge(model: LockedModel, upstream: Upstream) -> News:
    """What is new of a model that was locked from a repo."""
    notices = tuple(_notices(model, upstream))
    if any(notice.kind == "identity-changed" for notice in notices):
        # Whatever a stranger's repo has is no news of this model.
        return News(model=model, current=upstream.current, notices=notices)
    changes = () if upstream.files is None else changed_roles(file_changes(model.files, upstream.files))
    return News(
        model=model,
        current=upstream.current,
        allowed=upstream.allowed,
        latest=upstream.latest,
        changes=changes,
        notices=notices,
    )


def locked_release(model: LockedModel) -> Release:
    """What is locked of a model that comes from a repo."""
    return Release(model.commit or "", model.version, model.committed)


def is_another_repo(model: LockedModel, info: RepoInfo) -> bool:
    """Whether the name leads to a repo that is not the one that was locked."""
    return bool(model.repo_id and info.repo_id and model.repo_id != info.repo_id)


def ref_now(refs: Iterable[Ref], name: str, commit: str | None) -> Ref | None:
    """The ref of that name: of a tag and a branch the one that is still at the commit, else the tag."""
    named = sorted((ref for ref in refs if ref.name == name), key=lambda ref: (ref.commit != commit, ref.kind != "tag"))
    return named[0] if named else None


def highest_version(refs: Iterable[Ref]) -> Release | None:
    """The highest version among the refs; a pre-release only where there is nothing else."""
    found = candidates(refs, "")
    return Release(found[0].ref.commit, str(found[0].version)) if found else None


def _notices(model: LockedModel, upstream: Upstream) -> Iterator[Notice]:
    another = "keep what is installed, and name another repo in models.toml"
    if upstream.repo == "disabled":
        yield Notice("disabled", f"{model.repo} is disabled by the hub or its owner", another)
    if upstream.repo == "gone":
        yield Notice("gone", f"{model.repo} is gone, or private now", another)
    if isinstance(upstream.repo, str):
        return
    if is_another_repo(model, upstream.repo):
        yield identity_notice(model, upstream.repo)
        return
    yield from _deprecated(model, upstream)
    yield from repo_notices(model, upstream.repo)
    if not upstream.has_commit:
        yield commit_notice(model)
    if model.ref is not None:
        yield from ref_notices(model, upstream.ref)


def _deprecated(model: LockedModel, upstream: Upstream) -> Iterator[Notice]:
    if upstream.successors:
        end = upstream.successors[-1]
        if model.via is None:
            hint = f'to take it, write repo = "{end}" under [models.{model.name}] in models.toml'
        else:
            hint = f"it comes with {model.via}: look for a newer one of that"
        yield Notice("deprecated", f"{model.repo} is deprecated, its successor is {end}", hint, end)
    elif upstream.missing_successor:
        # No replacement: whoever takes that name would be believed.
        message = f"{model.repo} is deprecated, and its successor {upstream.missing_successor} is not there"
        yield Notice("deprecated", message, "look at its page for another")


def identity_notice(model: LockedModel, info: RepoInfo) -> Notice:
    """Another repo has taken the name."""
    return Notice(
        "identity-changed",
        f"{info.repo} is not the repo that was locked: its id on the hub was {model.repo_id}, now it is {info.repo_id}",
        "find out who owns it now before you take anything from it",
    )


def repo_notices(model: LockedModel, info: RepoInfo) -> Iterator[Notice]:
    """What became of the repo itself since it was locked."""
    if info.repo != model.repo:
        hint = f"write {info.repo} instead of {model.asked or model.repo} in models.toml, then run vcm lock"
        yield Notice("renamed", f"{model.repo} is called {info.repo} now", hint, info.repo)
    # Of what was imported from a cache nobody knows whether it was gated then: the hub, which has an id for every
    # repo, was not asked.
    if info.gated and not model.gated and model.repo_id:
        yield Notice(
            "gated",
            f"{info.repo} has been gated since it was locked ({info.gated})",
            "accept its terms on its page, then run vcm lock --refresh",
        )


def commit_notice(model: LockedModel) -> Notice:
    """The locked commit is not there any more."""
    return Notice(
        "commit-gone",
        f"the locked commit {_short(model)} of {model.repo} is no longer there: its history was rewritten",
        f"keep what is installed, or run vcm lock --upgrade-model {model.root}",
    )


def ref_notices(model: LockedModel, ref: Ref | None) -> Iterator[Notice]:
    """What became of the tag that was locked; that a branch moves on is no news."""
    hint = f"find out why, then run vcm lock --upgrade-model {model.root}"
    if ref is None:
        yield Notice("tag-moved", f"{model.repo} has no tag or branch {model.ref} any more", hint)
    elif ref.kind == "tag" and ref.commit != model.commit:
        message = f"the tag {ref.name} of {model.repo} points at {short_commit(ref.commit)} now, not at the locked "
        yield Notice("tag-moved", message + _short(model), hint)


def _short(model: LockedModel) -> str:
    return short_commit(model.commit or "")
