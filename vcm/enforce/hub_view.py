"""Unchanged code on the locked models: a Hub-shaped view for another program, or for a part of this one.

A process has one environment, and libraries copy what they read from it. So there is one view in force in a process:
who asks for the same one again, in another thread, shares it; who asks for another meanwhile is refused.
"""

from __future__ import annotations

import os
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

from vcm.core.hub_view import HubView, make_hub_view
from vcm.core.records import record
from vcm.enforce import gate
from vcm.errors import ConfigError
from vcm.settings import change_environment, environment_with, program_environment, read_hub_cache
from vcm.store.hub_views import OpenedView, open_view

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from types import ModuleType

    from vcm.enforce.gate import Checked
    from vcm.store.project import Project
    from vcm.store.store import Store

# Where libraries keep what they read from the environment; several hold copies of huggingface_hub's.
_CACHES = (
    "HF_HUB_CACHE",
    "HUGGINGFACE_HUB_CACHE",
    "TRANSFORMERS_CACHE",
    "PYTORCH_TRANSFORMERS_CACHE",
    "PYTORCH_PRETRAINED_BERT_CACHE",
    "DIFFUSERS_CACHE",
)
_SWITCHES = ("HF_HUB_OFFLINE", "_is_offline_mode")


@record(frozen=True)
class Prepared:
    """What another program needs to run on the locked models.

    Attributes:
        view: what it finds.
        opened: where; held open for it.
        environment: its whole environment.
    """

    view: HubView
    opened: OpenedView
    environment: dict[str, str]


def prepare(project: Project, store: Store, answers: Iterable[Checked]) -> Prepared:
    """Make the view for a program that takes this process's place.

    Args:
        project: whose models.
        store: where they are.
        answers: what the gate has let through.

    Raises:
        VcmError: there is no place for the view, or models that cannot be in one.
    """
    models = [answer.model for answer in answers if not answer.findings]
    view = make_hub_view(models)
    opened = open_view(view, models, store, inheritable=True)
    changes = program_environment(opened.hub, project.folder, store.root)
    return Prepared(view, opened, environment_with(changes))


@contextmanager
def hub_view(project: str | Path | None = None, groups: str | Collection[str] = ()) -> Iterator[dict[str, Path]]:
    """Let code that asks for models by their names on the Hub find the locked ones, and nothing else, offline.

    What ``vcm run`` does for a program, for the body of a ``with``: the gate first, then the environment and the copies
    that imported libraries hold of it; all is as before at the end. It is in force in the whole process. Threads may
    enter it at the same time, and a process that is forked inside stays in it.

    Args:
        project: as for ``vcm.gate``.
        groups: as for ``vcm.gate``.

    Yields:
        What ``vcm.gate`` returns: the snapshot's folder of every installed model, by name.

    Raises:
        VcmError: as ``vcm.gate``; or there is no place for the view.
        ConfigError: another view is in force in this process.
    """
    opened = gate.open_project(project)
    manifest = opened.manifest()
    store = gate.open_store(opened, manifest)
    answers = gate.passing(opened, manifest, store, groups)
    models = [answer.model for answer in answers]
    wanted = (opened.folder, store.root, make_hub_view(models))
    with _changing:
        if _in_force.users == 0:
            _in_force.enter(wanted, open_view(wanted[2], models, store, inheritable=False))
        elif _in_force.what != wanted:
            raise ConfigError(
                f"another hub_view() is in force in this process, of {_in_force.what[0]}",
                hint="leave it first, or start one of the two with vcm run",
            )
        _in_force.users += 1
    try:
        yield {answer.model.name: answer.path for answer in answers}
    finally:
        with _changing:
            _in_force.users -= 1
            if _in_force.users == 0:
                _in_force.leave()


class _InForce:
    """The view that is in force in this process.

    Attributes:
        users: how many are inside; 0 where there is none.
        what: the project's folder, the store's, and what is offered.
    """

    def __init__(self) -> None:
        self.users = 0
        self.what: tuple[Path, Path, HubView] = (Path(), Path(), HubView(()))

    def enter(self, what: tuple[Path, Path, HubView], opened: OpenedView) -> None:
        self.what = what
        self._opened = opened
        self._outside = read_hub_cache()
        self._environment = change_environment(program_environment(opened.hub, what[0], what[1]))
        self._inside = str(opened.hub), True
        self._copies = {(id(module), name): value for module, name, value in _copies()}
        for module, name, value in _copies():
            setattr(module, name, self._inside[isinstance(value, bool)])
        _forget_sessions()

    def leave(self) -> None:
        change_environment(self._environment)
        for module, name, value in _copies():
            if value == self._inside[isinstance(value, bool)]:
                # A module that was imported meanwhile gets what it would have read outside.
                before = self._copies.get((id(module), name), self._outside[isinstance(value, bool)])
                setattr(module, name, before)
        _forget_sessions()
        self._opened.close()


def _copies() -> list[tuple[ModuleType, str, str | bool]]:
    """What the imported modules hold of the environment."""
    return [
        (module, name, value)
        for module in list(sys.modules.values())
        for names, kind in ((_CACHES, str), (_SWITCHES, bool))
        for name in names
        if isinstance(value := getattr(module, "__dict__", {}).get(name), kind)
    ]


def _forget_sessions() -> None:
    """Let huggingface_hub before 1.0 make its sessions anew, which know from then on whether they are offline."""
    forget = getattr(sys.modules.get("huggingface_hub.utils._http"), "reset_sessions", None)
    if forget is not None:
        forget()


_in_force = _InForce()
_changing = threading.Lock()


if hasattr(os, "register_at_fork"):
    # No process is forked while another thread is half-way through a change.
    os.register_at_fork(before=_changing.acquire, after_in_parent=_changing.release, after_in_child=_changing.release)
