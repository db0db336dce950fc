"""Kinds of detectors are found among what is really installed: here, folders as pip leaves them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.detectors.conftest import options
from vcm.detectors.kinds import find_kind, missing_library
from vcm.errors import ConfigError

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Installs a package that offers one kind of detector."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(package: str, kind: str, value: str, code: str = "") -> None:
        module = value.partition(":")[0]
        monkeypatch.delitem(sys.modules, module, raising=False)
        (tmp_path / f"{module}.py").write_text(code)
        metadata = tmp_path / f"{package}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(f"[vcm.detectors]\n{kind} = {value}\n")

    return write


def refusal(kind: str) -> tuple[str, str]:
    with pytest.raises(ConfigError) as caught:
        find_kind(kind)
    return str(caught.value), caught.value.hint


@pytest.mark.parametrize("kind", ["image-classification", "sentence-similarity", "transformers", "word-list"])
def test_vcm_s_own(kind: str) -> None:
    make = find_kind(kind)

    with pytest.raises(ConfigError) as caught:
        make(None, options())
    assert str(caught.value).startswith("models.toml: pipeline.detectors.it.")


def test_another_package_s(install: Install) -> None:
    install("loud", "loud", "loud_detector:make", "def make(folder, options):\n    return 'made'\n")

    assert find_kind("loud")(None, None) == "made"  # type: ignore[arg-type, comparison-overlap]


def test_none_of_that_name() -> None:
    assert refusal("wordlist") == (
        'there is no kind of detector "wordlist", did you mean "word-list"?',
        (
            "there are image-classification, sentence-similarity, transformers and word-list; packages add others as "
            "entry points of the group vcm.detectors"
        ),
    )


def test_two_of_one_name(install: Install) -> None:
    install("loud", "loud", "loud_one:make")
    install("noisy", "loud", "loud_two:make")

    assert refusal("loud") == (
        'several packages offer a kind of detector "loud": loud and noisy',
        "uninstall all but one of them",
    )


@pytest.mark.parametrize(
    ("value", "code", "why"),
    [
        ("bad_one:make", "import not_installed_anywhere", "No module named 'not_installed_anywhere'"),
        ("bad_two:make", "1 / 0", "ZeroDivisionError: division by zero"),
        ("bad_three:make", "def make(", "SyntaxError: '(' was never closed (bad_three.py, line 1)"),
        ("bad_four:make", "", "AttributeError: module 'bad_four' has no attribute 'make'"),
        ("bad_five:make", "make = 1", "it is no function"),
    ],
)
def test_one_that_cannot_be_imported(install: Install, value: str, code: str, why: str) -> None:
    install("loud", "loud", value, code)

    assert refusal("loud") == (
        f'the kind of detector "loud" of the package loud cannot be used: {why}',
        "install another version of loud, or tell its author",
    )


def test_a_library_of_vcm_s_own_kinds_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "vcm.detectors.image_classification", raising=False)
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    monkeypatch.setattr(sys, "meta_path", [_Without("onnxruntime"), *sys.meta_path])

    assert refusal("image-classification") == (
        'the kind of detector "image-classification" needs onnxruntime, which is not installed',
        "pip install 'vcm[video]'",
    )
    assert missing_library("transformers", "transformers").hint == "pip install 'vcm[transformers]'"


class _Without:
    """An importer that does not find one library."""

    def __init__(self, library: str) -> None:
        self.library = library

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == self.library:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
