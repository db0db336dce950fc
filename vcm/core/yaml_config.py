"""An application's YAML: where its models, and the detectors that need them, stood before there was a ``models.toml``.

    models:
      cache_dir: null                 # or a folder
      auto_download: false
      sources:
        - name: profanity-detector
          url: https://example.com/profanity.onnx
          checksum: 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae
          algorithm: sha256           # where it is left out, this one
          size_bytes: 3
          optional: false
    detectors:
      - type: speech                  # the kind
        name: bad-words
        enabled: true
        model: profanity-detector     # or model_name: a name among the sources
        categories: [profanity]       # this and all else is the detector's own

Everything else in the file belongs to the application. Nothing is constructed from it but plain values, and no alias
is copied without end: the nodes of the two sections are read one by one, and counted.

Import this module where it is used: YAML is another 25 ms before every command.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import yaml
from yaml import MappingNode, Node, ScalarNode, SequenceNode
from yaml.constructor import ConstructorError, SafeConstructor

from vcm.core import names
from vcm.core.fields import Document, Key, Table, decoded, shown
from vcm.core.manifest import CHECKSUM_LENGTHS, Checksum, DeclaredDetector, parse_checksum
from vcm.core.reference import file_name as name_in_url
from vcm.core.wording import printable
from vcm.errors import ConfigError

LARGEST = 1 << 18
"""Bytes of a file that is read at all: YAML takes long to read, and no configuration is larger."""

_LONGEST_NUMBER = 100
_MOST_VALUES = 10_000
_DEEPEST = 20
_TAG = "tag:yaml.org,2002:"


@dataclass(frozen=True, slots=True, kw_only=True)
class YamlSource:
    """One model of ``sources``: a direct file.

    Attributes:
        name: as it stands there, which may be no name for a ``models.toml``.
        size_bytes: what the file has, whole.
    """

    name: str
    url: str
    checksum: Checksum
    size_bytes: int
    optional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class YamlModels:
    """The whole section.

    Attributes:
        cache_dir: the folder for models; None for the platform's own place.
        sources: in the file's order, no name twice.
        auto_download: whether the application fetches what is missing without being told.
    """

    cache_dir: str | None = None
    sources: tuple[YamlSource, ...] = ()
    auto_download: bool = False


class _YamlDocument(Document):
    """A YAML file's name, and the lines of the keys that were read so far."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(name, text)
        self.lines: dict[Key, int] = {}

    def line(self, key: Key) -> int | None:
        return next((self.lines[key[:end]] for end in range(len(key), 0, -1) if key[:end] in self.lines), None)


def parse_yaml_config(data: bytes, file_name: str) -> YamlModels:
    """The models section of a YAML file; one without any model where the file has none.

    Raises:
        ConfigError: names file, line, key, what was found, what is allowed.
    """
    with _hinting(file_name):
        document = _document(data, file_name)
        return _models(document, _root(document))


def parse_yaml_application(data: bytes, file_name: str) -> tuple[YamlModels, tuple[DeclaredDetector, ...]]:
    """The models section of a YAML file, and its detectors that are enabled, in the file's order.

    A detector may name a model that is no source: whether it can run then is for who runs it to say.

    Raises:
        ConfigError: names file, line, key, what was found, what is allowed.
    """
    with _hinting(file_name):
        document = _document(data, file_name)
        root = _root(document)
        return _models(document, root), _detectors(document, root)


@contextmanager
def _hinting(file_name: str) -> Iterator[None]:
    try:
        yield
    except ConfigError as error:
        error.hint = error.hint or f"mend it in {file_name}"
        raise


def _document(data: bytes, file_name: str) -> _YamlDocument:
    if len(data) > LARGEST:
        raise ConfigError(
            f"{file_name}: longer than {LARGEST} bytes", hint="name the application's configuration, which is shorter"
        )
    return _YamlDocument(file_name, decoded(file_name, data))


def _root(document: _YamlDocument) -> Node | None:
    try:
        root: Node | None = yaml.compose(document.text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{document.name}:{mark.line + 1}" if mark else document.name
        if error.problem == "but found another document":
            raise ConfigError(f"{place}: a second document begins here", hint="keep one document in the file") from None
        if mark and document.text[mark.index : mark.index + 1] == "\t":
            raise ConfigError(f"{place}: not YAML: a tab", hint="indent with blanks") from None
        raise ConfigError(f"{place}: not YAML: {error.problem or error.context}", hint=f"mend {place}") from None
    except yaml.reader.ReaderError as error:
        line = document.text.count("\n", 0, error.position) + 1
        raise ConfigError(f"{document.name}:{line}: not YAML: a character that YAML does not allow") from None
    except RecursionError:
        raise ConfigError(f"{document.name}: not YAML: nested too deeply") from None
    except (ValueError, OverflowError):
        # An escape that is no character, and the like.
        raise ConfigError(f"{document.name}: not YAML: a character or number that does not exist") from None
    return root


def _section(document: _YamlDocument, root: Node | None, name: str) -> Node | None:
    if root is None or _is_null(root):
        return None
    section = dict(_pairs(document, (), root, only=name)).get(name)
    return None if section is None or _is_null(section) else section


def _models(document: _YamlDocument, root: Node | None) -> YamlModels:
    section = _section(document, root, "models")
    if section is None:
        return YamlModels()
    nodes = dict(_pairs(document, ("models",), section))
    values = {key: _plain(document, ("models", key), node) for key, node in nodes.items()}
    table = Table(document, ("models",), values)
    _refuse_unquoted(table, values, "cache_dir")
    cache_dir = table.text("cache_dir", names.line)
    table.array("sources")
    auto_download = table.boolean("auto_download")
    table.finish()
    listed = nodes.get("sources")
    items = listed.value if isinstance(listed, SequenceNode) else []
    sources: dict[str, YamlSource] = {}
    for position, node in enumerate(items):
        key = ("models", "sources", position)
        document.lines[key] = node.start_mark.line + 1
        source = _source(document, key, node)
        if source.name in sources:
            raise document.error((*key, "name"), f'"{source.name}" stands twice', "give each source a name of its own")
        sources[source.name] = source
    return YamlModels(cache_dir=cache_dir, sources=tuple(sources.values()), auto_download=auto_download)


def _source(document: _YamlDocument, key: Key, node: Node) -> YamlSource:
    nodes = dict(_pairs(document, key, node))
    values = {each: _plain(document, (*key, each), value) for each, value in nodes.items()}
    table = Table(document, key, values)
    _refuse_unquoted(table, values, "name", "url", "checksum", "algorithm")
    name = table.required_text("name", names.line)

    def check_url(text: str) -> None:
        try:
            name_in_url(names.http_url(text), name)
        except ConfigError as error:
            raise ValueError(error.message) from None

    url = table.required_text("url", check_url)
    checksum = _checksum(table, name)
    size_bytes = table.integer("size_bytes")
    if size_bytes is None:
        raise document.error(key, 'the key "size_bytes" is missing')
    optional = table.boolean("optional")
    table.finish()
    return YamlSource(name=name, url=url, checksum=checksum, size_bytes=size_bytes, optional=optional)


def _checksum(table: Table, name: str) -> Checksum:
    named = table.text("algorithm")
    text = table.required_text("checksum")
    prefix, _, digits = text.rpartition(":")
    algorithm = named.lower().replace("-", "") if named else "sha256"
    if prefix and named and prefix != algorithm:
        raise table.error("checksum", f'found "{prefix}:", which is not the algorithm "{named}"', "keep one of the two")
    algorithm = prefix or algorithm
    try:
        return parse_checksum(f"{algorithm}:{digits}")
    except ValueError as error:
        if algorithm not in CHECKSUM_LENGTHS:
            raise table.error("checksum" if prefix else "algorithm", str(error)) from None
        raise table.error(
            "checksum",
            f'found {shown(text)} for "{name}": {error}',
            "put the digest there that the file's publisher gives, or one computed from a copy you trust",
        ) from None


def _detectors(document: _YamlDocument, root: Node | None) -> tuple[DeclaredDetector, ...]:
    section = _section(document, root, "detectors")
    if section is None:
        return ()
    if not isinstance(section, SequenceNode):
        raise document.error(("detectors",), "expected a list of detectors", "begin each with - and its type")
    # One for all of them: an alias may stand for very much.
    counter = iter(range(_MOST_VALUES))
    detectors: dict[str, DeclaredDetector] = {}
    for position, node in enumerate(section.value):
        key = ("detectors", position)
        document.lines[key] = node.start_mark.line + 1
        nodes = dict(_pairs(document, key, node))
        values = {each: _value(document, (*key, each), value, counter) for each, value in nodes.items()}
        detector = _detector(Table(document, key, values), values)
        if detector is not None and detector.name in detectors:
            problem = f'"{detector.name}" stands twice'
            raise document.error((*key, "name"), problem, "give each detector a name of its own")
        if detector is not None:
            detectors[detector.name] = detector
    return tuple(detectors.values())


def _detector(table: Table, values: dict[str, Any]) -> DeclaredDetector | None:
    """The detector; None for one that is not enabled."""
    _refuse_unquoted(table, values, "type", "name", "model_name", "model")
    kind, name = table.required_text("type", names.line), table.required_text("name", names.line)
    enabled = table.boolean("enabled", missing=True)
    model_name, model = table.text("model_name", names.line), table.text("model", names.line)
    if model_name and model and model_name != model:
        raise table.error("model", 'stands beside "model_name", which names another', "keep one of the two")
    known = ("type", "name", "enabled", "model_name", "model")
    options = {key: value for key, value in values.items() if key not in known}
    return DeclaredDetector(name=name, kind=kind, model=model_name or model, options=options) if enabled else None


def _value(document: _YamlDocument, key: Key, node: Node, counter: Iterator[int]) -> Any:
    """All of a value, whatever it is."""
    if next(counter, None) is None:
        raise document.error(key, f"these are more than {_MOST_VALUES} values", "write less, or fewer aliases")
    if len(key) > _DEEPEST:
        raise document.error(key, "nested too deeply")
    if isinstance(node, MappingNode):
        return {name: _value(document, (*key, name), each, counter) for name, each in _pairs(document, key, node)}
    if isinstance(node, SequenceNode):
        return [_value(document, (*key, position), each, counter) for position, each in enumerate(node.value)]
    return _plain(document, key, node)


def _refuse_unquoted(table: Table, values: dict[str, Any], *keys: str) -> None:
    """YAML reads 123 as a number, no as false; what was meant, only the author knows."""
    for key in keys:
        value = values.get(key)
        if isinstance(value, bool | int | float):
            kind = "true or false" if isinstance(value, bool) else "a number"
            raise table.error(key, f"expected a string, which YAML reads as {kind} without quotes", "put it in quotes")


def _pairs(document: _YamlDocument, key: Key, node: Node, only: str | None = None) -> Iterator[tuple[str, Node]]:
    """The keys of a mapping and what stands there, once each; with ``only``, all others are passed over."""
    if not isinstance(node, MappingNode):
        found = "a list" if isinstance(node, SequenceNode) else shown(str(node.value))
        raise document.error(key, f"expected keys and values, found {found}")
    seen: set[str] = set()
    for name_node, value in node.value:
        name = name_node.value if isinstance(name_node, ScalarNode) else None
        if only is not None and name != only:
            continue
        if name is None or not name.isprintable():
            raise document.error(key, "expected keys that are words")
        document.lines[*key, name] = name_node.start_mark.line + 1
        if name_node.tag == f"{_TAG}merge":
            raise document.error((*key, name), "merged keys are not read", "write the keys out here")
        if name in seen:
            raise document.error((*key, name), "stands twice", "keep one of the two")
        seen.add(name)
        yield name, value


def _is_null(node: Node) -> bool:
    return bool(node.tag == f"{_TAG}null")


def _plain(document: _YamlDocument, key: Key, node: Node) -> Any:
    """A scalar's value; of a list or a mapping, only that it is one."""
    if isinstance(node, MappingNode):
        return {}
    if isinstance(node, SequenceNode):
        return []
    kind, text = node.tag.removeprefix(_TAG), str(node.value)
    if kind == "str":
        return text
    if kind == "null":
        return None
    if kind in ("int", "float", "bool") and len(text) <= _LONGEST_NUMBER:
        try:
            return SafeConstructor().construct_object(node)
        except (ConstructorError, ValueError, OverflowError, KeyError):
            pass  # !!int x
    raise document.error(key, f"found {shown(text)}, to YAML a value of the kind {printable(kind)}", "put it in quotes")
