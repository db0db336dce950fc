"""What holds for every lock: text and values are one, damage is refused, formatting is not."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vcm.core import names
from vcm.core.lock import FILE_NAME, Lock, LockedFile, LockedModel, _parse_any, _parse_own, lock_text, parse_lock
from vcm.errors import ConfigError

# Drawing a lock takes longer than what is done with it; its properties share what they draw from.
CALM = settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow])

HEX = "0123456789abcdef"


def is_portable(path: str) -> bool:
    try:
        names.portable_file_path(path)
    except ValueError:
        return False
    return True


def is_repo(text: str) -> bool:
    try:
        names.repo_id(text)
    except ValueError:
        return False
    return True


def is_revision(text: str) -> bool:
    try:
        names.revision(text)
    except ValueError:
        return False
    return True


digests = st.binary(min_size=1, max_size=8).map(lambda data: hashlib.sha256(data).hexdigest())
commits = st.text(HEX, min_size=40, max_size=40)
# What isprintable() lets through: everything but separators (the blank is one that it keeps) and control characters.
printable = st.text(
    st.characters(exclude_categories=["C", "Z"]) | st.sampled_from(" \"'\\#=[]{},"), min_size=1, max_size=20
).filter(lambda text: text.strip() != "")
segments = st.text(st.sampled_from("abzAZ019._- '#=[]{},&+@!$%^()~`;éßÉλς漢\u0301\U0001f917"), min_size=1, max_size=8)
paths = st.lists(segments, min_size=1, max_size=3).map("/".join).filter(is_portable)
model_names = st.from_regex(names.MODEL_NAME, fullmatch=True).filter(lambda name: len(name) < 20)
repo_part = st.text("abzAZ09._-", min_size=1, max_size=8)
repos = st.tuples(repo_part, repo_part).map("/".join).filter(is_repo)
revisions = st.text(st.characters(min_codepoint=33, max_codepoint=1000), min_size=1, max_size=12).filter(is_revision)
tasks = st.sampled_from(["fill-mask", "text-generation", "image-classification"])
dates = st.datetimes().map(lambda moment: f"{moment:%Y-%m-%dT%H:%M:%S.%f}Z".zfill(27))
optional_text = st.none() | printable


@st.composite
def file_lists(draw: st.DrawFn) -> tuple[LockedFile, ...]:
    found: list[str] = []
    for path in draw(st.lists(paths, min_size=1, max_size=5, unique=True)):
        if names.first_collision([*found, path]) is None:
            found.append(path)
    return tuple(
        LockedFile(path, draw(st.integers(0, 2**53)), draw(digests), draw(st.none() | commits))
        for path in sorted(found, key=str.encode)
    )


hub_models = st.builds(
    LockedModel,
    name=model_names,
    source=st.just("huggingface"),
    files=file_lists(),
    repo=repos,
    repo_id=optional_text,
    gated=st.sampled_from([None, "auto", "manual"]),
    requested=optional_text,
    version=optional_text,
    ref=st.none() | revisions,
    commit=commits,
    asked=st.none() | repos,
    committed=st.none() | dates,
    fallback_for=st.none() | repos,
    format=optional_text,
    type=st.none() | tasks,
    license=optional_text,
)
url_models = st.builds(
    LockedModel,
    name=model_names,
    source=st.just("url"),
    files=file_lists(),
    url=st.sampled_from(["https://example.com/a.onnx", "http://[::1]:8080/é?x=%20#y", "https://h/'\\a"]),
    type=st.none() | tasks,
)


@st.composite
def model_lists(draw: st.DrawFn) -> tuple[LockedModel, ...]:
    models = draw(st.lists(hub_models | url_models, max_size=3, unique_by=lambda model: model.name))
    pulled_in = [replace(model, via=draw(st.sampled_from([None, models[0].name]))) for model in models[1:]]
    return tuple(sorted([*models[:1], *pulled_in], key=lambda model: model.name))


locks = st.builds(Lock, manifest_sha256=digests, models=model_lists())


@CALM
@given(locks)
def test_values_to_text_to_values(lock):
    assert parse_lock(lock_text(lock).encode()) == lock


@CALM
@given(locks)
def test_canonical_text_to_values_to_the_same_text(lock):
    text = lock_text(lock)
    again = parse_lock(text.encode())
    assert lock_text(again) == text
    assert [(model.tree_digest, model.size) for model in again.models] == [
        (model.tree_digest, model.size) for model in lock.models
    ]


@CALM
@given(locks)
def test_only_escapes_are_too_much_for_the_quick_reader(lock):
    text = lock_text(lock)
    assert _parse_own(text.encode()) == (None if "\\" in text else lock)


@CALM
@given(locks)
def test_one_line_per_file_and_no_other_line_holds_a_file(lock):
    rows = [line for line in lock_text(lock).split("\n") if line.startswith("  { path = ")]
    assert len(rows) == sum(len(model.files) for model in lock.models)


def escaped(text: str) -> str:
    """A basic string in which every character is an escape."""
    return '"' + "".join(f"\\U{ord(character):08X}" for character in text) + '"'


def rewritten(lock: Lock) -> str:
    """The same lock as another tool might format it: other order of keys, other strings, tables instead of rows."""
    lines = ["# reformatted", f"manifest-sha256   =   '{lock.manifest_sha256}'", '"lock-version" = 0b1 # one', ""]
    for model in lock.models:
        keys = {
            "name": model.name,
            "source": model.source,
            "repo": model.repo,
            "asked": model.asked,
            "url": model.url,
            "repo-id": model.repo_id,
            "gated": model.gated,
            "requested": model.requested,
            "version": model.version,
            "ref": model.ref,
            "commit": model.commit,
            "committed": model.committed,
            "fallback-for": model.fallback_for,
            "via": model.via,
            "format": model.format,
            "type": model.type,
            "license": model.license,
            "tree-digest": f"sha256:{model.tree_digest}",
        }
        lines += ["\t[[ model ]]", f"size = +{model.size:_}"]
        lines += [f"  '{key}'= {escaped(value)}" for key, value in reversed(keys.items()) if value is not None]
        for file in model.files:
            lines += ["[[ model . 'files' ]]", f"size = {file.size}", f"path = {escaped(file.path)}"]
            lines += ["", f'sha256 = """{file.sha256}"""', *([f"oid = '{file.oid}' # blob"] if file.oid else [])]
    return "\r\n".join(lines)


@CALM
@given(locks)
def test_reading_does_not_depend_on_formatting(lock):
    assert parse_lock(rewritten(lock).encode()) == lock


def rows(model: LockedModel) -> str:
    text = lock_text(Lock(manifest_sha256="0" * 64, models=(model,)))
    return text[text.index("files = [") :]


@CALM
@given(locks.filter(lambda lock: lock.models), st.data())
def test_a_changed_digest_path_or_size_never_passes(lock, data):
    model = data.draw(st.sampled_from(lock.models))
    file = data.draw(st.sampled_from(model.files))
    other = LockedFile("other", 1, hashlib.sha256(b"").hexdigest())
    position = model.files.index(file)
    changed = data.draw(
        st.sampled_from(
            [
                [replace(file, sha256=file.sha256[::-1])],
                [replace(file, path="another name")],
                [replace(file, size=file.size + 1)],
                [],
                [file, other],
            ]
        )
    )
    files = sorted(
        [*model.files[:position], *changed, *model.files[position + 1 :]], key=lambda each: each.path.encode()
    )
    if files == list(model.files):
        return
    # The rows are exchanged, but the digest and the size that stand above them are not.
    rows_old, rows_new = rows(model), rows(replace(model, files=tuple(files)))
    text = lock_text(lock)
    start = text.index(f'\nname = "{model.name}"\n')
    damaged = text[:start] + text[start:].replace(rows_old, rows_new, 1)
    assert damaged != text
    try:
        parse_lock(damaged.encode())
    except ConfigError as error:
        assert f'model "{model.name}"' in error.message  # noqa: PT017
        assert error.message.startswith("models.lock:")  # noqa: PT017
    else:
        raise AssertionError(damaged)


def outcome(data: bytes) -> Lock | ConfigError:
    """What the readers make of any bytes; any other exception, or a difference between the two, fails the test."""
    found, careful = (attempt(read, data) for read in (parse_lock, lambda data: _parse_any(data, FILE_NAME)))
    if isinstance(found, ConfigError):
        assert isinstance(careful, ConfigError)
        assert (found.message, found.hint) == (careful.message, careful.hint)
        assert found.message
        assert found.hint
    else:
        assert found == careful
    return found


def attempt(read: Callable[[bytes], Lock], data: bytes) -> Lock | ConfigError:
    try:
        return read(data)
    except ConfigError as error:
        return error


@given(st.binary(max_size=200) | st.binary(max_size=100).map(lambda noise: b"lock-version = 1\n" + noise))
def test_noise_is_refused_politely(noise):
    assert isinstance(outcome(noise), ConfigError)


@st.composite
def mutations(draw: st.DrawFn) -> bytes:
    data = lock_text(draw(locks)).encode()
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(
            st.sampled_from(["flip", "delete", "double", "insert", "drop line", "double line", "swap lines", "cut"])
        )
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        lines = data.splitlines(keepends=True)
        line = data.count(b"\n", 0, at)
        if kind == "flip":
            data = data[:at] + bytes([draw(st.integers(0, 255))]) + data[at + 1 :]
        elif kind == "delete":
            data = data[:at] + data[at + draw(st.integers(1, 9)) :]
        elif kind == "double":
            data = data[: at + 5] + data[at:]
        elif kind == "insert":
            token = draw(
                st.sampled_from([b'"', b"'", b"[", b"]", b"{", b"}", b"=", b"#", b".", b"\n", b"1979-05-27", b"nan"])
                | st.sampled_from(
                    [b"\\", b"\r", b"\t", b" ", b"_", b"+", b"0", b"9", b"A", b"\x00", b"\x7f", b"\xc2\xa0"]
                )
                | st.sampled_from([text.encode() for text in ("\\u0061", "\ufeff", "٣", "\u2028", "\u0301", "\r\n")])
            )
            # Half of them go where bytes mean most: beside a number or a mark.
            marks = [mark.start() for mark in re.finditer(rb'[0-9]+[,\n]|[\[\]{}="\n]', data)]
            at = draw(st.sampled_from([at, draw(st.sampled_from(marks or [0]))]))
            data = data[:at] + token + data[at:]
        elif kind == "drop line":
            data = b"".join(lines[:line] + lines[line + 1 :])
        elif kind == "double line":
            data = b"".join(lines[: line + 1] + lines[line:])
        elif kind == "swap lines":
            data = b"".join(lines[:line] + lines[line + 1 : line + 2] + lines[line : line + 1] + lines[line + 2 :])
        else:
            data = data[:at]
    return data


@settings(CALM, max_examples=100)
@given(mutations())
def test_a_mutated_lock_is_refused_or_whole(data):
    found = outcome(data)
    if isinstance(found, Lock):
        # What is let through is true to itself: its own text reads back as the same values.
        assert parse_lock(lock_text(found).encode()) == found


@settings(CALM, max_examples=150)
@given(
    st.sampled_from(
        [
            "lock-version", "manifest-sha256", "model", "name", "source", "repo", "commit", "ref", "files", "size",
            "tree-digest",
        ]
    ),
    st.sampled_from(
        [
            "1", "-1", "1.5", "inf", "true", '""', '" "', '"\\u0000"', '"\\U0010FFFF"', "[]", "[[]]", "[1]", "{}",
            "[{}]", "{ x = 1 }", "1979-05-27", "07:32:00", "[{ path = 1 }]", "[nan]",
            '[{ path = "a", size = 1.0, sha256 = [] }]',
        ]
    ),
)  # fmt: skip
def test_any_type_at_any_key_is_refused_politely(key, value):
    text = lock_text(
        Lock(
            manifest_sha256="0" * 64,
            models=(
                LockedModel(
                    name="a",
                    source="huggingface",
                    repo="acme/a",
                    commit="0" * 40,
                    ref="main",
                    files=(LockedFile("a", 1, "0" * 64),),
                ),
            ),
        )
    ).replace('files = [\n  { path = "a", size = 1, sha256 = "' + "0" * 64 + '" },\n]', "files = []")
    lines = [f"{key} = {value}" if line.startswith(f"{key} = ") else line for line in text.splitlines()]
    if key == "model":
        lines = [*lines[:3], f"model = {value}"]
    assert isinstance(outcome("\n".join(lines).encode()), ConfigError | Lock)
