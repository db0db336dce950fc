"""Mirrors as people write them: in models.toml, in their own configuration, in VCM_MIRRORS."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vcm.core.manifest import Manifest, parse_manifest
from vcm.core.mirror_config import (
    UserConfiguration,
    merged,
    mirror_address,
    parse_addresses,
    parse_user_configuration,
)
from vcm.core.mirrors import FIELDS, Mirror
from vcm.errors import ConfigError

OWN = """\
[[mirror]]                      # tried in order, before the origin
name = "rack"
url = "http://mirror.rack:8080"

[[mirror]]
name = "registry"
url = "oci://me:hunter%202@registry.corp/models/{repo}"
push = true

[[mirror]]
name = "p2p"
url = "http://s3.corp/{repo}/{commit}/{path}"
proxy = "http://127.0.0.1:4001"
headers = { "X-Task" = "{sha256}" }
timeout = 600

[[mirror]]
name = "nfs"
url = "file:///mnt/models/store/"

[origin]
fallback = false

[hub]
endpoint = "https://hub.corp/"
"""
IN_OWN_FILE = "put this mirror into your own configuration, ~/.config/vcm/config.toml"
ALL_FIELDS = "{sha256}, {repo}, {commit}, {path} and {size}"


def own(text: str) -> UserConfiguration:
    return parse_user_configuration(text.encode(), file_name="/home/me/config.toml")


def projects(text: str) -> Manifest:
    return parse_manifest(text.encode(), vcm_version="0.1.0")


def test_the_users_own_configuration():
    assert own(OWN) == UserConfiguration(
        mirrors=(
            Mirror(
                name="rack",
                url="http://mirror.rack:8080/blobs/sha256/{sha256}",
                named_in="/home/me/config.toml",
            ),
            Mirror(
                name="registry",
                url="oci://registry.corp/models/{repo}",
                push=True,
                headers={"Authorization": "Basic bWU6aHVudGVyIDI="},
                named_in="/home/me/config.toml",
            ),
            Mirror(
                name="p2p",
                url="http://s3.corp/{repo}/{commit}/{path}",
                proxy="http://127.0.0.1:4001",
                headers={"X-Task": "{sha256}"},
                timeout=600.0,
                named_in="/home/me/config.toml",
            ),
            Mirror(
                name="nfs",
                url="file:///mnt/models/store/blobs/sha256/{sha256}",
                named_in="/home/me/config.toml",
            ),
        ),
        fallback=False,
        endpoint="https://hub.corp",
    )
    assert own("") == UserConfiguration()


def test_a_manifest_names_plain_mirrors_and_means_the_same_with_them():
    model = '[models.frames]\nrepo = "acme/frames"\n'
    text = '[[mirror]]\nname = "rack"\nurl = "http://mirror.rack"\n[origin]\nfallback = false\n'
    plain, mirrored = projects(model), projects(text + model)
    assert (plain.mirrors, plain.origin_fallback) == ((), True)
    rack = Mirror(name="rack", url="http://mirror.rack/blobs/sha256/{sha256}", named_in="models.toml")
    assert (mirrored.mirrors, mirrored.origin_fallback) == ((rack,), False)
    assert mirrored.digest == plain.digest


# What stands in a file, the message behind the file's name, the hint.
BOTH = [
    ("[mirror]\nname = 'a'\n", ":1: mirror: expected an array of tables, found a table", "write [[mirror]]"),
    ("mirror = 'http://m'\n", ':1: mirror: expected an array, found "http://m"', None),
    ("mirror = ['http://m']\n", ':1: mirror[0]: expected a table, found "http://m"', None),
    ("[[mirror]]\nurl = 'http://m'\n", ':1: mirror[0]: the key "name" is missing', None),
    ("[[mirror]]\nname = 'a'\n", ':1: mirror[0]: the key "url" is missing', None),
    (
        "[[mirror]]\nname = 'A'\nurl = 'http://m'\n",
        (
            ":2: mirror[0].name: found \"A\": a mirror's name is made of a-z, 0-9, '.', '_' and '-', and begins and "
            "ends with a-z or 0-9"
        ),
        None,
    ),
    (
        "[[mirror]]\nname = 'a'\nurl = 'http://m'\n[[mirror]]\nname = 'a'\nurl = 'http://n'\n",
        ':5: mirror[1].name: another mirror is called "a"',
        "choose another name",
    ),
    (
        "[[mirror]]\nname = 'a'\nurl = 'http://m/{sha265}'\n",
        (
            ':3: mirror[0].url: found "http://m/{sha265}": no field {sha265} here, did you mean "sha256"? '
            f"Allowed: {ALL_FIELDS}"
        ),
        None,
    ),
    (
        "[[mirror]]\nname = 'a'\nurl = 'oci://r/{repo}/{sha256}'\n",
        ':3: mirror[0].url: found "oci://r/{repo}/{sha256}": no field {sha256} here. Allowed: {repo}',
        None,
    ),
    ("[origin]\nfallback = 'no'\n", ':2: origin.fallback: expected true or false, found "no"', None),
    (
        "[origin]\nfall-back = false\n",
        ':2: origin.fall-back: unknown key, did you mean "fallback"?',
        "allowed here: fallback",
    ),
]


@pytest.mark.parametrize(("text", "message", "hint"), BOTH)
def test_what_neither_file_may_say(text, message, hint):
    for read, name in ((own, "/home/me/config.toml"), (projects, "models.toml")):
        with pytest.raises(ConfigError) as caught:
            read(text)
        assert (caught.value.message, caught.value.hint) == (name + message, hint or f"mend it in {name}")


ADDRESS = "[[mirror]]\nname = 'a'\nurl = 'http://m'\n"


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (ADDRESS + "push = true", ":4: mirror[0].push: a models.toml names plain addresses only", IN_OWN_FILE),
        (
            ADDRESS + "proxy = 'http://p'",
            ":4: mirror[0].proxy: a models.toml names plain addresses only",
            IN_OWN_FILE,
        ),
        (
            ADDRESS + "headers = { a = 'b' }",
            ":4: mirror[0].headers: a models.toml names plain addresses only",
            IN_OWN_FILE,
        ),
        (ADDRESS + "timeout = 5", ":4: mirror[0].timeout: a models.toml names plain addresses only", IN_OWN_FILE),
        (
            "[[mirror]]\nname = 'a'\nurl = 'http://me:hunter2@m'\n",
            ":3: mirror[0].url: a models.toml holds no password",
            IN_OWN_FILE,
        ),
        (
            "[[mirror]]\nname = 'a'\nurl = 'oci+http://r/{repo}'\n",
            ":3: mirror[0].url: a models.toml does not decide that a registry is asked without TLS",
            IN_OWN_FILE,
        ),
        (ADDRESS + "ulr = 'x'", ':4: mirror[0].ulr: unknown key, did you mean "url"?', "allowed here: name, url"),
    ],
)
def test_what_a_manifest_may_not_say(text, message, hint):
    with pytest.raises(ConfigError) as caught:
        projects(text)
    assert (caught.value.message, caught.value.hint) == ("models.toml" + message, hint)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (
            ADDRESS + "haeders = {}",
            ':4: mirror[0].haeders: unknown key, did you mean "headers"?',
            "allowed here: name, url, headers, push, proxy, timeout",
        ),
        (
            ADDRESS + "push = true",
            ":4: mirror[0].push: only an OCI registry is pushed to",
            "remove push, or name an oci:// address",
        ),
        (
            ADDRESS + "headers = 'hunter2'",
            ':4: mirror[0].headers: expected a table, such as { "X-Name" = "text" }',
            None,
        ),
        (ADDRESS + "headers = { a = 'é' }", ":4: mirror[0].headers.a: expected a string of plain ASCII", None),
        (ADDRESS + "headers = { a = 5 }", ":4: mirror[0].headers.a: expected a string of plain ASCII", None),
        (
            ADDRESS + "[mirror.headers]\n'a b' = 'x'",
            ":5: mirror[0].headers.a b: a header's name is made of letters, digits and -",
            None,
        ),
        (
            ADDRESS + "headers = { a = '{sha}' }",
            f':4: mirror[0].headers.a: no field {{sha}} here, did you mean "sha256"? Allowed: {ALL_FIELDS}',
            None,
        ),
        (
            "[[mirror]]\nname = 'a'\nurl = 'http://me:hunter2@m'\nheaders = { authorization = 'x' }",
            ':4: mirror[0].headers: "Authorization" is there already, of the address',
            "keep one of the two",
        ),
        (
            ADDRESS + "proxy = 'http://me:hunter2@p/x'",
            ':4: mirror[0].proxy: found "http://***@p/x": a proxy is http://HOST:PORT',
            None,
        ),
        (
            ADDRESS + "proxy = 'socks5://p'",
            ':4: mirror[0].proxy: found "socks5://p": a URL begins with http:// or https:// and names a host',
            None,
        ),
        (ADDRESS + "timeout = 0", ":4: mirror[0].timeout: expected a number from 1 to 86400, found 0", None),
        (
            ADDRESS + "timeout = '10m'",
            ':4: mirror[0].timeout: expected a number from 1 to 86400, found "10m"',
            None,
        ),
        ("[hub]\ntoken = 'hunter2'", ":2: hub.token: unknown key", "allowed here: endpoint"),
        ("[models]", ":1: models: unknown key", "allowed here: mirror, origin, hub"),
        ("x =\n", ":1: not TOML: Invalid value", "see https://toml.io, then mend /home/me/config.toml:1"),
    ],
)
def test_what_the_users_own_configuration_may_not_say(text, message, hint):
    with pytest.raises(ConfigError) as caught:
        own(text)
    expected = ("/home/me/config.toml" + message, hint or "mend it in /home/me/config.toml")
    assert (caught.value.message, caught.value.hint) == expected


@pytest.mark.parametrize(
    ("text", "url", "authorization"),
    [
        ("http://m", "http://m/blobs/sha256/{sha256}", None),
        ("https://m/a/", "https://m/a/blobs/sha256/{sha256}", None),
        ("http://m/{path}?version={commit}", "http://m/{path}?version={commit}", None),
        ("http://@m", "http://m/blobs/sha256/{sha256}", None),
        ("http://me@m", "http://m/blobs/sha256/{sha256}", "Basic bWU6"),
        ("http://me:a:%7Bb@m/{sha256}", "http://m/{sha256}", "Basic bWU6YTp7Yg=="),
        ("http://me:{b}@m/{sha256}", "http://m/{sha256}", "Basic bWU6e2J9"),
        ("http://[::1]:80", "http://[::1]:80/blobs/sha256/{sha256}", None),
        ("oci://r:5000/all", "oci://r:5000/all", None),
        ("oci+http://r/{repo}", "oci+http://r/{repo}", None),
        ("file:///mnt/{repo}/{path}", "file:///mnt/{repo}/{path}", None),
    ],
)
def test_an_address(text, url, authorization):
    assert mirror_address(text) == (url, authorization)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("m/{sha256}", "a mirror's address begins with http://, https://, oci:// or file:///"),
        ("s3://m/{sha256}", "a mirror's address begins with http://, https://, oci:// or file:///"),
        ("file:store", "a mirror's address begins with http://, https://, oci:// or file:///"),
        ("file://store", "a folder is written file:///absolute/path"),
        ("file:///", "a folder is written file:///absolute/path"),
        ("file:///a?b", "a folder is written file:///absolute/path"),
        ("http://", "a URL begins with http:// or https:// and names a host"),
        ("http://m:port", "its host and port cannot be read"),
        ("http://m/ {sha256}", "an address holds no blanks and no control characters"),
        ("http://m/{sha256}#x", "a mirror's address has no fragment: # is written %23"),
        ("http://m/{sha256", "a brace stands alone; a field is written {sha256}"),
        ("http://m/sha256}", "a brace stands alone; a field is written {sha256}"),
        ("http://m/{{sha256}}", "a brace stands alone; a field is written {sha256}"),
        ("file:///a/%7Bsha%7D/{sha256}", f'no field {{sha}} here, did you mean "sha256"? Allowed: {ALL_FIELDS}'),
        ("http://m/{}", f"no field {{}} here. Allowed: {ALL_FIELDS}"),
        ("http://{repo}.m/{sha256}", "no field stands in the host"),
        ("http://m?x=1", "without a field it is the address of a store, which has no query"),
        ("http://m/{repo}", "it is the same for every file of a model: {sha256} or {path} is missing"),
        ("http://me:pass/word@m", "behind the host, @ is written %40"),
        ("oci://registry.corp", "an OCI registry is written oci://HOST/PATH/{repo}"),
        ("oci://r:port/m", "its host and port cannot be read"),
    ],
)
def test_no_address(text, reason):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        mirror_address(text)
    assert str(caught.value) == reason


def test_the_variable():
    found = parse_addresses(
        " http://m.rack:8080\thttp://m.rack:8081 hall=http://me:hunter2@n/{path}?a=b  oci://r/{repo} file:///a file:///b"
    )
    assert [(each.name, each.url, dict(each.headers), each.named_in) for each in found] == [
        ("m.rack", "http://m.rack:8080/blobs/sha256/{sha256}", {}, "VCM_MIRRORS"),
        ("m.rack-2", "http://m.rack:8081/blobs/sha256/{sha256}", {}, "VCM_MIRRORS"),
        ("hall", "http://n/{path}?a=b", {"Authorization": "Basic bWU6aHVudGVyMg=="}, "VCM_MIRRORS"),
        ("r", "oci://r/{repo}", {}, "VCM_MIRRORS"),
        ("file", "file:///a/blobs/sha256/{sha256}", {}, "VCM_MIRRORS"),
        ("file-2", "file:///b/blobs/sha256/{sha256}", {}, "VCM_MIRRORS"),
    ]


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (
            "http://m rack",
            'VCM_MIRRORS: found "rack": a mirror\'s address begins with http://, https://, oci:// or file:///',
            "set it to addresses with blanks between them, such as http://mirror.rack:8080",
        ),
        (
            "Rack=http://me:hunter2@m",
            (
                "VCM_MIRRORS: address 1: a mirror's name is made of a-z, 0-9, '.', '_' and '-', and begins and ends "
                "with a-z or 0-9"
            ),
            "set it to addresses with blanks between them, such as http://mirror.rack:8080",
        ),
        ("a=http://m a=http://n", 'VCM_MIRRORS: two mirrors are called "a"', "choose another name"),
    ],
)
def test_the_variable_holds_something_else(text, message, hint):
    with pytest.raises(ConfigError) as caught:
        parse_addresses(text)
    assert (caught.value.message, caught.value.hint) == (message, hint)


def test_the_users_mirrors_come_first_and_win():
    def mirror(name: str, address: str) -> Mirror:
        return Mirror(name=name, url=f"http://{address}/{{sha256}}")

    users = (mirror("a", "one"), mirror("b", "two"))
    of_project = (mirror("c", "three"), mirror("a", "four"), mirror("d", "two"), mirror("e", "three"))
    assert [each.name for each in merged(users, of_project)] == ["a", "b", "c", "e"]
    assert (merged((), of_project), merged(users, ())) == (of_project, users)


# --- what holds for every address -------------------------------------------------------------------------------------

PIECES = [*(f"{{{field}}}" for field in FIELDS), *"{}/?#@:=. \n%é", "http://", "oci://", "file:///", "m", "80", "[::1]"]
NOISE = st.lists(st.sampled_from(PIECES), max_size=12).map("".join) | st.text(max_size=30)


@given(NOISE)
def test_what_is_an_address_once_is_the_same_one_again(text):
    try:
        url, _ = mirror_address(text)
    except ValueError:
        return
    assert mirror_address(url) == (url, None)


SECRET = "hunter2hunter2"


@given(NOISE, NOISE, NOISE)
@example("http://me:", "/x@", "m/{sha256}")
@example("http://me:", "?x@", "m/{sha256}")
@example("http://me:", "#x@", "m/{sha256}")
@example("http://me:", "@", "m/{sha")
@example("http://me:", "@", "[m")
@example("x=http://me:", "@", "m")
def test_no_password_is_in_what_is_said_of_an_address(before, between, after):
    word = f"{before}{SECRET}{between}@{after}"
    readers: tuple[Callable[[], tuple[Mirror, ...]], ...] = (
        lambda: parse_addresses(word),
        lambda: own(f'[[mirror]]\nname = "a"\nurl = {json.dumps(word)}\n').mirrors,
        lambda: own(ADDRESS + f"proxy = {json.dumps(word)}\n").mirrors,
        lambda: own(ADDRESS + f"headers = {{ a = {json.dumps(word)} }}\n").mirrors,
        lambda: projects(f'[[mirror]]\nname = "a"\nurl = {json.dumps(word)}\n').mirrors,
    )
    for read in readers:
        try:
            said = repr(read())
        except ConfigError as error:
            said = " ".join((str(error), error.hint, *error.details))
        assert SECRET not in said


@given(st.text(max_size=40) | NOISE)
def test_any_text_in_the_variable_is_mirrors_or_an_error(text):
    try:
        found = parse_addresses(text)
    except ConfigError as error:
        assert error.message.startswith("VCM_MIRRORS: ")  # noqa: PT017
        return
    assert len({each.name for each in found}) == len(found) == len(text.split())
