"""What a model pulls in from other repos, by what its files and its card say."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcm.core import names
from vcm.core.configs import is_reference
from vcm.core.following import Reference, entry_name, python_files, references
from vcm.core.metadata import RepoInfo

CARD = "README.md"


def found(files: dict[str, Any], *, repo: str = "acme/m", **info: Any) -> list[Reference]:
    """References of a repo with these files, whose content is JSON, or bytes as they are."""

    def read(path: str) -> bytes | None:
        assert is_reference(path), f"{path} is read, but was not announced"
        content = files[path]
        return content if content is None or isinstance(content, bytes) else json.dumps(content).encode()

    return references(repo, RepoInfo(repo=info.pop("canonical", repo), commit="0" * 40, **info), read, list(files))


def base(repo: str | None, revision: str | None = None, named_by: str = "adapter_config.json") -> Reference:
    return Reference(repo, "base-model", revision, named_by, repo or "")


def code(repo: str, named_by: str = "config.json") -> Reference:
    return Reference(repo, "code", None, named_by, repo)


def adapter(path: object, **keys: Any) -> dict[str, Any]:
    return {"adapter_config.json": {"base_model_name_or_path": path, "peft_type": "LORA"} | keys}


# --- base models ------------------------------------------------------------------------------------------------------


def test_the_base_of_an_adapter():
    assert found(adapter("meta-llama/Llama-3.1-8B")) == [base("meta-llama/Llama-3.1-8B")]
    assert found(adapter("gpt2", revision=None)) == [base("gpt2")]


@pytest.mark.parametrize(
    ("written", "taken"),
    [
        ("v1.2", "v1.2"),
        ("0" * 40, "0" * 40),
        ("refs/pr/1", "refs/pr/1"),
        ("", None),
        ("a b", None),
        (7, None),
        ([], None),
    ],
)
def test_the_revision_of_the_base_where_it_is_one(written, taken):
    assert found(adapter("acme/base", revision=written)) == [base("acme/base", taken)]


def test_the_adapter_counts_before_the_card():
    assert found(adapter("acme/base"), base_models=("acme/other",), is_adapter=True) == [base("acme/base")]


@pytest.mark.parametrize("local", ["/home/x/llama", "./base", "../base", "~/models/a", "C:\\models\\a", "a/b/c", "a b"])
def test_a_path_on_the_publishers_disk_leaves_the_word_to_the_card(local):
    assert found(adapter(local), base_models=("acme/base",)) == [base("acme/base", None, CARD)]


def test_a_path_on_the_publishers_disk_without_a_card_cannot_be_followed():
    assert found(adapter("/home/x/llama", revision="main")) == [
        Reference(None, "base-model", "main", "adapter_config.json", "/home/x/llama")
    ]


def test_what_is_written_there_is_shown_without_harm():
    (reference,) = found(adapter("\x1b[2J/home\ud800/" + "x" * 200))
    assert reference.repo is None
    assert reference.written == "\ufffd[2J/home\ufffd/" + "x" * 66 + "..."
    assert len(reference.written) == 80


@pytest.mark.parametrize("path", [None, "", "  ", 7, [], {}])
def test_an_adapter_that_names_no_base(path):
    assert found(adapter(path)) == []
    assert found(adapter(path), base_models=("acme/base",)) == [base("acme/base", None, CARD)]


def test_an_adapter_by_its_card_alone():
    files = {"pytorch_lora_weights.safetensors": b""}
    assert found(files, base_models=("acme/a", "acme/b"), is_adapter=True) == [
        base("acme/a", None, CARD),
        base("acme/b", None, CARD),
    ]


def test_a_base_model_of_what_is_no_adapter_is_lineage_only():
    assert found({"config.json": {}, "model.safetensors": b""}, base_models=("acme/a",)) == []


def test_several_adapters_in_one_repo():
    files = {
        "b/adapter_config.json": {"base_model_name_or_path": "acme/base"},
        "a/adapter_config.json": {"base_model_name_or_path": "ACME/base", "revision": "v1"},
        "c/adapter_config.json": {"base_model_name_or_path": "/local"},
    }
    assert found(files) == [base("ACME/base", "v1", "a/adapter_config.json")]


# --- code -------------------------------------------------------------------------------------------------------------


def test_code_in_another_repo():
    config = {
        "auto_map": {
            "AutoConfig": "other/impl--configuration_x.XConfig",
            "AutoModel": "other/impl--modeling_x.XModel",
            "AutoModelForMaskedLM": "legacy--modeling.Model",
        }
    }
    assert found({"config.json": config}) == [code("other/impl"), code("legacy")]


def test_tokenizers_write_lists_with_nulls():
    tokenizer = {"auto_map": {"AutoTokenizer": ["other/tok--tokenization_x.XTokenizer", None]}}
    assert found({"tokenizer_config.json": tokenizer}) == [code("other/tok", "tokenizer_config.json")]
    legacy = {"auto_map": ["other/tok--tokenization_x.XTokenizer", None]}
    assert found({"tokenizer_config.json": legacy}) == [code("other/tok", "tokenizer_config.json")]


@pytest.mark.parametrize(
    "path",
    [
        "preprocessor_config.json",
        "processor_config.json",
        "video_preprocessor_config.json",
        "image_processor_config.json",
        "generation_config.json",
        "text_encoder/config.json",
    ],
)
def test_every_configuration_is_read(path):
    config = {"auto_map": {"AutoProcessor": "other/p--processing_x.XProcessor"}}
    assert found({path: config}) == [code("other/p", path)]


def test_a_pipeline_of_ones_own_may_stand_elsewhere():
    pipelines = {
        "my-task": {"impl": "other/pipe--my_pipeline.MyPipeline", "pt": ["AutoModel"], "default": {"x": "a/b--c.d"}},
        "own": {"impl": "my_pipeline.MyPipeline"},
    }
    assert found({"config.json": {"custom_pipelines": pipelines}}) == [code("other/pipe")]


def test_the_repo_itself_is_no_other():
    config = {"auto_map": {"AutoConfig": "Acme/M--c.C", "AutoModel": "acme/new-name--m.M", "x": "modeling.Own"}}
    files = {"config.json": config, **adapter("acme/m")}
    assert found(files, canonical="acme/new-name") == []


def test_each_repo_is_named_once_and_bases_come_first():
    config = {"auto_map": {"AutoConfig": "other/a--c.C", "AutoModel": "OTHER/a--m.M"}}
    files = {"z/config.json": config, "config.json": config, **adapter("other/a")}
    assert found(files) == [base("other/a"), code("other/a")]


@pytest.mark.parametrize(
    "reference",
    ["../../etc--x.Y", "a/b/c--x.Y", "other/a--", "other/a--noclass", "--x.Y", "other/a--.Y", "other/a", "", " --x.Y"],
)
def test_what_no_library_could_load_names_nothing(reference):
    assert found({"config.json": {"auto_map": {"AutoModel": reference}}}) == []


def test_only_taken_configurations_are_read():
    config = {"auto_map": {"AutoModel": "other/a--m.M"}}
    assert found({"my_config.json": config, "config.json.bak": config, "README.md": b"x"}) == []


DEEP = b'{"auto_map": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"


@pytest.mark.parametrize(
    "content",
    [None, b"", b"\xff\xfe\x00", b"{", b"[]", b"7", b'"x"', b"null", DEEP, b'{"auto_map": 7, "custom_pipelines": [1]}',
     b'{"base_model_name_or_path": {"a": 1}}', b'{"x": ' + b"9" * 5000 + b"}"],
)  # fmt: skip
def test_what_is_no_configuration_names_nothing(content):
    assert found({"config.json": content, "adapter_config.json": content}) == []


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=30)
    | st.sampled_from(["a/b--c.D", "x.Y", "../a--b.C"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.sampled_from(["auto_map", "custom_pipelines", "base_model_name_or_path", "revision"]), json_values
    ),
    st.booleans(),
)
def test_whatever_is_written_the_answer_can_be_asked_for(config, is_adapter):
    files = {"config.json": config, "adapter_config.json": config}
    answer = found(files, is_adapter=is_adapter, base_models=("acme/base",))
    assert answer == found(dict(reversed(files.items())), is_adapter=is_adapter, base_models=("acme/base",))
    for reference in answer:
        if reference.repo is not None:
            assert names.repo_id(reference.repo)
        assert reference.revision is None or names.revision(reference.revision)
        assert reference.written.isprintable()
        assert len(reference.written) <= 96 * 2 + 1
    assert len({(each.kind, each.repo) for each in answer}) == len(answer)


# --- python files and names -------------------------------------------------------------------------------------------


def test_python_files():
    assert python_files(["b.py", "a/x.PY", "c.pyc", "py", "a.json", "B.py"]) == ("B.py", "a/x.PY", "b.py")
    assert python_files([]) == ()


@pytest.mark.parametrize(
    ("root", "repo", "taken", "name"),
    [
        ("adapter", "meta-llama/Llama-3.1-8B", [], "adapter.llama-3.1-8b"),
        ("adapter", "gpt2", [], "adapter.gpt2"),
        ("a", "x/_Base_", [], "a.base"),
        ("a", "x/__", [], "a.repo"),
        ("a", "acme/base", ["a.base"], "a.acme-base"),
        ("a", "acme/base", ["a.base", "a.acme-base"], "a.base-2"),
        ("a", "acme/base", ["a.base", "a.acme-base", "a.base-2", "a.base-3"], "a.base-4"),
        ("a", "gpt2", ["a.gpt2"], "a.gpt2-2"),
        ("a" * 96, "acme/base", [], "a" * 91 + ".base"),
        ("a" * 90 + "." + "b" * 5, "acme/base", [], "a" * 90 + ".base"),
        ("a", "acme/" + "b" * 96, [], "a." + "b" * 48),
        ("a", "acme/" + "b" * 47 + "-c", [], "a." + "b" * 47),
    ],
)
def test_names_of_entries(root, repo, taken, name):
    assert entry_name(root, repo, taken) == name


@given(
    st.from_regex(names.MODEL_NAME, fullmatch=True),
    st.from_regex(re.compile(r"[A-Za-z0-9._-]{1,96}(/[A-Za-z0-9._-]{1,96})?", re.ASCII), fullmatch=True),
    st.integers(0, 5),
)
def test_a_name_is_always_a_free_one_of_a_model(root, repo, clashes):
    taken: list[str] = []
    for _ in range(clashes + 1):
        name = entry_name(root, repo, taken)
        assert names.model_name(name) == name
        assert name not in taken
        assert name == entry_name(root, repo, set(taken))
        taken.append(name)
