"""The counting of requests, by what a real client asked for."""

from __future__ import annotations

import pytest

from tests.counting import api_calls, by_repo, kind_and_repo

COMMIT = "0" * 40


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/api/models/acme/tiny", ("info", "acme/tiny")),
        ("/api/models/acme/tiny?blobs=true", ("info", "acme/tiny")),
        ("/api/models/acme/tiny/revision/refs%2Fpr%2F1", ("info", "acme/tiny")),
        ("/api/models/acme/tiny/refs", ("refs", "acme/tiny")),
        ("/api/models/acme/tiny/tree/main?recursive=true", ("tree", "acme/tiny")),
        ("/api/models/acme/tiny/tree/main/sub?recursive=true&cursor=abc", ("page", "acme/tiny")),
        ("/api/models/acme/tiny/commits/main?limit=1", ("commits", "acme/tiny")),
        ("/api/models/acme/tiny/auth-check", ("auth-check", "acme/tiny")),
        ("/api/models/acme/tiny/scan", ("other", "acme/tiny")),
        ("/api/models?search=tiny", ("search", "")),
        ("/api/whoami-v2", ("other", "")),
        ("/acme/tiny/resolve/main/a/b.txt", ("resolve", "acme/tiny")),
        (f"/api/resolve-cache/models/acme/tiny/{COMMIT}/a/b.txt?etag=x", ("resolve-cache", "acme/tiny")),
    ],
)
def test_kinds_on_the_hub(target, expected):
    assert kind_and_repo("hub", target) == expected


def test_what_a_locked_model_costs(hub, vcm, manifest):
    hub.add_repo("acme/tiny", {"config.json": b"{}", "model.safetensors": b"weights"}, tags=["v1.0"])
    manifest('[models.tiny]\nrepo = "acme/tiny"\nversion = "~=1.0"\n')
    assert vcm("sync").code == 0
    counted = by_repo((request.origin, request.path) for request in hub.requests)
    assert counted["acme/tiny"]["refs"] == counted["acme/tiny"]["tree"] == 1
    assert api_calls(counted["acme/tiny"]) <= 3
    assert (counted["acme/tiny"]["resolve"], counted["acme/tiny"]["resolve-cache"]) == (2, 1)
    assert counted[""] == {"cdn": 1}
