"""The manifest: ``models.toml`` as frozen values, every key checked."""

from __future__ import annotations

import json
import re

from vcm.core import names
from vcm.core.cached import cached_property
from vcm.core.digest import text_digest
from vcm.core.fields import Table, parse_toml, shown
from vcm.core.policy import Policy, read_policy
from vcm.core.records import record
from vcm.core.wording import did_you_mean, listed
from vcm.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from vcm.core.mirrors import Mirror

# packaging takes as long to import as everything else here, and most manifests need none of it: it waits until used.

FILE_NAME = "models.toml"
DEFAULT_HEADROOM = 2.0
"""Free space must be this many times the bytes still to fetch."""

DEFAULT_MERGE_GAP = 1.0
"""Seconds: what detectors find no further apart than this is one segment of the video."""

CHECKSUM_LENGTHS = {"sha256": 64, "sha384": 96, "sha512": 128, "blake2b": 128, "sha1": 40, "md5": 32}
"""Algorithms a url's checksum may use, and their hex digits. The lock always pins SHA-256 beside it."""

_LONGEST_SPECIFIER = 256
_MOST_STARS = 4  # matching takes time to the power of this
_URL_ONLY = ("checksum", "size")
_REPO_ONLY = ("version", "revision", "include", "exclude", "fallback", "follow")


@record(frozen=True)
class Checksum:
    """A published digest of a direct file."""

    algorithm: str
    hex: str

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"


@record(frozen=True, kw_only=True)
class Requirement:
    """One ``[models.NAME]``: what may be used. Either ``repo`` or ``url`` is set, never both."""

    name: str
    repo: str | None = None
    version: str | None = None
    revision: str | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    fallback: tuple[str, ...] = ()
    url: str | None = None
    checksum: Checksum | None = None
    size: int | None = None
    type: str | None = None
    groups: tuple[str, ...] = ()
    optional: bool = False
    marker: str | None = None
    allow_pickle: bool = False
    follow: bool = True

    @property
    def repos(self) -> tuple[str, ...]:
        """The repos to try, in order; none for a url."""
        return () if self.repo is None else (self.repo, *self.fallback)

    def applies(self, environment: Mapping[str, str] | None = None) -> bool:
        """Whether the environment marker allows this model here.

        Args:
            environment: values of PEP 508 marker variables that replace this machine's.
        """
        if self.marker is None:
            return True
        from packaging.markers import Marker

        return Marker(self.marker).evaluate(dict(environment) if environment else None)

    def meaning(self) -> dict[str, Any]:
        """The set keys with plain values: equal for two requirements that ask for the same."""
        meaning: dict[str, Any] = {
            key: str(value) if isinstance(value, Checksum) else value
            for key, value in vars(self).items()
            if value != getattr(Requirement, key, None)
        }
        if self.version is not None:
            from packaging.specifiers import SpecifierSet

            meaning["version"] = str(SpecifierSet(self.version))
        meaning["groups"] = sorted(set(self.groups))
        return meaning


@record(frozen=True, kw_only=True)
class DeclaredDetector:
    """One ``[pipeline.detectors.NAME]``: a kind of detector, its model's name and its options."""

    name: str
    kind: str
    model: str | None
    options: Mapping[str, Any]


@record(frozen=True, kw_only=True)
class Manifest:
    """A whole ``models.toml``."""

    name: str | None = None
    requires_vcm: str | None = None
    models: tuple[Requirement, ...] = ()
    endpoint: str | None = None
    cache_dir: str | None = None
    disk_headroom: float = DEFAULT_HEADROOM
    detectors: tuple[DeclaredDetector, ...] = ()
    merge_gap: float = DEFAULT_MERGE_GAP
    margin: float = 0.0
    policy: Policy = Policy()
    mirrors: tuple[Mirror, ...] = ()
    origin_fallback: bool = True

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the meaning of the requirements: unmoved by order, comments, formatting, policy and mirrors."""
        meaning = {model.name: model.meaning() for model in self.models}
        text = json.dumps(meaning, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
        return text_digest(text)

    @cached_property
    def _by_name(self) -> dict[str, Requirement]:
        return {model.name: model for model in self.models}

    def get(self, name: str) -> Requirement | None:
        """The requirement of that name."""
        return self._by_name.get(name)


def parse_manifest(data: bytes, *, vcm_version: str, file_name: str = FILE_NAME) -> Manifest:
    """``models.toml`` from its bytes.

    Raises:
        ConfigError: names file, line, key, what was found, what is allowed.
    """
    document, values = parse_toml(file_name, data)
    try:
        return _manifest(Table(document, (), values), vcm_version)
    except ConfigError as error:
        error.hint = error.hint or f"mend it in {file_name}"
        raise


def _manifest(top: Table, vcm_version: str) -> Manifest:
    project = top.table("project")
    name = project.text("name")
    requires = project.text("requires-vcm", specifier)
    project.finish()
    if requires is not None and not _contains(requires, vcm_version):
        raise project.error(
            "requires-vcm", f"this is vcm {vcm_version}, the project wants {requires}", "install a fitting vcm"
        )
    models = _models(top)
    hub = top.table("hub")
    endpoint = hub.text("endpoint", names.http_url)
    hub.finish()
    cache = top.table("cache")
    cache_dir = cache.text("dir")
    headroom = cache.number("disk-headroom", least=1, most=100)
    cache.finish()
    pipeline = top.table("pipeline")
    detectors = _detectors(pipeline, models)
    merge_gap = pipeline.number("merge-gap", least=0, most=3600)
    margin = pipeline.number("margin", least=0, most=3600)
    pipeline.finish()
    policy = read_policy(top, [model.name for model in models])
    mirrors, origin_fallback = _mirrors(top)
    top.finish()
    return Manifest(
        name=name,
        requires_vcm=requires,
        models=models,
        endpoint=endpoint.rstrip("/") if endpoint else None,
        cache_dir=cache_dir,
        disk_headroom=DEFAULT_HEADROOM if headroom is None else headroom,
        detectors=detectors,
        merge_gap=DEFAULT_MERGE_GAP if merge_gap is None else merge_gap,
        margin=margin or 0.0,
        policy=policy,
        mirrors=mirrors,
        origin_fallback=origin_fallback,
    )


def _mirrors(top: Table) -> tuple[tuple[Mirror, ...], bool]:
    if not top.tables("mirror") and not top.table("origin").names():
        return (), True

    from vcm.core.mirror_config import read_fallback, read_mirrors

    return read_mirrors(top, is_own=False), read_fallback(top)


def _models(top: Table) -> tuple[Requirement, ...]:
    tables = top.table("models")
    return tuple(_requirement(name, tables) for name in tables.names())


def _requirement(name: str, tables: Table) -> Requirement:
    try:
        names.model_name(name)
    except ValueError as error:
        raise tables.error(name, str(error)) from None
    table = tables.table(name)
    requirement = Requirement(
        name=name,
        repo=table.text("repo", names.repo_id),
        version=table.text("version", specifier),
        revision=table.text("revision", names.revision),
        include=table.texts("include", _pattern) or (),
        exclude=table.texts("exclude", _pattern) or (),
        fallback=table.texts("fallback", names.repo_id) or (),
        url=table.text("url", names.http_url),
        checksum=_checksum(table),
        size=table.integer("size"),
        type=table.text("type", names.task),
        groups=table.texts("groups", names.group_name) or (),
        optional=table.boolean("optional"),
        marker=table.text("marker", _marker),
        allow_pickle=table.boolean("allow-pickle"),
        follow=table.boolean("follow", missing=True),
    )
    table.finish()
    _refuse_impossible(requirement, table, tables)
    return requirement


def _refuse_impossible(requirement: Requirement, table: Table, tables: Table) -> None:
    name = requirement.name
    if (requirement.repo is None) == (requirement.url is None):
        found = "both" if requirement.repo else "neither"
        raise tables.error(name, f'expected either "repo" or "url", found {found}', 'add repo = "namespace/name"')
    if requirement.version is not None and requirement.revision is not None:
        raise table.error("revision", '"version" and "revision" exclude each other', "keep one of the two")
    forbidden = _URL_ONLY if requirement.repo else _REPO_ONLY
    kind, other = ("repo", "url") if requirement.repo else ("url", "repo")
    for key in forbidden:
        if key in table:
            raise table.error(key, f'"{key}" goes with "{other}", not with "{kind}"', f"remove {key}")
    if "include" in table and not requirement.include:
        raise table.error("include", "an empty list takes no file at all", "name a pattern, or remove include")
    if requirement.repo in requirement.fallback:
        raise table.error("fallback", f'"{requirement.repo}" falls back to itself', "name another repo")


def _checksum(table: Table) -> Checksum | None:
    text = table.text("checksum", parse_checksum)
    return None if text is None else parse_checksum(text)


def parse_checksum(text: str) -> Checksum:
    """``algorithm:hex``, or bare hex for SHA-256.

    Raises:
        ValueError: with what is allowed.
    """
    algorithm, _, digits = text.rpartition(":")
    algorithm = algorithm or "sha256"
    length = CHECKSUM_LENGTHS.get(algorithm)
    if length is None:
        known, near = listed(CHECKSUM_LENGTHS), did_you_mean(algorithm, CHECKSUM_LENGTHS) or "."
        raise ValueError(f'no algorithm "{algorithm}"{near} Known are {known}')
    if not re.fullmatch(r"[0-9a-fA-F]+", digits) or len(digits) != length:
        raise ValueError(f"{algorithm} has {length} hex digits")
    return Checksum(algorithm, digits.lower())


def _contains(requires: str, version: str) -> bool:
    from packaging.specifiers import SpecifierSet

    return SpecifierSet(requires).contains(version, prereleases=True)


def specifier(text: str) -> None:
    """Whether this is a PEP 440 specifier.

    Raises:
        ValueError: with what is allowed.
    """
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        if len(text) > _LONGEST_SPECIFIER or not text.isprintable():
            raise InvalidSpecifier(text)  # noqa: TRY301
        SpecifierSet(text)
    except InvalidSpecifier:
        raise ValueError("a version is a PEP 440 specifier, such as '~=1.2' or '>=1,<2' or '==1.2'") from None


def _marker(text: str) -> None:
    from packaging.markers import InvalidMarker, Marker, UndefinedComparison, UndefinedEnvironmentName

    try:
        Marker(text).evaluate()
    except (InvalidMarker, UndefinedComparison, UndefinedEnvironmentName, RecursionError):
        raise ValueError("a marker is a PEP 508 expression, such as \"sys_platform == 'linux'\"") from None


def _pattern(text: str) -> None:
    # Whether it compiles, the selection finds out: the gate reads manifests too, and has no use for patterns.
    if not text.isprintable() or text.startswith("#") or len(re.findall(r"\*+", text)) > _MOST_STARS:
        raise ValueError("a pattern is a gitignore-style glob, such as '*.onnx' or 'fp16/**'")


def _detectors(pipeline: Table, models: tuple[Requirement, ...]) -> tuple[DeclaredDetector, ...]:
    tables = pipeline.table("detectors")
    known = {model.name for model in models}
    detectors = []
    for name in tables.names():
        table = tables.table(name)
        model = table.text("model")
        if model is not None and model not in known:
            raise table.error(
                "model",
                f"no [models.{shown(model)[1:-1]}] in this file{did_you_mean(model, known)}",
                f"declare it: vcm add {model} NAMESPACE/NAME",
            )
        detectors.append(
            DeclaredDetector(name=name, kind=table.required_text("kind"), model=model, options=table.values("options"))
        )
        table.finish()
    return tuple(detectors)
