"""The JSON files of a repo by which programs find its other files, and code in other repos.

They are anybody's: what is no JSON, or has another shape than the libraries write, names nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from vcm.core.formats import is_index

ADAPTER_CONFIG = "adapter_config.json"
MODEL_INDEX = "model_index.json"
MODULES = "modules.json"
# transformers and peft: config, tokenizer_config, generation_config, preprocessor_config, video_preprocessor_config …
_CONFIG = re.compile(r"(?:.*/)?(?:(?:tokenizer|generation|adapter|[a-z_]*processor)_)?config\.json")
LARGEST = 64 << 20
"""Bytes of a file that is read at all. The index of a model of a thousand shards has some 16 MB."""


def is_config(path: str) -> bool:
    """Whether this is a configuration of transformers or peft, in any folder."""
    return _CONFIG.fullmatch(path) is not None


def is_reference(path: str) -> bool:
    """Whether a file of this name may name others: what ``gaps`` and ``references`` want to read."""
    return is_index(path) or is_config(path) or base_name(path) in (MODEL_INDEX, MODULES)


def base_name(path: str) -> str:
    """The last part of a path."""
    return path.rpartition("/")[2]


def beside(path: str, name: str) -> str:
    """The path of a file that is named relative to the folder of ``path``."""
    folder, slash, _ = path.rpartition("/")
    return f"{folder}{slash}{name}"


def parse(data: bytes | None) -> Any:
    """A JSON value from its bytes; None where there is none."""
    if data is None or len(data) > LARGEST:
        return None
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def strings(value: Any) -> Iterator[str]:
    """Every string in a JSON value, however deep, in its order; but no key."""
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, str):
            yield each
        elif isinstance(each, dict):
            waiting.extend(reversed(each.values()))
        elif isinstance(each, list):
            waiting.extend(reversed(each))


def code_references(config: Any) -> Iterator[tuple[str | None, str]]:
    """The classes that a configuration of transformers takes from Python files: the repo, if another, and the module.

    Source: ``auto_map`` and ``custom_pipelines`` of https://huggingface.co/docs/transformers/custom_models and
    ``get_class_from_dynamic_module``: ``module.Class`` or ``namespace/name--module.Class``.
    """
    if not isinstance(config, dict):
        return
    pipelines = config.get("custom_pipelines")
    tasks = pipelines.values() if isinstance(pipelines, dict) else ()
    for value in (config.get("auto_map"), *(task.get("impl") for task in tasks if isinstance(task, dict))):
        for text in strings(value):
            repo, dashes, name = text.rpartition("--")
            module, dot, _ = name.partition(".")
            if module and dot:
                yield (repo if dashes else None), module
