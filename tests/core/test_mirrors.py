"""A mirror's address for a file, and a registry's name for a model."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vcm.core import names
from vcm.core.lock import LockedFile, LockedModel
from vcm.core.mirrors import FIELDS, Mirror, RegistryAddress, expanded, registry_address, repository

FILE = LockedFile("sub/a b%é.onnx", 7, "0a" * 32)
MODEL = LockedModel(name="frames", source="huggingface", repo="Acme/Frame_s", commit="c" * 40, files=(FILE,))
DIRECT = LockedModel(name="direct", source="url", url="https://example.com/x", files=(FILE,))
# https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests
OCI_NAME = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*"


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("http://mirror.rack/{sha256}", "http"),
        ("https://mirror.rack/{sha256}", "http"),
        ("oci://registry.corp/{repo}", "oci"),
        ("oci+http://registry.corp/{repo}", "oci"),
        ("file:///mnt/{sha256}", "file"),
    ],
)
def test_the_kind_of_a_mirror(url, kind):
    assert Mirror(name="rack", url=url).kind == kind


def test_a_mirror_does_not_show_what_it_sends():
    mirror = Mirror(
        name="rack",
        url="http://m/{sha256}?sig=hunter2",
        proxy="http://user:hunter2@proxy:1",
        headers={"X-Key": "hunter2", "Authorization": "Basic hunter2"},
    )
    assert repr(mirror) == "Mirror(name='rack', url='http://m/{sha256}', headers=['Authorization', 'X-Key'])"


@pytest.mark.parametrize(
    ("template", "model", "quoted", "found"),
    [
        ("http://m/{sha256}", MODEL, True, f"http://m/{'0a' * 32}"),
        ("http://m/{repo}/{commit}/{path}", MODEL, True, f"http://m/Acme/Frame_s/{'c' * 40}/sub/a%20b%25%C3%A9.onnx"),
        ("file:///{repo}/{path}", MODEL, False, "file:///Acme/Frame_s/sub/a b%é.onnx"),
        ("{size}-{size}", MODEL, True, "7-7"),
        ("no field", MODEL, True, "no field"),
        ("http://m/{repo}/{path}", DIRECT, False, "http://m/direct/sub/a b%é.onnx"),
        ("http://m/{commit}/{sha256}", DIRECT, True, None),
    ],
)
def test_a_template_filled_in(template, model, quoted, found):
    assert expanded(template, model, FILE, quoted=quoted) == found


PATHS = st.text(min_size=1, max_size=30).filter(lambda text: names.if_valid(text, names.file_path) is not None)
TEMPLATES = st.lists(st.sampled_from([*(f"{{{field}}}" for field in FIELDS), "/", "x", "?a=", "&b="]), max_size=8)


@given(PATHS, TEMPLATES.map("".join))
@example("{sha256}", "{path}")
@example("a?b#c", "{path}")
def test_a_path_leads_to_no_other_place_and_cannot_be_taken_for_a_field(path, template):
    file = LockedFile(path, 7, "0a" * 32)
    address = expanded(f"http://m/{template}", MODEL, file)
    assert address is not None
    parts = urlsplit(address)
    assert (parts.netloc, parts.fragment) == ("m", "")
    assert address.isascii()
    assert address.count("?") == template.count("?")
    plain = {"sha256": file.sha256, "repo": "Acme/Frame_s", "commit": "c" * 40, "path": path, "size": "7"}
    assert unquote(address) == "http://m/" + re.sub(r"\{(\w+)\}", lambda match: plain[match[1]], template)


@pytest.mark.parametrize(
    ("template", "repo", "name"),
    [
        ("models/{repo}", "Acme/Frame_s", "models/acme/frame_s"),
        ("{repo}", "a/b__c.d-e--f", "a/b__c.d-e--f"),
        ("{repo}", "a/_b_", "a/b"),
        ("{repo}", "a/b._c", "a/b-c"),
        ("{repo}", "a/b___c", "a/b-c"),
        ("x y/{repo}", "gpt2", "x-y/gpt2"),
        ("all", "gpt2", "all"),
        ("{repo}", "a/_", "a"),
        ("{repo}", "_", "model"),
    ],
)
def test_a_model_in_a_registry(template, repo, name):
    model = LockedModel(name="frames", source="huggingface", repo=repo, commit="c" * 40, files=())
    assert repository(template, model) == name


def test_a_direct_file_in_a_registry_is_called_as_in_the_manifest():
    assert repository("models/{repo}", DIRECT) == "models/direct"


REPOS = st.from_regex(r"[A-Za-z0-9._-]{1,20}(/[A-Za-z0-9._-]{1,20})?", fullmatch=True)


@given(st.text(max_size=20) | st.just("{repo}"), REPOS)
@example("/", "_/_")
def test_a_repository_has_a_name_that_every_registry_takes(template, repo):
    model = LockedModel(name="frames", source="huggingface", repo=repo, commit="c" * 40, files=())
    assert re.fullmatch(OCI_NAME, repository(template, model))


@pytest.mark.parametrize(
    ("url", "base", "template", "host"),
    [
        ("oci://registry.corp/models/{repo}", "https://registry.corp", "models/{repo}", "registry.corp"),
        ("oci://registry.corp:5000/{repo}/", "https://registry.corp:5000", "{repo}", "registry.corp:5000"),
        ("oci+http://registry.corp/m", "http://registry.corp", "m", "registry.corp"),
        ("oci://localhost:5000/m", "http://localhost:5000", "m", "localhost:5000"),
        ("oci://127.0.0.1:5000/m", "http://127.0.0.1:5000", "m", "127.0.0.1:5000"),
        ("oci://[::1]:5000/m", "http://[::1]:5000", "m", "[::1]:5000"),
        ("oci://127.0.0.1.evil.example/m", "https://127.0.0.1.evil.example", "m", "127.0.0.1.evil.example"),
        ("oci://localhost.evil.example/m", "https://localhost.evil.example", "m", "localhost.evil.example"),
    ],
)
def test_a_registry(url, base, template, host):
    address = registry_address(url)
    assert address == RegistryAddress(base, template)
    assert address.host == host


@pytest.mark.parametrize(
    "url", ["oci://registry.corp", "oci://registry.corp/", "oci:///m", "oci://u:p@r/m", "http://r/m", "oci://r/m?x", ""]
)
def test_no_registry(url):
    with pytest.raises(ValueError, match=re.escape("an OCI registry is written oci://HOST/PATH/{repo}")):
        registry_address(url)
