"""``vcm push``, to a registry that others wrote."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import time
from base64 import b64encode
from pathlib import Path
from threading import Event

import pytest

from tests.conftest import TOKEN, closed_port
from tests.loopback import http_answer
from tests.servers import Registry, needs, skopeo
from tests.tokens import PASSWORD, USER
from vcm.core.mirrors import Mirror
from vcm.errors import ConfigError
from vcm.pushing.destination import checked_tag, destination

COMMIT = "1234567890" * 4
TAG = COMMIT[:12]
MODELS = "models/acme/frames"
with_registry = needs("docker-registry")


def target(registry: Registry) -> str:
    return f"oci://{registry.host}/models/{{repo}}"


def digest_of(registry: Registry, repository: str, tag: str) -> str:
    answer = registry.manifest(repository, tag)
    assert answer.status_code == 200
    return f"sha256:{hashlib.sha256(answer.content).hexdigest()}"


def requests_of(log: Path) -> list[str]:
    """The methods that a proxy has seen, and the kind of what each was about."""
    lines = [line.split() for line in log.read_text().splitlines()]
    return [f"{method} {path.split('/')[-2]}" for _, _, method, path, *_ in lines]


@pytest.fixture
def behind(registry, nginx):
    """A proxy before the registry, and what is told of it; ``limit`` is the largest body that it takes."""

    def start(limit: str = "0"):
        way = f"proxy_pass {registry.url}; proxy_set_header Host $http_host; client_max_body_size {limit};"
        return nginx(registry.folder, location=f"location / {{ {way} }}")

    return start


@pytest.fixture
def two(hub, manifest, vcm):
    """Two models of different repos that have their weights in common, locked and installed."""
    shared = os.urandom(9 << 20)
    files, card = {"config.json": b"{}\n", "model.safetensors": shared}, {"license": "mit"}
    hub.add_repo("acme/frames", files, commit=COMMIT, card=card)
    hub.add_repo("acme/Fork_Of.it", files | {"config.json": b"{ }\n"}, commit="abcdef0123" * 4, card=card)
    manifest('[models.frames]\nrepo = "acme/frames"\n[models.other]\nrepo = "acme/Fork_Of.it"\ngroups = ["extra"]\n')
    assert vcm("sync", "--all-groups").code == 0
    return len(shared)


@with_registry
def test_a_push_a_second_one_and_what_came_of_it(vcm, synced, registry):
    would = vcm("push", target(registry), "--dry-run")
    assert registry.manifest(MODELS, TAG).status_code == 404
    first = vcm("push", target(registry))
    digest = digest_of(registry, MODELS, TAG)
    second = vcm("push", target(registry))

    reference = f"frames  {registry.host}/{MODELS}@{digest}  {TAG}"
    assert (would.code, would.err) == (0, "")
    assert would.out == f"Would push 1 model to {registry.host}: 4.6 kB to upload\n + {reference}  4.6 kB to upload\n"
    assert (first.code, first.err) == (0, "pushing 4 blobs, 4.6 kB\n")
    assert re.sub(r"[0-9.]+ s\b", "T s", first.out) == (
        f"Pushed 1 model to {registry.host}: 4.6 kB uploaded in T s\n + {reference}  4.6 kB uploaded\n"
    )
    assert (second.code, second.err) == (0, "")
    assert second.out == f"Nothing to do: {registry.host} has 1 model\n = {reference}  4.6 kB there already\n"
    assert digest_of(registry, MODELS, TAG) == digest


@with_registry
@needs("nginx")
def test_a_second_push_only_looks(vcm, synced, registry, behind):
    proxy = behind()
    address = f"oci://127.0.0.1:{proxy.port}/models/{{repo}}"

    def push(requests: int) -> None:
        assert vcm("push", address).code == 0
        deadline = time.monotonic() + 20
        while len(requests_of(proxy.log)) < requests and time.monotonic() < deadline:
            # A line comes after the answer.
            time.sleep(0.01)

    # Each of three small files and the configuration: looked for, begun, closed; the manifest last. Then five looks.
    first, second = 4 * 3 + 2, 5
    push(first)
    push(first + second)
    asked = requests_of(proxy.log)
    assert sorted(asked[first:]) == [*["HEAD blobs"] * 4, "HEAD manifests"]
    assert asked[first - 1] == "PUT manifests"
    assert asked.count("PUT manifests") == 1


@with_registry
def test_json(vcm, two, registry):
    first = vcm("push", target(registry), "--all-groups", "--json", "--tag", "v1.0")
    frames, other = (digest_of(registry, f"models/acme/{name}", "v1.0") for name in ("frames", "fork_of.it"))

    frames_size, other_size = (
        registry.manifest(f"models/acme/{name}", "v1.0").json()["config"]["size"] for name in ("frames", "fork_of.it")
    )
    assert first.code == 0
    models = [
        {
            "name": name,
            "version": None,
            "commit": commit,
            "repository": f"models/acme/{repo}",
            "tags": [commit[:12], "v1.0"],
            "digest": digest,
            "reference": f"{registry.host}/models/acme/{repo}@{digest}",
            "status": "pushed",
            "bytes_pushed": bytes_pushed,
            "bytes_mounted": bytes_mounted,
            "bytes_present": 0,
        }
        for name, commit, repo, digest, bytes_pushed, bytes_mounted in (
            ("frames", COMMIT, "frames", frames, two + 3 + frames_size, 0),
            ("other", "abcdef0123" * 4, "fork_of.it", other, 4 + other_size, two),
        )
    ]
    totals = {"bytes_pushed": two + 7 + frames_size + other_size, "bytes_mounted": two, "bytes_present": 0}
    assert json.loads(first.out) == {"dry_run": False, "registry": registry.host, "models": models, **totals}


@with_registry
def test_what_another_locked_model_has_brought_is_mounted(vcm, two, registry):
    assert vcm("push", target(registry)).code == 0

    document = json.loads(vcm("push", target(registry), "--group", "extra", "--json").out)

    assert [model["status"] for model in document["models"]] == ["present", "pushed"]
    assert document["bytes_mounted"] == two


@with_registry
def test_a_new_tag_is_all_that_comes(vcm, synced, registry):
    vcm("push", target(registry))

    document = json.loads(vcm("push", target(registry), "--tag", "latest", "--json").out)

    assert (document["models"][0]["status"], document["bytes_pushed"]) == ("pushed", 0)
    assert digest_of(registry, MODELS, "latest") == digest_of(registry, MODELS, TAG)


@with_registry
def test_a_tag_that_moves_is_told(vcm, synced, hub, manifest, registry):
    address = f"oci://{registry.host}/models/one"
    assert vcm("push", address, "--tag", "prod").code == 0
    before = digest_of(registry, "models/one", "prod")
    hub.add_repo("acme/other", {"config.json": b"[]"}, card={"license": "mit"})
    manifest('[models.frames]\nrepo = "acme/other"\n')
    assert vcm("sync").code == 0
    for verb, option in (("would move", "--dry-run"), ("moves", "-q")):
        told = vcm("push", address, "--tag", "prod", option).err
        assert f"note: frames: the tag prod {verb} here from models/one@{before}\n" in told
    assert digest_of(registry, "models/one", "prod") != before
    assert "moves" not in vcm("push", address, "--tag", "prod").err


@pytest.mark.parametrize(
    ("status", "headers", "message", "hint"),
    [
        (429, {"Retry-After": "3600"}, "{}: too many requests", "push again in 3600 s: what has come there stays"),
        (507, {}, "{} has no room for m/acme/frames", "free some space there, then push again"),
        (405, {}, "{} takes no uploads", "if it is only a cache, push to the registry behind it"),
    ],
)
def test_what_a_registry_does_not_take_is_told(synced, vcm, loopback, status, headers, message, hint):  # noqa: PLR0917
    def answer(connection, asked):
        connection.sendall(http_answer(404) if asked.method == "HEAD" else http_answer(status, headers))

    host = loopback(answer).url.removeprefix("http://")
    done = vcm("-q", "push", f"oci://{host}/m/{{repo}}")
    assert done.code == 3
    assert done.err.endswith(f"error: frames: {message.format(host)}\nhint: {hint}\n")


@with_registry
@needs("skopeo")
def test_skopeo_takes_it_from_there(vcm, hub, manifest, registry, cache, tmp_path):
    files = {
        "config.json": b"{}\n",
        "empty.txt": b"",
        "onnx/model.onnx": os.urandom(3 << 20),
        "tokenizer/tokenizer.json": b"[1]\n",
        "tokenizer.json": b"[2]\n",
        "the same/again.json": b"{}\n",
        "süß/模型.json": b"[3]\n",
    }
    hub.add_repo("acme/frames", files, commit=COMMIT)
    manifest('[models.frames]\nrepo = "acme/frames"\n')
    assert vcm("sync").code == 0
    assert vcm("push", target(registry)).code == 0

    source = f"docker://{registry.host}/{MODELS}:{TAG}"
    copied = skopeo("copy", "--src-tls-verify=false", source, f"oci:{tmp_path}/copy:frames")

    assert copied.returncode == 0, copied.stderr
    blobs = tmp_path / "copy" / "blobs" / "sha256"
    (named,) = json.loads((tmp_path / "copy" / "index.json").read_bytes())["manifests"]
    taken = json.loads((blobs / named["digest"].removeprefix("sha256:")).read_bytes())
    layers = {layer["annotations"]["org.cncf.model.filepath"]: layer["digest"] for layer in taken["layers"]}
    assert {path: (blobs / digest.removeprefix("sha256:")).read_bytes() for path, digest in layers.items()} == files


@with_registry
def test_other_files_of_the_same_commit_get_a_tag_of_their_own(vcm, hub, manifest, registry):
    hub.add_repo("acme/frames", {"a.json": b"1", "b.json": b"2"}, commit=COMMIT, card={"license": "mit"})
    both = "".join(f'[models.{name}]\nrepo = "acme/frames"\ninclude = ["{name}.json"]\n' for name in "ab")
    manifest(both)
    assert vcm("sync").code == 0

    refused = vcm("push", target(registry), "--tag", "latest")
    first = json.loads(vcm("push", target(registry), "--json").out)
    second = json.loads(vcm("push", target(registry), "--json").out)

    assert (refused.code, refused.out) == (2, "")
    assert refused.err == (
        f"error: --tag latest would name a and b, which all go to {MODELS}\n"
        "hint: leave out --tag: each has a tag of its own\n"
    )
    tags = [model["tags"] for model in first["models"]]
    assert tags[0] == [TAG]
    assert re.fullmatch(TAG + "-[0-9a-f]{12}", tags[1][0])
    for model in first["models"]:
        assert digest_of(registry, MODELS, model["tags"][0]) == model["digest"]
    assert [model["tags"] for model in second["models"]] == tags
    assert [model["status"] for model in second["models"]] == ["present", "present"]


@with_registry
def test_a_damaged_file_that_nobody_noticed_is_refused(vcm, synced, registry, cache):
    (weights,) = (cache / "snapshots").rglob("model.safetensors")
    before = weights.stat()
    weights.chmod(0o644)
    with weights.open("r+b") as file:
        file.write(b"!")
    weights.chmod(0o444)
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert vcm("check").code == 0

    result = vcm("push", target(registry))

    digest = re.search("sha256:[0-9a-f]{64}", result.out)
    assert digest
    assert result.code == 4
    assert result.out == f" ! frames  {registry.host}/{MODELS}@{digest[0]}  {TAG}  failed\n"
    assert result.err == (
        "pushing 4 blobs, 4.6 kB\n"
        f"error: frames/model.safetensors: damaged: {registry.host} computes another digest from what it was sent\n"
        "hint: run vcm verify --repair\n"
    )
    assert registry.manifest(MODELS, TAG).status_code == 404


@with_registry
def test_nothing_is_pushed_unless_all_can_be(vcm, two, registry, cache):
    (snapshot,) = (path.parent for path in (cache / "snapshots").rglob("config.json") if path.read_bytes() == b"{ }\n")
    (snapshot / "config.json").chmod(0o644)
    (snapshot / "config.json").write_bytes(b"{!}\n")

    result = vcm("push", target(registry), "--all-groups")

    assert (result.code, result.out) == (4, "")
    assert re.fullmatch(
        r"error: other: not what is locked: config\.json: expected .*\nhint: run vcm verify --repair\n", result.err
    )
    assert registry.manifest(MODELS, TAG).status_code == 404


@with_registry
def test_what_is_not_installed(vcm, locked, manifest, registry, error_of):
    result = vcm("push", target(registry), "--json")
    assert result.code == 1
    assert error_of(result.out)["message"] == "frames: not installed"

    manifest('[models.frames]\nrepo = "acme/frames"\noptional = true\n')
    assert vcm("lock").code == 0
    result = vcm("push", target(registry))
    assert result.code == 0
    assert result.err == "note: frames: optional and not installed, so it is not pushed\n"


@with_registry
def test_blobs_that_were_pruned_are_no_loss(vcm, synced, registry, cache):
    for blob in (cache / "blobs" / "sha256").iterdir():
        blob.unlink()

    assert vcm("push", target(registry)).code == 0


@with_registry
def test_licences_and_gates_are_told(vcm, hub, manifest, registry, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.add_repo("acme/free", {"config.json": b"1"}, card={"license": "apache-2.0"})
    hub.add_repo("acme/gated", {"config.json": b"2"}, gated="auto", card={"license": "mit"})
    hub.grant(TOKEN, "acme/gated")
    hub.add_repo("acme/own", {"config.json": b"3"}, card={"license": "gemma"})
    manifest("".join(f'[models.{name}]\nrepo = "acme/{name}"\n' for name in ("free", "gated", "own")))
    assert vcm("sync").code == 0

    result = vcm("push", target(registry))

    assert result.code == 0
    assert result.err.splitlines()[:2] == [
        "note: gated: its publisher decides who gets it, and a mirror gives it to whoever can read the mirror",
        'note: own: its licence is "gemma", and mirroring is redistribution: check whether it allows that',
    ]


@with_registry
@needs("nginx")
def test_a_blob_that_is_too_large_for_a_proxy_fails_its_models_only(vcm, hub, manifest, registry, behind):
    hub.add_repo("acme/large", {"config.json": b"{}\n", "model.safetensors": os.urandom(2 << 20)}, commit=COMMIT)
    hub.add_repo("acme/small", {"config.json": b"{}\n", "model.safetensors": os.urandom(2 << 10)}, commit=COMMIT)
    manifest('[models.large]\nrepo = "acme/large"\n[models.small]\nrepo = "acme/small"\n')
    assert vcm("sync").code == 0
    proxy = behind("1m")

    result = vcm("push", f"oci://127.0.0.1:{proxy.port}/{{repo}}", "--json")

    document = json.loads(result.out)
    assert result.code == 3
    assert [model["status"] for model in document["models"]] == ["failed", "pushed"]
    assert document["models"][0]["error"] == document["error"]
    assert document["error"]["message"] == (f"large/model.safetensors: 127.0.0.1:{proxy.port} refused a blob of 2.1 MB")
    assert registry.manifest("acme/small", TAG).status_code == 200
    assert registry.manifest("acme/large", TAG).status_code == 404


def test_a_registry_that_is_not_there(vcm, synced, closed, monkeypatch):
    monkeypatch.setattr("vcm.http.retries.DELAYS", ())

    result = vcm("push", f"oci://127.0.0.1:{closed}/{{repo}}")

    assert result.code == 3
    assert result.err == (
        f"error: frames: 127.0.0.1:{closed}: connection refused\n"
        "hint: check the network and the mirror's address, then push again: what has come there stays\n"
    )


@pytest.fixture
def closed() -> int:
    return closed_port()


def test_offline(vcm, synced, error_of):
    result = vcm("--offline", "push", "oci://registry.corp/{repo}", "--json")

    assert result.code == 3
    error = error_of(result.out)
    assert (error["message"], error["hint"]) == (
        "a push needs the network, and this run is offline",
        "run it without --offline, VCM_OFFLINE and HF_HUB_OFFLINE",
    )


MIRRORS = [
    Mirror(name="rack", url="http://mirror.rack:8080"),
    Mirror(name="corp", url="oci://registry.corp/models/{repo}"),
    Mirror(name="nfs", url="file:///mnt/store/blobs/sha256/{sha256}"),
]
UNUSABLE = [
    ("carp", 'no mirror "carp", did you mean "corp"?', "mirrors: rack, corp, nfs"),
    (
        "rack",
        "rack is not an OCI registry: vcm pushes to no other kind of mirror",
        "copy the store's folder blobs to where that server takes it from, with cp, rclone copy or aws s3 sync",
    ),
    (
        "nfs",
        "nfs is not an OCI registry: vcm pushes to no other kind of mirror",
        "fill it as a store: vcm sync --cache-dir /mnt/store",
    ),
    (
        "oci://me:secret@registry.corp/x",
        "an address holds no credentials here",
        "run docker login registry.corp, or podman login registry.corp",
    ),
    *(
        (text, f"this is nothing to push to: {problem}", "name an address: oci://HOST/PATH/{repo}")
        for text, problem in (
            ("oci://registry.corp", "an OCI registry is written oci://HOST/PATH/{repo}"),
            ("oci://registry.corp:x/y", "its host and port cannot be read"),
            ("oci://registry.corp/{commit}", "no field {commit} here. Allowed: {repo}"),
            ("ftp://registry.corp/x", "a mirror's address begins with http://, https://, oci:// or file:///"),
        )
    ),
    (
        "http://mirror.rack:8080",
        "that is the address of a web server, and vcm pushes to OCI registries only",
        (
            "if it is a registry, write oci+http://mirror.rack:8080/{repo}; for any other server, copy the store's "
            "folder blobs to where that server takes it from, with cp, rclone copy or aws s3 sync"
        ),
    ),
    *(
        (text, f'no mirror "{text}"', f"if it is a registry, write oci://{meant}")
        for text, meant in (
            ("localhost:5000", "localhost:5000/{repo}"),
            ("registry.corp/models/{repo}", "registry.corp/models/{repo}"),
            ("[::1]:5000/models", "[::1]:5000/models"),
        )
    ),
    (
        "docker://registry.corp/models/",
        "this is nothing to push to: a mirror's address begins with http://, https://, oci:// or file:///",
        "if it is a registry, write oci://registry.corp/models",
    ),
]


@pytest.mark.parametrize(("text", "message", "hint"), UNUSABLE)
def test_destinations_that_are_none(text, message, hint):
    with pytest.raises(ConfigError) as caught:
        destination(text, MIRRORS)

    assert (caught.value.message, caught.value.hint) == (message, hint)


def test_the_mirror_that_is_meant():
    ghcr = Mirror(name="ghcr", url="oci://ghcr.io/acme/{repo}", push=True)
    assert destination(None, [*MIRRORS, ghcr])[0] is ghcr
    for mirrors, message, hint in [
        (MIRRORS, "which mirror to push to? none has push = true", "name one: vcm push corp"),
        ([], "which mirror to push to? none has push = true", "name an address: oci://HOST/PATH/{repo}"),
        (
            [ghcr, Mirror(name="b", url="oci://b/{repo}", push=True)],
            "which mirror to push to? 2 have push = true",
            "name one: vcm push ghcr or b",
        ),
    ]:
        with pytest.raises(ConfigError) as caught:
            destination(None, mirrors)
        assert (caught.value.message, caught.value.hint) == (message, hint)


def test_destinations():
    mirror, address = destination("corp", MIRRORS)
    assert (mirror, address.base, address.template) == (MIRRORS[1], "https://registry.corp", "models/{repo}")
    mirror, address = destination("oci+http://registry.corp:5000/{repo}", [])
    assert (mirror.url, address.host) == ("oci+http://registry.corp:5000/{repo}", "registry.corp:5000")
    with pytest.raises(ConfigError) as caught:
        destination("corp", [])
    assert (caught.value.message, caught.value.hint) == (
        'no mirror "corp"',
        "name an address: oci://HOST/PATH/{repo}",
    )


@pytest.mark.parametrize("text", ["v1.0", "_", "latest", "A" * 128])
def test_tags(text):
    assert checked_tag(text) == text


@pytest.mark.parametrize("text", ["", ".hidden", "-x", "a/b", "ä", "a b", "A" * 129, "a:b", "a\n"])
def test_texts_that_are_no_tags(text):
    with pytest.raises(ConfigError):
        checked_tag(text)


@pytest.fixture
def login(tmp_path, monkeypatch):
    """What ``docker login`` leaves behind."""

    def write(host: str) -> None:
        folder = tmp_path / "docker"
        folder.mkdir()
        auth = b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        (folder / "config.json").write_text(json.dumps({"auths": {host: {"auth": auth}}}))
        monkeypatch.setenv("DOCKER_CONFIG", str(folder))

    return write


@with_registry
@needs("openssl")
def test_a_registry_that_wants_tokens(vcm, two, private_registry, token_server, login):
    host = private_registry.host
    nobody = vcm("push", target(private_registry))
    login(host)
    pushed = vcm("push", target(private_registry), "--all-groups", "--json")

    assert (nobody.code, nobody.out.count("failed")) == (3, 1)
    assert nobody.err == (
        f"error: frames: {host}: models/acme/frames may not be written to, and no credentials for {host} were found\n"
        f"hint: docker login {host}, podman login {host}, or set REGISTRY_AUTH_FILE to a file that knows it\n"
    )
    assert pushed.code == 0
    assert json.loads(pushed.out)["bytes_mounted"] == two
    assert set(token_server.scopes()[-3:]) == {
        ("repository:models/acme/fork_of.it:pull,push",),
        ("repository:models/acme/frames:pull,push",),
        ("repository:models/acme/fork_of.it:pull,push", "repository:models/acme/frames:pull"),
    }
    assert PASSWORD not in pushed.out + pushed.err + nobody.err


def test_ctrl_c_in_the_middle_of_an_upload_ends_it_within_a_second(two, vcm_process, loopback, http_answer):
    over = Event()

    def answer(connection, asked):
        match asked.method:
            case "HEAD":
                connection.sendall(http_answer(404))
            case "POST":
                connection.sendall(http_answer(202, {"Location": "/upload"}))
            case _:
                over.wait(60)

    server = loopback(answer)
    process = vcm_process("push", f"oci://127.0.0.1:{server.port}/{{repo}}")
    try:
        deadline = time.monotonic() + 15
        while not any(asked.method == "PATCH" for asked in server.asked):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        started = time.monotonic()
        out, err = process.communicate(timeout=10)
        assert time.monotonic() - started < 5
    finally:
        over.set()
        process.kill()
    assert (process.returncode, out) == (130, "")
    assert err.splitlines()[-1] == "interrupted"
