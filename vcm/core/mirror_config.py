"""Mirrors as people name them: ``[[mirror]]`` and ``[origin]`` in a file, or addresses in a variable.

A ``models.toml`` may come from a stranger: it names plain addresses. What sends a password, goes through a proxy, or
does without TLS where the user's credentials may be asked for, stands in the user's own configuration, ``config.toml``.
"""

from __future__ import annotations

import re
from base64 import b64encode
from urllib.parse import unquote, urlsplit

from vcm.core import names
from vcm.core.fields import Table, parse_toml, shown
from vcm.core.mirrors import BLOBS, FIELD, FIELDS, TIMEOUT, Mirror, registry_address
from vcm.core.records import record
from vcm.core.wording import did_you_mean, listed
from vcm.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

FILE_NAME = "config.toml"
VARIABLE = "VCM_MIRRORS"
USUAL_PLACE = f"~/.config/vcm/{FILE_NAME}"
"""Of the user's own configuration on Linux, for hints: the rules do not know this machine."""

_SCHEMES = ("http", "https", "oci", "oci+http", "file")
_OWN_KEYS = ("push", "proxy", "headers", "timeout")
_LEAST_TIMEOUT, _LONGEST_TIMEOUT = 1, 86_400
_IN_OWN_FILE = f"put this mirror into your own configuration, {USUAL_PLACE}"
_HEADER_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # RFC 9110, token
_EXAMPLE = "http://mirror.rack:8080"


@record(frozen=True, kw_only=True)
class UserConfiguration:
    """A whole ``config.toml`` of the user's own.

    Attributes:
        mirrors: in the order in which they are asked.
        fallback: whether the origin is asked for what no mirror has.
        endpoint: base address of the hub, which is trusted with the token.
    """

    mirrors: tuple[Mirror, ...] = ()
    fallback: bool = True
    endpoint: str | None = None


def parse_user_configuration(data: bytes, *, file_name: str) -> UserConfiguration:
    """The user's own configuration from its bytes.

    Raises:
        ConfigError: names file, line, key, what was found, what is allowed; never a password.
    """
    document, values = parse_toml(file_name, data)
    top = Table(document, (), values)
    try:
        mirrors = read_mirrors(top, is_own=True)
        fallback = read_fallback(top)
        hub = top.table("hub")
        endpoint = hub.text("endpoint", names.http_url)
        hub.finish()
        top.finish()
    except ConfigError as error:
        error.hint = error.hint or f"mend it in {file_name}"
        raise
    return UserConfiguration(
        mirrors=mirrors, fallback=fallback, endpoint=endpoint.rstrip("/") if endpoint is not None else None
    )


def read_mirrors(top: Table, *, is_own: bool) -> tuple[Mirror, ...]:
    """The ``[[mirror]]`` of a document.

    Args:
        top: the document.
        is_own: whether it is the user's own, and may say more than plain addresses.

    Raises:
        ConfigError: one cannot be used.
    """
    mirrors: dict[str, Mirror] = {}
    for table in top.tables("mirror"):
        mirror = _mirror(table, is_own=is_own)
        if mirror.name in mirrors:
            raise table.error("name", f'another mirror is called "{mirror.name}"', "choose another name")
        mirrors[mirror.name] = mirror
    return tuple(mirrors.values())


def read_fallback(top: Table) -> bool:
    """``fallback`` of the ``[origin]`` of a document."""
    origin = top.table("origin")
    fallback = origin.boolean("fallback", missing=True)
    origin.finish()
    return fallback


def _mirror(table: Table, *, is_own: bool) -> Mirror:
    name = table.required_text("name", names.mirror_name)
    text = table.required_text("url")
    if not is_own:
        for key in _OWN_KEYS:
            if key in table:
                raise table.error(key, "a models.toml names plain addresses only", _IN_OWN_FILE)
    try:
        url, authorization = mirror_address(text)
    except ValueError as error:
        raise table.error("url", f"found {_shown_address(text)}: {error}") from None
    if not is_own and authorization:
        raise table.error("url", "a models.toml holds no password", _IN_OWN_FILE)
    if not is_own and url.startswith("oci+http:"):
        raise table.error("url", "a models.toml does not decide that a registry is asked without TLS", _IN_OWN_FILE)
    headers = _headers(table) if is_own else {}
    if authorization:
        if any(header.lower() == "authorization" for header in headers):
            raise table.error("headers", '"Authorization" is there already, of the address', "keep one of the two")
        headers = {**headers, "Authorization": authorization}
    mirror = Mirror(
        name=name,
        url=url,
        push=table.boolean("push") if is_own else False,
        proxy=_proxy(table) if is_own else None,
        headers=headers,
        timeout=_timeout(table) if is_own else TIMEOUT,
        named_in=table.document.name,
    )
    table.finish()
    if mirror.push and mirror.kind != "oci":
        raise table.error("push", "only an OCI registry is pushed to", "remove push, or name an oci:// address")
    return mirror


def _proxy(table: Table) -> str | None:
    text = table.text("proxy")
    if text is None:
        return None
    try:
        address, _ = _without_credentials(text)
        _check_http(address)
        if urlsplit(address).path.strip("/") or "?" in address or "#" in address:
            raise ValueError("a proxy is http://HOST:PORT")  # noqa: TRY301
    except ValueError as error:
        raise table.error("proxy", f"found {_shown_address(text)}: {error}") from None
    return text


def _timeout(table: Table) -> float:
    seconds = table.number("timeout", _LEAST_TIMEOUT, _LONGEST_TIMEOUT)
    return TIMEOUT if seconds is None else seconds


def _headers(table: Table) -> Mapping[str, str]:
    # Without a word of what was found: it may be a password that stands in the wrong place.
    rows = table.parsed("headers", lambda value: value)
    if rows is None:
        return {}
    if not isinstance(rows, dict):
        raise table.error("headers", 'expected a table, such as { "X-Name" = "text" }')
    place = Table(table.document, (*table.key, "headers"), rows)
    for name, text in rows.items():
        if not re.fullmatch(_HEADER_NAME, name):
            raise place.error(name, "a header's name is made of letters, digits and -")
        if not isinstance(text, str) or not text.isascii() or not text.isprintable():
            raise place.error(name, "expected a string of plain ASCII")
        try:
            _check_fields(text, FIELDS)
        except ValueError as error:
            raise place.error(name, str(error)) from None
    return dict(rows)


def mirror_address(text: str) -> tuple[str, str | None]:
    """Where a mirror has a blob, with fields in braces, and the ``Authorization`` that the address holds.

    Raises:
        ValueError: says what is wrong with it, without what may be a password.
    """
    if not text.isprintable() or " " in text:
        raise ValueError("an address holds no blanks and no control characters")
    address, authorization = _without_credentials(text)
    scheme, host = _scheme_and_host(address)
    template = unquote(address) if scheme == "file" else address
    fields = _check_fields(template, ("repo",) if scheme.startswith("oci") else FIELDS)
    if scheme.startswith("oci"):
        _check_http(f"https://{host}")
        registry_address(address)
        return address, authorization
    if scheme != "file":
        _check_http(address)
    elif host or "?" in address or not address[7:].strip("/"):
        raise ValueError("a folder is written file:///absolute/path")
    if not fields and "?" in address:
        raise ValueError("without a field it is the address of a store, which has no query")
    if fields and not fields & {"sha256", "path"}:
        raise ValueError("it is the same for every file of a model: {sha256} or {path} is missing")
    return address if fields else f"{address.rstrip('/')}/{BLOBS}", authorization


def _scheme_and_host(address: str) -> tuple[str, str]:
    scheme, separator, rest = address.partition("://")
    if not separator or scheme not in _SCHEMES:
        raise ValueError("a mirror's address begins with http://, https://, oci:// or file:///")
    if "@" in rest:
        raise ValueError("behind the host, @ is written %40")
    if "#" in rest:
        raise ValueError("a mirror's address has no fragment: # is written %23")
    host = re.split(r"[/?]", rest, maxsplit=1)[0]
    if "{" in host or "}" in host:
        raise ValueError("no field stands in the host")
    return scheme, host


def _check_http(address: str) -> None:
    try:
        _ = urlsplit(address).port
    except ValueError:
        # Without what stands there: where an @ was forgotten, it is a password.
        raise ValueError("its host and port cannot be read") from None
    names.http_url(address)


def _without_credentials(address: str) -> tuple[str, str | None]:
    """An address without its user and password, and the header that says them (RFC 7617)."""
    match = re.fullmatch(r"([^:/?#]+://)([^/?#]*)@(.*)", address)
    if match is None:
        return address, None
    if not match[2]:
        return match[1] + match[3], None
    user, _, password = match[2].partition(":")
    secret = f"{unquote(user)}:{unquote(password)}"
    return match[1] + match[3], f"Basic {b64encode(secret.encode()).decode()}"


def _check_fields(template: str, allowed: Collection[str]) -> set[str]:
    fields = set(FIELD.findall(template))
    for field in sorted(fields - set(allowed)):
        near = did_you_mean(field, allowed) or "."
        raise ValueError(f"no field {{{field}}} here{near} Allowed: {listed(f'{{{each}}}' for each in allowed)}")
    if "{" in FIELD.sub("", template) or "}" in FIELD.sub("", template):
        raise ValueError("a brace stands alone; a field is written {sha256}")
    return fields


def _shown_address(text: str) -> str:
    # All that stands before the last @ may be a password, and a query a signature.
    bare = re.sub(r"^([a-z+]*://)?.*@", r"\1***@", text, flags=re.DOTALL)
    return shown(re.split(r"[?#]", bare, maxsplit=1)[0])


def parse_addresses(text: str) -> tuple[Mirror, ...]:
    """The mirrors that VCM_MIRRORS names: addresses with blanks between them, each one also as ``name=address``.

    One without a name is called like its host.

    Raises:
        ConfigError: one cannot be used; its password is not repeated.
    """
    mirrors: dict[str, Mirror] = {}
    for position, word in enumerate(text.split(), start=1):
        name, equals, address = word.partition("=")
        if not equals or re.search(r"[:/?#@]", name):
            name, address = "", word
        try:
            url, authorization = mirror_address(address)
            name = names.mirror_name(name) if name else _free_name(url, mirrors)
        except ValueError as error:
            # Where there is a password, it may hold a blank, and be this word.
            found = f"address {position}" if "@" in text else f"found {_shown_address(word)}"
            raise ConfigError(
                f"{VARIABLE}: {found}: {error}",
                hint=f"set it to addresses with blanks between them, such as {_EXAMPLE}",
            ) from None
        if name in mirrors:
            raise ConfigError(f'{VARIABLE}: two mirrors are called "{name}"', hint="choose another name")
        headers = {"Authorization": authorization} if authorization else {}
        mirrors[name] = Mirror(name=name, url=url, headers=headers, named_in=VARIABLE)
    return tuple(mirrors.values())


def _free_name(url: str, taken: Collection[str]) -> str:
    host = re.sub(r"[^a-z0-9._-]+", "-", urlsplit(url).hostname or "file")[: names.LONGEST_NAME - 4].strip("._-")
    base = host or "mirror"
    return next(name for number in range(1, len(taken) + 2) if (name := _numbered(base, number)) not in taken)


def _numbered(base: str, number: int) -> str:
    return base if number == 1 else f"{base}-{number}"


def merged(own: Sequence[Mirror], projects: Sequence[Mirror]) -> tuple[Mirror, ...]:
    """The user's own mirrors, then those of the project that are not the same by name or address."""
    known_names, known_urls = {each.name for each in own}, {each.url for each in own}
    return (*own, *(each for each in projects if each.name not in known_names and each.url not in known_urls))
