"""What taken files refer to must be taken: every rule, real repos with sensible includes, and hostile JSON."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcm.core.completeness import Gap, gaps, refuse_gaps
from vcm.core.configs import is_reference
from vcm.core.manifest import Requirement
from vcm.core.metadata import RemoteFile
from vcm.core.selection import select
from vcm.errors import CONFIG_ERROR, ConfigError

RECORDED = Path(__file__).parents[3] / "shared" / "corpora" / "recorded"


def found(taken: str | list[str], present: str | list[str] = "", contents: dict[str, Any] | None = None) -> list[Gap]:
    """The gaps; ``contents`` by path, as JSON or as bytes. What is taken is present too."""
    chosen = taken.split() if isinstance(taken, str) else taken
    others = present.split() if isinstance(present, str) else present

    def read(path: str) -> bytes | None:
        assert path in chosen, f"{path} is read, but was not taken"
        assert is_reference(path), f"{path} is read, but was not announced"
        content = (contents or {}).get(path)
        return content if content is None or isinstance(content, bytes) else json.dumps(content).encode()

    return gaps(chosen, [*chosen, *others], read)


def paths(found_gaps: list[Gap]) -> str:
    return " ".join(gap.path for gap in found_gaps)


def weight_map(*shards: str) -> dict[str, Any]:
    return {
        "metadata": {"total_size": 1},
        "weight_map": {f"layer.{number}": name for number, name in enumerate(shards)},
    }


# --- shards -----------------------------------------------------------------------------------------------------------

INDEX = "model.safetensors.index.json"
SHARDS = [f"model-{number:05}-of-00003.safetensors" for number in (1, 2, 3)]
ALL_SHARDS = weight_map(*SHARDS)


def test_a_whole_set_of_shards():
    assert found([INDEX, *SHARDS], contents={INDEX: ALL_SHARDS}) == []
    assert found(SHARDS) == []


def test_a_shard_that_was_cut_off():
    assert found([INDEX, *SHARDS[:2]], SHARDS, contents={INDEX: ALL_SHARDS}) == [
        Gap(SHARDS[2], SHARDS[0], present=True)
    ]


def test_a_shard_that_the_repo_lacks():
    assert found([INDEX, *SHARDS[1:]], contents={INDEX: ALL_SHARDS}) == [Gap(SHARDS[0], SHARDS[1], present=False)]


def test_an_index_without_any_of_its_shards():
    assert found([INDEX, "config.json"], contents={INDEX: ALL_SHARDS}) == [
        Gap(each, INDEX, present=False) for each in SHARDS
    ]
    assert found([INDEX], SHARDS, contents={INDEX: ALL_SHARDS}) == [Gap(each, INDEX, present=True) for each in SHARDS]


@pytest.mark.parametrize("others", ["onnx/model.onnx", "consolidated.safetensors"])
def test_an_index_beside_other_weights_that_were_chosen(others):
    # include = ["*.onnx", "*.json"] takes it along.
    assert found([INDEX, others], SHARDS, contents={INDEX: ALL_SHARDS}) == []
    assert paths(found([INDEX, others, SHARDS[0]], SHARDS, contents={INDEX: ALL_SHARDS})) == f"{SHARDS[1]} {SHARDS[2]}"


def test_an_index_of_what_is_there_whole_is_never_read():
    assert found([INDEX, "model.safetensors"], contents={INDEX: ALL_SHARDS}) == []


def test_the_shards_of_an_index_need_no_number():
    index = weight_map("a.safetensors", "b.safetensors", "a.safetensors")
    taken = ["t/model.safetensors.index.json", "t/b.safetensors"]
    assert found(taken, "t/a.safetensors a.safetensors", contents={taken[0]: index}) == [
        Gap("t/a.safetensors", taken[0], present=True)
    ]


@pytest.mark.parametrize(
    "name", ["../x.safetensors", "/x.safetensors", "a\\b", "", "C:x", 7, None, ["a"], "a//b", "\ud800"]
)
def test_hostile_names_in_an_index_name_nothing(name):
    assert found([INDEX], contents={INDEX: {"weight_map": {"a": name}}}) == []


@pytest.mark.parametrize(
    ("taken", "missing"),
    [
        ("q/m-Q8_0-00002-of-00002.gguf", "q/m-Q8_0-00001-of-00002.gguf"),
        ("pytorch_model-00001-of-00003.bin", "pytorch_model-00002-of-00003.bin pytorch_model-00003-of-00003.bin"),
        ("m-00001-of-00002.fp16.safetensors", "m-00002-of-00002.fp16.safetensors"),
        ("model-00001-of-000002.safetensors", "model-00002-of-000002.safetensors"),
        ("train-00001-of-00002.parquet notes-00001-of-00002.txt", ""),
        ("variables/variables.data-00000-of-00002", ""),
    ],
)
def test_the_siblings_of_a_shard(taken, missing):
    assert paths(found(taken)) == missing
    assert [gap.present for gap in found(taken, missing)] == [True] * len(missing.split())


@pytest.mark.parametrize(
    ("taken", "present", "missing"),
    [
        ("onnx/model.onnx", "onnx/model.onnx_data onnx/model_q4.onnx x.onnx_data", "onnx/model.onnx_data"),
        ("model.onnx_data_1", "model.onnx model.onnx_data", "model.onnx model.onnx_data"),
        ("model.onnx model.onnx.data", "model.onnx_data.json", ""),
        ("openvino_model.xml", "openvino_model.bin openvino_tokenizer.bin", "openvino_model.bin"),
        ("m.gguf-split-a", "m.gguf-split-b m.gguf n.gguf-split-b", "m.gguf-split-b"),
        ("m.gguf.part2of2", "m.gguf.part1of2", "m.gguf.part1of2"),
        (
            "M.mlpackage/Data/m.mlmodel",
            "M.mlpackage/Manifest.json N.mlpackage/Manifest.json",
            "M.mlpackage/Manifest.json",
        ),
        ("saved_model.pb", "variables/variables.index assets/vocab.txt", "variables/variables.index"),
        # The graph of a checkpoint is not needed to read its weights.
        ("m.ckpt.index", "m.ckpt.meta m.ckpt.data-00000-of-00001", "m.ckpt.data-00000-of-00001"),
        ("group1-shard1of2.bin", "group1-shard2of2.bin", "group1-shard2of2.bin"),
        ("config.json", "model.onnx model.onnx_data", ""),
    ],
)
def test_pieces_of_one_thing(taken, present, missing):
    assert paths(found(taken, present)) == missing


def test_a_thing_of_very_many_pieces():
    pieces = [f"M.mlpackage/{number}" for number in range(20_000)]
    begun = time.process_time()
    assert found(pieces) == []
    assert len(found(pieces[:1], pieces)) == 1000
    assert time.process_time() - begun < 5


# --- configurations ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "missing"),
    [
        ({"vocab_file": "vocab.txt"}, "vocab.txt"),
        ({"a": [{"b": ["x", "merges.txt"]}]}, "merges.txt"),
        ({"chat_template": "chat.jinja", "again": "chat.jinja"}, "chat.jinja"),
        ({"nested": "sub/spiece.model"}, "sub/spiece.model"),
        # Keys, words, paths elsewhere and what the repo does not have are no names of its files.
        (
            {
                "vocab.txt": 1,
                "a": "VOCAB.TXT",
                "b": "/vocab.txt",
                "c": "./vocab.txt",
                "d": "nothing.txt",
                "e": "LABELS",
            },
            "",
        ),
        # Weights in a format that was not taken were left out by decision.
        ({"weights": "model.safetensors"}, "model.safetensors"),
        ({"weights": "model.onnx"}, ""),
    ],
)
def test_files_that_a_configuration_names(config, missing):
    present = "vocab.txt merges.txt chat.jinja sub/spiece.model LABELS model.safetensors model.onnx"
    assert paths(found("config.json other.safetensors", present, contents={"config.json": config})) == missing


def test_names_are_relative_to_the_configuration():
    config = {"vocab_file": "vocab.txt"}
    taken = "tokenizer/tokenizer_config.json"
    assert found(taken, "tokenizer/vocab.txt vocab.txt", contents={taken: config}) == [
        Gap("tokenizer/vocab.txt", taken, present=True)
    ]
    assert found(taken, "vocab.txt", contents={taken: config}) == []


@pytest.mark.parametrize(
    "path",
    [
        "config.json",
        "tokenizer_config.json",
        "generation_config.json",
        "adapter_config.json",
        "preprocessor_config.json",
        "processor_config.json",
        "video_preprocessor_config.json",
    ],
)
def test_every_configuration_is_read(path):
    assert paths(found(path, "x.txt", contents={path: {"file": "x.txt"}})) == "x.txt"


@pytest.mark.parametrize("path", ["tokenizer.json", "my.json", "config.json.bak", "xconfig.json", "config_x.json"])
def test_other_files_are_not_read(path):
    assert found(path, "x.txt", contents={path: {"file": "x.txt"}}) == []


@pytest.mark.parametrize(
    ("auto_map", "missing"),
    [
        (
            {"AutoConfig": "configuration_x.XConfig", "AutoModel": "modeling_x.XModel"},
            "configuration_x.py modeling_x.py",
        ),
        ({"AutoTokenizer": ["tokenization_x.XTokenizer", None]}, "tokenization_x.py"),
        (["tokenization_x.XTokenizer", None], "tokenization_x.py"),
        ({"AutoModel": "other/repo--modeling_x.XModel"}, ""),
        # Copies of a model that transformers has learnt since keep the entry, but not the file.
        ({"AutoModel": "modeling_gone.XModel"}, ""),
        ({"AutoModel": "../modeling_x.XModel"}, ""),
        (7, ""),
    ],
)
def test_code_of_the_repos_own(auto_map, missing):
    present = "configuration_x.py modeling_x.py tokenization_x.py"
    assert paths(found("config.json", present, contents={"config.json": {"auto_map": auto_map}})) == missing


def test_code_for_a_configuration_in_a_folder():
    config = {"auto_map": {"AutoModel": "modeling_x.X"}}
    for present in ("vit/modeling_x.py", "modeling_x.py"):
        assert paths(found("vit/config.json", present, contents={"vit/config.json": config})) == present


def test_a_pipeline_of_the_repos_own():
    config = {"custom_pipelines": {"task": {"impl": "my_pipeline.Pipeline"}}}
    assert paths(found("config.json", "my_pipeline.py", contents={"config.json": config})) == "my_pipeline.py"


# --- modules of sentence-transformers ---------------------------------------------------------------------------------

MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    {"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"},
    {"idx": 3, "name": "3", "path": "3_Normalize", "type": "sentence_transformers.models.Normalize"},
]
MODULE_FILES = (
    "1_Pooling/config.json 2_Dense/config.json 2_Dense/model.safetensors 2_Dense/pytorch_model.bin 2_Dense/notes.txt"
)


@pytest.mark.parametrize(
    ("taken", "missing"),
    [
        ("model.safetensors 1_Pooling/config.json 2_Dense/config.json 2_Dense/model.safetensors", ""),
        ("onnx/model.onnx 1_Pooling/config.json 2_Dense/config.json 2_Dense/pytorch_model.bin", ""),
        ("model.safetensors 2_Dense/model.safetensors", "1_Pooling/config.json 2_Dense/config.json"),
        ("model.safetensors 1_Pooling/config.json 2_Dense/config.json", "2_Dense/"),
        ("1_Pooling/config.json 2_Dense/config.json", ""),
    ],
)
def test_modules(taken, missing):
    assert paths(found(f"modules.json {taken}", MODULE_FILES, contents={"modules.json": MODULES})) == missing


def test_the_weights_of_a_module_may_stand_deeper():
    modules = [{"path": "0_Transformer"}, {"path": "0_Transformer"}]
    taken = "modules.json 0_Transformer/config.json 0_Transformer/onnx/model.onnx"
    assert found(taken, "0_Transformer/model.safetensors", contents={"modules.json": modules}) == []


@pytest.mark.parametrize("modules", [7, {}, [7, None, {"path": 7}, {"path": "../x"}, {"path": "nowhere"}, {}]])
def test_modules_of_another_shape_name_nothing(modules):
    assert found("modules.json a.safetensors", MODULE_FILES, contents={"modules.json": modules}) == []


# --- components of diffusers ------------------------------------------------------------------------------------------

PIPELINE = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": "0.2.2",
    "scheduler": ["diffusers", "PNDMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "image_encoder": [None, None],
    "requires_safety_checker": False,
}
PARTS = {
    "scheduler": "scheduler/scheduler_config.json",
    "text_encoder": "text_encoder/config.json text_encoder/model.safetensors",
    "tokenizer": "tokenizer/merges.txt tokenizer/tokenizer_config.json tokenizer/vocab.json",
    "unet": "unet/config.json unet/diffusion_pytorch_model.safetensors",
}
LEFT_OUT = (
    "text_encoder/pytorch_model.bin unet/diffusion_pytorch_model.bin unet/model.safetensors.index.json "
    "unet/LICENSE.txt image_encoder/config.json image_encoder/model.safetensors scheduler/.ipynb_checkpoints/x.json "
    "README.md"
)


@pytest.mark.parametrize("cut", ["", *" ".join(PARTS.values()).split()])
def test_components(cut):
    everything = " ".join(PARTS.values()).split()
    taken = ["model_index.json", *(path for path in everything if path != cut)]
    missing = f"{cut.partition('/')[0]}/" if cut.endswith(".safetensors") else cut
    expected = [Gap(missing, "model_index.json", present=True)] if cut else []
    assert found(taken, [*everything, *LEFT_OUT.split()], contents={"model_index.json": PIPELINE}) == expected


def test_a_component_that_has_weights_in_another_format_only():
    index = {"vae": ["diffusers", "AutoencoderKL"], "safety_checker": ["stable_diffusion", "Checker"]}
    taken = "model_index.json vae/config.json vae/m.safetensors safety_checker/config.json"
    assert (
        paths(found(taken, "safety_checker/pytorch_model.bin", contents={"model_index.json": index}))
        == "safety_checker/"
    )


def test_configurations_only():
    taken = "model_index.json " + " ".join(
        path for part in PARTS.values() for path in part.split() if "model." not in path
    )
    assert found(taken, " ".join(PARTS.values()), contents={"model_index.json": PIPELINE}) == []


def test_code_of_a_pipeline():
    index = {"_class_name": ["pipeline_x", "XPipeline"], "unet": ["unet_x", "XModel"], "vae": ["diffusers", "X"]}
    present = "pipeline_x.py unet/unet_x.py vae/other.py"
    assert (
        paths(found("model_index.json", present, contents={"model_index.json": index}))
        == "pipeline_x.py unet/unet_x.py"
    )


@pytest.mark.parametrize(
    "index", [7, [], {"unet": 7}, {"unet": []}, {"unet": [[], {}]}, {"../unet": ["a", "b"]}, {"": ["a", "b"]}]
)
def test_a_pipeline_of_another_shape_names_nothing(index):
    assert (
        found("model_index.json a.safetensors", "unet/config.json config.json", contents={"model_index.json": index})
        == []
    )


# --- real repos -------------------------------------------------------------------------------------------------------

STABLE_DIFFUSION = PIPELINE | {
    "feature_extractor": ["transformers", "CLIPImageProcessor"],
    "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
    "vae": ["diffusers", "AutoencoderKL"],
}
ALBERT = [{"idx": 0, "path": ""}, {"idx": 1, "path": "1_Pooling"}]
SENSIBLE: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("50_tree_bert-base-uncased_dd4bc8b2_200", {"include": ("*.h5", "*.json", "vocab.txt")}, {}),
    ("05_model-info_google-bert_bert-base-uncased_200", {}, {"config.json": {"_name_or_path": "bert-base-uncased"}}),
    ("05_model-info_google-bert_bert-base-uncased_200", {"include": ("*.onnx", "tokenizer.json")}, {}),
    ("01_model-info_clip-vit-base-patch32_200", {"include": ("flax_model.msgpack", "*.json", "*.txt")}, {}),
    ("95_model-info_whisper-base_200", {}, {"tokenizer_config.json": {"normalizer_file": None}}),
    ("20_model-info-blobs_qwen3-0.6b_200", {}, {}),
    (
        "02_model-info_stable-diffusion-v1-4_200",
        {},
        {"model_index.json": STABLE_DIFFUSION},
    ),
    (
        "02_model-info_stable-diffusion-v1-4_200",
        {"include": ("*.fp16.safetensors", "*.json", "*.txt")},
        {"model_index.json": STABLE_DIFFUSION},
    ),
    ("10b_drift_paraphrase-albert_2025-01", {}, {"modules.json": ALBERT}),
    ("10b_drift_paraphrase-albert_2025-01", {"include": ("onnx/model_O2.onnx", "*.json")}, {"modules.json": ALBERT}),
    ("10b_drift_paraphrase-albert_2025-01", {"include": ("openvino/*", "*.json")}, {"modules.json": ALBERT}),
    (
        "54_tree-root_ornith-35b_200",
        {},
        {INDEX: weight_map("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")},
    ),
    ("56_tree_whispercpp_turbo_partial_200", {}, {}),
    ("57_tree-subpath_piper-joe_200", {}, {}),
]


def listing(name: str) -> list[str]:
    if not RECORDED.is_dir():
        pytest.skip(f"the recorded answers are not at {RECORDED}")
    body = json.loads((RECORDED / f"{name}.json").read_text())["response"]["body"]
    if isinstance(body, dict):
        return [each["rfilename"] for each in body["siblings"]]
    return [each["path"] for each in body if each["type"] == "file"]


@pytest.mark.parametrize(("name", "patterns", "contents"), SENSIBLE)
def test_sensible_choices_from_real_repos_are_whole(name, patterns, contents):
    present = listing(name)
    chosen = select([RemoteFile(path, 1) for path in present], Requirement(name="m", repo="a/b", **patterns))
    assert chosen.files
    assert found([file.path for file in chosen.files], present, contents=contents) == []


def test_what_breaks_a_real_repo_is_found():
    present = listing("02_model-info_stable-diffusion-v1-4_200")
    requirement = Requirement(name="m", repo="a/b", include=("*.safetensors", "*.json"))
    taken = [file.path for file in select([RemoteFile(path, 1) for path in present], requirement).files]
    assert paths(found(taken, present, contents={"model_index.json": STABLE_DIFFUSION})) == "tokenizer/merges.txt"


XENOVA = """
config.json generation_config.json quantize_config.json tokenizer.json tokenizer_config.json special_tokens_map.json
vocab.txt onnx/model.onnx onnx/model_fp16.onnx onnx/model_q4.onnx onnx/model_quantized.onnx onnx/model.onnx_data
onnx/decoder_model_merged.onnx
"""


@pytest.mark.parametrize(
    "taken",
    [
        "config.json tokenizer.json tokenizer_config.json onnx/model_quantized.onnx",
        "config.json onnx/model_q4.onnx",
        "onnx/model.onnx onnx/model.onnx_data tokenizer.json",
    ],
)
def test_one_of_many_onnx_files(taken):
    config = {
        "model_type": "bert",
        "transformers.js_config": {"dtype": "q8", "use_external_data_format": {"model.onnx": 1}},
        "architectures": ["BertModel"],
    }
    assert found(taken, XENOVA, contents={"config.json": config}) == []


def test_the_model_of_this_repository_is_whole(genuine: Path) -> None:
    from vcm.core.lock import parse_lock

    lock = parse_lock((Path(__file__).parents[2] / "models.lock").read_bytes())
    taken = [file.path for file in lock.models[0].files]
    present = [path.relative_to(genuine).as_posix() for path in genuine.rglob("*") if path.is_file()]

    def read(path: str) -> bytes | None:
        return (genuine / path).read_bytes()

    assert gaps(taken, present, read) == []
    without = [path for path in taken if path != "1_Pooling/config.json"]
    assert gaps(without, present, read) == [Gap("1_Pooling/config.json", "modules.json", present=True)]


# --- hostile files ----------------------------------------------------------------------------------------------------

DEEP = b"[" * 200_000 + b"]" * 200_000
NAMED = "config.json model_index.json modules.json model.safetensors.index.json"


@pytest.mark.parametrize(
    "content",
    [None, b"", b"\xff\xfe", b"{", b"null", b"NaN", b'"config.json"', b"[[]]", DEEP, b'{"weight_map": ' + DEEP + b"}",
     b'{"weight_map": []}', b'{"weight_map": {"a": {}}}', b"9" * 5000, b'{"auto_map": {"a": {"b": "c.D"}}}',
     b'{"a": "' + b"x." * 100_000 + b'"}', b'{"a": "\\ud800.txt"}', b" " * ((64 << 20) + 1)],
    ids=range(17),
)  # fmt: skip
def test_hostile_json_names_nothing(content):
    assert found(NAMED, contents=dict.fromkeys(NAMED.split(), content)) == []


def test_nesting_that_json_still_reads_is_walked():
    config = b'{"a": ' + b"[" * 900 + b'"x.txt"' + b"]" * 900 + b"}"
    assert paths(found("config.json", "x.txt", contents={"config.json": config})) == "x.txt"


def test_sets_of_a_million_shards_take_no_time():
    begun = time.process_time()
    taken = [f"m{number}-00001-of-999999.safetensors" for number in range(2000)]
    modules = [{"path": "x"}] * 100_000
    present = [f"x/{number}.txt" for number in range(2000)]
    assert len(found([*taken, "modules.json"], present, contents={"modules.json": modules})) == 1000
    # This is no measurement: without bounds it would be 10^11 steps.
    assert time.process_time() - begun < 5


names = st.sampled_from(
    ["config.json", "a/config.json", "modules.json", "model_index.json", INDEX, "a/" + INDEX, *SHARDS, "a/x.bin",
     "x.txt", "a/x.txt", "a/vocab.json", "modeling_x.py", "a/modeling_x.py", "m.onnx", "tokenizer_config.json"]
)  # fmt: skip
json_values = st.recursive(
    st.none()
    | st.integers()
    | st.text(max_size=5)
    | names
    | st.sampled_from(["a", "modeling_x.X", "../x", "a/b--c.D"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(max_size=3) | st.sampled_from(["path", "weight_map", "auto_map", "a", "_class_name"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.sets(names, min_size=1), st.sets(names), json_values)
def test_whatever_is_written_a_gap_is_a_path_that_is_not_taken(taken, others, content):
    answer = found(sorted(taken), sorted(others), contents=dict.fromkeys(taken, content))
    present = taken | others
    assert answer == found(
        sorted(taken, reverse=True), sorted(others, reverse=True), contents=dict.fromkeys(taken, content)
    )
    assert len({gap.path for gap in answer}) == len(answer)
    for gap in answer:
        assert gap.path not in taken
        assert gap.named_by in taken
        assert gap.present == (gap.path in present or gap.path == "a/")
        if not gap.path.endswith("/"):
            # Taking it closes that gap.
            assert gap.path not in {each.path for each in found(sorted(taken | {gap.path}), sorted(others))}


# --- the error --------------------------------------------------------------------------------------------------------


def refusal(found_gaps: list[Gap], **keys: Any) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        refuse_gaps(found_gaps, Requirement(name="m", repo="acme/m", **keys))
    assert (caught.value.model, caught.value.error_code) == ("m", CONFIG_ERROR)
    return caught.value


CUT = Gap("vocab.txt", "tokenizer_config.json", present=True)
LACKING = Gap("b.safetensors", "model.safetensors.index.json", present=False)


def test_no_gap_no_error():
    refuse_gaps([], Requirement(name="m", repo="acme/m"))


@pytest.mark.parametrize(
    ("keys", "hint"),
    [
        ({"include": ("*.json",)}, "widen include under [models.m]"),
        ({"include": ("*",), "exclude": ("*.txt",)}, "widen include under [models.m], or narrow exclude"),
        ({"exclude": ("*.txt",)}, "narrow exclude under [models.m]"),
    ],
)
def test_one_gap(keys, hint):
    error = refusal([CUT], **keys)
    assert str(error) == "m: not taken: vocab.txt, named by tokenizer_config.json"
    assert (error.hint, error.details) == (hint, ())


def test_a_part_that_has_its_weights_in_another_format_only():
    error = refusal([Gap("2_Dense/", "modules.json", present=True)])
    assert str(error) == "m: not taken: the weights in 2_Dense/, named by modules.json"
    assert error.hint == (
        "leave the format that is not whole out with exclude under [models.m], or name all that is needed with include"
    )


def test_a_gap_of_the_publishers():
    error = refusal([LACKING], include=("*",))
    assert str(error) == (
        "m: not taken: b.safetensors, named by model.safetensors.index.json, which the repo does not have"
    )
    assert error.hint == (
        "take another version of acme/m, or leave model.safetensors.index.json out with exclude under [models.m]"
    )


def test_many_gaps():
    several = [LACKING, *(Gap(f"{number}/", "modules.json", present=True) for number in range(6))]
    error = refusal(several, include=("*",))
    assert str(error) == "m: not taken: 7 files that others refer to"
    assert error.details == (*(f"the weights in {number}/, named by modules.json" for number in range(5)), "and 2 more")
    assert error.hint == "widen include under [models.m]"
    assert refusal([CUT, LACKING]).details == (
        "vocab.txt, named by tokenizer_config.json",
        "b.safetensors, named by model.safetensors.index.json, which the repo does not have",
    )
