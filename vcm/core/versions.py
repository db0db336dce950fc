"""Versions on the Hub: refs whose names PEP 440 can read."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from vcm.core.metadata import Ref


@dataclass(frozen=True, slots=True)
class Candidate:
    """A ref that is a version."""

    version: Version
    ref: Ref


def version_of(ref_name: str) -> Version | None:
    """The version a ref's name spells, after an optional leading ``v``."""
    try:
        return Version(re.sub(r"^[vV](?=\d)", "", ref_name))
    except ValueError:  # InvalidVersion, or more digits than Python converts
        return None


def candidates(refs: Iterable[Ref], specifier: str | None = None) -> list[Candidate]:
    """The refs that are versions and satisfy the specifier, highest first; of equal versions a tag comes first.

    Pre-releases as ``packaging`` treats them: only where the specifier names one, or nothing else fits.
    """
    # Branches before tags, so that a tag of the same version replaces the branch.
    by_version: dict[Version, Candidate] = {}
    for ref in sorted(refs, key=lambda ref: (ref.kind == "tag", ref.name)):
        version = version_of(ref.name)
        if version is not None:
            by_version[version] = Candidate(version, ref)
    wanted: Iterable[Version] = by_version
    if specifier is not None:
        wanted = SpecifierSet(specifier).filter(by_version)
    return [by_version[version] for version in sorted(wanted, reverse=True)]
