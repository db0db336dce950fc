"""What happens to people: publishers who leave, mirrors that die, pages pasted instead of files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Result
from vcm.testing import HubSimulator

Run = Callable[..., Result]


def test_upgrading_one_model_asks_about_no_other(hub: HubSimulator, vcm: Run, manifest: Callable[[str], Path]) -> None:
    moving = hub.add_repo("acme/moving", {"a.onnx": b"one"})
    hub.add_repo("acme/leaving", {"b.onnx": b"two"})
    manifest('[models.leaving]\nrepo = "acme/leaving"\n\n[models.moving]\nrepo = "acme/moving"\n')
    assert vcm("lock").code == 0
    moving.commit({"a.onnx": b"new"})
    hub.remove("acme/leaving")
    hub.clear_requests()

    result = vcm("lock", "--upgrade-model", "moving")

    assert result.code == 0, result.err
    assert " ~ moving" in result.out
    assert "leaving" not in result.out + result.err
    assert not [request for request in hub.requests if "leaving" in request.path]


def test_an_optional_model_that_is_dead_takes_no_other_with_it(
    hub: HubSimulator, vcm: Run, manifest: Callable[[str], Path], cache: Path
) -> None:
    dead, alive = hub.add_file("dead.onnx", b"the same bytes"), hub.add_file("alive.onnx", b"the same bytes")
    manifest(
        f'[models.a-dead]\nurl = "{dead}"\noptional = true\n\n[models.b-alive]\nurl = "{alive}"\n'
        '\n[models.c-gone]\nrepo = "acme/gone"\noptional = true\n'
    )
    hub.add_repo("acme/gone", {"c.onnx": b"other bytes"})
    assert vcm("lock").code == 0
    for path in (cache / "blobs" / "sha256").iterdir():
        path.unlink()
    hub.remove("acme/gone")

    result = vcm("sync")

    assert result.code == 0, result.err
    assert result.err.count("error: ") == 1
    assert "error: c-gone/c.onnx: acme/gone at " in result.err
    assert "hint: it is optional, so this is no failure\n" in result.err
    assert vcm("check").out == ("2 models locked and installed, unchanged; optional and not installed: c-gone\n")


def test_an_optional_model_that_cannot_be_repaired_does_not_stop_the_program(
    hub: HubSimulator, vcm: Run, manifest: Callable[[str], Path]
) -> None:
    hub.add_repo("acme/extra", {"x.onnx": b"bytes"})
    manifest('[models.extra]\nrepo = "acme/extra"\noptional = true\n')
    assert vcm("sync").code == 0
    file = Path(vcm("path", "extra", "x.onnx").out.strip())
    file.chmod(0o644)
    file.write_bytes(b"BYTES")
    hub.remove("acme/extra")
    # Fails closed while it stands there damaged.
    assert vcm("check").code == 1

    assert vcm("sync").code == 0

    assert vcm("check").out == "0 models locked and installed, unchanged; optional and not installed: extra\n"


def test_a_page_is_not_pinned_as_a_model(hub: HubSimulator, vcm: Run, project: Path, web_page: str) -> None:
    assert vcm("init").code == 0
    before = (project / "models.toml").read_bytes()

    result = vcm("add", "page", web_page)

    assert (result.code, result.out) == (3, "")
    assert result.err.endswith(
        "error: page/frames: the address leads to a web page, not to a file\n"
        "hint: of a repo, name the id: vcm add NAME namespace/name; of a file, its own address\n"
    )
    assert (project / "models.toml").read_bytes() == before
    assert not (project / "models.lock").exists()


@pytest.fixture
def web_page(hub: HubSimulator) -> str:
    """The address of a repo's page, as a browser shows it."""
    from vcm.testing import Fault

    hub.fail(
        Fault(
            path="/acme/frames",
            status=200,
            headers={"Content-Type": "text/html; charset=utf-8"},
            body=b"<html>",
            times=None,
        )
    )
    return f"{hub.endpoint}/acme/frames"
