"""What a person types for a model."""

from __future__ import annotations

import pytest

from vcm.core.reference import parse_reference
from vcm.errors import ConfigError

HINT = "write namespace/name, namespace/name@REVISION, 'namespace/name~=1.2', or the address of a file"


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("acme/frames", {"repo": "acme/frames"}),
        ("gpt2", {"repo": "gpt2"}),
        ("  acme/frames ", {"repo": "acme/frames"}),
        ("acme/frames@v1.2", {"repo": "acme/frames", "revision": "v1.2"}),
        ("acme/frames@refs/pr/3", {"repo": "acme/frames", "revision": "refs/pr/3"}),
        ("acme/frames@" + "a" * 40, {"repo": "acme/frames", "revision": "a" * 40}),
        ("acme/frames@a=b", {"repo": "acme/frames", "revision": "a=b"}),
        ("acme/frames@a@b", {"repo": "acme/frames", "revision": "a@b"}),
        ("acme/frames~=1.2", {"repo": "acme/frames", "version": "~=1.2"}),
        ("acme/frames ~= 1.2", {"repo": "acme/frames", "version": "~= 1.2"}),
        ("acme/frames==1.2", {"repo": "acme/frames", "version": "==1.2"}),
        ("acme/frames>=1,<2", {"repo": "acme/frames", "version": ">=1,<2"}),
        ("acme/frames<2", {"repo": "acme/frames", "version": "<2"}),
        ("acme/frames!=1.3", {"repo": "acme/frames", "version": "!=1.3"}),
        ("acme/fr-a.m_es~=1.2", {"repo": "acme/fr-a.m_es", "version": "~=1.2"}),
        ("https://example.com/a.onnx", {"url": "https://example.com/a.onnx"}),
        ("http://example.com/a@b~=1", {"url": "http://example.com/a@b~=1"}),
    ],
)
def test_a_reference_stands_for_keys(text, keys):
    assert parse_reference(text) == keys


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "expected namespace/name"),
        (" ", "expected namespace/name"),
        ("@v1", "expected namespace/name"),
        ("~=1.2", "expected namespace/name"),
        ("acme/frames@", "expected namespace/name"),
        ("acme/frames v1", "expected namespace/name"),
        ("acme/frames\nx", "expected namespace/name"),
        ("a/b/c", "a repo id is 'namespace/name'"),
        ("acme//frames", "a repo id is 'namespace/name'"),
        ("acme/", "each part of a repo id is 1 to 96 of A-Z, a-z, 0-9, '-', '_' and '.'"),
        ("./frames", "no part of a repo id begins or ends with '-' or '.'"),
        ("acme/främes", "each part of a repo id is 1 to 96 of A-Z, a-z, 0-9, '-', '_' and '.'"),
        ("ftp://x/y", "a repo id is 'namespace/name'"),
    ],
)
def test_what_is_no_reference(text, reason):
    with pytest.raises(ConfigError) as caught:
        parse_reference(text)
    assert (caught.value.message, caught.value.hint) == (f'"{text}" names no model: {reason}', HINT)
