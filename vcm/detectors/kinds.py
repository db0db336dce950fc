"""Kinds of detectors, found by name among what installed packages offer."""

from __future__ import annotations

from importlib import metadata

from vcm.core.wording import did_you_mean, listed, printable
from vcm.detectors.base import ENTRY_POINTS, MakeDetector
from vcm.detectors.model_files import reason
from vcm.errors import ConfigError

_OWN = "vcm.detectors."
# The extra that holds what a kind of vcm's own runs on, where it is not the usual one.
_EXTRAS = {"transformers": "transformers"}
_USUAL_EXTRA = "video"


def find_kind(name: str) -> MakeDetector:
    """The function that makes detectors of a kind.

    Args:
        name: of the kind, as ``[pipeline.detectors.NAME]`` gives it.

    Raises:
        ConfigError: no package offers it, two do, or the one that does cannot be imported.
    """
    offered = metadata.entry_points(group=ENTRY_POINTS)
    entries = [entry for entry in offered if entry.name == name]
    if not entries:
        names = sorted({entry.name for entry in offered})
        raise ConfigError(
            f'there is no kind of detector "{printable(name)}"{did_you_mean(name, names)}',
            hint=f"there are {listed(names)}; packages add others as entry points of the group {ENTRY_POINTS}",
        )
    if len(entries) > 1:
        raise ConfigError(
            f'several packages offer a kind of detector "{name}": {listed(sorted(map(_package, entries)))}',
            hint="uninstall all but one of them",
        )
    return _load(entries[0])


def missing_library(kind: str, library: str) -> ConfigError:
    """The error for a kind of vcm's own whose library is not installed."""
    return ConfigError(
        f'the kind of detector "{kind}" needs {library}, which is not installed',
        hint=f"pip install 'vcm[{_EXTRAS.get(kind, _USUAL_EXTRA)}]'",
    )


def _load(entry: metadata.EntryPoint) -> MakeDetector:
    try:
        make = entry.load()
    except ModuleNotFoundError as error:
        if entry.module.startswith(_OWN) and error.name:
            raise missing_library(entry.name, error.name.partition(".")[0]) from None
        raise _broken(entry, reason(error)) from None
    except Exception as error:  # noqa: BLE001  (whatever the package's own code raises)
        raise _broken(entry, f"{type(error).__name__}: {reason(error)}") from None
    if not callable(make):
        raise _broken(entry, "it is no function")
    return make  # type: ignore[no-any-return]


def _broken(entry: metadata.EntryPoint, why: str) -> ConfigError:
    return ConfigError(
        f'the kind of detector "{entry.name}" of the package {_package(entry)} cannot be used: {why}',
        hint=f"install another version of {_package(entry)}, or tell its author",
    )


def _package(entry: metadata.EntryPoint) -> str:
    return entry.dist.name if entry.dist else entry.value
