"""The Hub-shaped view: what a program finds that asks for models by their names on the Hub, as a pure function.

A repo goes by its own name and by the one that the manifest asked for, where the lock says another: unchanged code asks
for that. ``main`` is what code without a revision gets, so it leads to the locked commit whatever it was locked by. A
ref that two locked commits claim leads nowhere: it would hide one of them.

The layout is that of the official client's cache:
https://huggingface.co/docs/huggingface_hub/guides/manage-cache
"""

from __future__ import annotations

from vcm.core import names
from vcm.core.records import record
from vcm.core.wording import counted, listed, short_commit
from vcm.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from vcm.core.lock import LockedModel

_MAIN = "main"
_SHOWN = 4


@record(frozen=True)
class ViewedRepo:
    """One repo under one of its names.

    Attributes:
        name: the repo id that programs ask for.
        refs: the commit of each branch and tag.
        files: by commit and path, the tree digest of a snapshot that holds the file.
    """

    name: str
    refs: Mapping[str, str]
    files: Mapping[tuple[str, str], str]

    @property
    def folder(self) -> str:
        """Its folder in the cache."""
        return f"models--{self.name.replace('/', '--')}"


@record(frozen=True)
class HubView:
    """All that a program finds.

    Attributes:
        repos: by name; two whose names differ only in case have the same refs and files, because on some disks their
            folders are one.
        notices: why a ref is not there that somebody may ask for.
    """

    repos: tuple[ViewedRepo, ...]
    notices: tuple[str, ...] = ()

    def summary(self) -> str:
        """What is offered, on one line."""
        offered = [f"{repo.name}@{_shown_revision(repo)}" for repo in self.repos]
        more = len(offered) - _SHOWN
        rest = f" and {more} more" if more > 0 else ""
        return f"{counted(len(offered), 'locked repo')}: {', '.join(offered[:_SHOWN]) or 'none'}{rest}"

    def is_summed_up(self) -> bool:
        """Whether the summary names every repo."""
        return len(self.repos) <= _SHOWN

    def text(self) -> str:
        """What is offered, in full."""
        lines = ["What a program started by vcm run finds of the Hub, offline: the repos of models.lock.", ""]
        for repo in self.repos:
            commits = sorted({commit for commit, _ in repo.files})
            lines += [repo.name, f"    revisions: {', '.join([*_ordered(repo.refs), *commits])}"]
            lines += [f"    {path}" for path in sorted({path for _, path in repo.files})]
        lines += ["", *self.notices] if self.notices else []
        lines += [
            "",
            "For another repo:      vcm add NAME REPO",
            "For another revision:  vcm add NAME REPO@REVISION",
            "For another file:      include in models.toml, then vcm sync",
        ]
        return "\n".join(lines) + "\n"


def _shown_revision(repo: ViewedRepo) -> str:
    """A ref that says more than main does, else main, else a commit."""
    refs = _ordered(repo.refs)
    return next((ref for ref in refs if ref != _MAIN), refs[0] if refs else short_commit(min(repo.files)[0]))


def _ordered(refs: Iterable[str]) -> list[str]:
    return sorted(refs, key=lambda ref: (ref != _MAIN, ref))


def make_hub_view(models: Iterable[LockedModel]) -> HubView:
    """The view of these models; those of a url are on no hub, and not in it.

    Raises:
        ConfigError: two models disagree on a file of one commit.
    """
    # By the name without case: some disks know no other.
    claims: dict[str, dict[str, LockedModel]] = {}
    spellings: dict[str, set[str]] = {}
    for model in models:
        for name in (model.repo, model.asked, model.fallback_for):
            if name is not None and model.commit is not None:
                claims.setdefault(name.lower(), {})[model.name] = model
                spellings.setdefault(name.lower(), set()).add(name)
    repos, notices = list[ViewedRepo](), list[str]()
    for key, by_name in sorted(claims.items()):
        claiming = list(by_name.values())
        spelled = sorted(spellings[key])
        refs, problems = _refs(claiming)
        notices += [f"{spelled[0]} {problem}" for problem in problems]
        files = _files(claiming)
        repos += [ViewedRepo(name, refs, files) for name in spelled]
    return HubView(tuple(repos), tuple(notices))


def _refs(models: Sequence[LockedModel]) -> tuple[dict[str, str], list[str]]:
    """The commit of each ref of a repo, and what is wrong with those that have none."""
    claimed: dict[str, set[str]] = {}
    for model in models:
        for ref in _asked_refs(model):
            claimed.setdefault(ref, set()).add(model.commit or "")
    claimed.setdefault(_MAIN, {model.commit or "" for model in models})
    refs, problems = dict[str, str](), list[str]()
    for ref in _ordered(claimed):
        collision = names.first_collision([*refs, ref])
        if len(claimed[ref]) == 1 and not collision:
            refs[ref] = min(claimed[ref])
        elif collision:
            problems.append(f'has no "{ref}" offline, which cannot stand beside "{collision[0]}": name the commit')
        else:
            told = [f"{model.name} ({_told(model)})" for model in models if model.commit in claimed[ref]]
            problems.append(f'has no "{ref}" offline: it would be {listed(told)}; name a revision')
    return refs, problems


def _told(model: LockedModel) -> str:
    return " ".join(filter(None, (model.version or model.ref, short_commit(model.commit or ""))))


def _asked_refs(model: LockedModel) -> list[str]:
    """The branches and tags that a model was asked for by."""
    asked = {model.ref}
    if model.version is None:
        asked.add(model.requested or _MAIN)
    # A commit needs no ref, and what no disk can hold gets none.
    return [ref for ref in asked if ref and not names.is_commit(ref) and names.if_valid(ref, names.portable_file_path)]


def _files(models: Sequence[LockedModel]) -> dict[tuple[str, str], str]:
    """By commit and path, the snapshot that holds the file; a commit that is locked twice has the files of both."""
    files: dict[tuple[str, str], str] = {}
    known: dict[tuple[str, str], str] = {}
    for model in models:
        for file in model.files:
            place = (model.commit or "", file.path)
            if known.setdefault(place, file.sha256) != file.sha256:
                raise _disagreement(model, f'two models have other bytes for "{file.path}" of one commit')
            files.setdefault(place, model.tree_digest)
    if len(models) > 1:
        collision = names.first_collision(f"{commit}/{path}" for commit, path in files)
        if collision:
            first, second = (path.partition("/")[2] for path in collision)
            raise _disagreement(models[0], f'"{first}" and "{second}" of one commit cannot stand side by side')
    return files


def _disagreement(model: LockedModel, problem: str) -> ConfigError:
    return ConfigError(
        f"{model.repo} at {short_commit(model.commit or '')}: {problem}",
        hint=f"run vcm lock --upgrade-model {model.root}",
        model=model.name,
    )
