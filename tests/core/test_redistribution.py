"""Which licences let a mirror hand on what they cover."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from vcm.core.lock import LockedFile, LockedModel
from vcm.core.redistribution import caution, is_redistributable

FREE = """
    apache-2.0 mit bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0 afl-3.0 artistic-2.0 cc0-1.0 cc-by-2.0
    cc-by-4.0 cc-by-sa-3.0 cc-by-nd-4.0 cdla-permissive-2.0 cdla-sharing-1.0 ecl-2.0 epl-2.0 etalab-2.0 eupl-1.2
    agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-lr lppl-1.3c isc ms-pl mpl-2.0 odc-by odbl openmdw-1.0 osl-3.0
    openrail openrail++ bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0 bigcode-openrail-m
    postgresql ofl-1.1 ncsa unlicense zlib pddl wtfpl
"""
NOT_CLEARLY = """
    other unknown cc cc-by-nc-4.0 cc-by-nc-nd-4.0 cc-by-nc-sa-3.0 llama2 llama3.1 gemma deepfloyd-if-license
    apple-amlr intel-research h-research c-uda fair-noncommercial-research-license mit-c mit- -2.0 2.0
"""


@pytest.mark.parametrize("licence", FREE.split())
def test_copies_may_be_handed_on(licence):
    assert is_redistributable(licence)
    assert is_redistributable(f"{licence.upper()}, mit")


@pytest.mark.parametrize("licence", [None, "", *NOT_CLEARLY.split()])
def test_not_clearly(licence):
    assert not is_redistributable(licence)
    assert not is_redistributable(f"mit, {licence or ''}")


def model(**about: Any) -> LockedModel:
    empty = LockedModel(name="frames", source="huggingface", files=(LockedFile("a.bin", 1, "0" * 64),))
    return replace(empty, **about)


def test_what_is_said():
    assert caution(model(license="mit"), "all") is None
    assert caution(model(license="gemma"), "all") == (
        'frames: its licence is "gemma", and mirroring is redistribution: check whether it allows that'
    )
    assert caution(model(), "all") == (
        "frames: it states no licence, and mirroring is redistribution: check whether it allows that"
    )
    assert caution(model(gated="auto", license="mit"), "whoever has the bundle has it") == (
        "frames: its publisher decides who gets it, and whoever has the bundle has it"
    )
