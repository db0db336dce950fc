"""The index of an OCI image layout, as values: which packages a store names, and how.

https://github.com/opencontainers/image-spec/blob/main/image-layout.md. Whatever the order in which packages came, the
same ones give the same bytes. What other tools have written beside them is kept as it is where it is well formed.
"""

from __future__ import annotations

import json

from vcm.core import names
from vcm.core.cached import cached_property
from vcm.core.modelpack import ARTIFACT_TYPE, INDEX_TYPE, MANIFEST_TYPE, REF_NAME, descriptor, reference, sha256_in
from vcm.core.records import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping
    from typing import Any

    from vcm.core.lock import LockedModel
    from vcm.core.modelpack import Package

    Descriptor = dict[str, Any]

INDEX = "index.json"
MARK = "oci-layout"
MARK_BYTES = b'{"imageLayoutVersion":"1.0.0"}'
REFS = "dev.vcm.refs"
"""On a package, the branches and tags that led to its commit, with a blank between them."""
ASKED = "dev.vcm.asked"
"""On a package, other names under which its repo was asked for, likewise."""
DEFAULT_BRANCH = "main"
"""Which the Hub has for every repo, and a lock leaves out."""


@record(frozen=True)
class Entry:
    """A package that an index names.

    Attributes:
        model: what its manifest tells of it.
        digest: of the manifest, bare hex.
        size: of the manifest, bytes.
        config: digest of its configuration, bare hex.
        refs: branches and tags that led to its commit, when it was last locked by them.
        asked: other names under which its repo was asked for.
    """

    model: LockedModel
    digest: str
    size: int
    config: str
    refs: frozenset[str] = frozenset()
    asked: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """By which ``skopeo copy oci:STORE:NAME`` finds it."""
        return reference(self.model, self.digest)

    @cached_property
    def needs(self) -> frozenset[str]:
        """The SHA-256 of all blobs it is made of, the manifest among them."""
        return frozenset({self.digest, self.config, *(file.sha256 for file in self.model.files)})

    @property
    def descriptor(self) -> Descriptor:
        """How it stands in the index."""
        said = {REF_NAME: self.name, REFS: " ".join(sorted(self.refs)), ASKED: " ".join(sorted(self.asked))}
        return descriptor(
            MANIFEST_TYPE,
            self.digest,
            self.size,
            artifactType=ARTIFACT_TYPE,
            annotations={key: value for key, value in said.items() if value},
        )

    def called(self, refs: frozenset[str], asked: frozenset[str]) -> Entry:
        """The same package, with other ``refs`` and ``asked``."""
        return Entry(self.model, self.digest, self.size, self.config, refs, asked)


def entry_of(package: Package) -> Entry:
    """A package as its model's lock describes it."""
    model = package.model
    return Entry(model, package.digest, len(package.manifest), package.config_digest, refs_of(model), asked_of(model))


def refs_of(model: LockedModel) -> frozenset[str]:
    """By which branch or tag a lock says that it came to a commit; none for one that was asked for as a commit."""
    if model.commit is None or (model.ref is None and model.requested is not None):
        return frozenset()
    return frozenset({model.ref or DEFAULT_BRANCH})


def asked_of(model: LockedModel) -> frozenset[str]:
    """Under which other name a lock says that a repo was asked for."""
    return frozenset({model.asked} if model.asked and model.asked != model.repo else ())


def refs_in(row: Descriptor) -> frozenset[str]:
    """What a descriptor says of branches and tags; without what cannot be one."""
    return _said(row, REFS, names.revision)


def asked_in(row: Descriptor) -> frozenset[str]:
    """What a descriptor says of other names; without what cannot be one."""
    return _said(row, ASKED, names.repo_id)


def _said(row: Descriptor, key: str, check: Callable[[str], str]) -> frozenset[str]:
    words = row.get("annotations", {}).get(key, "").split(" ")
    return frozenset(word for word in words if names.if_valid(word, check))


def digest_in(row: Descriptor) -> str:
    """The digest of a well-formed descriptor, as bare hex."""
    return str(row["digest"]).removeprefix("sha256:")


def name_in(row: Descriptor) -> str:
    """The name of a well-formed descriptor; empty where it has none."""
    return str(row.get("annotations", {}).get(REF_NAME, ""))


def merged(entries: Iterable[Entry], new: Iterable[Entry]) -> list[Entry]:
    """Entries and new ones. A branch or tag means one commit of a repo: the one that came last.

    Args:
        entries: those of the index.
        new: what is to be in it, too.
    """
    found = {entry.digest: entry for entry in entries}
    meant: dict[tuple[str | None, str], str | None] = {}
    for entry in new:
        meant |= {(entry.model.repo, ref): entry.model.commit for ref in entry.refs}
        known = found.get(entry.digest, entry)
        found[entry.digest] = entry.called(entry.refs | known.refs, entry.asked | known.asked)
    return [each.called(_still_meant(each, meant), each.asked) for each in found.values()]


def _still_meant(entry: Entry, meant: Mapping[tuple[str | None, str], str | None]) -> frozenset[str]:
    repo, commit = entry.model.repo, entry.model.commit
    return frozenset(ref for ref in entry.refs if meant.get((repo, ref), commit) == commit)


def parse_index(data: bytes) -> list[Descriptor]:
    """The well-formed descriptors of an index; the others are left out.

    Raises:
        ValueError: it is no index.
    """
    try:
        document = json.loads(data)
        if not isinstance(document, dict) or document.get("schemaVersion") != 2:  # noqa: PLR2004
            raise ValueError("no index")
        rows = document["manifests"]
        return [row for row in rows if _is_well_formed(row)] if isinstance(rows, list) else []
    except (KeyError, RecursionError) as error:
        raise ValueError("no index") from error


def _is_well_formed(row: object) -> bool:
    if not isinstance(row, dict):
        return False
    size, said = row.get("size"), row.get("annotations", {})
    try:
        # What can be read may yet be too deep to be written, or hold numbers that JSON has not.
        index_bytes([row])
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError):
        return False
    return (
        isinstance(row.get("mediaType"), str)
        and sha256_in(row["digest"]) is not None
        and type(size) is int
        and size >= 0
        and all(isinstance(value, str) for value in said.values())
    )


def index_bytes(rows: Collection[Descriptor], annotations: dict[str, str] | None = None) -> bytes:
    """The index of some descriptors, by name and digest; of several that are the same it has one.

    Args:
        rows: the descriptors.
        annotations: what is said of the whole.
    """
    texts = {_json(row): (name_in(row), digest_in(row)) for row in rows}
    manifests = ",\n".join(sorted(texts, key=lambda text: (texts[text], text)))
    said = f'"annotations":{_json(annotations)},' if annotations else ""
    head = f'{{"schemaVersion":2,"mediaType":"{INDEX_TYPE}",{said}"manifests":['
    return f"{head}\n{manifests}\n]}}\n".encode() if texts else f"{head}]}}\n".encode()


def _json(row: Descriptor) -> str:
    return json.dumps(row, separators=(",", ":"), sort_keys=True, allow_nan=False)
