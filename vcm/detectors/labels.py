"""The labels of classifiers: which ones a model knows, and which of them are findings."""

from __future__ import annotations

from collections.abc import Sequence

from vcm.core.fields import Table
from vcm.core.wording import did_you_mean, printable

_SHOWN = 20


def model_labels(config: Table) -> tuple[str, ...]:
    """The labels of a classifier in the order of its outputs: ``id2label`` of its ``config.json``.

    Raises:
        ConfigError: there are none, or they are not numbered 0, 1, 2 …
    """
    names = config.values("id2label")
    if not names:
        raise config.error("id2label", "missing: the model names no labels")
    labels = [names.get(str(number)) for number in range(len(names))]
    if not all(isinstance(label, str) and label.isprintable() for label in labels):
        raise config.error("id2label", "expected labels that are numbered from 0 on")
    return tuple(str(label) for label in labels)


def check_labels(options: Table, wanted: Sequence[str], known: Sequence[str]) -> None:
    """Nothing, if the model knows all labels that are findings.

    Raises:
        ConfigError: it does not know one, or none is named; says which there are.
    """
    for label in wanted:
        if label not in known:
            raise options.error(
                "labels", f'the model knows no label "{printable(label)}"{_near(label, known)}', _choice(known)
            )
    if not wanted:
        raise options.error("labels", "missing: which of the model's labels are findings", _choice(known))


def _near(label: str, known: Sequence[str]) -> str:
    same = [each for each in known if each.casefold() == label.casefold()]
    return did_you_mean(label, same or known)


def _choice(known: Sequence[str]) -> str:
    more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
    return f"the model's labels: {printable(', '.join(known[:_SHOWN]))}{more}"
