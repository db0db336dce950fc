"""Typed reading of a TOML document: every wrong value is a ConfigError that says where it stands."""

from __future__ import annotations

import re

from vcm.core.plain_toml import read_plain
from vcm.core.wording import did_you_mean, printable
from vcm.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    Value = TypeVar("Value")

Key = tuple[str | int, ...]

_KIND_NAMES = {str: "a string", int: "a whole number", bool: "true or false", dict: "a table", list: "an array"}
# Patterns as text: most runs need none of them, and compiling takes time.
_HEADER = r"(\[\[?)([^\[\]]+)\]\]?\s*(?:#.*)?"
_CREDENTIALS = r"(?<=//)[^/?#]*@"
_LARGEST = 2**63 - 1
_MERGE_MARKER = rb"^(?:<{7}|={7}|>{7}|\|{7})(?:[ \r\n]|$)"


class Document:
    """A TOML file's name and text, for messages that point into it."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text

    def error(self, key: Key, problem: str, hint: str = "") -> ConfigError:
        """The error for what stands at ``key``: file, line where it can be found, key, problem."""
        line = self.line(key)
        place = f"{self.name}:{line}" if line else self.name
        label = dotted(key)
        return ConfigError(f"{place}: {label}: {problem}" if label else f"{place}: {problem}", hint=hint)

    def line(self, key: Key) -> int | None:
        """The 1-based line on which ``key``, or the nearest table around it, stands."""
        return find_line(self.text, key)


def dotted(key: Key) -> str:
    """``('models', 'frames', 'include', 0)`` as ``models.frames.include[0]``."""
    text = ""
    for part in key:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{printable(part)}" if text else printable(part)
    return text


def decoded(name: str, data: bytes) -> str:
    """A file's text.

    Raises:
        ConfigError: the bytes are not UTF-8; says on which line.
    """
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{name}:{line}: not UTF-8 text", hint=f"save {name} as UTF-8") from None


def parse_toml(name: str, data: bytes) -> tuple[Document, dict[str, Any]]:
    """The document and its tables.

    Raises:
        ConfigError: the bytes are not UTF-8, hold merge-conflict markers, or are not TOML.
    """
    if b"<<<<<<<" in data or b">>>>>>>" in data:
        _refuse_merge_markers(name, data)
    if data.startswith(b"\xef\xbb\xbf"):
        raise ConfigError(f"{name}:1: begins with a byte-order mark", hint=f"save {name} as UTF-8 without one")
    text = decoded(name, data)
    values = read_plain(text)
    return Document(name, text), _read_any(name, text) if values is None else values


def _refuse_merge_markers(name: str, data: bytes) -> None:
    marker = re.search(_MERGE_MARKER, data, re.MULTILINE)
    if marker and data[marker.start() : marker.start() + 1] in (b"<", b">"):
        line = data.count(b"\n", 0, marker.start()) + 1
        raise ConfigError(
            f"{name}:{line}: merge-conflict markers",
            hint=f"resolve the conflict in {name} (of a lock, keep one side whole), then run vcm lock",
        )


def _read_any(name: str, text: str) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        problem = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        position = re.fullmatch(r"(.*) \(at line (\d+), column \d+\)", problem, re.DOTALL)
        place = f"{name}:{position[2]}" if position else name
        reason = position[1] if position else problem
        raise ConfigError(f"{place}: not TOML: {reason}", hint=f"see https://toml.io, then mend {place}") from None


class Table:
    """One table of a document, read key by key; ``finish`` refuses keys that nobody asked for."""

    def __init__(self, document: Document, key: Key, values: dict[str, Any]) -> None:
        self.document = document
        self.key = key
        self._values = values
        self._asked: dict[str, None] = {}  # in the order of asking, for the list of what is allowed

    def error(self, key: str | int, problem: str, hint: str = "") -> ConfigError:
        """The error for one key of this table."""
        return self.document.error((*self.key, key), problem, hint)

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def names(self) -> list[str]:
        """The keys, in the document's order."""
        return list(self._values)

    def _get(self, key: str, kind: type[Value]) -> Value | None:
        self._asked[key] = None
        value = self._values.get(key)
        if value is None:
            return None
        # bool is an int in Python, but true is no size.
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise self.error(key, f"expected {_KIND_NAMES[kind]}, found {shown(value)}")
        return value

    def text(self, key: str, check: Callable[[str], object] | None = None) -> str | None:
        """A string that is not empty and passes ``check`` (which raises ValueError with the reason)."""
        if key not in self._values:
            # Most keys are not there, and a lock of 1,000 models asks for 15,000.
            self._asked[key] = None
            return None
        value = self._get(key, str)
        if value is None:
            return None
        self._check(key, value, check)
        return value

    def required_text(self, key: str, check: Callable[[str], object] | None = None) -> str:
        """Like ``text``, but the key must be there."""
        value = self.text(key, check)
        if value is None:
            raise self.document.error(self.key, f'the key "{key}" is missing')
        return value

    def _check(self, key: str | int, value: str, check: Callable[[str], object] | None) -> None:
        if not value.strip():
            raise self.error(key, "expected a string that is not empty")
        try:
            if check is not None:
                check(value)
        except ValueError as error:
            raise self.error(key, f"found {shown(value)}: {error}") from None

    def integer(self, key: str, least: int = 0) -> int | None:
        """A whole number that is at least ``least``."""
        value = self._get(key, int)
        if value is not None and value < least:
            raise self.error(key, f"expected a whole number of at least {least}, found {shown(value)}")
        if value is not None and value > _LARGEST:
            raise self.error(key, f"expected a whole number of at most {_LARGEST}, found {shown(value)}")
        return value

    def number(self, key: str, least: float, most: float) -> float | None:
        """A number between ``least`` and ``most``."""
        self._asked[key] = None
        value = self._values.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            raise self.error(key, f"expected a number from {least:g} to {most:g}, found {shown(value)}")
        return float(value)

    def boolean(self, key: str, *, missing: bool = False) -> bool:
        """True or false; ``missing`` where the key is."""
        value = self._get(key, bool)
        return missing if value is None else value

    def texts(self, key: str, check: Callable[[str], object] | None = None) -> tuple[str, ...] | None:
        """An array of strings, each of which passes ``check``."""
        values = self._get(key, list)
        if values is None:
            return None
        for position, value in enumerate(values):
            if not isinstance(value, str):
                raise self.document.error((*self.key, key, position), f"expected a string, found {shown(value)}")
            within = Table(self.document, (*self.key, key), {})
            within._check(position, value, check)
        return tuple(values)

    def parsed(self, key: str, parse: Callable[[object], Value]) -> Value | None:
        """Whatever stands there, as ``parse`` reads it (which raises ValueError with what is allowed)."""
        self._asked[key] = None
        value = self._values.get(key)
        if value is None:
            return None
        try:
            return parse(value)
        except ValueError as error:
            raise self.error(key, f"found {shown(value)}: {error}") from None

    def table(self, key: str) -> Table:
        """A table inside this one; an empty one where the key is missing."""
        return Table(self.document, (*self.key, key), self._get(key, dict) or {})

    def tables(self, key: str) -> list[Table]:
        """The tables of an array, each under its own ``[[key]]``; none where the key is missing."""
        if isinstance(self._values.get(key), dict):
            raise self.error(key, "expected an array of tables, found a table", f"write [[{key}]]")
        for position, value in enumerate(self.array(key)):
            if not isinstance(value, dict):
                raise self.document.error((*self.key, key, position), f"expected a table, found {shown(value)}")
        return [Table(self.document, (*self.key, key, at), value) for at, value in enumerate(self.array(key))]

    def array(self, key: str) -> list[Any]:
        """An array of anything; empty where the key is missing."""
        return self._get(key, list) or []

    def values(self, key: str) -> dict[str, Any]:
        """A table whose keys are not vcm's business."""
        return dict(self._get(key, dict) or {})

    def finish(self) -> None:
        """Refuse keys that nobody asked for.

        Raises:
            ConfigError: names the key, the nearest valid one and all valid ones.
        """
        for key in self._values:
            if key not in self._asked:
                allowed = ", ".join(self._asked)
                raise self.error(key, f"unknown key{did_you_mean(key, self._asked)}", f"allowed here: {allowed}")


def shown(value: object) -> str:
    """A value from a document, short enough for a message."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "an array"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and abs(value) > _LARGEST:
        return "a number of more than 64 bits"
    # What stands before an address's host may be a password, and goes into no message.
    text = f'"{re.sub(_CREDENTIALS, "***@", value)}"' if isinstance(value, str) else str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."  # noqa: PLR2004


def find_line(text: str, key: Key) -> int | None:
    """The 1-based line on which ``key`` or the nearest table around it stands, found without a second parser.

    Good for what people and vcm write (one header per table, one key per line); None where nothing fits.
    """
    best: tuple[int, int] | None = None
    header: Key = ()
    counts: dict[Key, int] = {}
    for number, untrimmed in enumerate(text.split("\n"), start=1):
        line = untrimmed.strip()
        if line.startswith("#"):
            continue
        match = re.fullmatch(_HEADER, line)
        if match:
            *outer, last = _key_parts(match[2]) or [""]
            header = ()
            for part in outer:
                # Below [[a]], [a.b] is of the last a.
                header = (*header, part)
                header = (*header, counts[header]) if header in counts else header
            header = (*header, last)
            if match[1] == "[[":
                counts[header] = counts.get(header, -1) + 1
                header = (*header, counts[header])
            found = header
        else:
            name, equals, _ = line.partition("=")
            if not equals:
                continue
            found = (*header, *_key_parts(name.strip()))
        depth = min(len(found), len(key))
        if depth and found[:depth] == key[:depth] and (best is None or depth > best[0]):
            best = (depth, number)
    return best[1] if best else None


def _key_parts(text: str) -> list[str]:
    matches = re.finditer(r'"([^"]*)"|\'([^\']*)\'|([A-Za-z0-9_-]+)', text)
    return [next(group for group in match.groups() if group is not None) for match in matches]
