"""What a stranger's file may hold on purpose: each is refused with a ConfigError, quickly and without a secret."""

from __future__ import annotations

import re
import time

import pytest

from vcm.core import editing, names, versions, wording
from vcm.core.lock import Lock, LockedFile, LockedModel, lock_text, parse_lock
from vcm.core.manifest import Requirement, parse_manifest
from vcm.core.metadata import RemoteFile
from vcm.core.selection import select
from vcm.errors import ConfigError

REPO = '[models.a]\nrepo = "x/y"\n'
URL = '[models.a]\nurl = "https://h/x"\n'
HUGE = "0x" + "f" * 6000  # hex escapes Python's limit on the digits of a number
NINES = "9" * 5000


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_manifest(text.encode(), vcm_version="0.1.0")
    return caught.value.message


@pytest.mark.parametrize(
    "text",
    [
        f"{REPO}version = {HUGE}",
        f"[cache]\ndisk-headroom = {HUGE}",
        f"{URL}size = {HUGE}",
        f"models = {HUGE}",
        f'[project]\nrequires-vcm = ">={NINES}"',
        f'{REPO}version = "=={NINES}"',
        REPO + 'version = "== 1.0 \\t, <2"',
        f'{REPO}marker = "{"(" * 5000}"',
        f"{REPO}marker = \"python_version ~= 'abc'\"",
        f"{REPO}marker = \"'a' in extras\"",
        f"{REPO}marker = \"'linux' == 'linux'\"",
        f"{REPO}include = ['*a*a*a*a*b']",
    ],
    ids=lambda text: text[-40:],
)
def test_what_would_break_a_parser_is_refused(text: str) -> None:
    message = refusal(text)
    assert message.startswith("models.toml:")
    assert len(message) < 400


@pytest.mark.parametrize("pattern", ["!", "\\", "a\\", "[z-a]", "[[:alpha:]]"])
@pytest.mark.parametrize("key", ["include", "exclude"])
def test_a_pattern_that_is_no_glob_is_refused_when_files_are_chosen(pattern: str, key: str) -> None:
    requirement = Requirement(name="a", repo="x/y", **{key: (pattern,)})  # type: ignore[arg-type]
    with pytest.raises(ConfigError) as caught:
        select([RemoteFile("config.json", 1, oid="0" * 40)], requirement)
    assert str(caught.value) == f'a: {key}: "{pattern}" is no gitignore-style glob'
    assert caught.value.hint == "mend it under [models.a] in models.toml"


def test_huge_numbers_in_a_lock_are_refused() -> None:
    model = LockedModel(name="a", source="url", url="https://h/x", files=(LockedFile("a", 1, "0" * 64),))
    text = lock_text(Lock(manifest_sha256="0" * 64, models=(model,)))
    for changed in (
        text.replace("size = 1,", f"size = {HUGE},"),
        re.sub("lock-version = 1", f"lock-version = {HUGE}", text),
    ):
        with pytest.raises(ConfigError):
            parse_lock(changed.encode())


def test_the_line_is_the_right_one_among_comments_and_odd_line_ends() -> None:
    assert refusal('[models.a]\n# version = "~=1"\nrepo = "x/y"\nversion = 5\n').startswith("models.toml:4:")
    assert refusal('[models.a]\n# \u2028 note\nrepo = "x/y"\nversion = 5\n').startswith("models.toml:4:")
    assert refusal("[hub]\n[model.a]\n").startswith("models.toml:2: model:")


def test_looking_for_the_line_takes_no_time() -> None:
    begun = time.process_time()
    assert refusal('[cache]\ndir = """\n[' + " " * 50_000 + '\n"""\nx = 1').startswith("models.toml:5:")
    # Backtracking took minutes; this is no measurement.
    assert time.process_time() - begun < 5


@pytest.mark.parametrize(
    "url", ["https://user:s3cret@e.com/x", "https://user:s3@cret@e.com", "https://u:s3cret@e\u2100.com/"]
)
@pytest.mark.parametrize("key", ["url", "repo", "type", "version"])
def test_a_password_in_an_address_is_in_no_message(url: str, key: str) -> None:
    assert "cret" not in refusal(f"[models.a]\n{key} = '{url}'\n")


def test_a_byte_order_mark_is_called_one() -> None:
    assert refusal("\ufeff[hub]\n") == "models.toml:1: begins with a byte-order mark"


def test_a_ref_of_a_thousand_digits_is_no_version() -> None:
    assert versions.version_of(NINES) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# c\n",
        "[project]\nname = 'x'\n",
        "[project]\nname = 'x'\n\n\n",
        "[models.a]\nrepo = 'x/y'\n\n\n[hub]\n",
        "[models.a]\r\nrepo = 'x/y'\r\n",
    ],
)
def test_removing_what_was_added_gives_the_same_bytes(text: str) -> None:
    assert editing.remove_model(editing.add_model(text, "new", {"repo": "a/b"}), "new") == text


def test_the_last_model_of_a_file_with_windows_line_ends_can_be_removed() -> None:
    text = "[models.a]\r\nrepo='x'\r\n[models.b]\r\nrepo='x'"
    assert editing.remove_model(text, "b") == "[models.a]\r\nrepo='x'\r\n"


def test_a_number_that_is_not_equal_to_itself_is_no_obstacle() -> None:
    text = "[pipeline.detectors.a]\nkind = 'k'\noptions = { x = nan }\n"
    assert editing.add_model(text, "n", {"repo": "a/b"}) == text + '\n[models.n]\nrepo = "a/b"\n'


def test_tables_too_deep_to_compare_are_refused() -> None:
    text = '[pipeline.detectors.a]\nkind = "k"\n[pipeline.detectors.a.options' + ".a" * 3000 + "]\nx = 1\n"
    with pytest.raises(ConfigError) as caught:
        editing.add_model(text, "n", {"repo": "a/b"})
    assert caught.value.message == "models.toml is written in a way that vcm cannot edit"


def test_the_way_by_hand_is_one_line() -> None:
    with pytest.raises(ConfigError) as caught:
        editing.add_model('models = { a = { repo = "x/y" } }\r\n', "n", {"repo": "a/b"})
    assert caught.value.hint == 'add this to it by hand: [models.n] repo = "a/b"'


@pytest.mark.parametrize("path", ["con .txt", "conin$", "CONOUT$.x"])
def test_windows_device_names_in_disguise(path: str) -> None:
    with pytest.raises(ValueError, match="is a reserved name on Windows"):
        names.portable_file_path(path)


@pytest.mark.parametrize("paths", [("\u0390", "\u03aa\u0301"), ("\u1fe7", "\u03ab\u0342")])
def test_names_that_differ_only_in_unicode_form_collide(paths: tuple[str, str]) -> None:
    assert names.first_collision(paths) == paths


@pytest.mark.parametrize("text", ["a.lock/b", "@", ".hid", "a/.b", "./x"])
def test_what_git_refuses_as_a_ref_name(text: str) -> None:
    with pytest.raises(ValueError, match="a revision is the name of a branch, a tag or a commit"):
        names.revision(text)


def test_bytes_are_rounded_into_the_next_unit() -> None:
    assert wording.byte_count(999_999) == "1.0 MB"
    assert wording.byte_count(999_949) == "999.9 kB"


def test_notes_can_be_added_below_the_hint() -> None:
    error = ConfigError("x", hint="h")
    error.add_note("n")
    assert error.__notes__ == ["hint: h", "n"]
