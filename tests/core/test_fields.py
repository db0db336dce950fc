"""Typed reading of TOML, and finding the line of a key."""

from __future__ import annotations

import pytest

from vcm.core.fields import Document, Table, dotted, find_line, parse_toml, shown
from vcm.errors import ConfigError

TEXT = """\
top = 1

[project] # [hub]
name = "x"
"quoted key" = 2
dotted.inner.key = 3

[models.a]
repo = "x = y"
include = [
  "one",
  "two",
]

[models.'b.c']
repo = "z"

  [ pipeline . detectors . "d" ]
  kind="k"

[[model]]
name = "first"

[[model]]
name = "second"
files = []

[model.inner]
name = "below the second"

[[ other."x" ]]
name = "third"
"""


@pytest.mark.parametrize(
    ("key", "line"),
    [
        (("top",), 1),
        (("project",), 3),
        (("project", "name"), 4),
        (("project", "quoted key"), 5),
        (("project", "dotted", "inner", "key"), 6),
        (("models", "a"), 8),
        (("models", "a", "repo"), 9),
        (("models", "a", "include"), 10),
        (("models", "b.c"), 15),
        (("models", "b.c", "repo"), 16),
        (("pipeline", "detectors", "d"), 18),
        (("pipeline", "detectors", "d", "kind"), 19),
        (("model", 0), 21),
        (("model", 0, "name"), 22),
        (("model", 1), 24),
        (("model", 1, "name"), 25),
        (("model", 1, "files"), 26),
        (("model", 1, "inner", "name"), 29),
        (("other", "x", 0, "name"), 32),
    ],
)
def test_the_line_of_a_key(key, line):
    assert find_line(TEXT, key) == line
    assert find_line(TEXT.replace("\n", "\r\n"), key) == line


@pytest.mark.parametrize(
    ("key", "line"),
    [
        (("models", "a", "include", 1), 10),
        (("models", "a", "missing"), 8),
        (("project", "dotted", "inner", "key", "deeper"), 6),
        (("model", 1, "missing"), 24),
    ],
)
def test_the_line_of_what_stands_around_it_where_the_key_has_none(key, line):
    assert find_line(TEXT, key) == line


@pytest.mark.parametrize("key", [(), ("missing",), ("model", 2), ("models", "z"), ("b",)])
def test_no_line_where_nothing_fits(key):
    assert find_line(TEXT, key) is None


@pytest.mark.parametrize("text", ["", "\n\n", "# only = this", "][", "=", "[", "[]", "[[]]", '"', "[a", "= 1", ". = 1"])
def test_no_line_in_a_text_that_is_odd(text):
    assert find_line(text, ("key",)) is None


def test_an_inline_table_stands_on_its_line():
    assert find_line("x = 1\nmodels = { a = { repo = 1 } }\n", ("models", "a", "repo")) == 2


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ((), ""),
        (("a",), "a"),
        (("models", "frames", "include", 0), "models.frames.include[0]"),
        (("model", 3, "files", 12, "path"), "model[3].files[12].path"),
        (("a", 0, 1), "a[0][1]"),
    ],
)
def test_dotted(key, text):
    assert dotted(key) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", '"a"'),
        ("", '""'),
        (True, "true"),
        (False, "false"),
        (7, "7"),
        (1.5, "1.5"),
        ([1], "an array"),
        ({"a": 1}, "a table"),
        ("x" * 78, '"' + "x" * 78 + '"'),
        ("x" * 79, '"' + "x" * 76 + "..."),
    ],
)
def test_shown(value, text):
    assert shown(value) == text
    assert len(shown(value)) <= 80


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (("project", "name"), "f.toml:4: project.name: no"),
        (("missing",), "f.toml: missing: no"),
        ((), "f.toml: no"),
    ],
)
def test_an_error_names_file_line_and_key_where_it_can(key, message):
    error = Document("f.toml", TEXT).error(key, "no", "do that")
    assert (error.message, error.hint) == (message, "do that")


def test_parse_toml_gives_the_text_and_the_tables():
    document, values = parse_toml("f.toml", "a = 'é'\r\n".encode())
    assert (document.name, document.text) == ("f.toml", "a = 'é'\r\n")
    assert values == {"a": "é"}


@pytest.mark.parametrize(
    "line", ["=======", "======= ", "<<<<<<", "<<<<<<<<", ">>>>>>", " <<<<<<< HEAD", "<<<<<<<HEAD"]
)
def test_lines_that_only_resemble_the_markers_of_a_conflict(line):
    text = f'a = """\n{line}\n"""\n'
    assert parse_toml("f.toml", text.encode())[1] == {"a": f"{line}\n"}


@pytest.mark.parametrize("line", ["<<<<<<< HEAD", "<<<<<<<", ">>>>>>> topic", ">>>>>>>"])
def test_the_markers_of_a_conflict(line):
    with pytest.raises(ConfigError) as caught:
        parse_toml("f.toml", f"a = 1\n{line}\n".encode())
    assert caught.value.message == "f.toml:2: merge-conflict markers"
    assert caught.value.hint == "resolve the conflict in f.toml (of a lock, keep one side whole), then run vcm lock"


def table(text: str) -> Table:
    document, values = parse_toml("f.toml", text.encode())
    return Table(document, (), values)


def refusal(call, *arguments, **options) -> str:
    with pytest.raises(ConfigError) as caught:
        call(*arguments, **options)
    return caught.value.message


def test_what_is_not_there_is_none_or_empty():
    empty = table("")
    assert (empty.text("a"), empty.integer("a"), empty.number("a", 0, 1), empty.texts("a")) == (None,) * 4
    assert (empty.boolean("a"), empty.array("a"), empty.values("a"), empty.table("a").names()) == (False, [], {}, [])
    assert "a" not in empty
    assert refusal(empty.required_text, "a") == 'f.toml: the key "a" is missing'


def test_what_is_there_is_given_as_it_is():
    full = table(
        'text = "x"\nwhole = 7\npart = 0.5\nyes = true\nlist = ["a", "b"]\nmix = [1, "a"]\n[inner]\nb = 1\na = 2\n'
    )
    assert full.names() == ["text", "whole", "part", "yes", "list", "mix", "inner"]
    assert (full.text("text"), full.required_text("text"), full.integer("whole")) == ("x", "x", 7)
    assert (full.number("part", 0, 1), full.number("whole", 0, 10), full.boolean("yes")) == (0.5, 7.0, True)
    assert (full.texts("list"), full.array("mix"), full.values("inner")) == (("a", "b"), [1, "a"], {"b": 1, "a": 2})
    assert full.table("inner").names() == ["b", "a"]
    assert "text" in full
    full.finish()


def test_a_check_gives_the_reason():
    def refuse(text: str) -> None:
        raise ValueError(f"no {text} here")

    assert refusal(table('a = "x"').text, "a", refuse) == 'f.toml:1: a: found "x": no x here'
    assert refusal(table('a = ["x"]').texts, "a", refuse) == 'f.toml:1: a[0]: found "x": no x here'


@pytest.mark.parametrize("value", ["2", "-0.1", "true", '"1"', "nan", "inf", "[]"])
def test_a_number_stays_between_its_bounds(value):
    message = refusal(table(f"a = {value}").number, "a", 0, 1)
    assert message.startswith("f.toml:1: a: expected a number from 0 to 1, found ")


def test_a_whole_number_has_a_least():
    assert table("a = 3").integer("a", least=3) == 3
    assert (
        refusal(table("a = 2").integer, "a", least=3) == "f.toml:1: a: expected a whole number of at least 3, found 2"
    )


def test_finish_refuses_the_first_key_that_nobody_asked_for():
    unfinished = table("[t]\nname = 1\nnmae = 2\nother = 3\n").table("t")
    unfinished.integer("name")
    unfinished.integer("name")
    unfinished.text("size")
    with pytest.raises(ConfigError) as caught:
        unfinished.finish()
    assert caught.value.message == 'f.toml:3: t.nmae: unknown key, did you mean "name"?'
    assert caught.value.hint == "allowed here: name, size"
