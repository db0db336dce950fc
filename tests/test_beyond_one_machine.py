"""What README and recipes say of "Beyond one machine", with the servers they name or what answers as those do."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import socket
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
import yaml

from tests.conftest import Result, closed_port
from tests.loopback import Asked, Loopback, http_answer
from tests.servers import Bucket, Nginx, Process, Registry, needs, stopped_at_the_end
from tests.test_readme import block as readme_block
from tests.test_recipes import RECIPES, block, run_words
from vcm.cli.app import main
from vcm.testing import HubSimulator

MIRROR = "http://mirror.rack:8080"
REGISTRY = "registry.corp"
NOWHERE = "http://127.0.0.1:9"


class Machine:
    """A machine with the program and a store of its own; it reaches no hub unless told."""

    def __init__(self, home: Path, project: Path, vcm: Callable[..., Result]) -> None:
        self.home = home
        self._vcm = vcm
        self.store = home / "store"
        self.project = home / "app"
        shutil.copytree(project, self.project)

    def configure(self, text: str) -> None:
        """Write the user's own configuration."""
        path = self.home / "config" / "vcm" / "config.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def run(self, line: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the recipe there."""
        told = {
            "VCM_CACHE_DIR": str(self.store),
            "XDG_CONFIG_HOME": str(self.home / "config"),
            "HF_ENDPOINT": NOWHERE,
            "VCM_PROJECT": str(self.project),
        }
        words, told = shlex.split(line), {**told, **environment}
        if words[0] != "vcm" or "run" in words:
            # What it starts takes the place of its process.
            return run_words(words, **told)
        with pytest.MonkeyPatch.context() as patch:
            for name, text in told.items():
                patch.setenv(name, text)
            done = self._vcm(*words[1:])
        return subprocess.CompletedProcess(words, done.code, done.out, done.err)

    def succeeds(self, line: str, **environment: str) -> str:
        """The same; what it printed, if all went well."""
        done = self.run(line, **environment)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout

    def has_everything(self) -> bool:
        """Whether the gate lets the program start."""
        return self.run("vcm verify").returncode == 0


@pytest.fixture
def machine(tmp_path: Path, project: Path, vcm: Callable[..., Result]) -> Callable[[str], Machine]:
    """Makes machines that have the project, and nothing installed."""
    return lambda name: Machine(tmp_path / "machines" / name, project, vcm)


def publish(hub: HubSimulator) -> None:
    files = {"model.safetensors": b"weights" * 1000, "config.json": b"{}", "onnx/a.json": b"[]"}
    hub.add_repo("acme/frames", files)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that is locked, beside the store in which its model is installed."""
    folder = tmp_path_factory.mktemp("installed")
    (folder / "project").mkdir()
    (folder / "project" / "models.toml").write_text('[models.frames]\nrepo = "acme/frames"\n')
    with HubSimulator() as hub, pytest.MonkeyPatch.context() as patch:
        publish(hub)
        told = {"HF_ENDPOINT": hub.endpoint, "VCM_CACHE_DIR": folder / "store", "XDG_CONFIG_HOME": folder / "config"}
        for name, text in told.items():
            patch.setenv(name, str(text))
        assert main(["--project", str(folder / "project"), "sync"]) == 0
    return folder


@pytest.fixture
def first(installed: Path, hub: HubSimulator, project: Path, machine: Callable[[str], Machine]) -> Machine:
    """A machine that has locked and installed everything; the hub is not needed any more."""
    publish(hub)
    shutil.copytree(installed / "project", project, dirs_exist_ok=True)
    made = machine("first")
    shutil.copytree(installed / "store", made.store)
    return made


def sync_from(mirrors: str, node: Machine) -> None:
    node.configure(mirrors + "\n[origin]\nfallback = false\n")
    node.succeeds("vcm sync --locked")
    assert node.has_everything()


@needs("docker-registry", "nginx")
def test_the_readme(
    first: Machine,
    hub: HubSimulator,
    machine: Callable[[str], Machine],
    registry: Registry,
    nginx: Callable[..., Nginx],
) -> None:
    configuration = readme_block("toml", "[[mirror]] # asked").replace(REGISTRY, registry.host)
    configuration = configuration.replace(MIRROR, nginx(first.store).url)
    first.configure(configuration)
    for line in readme_block("sh", "vcm push registry").splitlines():
        first.succeeds(line.partition("#")[0])
    node = machine("node")
    node.configure(configuration)
    node.succeeds(readme_block("sh", "--no-origin").partition("#")[0])
    assert node.has_everything()


def test_the_readme_on_closed_networks(first: Machine, hub: HubSimulator, machine: Callable[[str], Machine]) -> None:
    whole, update, install = (line.partition("#")[0] for line in readme_block("sh", "vcm bundle").splitlines())
    first.succeeds(whole.replace("models.tar", str(first.home / "models.tar")))
    inside = machine("inside")
    inside.succeeds(install.replace("models.tar", str(first.home / "models.tar")))
    assert inside.has_everything()
    old = first.home / "old.lock"
    shutil.copy(first.project / "models.lock", old)
    hub.repo("acme/frames").commit({"config.json": b"{ }"})
    first.succeeds("vcm lock --upgrade --refresh", HF_ENDPOINT=hub.endpoint)
    first.succeeds("vcm sync", HF_ENDPOINT=hub.endpoint)
    update = update.replace("old/models.lock", str(old)).replace("update.tar", str(first.home / "update.tar"))
    first.succeeds(update)
    assert (first.home / "update.tar").stat().st_size < (first.home / "models.tar").stat().st_size
    shutil.copy(first.project / "models.lock", inside.project / "models.lock")
    inside.succeeds(install.replace("models.tar", str(first.home / "update.tar")))
    assert inside.has_everything()


@needs("nginx")
def test_nginx_over_a_store(first: Machine, machine: Callable[[str], Machine], tmp_path: Path) -> None:
    server = block("nginx", "location /blobs/").replace("/srv/models", str(first.store))
    inside = re.sub(r"listen 8080;\n *root [^;]*;[^\n]*", "", server.strip().removeprefix("server {").removesuffix("}"))
    running = Nginx(first.store, tmp_path / "nginx", location=inside)
    with stopped_at_the_end(running):
        assert f"`{MIRROR}`" in RECIPES
        sync_from(f'[[mirror]]\nname = "rack"\nurl = "{running.url}"\n', machine("node"))
        assert requests.get(f"{running.url}/registry.json", timeout=10).status_code == 404


@needs("docker-registry")
def test_a_registry(first: Machine, machine: Callable[[str], Machine], registry: Registry) -> None:
    configuration = block("toml", 'name = "registry"').replace(REGISTRY, registry.host)
    first.configure(configuration)
    job = yaml.safe_load(block("yaml", "name: push\n"))["jobs"]["push"]
    lines = [step["run"] for step in job["steps"] if step.get("run", "").startswith("vcm ")]
    told = {name: text.replace(REGISTRY, registry.host) for name, text in job["env"].items()}
    assert [line.split()[1] for line in lines] == ["sync", "push", "mirror"]
    for line in lines:
        first.succeeds(line, **told)
    sync_from(configuration, machine("node"))


@needs("docker-registry", "skopeo")
def test_a_registry_without_vcm(first: Machine, machine: Callable[[str], Machine], registry: Registry) -> None:
    shown = json.loads(first.succeeds("vcm show frames --json"))
    text = json.dumps(shown)
    reference = re.search(r"acme/frames:[0-9a-f]{12}-[0-9a-f]{12}", text)
    assert reference, text
    line = block("sh", "skopeo copy").strip().replace("acme/frames:0123456789ab-cdef01234567", reference[0])
    line = line.replace("$(vcm cache dir)", str(first.store)).replace(REGISTRY, registry.host)
    words = shlex.split(line)
    subprocess.run([words[0], "--insecure-policy", *words[1:], "--dest-tls-verify=false"], check=True)
    sync_from(block("toml", 'name = "registry"').replace(REGISTRY, registry.host), machine("node"))


@needs("rclone")
def test_a_private_bucket(first: Machine, machine: Callable[[str], Machine], bucket: Bucket) -> None:
    for line in block("sh", "rclone copy").splitlines():
        words = shlex.split(line.replace("$(vcm cache dir)", str(first.store)))
        subprocess.run([*bucket.rclone(), *words[1:]], check=True)
    assert sorted(path.name for path in bucket.folder.iterdir()) == ["blobs", "index.json", "oci-layout"]
    port = closed_port()
    words = shlex.split(block("sh", "rclone serve http").replace("$PASSWORD", "kept-secret").replace("8081", str(port)))
    gateway = Process(bucket.rclone(*words[1:]), port)
    with stopped_at_the_end(gateway):
        node = machine("node")
        address = re.search(r"`VCM_MIRRORS=(http://nodes:PASSWORD@\S+?)`", RECIPES)
        assert address
        mirror = address[1].replace("PASSWORD", "kept-secret").replace("8081", str(port))
        done = node.run("vcm sync --locked --no-origin -v", VCM_MIRRORS=mirror)
        assert done.returncode == 0, done.stderr
        assert "kept-secret" not in done.stdout + done.stderr
        assert node.has_everything()
        refused = machine("other").run(
            "vcm sync --locked --no-origin", VCM_MIRRORS=mirror.replace("kept-secret", "guessed-it")
        )
        assert refused.returncode != 0
        assert "guessed-it" not in refused.stdout + refused.stderr


def test_a_peer_to_peer_proxy(
    first: Machine, machine: Callable[[str], Machine], loopback: Callable[..., Loopback]
) -> None:
    def relay(connection: socket.socket, asked: Asked) -> None:
        # What a dfdaemon is sent: absolute addresses, and the swarm's key.
        parts = urlsplit(asked.target)
        assert parts.netloc == "mirror.rack:8080"
        digest = asked.headers["x-dragonfly-content-for-calculating-task-id"]
        assert parts.path == f"/blobs/sha256/{digest}"
        connection.sendall(http_answer(body=(first.store / parts.path[1:]).read_bytes()))

    proxy = loopback(relay)
    configuration = block("toml", 'name = "dragonfly"')
    assert tomllib.loads(configuration)["mirror"][0]["proxy"] == "http://127.0.0.1:4001"
    sync_from(configuration.replace("http://127.0.0.1:4001", proxy.url), machine("node"))
    assert proxy.asked


def test_a_peer_to_peer_agent(
    first: Machine, machine: Callable[[str], Machine], loopback: Callable[..., Loopback]
) -> None:
    def agent(connection: socket.socket, asked: Asked) -> None:
        # Whole files only, whose length it does not say.
        match = re.fullmatch(r"/namespace/models/blobs/sha256(?::|%3A)([0-9a-f]{64})", asked.target)
        assert match, asked.target
        connection.sendall(http_answer(body=(first.store / "blobs/sha256" / match[1]).read_bytes(), length=False))

    running = loopback(agent)
    sync_from(block("toml", 'name = "kraken"').replace("http://127.0.0.1:16002", running.url), machine("node"))
    origin = yaml.safe_load(block("yaml", "download_url"))["backends"][0]["backend"]["http"]["download_url"]
    assert origin == f"{MIRROR}/blobs/sha256/%s"


@needs("docker-registry")
def test_a_pod_whose_node_never_asks_the_hub(
    first: Machine, machine: Callable[[str], Machine], registry: Registry
) -> None:
    first.succeeds("vcm push registry", VCM_MIRRORS=f"registry=oci://{registry.host}/models/{{repo}}")
    configuration, pod = yaml.safe_load_all(block("yaml", "kind: ConfigMap"))
    node = machine("node")
    node.configure(configuration["data"]["config.toml"].replace(REGISTRY, registry.host))
    (start,), (program_of_it,) = pod["spec"]["initContainers"], pod["spec"]["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in start["volumeMounts"]}
    told = {variable["name"]: variable["value"] for variable in start["env"]}
    assert mounts["configuration"] == told["XDG_CONFIG_HOME"] + "/vcm"
    assert told["REGISTRY_AUTH_FILE"].startswith(mounts["registry"])
    node.succeeds(shlex.join(start["command"]))
    (node.project / "serve.py").write_text("import vcm\nprint(sorted(vcm.gate()))\n")
    command = [str(node.project / word) if word == "serve.py" else word for word in program_of_it["command"]]
    assert node.succeeds(shlex.join(command)) == "['frames']\n"


@needs("docker-registry")
def test_an_image_volume(first: Machine, registry: Registry) -> None:
    pod = yaml.safe_load(block("yaml", "pullPolicy"))
    pattern = re.sub(r"[0-9a-f]{64}$", "[0-9a-f]{64}", re.escape(pod["spec"]["volumes"][0]["image"]["reference"]))
    pushed = first.succeeds(f"vcm push oci://{registry.host}/models/{{repo}}")
    assert re.search(pattern.replace(re.escape(REGISTRY), re.escape(registry.host)), pushed), pushed


def test_a_closed_network(first: Machine, hub: HubSimulator, machine: Callable[[str], Machine], tmp_path: Path) -> None:
    recipe = RECIPES.partition("### A closed network")[2]
    outside, inside = re.findall(r"```sh\n(.*?)```", recipe, re.DOTALL)[:2]
    node = machine("inside")
    for line in outside.splitlines():
        if line.startswith("vcm "):
            first.succeeds(line.replace("models.tar", str(tmp_path / "models.tar")), HF_ENDPOINT=hub.endpoint)
    for line in inside.splitlines():
        node.succeeds(line.replace("models.tar", str(tmp_path / "models.tar")))
    assert node.has_everything()


def test_every_block_is_taken_at_its_word() -> None:
    kinds = re.findall(r"^```(\w+)$", RECIPES.partition("## Beyond one machine")[2].partition("\n## ")[0], re.MULTILINE)
    assert kinds == ["nginx", "toml", "yaml", "sh", "sh", "sh", "toml", "yaml", "toml", "yaml", "yaml", "sh", "sh"]
