"""What a file's name says about it: its weight format, whether it may hold pickles, its shard, its licence."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

# In the order of preference. Where a suffix means several formats (.bin, .pb), the special names come before it.
_PATTERNS: tuple[tuple[str, str], ...] = (
    ("safetensors", r"\.safetensors$"),
    # Files larger than the Hub once took were cut: https://huggingface.co/TheBloke (-split-a), mradermacher (.part1of2)
    ("gguf", r"\.gguf(-split-[a-z]+|\.part\d+of\d+)?$"),
    # llama.cpp's format before GGUF, and still whisper.cpp's: tensors and no code, in spite of the suffix.
    ("ggml", r"(^|/)((for-tests-)?ggml-[^/]*|[^/]*\.ggmlv\d\.[^/]*)\.bin$|\.ggml$"),
    ("onnx", r"(\.(onnx|ort|onnx_data(_\d+)?|onnx\.data)|(^|/)weights\.pb)$"),
    ("openvino", r"(^|/)openvino[^/]*\.(bin|xml)$"),
    ("coreml", r"\.(mlmodel|(mlpackage|mlmodelc)(/.*|\.zip))$"),
    ("tflite", r"\.(tflite|task|litertlm)$"),
    ("flax", r"\.msgpack$"),
    (
        "tensorflow",
        (
            r"(\.(h5|keras|pb)|\.ckpt(-\d+)?\.(data-\d+-of-\d+|index|meta)|(^|/)variables/variables\..*"
            r"|(^|/)group\d+-shard\d+of\d+(\.bin)?)$"
        ),
    ),
    ("paddle", r"\.(pdparams|pdiparams|pdmodel|pdopt)$"),
    ("pytorch", r"\.(bin|pt|pt2|ptl|pth|pth\.tar|th|ckpt|pkl|pickle|dill|cloudpickle|joblib|nemo|mar|ot)$"),
)
FORMATS = tuple(name for name, _ in _PATTERNS)
_COMPILED = tuple((name, re.compile(pattern, re.IGNORECASE)) for name, pattern in _PATTERNS)
_INDEX = re.compile(r"\.index(\.[^./]+)?\.json$", re.IGNORECASE)

PICKLE_FORMAT = "pytorch"
# Unpickling runs code: https://docs.python.org/3/library/pickle.html. NumPy's files may hold pickled objects.
_PICKLE = re.compile(
    r"\.(bin|pt|pt2|ptl|pth|pth\.tar|th|ckpt|pkl|pickle|dill|cloudpickle|joblib|pdparams|pdopt|npy|npz|nemo|mar)$",
    re.IGNORECASE,
)

_SHARD = re.compile(r"(?P<start>.*)-(?P<number>\d{5})-of-(?P<count>\d{5,6})(?P<end>(?:\.[^./]+)+)", re.ASCII)
# What stands in several files that are loaded as one: a file cut in pieces; a graph and its weights beside it (the
# names are those that the exporters of torch, optimum, OpenVINO and TensorFlow give); a package that is a folder.
_BUNDLE = re.compile(
    r"(?P<name>.*\.gguf)(-split-[a-z]+|\.part\d+of\d+)"
    r"|(?P<graph>.*\.onnx)(_data(_\d+)?|\.data)?"
    r"|(?P<pair>(?:.*/)?openvino[^/]*)\.(bin|xml)"
    r"|(?P<package>.*?\.(mlpackage|mlmodelc))/.*"
    r"|(?P<checkpoint>.*\.ckpt(?:-\d+)?)\.(data-\d+-of-\d+|index)"
    r"|(?P<saved>(?:.*/)?)(saved_model\.pb|variables/variables\.(data-\d+-of-\d+|index))"
    r"|(?P<group>(?:.*/)?group\d+)-shard\d+(?P<count>of\d+)(\.bin)?",
    re.IGNORECASE | re.DOTALL,
)
_PROJECTOR = re.compile(r"(^|[^a-z])mmproj([^a-z]|$)", re.IGNORECASE)
_COMPANION = re.compile(r"(^|[^a-z])(mmproj|imatrix)([^a-z]|$)", re.IGNORECASE)

_LICENCE = re.compile(
    r"(un|(model|code|weights|third[-_]?party|acceptable)[-_])?"
    r"(licen[cs]es?|notices?|copying|copyright|eula|use[-_]policy|terms)"
    r"([-_][a-z0-9+_-]+(\.\d+)*)?(\.(txt|md|rst|pdf|html?))?",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Shard:
    """One file of a set that belongs together: ``model-00002-of-00005.safetensors``.

    Attributes:
        start: the path before the number.
        number: of this file, from 1.
        count: files of the set, as it is written.
        end: the path after it.
    """

    start: str
    number: int
    count: str
    end: str

    def path(self, number: int | str) -> str:
        """The path of the set's file of that number."""
        return f"{self.start}-{number:0>5}-of-{self.count}{self.end}"


def weight_format(path: str) -> str | None:
    """The weight format a file belongs to, by its name alone; an index of shards belongs to its shards."""
    path = _INDEX.sub("", path)
    return next((name for name, pattern in _COMPILED if pattern.search(path)), None)


def only_format(paths: Iterable[str]) -> str | None:
    """The one weight format of some files; None where they have none, or several."""
    found = {weight_format(path) for path in paths} - {None}
    return found.pop() if len(found) == 1 else None


def is_index(path: str) -> bool:
    """Whether this is the index of a set of shards: ``model.safetensors.index.json``."""
    return _INDEX.search(path) is not None


def holds_pickle(path: str) -> bool:
    """Whether loading a file of this name may unpickle it."""
    return weight_format(path) in (None, "paddle", PICKLE_FORMAT) and _PICKLE.search(path) is not None


def shard(path: str) -> Shard | None:
    """Which file of a set this is; None where the name says nothing of a set."""
    match = _SHARD.fullmatch(path)
    if match is None or not 1 <= int(match["number"]) <= int(match["count"]):
        return None
    return Shard(match["start"], int(match["number"]), match["count"], match["end"])


def variant(path: str) -> str | None:
    """The variant of the weights that a GGUF or GGML file holds: its path, without what tells its shards apart.

    None for what stands beside every variant: a projector (``mmproj``) or the data of quantisation (``imatrix``).
    """
    if weight_format(path) not in ("gguf", "ggml") or _COMPANION.search(path.rpartition("/")[2]):
        return None
    part = shard(path)
    return part.start + part.end if part else bundle(path) or path


def is_projector(path: str) -> bool:
    """Whether a GGUF file lets a model of words take images or sounds, and comes beside whichever variant is chosen."""
    return path.lower().endswith(".gguf") and _PROJECTOR.search(path.rpartition("/")[2]) is not None


def bundle(path: str) -> str | None:
    """What a file is one piece of, where its name tells: ``model.onnx`` for ``model.onnx`` and ``model.onnx_data``.

    All files of a commit with the same bundle are loaded as one. None for a file that stands alone, or whose ``shard``
    says how many there are.
    """
    match = _BUNDLE.fullmatch(path)
    return "".join(part for part in match.groupdict().values() if part) if match else None


def is_licence(path: str) -> bool:
    """Whether this is the text of a licence, of a notice that it asks for, or of terms of use, in any folder."""
    return _LICENCE.fullmatch(path.rpartition("/")[2]) is not None
