"""A hub that is no part of the comparison: nginx, with the answers that the simulator gives for the same repositories.

``publish`` asks the simulator once about every repository of a folder and keeps what it says; ``serving`` runs nginx
over that, at two origins of 127.0.0.1 as the Hub has them: the hub, whose API answers are files, and the host it
redirects large files to. A file in Git LFS costs a 302 to the other origin, any other a relative 307, for everybody.
"""

from __future__ import annotations

import json
import os
import pwd
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.simulator import simulator

ECHO_MODULE = Path("/usr/lib/nginx/modules/ngx_http_echo_module.so")
"""What lets nginx wait before it answers; Debian's libnginx-mod-http-echo."""

_WORKERS = 2
_OF_FOLDER = "answer.json"
"""Where the answer to a path is kept that other paths begin with."""

_START_SECONDS = 10.0
_HASH_LENGTH = 64


@dataclass(frozen=True, slots=True)
class Listed:
    """A file as the hub lists it; ``etag`` is the SHA-256 of a file in Git LFS, else git's id."""

    path: str
    size: int
    etag: str

    @property
    def is_lfs(self) -> bool:
        """Whether the hub redirects to the other origin for it."""
        return len(self.etag) == _HASH_LENGTH


@dataclass(frozen=True, slots=True)
class Published:
    """Repositories ready to be served: where their bytes and the API's answers lie, commits and files by repository."""

    folder: Path
    commits: Mapping[str, str]
    files: Mapping[str, Sequence[Listed]]

    @property
    def contents(self) -> Path:
        """The folder with ``namespace/name/file``."""
        return self.folder / "hub"

    @property
    def answers(self) -> Path:
        """The folder with what the API says, by the path it is asked for."""
        return self.folder / "answers"


@dataclass(frozen=True, slots=True)
class Served:
    """A running hub: its address, and the certificate to trust where that is https."""

    endpoint: str
    certificate: Path | None

    def environment(self) -> dict[str, str]:
        """What tells a client about it; wget and aria2c want the certificate among their arguments."""
        told = {"HF_ENDPOINT": self.endpoint}
        if self.certificate:
            for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "CURL_CA_BUNDLE"):
                told[name] = str(self.certificate)
        return told


def publish(folder: Path) -> Published:
    """Keep what the simulator says of every ``folder/hub/namespace/name``; the files must not change any more."""
    names = sorted(path.relative_to(folder / "hub").as_posix() for path in (folder / "hub").glob("*/*"))
    commits: dict[str, str] = {}
    files: dict[str, Sequence[Listed]] = {}
    published = Published(folder, commits, files)
    with simulator(folder / "hub") as endpoint:
        for repo in names:
            about = f"/api/models/{repo}"
            info = _get(f"{endpoint}{about}/revision/main")[0]
            commits[repo] = commit = info["sha"]
            listing = list(_pages(f"{endpoint}{about}/tree/{commit}?recursive=true"))
            files[repo] = [
                Listed(entry["path"], entry["size"], entry.get("lfs", entry)["oid"])
                for entry in listing
                if entry["type"] == "file"
            ]
            for revision in ("main", commit):
                _keep(published.answers, f"{about}/revision/{revision}", info)
                _keep(published.answers, f"{about}/tree/{revision}", listing)
            _keep(published.answers, f"{about}/{_OF_FOLDER}", info)
            _keep(published.answers, f"{about}/refs", _get(f"{endpoint}{about}/refs")[0])
    return published


@contextmanager
def serving(published: Published, *, tls: bool = False, latency: float = 0.0) -> Iterator[Served]:
    """nginx on two free ports of 127.0.0.1, ended by its own process id.

    Args:
        published: what it serves.
        tls: whether both origins speak https, with a certificate of an authority made for this.
        latency: seconds that every answer of both origins takes to begin.
    """
    own = published.folder / "nginx"
    own.mkdir(exist_ok=True)
    hub, download = _free_ports(2)
    scheme = "https" if tls else "http"
    certificate = _certificate(own) if tls else None
    origins = {name: f"{scheme}://127.0.0.1:{port}" for name, port in (("hub", hub), ("download", download))}
    configuration = own / "nginx.conf"
    configuration.write_text(
        _configuration(published, own, ports=(hub, download), download=origins["download"], tls=tls, latency=latency)
    )
    # Without the default log, which belongs to the machine's own server.
    command = ("nginx", "-e", own / "error.log", "-p", own, "-c", configuration)
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as process:
        try:
            _await(process, (hub, download), own / "error.log")
            yield Served(origins["hub"], certificate)
        finally:
            process.terminate()


def _configuration(
    published: Published, own: Path, *, ports: tuple[int, int], download: str, tls: bool, latency: float
) -> str:
    listed = [(f"{repo}/{file.path}", file) for repo, files in published.files.items() for file in files]
    temporary = " ".join(f"{kind}_temp_path {own};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    secured = f"ssl_certificate {own}/server.pem; ssl_certificate_key {own}/server.key;" if tls else ""
    listen = " ssl" if tls else ""
    resolve = f"""
        add_header X-Repo-Commit $commit always;
        add_header X-Linked-Etag '"$etag"' always;
        add_header X-Linked-Size $linked_size always;
        if ($etag = "") {{ return 404; }}
        if ($linked_size) {{ return 302 {download}/$repo/$path?signature=none; }}
        return 307 /api/resolve-cache/models/$repo/$commit/$path;
    """
    cached = f"""
        root {published.contents};
        etag off;
        add_header ETag '"$etag"';
        add_header X-Repo-Commit $commit;
        try_files /$repo/$path =404;
    """
    repository = "(?<repo>[^/]+/[^/]+)"
    hub = [
        _location("resolve", f"^/{repository}/resolve/[^/]+/(?<path>.+)$", resolve, latency),
        _location("cached", f"^/api/resolve-cache/models/{repository}/[^/]+/(?<path>.+)$", cached, latency),
        _location(
            "api",
            "^/api/",
            f"root {published.answers}; default_type application/json; try_files $uri $uri/{_OF_FOLDER} =404;",
            latency,
        ),
    ]
    return f"""
daemon off;
worker_processes {_WORKERS};
pid {own}/nginx.pid;
{f"user {pwd.getpwuid(os.getuid()).pw_name};" if os.getuid() == 0 else ""}
{f"load_module {_echo_module()};" if latency else ""}
events {{ worker_connections 1024; }}
http {{
    access_log off;
    {temporary}
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000;
    absolute_redirect off;
    default_type application/octet-stream;
    map_hash_max_size 65536;
    map_hash_bucket_size 512;
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_session_cache shared:tls:4m;
    {secured}
    {_map("$repo", "commit", published.commits.items())}
    {_map('"$repo/$path"', "etag", ((key, file.etag) for key, file in listed))}
    {_map('"$repo/$path"', "linked_size", ((key, str(file.size)) for key, file in listed if file.is_lfs))}
    server {{ listen 127.0.0.1:{ports[0]}{listen}; {"".join(hub)} }}
    server {{
        listen 127.0.0.1:{ports[1]}{listen};
        {_location("download", "^/", f"root {published.contents};", latency)}
    }}
}}
"""


def _location(name: str, pattern: str, body: str, latency: float) -> str:
    """What is done for the paths that fit a pattern, after the time that an answer takes to come."""
    if not latency:
        return f'location ~ "{pattern}" {{ {body} }}\n'
    waiting = f"echo_sleep {latency:.3f}; echo_exec @{name};"
    return f'location ~ "{pattern}" {{ {waiting} }}\nlocation @{name} {{ {body} }}\n'


def _map(source: str, name: str, values: Iterable[tuple[str, str]]) -> str:
    return f"map {source} ${name} {{ " + "".join(f'"{key}" "{value}";\n' for key, value in values) + "}\n"


def _echo_module() -> Path:
    if not ECHO_MODULE.exists():
        raise SystemExit("apt install libnginx-mod-http-echo: it is what lets nginx wait before it answers")
    return ECHO_MODULE


def _certificate(own: Path) -> Path:
    """Make an authority and a certificate of it for 127.0.0.1; the authority's own is returned, to be trusted."""
    authority = own / "authority.pem"
    if not authority.exists():
        shared = ("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
        of_authority = ("basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign")
        of_server = ("subjectAltName=IP:127.0.0.1,DNS:localhost", "basicConstraints=critical,CA:FALSE")
        for name, extensions, signer in (
            ("authority", of_authority, ()),
            ("server", of_server, ("-CA", authority, "-CAkey", own / "authority.key")),
        ):
            added = [word for extension in extensions for word in ("-addext", extension)]
            made = ("-keyout", own / f"{name}.key", "-out", own / f"{name}.pem", "-subj", f"/CN=vcm bench {name}")
            subprocess.run([*shared, *added, *made, *signer], check=True, capture_output=True)
    return authority


def _free_ports(count: int) -> list[int]:
    # All are held at once, so that they differ.
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return ports


def _await(process: subprocess.Popen[bytes], ports: Sequence[int], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    for port in ports:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"nginx did not start:\n{log.read_text()}") from None
                time.sleep(0.01)


def _get(url: str) -> tuple[Any, str | None]:
    with urllib.request.urlopen(url) as answer:
        return json.load(answer), answer.headers["Link"]


def _pages(url: str | None) -> Iterator[Any]:
    while url:
        entries, link = _get(url)
        yield from entries
        url = link[1 : link.index(">")] if link else None


def _keep(answers: Path, path: str, said: object) -> None:
    file = answers / path.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(said))
