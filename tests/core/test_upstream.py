"""Whether a locked model is upstream what it was."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.core.test_outdated import FILES, MODEL, SAME
from vcm.core.metadata import RemoteFile
from vcm.core.notices import KINDS, Notice
from vcm.core.upstream import Confirmation, Finding, file_findings, hidden, length_finding, of_notice

CONFIG, WEIGHTS = SAME[1], SAME[2]


def findings(*files: RemoteFile) -> list[Finding]:
    return list(file_findings(MODEL, [SAME[0], *files]))


def test_all_is_as_it_was():
    assert findings(CONFIG, WEIGHTS) == []


def test_a_file_that_was_not_locked_matters_not():
    assert findings(CONFIG, WEIGHTS, RemoteFile("new.py", 1, oid="c" * 40)) == []


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ([CONFIG], ("missing", "model.safetensors", "model.safetensors is not in the locked commit any more")),
        (
            [replace(CONFIG, size=3), WEIGHTS],
            ("changed", "config.json", "config.json has 3 bytes, locked are 2"),
        ),
        (
            [replace(CONFIG, oid="c" * 40), WEIGHTS],
            ("changed", "config.json", f"config.json has git blob {'c' * 40}, locked is git blob {'a' * 40}"),
        ),
        (
            [CONFIG, replace(WEIGHTS, sha256="c" * 64)],
            (
                "changed",
                "model.safetensors",
                f"model.safetensors has sha256:{'c' * 64}, locked is sha256:{'3' * 64}",
            ),
        ),
        (
            [CONFIG, RemoteFile("model.safetensors", 4000, oid="c" * 40)],
            (
                "changed",
                "model.safetensors",
                f"model.safetensors has git blob {'c' * 40}, locked is sha256:{'3' * 64}",
            ),
        ),
    ],
)
def test_a_file_that_is_not_what_it_was(files, expected):
    (finding,) = findings(*files)
    assert (finding.kind, finding.path, finding.message) == expected
    assert finding.is_wrong


def test_a_hidden_digest_is_neither_right_nor_wrong():
    masked = RemoteFile("model.safetensors", 4000, masked=True)
    assert findings(CONFIG, masked) == []
    assert hidden(MODEL, [CONFIG, masked, RemoteFile("other.bin", 1, masked=True)]) == ("model.safetensors",)
    assert [each.message for each in findings(CONFIG, replace(masked, size=1))] == [
        "model.safetensors has 1 bytes, locked are 4000"
    ]


@pytest.mark.parametrize("length", [None, 4000])
def test_a_length_that_fits_or_that_nobody_tells(length):
    assert length_finding(FILES[2], length) is None


def test_another_length():
    message = "model.safetensors has 0 bytes, locked are 4000"
    assert length_finding(FILES[2], 0) == Finding("changed", message, "model.safetensors")


def test_what_is_wrong_and_what_is_only_good_to_know():
    found = {kind: of_notice(Notice(kind, "words")) for kind in KINDS}
    harmless = {kind for kind, finding in found.items() if not finding.is_wrong}
    assert harmless == {"deprecated", "renamed", "gated"}
    assert not Confirmation(MODEL, (found["renamed"],)).is_wrong
    assert Confirmation(MODEL, (found["renamed"], found["gone"])).is_wrong
    assert not Confirmation(MODEL).is_wrong
