"""The small mock server for tests that need a download URL and nothing else."""

from __future__ import annotations

import urllib.request

import pytest
import requests

from vcm.testing import MockHuggingFaceServer

MODELS = {"tiny": b"tiny weights", "acme/other": b"other weights"}


def test_urls_download_the_models():
    server = MockHuggingFaceServer(MODELS)
    host, port = server.start()
    try:
        assert host == "127.0.0.1"
        for name, content in MODELS.items():
            url = server.get_model_url(name)
            assert url.startswith(f"http://{host}:{port}/")
            with urllib.request.urlopen(url, timeout=10) as response:
                assert response.read() == content
            assert requests.get(url, timeout=10).content == content
    finally:
        server.stop()


def test_names_without_a_namespace_get_one():
    with MockHuggingFaceServer(MODELS) as server:
        assert "/mock/tiny/resolve/main/" in server.get_model_url("tiny")
        assert server.hub.repo("mock/tiny").files("main")


def test_misuse_is_told():
    server = MockHuggingFaceServer(MODELS)
    with pytest.raises(RuntimeError, match="not running"):
        server.get_model_url("tiny")
    with pytest.raises(KeyError, match="no model 'absent'; the models of this server are: acme/other, tiny"):
        server.get_model_url("absent")
    server.stop()
