"""The published API: every class, field, method, parameter and default that the project promised before it began.

What was promised stands here as Python, and in full in documents beside the project (``../shared/seeds``); the test of
those skips without them. More is allowed than was promised, as long as every call that was promised goes on to work:
further parameters with defaults, defaults where there were none, wider types for what is given.
"""

from __future__ import annotations

import ast
import collections.abc
import inspect
import re
import sys
import types
import typing
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields, is_dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

import vcm
import vcm.testing

PUBLISHED = """
class ModelSource:
    name: str
    url: str
    checksum: str
    size_bytes: int
    algorithm: str = "sha256"
    optional: bool = False

class ModelsConfig:
    cache_dir: Optional[str]
    sources: List[ModelSource]
    auto_download: bool = False

class Config:
    models: ModelsConfig

def load_config(config_path: str) -> Config: ...

class ModelManager:
    def __init__(self, config: Config, registry: Optional[HuggingFaceRegistry] = None) -> None: ...
    def verify_models(
        self,
        sources: Optional[List[ModelSource]] = None,
        progress_callback: Optional[Callable[[str, int, int], None]] = None,
    ) -> Dict[str, bool]: ...
    def is_model_valid(self, model_name: str) -> bool: ...
    def get_model_path(self, model_name: str) -> Path: ...
    def get_model_info(self, model_name: str) -> ModelMetadata: ...

class ModelMetadata:
    name: str
    versions: List[str]
    checksums: Dict[str, str]
    sizes: Dict[str, int]
    deprecated: bool = False
    replacement: Optional[str] = None
    last_updated: Optional[datetime] = None

class HuggingFaceRegistry:
    def __init__(self, cache_dir: Optional[Path] = None, ttl_hours: int = 24) -> None: ...
    def query_model(self, model_name: str, force_refresh: bool = False) -> ModelMetadata: ...
    def get_cached_metadata(self, model_name: str) -> Optional[ModelMetadata]: ...
    def is_metadata_valid(self, model_name: str) -> bool: ...
    def refresh_metadata(self, model_name: str) -> ModelMetadata: ...
    def clear_cache(self, model_name: Optional[str] = None) -> None: ...

class AnalysisPipeline:
    def __init__(self, config: Config, skip_model_check: bool = False) -> None: ...
    def verify_models(self, download: bool = False) -> bool: ...
    def analyze(self) -> Dict[str, Any]: ...

class ModelType(str, Enum):
    TEXT_GENERATION = "text-generation"
    TEXT_TO_IMAGE = "text-to-image"
    IMAGE_TO_TEXT = "image-to-text"
    AUDIO_TO_TEXT = "audio-to-text"
    TEXT_TO_AUDIO = "text-to-audio"
    EMBEDDING = "embedding"
    CLASSIFICATION = "classification"
    OTHER = "other"

class ModelStatus(str, Enum):
    DOWNLOADING = "downloading"
    AVAILABLE = "available"
    ERROR = "error"
    DELETED = "deleted"
    PENDING = "pending"

class ModelEntry:
    model_id: str
    model_type: ModelType
    path: Path
    status: ModelStatus
    version: str
    size_bytes: int
    download_date: datetime
    metadata: Dict[str, Any]

class ModelRegistry:
    def __init__(self, registry_file: Path) -> None: ...
    def add_model(self, entry: ModelEntry) -> bool: ...
    def get_model(self, model_id: str) -> Optional[ModelEntry]: ...
    def list_models(
        self, model_type: Optional[ModelType] = None, status: Optional[ModelStatus] = None
    ) -> List[ModelEntry]: ...
    def update_model_status(self, model_id: str, status: ModelStatus, metadata: Optional[Dict] = None) -> bool: ...
    def remove_model(self, model_id: str) -> bool: ...
    def save(self) -> None: ...
    def load(self) -> None: ...

class ModelDownloader:
    def __init__(self, registry: ModelRegistry, download_dir: Path, max_workers: int = 3) -> None: ...
    async def download_model_hf(
        self,
        model_id: str,
        model_type: ModelType,
        revision: str = "main",
        specific_files: Optional[List[str]] = None,
    ) -> Optional[ModelEntry]: ...
    async def get_model_info_hf(self, model_id: str) -> Optional[Dict]: ...
    def get_download_progress(self, model_id: str) -> Optional[Dict]: ...
    def cancel_download(self, model_id: str) -> bool: ...

class MockHuggingFaceServer:
    def __init__(self, models: Dict[str, bytes]) -> None: ...
    def start(self) -> Tuple[str, int]: ...
    def stop(self) -> None: ...
    def get_model_url(self, model_name: str) -> str: ...

class ConfigError(VcmError): ...
class ModelDownloadError(VcmError): ...
class ModelChecksumError(ModelDownloadError): ...
class DiskSpaceError(ModelDownloadError): ...
class RegistryError(VcmError): ...
class ModelNotFoundError(RegistryError): ...
class ModelRegistryError(VcmError): ...
class LockError(VcmError): ...
"""

DOCUMENTS = Path(__file__).parents[2] / "shared" / "seeds"
NAMES = {
    **vars(typing),
    "Callable": collections.abc.Callable,
    "Path": Path,
    "datetime": datetime,
    "Enum": Enum,
    **{name: getattr(vcm, name) for name in vcm.__all__},
    **{name: getattr(vcm.testing, name) for name in vcm.testing.__all__},
}

Declaration = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def declared(text: str) -> list[Declaration]:
    """The classes at the top of a text, and the one function that was published."""
    return [
        node
        for node in ast.parse(text).body
        if isinstance(node, ast.ClassDef) or (isinstance(node, ast.FunctionDef) and node.name == "load_config")
    ]


def with_bodies(block: str) -> str:
    """A block of a document as Python: a signature may stand there without colon and body."""
    signature = r"^( *(?:async )?def \w+\((?:[^()]|\([^()]*\))*\)(?: -> [^\n:]+)?)$"
    return re.sub(signature, r"\1: ...", block, flags=re.MULTILINE)


def in_document(text: str) -> Iterator[Declaration]:
    """What a document declares: in its blocks of Python, and in its headings below one that names a class."""
    for block in re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        # A drawing of who inherits from whom is marked as Python, too.
        if "├" not in block:
            yield from declared(with_bodies(block))
    for section in re.split(r"^## ", text, flags=re.MULTILINE):
        of_class = re.match(r"(\w+) Class\n", section)
        for signature in re.findall(r"^#### `(async )?(\w+)\((.*)\) -> (.*)`$", section, re.MULTILINE):
            assert of_class is not None
            prefix, name, parameters, answer = signature
            yield from declared(f"class {of_class[1]}:\n    {prefix}def {name}(self, {parameters}) -> {answer}: ...\n")


def types_of(value: object) -> frozenset[object]:
    """What a union is made of; another type alone."""
    if typing.get_origin(value) in (typing.Union, types.UnionType):
        return frozenset(map(plain, typing.get_args(value)))
    return frozenset((plain(value),))


def plain(value: Any) -> object:
    """A type, however it is written: List[str] as list[str], and what stands inside it too."""
    origin, arguments = typing.get_origin(value), typing.get_args(value)
    if origin is None:
        return type(None) if value is None else value
    if not arguments:
        return origin
    return origin, tuple(tuple(map(types_of, each)) if isinstance(each, list) else types_of(each) for each in arguments)


def is_wide_enough(ours: object, promised: object) -> bool:
    """Whether every value of the promised type is one of ours; ``Dict`` is any."""
    known = types_of(ours)
    bare = {each[0] for each in known if isinstance(each, tuple)}
    return all(each in known or each in bare for each in types_of(promised))


def evaluated(node: ast.expr | None) -> Any:
    return None if node is None else eval(ast.unparse(node), dict(NAMES))  # noqa: S307  (the documents are our own)


def hints(function: Callable[..., Any]) -> dict[str, Any]:
    return typing.get_type_hints(function, {**NAMES, **vars(sys.modules[function.__module__])}, NAMES)


def differences_of_function(node: ast.FunctionDef | ast.AsyncFunctionDef, ours: Any) -> Iterator[str]:
    if inspect.iscoroutinefunction(ours) != isinstance(node, ast.AsyncFunctionDef):
        yield "async or not"
    given, types_given = list(inspect.signature(ours).parameters.values()), hints(ours)
    promised = node.args.args
    if [each.arg for each in promised] != [each.name for each in given[: len(promised)]]:
        yield f"parameters {[each.name for each in given]}"
        return
    defaults = [None] * (len(promised) - len(node.args.defaults)) + list(node.args.defaults)
    for argument, default, parameter in zip(promised, defaults, given, strict=False):
        yield from differences_of_parameter(argument, default, parameter, types_given.get(argument.arg))
    yield from (f"{each.name} has no default" for each in given[len(promised) :] if each.default is each.empty)
    if node.returns is not None and node.name != "__init__":
        answer, expected = types_given["return"], evaluated(node.returns)
        if not is_wide_enough(answer, expected) or len(types_of(answer)) > len(types_of(expected)):
            yield f"the answer is {answer}"


def differences_of_parameter(
    argument: ast.arg, default: ast.expr | None, parameter: inspect.Parameter, kind: object
) -> Iterator[str]:
    if parameter.kind is not parameter.POSITIONAL_OR_KEYWORD:
        yield f"{argument.arg} is {parameter.kind.description}"
    if default is not None and parameter.default != evaluated(default):
        yield f"{argument.arg} is {parameter.default!r} by default"
    if argument.annotation is not None and not is_wide_enough(kind, evaluated(argument.annotation)):
        yield f"{argument.arg} is {kind}"


def differences_of_fields(node: ast.ClassDef, ours: type) -> Iterator[str]:
    promised = [each for each in node.body if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)]
    if not promised:
        return
    assert is_dataclass(ours)
    given = {each.name: each for each in fields(ours)}
    types_given = typing.get_type_hints(ours, {**NAMES, **vars(sys.modules[ours.__module__])}, NAMES)
    names = [ast.unparse(each.target) for each in promised]
    if list(given)[: len(names)] != names:
        yield f"fields {list(given)}"
        return
    for name, each in zip(names, promised, strict=True):
        if types_of(types_given[name]) != types_of(evaluated(each.annotation)):
            yield f"{name} is {types_given[name]}"
        if each.value is not None and given[name].default != evaluated(each.value):
            yield f"{name} is {given[name].default!r} by default"
    for name, field in list(given.items())[len(names) :]:
        if field.default is MISSING and field.default_factory is MISSING:
            yield f"{name} has no default"


def differences(node: Declaration) -> list[str]:
    """Where vcm is not what was published; empty where it is, or gives more."""
    ours = NAMES.get(node.name)
    if ours is None:
        return [f"{node.name} is not there"]
    if not isinstance(node, ast.ClassDef):
        return [f"{node.name}: {each}" for each in differences_of_function(node, ours)]
    found = [each for each in node.bases if not issubclass(ours, evaluated(each))]
    problems = [f"{node.name} is no {ast.unparse(each)}" for each in found]
    problems += [f"{node.name}: {each}" for each in differences_of_fields(node, ours)]
    for each in node.body:
        if isinstance(each, ast.Assign):
            (target,) = each.targets
            if getattr(ours, ast.unparse(target)).value != evaluated(each.value):
                problems.append(f"{node.name}.{ast.unparse(target)} is another")
        if not isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef) or re.match("_[^_]", each.name):
            continue
        method = getattr(ours, each.name, None)
        if method is None:
            problems.append(f"{node.name}.{each.name} is not there")
        else:
            problems += [f"{node.name}.{each.name}: {problem}" for problem in differences_of_function(each, method)]
    return problems


@pytest.mark.parametrize("node", declared(PUBLISHED), ids=lambda node: node.name)
def test_what_was_published_is_there(node: Declaration) -> None:
    assert differences(node) == []


@pytest.mark.parametrize(
    ("name", "count"),
    [("api-contracts.md", 13), ("model-manager-api-reference.md", 14), ("implementation-complete.md", 3)],
)
def test_the_documents_say_no_more(name: str, count: int) -> None:
    path = DOCUMENTS / name
    if not path.is_file():
        pytest.skip(f"the documents are not at {DOCUMENTS}")
    nodes = list(in_document(path.read_text(encoding="utf-8")))
    assert len(nodes) == count
    assert [problem for node in nodes for problem in differences(node)] == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("class Nothing: ...", "Nothing is not there"),
        ("class ModelManager:\n def forget(self): ...", "ModelManager.forget is not there"),
        ("class ModelManager:\n def is_model_valid(self, name): ...", "ModelManager.is_model_valid: parameters"),
        ("class ModelManager:\n def is_model_valid(self, model_name: int): ...", "model_name is <class 'str'>"),
        ("class ModelManager:\n def is_model_valid(self, model_name) -> str: ...", "the answer is <class 'bool'>"),
        ("class ModelManager:\n async def is_model_valid(self, model_name): ...", "async or not"),
        ("class ModelRegistry:\n def list_models(self, model_type=7): ...", "model_type is None by default"),
        ("class ModelRegistry:\n def get_model(self): ...", "model_id has no default"),
        ("class ModelRegistry:\n def get_model(self, model_id) -> ModelEntry: ...", "the answer is"),
        ("class ModelSource:\n name: int", "name is <class 'str'>"),
        ("class ModelSource:\n url: str", "fields"),
        ("class ModelSource:\n name: str", "url has no default"),
        ("class ModelStatus:\n ERROR = 'no'", "ModelStatus.ERROR is another"),
        ("class LockError(ConfigError): ...", "LockError is no ConfigError"),
        ("def load_config(config_path: bytes): ...", "config_path is"),
    ],
)
def test_a_difference_would_be_seen(text: str, problem: str) -> None:
    (node,) = declared(text)
    assert any(problem in each for each in differences(node))


def test_every_public_name_is_documented_and_found_by_completion() -> None:
    assert set(vcm.__all__) <= set(dir(vcm))
    for name in vcm.__all__:
        value = getattr(vcm, name)
        if callable(value):
            assert value.__doc__, name
            assert all(
                member.__doc__
                for key, member in vars(value).items()
                if inspect.isfunction(member) and not key.startswith("_")
            ), name
