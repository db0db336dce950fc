"""Asking the hub whether what is locked is still there, and still the same."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from threading import Event

from vcm.core.lock import LockedModel
from vcm.core.metadata import RepoInfo
from vcm.core.notices import Notice
from vcm.core.outdated import (
    Absence,
    Upstream,
    commit_notice,
    identity_notice,
    is_another_repo,
    judge,
    locked_release,
    ref_notices,
    repo_notices,
)
from vcm.core.upstream import Confirmation, Finding, file_findings, hidden, length_finding, of_notice
from vcm.errors import ModelNotFoundError, VcmError
from vcm.http.addresses import shown_url
from vcm.http.retries import Patience, Wait
from vcm.hub.client import HubClient
from vcm.resolve.outdated import ask_for_each, default_branch, ref_of

_OK = 200
_GONE = (404, 410)


def confirm(client: HubClient, models: Iterable[LockedModel], wait: Wait, cancelled: Event) -> list[Confirmation]:
    """Every model with all that is not as it was locked, in the order given.

    Args:
        client: asks the hub, and takes no old answer for a new one.
        models: locked models.
        wait: rests between attempts to reach a direct file.
        cancelled: once set, nobody waits for the rest.
    """
    findings: dict[str, list[Finding]] = defaultdict(list)

    def ask(model: LockedModel) -> Confirmation:
        if model.url is not None:
            _look_at_file(client, model, model.url, wait, findings[model.name])
        else:
            _look_at_repo(client, model, findings[model.name])
        return Confirmation(model, tuple(findings[model.name]))

    def failed(model: LockedModel, error: VcmError) -> Confirmation:
        return Confirmation(model, tuple(findings[model.name]), error)

    return ask_for_each(models, ask, failed, cancelled)


def _look_at_repo(client: HubClient, model: LockedModel, findings: list[Finding]) -> None:
    assert model.repo is not None and model.commit is not None

    def note(notices: Iterable[Notice]) -> None:
        findings.extend(map(of_notice, notices))

    info, is_there = _locked_commit(client, model.repo, model.commit)
    if isinstance(info, str):
        note(judge(model, Upstream(repo=info, current=locked_release(model))).notices)
        return
    if is_another_repo(model, info):
        note([identity_notice(model, info)])
        return
    note(repo_notices(model, info))
    if model.ref is not None:
        refs = client.refs(info.repo)
        note(ref_notices(model, ref_of(client, info.repo, refs, model.ref, model.commit)))
    if not is_there:
        note([commit_notice(model)])
        return
    files = client.tree(info.repo, model.commit)
    findings.extend(file_findings(model, files))
    if hidden(model, files):
        client.refuse_masked(info.repo)


def _locked_commit(client: HubClient, repo: str, commit: str) -> tuple[RepoInfo | Absence, bool]:
    """The repo at the locked commit, else at its default branch, or why it is not there; and whether the commit is."""
    try:
        return client.info(repo, commit), True
    except ModelNotFoundError:
        return default_branch(client, repo), False


def _look_at_file(client: HubClient, model: LockedModel, url: str, wait: Wait, findings: list[Finding]) -> None:
    def ask() -> Finding | None:
        # Not HEAD, which many servers refuse, and which a signed address does not allow. The body is not read.
        with client.http.request("GET", url, leave_origin=True) as answer:
            if answer.status in _GONE:
                return Finding("gone", f"{shown_url(url)} is not there any more")
            if answer.status != _OK:
                raise client.refused(answer, shown_url(url), None)
            return length_finding(model.files[0], answer.length)

    finding = Patience(wait).attempt(ask)
    if finding is not None:
        findings.append(finding)
