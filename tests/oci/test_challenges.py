"""What stands in ``WWW-Authenticate``, whoever wrote it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcm.oci.challenges import Challenge, parse_challenges

REGISTRY = 'Bearer realm="https://auth.corp/token",service="registry",scope="repository:m/frames:pull,push"'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (
            REGISTRY,
            [
                Challenge(
                    "bearer",
                    {
                        "realm": "https://auth.corp/token",
                        "service": "registry",
                        "scope": "repository:m/frames:pull,push",
                    },
                )
            ],
        ),
        ("Basic", [Challenge("basic", {})]),
        ("BASIC Realm = x , charset=UTF-8", [Challenge("basic", {"realm": "x", "charset": "UTF-8"})]),
        (
            'Negotiate, NTLM TlRMTVNTUAA=, , Basic realm="a, Bearer realm=\\"b\\"", Bearer realm=c',
            [
                Challenge("negotiate", {}),
                Challenge("ntlm", {}),
                Challenge("basic", {"realm": 'a, Bearer realm="b"'}),
                Challenge("bearer", {"realm": "c"}),
            ],
        ),
        ('Bearer realm="a" service="b"', [Challenge("bearer", {"realm": "a", "service": "b"})]),
        ('Bearer realm="first",realm="second"', [Challenge("bearer", {"realm": "first"})]),
        ('Bearer realm="has no end, scope=x', [Challenge("bearer", {}), Challenge("realm", {})]),
        ("=,=", []),
    ],
)
def test_challenges_are_read_as_they_are_meant(text, expected):
    assert parse_challenges(text) == expected


@given(st.text(st.sampled_from('aB=", \\\t;/\x00é'), max_size=60) | st.text(max_size=60))
def test_whatever_a_server_writes_is_read_to_an_end(text):
    for challenge in parse_challenges(text):
        assert challenge.scheme == challenge.scheme.lower() != ""


WORDS = st.text(st.sampled_from("abcXYZ019-_."), min_size=1, max_size=8)
CHALLENGES = st.lists(st.tuples(WORDS, st.dictionaries(WORDS.map(str.lower), st.text(max_size=20), max_size=3)))


@given(CHALLENGES, st.sampled_from([", ", ",", " , ,"]))
def test_what_is_written_by_the_rules_comes_back(challenges, comma):
    def quoted(text: str) -> str:
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    texts = [
        f"{scheme} " + ",".join(f"{name}={quoted(text)}" for name, text in each.items()) for scheme, each in challenges
    ]
    assert parse_challenges(comma.join(texts)) == [Challenge(scheme.lower(), each) for scheme, each in challenges]


def test_a_long_challenge_takes_no_long_time():
    for piece in ("a ", 'a="', "a=b,", 'a="\\"', "\t", "a =", '"'):
        parse_challenges("Bearer " + piece * 10000)
