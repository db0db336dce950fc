"""What a project refuses, whatever its requirements ask for: ``[policy]`` of ``models.toml``.

A locked model is judged by what the lock says of it, so the hub is not asked again and the gate can judge too. What
the lock cannot say (no licence on the card, no date of the commit) does not pass. A url has no commit: its age is
not judged, its owner is its host. A repo of the few without a namespace is its own owner.
"""

from __future__ import annotations

import re
from types import MappingProxyType
from urllib.parse import urlsplit

from vcm.core.records import record
from vcm.core.wording import byte_count, counted, did_you_mean, listed
from vcm.errors import PolicyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from vcm.core.fields import Table
    from vcm.core.lock import LockedModel  # which imports the manifest, which imports this

_UNITS = {"b": 1} | {
    f"{letter}{suffix}": base**power
    for power, letter in enumerate("kmgt", start=1)
    for suffix, base in (("b", 1000), ("ib", 1024))
}
_SIZE = r"([0-9]{1,12}(?:\.[0-9]{1,6})?) ?([A-Za-z]{1,3})"
_LARGEST_SIZE = 2**63 - 1
_HOUR = 3600
_DAY = 24 * _HOUR
_AGES = {"hour": _HOUR, "day": _DAY, "week": 7 * _DAY}
_AGE = r"([1-9][0-9]{0,5}) ?(hour|day|week)s?"
_LICENCE = r"[^\s,*]+\*?"
_OWNER = r"[A-Za-z0-9._-]+"
RULES = ("licenses", "owners", "formats", "max-size", "min-age")
"""The keys of ``[policy]``, but for the exceptions."""

_UNDATED = "the date of its commit is not in models.lock"
_UNASKED = "its licence is not in models.lock"
_UNKNOWN = (_UNDATED, _UNASKED)


@record(frozen=True, kw_only=True)
class Policy:
    """What is allowed; None where everything is.

    Attributes:
        licenses: ids as on the card, in lower case; with a ``*`` at its end an id stands for all its versions.
        owners: namespaces of repos and hosts of urls, in lower case.
        formats: weight formats, of ``vcm.core.formats``.
        max_size: bytes of one model's files, at most.
        min_age: seconds since a commit was made, at least.
        exceptions: for a model's name, the rules that do not hold for it, each with the reason.
    """

    licenses: tuple[str, ...] | None = None
    owners: tuple[str, ...] | None = None
    formats: tuple[str, ...] | None = None
    max_size: int | None = None
    min_age: int | None = None
    exceptions: Mapping[str, Mapping[str, str]] = MappingProxyType({})

    def excepts(self, model: LockedModel, rule: str) -> bool:
        """Whether a rule does not hold for a model, or for the one of the manifest that pulled it in."""
        return any(rule in self.exceptions.get(name, ()) for name in (model.name, model.root))


@record(frozen=True)
class Violation:
    """One rule that a locked model breaks.

    Attributes:
        rule: the key in ``[policy]``.
        value: what the model has, in words.
        allowed: what the rule lets through, in words.
    """

    model: str
    rule: str
    value: str
    allowed: str

    def __str__(self) -> str:
        return f"{self.model}: {self.rule}: {self.value}, {self.allowed}"


def read_policy(top: Table, models: Collection[str]) -> Policy:
    """``[policy]`` of a manifest with these models.

    Raises:
        ConfigError: names the place, what was found and what is allowed.
    """
    table = top.table("policy")
    policy = Policy(
        licenses=_lowered(_some(table, "licenses", table.texts("licenses", _licence))),
        owners=_lowered(_some(table, "owners", table.texts("owners", _owner))),
        formats=_some(table, "formats", table.texts("formats", _format)),
        max_size=table.parsed("max-size", parse_size),
        min_age=table.parsed("min-age", parse_age),
        exceptions=_exceptions(table.table("exceptions"), models),
    )
    table.finish()
    return policy


def _some(table: Table, key: str, texts: tuple[str, ...] | None) -> tuple[str, ...] | None:
    if texts == ():
        raise table.error(key, "an empty list allows nothing at all", f"name what is allowed, or remove {key}")
    return texts


def _lowered(texts: tuple[str, ...] | None) -> tuple[str, ...] | None:
    return None if texts is None else tuple(text.lower() for text in texts)


def _exceptions(tables: Table, models: Collection[str]) -> dict[str, dict[str, str]]:
    exceptions = {}
    for name in tables.names():
        # What a model pulls in is locked under its name and a dot.
        if name not in models and not any(name.startswith(f"{model}.") for model in models):
            raise tables.error(
                name,
                f"no such model in this file{did_you_mean(name, models)}",
                f"remove the table, or name a model of this project: {', '.join(models) or 'none'}",
            )
        table = tables.table(name)
        reasons = {rule: table.text(rule) for rule in RULES}
        table.finish()
        exceptions[name] = {rule: reason for rule, reason in reasons.items() if reason is not None}
    return exceptions


def _licence(text: str) -> None:
    if not re.fullmatch(_LICENCE, text) or not text.isprintable():
        raise ValueError('a licence is an id as on a model\'s card, such as "mit" or "cc-by-4.0" or "cc-by-*"')


def _owner(text: str) -> None:
    if not re.fullmatch(_OWNER, text):
        raise ValueError('an owner is what stands before the "/" of a repo, or the host of a url')


def _format(text: str) -> None:
    from vcm.core.formats import FORMATS

    if text not in FORMATS:
        near = did_you_mean(text, FORMATS) or "."
        raise ValueError(f"no weight format of that name{near} Known are {listed(FORMATS)}")


def parse_size(value: object) -> int:
    """Bytes, from a number of them or a text such as ``10 GB`` or ``512 MiB``.

    Raises:
        ValueError: with what is allowed.
    """
    match = re.fullmatch(_SIZE, value) if isinstance(value, str) else None
    if isinstance(value, int) and not isinstance(value, bool):
        size = value
    elif match and match[2].lower() in _UNITS:
        size = round(float(match[1]) * _UNITS[match[2].lower()])
    else:
        size = 0
    if not 1 <= size <= _LARGEST_SIZE:
        raise ValueError('a size is a number of bytes, or such as "10 GB" (B, kB, MB, GB, TB, KiB, MiB, GiB, TiB)')
    return size


def parse_age(value: object) -> int:
    """Seconds, from a text such as ``7 days``.

    Raises:
        ValueError: with what is allowed.
    """
    match = re.fullmatch(_AGE, value) if isinstance(value, str) else None
    if match is None:
        raise ValueError('an age is a whole number of hours, days or weeks, such as "7 days"')
    return int(match[1]) * _AGES[match[2]]


def violations(policy: Policy, model: LockedModel, now: float) -> list[Violation]:
    """Every rule that a locked model breaks and that nothing excepts it from.

    Args:
        policy: what is allowed.
        model: what is locked.
        now: seconds since the epoch, for the age of its commit.
    """
    judgements = {
        "licenses": _licenses(policy, model),
        "owners": _owners(policy, model),
        "formats": _formats(policy, model),
        "max-size": _max_size(policy, model),
        "min-age": _min_age(policy, model, now),
    }
    return [
        Violation(model.name, rule, *judgement)
        for rule, judgement in judgements.items()
        if judgement is not None and not policy.excepts(model, rule)
    ]


def is_undecided(policy: Policy, model: LockedModel) -> bool:
    """Whether the lock does not say what a rule is about, because nobody asked the hub when it was made."""
    judgements = {"licenses": _licenses(policy, model), "min-age": _min_age(policy, model, now=0)}
    return any(
        judgement is not None and judgement[0] in _UNKNOWN and not policy.excepts(model, rule)
        for rule, judgement in judgements.items()
    )


def _licenses(policy: Policy, model: LockedModel) -> tuple[str, str] | None:
    if policy.licenses is None:
        return None
    if model.license is None:
        # What was imported from a cache: the hub, which has an id for everything, was not asked about it.
        is_unasked = model.source == "huggingface" and model.repo_id is None
        return _UNASKED if is_unasked else "it states no licence", _allowed(policy.licenses)
    # A card may name several, and does not say whether one of them is enough.
    named = [each.strip().lower() for each in model.license.split(",")]
    # The star stands for a version and no more: "cc-by-*" must not let "cc-by-nc-4.0" in.
    known = {*policy.licenses}
    if all(each in known or f"{each.rstrip('0123456789.')}*" in known for each in named):
        return None
    return f'its licence is "{model.license}"', _allowed(policy.licenses)


def _owners(policy: Policy, model: LockedModel) -> tuple[str, str] | None:
    owner = urlsplit(model.url).hostname if model.url else str(model.repo).partition("/")[0]
    if policy.owners is None or str(owner).lower() in policy.owners:
        return None
    return f'its owner is "{owner}"', _allowed(policy.owners)


def _formats(policy: Policy, model: LockedModel) -> tuple[str, str] | None:
    if policy.formats is None:
        return None
    from vcm.core.formats import weight_format

    found = dict.fromkeys(weight_format(file.path) for file in model.files)
    others = [name for name in found if name is not None and name not in policy.formats]
    return (f"it has weights in {listed(others)}", _allowed(policy.formats)) if others else None


def _max_size(policy: Policy, model: LockedModel) -> tuple[str, str] | None:
    if policy.max_size is None or model.size <= policy.max_size:
        return None
    size, most = byte_count(model.size), byte_count(policy.max_size)
    if size == most:
        size, most = counted(model.size, "byte"), counted(policy.max_size, "byte")
    return f"its files have {size}", f"allowed are {most}"


def _min_age(policy: Policy, model: LockedModel, now: float) -> tuple[str, str] | None:
    if policy.min_age is None or model.source == "url":
        return None
    unit, seconds = ("hour", _HOUR) if policy.min_age % _DAY else ("day", _DAY)
    allowed = f"allowed are {counted(policy.min_age // seconds, unit)} and more"
    if model.committed is None:
        return _UNDATED, allowed
    age = now - _seconds(model.committed)
    if age >= policy.min_age:
        return None
    return f"its commit of {model.committed} is {counted(int(max(age, 0) // seconds), unit)} old", allowed


def _allowed(choices: Collection[str]) -> str:
    return f"allowed {'is' if len(choices) == 1 else 'are'} {listed(choices)}"


def _seconds(date: str) -> int:
    """Seconds from the epoch to a date that ``names.date`` let through; fractions are dropped.

    Source: days_from_civil in https://howardhinnant.github.io/date_algorithms.html
    """
    year, month, day, hour, minute, second = (int(part) for part in re.findall(r"\d+", date)[:6])
    if month <= 2:  # noqa: PLR2004  (the year begins in March, so that a leap day ends it)
        year, month = year - 1, month + 12
    days = 365 * year + year // 4 - year // 100 + year // 400 + (153 * (month - 3) + 2) // 5 + day - 1 - 719468
    return days * _DAY + hour * _HOUR + minute * 60 + second


def refuse_violations(policy: Policy, models: Iterable[LockedModel], now: float, *, just_locked: bool = False) -> None:
    """Refuse locked models that break the policy.

    Args:
        policy: what is allowed.
        models: what is locked.
        now: seconds since the epoch.
        just_locked: whether the hub was asked for all that is to be known: locking again does not help then.

    Raises:
        PolicyError: lists every violation.
    """
    found = [violation for model in models for violation in violations(policy, model, now)]
    if not found:
        return
    first = found[0]
    hint = f"choose another model, change [policy], or add [policy.exceptions.{_key(first.model)}] with "
    hint += f'{first.rule} = "the reason"'
    if not just_locked and all(violation.value in _UNKNOWN for violation in found):
        hint = "run vcm lock"
    if len(found) == 1:
        text = f"{first.rule}: {first.value}, {first.allowed}"
        raise PolicyError(text, violations=found, hint=hint, model=first.model)
    raise PolicyError(
        f"{len(found)} violations of the policy in models.toml", violations=found, details=map(str, found), hint=hint
    )


def _key(name: str) -> str:
    """A model's name as a part of a TOML header."""
    return f'"{name}"' if "." in name else name
