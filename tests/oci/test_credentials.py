"""Where credentials are found: the files of docker and podman, and their helpers, which are real programs here."""

from __future__ import annotations

import base64
import json
import os
import time
from pathlib import Path
from threading import Thread

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vcm.oci import credential_helper
from vcm.oci.credential_helper import CredentialsError
from vcm.oci.credentials import Keyring, given_credentials
from vcm.settings import registry_credential_files

HOST = "registry.corp:5000"


def auth(user: str, password: str = "secret") -> dict[str, str]:  # noqa: S107
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.fixture
def places(monkeypatch, tmp_path) -> list[Path]:
    """The files in which credentials may stand, in the order in which they count."""
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "named.json"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    expected = [
        tmp_path / "named.json",
        tmp_path / "run/containers/auth.json",
        tmp_path / "config/containers/auth.json",
        tmp_path / "docker/config.json",
    ]
    assert list(registry_credential_files()) == expected
    for path in expected:
        path.parent.mkdir(parents=True, exist_ok=True)
    return expected


@pytest.fixture
def config(tmp_path):
    """Writes a file of credentials and gives a keyring that knows it."""

    def write(value: object, host: str = HOST) -> Keyring:
        path = tmp_path / "auth.json"
        path.write_text(value if isinstance(value, str) else json.dumps(value))
        return Keyring(host, [tmp_path / "missing.json", path, tmp_path / "auth.json" / "below"])

    return write


@pytest.fixture
def helper(monkeypatch, tmp_path: Path):
    """Puts a helper of that name on the PATH; ``asked`` beside it has a line for each question."""
    folder, asked = tmp_path / "bin", tmp_path / "bin" / "asked"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def install(name: str, script: str) -> Path:
        program = folder / f"docker-credential-{name}"
        program.write_text(f'#!/bin/sh\nread host; echo "$1 $host" >> {asked}\n{script}\n')
        program.chmod(0o755)
        return asked

    return install


def says(user: str, secret: str) -> str:
    return f"echo '{json.dumps({'ServerURL': 'x', 'Username': user, 'Secret': secret})}'"


def problem(keyring: Keyring, repository: str = "m/frames") -> tuple[str, str]:
    with pytest.raises(CredentialsError) as caught:
        keyring.find(repository)
    return caught.value.message, caught.value.hint


def test_without_variables_the_files_are_those_of_the_home(monkeypatch):
    home = {"HOME": "/home/me"}
    monkeypatch.setenv("HOME", "/home/me")
    expected = (Path("/home/me/.config/containers/auth.json"), Path("/home/me/.docker/config.json"))
    assert registry_credential_files(home) == expected


def test_the_first_file_that_knows_the_registry_counts(places):
    assert Keyring(HOST, places).find("m/frames") is None
    for path in reversed(places):
        path.write_text(json.dumps({"auths": {"other.corp": auth("stranger"), HOST: auth(path.name)}}))
        found = Keyring(HOST, places).find("m/frames")
        assert found is not None
        assert (found.source, found.login) == (str(path), (path.name, "secret"))
    places[0].write_text(json.dumps({"auths": {HOST: {}}}))
    found = Keyring(HOST, places).find("m/frames")
    assert found is not None
    assert found.source == str(places[1])


@pytest.mark.parametrize(
    ("key", "host"),
    [
        (HOST, HOST),
        (HOST.upper(), HOST),
        (f"{HOST}/", HOST),
        (f"https://{HOST}", HOST),
        (f"https://{HOST}/v1/", HOST),
        (f"http://{HOST}/v2/", HOST),
        (f"{HOST}/m", HOST),
        (f"{HOST}/m/frames", HOST),
        ("https://index.docker.io/v1/", "docker.io"),
        ("docker.io", "registry-1.docker.io"),
        ("registry-1.docker.io", "index.docker.io"),
    ],
)
def test_a_registry_goes_by_several_names(config, key, host):
    found = config({"auths": {key: auth("me")}}, host).find("m/frames")
    assert found is not None
    assert found.login == ("me", "secret")


@pytest.mark.parametrize(
    "key", ["registry.corp", "corp:5000", f"{HOST}/m/fram", f"{HOST}/n", f"a{HOST}", f"https://{HOST}.evil"]
)
def test_nobody_else_s_name_is_taken_for_it(config, key):
    assert config({"auths": {key: auth("me")}}).find("m/frames") is None


def test_the_narrowest_entry_wins(config):
    entries = {f"https://{HOST}/v1/": "docker", f"{HOST}/m": "m", f"{HOST}/m/frames": "frames", HOST: "host"}
    keyring = config({"auths": {key: auth(user) for key, user in entries.items()}})
    found = [keyring.find(name) for name in ("m/frames", "m/other", "m", "n/frames")]
    assert [each.login[0] for each in found] == ["frames", "m", "m", "host"]


def test_what_an_entry_may_hold(config):
    colons = config({"auths": {HOST: auth("me", "a:b\0\0")}}).find("m")
    assert colons.login == ("me", "a:b")
    assert colons.basic == "Basic bWU6YTpi"
    identity = config({"auths": {HOST: {**auth("00000000"), "identitytoken": "refresh"}}}).find("m")
    assert (identity.identity_token, identity.login, identity.basic) == ("refresh", None, None)
    assert config({"auths": {HOST: {"registrytoken": "abc"}}}).find("m").authorization == "Bearer abc"
    assert "secret" not in repr(colons) + repr(identity)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it is not JSON"),
        ("{", "it is not JSON"),
        ("[" * 100000, "it is not JSON"),
        ("\x00\xff", "it is not JSON"),
        ("[]", "it is no JSON object"),
        (" " * 2_000_000, "it is longer than 1048576 bytes"),
        ('{"auths": []}', "auths is no object"),
        ('{"credHelpers": "x"}', "credHelpers is no object"),
        ('{"credsStore": ["x"]}', "the name of a credential helper is no text"),
        (json.dumps({"credHelpers": {HOST: 3}}), "the name of a credential helper is no text"),
        (json.dumps({"auths": {HOST: "x"}}), f"auths.{HOST} is no object"),
        (json.dumps({"auths": {HOST: {"auth": 1}}}), f"auths.{HOST} holds something else than text"),
        (json.dumps({"auths": {HOST: {"auth": "c2VjcmV0"}}}), f"auths.{HOST}.auth is not the base64 of user:password"),
        (json.dumps({"auths": {HOST: {"auth": "secret!"}}}), f"auths.{HOST}.auth is not the base64 of user:password"),
        (json.dumps({"auths": {HOST: {"auth": "/////w=="}}}), f"auths.{HOST}.auth is not the base64 of user:password"),
        (
            json.dumps({"auths": {HOST: {"registrytoken": "secret\r\nX: y"}}}),
            f"auths.{HOST}.registrytoken holds characters no token has",
        ),
    ],
)
def test_a_broken_file_is_named(config, tmp_path, text, reason):
    path = tmp_path / "auth.json"
    assert problem(config(text)) == (
        f"{path}: the credentials for registries cannot be read: {reason}",
        f"repair it, or remove {path} and log in again with docker login or podman login",
    )


def test_a_file_that_cannot_be_opened_is_named(tmp_path):
    assert problem(Keyring(HOST, [tmp_path]))[0] == (
        f"{tmp_path}: the credentials for registries cannot be read: is a directory"
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["auths", "credHelpers", "auth", "identitytoken", "registrytoken", HOST]), inner
        )
    ),
)


@settings(max_examples=40)
@given(JSON)
def test_whatever_stands_in_a_file_is_read_or_refused(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("any") / "auth.json"
    path.write_text(json.dumps(value))
    try:
        Keyring(HOST, [path]).find("m/frames")
    except CredentialsError as error:
        assert str(path) in error.message  # noqa: PT017


def test_a_helper_is_asked_once_for_the_host(config, helper):
    asked = helper("of-the.tests_1", says("me", "secret"))
    keyring = config({"credHelpers": {HOST: "of-the.tests_1"}, "auths": {HOST: auth("entry")}})
    found = [keyring.find(name) for name in ("m/frames", "m/other", "m/frames")]
    assert [each.login for each in found] == [("me", "secret")] * 3
    assert asked.read_text() == f"get {HOST}\n"
    assert found[0].source == f"docker-credential-of-the.tests_1, which {keyring._files[1]} names"


def test_several_threads_ask_a_helper_once(config, helper):
    asked = helper("slow", f"sleep 0.2; {says('me', 'secret')}")
    keyring = config({"credsStore": "slow"})
    threads = [Thread(target=keyring.find, args=(f"m/{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert asked.read_text() == f"get {HOST}\n"


def test_a_helper_may_give_an_identity_token(config, helper):
    helper("tests", says("<token>", "refresh"))
    found = config({"credsStore": "tests"}).find("m")
    assert (found.identity_token, found.login) == ("refresh", None)


def test_the_store_is_asked_for_what_has_no_entry_and_docker_hub_by_its_old_name(config, helper):
    asked = helper("tests", says("me", "secret"))
    assert config({"credsStore": "tests", "auths": {HOST: auth("entry")}}).find("m").login == ("entry", "secret")
    assert config({"credsStore": "tests", "auths": {"docker.io": {}}}, "docker.io").find("m").login == ("me", "secret")
    assert asked.read_text() == "get https://index.docker.io/v1/\n"


@pytest.mark.parametrize("script", ["echo credentials not found in native keychain; exit 1", says("", "")])
def test_a_helper_may_have_none(config, helper, script):
    asked = helper("tests", script)
    keyring = config({"credHelpers": {HOST: "tests"}, "auths": {HOST: auth("entry")}})
    assert keyring.find("m").login == ("entry", "secret")
    assert asked.exists()


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo my secret; exit 3", f"docker-credential-tests failed for {HOST} with exit status 3"),
        ("echo my secret", f"docker-credential-tests says something else about {HOST} than user and secret"),
        ("echo '[]'", f"docker-credential-tests says something else about {HOST} than user and secret"),
        (
            'echo \'{"Username":1,"Secret":"x"}\'',
            f"docker-credential-tests says something else about {HOST} than user and secret",
        ),
        ("kill -9 $$", f"docker-credential-tests failed for {HOST} with exit status -9"),
        ("exec cat /dev/zero", f"docker-credential-tests says more about {HOST} than 1048576 bytes"),
        ("sleep 60 & sleep 60", f"docker-credential-tests did not say in 0 s who may ask {HOST}"),
        ("exec >&-; sleep 60", f"docker-credential-tests did not say in 0 s who may ask {HOST}"),
    ],
)
def test_a_helper_that_fails_is_named(config, helper, monkeypatch, script, message):
    # Only who does not answer is not waited for: others may start slowly.
    monkeypatch.setattr(credential_helper, "SECONDS", 0.3 if "sleep" in script else 60.0)
    asked = helper("tests", script)
    keyring = config({"credHelpers": {HOST: "tests"}})
    began = time.monotonic()
    hint = f"to see what it says, run: echo {HOST} | docker-credential-tests get"
    assert problem(keyring) == (message, hint)
    assert problem(keyring, "m/other") == problem(keyring) == (message, hint)
    assert time.monotonic() - began < 30
    assert asked.read_text() == f"get {HOST}\n" * 2


def test_a_helper_that_is_not_there_is_named(config, tmp_path):
    path = tmp_path / "auth.json"
    assert problem(config({"credsStore": "of-nobody"})) == (
        f"docker-credential-of-nobody is not installed, and {path} names it for {HOST}",
        f"install it, or take it out of credsStore and credHelpers in {path}",
    )


@pytest.mark.parametrize("name", ["../../tmp/x", "x;y", "x y", "x\n", "ä"])
def test_a_helper_s_name_is_no_path_and_no_command(config, tmp_path, name):
    message, hint = problem(config({"credsStore": name}))
    assert message.endswith("is no name of a credential helper")
    assert hint == f"correct credsStore and credHelpers in {tmp_path / 'auth.json'}"


def test_what_a_mirror_itself_says_counts_before_all_files(config):
    basic = given_credentials(f"basic {auth('me')['auth']}", "the headers of mirror rack")
    assert (basic.login, basic.remedy) == (("me", "secret"), "correct the Authorization in the headers of mirror rack")
    bearer = given_credentials("Bearer abc", "the headers of mirror rack")
    assert bearer.authorization == "Bearer abc"
    assert Keyring(HOST, [Path("/")], bearer).find("m") is bearer
    with pytest.raises(CredentialsError) as caught:
        given_credentials("Bearer a\nb", "the headers of mirror rack")
    assert caught.value.message == "the headers of mirror rack: the Authorization holds characters no header has"


def test_a_pipe_is_not_waited_for(config, tmp_path):
    config("{}")
    path = tmp_path / "auth.json"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(CredentialsError, match="it is a pipe"):
        Keyring(HOST, (path,)).find("a")


def test_places_that_are_none():
    # A user without a home, and in nobody's project; and a name without a part.
    nowhere = {"HOME": "", "REGISTRY_AUTH_FILE": ".", "XDG_CONFIG_HOME": "~", "DOCKER_CONFIG": "~/docker"}
    assert registry_credential_files(nowhere)[0] == Path.cwd()
