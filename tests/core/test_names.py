"""What may be a name: models, repos, revisions, digests, paths, addresses."""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Callable
from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vcm.core import names


def accepted(check: Callable[[str], str], text: str) -> None:
    assert check(text) == text


def refused(check: Callable[[str], str], text: str) -> str:
    with pytest.raises(ValueError, match=r"\w") as caught:
        check(text)
    assert type(caught.value) is ValueError
    return str(caught.value)


@pytest.mark.parametrize("text", ["a", "0", "a-b", "a.b_c-d", "whisper-base.en", "a" * 96])
def test_a_model_name(text):
    accepted(names.model_name, text)


@pytest.mark.parametrize(
    "text", ["", "A", "a b", "-a", "a-", ".a", "a.", "_a", "a/b", "é", "a\n", "٣", "a" * 97, "..", "a:b"]
)
def test_no_model_name(text):
    assert refused(names.model_name, text) == (
        "a model's name is made of a-z, 0-9, '.', '_' and '-', and begins and ends with a-z or 0-9"
    )


@pytest.mark.parametrize("text", ["gpt2", "acme/a", "Acme/A_b-c.d", "0x/1.5", "a/" + "b" * 96, "_a/b_"])
def test_a_repo_id(text):
    accepted(names.repo_id, text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a/b/c", "a repo id is 'namespace/name'"),
        ("/a/b", "a repo id is 'namespace/name'"),
        ("", "each part of a repo id is 1 to 96 of A-Z, a-z, 0-9, '-', '_' and '.'"),
        ("/a", "each part of a repo id is 1 to 96 of A-Z, a-z, 0-9, '-', '_' and '.'"),
        ("a/", "each part of a repo id is 1 to 96 of A-Z, a-z, 0-9, '-', '_' and '.'"),
        ("a/b c", "each part of a repo id is 1 to 96 of A-Z, a-z, 0-9, '-', '_' and '.'"),
        ("a/b\n", "each part of a repo id is 1 to 96 of A-Z, a-z, 0-9, '-', '_' and '.'"),
        ("a/" + "b" * 97, "each part of a repo id is 1 to 96 of A-Z, a-z, 0-9, '-', '_' and '.'"),
        ("a/%2e%2e", "each part of a repo id is 1 to 96 of A-Z, a-z, 0-9, '-', '_' and '.'"),
        ("a\\b", "each part of a repo id is 1 to 96 of A-Z, a-z, 0-9, '-', '_' and '.'"),
        ("a/é", "each part of a repo id is 1 to 96 of A-Z, a-z, 0-9, '-', '_' and '.'"),
        ("..", "no part of a repo id begins or ends with '-' or '.'"),
        ("a/.", "no part of a repo id begins or ends with '-' or '.'"),
        ("-a/b", "no part of a repo id begins or ends with '-' or '.'"),
        ("a/b-", "no part of a repo id begins or ends with '-' or '.'"),
        ("a/b..c", "a repo id holds neither '--' nor '..'"),
        ("a/b--c", "a repo id holds neither '--' nor '..'"),
        ("a/b.git", "a repo id does not end with '.git'"),
    ],
)
def test_no_repo_id(text, reason):
    assert refused(names.repo_id, text) == reason


@pytest.mark.parametrize(
    "text", ["main", "v1.0", "refs/pr/1", "refs/heads/a", "feature/x", "a@b", "a{b", "1=2", "é", "step-3000", "a" * 255]
)
def test_a_revision(text):
    accepted(names.revision, text)


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "a b", "a..b", "../a", "a/..", "/a", "a/", "a//b", "a.", "a.lock", "-a", "a~1", "a^", "a:b", "a?b",
        "a*", "a[b", "a\\b", "a@{1}", "a\nb", "a\x00b", "a\x7fb", "a\u202eb", "a\u00a0b", "a" * 256,
    ],
)  # fmt: skip
def test_no_revision(text):
    assert refused(names.revision, text) == "a revision is the name of a branch, a tag or a commit"


@pytest.mark.parametrize(
    ("text", "commit", "sha256"),
    [
        ("0123456789abcdef" * 2 + "01234567", True, False),
        ("0123456789abcdef" * 4, False, True),
        ("A" * 40, False, False),
        ("A" * 64, False, False),
        ("a" * 40 + "\n", False, False),
        ("a" * 64 + "\n", False, False),
        ("g" * 40, False, False),
        ("a" * 39, False, False),
        ("a" * 63, False, False),
        ("a" * 65, False, False),
        ("٣" * 40, False, False),
        ("٣" * 64, False, False),
        ("", False, False),
    ],
)
def test_whole_digests_only(text, commit, sha256):
    assert (names.is_commit(text), names.is_sha256(text)) == (commit, sha256)


@pytest.mark.parametrize("text", ["image-classification", "text2text-generation", "other", "3d"])
def test_a_task(text):
    accepted(names.task, text)


@pytest.mark.parametrize("text", ["", "Image", "image classification", "-x", "a_b", "a\n", "x" * 65])
def test_no_task(text):
    assert refused(names.task, text) == "a type is a task name of the Hub, such as 'image-classification'"


@pytest.mark.parametrize(
    "text",
    [
        "model.safetensors", "onnx/model.onnx", "a b/c d", ".gitattributes", "a/.hidden", "...", "a/...b",
        "é/漢/\U0001f917",
        "a" * 255, "é" * 127, "a/" * 511 + "aa", "x~y", "a#b", "a%2fb", "{a}", "com0x",
        "console", "nullable.bin", "au x",
    ],
)  # fmt: skip
def test_a_path(text):
    accepted(names.file_path, text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "the path is empty"),
        ("/", "the path is not relative, or holds a backslash"),
        ("/etc/passwd", "the path is not relative, or holds a backslash"),
        ("//server/share", "the path is not relative, or holds a backslash"),
        ("\\\\server\\share", "the path is not relative, or holds a backslash"),
        ("a\\..\\b", "the path is not relative, or holds a backslash"),
        ("~root/x", "the path is not relative, or holds a backslash"),
        ("C:", "the path begins with a drive letter"),
        ("z:x", "the path begins with a drive letter"),
        (".", "the path has an empty part, '.' or '..'"),
        ("..", "the path has an empty part, '.' or '..'"),
        ("a/../b", "the path has an empty part, '.' or '..'"),
        ("a/./b", "the path has an empty part, '.' or '..'"),
        ("a//b", "the path has an empty part, '.' or '..'"),
        ("a/", "the path has an empty part, '.' or '..'"),
        ("a\x00", "the path holds characters that cannot be shown"),
        ("a\n", "the path holds characters that cannot be shown"),
        ("a\x1b[31m", "the path holds characters that cannot be shown"),
        ("a\u200b", "the path holds characters that cannot be shown"),
        ("a\u202ecod.exe", "the path holds characters that cannot be shown"),
        ("a\ud800", "the path holds characters that cannot be shown"),
        ("a" * 256, "a part of the path is longer than 255 bytes"),
        ("é" * 128, "a part of the path is longer than 255 bytes"),
        ("a/" * 512 + "a", "the path is longer than 1024 bytes"),
    ],
)
def test_no_path(text, reason):
    assert refused(names.file_path, text) == reason
    assert refused(names.portable_file_path, text) == reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        *(
            (name, f"'{name.rpartition('/')[2]}' is a reserved name on Windows")
            for name in ["con", "PRN", "Aux", "x/nul", "com1", "COM9", "lpt0", "com¹", "aux.json", "nul.tar.gz", "aux."]
        ),
        ("nul/x", "'nul' is a reserved name on Windows"),
        *(
            (name, f"Windows cannot hold a file called '{name}'")
            for name in ["a.", "a ", "...", "ab:c", "a?", "a*", "a|b"]
        ),
        *((name, f"Windows cannot hold a file called '{name}'") for name in ["<a", "a>", 'a"b']),
        ("a./b", "Windows cannot hold a file called 'a.'"),
    ],
)
def test_a_path_that_windows_cannot_hold(text, reason):
    accepted(names.file_path, text)
    assert refused(names.portable_file_path, text) == reason


@pytest.mark.parametrize(
    "text", ["com10", "lpt", "console", "auxiliary.json", "a.con", "null", "nul_x", "com1x.bin", " a"]
)
def test_a_path_that_only_resembles_a_reserved_one(text):
    accepted(names.portable_file_path, text)


@given(st.text(max_size=12) | st.text("./\\~:aC\x00 ", max_size=8))
def test_a_path_that_passes_stays_inside(text):
    try:
        names.file_path(text)
    except ValueError:
        return
    assert not text.startswith("/")
    assert not {"", ".", ".."}.intersection(text.split("/"))
    assert not {"\\", "\x00"}.intersection(text)
    assert text.encode().decode() == text


reserved = st.sampled_from(
    [
        "con",
        "prn",
        "aux",
        "nul",
        "conin$",
        "conout$",
        *(f"{port}{digit}" for port in ("com", "lpt") for digit in "0123456789¹²³"),
    ]
)
cased = st.tuples(reserved, st.randoms(use_true_random=False)).map(
    lambda drawn: "".join(drawn[1].choice((letter.lower(), letter.upper())) for letter in drawn[0])
)


@given(
    cased,
    st.sampled_from(["", " ", "  ", ".", ". .", ".txt", ".tar.gz", " .txt", "..", ":", ":stream", ".x:y"]),
    st.sampled_from(["", "a/", "a b/c/"]),
    st.sampled_from(["", "/x"]),
)
def test_no_device_of_windows_is_a_path(name, end, before, after):
    refused(names.portable_file_path, f"{before}{name}{end}{after}")


tricky = (
    st.text('aZ.:/\\ ~$¹²³*?<>|"\x00\t\u00a0\u200b\u0130\u0131ß\u017fé\u0301', max_size=10)
    | cased
    | st.text(max_size=12)
)


@settings(max_examples=100)
@given(st.lists(tricky, min_size=1, max_size=4).map("/".join))
def test_what_passes_is_the_same_path_on_every_system(text):
    if names.if_valid(text, names.portable_file_path) is None:
        return
    for system in (PurePosixPath, PureWindowsPath):
        path = system("C:/root") / text
        assert path.relative_to("C:/root").parts == tuple(text.split("/"))
        assert not system(text).is_reserved()
        assert not system(text).is_absolute()
    # Windows drops what stands at the end of a name.
    assert all(part == part.rstrip(". ") for part in text.split("/"))
    assert len(text.encode()) <= 1024


@pytest.mark.parametrize(
    "text",
    ["C:/x", "c:x", "//server/share/x", "\\\\?\\C:\\x", "\\\\.\\NUL", "x:stream", "x::$DATA", "a/b:c/d", "~", "~me/x"],
)
def test_no_other_way_out_of_the_folder(text):
    refused(names.portable_file_path, text)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("i", "\u0131"),  # Windows compares upper-case letters
        ("I", "\u0131"),
        ("\u0130", "i\u0307"),
        ("ß", "SS"),
        ("ẞ", "ß"),
        ("\u017f", "S"),
        ("µ", "\u039c"),
        ("ﬁ", "FI"),
        ("Å", "\u212b"),
        ("\u1e9e\u0301", "ss\u0301"),
    ],
)
def test_letters_that_some_system_takes_for_one(one, other):
    assert names.first_collision([f"a/{one}.bin", f"a/{other}.bin"]) is not None


def test_every_letter_collides_with_its_other_forms():
    for number in range(0x80, 0x2FFFF):
        letter = chr(number)
        forms = {letter.lower(), letter.upper(), letter.title(), letter.casefold(), letter.swapcase()}
        for form in forms - {letter}:
            assert names.first_collision([letter, form]) is not None, hex(number)


@pytest.mark.parametrize(
    "paths",
    [
        ("a", "A"),
        ("é", "e\u0301"),
        ("straße", "STRASSE"),
        ("ς", "Σ"),
        ("a", "a/b"),
        ("A", "a/b"),
        ("a/b", "A/c"),
        ("x/a/b", "x/A/c"),
        ("a/b/c", "A"),
        ("a/B", "a/b"),
        ("K", "\u212a"),
    ],
)
def test_two_paths_that_collide(paths):
    first, second = paths
    assert names.first_collision([first, second]) == (first, second)
    assert names.first_collision([second, first]) == (second, first)
    assert names.first_collision(["other", first, "one/more", second]) == (first, second)


@pytest.mark.parametrize(
    "paths",
    [
        (),
        ("a",),
        ("a", "b"),
        ("a/b", "a/c"),
        ("a/b", "a/c/d", "a/c/e"),
        ("A/b", "A/c"),
        ("a", "a.b", "a-b", "ab/a"),
        ("é", "e"),
        ("a/b", "b/a"),
        ("a/B/c", "b/B/c"),
    ],
)
def test_paths_that_stand_side_by_side(paths):
    for order in itertools.permutations(paths):
        assert names.first_collision(order) is None


@given(st.lists(st.lists(st.sampled_from("aAbéÉ"), min_size=1, max_size=3).map("/".join), max_size=4, unique=True))
def test_a_collision_is_what_a_file_system_without_case_would_find(paths):
    # A model of such a file system: each folder holds one spelling of each name.
    entries: dict[str, str] = {}
    collides = False
    for path in paths:
        parts = path.split("/")
        for length in range(1, len(parts) + 1):
            key = "/".join(parts[:length]).casefold()
            value = "/".join(parts[:length]) + ("" if length == len(parts) else "/")
            collides = collides or entries.setdefault(key, value) != value
    assert (names.first_collision(paths) is not None) == collides


@given(st.text("aeéüöÅç", min_size=1, max_size=6))
def test_the_forms_of_unicode_collide(text):
    composed, decomposed = (unicodedata.normalize(form, text) for form in ("NFC", "NFD"))
    assert (names.first_collision([composed, decomposed]) is not None) or composed == decomposed


@pytest.mark.parametrize(
    "text",
    [
        "https://example.com/a.onnx", "http://localhost:8080/a?b=c#d", "https://[::1]:1/x", "https://example.com",
        "https://example.com/a@b", "https://example.com/a:b@c", "https://exämple.com/é",
    ],
)  # fmt: skip
def test_an_address(text):
    accepted(names.http_url, text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "a URL begins with http:// or https:// and names a host"),
        ("example.com/a", "a URL begins with http:// or https:// and names a host"),
        ("//example.com/a", "a URL begins with http:// or https:// and names a host"),
        ("ftp://example.com/a", "a URL begins with http:// or https:// and names a host"),
        ("file:///a", "a URL begins with http:// or https:// and names a host"),
        ("https:example.com", "a URL begins with http:// or https:// and names a host"),
        ("https:///a", "a URL begins with http:// or https:// and names a host"),
        ("https://:443/a", "a URL begins with http:// or https:// and names a host"),
        ("https://example.com:0/a", "a URL begins with http:// or https:// and names a host"),
        ("https://user@example.com/", "a URL must not carry a user name or password"),
        ("https://user:pw@example.com/", "a URL must not carry a user name or password"),
        ("https://@example.com/", "a URL must not carry a user name or password"),
        ("https://example.com/a b", "a URL holds no blanks and no control characters"),
        (" https://example.com/a", "a URL holds no blanks and no control characters"),
        ("https://example.com/a\n", "a URL holds no blanks and no control characters"),
        ("https://exam\tple.com/", "a URL holds no blanks and no control characters"),
        ("https://example.com/\x00", "a URL holds no blanks and no control characters"),
        ("https://example.com/\u202e", "a URL holds no blanks and no control characters"),
    ],
)
def test_no_address(text, reason):
    assert refused(names.http_url, text) == reason


@pytest.mark.parametrize(
    "text", ["https://[::1/a", "https://example.com:x/a", "https://example.com:99999/a", "https://[x]/"]
)
def test_an_address_that_cannot_be_read(text):
    assert refused(names.http_url, text).startswith("not a URL: ")


@given(
    st.sampled_from(
        [names.model_name, names.repo_id, names.revision, names.task, names.portable_file_path, names.http_url]
    ),
    st.text(max_size=20) | st.text("a/.:@[]-~#?%\\ \n", max_size=20).map(lambda text: "http://" + text),
)
def test_any_text_is_returned_unchanged_or_refused_with_a_reason(check, text):
    try:
        assert check(text) == text
    except ValueError as error:
        assert type(error) is ValueError  # noqa: PT017
        assert str(error)  # noqa: PT017
