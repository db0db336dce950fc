"""HuggingFaceRegistry: what the hub says of one model, for programs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from threading import Event
from typing import Dict, List, Optional

from vcm.core import names
from vcm.core.metadata import Freshness, Ref, RemoteFile, RepoInfo
from vcm.core.versions import candidates
from vcm.errors import ModelNotFoundError, RegistryError
from vcm.http.client import HttpClient
from vcm.http.faults import NetworkFaultError
from vcm.hub.client import HubClient
from vcm.install.pools import workers
from vcm.resolve.connecting import connect
from vcm.resolve.successors import successors
from vcm.settings import Settings, read_settings
from vcm.store.metadata import MetadataStore

MOST_LISTED = 200
"""Versions whose files are looked at; each of them is a request."""

_LISTINGS_AT_ONCE = 8


@dataclass
class ModelMetadata:
    """What the hub says of a model.

    Attributes:
        name: the repo's id, as it is called today.
        versions: its version refs as PEP 440 writes them, the highest first; the default branch alone where no ref
            is a version.
        checksums: by version, the SHA-256 over its listing: lines ``<sha256 or git blob id>  <path>`` sorted by path
            as bytes, each with a line feed. A version whose digests the hub hides from this caller has none, nor has
            any beyond the highest 200.
        sizes: by version, bytes of all its files; of the highest 200.
        deprecated: whether its card names a successor.
        replacement: the end of the chain of successors.
        last_updated: when the default branch's last commit was made; None where the hub does not say.
    """

    name: str
    versions: List[str] = field(default_factory=list)
    checksums: Dict[str, str] = field(default_factory=dict)
    sizes: Dict[str, int] = field(default_factory=dict)
    deprecated: bool = False
    replacement: Optional[str] = None
    last_updated: Optional[datetime] = None


class HuggingFaceRegistry:
    """Asks the hub about models, and remembers its answers as locking does, in the same cache.

    Args:
        cache_dir: the store's folder; by default the one of the environment and platform.
        ttl_hours: how long an answer serves that may change.
        settings: where the hub is, and what may be sent; by default what the environment says.

    Raises:
        ConfigError: a variable of the environment cannot be used.
    """

    def __init__(
        self,
        cache_dir: Optional[Path] = None,
        ttl_hours: int = 24,
        *,
        settings: Settings | None = None,
    ) -> None:
        if settings is None:
            settings = read_settings(cache_dir=cache_dir)
        elif cache_dir is not None:
            settings = replace(settings, cache_dir=Path(cache_dir))
        self._settings = settings
        self.cache_dir: Path = settings.cache_dir
        self.ttl_hours = ttl_hours

    def query_model(self, model_name: str, force_refresh: bool = False) -> ModelMetadata:
        """What the hub says of a model; it is asked only where its last answers are too old.

        Args:
            model_name: a repo's id, ``namespace/name``.
            force_refresh: ask all of it anew.

        Raises:
            ModelNotFoundError: there is no such model, or not for this caller.
            RegistryError: the hub cannot be reached, or its answer cannot be used.
        """
        repo = _checked(model_name)
        freshness: Freshness = "refresh" if force_refresh else "normal"
        client = connect(self._settings, freshness=freshness, ttl_hours=self.ttl_hours, http=self._http)
        try:
            return _metadata(client, repo)
        except NetworkFaultError:
            raise
        except RegistryError:
            if not client.reused(repo):
                raise
            # What the hub said some time ago is no reason to refuse today.
            return _metadata(client.revalidating(), repo)

    def get_cached_metadata(self, model_name: str) -> Optional[ModelMetadata]:
        """What the hub said within the last ``ttl_hours``; None where that is not all there is to say. No network."""
        try:
            client = connect(replace(self._settings, offline=True), freshness="cached", ttl_hours=self.ttl_hours)
            return _metadata(client, _checked(model_name))
        except RegistryError:
            return None

    def is_metadata_valid(self, model_name: str) -> bool:
        """Whether ``get_cached_metadata`` has an answer."""
        return self.get_cached_metadata(model_name) is not None

    def refresh_metadata(self, model_name: str) -> ModelMetadata:
        """What the hub says now; raises as ``query_model``."""
        return self.query_model(model_name, force_refresh=True)

    def clear_cache(self, model_name: Optional[str] = None) -> None:
        """Forget what the hub said of a model, or of all of them.

        Raises:
            ModelNotFoundError: no model can have that name.
        """
        MetadataStore(self.cache_dir).clear(None if model_name is None else _checked(model_name))

    @cached_property
    def _http(self) -> HttpClient:
        """One for all queries: each finds the connections open, and knows what the hub still allows."""
        return connect(self._settings).http


def _checked(model_name: object) -> str:
    try:
        return names.repo_id(model_name if isinstance(model_name, str) else "")
    except ValueError as error:
        raise ModelNotFoundError(
            f"{model_name!r:.100} names no model of the hub: {error}", hint="name it as its page does: namespace/name"
        ) from None


def _metadata(client: HubClient, repo: str) -> ModelMetadata:
    info, refs = client.info(repo, None), client.refs(repo)
    commits = {str(each.version): each.ref.commit for each in candidates(refs)}
    commits = commits or {_default_branch(refs, info.commit): info.commit}
    shown = list(commits)[:MOST_LISTED]
    with workers(_LISTINGS_AT_ONCE, "vcm-listing", Event()) as pool:
        listings = dict(zip(shown, pool.map(lambda version: client.tree(repo, commits[version]), shown), strict=True))
    replacement = _end_of_chain(client, info)
    return ModelMetadata(
        name=info.repo,
        versions=list(commits),
        checksums={
            version: _checksum(files) for version, files in listings.items() if not any(file.masked for file in files)
        },
        sizes={version: sum(file.size for file in files) for version, files in listings.items()},
        deprecated=replacement is not None,
        replacement=replacement,
        last_updated=_moment(client.commit_date(repo, info.commit)),
    )


def _default_branch(refs: Iterable[Ref], commit: str) -> str:
    """The hub does not name it: a branch that stands where it does, ``main`` before others."""
    there = sorted(ref.name for ref in refs if ref.kind == "branch" and ref.commit == commit)
    return there[0] if there and "main" not in there else "main"


def _checksum(files: Iterable[RemoteFile]) -> str:
    lines = sorted((file.path.encode(), (file.sha256 or file.oid or "").encode()) for file in files)
    return hashlib.sha256(b"".join(digest + b"  " + path + b"\n" for path, digest in lines)).hexdigest()


def _end_of_chain(client: HubClient, info: RepoInfo) -> str | None:
    """The last successor that the cards name."""
    end, following = None, info.new_version
    try:
        for successor in successors(client, info):
            end, following = successor.repo, successor.new_version
    except NetworkFaultError:
        raise
    except RegistryError:
        # Gone, or nobody may be asked: still what the card says.
        return following
    return end


def _moment(date: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat(date) if date else None
    except ValueError:
        return None
