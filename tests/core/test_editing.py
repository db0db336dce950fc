"""Editing models.toml: one table more or less, and everything else as it was."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from vcm.core.editing import add_model, remove_model
from vcm.errors import ConfigError

NEW = {"repo": "acme/new"}

TEXT = """\
# The models of this project.

[project]
name = "x"   # a name

# about a
[models.a]
repo = "acme/a"
include = [
  "*.onnx", # only this
]

[models.b]
repo = "acme/b" # about b

# about the hub
[hub]
endpoint = "https://hub.example"
"""


def test_a_model_is_added_after_the_others():
    block = '\n[models.new]\nrepo = "acme/new"\nversion = "~=1.2"\ninclude = ["*.onnx"]\noptional = true\n'
    before, after = TEXT[: TEXT.index("\n# about the hub")], TEXT[TEXT.index("\n# about the hub") :]
    values = {"repo": "acme/new", "version": "~=1.2", "include": ["*.onnx"], "optional": True}
    assert add_model(TEXT, "new", values) == before + block + after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", '[models.new]\nrepo = "acme/new"\n'),
        ("# a\n", '# a\n\n[models.new]\nrepo = "acme/new"\n'),
        ("# a", '# a\n\n[models.new]\nrepo = "acme/new"\n'),
        ("[project]\nname = 'x'\n", "[project]\nname = 'x'\n\n[models.new]\nrepo = \"acme/new\"\n"),
        (
            "[models.a]\nrepo = 'x/y'\n[hub]\n",
            "[models.a]\nrepo = 'x/y'\n\n[models.new]\nrepo = \"acme/new\"\n\n[hub]\n",
        ),
        ("[models.a]\r\nrepo = 'x/y'\r\n", "[models.a]\r\nrepo = 'x/y'\r\n\r\n[models.new]\r\nrepo = \"acme/new\"\r\n"),
        ("[models.a]\r\nrepo = 'x/y'", "[models.a]\r\nrepo = 'x/y'\r\n\r\n[models.new]\r\nrepo = \"acme/new\"\r\n"),
        ("models.a.repo = 'x/y'\n", "models.a.repo = 'x/y'\n\n[models.new]\nrepo = \"acme/new\"\n"),
        ("[models]\na.repo = 'x/y'\n", "[models]\na.repo = 'x/y'\n\n[models.new]\nrepo = \"acme/new\"\n"),
        ("[models]\n", '[models]\n\n[models.new]\nrepo = "acme/new"\n'),
    ],
)
def test_where_a_model_is_added(before, after):
    assert add_model(before, "new", NEW) == after


def test_a_name_with_dots_is_quoted():
    assert tomllib.loads(add_model("", "a.b", NEW)) == {"models": {"a.b": NEW}}
    assert remove_model(add_model(TEXT, "a.b", NEW), "a.b") == TEXT


@pytest.mark.parametrize("value", ['a"b', "a\\b", "é漢", "'", "#", "[x]", "a = b"])
def test_a_value_is_written_as_it_is_meant(value):
    text = add_model(TEXT, "new", {"repo": value, "include": [value]})
    assert tomllib.loads(text)["models"]["new"] == {"repo": value, "include": [value]}


def test_a_model_that_is_there_is_not_added_again():
    with pytest.raises(ConfigError) as caught:
        add_model(TEXT, "a", NEW)
    assert caught.value.message == 'models.toml has a model "a" already'
    assert caught.value.hint == "edit it there, or run vcm remove a first"


def test_a_model_that_is_not_there_is_not_removed():
    with pytest.raises(ConfigError) as caught:
        remove_model(TEXT, "c")
    assert (caught.value.message, caught.value.hint) == ('models.toml has no model "c"', "models of this project: a, b")
    with pytest.raises(ConfigError) as caught:
        remove_model("", "c")
    assert (caught.value.message, caught.value.hint) == ('models.toml has no model "c"', "models of this project: none")


def test_an_inline_table_of_models_has_no_room():
    with pytest.raises(ConfigError) as caught:
        add_model('models = { a = { repo = "x/y" } }\n', "new", NEW)
    assert caught.value.message == "models.toml is written in a way that vcm cannot edit"
    assert caught.value.hint == 'add this to it by hand: [models.new] repo = "acme/new"'


@pytest.mark.parametrize(
    "text",
    [
        'models = { a = { repo = "x/y" } }\n',
        'models.a.repo = "x/y"\n',
        '[models]\na = { repo = "x/y" }\n',
        '["models".a]\nrepo = "x/y"\n',
    ],
)
def test_a_model_that_is_no_table_of_its_own_is_removed_by_hand(text):
    with pytest.raises(ConfigError) as caught:
        remove_model(text, "a")
    assert caught.value.message == "models.toml is written in a way that vcm cannot edit"
    assert caught.value.hint == "remove [models.a] from it by hand"


def test_a_model_is_removed_and_the_comments_around_it_stay():
    assert remove_model(TEXT, "b") == TEXT.replace('[models.b]\nrepo = "acme/b" # about b\n\n', "")
    start, end = TEXT.index("[models.a]"), TEXT.index("\n[models.b]")
    assert remove_model(TEXT, "a") == TEXT[:start] + TEXT[end:]


@pytest.mark.parametrize(
    "header", ["[models.a]", "[ models . a ]", "[models.'a']", '[models."a"]', "\t[models.a]  # why", "[models.a]#x"]
)
def test_every_spelling_of_a_header_is_found(header):
    assert remove_model(f"{header}\nrepo = 'x/y'\n\n[hub]\n", "a") == "[hub]\n"


def test_headers_inside_a_string_are_text():
    text = "[project]\nname = '''\n[models.a]\nrepo = 1\n'''\n\n[models.a]\nrepo = 'x/y'\n\n[hub]\n"
    assert remove_model(text, "a") == "[project]\nname = '''\n[models.a]\nrepo = 1\n'''\n\n[hub]\n"


def test_the_last_model_goes_too():
    assert tomllib.loads(remove_model("[models.a]\nrepo = 'x/y'\n", "a")) == {}


# --- for any manifest -------------------------------------------------------------------------------------------------

comments = st.sampled_from(["", "", "", " # why", " # [models.z]", "\t# a = 1", " # é"])
between = st.lists(st.sampled_from(["", "", "# a comment", "  # [models.q]", "#", "# repo = 'x/y'"]), max_size=3)
headers = st.sampled_from(["[models.{}]", "[ models . {} ]", '[models."{}"]', "  [models.'{}']"])


@st.composite
def models(draw: st.DrawFn, name: str) -> list[str]:
    keys = [f"repo = 'acme/{name}'", 'include = [\n  "*.onnx", # [x]\n\n  "b",\n]', "optional=true", "groups = ['x']"]
    chosen = draw(st.lists(st.sampled_from(keys[1:]), unique=True, max_size=3))
    lines = [draw(headers).format(name) + draw(comments)]
    for key in draw(st.permutations([keys[0], *chosen])):
        lines += [*draw(between), key + draw(comments)]
    return lines


OTHERS = (
    ["[project]", "name = 'x' # name"],
    ["[hub]"],
    ["[cache]", "# where", "dir = 'a=b'", 'note = """', "[hub]", "", '"""'],
    ["[pipeline.detectors.d]", "kind = 'k'", "options = { a = [[1], [2]] }"],
)


@st.composite
def manifests(draw: st.DrawFn) -> str:
    names = draw(st.lists(st.sampled_from(["a", "b", "c-d"]), unique=True, max_size=3))
    tables = [draw(models(name)) for name in names]
    tables += draw(st.lists(st.sampled_from(OTHERS), unique_by=lambda lines: lines[0], max_size=4))
    lines: list[str] = draw(between)
    for table in draw(st.permutations(tables)):
        lines += [*table, *draw(between)]
    ending = draw(st.sampled_from(["\n", "\r\n"]))
    text = "\n".join(lines) + draw(st.sampled_from(["", "\n", "\n\n"]))
    return text.replace("\n", ending)


def models_of(text: str) -> dict[str, Any]:
    return dict(tomllib.loads(text).get("models", {}))


def lines_of(text: str) -> list[str]:
    """The lines that are not blank, without their endings."""
    return [line for line in text.replace("\r", "").split("\n") if line.strip()]


def terminated(text: str) -> str:
    """The text with an ending on its last line."""
    return text if not text or text.endswith("\n") else text + ("\r\n" if "\r\n" in text else "\n")


def inserted(before: str, after: str) -> str | None:
    """What was put into a text in one place; None where that is not all that happened."""
    for end in range(len(before), -1, -1):
        if after.startswith(before[:end]) and after.endswith(before[end:]):
            return after[end : len(after) - len(before) + end]
    return None


@given(manifests())
def test_adding_inserts_in_one_place(text):
    after = add_model(text, "new", NEW)
    assert tomllib.loads(after) == tomllib.loads(text) | {"models": models_of(text) | {"new": NEW}}
    block = inserted(text, after) or inserted(terminated(text), after)
    assert block is not None
    assert lines_of(block) == ["[models.new]", 'repo = "acme/new"']
    if "\r\n" in text:
        assert "\n" not in after.replace("\r\n", "")


@given(manifests().map(terminated), st.data())
def test_removing_takes_out_the_table_and_nothing_else(text, data):
    present = models_of(text)
    assume(present)
    name = data.draw(st.sampled_from(sorted(present)))
    after = remove_model(text, name)
    assert models_of(after) == {other: keys for other, keys in present.items() if other != name}
    lines, kept = text.split("\n"), after.split("\n")
    start = next((i for i, (one, other) in enumerate(zip(lines, kept, strict=False)) if one != other), len(kept))
    removed = lines[start : start + len(lines) - len(kept)]
    assert lines[:start] + lines[start + len(removed) :] == kept
    # What went is the table from its header to its last key: no comment before the one, none after the other.
    assert tomllib.loads("\n".join([*removed, ""])) == {"models": {name: present[name]}}
    assert not [line for line in removed if line.strip()][-1].lstrip().startswith("#")


@given(manifests())
def test_what_was_added_and_removed_leaves_every_line_that_is_not_blank(text):
    after = remove_model(add_model(text, "new", NEW), "new")
    assert lines_of(after) == lines_of(text)
    assert tomllib.loads(after) == tomllib.loads(text)


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_between_tables_with_one_blank_line_adding_and_removing_gives_the_same_bytes(ending):
    text = TEXT.replace("\n", ending)
    assert remove_model(add_model(text, "new", NEW), "new") == text
