"""Real lists of models as repositories of the simulator, and the models.toml that asks for them.

The lists are other people's and lie beside the project (``../shared/corpora``), never in it; whoever needs them skips
without them. They name files and digests. What they do not tell is made up here, always the same way: sizes, the small
files that every repo has and that many have in common, and for every fourth repo versions.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vcm.core.names import model_name
from vcm.core.selection import holds_pickle
from vcm.testing import Content, HubSimulator, Unfetched

FOLDER = Path(__file__).parents[2] / "shared" / "corpora"
MISSING = f"the real lists of models are not at {FOLDER}"
"""Why a test skips."""

VERSION = "~=1.0"
"""What the models ask for whose repo has versions; it means v1.1 there, while main is v2.0."""

_LONGEST_NAME = 96
# What reads a model's configuration must get some: its bytes are made up, and so the list's digest of it is not true.
_READ = "config.json"
_LFS = ("bin", "ckpt", "ggml", "gguf", "onnx", "pt", "safetensors")
_ATTRIBUTES = "".join(f"*.{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in _LFS).encode()
_TOKENIZER = b'{"add_bos_token": true, "model_max_length": 32768}\n'


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusRepo:
    """A repository out of a list.

    Attributes:
        id: its name on the hub.
        model: the name of the model in models.toml that asks for it.
        files: what the list names, by path.
        digests: the SHA-256 that the list tells, by path; a few files have none.
        small: files outside Git LFS that the list does not name, by path.
        license: as the card tells it.
        commit: the commit that the list pins.
        version: what the model asks for, where the repo has versions.
    """

    id: str
    model: str
    files: Mapping[str, Content]
    digests: Mapping[str, str]
    small: Mapping[str, bytes]
    license: str | None = None
    commit: str | None = None
    version: str | None = None

    def publish(self, hub: HubSimulator) -> None:
        """Put it on a hub."""
        card = {"license": self.license} if self.license else {}
        repo = hub.add_repo(self.id, {**self.small, **self.files}, commit=self.commit, card=card)
        if self.version:
            repo.tag("v1.0")
            for number in ("1.1", "2.0"):
                repo.commit({"README.md": _readme(self.id, self.license, number)}, message=f"Release {number}")
                repo.tag(f"v{number}")

    def requirement(self, *, small_files: bool) -> str:
        """The table in models.toml: exactly the files that the list names, and if told so the small ones too."""
        paths = [*self.files, *(self.small if small_files else ())]
        lines = [f"[models.{json.dumps(self.model)}]", f"repo = {json.dumps(self.id)}"]
        if self.version:
            lines.append(f"version = {json.dumps(self.version)}")
        elif self.commit:
            lines.append(f"revision = {json.dumps(self.commit)}")
        lines.append(f"include = {json.dumps([_pattern(path) for path in paths], ensure_ascii=False)}")
        if any(map(holds_pickle, paths)):
            lines.append("allow-pickle = true")
        return "\n".join([*lines, ""])


def localai() -> list[CorpusRepo]:
    """The Hub repos of LocalAI's gallery, some thousand, all at main; every fourth with versions."""
    found: dict[str, _Listed] = defaultdict(_Listed)
    for row in _rows("localai/localai.jsonl"):
        if row.get("repo_type") != "model":
            continue
        repo, path, digest = row["repo"], row["path"], row["sha256"]
        listed = found[repo]
        listed.license = listed.license or row.get("license")
        if path.rpartition("/")[2] == _READ:
            listed.files[path] = _config(repo + path)
            continue
        if digest:
            listed.digests[path] = digest
        digest = digest or _digest(f"{repo}/{path}")
        listed.files[path] = Unfetched(size=(1 << 20) + int(digest[:12], 16) % (16 << 30), sha256=digest)
    return _repos(found)


def handy() -> list[CorpusRepo]:
    """The repos of Handy's catalogue, 69, each pinned to a commit, with true sizes."""
    found: dict[str, _Listed] = defaultdict(_Listed)
    for row in _rows("pins/18_handy_catalog.jsonl"):
        listed = found[row["repo"]]
        listed.commit, listed.license = row["revision"], row["license"]
        listed.digests[row["filename"]] = row["sha256"]
        listed.files[row["filename"]] = Unfetched(size=row["size"], sha256=row["sha256"])
    return _repos(found)


def manifest(repos: Iterable[CorpusRepo], *, small_files: bool = False) -> str:
    """The text of a models.toml that asks for each of some repos."""
    return "\n".join(repo.requirement(small_files=small_files) for repo in repos)


@dataclass
class _Listed:
    files: dict[str, Content] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    license: str | None = None
    commit: str | None = None


def _rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FOLDER / name).read_text(encoding="utf-8").splitlines()]


def _repos(found: Mapping[str, _Listed]) -> list[CorpusRepo]:
    names: set[str] = set()
    repos = []
    for repo, listed in found.items():
        names.add(name := _model(repo, names))
        small = {path: content for path, content in _small(repo, listed.license).items() if path not in listed.files}
        repos.append(
            CorpusRepo(
                id=repo,
                model=name,
                files=listed.files,
                digests=listed.digests,
                small=small,
                license=listed.license,
                commit=listed.commit,
                version=VERSION if not listed.commit and _pick(repo, "versions", 4) == 0 else None,
            )
        )
    return repos


def _model(repo: str, taken: set[str]) -> str:
    name = re.sub(r"[^a-z0-9._-]", "-", repo.lower()).strip("._-")
    if len(name) > _LONGEST_NAME or name in taken:
        name = f"{name[: _LONGEST_NAME - 9]}-{_digest(repo)[:8]}"
    return model_name(name)


def _small(repo: str, license_name: str | None) -> dict[str, bytes]:
    files = {".gitattributes": _ATTRIBUTES, "README.md": _readme(repo, license_name, "1.0")}
    if _pick(repo, "config", 2):
        files |= {"config.json": _config(repo), "tokenizer_config.json": _TOKENIZER}
    if license_name and _pick(repo, "license", 2):
        files["LICENSE"] = f"The terms of {license_name}.\n".encode()
    return files


def _readme(repo: str, license_name: str | None, version: str) -> bytes:
    front = f"---\nlicense: {license_name}\n---\n" if license_name else ""
    return f"{front}# {repo}\n\nRelease {version}.\n".encode()


def _config(repo: str) -> bytes:
    return json.dumps({"hidden_size": 1024 * (1 + _pick(repo, "hidden size", 8)), "model_type": "llama"}).encode()


def _pick(repo: str, what: str, count: int) -> int:
    """A number below ``count`` that is always the same for a repo, and tells nothing of the others."""
    return int(_digest(f"{what} of {repo}")[:8], 16) % count


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _pattern(path: str) -> str:
    """The gitignore-style glob that matches one path and no other."""
    return "/" + re.sub(r"([\\*?\[])", r"\\\1", path)
