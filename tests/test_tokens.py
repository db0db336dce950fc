"""The token server is one that docker-registry believes, and no longer than it should."""

from __future__ import annotations

import requests

from tests.servers import Registry, needs
from tests.tokens import PASSWORD, REFRESH_TOKEN, USER, Asked, TokenServer

pytestmark = needs("docker-registry", "openssl")
SCOPE = "repository:m/frames:pull"


def ask(registry: Registry, token: str | None) -> requests.Response:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return requests.get(f"{registry.url}/v2/m/frames/tags/list", headers=headers, timeout=10)


def test_the_registry_believes_its_tokens_until_they_are_over(private_registry, token_server: TokenServer):
    assert ask(private_registry, None).headers["WWW-Authenticate"] == (
        f'Bearer realm="{token_server.realm}",service="registry",scope="{SCOPE}"'
    )
    asked = {"service": "registry", "scope": SCOPE}
    token_server.lifetime = 0
    token = requests.get(token_server.realm, asked, auth=(USER, PASSWORD), timeout=10).json()["token"]
    assert ask(private_registry, token).status_code == 401
    token_server.lifetime = 300
    sent = {**asked, "grant_type": "refresh_token", "client_id": "vcm", "refresh_token": REFRESH_TOKEN}
    token = requests.post(token_server.realm, sent, timeout=10).json()["access_token"]
    assert ask(private_registry, token).status_code == 404
    assert token_server.asked == [Asked(method, USER, "registry", (SCOPE,), 200) for method in ("GET", "POST")]


def test_who_may_nothing_gets_a_token_for_nothing(private_registry, token_server: TokenServer):
    asked = {"service": "registry", "scope": SCOPE}
    token = requests.get(token_server.realm, asked, timeout=10).json()["token"]
    assert ask(private_registry, token).status_code == 401
    assert requests.get(token_server.realm, asked, auth=(USER, "wrong"), timeout=10).status_code == 401
