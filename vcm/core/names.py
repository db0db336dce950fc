"""What may be a name: models, repos, commits, and the paths of files inside a model.

Every check returns its argument unchanged or raises ``ValueError`` with the reason, so that the caller can add
the place where the name stood. Everything a hub or a manifest says passes through here before it is used.
"""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import urlsplit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

LONGEST_NAME = 96
MODEL_NAME = re.compile(rf"[a-z0-9](?:[a-z0-9._-]{{0,{LONGEST_NAME - 2}}}[a-z0-9])?")
_REPO_PART = re.compile(r"[A-Za-z0-9._-]{1,96}")
# Patterns as text are compiled where one is needed: a gate reads this file, and compiling takes time.
COMMIT = r"[0-9a-f]{40}"
SHA256 = r"[0-9a-f]{64}"
_HEX = "0123456789abcdef"
_DATE = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?Z"
_TASK = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
# https://learn.microsoft.com/windows/win32/fileio/naming-a-file
_RESERVED = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³]) *(?:\..*)?", re.IGNORECASE)
_NOT_ON_WINDOWS = frozenset('<>:"|?*')
_LONGEST_PATH = 1024
_LONGEST_SEGMENT = 255


def line(text: str) -> str:
    """A text that can be shown on a line of a terminal."""
    if not text.isprintable():
        raise ValueError("control characters are not allowed")
    return text


def model_name(text: str) -> str:
    """A model's name in the manifest: lower-case letters, digits, ``.``, ``_`` and ``-``."""
    return _name(text, "a model's name")


def group_name(text: str) -> str:
    """A group's name, of the same characters."""
    return _name(text, "a group's name")


def mirror_name(text: str) -> str:
    """A mirror's name, of the same characters."""
    return _name(text, "a mirror's name")


def _name(text: str, what: str) -> str:
    if not MODEL_NAME.fullmatch(text):
        raise ValueError(f"{what} is made of a-z, 0-9, '.', '_' and '-', and begins and ends with a-z or 0-9")
    return text


def repo_id(text: str) -> str:
    """A Hub repo id: ``namespace/name``, or the bare ``name`` of a few legacy repos."""
    parts = text.split("/")
    if len(parts) > 2:  # noqa: PLR2004
        raise ValueError("a repo id is 'namespace/name'")
    for part in parts:
        if not _REPO_PART.fullmatch(part):
            raise ValueError("each part of a repo id is 1 to 96 of A-Z, a-z, 0-9, '-', '_' and '.'")
        if part[0] in "-." or part[-1] in "-.":
            raise ValueError("no part of a repo id begins or ends with '-' or '.'")
    if "--" in text or ".." in text:
        raise ValueError("a repo id holds neither '--' nor '..'")
    if text.endswith(".git"):
        raise ValueError("a repo id does not end with '.git'")
    return text


def revision(text: str) -> str:
    """A branch, tag or commit, by git's own rules for ref names (git-check-ref-format)."""
    bad = (
        not text
        or len(text) > _LONGEST_SEGMENT
        or any(character <= " " or character in '~^:?*[\\"\x7f' for character in text)
        or not text.isprintable()
        or ".." in text
        or "@{" in text
        or text.startswith(("/", "-"))
        or text.endswith(("/", "."))
        or text == "@"
        or "//" in text
        or any(part.startswith(".") or part.endswith(".lock") for part in text.split("/"))
    )
    if bad:
        raise ValueError("a revision is the name of a branch, a tag or a commit")
    return text


def is_commit(text: str) -> bool:
    """Whether this is a whole git commit id: 40 lower-case hex digits."""
    return len(text) == 40 and not text.strip(_HEX)  # noqa: PLR2004


def is_token(text: str) -> bool:
    """Whether this can be sent as ``Authorization: Bearer``: printable ASCII without blanks."""
    return text.isascii() and text.isprintable() and " " not in text and bool(text)


def is_sha256(text: str) -> bool:
    """Whether this is a SHA-256 in lower-case hex."""
    return len(text) == 64 and not text.strip(_HEX)  # noqa: PLR2004


def date(text: str) -> str:
    """A moment as the Hub writes it, ISO 8601 in UTC: ``2026-01-31T12:00:00.000Z``."""
    if not re.fullmatch(_DATE, text, re.ASCII):
        raise ValueError("a date is written as 2026-01-31T12:00:00Z")
    return text


def task(text: str) -> str:
    """A task as the Hub names them (``pipeline_tag``): ``image-classification``."""
    if not _TASK.fullmatch(text):
        raise ValueError("a type is a task name of the Hub, such as 'image-classification'")
    return text


def file_path(text: str) -> str:
    """A file's path inside a model: relative, ``/`` between its parts, staying inside on every system."""
    if not text:
        raise ValueError("the path is empty")
    if not text.isprintable():  # no lone surrogate is
        raise ValueError("the path holds characters that cannot be shown")
    if text.startswith(("/", "~")) or "\\" in text:
        raise ValueError("the path is not relative, or holds a backslash")
    if text[1:2] == ":" and text[0].isascii() and text[0].isalpha():
        raise ValueError("the path begins with a drive letter")
    if len(text.encode()) > _LONGEST_PATH:
        raise ValueError(f"the path is longer than {_LONGEST_PATH} bytes")
    for segment in text.split("/"):
        if segment in ("", ".", ".."):
            raise ValueError("the path has an empty part, '.' or '..'")
        if len(segment.encode()) > _LONGEST_SEGMENT:
            raise ValueError(f"a part of the path is longer than {_LONGEST_SEGMENT} bytes")
    return text


@lru_cache(maxsize=4096)  # every repo has a config.json: a lock of 20,000 files has 5,000 paths
def portable_file_path(text: str) -> str:
    """A ``file_path`` that Windows and macOS can hold too."""
    file_path(text)
    for segment in text.split("/"):
        if _RESERVED.fullmatch(segment):
            raise ValueError(f"'{segment}' is a reserved name on Windows")
        if segment[-1] in ". " or _NOT_ON_WINDOWS.intersection(segment):
            raise ValueError(f"Windows cannot hold a file called '{segment}'")
    return text


def first_collision(paths: Iterable[str]) -> tuple[str, str] | None:
    """Two paths that cannot stand side by side, or None.

    They collide when a file system that ignores case or Unicode form (macOS, Windows) takes them for one, or when
    one is a file where the other needs a folder.
    """
    paths = list(paths)
    whole = "\0".join(paths)
    if whole.isascii() and "/" not in whole and len(set(whole.lower().split("\0"))) == len(paths):
        return None
    files: dict[str, str] = {}
    folders: dict[str, str] = {}
    passed = {""}
    for path in paths:
        key = _folded(path)
        other = files.get(key) or folders.get(key)
        if other is not None:
            return other, path
        files[key] = path
        folder = path.rpartition("/")[0]
        while folder not in passed:
            # A folder that is known by its key, and not as it is spelled here, is another one.
            key = _folded(folder)
            other = files.get(key) or folders.get(key)
            if other is not None:
                return other, path
            folders[key] = path
            passed.add(folder)
            folder = folder.rpartition("/")[0]
    return None


def _folded(path: str) -> str:
    if path.isascii():
        return path.lower()
    import unicodedata

    # Canonical caseless matching, D145 of the Unicode standard: folding alone may leave another form. Windows compares
    # upper-case letters, of which some are the same where the folded ones are not: those of i with and without a dot.
    folded = unicodedata.normalize("NFD", path).casefold().upper().casefold()
    return unicodedata.normalize("NFD", folded)


def http_url(text: str) -> str:
    """An ``http`` or ``https`` address with a host and no password in it."""
    try:
        parts = urlsplit(text)
        port_is_fine = parts.port is None or parts.port > 0
    except ValueError as error:
        reason = "its host cannot be read" if "@" in text else error
        raise ValueError(f"not a URL: {reason}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_fine:
        raise ValueError("a URL begins with http:// or https:// and names a host")
    if parts.username is not None or parts.password is not None:
        raise ValueError("a URL must not carry a user name or password")
    if not text.isprintable() or " " in text:
        raise ValueError("a URL holds no blanks and no control characters")
    return text


def if_valid(text: object, check: Callable[[str], str]) -> str | None:
    """What authors write freely: the text where ``check`` lets it through, None for all else."""
    try:
        return check(text) if isinstance(text, str) else None
    except ValueError:
        return None
