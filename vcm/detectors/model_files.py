"""The small files of a model, which are its publisher's and nobody's word.

What is wrong with them is a ConfigError that names the file and the key: the project has chosen this model for this
kind of detector.
"""

from __future__ import annotations

import json
from pathlib import Path

from vcm.core.configs import LARGEST
from vcm.core.fields import Document, Key, Table, dotted
from vcm.core.wording import byte_count, printable, system_reason
from vcm.errors import ConfigError

OTHER_MODEL = "choose another model, or another kind of detector for this one"
"""What to do where a model is none that a kind can run."""

_LONGEST_REASON = 200


class _ModelFile(Document):
    """A file of the model, for messages that point into it."""

    def error(self, key: Key, problem: str, hint: str = "") -> ConfigError:
        place = f"{dotted(key)}: " if key else ""
        return ConfigError(f"{place}{problem}", file=self.name, hint=hint or OTHER_MODEL)


def model_folder(folder: Path | None, options: Table) -> Path:
    """The folder of the model that a kind of detector needs.

    Raises:
        ConfigError: the detector names none.
    """
    if folder is None:
        raise options.document.error(
            _model_key(options), "missing: this kind of detector needs a model", 'name one of the manifest: model = "…"'
        )
    return folder


def no_model(folder: Path | None, options: Table) -> None:
    """Nothing, for a kind of detector that runs without a model.

    Raises:
        ConfigError: the detector names one.
    """
    if folder is not None:
        raise options.document.error(_model_key(options), "this kind of detector takes no model", "remove this key")


def _model_key(options: Table) -> Key:
    return (*options.key[:-1], "model")


def read_model_file(folder: Path, path: str) -> Table | None:
    """A JSON file of the model, to be read key by key; None where there is none.

    Args:
        folder: the model's.
        path: inside it.

    Raises:
        ConfigError: it is no JSON object, or too large for one of these files.
    """
    value = read_json(folder, path)
    if value is None:
        return None
    if not isinstance(value, dict):
        raise unusable(path, "not a JSON object")
    return Table(_ModelFile(path, ""), (), value)


def read_json(folder: Path, path: str) -> object:
    """The value of a JSON file of the model, of any shape; None where there is no file.

    Raises:
        ConfigError: it is no JSON, or too large for one of these files.
    """
    try:
        with (folder / path).open("rb") as stream:
            data = stream.read(LARGEST + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unusable(path, f"cannot be read: {system_reason(error)}") from None
    if len(data) > LARGEST:
        raise unusable(path, f"larger than {byte_count(LARGEST)}")
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise unusable(path, "not JSON, or nested too deeply") from None


def required_model_file(folder: Path, path: str) -> Table:
    """Like ``read_model_file``, but the file must be there."""
    table = read_model_file(folder, path)
    if table is None:
        raise unusable(path, "missing", "add the file to the model's include in models.toml, then run vcm sync")
    return table


def unusable(path: str, problem: str, hint: str = OTHER_MODEL) -> ConfigError:
    """The error for a file of the model that cannot be used."""
    return ConfigError(problem, file=path, hint=hint)


def reason(error: BaseException) -> str:
    """What a library says about a model it cannot use, as one short line."""
    text = printable(" ".join(str(error).split())) or type(error).__name__
    return text if len(text) <= _LONGEST_REASON else f"{text[: _LONGEST_REASON - 3]}..."
