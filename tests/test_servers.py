"""What the tests with other people's servers stand on: each of them runs here."""

from __future__ import annotations

import subprocess

import requests

from tests.servers import needs, skopeo


@needs("docker-registry", "skopeo")
def test_skopeo_and_the_registry_know_each_other(registry, tmp_path):
    assert requests.get(f"{registry.url}/v2/", timeout=10).json() == {}
    listed = skopeo("list-tags", "--tls-verify=false", f"docker://{registry.host}/nothing")
    assert "404 (Not Found)" in listed.stderr


@needs("docker-registry")
def test_a_killed_registry_comes_back_at_its_address(registry):
    registry.kill()
    registry.start()
    assert requests.get(f"{registry.url}/v2/", timeout=10).status_code == 200


@needs("nginx")
def test_nginx_serves_ranges_of_a_folder(nginx, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "blob").write_bytes(b"0123456789")
    server = nginx(tmp_path / "folder")
    answer = requests.get(f"{server.url}/blob", headers={"Range": "bytes=2-4"}, timeout=10)
    assert (answer.status_code, answer.content) == (206, b"234")
    assert server.log.read_text() == "206 3 GET /blob bytes=2-4\n"


@needs("rclone")
def test_a_bucket_answers_only_who_signs(bucket, tmp_path):
    (tmp_path / "blob").write_bytes(b"0123456789")
    subprocess.run(bucket.rclone("copy", str(tmp_path / "blob"), "bucket:models/a"), check=True)
    assert (bucket.folder / "a" / "blob").read_bytes() == b"0123456789"
    assert requests.get(f"{bucket.url}/models/a/blob", timeout=10).status_code >= 400
