"""[policy]: every refusal of its text word for word, and every rule over locked models."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcm.core import policy as policy_module
from vcm.core.formats import FORMATS
from vcm.core.lock import LockedFile, LockedModel
from vcm.core.manifest import parse_manifest
from vcm.core.policy import (
    RULES,
    Policy,
    Violation,
    is_undecided,
    parse_age,
    parse_size,
    refuse_violations,
    violations,
)
from vcm.errors import ConfigError, PolicyError

MODELS = '[models.frames]\nrepo = "acme/frames"\n\n[models.whisper]\nrepo = "openai/whisper"\n\n'
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()
DAY = 24 * 3600


def read(text: str) -> Policy:
    return parse_manifest((MODELS + text).encode(), vcm_version="0.1.0").policy


def model(name: str = "whisper", **keys: Any) -> LockedModel:
    files = keys.pop("files", "model.safetensors config.json")
    defaults = {"repo": "openai/whisper", "commit": "0" * 40, "license": "mit", "source": "huggingface"}
    defaults |= {"repo_id": "f" * 24}
    rows = tuple(LockedFile(path, 10, "0" * 64) for path in files.split())
    return LockedModel(name=name, files=rows, **(defaults | keys))


def said(policy: Policy, **keys: Any) -> list[str]:
    return [str(each) for each in violations(policy, model(**keys), NOW)]


# --- reading ----------------------------------------------------------------------------------------------------------


def test_every_key_is_read():
    text = """\
[policy]
licenses = ["Apache-2.0", "mit", "cc-by-*"]
owners = ["acme", "OpenAI", "example.com"]
formats = ["safetensors", "onnx"]
max-size = "10 GB"
min-age = "7 days"

[policy.exceptions.whisper]
licenses = "bought: contract 12"

[policy.exceptions."frames.base"]
min-age = "a fix of the day"
max-size = "large"
"""
    assert read(text) == Policy(
        licenses=("apache-2.0", "mit", "cc-by-*"),
        owners=("acme", "openai", "example.com"),
        formats=("safetensors", "onnx"),
        max_size=10_000_000_000,
        min_age=7 * DAY,
        exceptions={
            "whisper": {"licenses": "bought: contract 12"},
            "frames.base": {"min-age": "a fix of the day", "max-size": "large"},
        },
    )


def test_without_the_table_everything_is_allowed():
    assert read("") == read("[policy]\n") == Policy()
    assert said(Policy(), license=None, files="a.pkl", commit=None) == []


def test_the_rules_are_the_keys():
    assert set(RULES) | {"exceptions"} == {key.replace("_", "-") for key in Policy.__dataclass_fields__}


LICENCE_RULE = 'a licence is an id as on a model\'s card, such as "mit" or "cc-by-4.0" or "cc-by-*"'
OWNER_RULE = 'an owner is what stands before the "/" of a repo, or the host of a url'
SIZE_RULE = 'a size is a number of bytes, or such as "10 GB" (B, kB, MB, GB, TB, KiB, MiB, GiB, TiB)'
AGE_RULE = 'an age is a whole number of hours, days or weeks, such as "7 days"'
KNOWN = f"Known are {', '.join(FORMATS[:-1])} and {FORMATS[-1]}"
MEND = "mend it in models.toml"


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (
            "[policy]\nlicences = ['mit']\n",
            'models.toml:8: policy.licences: unknown key, did you mean "licenses"?',
            "allowed here: licenses, owners, formats, max-size, min-age, exceptions",
        ),
        ("[policy]\nlicenses = 'mit'\n", 'models.toml:8: policy.licenses: expected an array, found "mit"', MEND),
        (
            "[policy]\nlicenses = ['mit', 'apache 2.0']\n",
            f'models.toml:8: policy.licenses[1]: found "apache 2.0": {LICENCE_RULE}',
            MEND,
        ),
        ("[policy]\nlicenses = ['*']\n", f'models.toml:8: policy.licenses[0]: found "*": {LICENCE_RULE}', MEND),
        ("[policy]\nlicenses = ['a*b']\n", f'models.toml:8: policy.licenses[0]: found "a*b": {LICENCE_RULE}', MEND),
        (
            "[policy]\nlicenses = ['a\u202e']\n",
            f'models.toml:8: policy.licenses[0]: found "a\u202e": {LICENCE_RULE}',
            MEND,
        ),
        (
            "[policy]\nlicenses = []\n",
            "models.toml:8: policy.licenses: an empty list allows nothing at all",
            "name what is allowed, or remove licenses",
        ),
        ("[policy]\nowners = [1]\n", "models.toml:8: policy.owners[0]: expected a string, found 1", MEND),
        ("[policy]\nowners = ['acme/x']\n", f'models.toml:8: policy.owners[0]: found "acme/x": {OWNER_RULE}', MEND),
        (
            "[policy]\nowners = []\n",
            "models.toml:8: policy.owners: an empty list allows nothing at all",
            "name what is allowed, or remove owners",
        ),
        (
            "[policy]\nformats = ['safetensor']\n",
            (
                'models.toml:8: policy.formats[0]: found "safetensor": no weight format of that name, '
                f'did you mean "safetensors"? {KNOWN}'
            ),
            MEND,
        ),
        (
            "[policy]\nformats = ['x']\n",
            f'models.toml:8: policy.formats[0]: found "x": no weight format of that name. {KNOWN}',
            MEND,
        ),
        (
            "[policy]\nformats = []\n",
            "models.toml:8: policy.formats: an empty list allows nothing at all",
            "name what is allowed, or remove formats",
        ),
        ("[policy]\nmax-size = '10 XB'\n", f'models.toml:8: policy.max-size: found "10 XB": {SIZE_RULE}', MEND),
        ("[policy]\nmax-size = 0\n", f"models.toml:8: policy.max-size: found 0: {SIZE_RULE}", MEND),
        ("[policy]\nmax-size = true\n", f"models.toml:8: policy.max-size: found true: {SIZE_RULE}", MEND),
        ("[policy]\nmax-size = ['1 GB']\n", f"models.toml:8: policy.max-size: found an array: {SIZE_RULE}", MEND),
        ("[policy]\nmin-age = 7\n", f"models.toml:8: policy.min-age: found 7: {AGE_RULE}", MEND),
        ("[policy]\nmin-age = '7 moons'\n", f'models.toml:8: policy.min-age: found "7 moons": {AGE_RULE}', MEND),
        (
            "[policy.exceptions.wisper]\nlicenses = 'x'\n",
            'models.toml:7: policy.exceptions.wisper: no such model in this file, did you mean "whisper"?',
            "remove the table, or name a model of this project: frames, whisper",
        ),
        (
            "[policy.exceptions.whisper]\nlicense = 'x'\n",
            'models.toml:8: policy.exceptions.whisper.license: unknown key, did you mean "licenses"?',
            "allowed here: licenses, owners, formats, max-size, min-age",
        ),
        (
            "[policy.exceptions.whisper]\nlicenses = ' '\n",
            "models.toml:8: policy.exceptions.whisper.licenses: expected a string that is not empty",
            MEND,
        ),
        (
            "[policy.exceptions.whisper]\nlicenses = true\n",
            "models.toml:8: policy.exceptions.whisper.licenses: expected a string, found true",
            MEND,
        ),
        (
            "[policy.exceptions]\nwhisper = 'x'\n",
            'models.toml:8: policy.exceptions.whisper: expected a table, found "x"',
            MEND,
        ),
    ],
)
def test_refused_with_place_reason_and_remedy(text, message, hint):
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert (caught.value.message, caught.value.hint) == (message, hint)


@pytest.mark.parametrize(
    ("written", "size"),
    [
        (1, 1),
        (2**63 - 1, 2**63 - 1),
        ("1 B", 1),
        ("1B", 1),
        ("10 GB", 10**10),
        ("10gb", 10**10),
        ("1.5 kB", 1500),
        ("2 KB", 2000),
        ("0.1 TB", 10**11),
        ("3 MB", 3 * 10**6),
        ("1 KiB", 2**10),
        ("1 MiB", 2**20),
        ("1.5 GiB", 3 * 2**29),
        ("2 TiB", 2**41),
    ],
)
def test_sizes(written, size):
    assert parse_size(written) == size


@pytest.mark.parametrize(
    "written",
    ["", "GB", "10", "10  GB", " 1 B", "1 B\n", "-1 GB", "1e3 GB", "1,5 GB", "0 B", "0.4 B", 0, -1, 2**63, "9" * 5000,
     "999999999999 TB", "1 PB", "٣ GB", 1.5, None, [], {}],
)  # fmt: skip
def test_sizes_that_are_none(written):
    with pytest.raises(ValueError, match=r"^a size is a number of bytes"):
        parse_size(written)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("1 hour", 3600), ("36 hours", 36 * 3600), ("7days", 7 * DAY), ("1 day", DAY), ("2 weeks", 14 * DAY)],
)
def test_ages(written, seconds):
    assert parse_age(written) == seconds


@pytest.mark.parametrize(
    "written", ["", "0 days", "7", "7 d", "1.5 days", "-1 days", "1 month", "9" * 5000, 7, None, []]
)
def test_ages_that_are_none(written):
    with pytest.raises(ValueError, match=r"^an age is a whole number of hours, days or weeks"):
        parse_age(written)


# --- judging ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("allowed", "found", "passes"),
    [
        (("mit",), "mit", True),
        (("mit",), "MIT", True),
        (("mit",), "mit-0", False),
        (("mit", "apache-2.0"), "apache-2.0", True),
        (("apache-*",), "apache-2.0", True),
        (("cc-by-*",), "cc-by-4.0", True),
        (("cc-by-*",), "CC-BY-3.0", True),
        # The trap of a plain prefix: these forbid commercial use, changes, or another licence.
        (("cc-by-*",), "cc-by-nc-4.0", False),
        (("cc-by-*",), "cc-by-sa-4.0", False),
        (("llama*",), "llama3.1", True),
        (("llama*",), "llama", True),
        (("openrail*",), "openrail++", False),
        (("mit", "apache-2.0"), "mit, apache-2.0", True),
        (("mit",), "mit, cc-by-nc-4.0", False),
        (("mit",), "mit,", False),
        (("mit",), "other", False),
    ],
)
def test_licences(allowed, found, passes):
    assert (said(Policy(licenses=allowed), license=found) == []) is passes


def test_a_licence_that_is_not_allowed():
    policy = Policy(licenses=("apache-2.0", "mit"))
    assert violations(policy, model(license="cc-by-nc-4.0"), NOW) == [
        Violation("whisper", "licenses", 'its licence is "cc-by-nc-4.0"', "allowed are apache-2.0 and mit")
    ]
    assert said(policy, license="cc-by-nc-4.0") == [
        'whisper: licenses: its licence is "cc-by-nc-4.0", allowed are apache-2.0 and mit'
    ]
    assert said(Policy(licenses=("mit",)), license=None) == ["whisper: licenses: it states no licence, allowed is mit"]


@pytest.mark.parametrize(
    ("keys", "owner"),
    [
        ({"repo": "OpenAI/whisper"}, "OpenAI"),
        ({"repo": "gpt2"}, "gpt2"),
        ({"source": "url", "repo": None, "commit": None, "url": "https://Hub.Example:8443/a/b.onnx"}, "hub.example"),
    ],
)
def test_owners(keys, owner):
    assert said(Policy(owners=(owner.lower(),)), **keys) == []
    assert said(Policy(owners=("acme", f"x{owner}".lower())), **keys) == [
        f'whisper: owners: its owner is "{owner}", allowed are acme and x{owner.lower()}'
    ]


@pytest.mark.parametrize(
    ("files", "others"),
    [
        ("config.json vocab.txt", None),
        ("a.safetensors b/c.onnx tokenizer.model", None),
        ("a.safetensors b.bin c.gguf d.bin", "pytorch and gguf"),
        ("model.gguf.index.json", "gguf"),
    ],
)
def test_formats(files, others):
    found = said(Policy(formats=("safetensors", "onnx")), files=files, format="safetensors")
    assert found == (
        [f"whisper: formats: it has weights in {others}, allowed are safetensors and onnx"] if others else []
    )


def test_sizes_of_models():
    assert said(Policy(max_size=20)) == []
    assert said(Policy(max_size=19)) == ["whisper: max-size: its files have 20 B, allowed are 19 B"]
    large = "a " * 150
    assert said(Policy(max_size=1499), files=large) == [
        "whisper: max-size: its files have 1500 bytes, allowed are 1499 bytes"
    ]


@pytest.mark.parametrize(
    ("committed", "min_age", "found"),
    [
        ("2026-02-22T12:00:00.000Z", 7 * DAY, None),
        ("2026-02-22T12:00:00.999Z", 7 * DAY, None),
        ("2026-02-22T12:00:01Z", 7 * DAY, "is 6 days old, allowed are 7 days and more"),
        ("2026-02-28T00:00:00Z", 37 * 3600, "is 36 hours old, allowed are 37 hours and more"),
        ("2026-03-01T11:00:00Z", DAY, "is 0 days old, allowed are 1 day and more"),
        ("2027-03-01T11:00:00Z", 3600, "is 0 hours old, allowed are 1 hour and more"),
    ],
)
def test_ages_of_commits(committed, min_age, found):
    expected = [f"whisper: min-age: its commit of {committed} {found}"] if found else []
    assert said(Policy(min_age=min_age), committed=committed) == expected


def test_a_commit_without_a_date_is_as_good_as_young():
    assert said(Policy(min_age=DAY)) == [
        "whisper: min-age: the date of its commit is not in models.lock, allowed are 1 day and more"
    ]
    with pytest.raises(PolicyError) as caught:
        refuse_violations(Policy(min_age=DAY), [model("a"), model("b")], NOW)
    assert caught.value.hint == "run vcm lock"


def test_where_locking_has_just_found_nothing_locking_again_is_no_help():
    with pytest.raises(PolicyError) as caught:
        refuse_violations(Policy(min_age=DAY), [model("a")], NOW, just_locked=True)
    assert caught.value.hint == (
        'choose another model, change [policy], or add [policy.exceptions.a] with min-age = "the reason"'
    )


def test_a_licence_that_nobody_asked_the_hub_for():
    imported = model(license=None, repo_id=None)
    with pytest.raises(PolicyError) as caught:
        refuse_violations(Policy(licenses=("mit",), min_age=DAY), [imported], NOW)
    assert caught.value.details == (
        "whisper: licenses: its licence is not in models.lock, allowed is mit",
        "whisper: min-age: the date of its commit is not in models.lock, allowed are 1 day and more",
    )
    assert caught.value.hint == "run vcm lock"


@pytest.mark.parametrize(
    ("keys", "undecided"),
    [
        ({}, {"min-age"}),
        ({"license": None}, {"min-age"}),
        ({"license": None, "repo_id": None}, {"min-age", "licenses"}),
        ({"committed": "2026-01-01T00:00:00Z"}, set()),
        ({"source": "url", "repo": None, "repo_id": None, "license": None, "url": "https://h/x.onnx"}, set()),
    ],
)
def test_what_the_lock_leaves_undecided(keys, undecided):
    by_rule = {"min-age": Policy(min_age=DAY), "licenses": Policy(licenses=("mit",))}
    for rule, policy in by_rule.items():
        assert is_undecided(policy, model(**keys)) is (rule in undecided)
        assert not is_undecided(replace(policy, exceptions={"whisper": {rule: "reason"}}), model(**keys))
    assert not is_undecided(Policy(), model(**keys))


def test_a_url_has_no_commit_and_no_age():
    assert said(Policy(min_age=DAY), source="url", repo=None, commit=None, url="https://h/x.onnx") == []


@given(st.datetimes(min_value=datetime(1, 1, 1), max_value=datetime(9999, 12, 31)))  # noqa: DTZ001
def test_dates_are_counted_as_the_standard_library_counts_them(moment):
    moment = moment.replace(microsecond=0)
    text = moment.isoformat() + "Z"
    assert policy_module._seconds(text) == (moment - datetime(1970, 1, 1)) / timedelta(seconds=1)  # noqa: DTZ001


def test_an_exception_holds_for_one_rule_of_one_model_and_for_what_it_pulls_in():
    policy = Policy(
        licenses=("mit",),
        owners=("acme",),
        exceptions={"whisper": {"licenses": "bought"}, "frames.base": {"owners": "known"}},
    )

    def rules(name: str, via: str | None = None) -> list[str]:
        return [each.rule for each in violations(policy, model(name, via=via, license="other"), NOW)]

    assert rules("whisper") == ["owners"]
    assert rules("whisper.base", via="whisper") == ["owners"]
    assert rules("frames") == ["licenses", "owners"]
    assert rules("frames.base", via="frames") == ["licenses"]


def test_one_violation_is_the_error():
    with pytest.raises(PolicyError) as caught:
        refuse_violations(Policy(licenses=("mit",)), [model("frames"), model(license=None)], NOW)
    error = caught.value
    assert str(error) == "whisper: licenses: it states no licence, allowed is mit"
    assert (error.error_code, error.exit_code, error.model, error.details) == ("POLICY_VIOLATION", 1, "whisper", ())
    assert error.violations == (Violation("whisper", "licenses", "it states no licence", "allowed is mit"),)
    assert error.hint == (
        'choose another model, change [policy], or add [policy.exceptions.whisper] with licenses = "the reason"'
    )


def test_several_violations_are_listed():
    policy = Policy(licenses=("mit",), owners=("acme",))
    with pytest.raises(PolicyError) as caught:
        refuse_violations(policy, [model("b.c", license="other", repo="acme/b"), model(), model("a")], NOW)
    error = caught.value
    assert (str(error), error.model) == ("3 violations of the policy in models.toml", None)
    assert error.details == (
        'b.c: licenses: its licence is "other", allowed is mit',
        'whisper: owners: its owner is "openai", allowed is acme',
        'a: owners: its owner is "openai", allowed is acme',
    )
    assert len(error.violations) == 3
    assert error.hint == (
        'choose another model, change [policy], or add [policy.exceptions."b.c"] with licenses = "the reason"'
    )


def test_what_is_allowed_is_let_through():
    refuse_violations(Policy(licenses=("mit",), max_size=100), [model(), model("a")], NOW)


@given(
    st.builds(
        Policy,
        licenses=st.none() | st.lists(st.text(max_size=5), min_size=1, max_size=2).map(tuple),
        owners=st.none() | st.just(("openai",)),
        formats=st.none() | st.just(("onnx",)),
        max_size=st.none() | st.integers(1, 30),
        min_age=st.none() | st.integers(1, 10**9),
    ),
    st.none() | st.text(max_size=20),
    st.sampled_from([None, "2026-01-01T00:00:00Z", "0000-99-99T99:99:99Z"]),
    st.sampled_from(RULES),
)
def test_an_exception_takes_away_its_rule_and_nothing_else(policy, license_id, committed, rule):
    locked = model(license=license_id, committed=committed)
    without = violations(policy, locked, NOW)
    excepting = Policy(
        **{key: getattr(policy, key) for key in Policy.__dataclass_fields__ if key != "exceptions"},
        exceptions={"whisper": {rule: "reason"}},
    )
    assert violations(excepting, locked, NOW) == [each for each in without if each.rule != rule]
    assert json.dumps([str(each) for each in without])
