"""Servers that others wrote, started on loopback: docker-registry, nginx, rclone; and skopeo, a client of the first.

They are Debian's (``apt-get install docker-registry nginx-light skopeo``); rclone comes with the tests' own packages. A
test that needs one which is not there is skipped, except where VCM_TEST_SERVERS says that all of them are installed.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from tests.conftest import closed_port

_SECONDS = 20.0


needs = pytest.mark.servers
"""Marks a test by the programs that it needs."""


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what cannot run here, except where it has to."""
    missing = [name for mark in item.iter_markers("servers") for name in mark.args if program(name) is None]
    if missing:
        (pytest.fail if os.environ.get("VCM_TEST_SERVERS") else pytest.skip)(f"{', '.join(missing)} not installed")


def program(name: str) -> str | None:
    """Where a program is; those for administrators are not always on the PATH."""
    own = str(Path(sys.executable).parent)
    return shutil.which(name) or shutil.which(name, path=f"{own}:/usr/sbin:/sbin")


class Process:
    """A server that can be killed and started again at the same address."""

    def __init__(
        self, command: list[str], port: int, environment: dict[str, str] | None = None, output: Path | None = None
    ) -> None:
        self.command = command
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self._environment = environment
        self._output = output or Path(os.devnull)
        self.start()

    def start(self) -> None:
        """Start it, and wait until it listens."""
        with self._output.open("ab") as output:
            self.process = subprocess.Popen(
                self.command,
                stdout=output,
                stderr=subprocess.DEVNULL,
                env=None if self._environment is None else {**os.environ, **self._environment},
            )
        deadline = time.monotonic() + _SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                assert self.process.poll() is None, f"{self.command} ended with {self.process.returncode}"
                assert time.monotonic() < deadline, f"{self.command} does not listen"
                time.sleep(0.02)
            else:
                return

    def kill(self) -> None:
        """End it at once, in the middle of whatever it does."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """End it."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()


class Registry(Process):
    """docker-registry over a folder.

    Attributes:
        folder: where it keeps its blobs.
        host: what stands behind ``oci://``.
        log: where it writes a line for each request, if it is ``logged``.
    """

    def __init__(
        self, folder: Path, *, token_realm: str | None = None, certificate: Path | None = None, logged: bool = False
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        port = closed_port()
        self.host = f"127.0.0.1:{port}"
        self.log = folder / "access.log"
        auth = ""
        if token_realm:
            auth = f"""
auth:
  token:
    realm: {token_realm}
    service: registry
    issuer: tests
    rootcertbundle: {certificate}
"""
        config = folder / "registry.yml"
        config.write_text(
            f"""
version: 0.1
log: {{ level: error, accesslog: {{ disabled: {str(not logged).lower()} }} }}
storage: {{ filesystem: {{ rootdirectory: {folder}/data }}, delete: {{ enabled: true }} }}
http: {{ addr: "{self.host}", secret: of-the-tests }}
{auth}"""
        )
        super().__init__([str(program("docker-registry")), "serve", str(config)], port, output=self.log)

    def blob(self, sha256: str) -> Path:
        """The file in which it keeps a blob."""
        return self.folder / "data/docker/registry/v2/blobs/sha256" / sha256[:2] / sha256 / "data"

    def manifest(self, repository: str, reference: str) -> requests.Response:
        """What it answers when asked for a manifest."""
        accept = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
        return requests.get(f"{self.url}/v2/{repository}/manifests/{reference}", headers=accept, timeout=10)


class Nginx(Process):
    """nginx over a folder; ``log`` has a line for each request: status, bytes sent, method, path, range."""

    def __init__(self, root: Path, folder: Path, *, location: str = "") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / "access.log"
        port = closed_port()
        config = folder / "nginx.conf"
        user = "user root;" if os.getuid() == 0 else ""
        config.write_text(
            f"""
{user}
daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; worker_processes 2;
events {{ worker_connections 512; }}
http {{
  log_format short '$status $body_bytes_sent $request_method $uri $http_range';
  access_log {self.log} short;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  sendfile on; tcp_nopush on;
  server {{ listen 127.0.0.1:{port}; root {root}; {location} }}
}}
"""
        )
        super().__init__(
            [str(program("nginx")), "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(config)], port
        )


class Bucket(Process):
    """A bucket behind S3's signatures, ``rclone serve s3`` over a folder, with rclone as its client.

    Attributes:
        folder: the bucket's objects, as files.
        configuration: rclone's own, in which the remote ``bucket`` is this one.
    """

    NAME = "models"

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "buckets" / self.NAME
        self.folder.mkdir(parents=True)
        port = closed_port()
        self.configuration = folder / "rclone.conf"
        self.configuration.write_text(
            "[bucket]\ntype = s3\nprovider = Rclone\naccess_key_id = of-the-tests\nsecret_access_key = kept-secret\n"
            f"endpoint = http://127.0.0.1:{port}\nuse_multipart_uploads = false\n"
        )
        served = ["--auth-key", "of-the-tests,kept-secret", "--addr", f"127.0.0.1:{port}", str(self.folder.parent)]
        super().__init__([str(program("rclone")), "serve", "s3", "--config", str(self.configuration), *served], port)

    def rclone(self, *arguments: str) -> list[str]:
        """A command line of rclone that knows the bucket."""
        return [str(program("rclone")), "--config", str(self.configuration), *arguments]


def skopeo(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run skopeo, against registries without TLS and without a policy file of the machine."""
    command = [str(program("skopeo")), "--insecure-policy", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@contextmanager
def stopped_at_the_end(*made: Process) -> Iterator[None]:
    """Stops servers, by the processes that were started."""
    try:
        yield
    finally:
        for server in made:
            server.stop()


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    """A docker-registry that anybody may push to."""
    server = Registry(tmp_path / "registry")
    with stopped_at_the_end(server):
        yield server


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[Bucket]:
    """An empty bucket that only who signs may read or write."""
    server = Bucket(tmp_path / "bucket")
    with stopped_at_the_end(server):
        yield server


@pytest.fixture
def nginx(tmp_path: Path) -> Iterator[Callable[..., Nginx]]:
    """Starts nginx over folders."""
    made: list[Nginx] = []

    def start(root: Path, *, location: str = "") -> Nginx:
        made.append(Nginx(root, tmp_path / f"nginx-{len(made)}", location=location))
        return made[-1]

    yield start
    for server in made:
        server.stop()
