"""What a file's name says: format, pickles, shards, variants, licences."""

from __future__ import annotations

import pytest

from vcm.core.formats import FORMATS, Shard, bundle, holds_pickle, is_index, is_licence, shard, variant, weight_format


def test_the_order_of_preference():
    assert FORMATS == (
        "safetensors",
        "gguf",
        "ggml",
        "onnx",
        "openvino",
        "coreml",
        "tflite",
        "flax",
        "tensorflow",
        "paddle",
        "pytorch",
    )


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("model.safetensors", "safetensors"),
        ("model-00001-of-00002.safetensors", "safetensors"),
        ("model.safetensors.index.json", "safetensors"),
        ("model.safetensors.index.fp16.json", "safetensors"),
        ("unet/diffusion_pytorch_model.fp16.safetensors", "safetensors"),
        ("MODEL.SAFETENSORS", "safetensors"),
        ("model.Q4_K_M.gguf", "gguf"),
        ("model.Q8_0.gguf-split-a", "gguf"),
        ("model.i1-Q6_K.gguf.part1of2", "gguf"),
        ("ggml-large-v3-turbo.bin", "ggml"),
        ("for-tests-ggml-base.bin", "ggml"),
        ("llama-7b.ggmlv3.q4_0.bin", "ggml"),
        ("model.ggml", "ggml"),
        ("onnx/model.onnx", "onnx"),
        ("unet/weights.pb", "onnx"),
        ("onnx/model.onnx_data", "onnx"),
        ("onnx/model.onnx_data_1", "onnx"),
        ("model.onnx.data", "onnx"),
        ("model.ort", "onnx"),
        ("openvino/openvino_model.bin", "openvino"),
        ("openvino_model_qint8.xml", "openvino"),
        ("Model.mlmodel", "coreml"),
        ("Model.mlpackage/Data/com.apple.CoreML/weights/weight.bin", "coreml"),
        ("Model.mlmodelc/model.mil", "coreml"),
        ("ggml-base-encoder.mlmodelc.zip", "coreml"),
        ("Model.mlpackage.zip", "coreml"),
        ("model.tflite", "tflite"),
        ("gemma.litertlm", "tflite"),
        ("model.task", "tflite"),
        ("flax_model.msgpack", "flax"),
        ("flax_model.msgpack.index.json", "flax"),
        ("tf_model.h5", "tensorflow"),
        ("tf_model.h5.index.json", "tensorflow"),
        ("model.keras", "tensorflow"),
        ("saved_model.pb", "tensorflow"),
        ("a/variables/variables.data-00000-of-00001", "tensorflow"),
        ("frozen_graph.pb", "tensorflow"),
        ("bert_model.ckpt.data-00000-of-00001", "tensorflow"),
        ("model.ckpt-100.index", "tensorflow"),
        ("group1-shard1of2.bin", "tensorflow"),
        ("inference.pdmodel", "paddle"),
        ("inference.pdiparams", "paddle"),
        ("model_state.pdparams", "paddle"),
        ("pytorch_model.bin", "pytorch"),
        ("pytorch_model.ggml.bin", "pytorch"),
        ("ggmlish.bin", "pytorch"),
        ("pytorch_model.bin.index.json", "pytorch"),
        ("model.pt", "pytorch"),
        ("model.pth", "pytorch"),
        ("last.ckpt", "pytorch"),
        ("data.pkl", "pytorch"),
        ("model.joblib", "pytorch"),
        ("model.nemo", "pytorch"),
        ("rust_model.ot", "pytorch"),
        ("config.json", None),
        ("index.json", None),
        ("tokenizer.model", None),
        ("README.md", None),
        ("safetensors", None),
        ("model.safetensors.md", None),
        ("modeling.py", None),
        ("x.xml", None),
        ("notopenvino_model.xml", None),
    ],
)
def test_the_format_of_a_file_by_its_name(path, expected):
    assert weight_format(path) == expected


@pytest.mark.parametrize(
    ("path", "pickle"),
    [
        ("pytorch_model.bin", True),
        ("a/b.PT", True),
        ("x.pth", True),
        ("x.ckpt", True),
        ("x.pkl", True),
        ("x.pickle", True),
        ("x.joblib", True),
        ("model_state.pdparams", True),
        ("x.npy", True),
        ("x.npz", True),
        ("x.nemo", True),
        ("x.mar", True),
        ("training_args.bin", True),
        ("openvino/openvino_model.bin", False),
        ("ggml-base.bin", False),
        ("M.mlpackage/Data/com.apple.CoreML/weights/weight.bin", False),
        ("group1-shard1of1.bin", False),
        ("inference.pdiparams", False),
        ("pytorch_model.bin.index.json", False),
        ("x.safetensors", False),
        ("x.gguf", False),
        ("bin", False),
        ("x.bin.md", False),
    ],
)
def test_what_may_be_unpickled(path, pickle):
    assert holds_pickle(path) is pickle


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("model.safetensors.index.json", True),
        ("unet/diffusion_pytorch_model.safetensors.index.fp16.json", True),
        ("pytorch_model.bin.INDEX.JSON", True),
        ("index.json", False),
        ("model_index.json", False),
        ("a.index.json.md", False),
    ],
)
def test_indexes_of_shards(path, expected):
    assert is_index(path) is expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("model-00002-of-00005.safetensors", Shard("model", 2, "00005", ".safetensors")),
        ("a/b-00001-of-00001.gguf", Shard("a/b", 1, "00001", ".gguf")),
        ("m-00001-of-00002.fp16.safetensors", Shard("m", 1, "00002", ".fp16.safetensors")),
        ("m.fp16-00001-of-00002.safetensors", Shard("m.fp16", 1, "00002", ".safetensors")),
        ("m-00001-of-00002-00003-of-00004.bin", Shard("m-00001-of-00002", 3, "00004", ".bin")),
        ("model-00001-of-000163.safetensors", Shard("model", 1, "000163", ".safetensors")),
        ("model-00006-of-00005.bin", None),
        # TensorFlow counts from 0 and has no suffix: another kind of set.
        ("variables/variables.data-00000-of-00001", None),
        ("model-00000-of-00001.bin", None),
        ("model-1-of-2.bin", None),
        ("model-\u0661\u0661\u0661\u0661\u0661-of-\u0661\u0661\u0661\u0661\u0661.bin", None),
        ("model-00001-of-00002/a.bin", None),
        ("model-00001-of-00002", None),
    ],
)
def test_shards(path, expected):
    assert shard(path) == expected
    if expected is not None:
        assert expected.path(expected.number) == path


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("m-Q4_K_M.gguf", "m-Q4_K_M.gguf"),
        ("Q8_0/m-Q8_0-00001-of-00002.gguf", "Q8_0/m-Q8_0.gguf"),
        ("m.Q8_0.gguf-split-b", "m.Q8_0.gguf"),
        ("m.Q6_K.gguf.part2of2", "m.Q6_K.gguf"),
        ("ggml-base.bin", "ggml-base.bin"),
        ("mmproj-F16.gguf", None),
        ("m-mmproj-model-f16.gguf", None),
        ("m.imatrix.gguf", None),
        ("imatrix_unsloth.gguf", None),
        ("mmproj/m.gguf", "mmproj/m.gguf"),
        ("summproject.gguf", "summproject.gguf"),
        ("model.safetensors", None),
        ("config.json", None),
    ],
)
def test_variants(path, expected):
    assert variant(path) == expected


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        ("m.gguf-split-a m.gguf-split-b M.Q6_K.gguf.part1of2", "m.gguf m.gguf M.Q6_K.gguf"),
        ("o/m.onnx o/m.onnx_data o/m.onnx_data_1 o/m.onnx.data", "o/m.onnx o/m.onnx o/m.onnx o/m.onnx"),
        ("openvino_model.xml x/openvino_model_int8.bin", "openvino_model x/openvino_model_int8"),
        ("a/M.mlpackage/Manifest.json a/M.mlpackage/Data/m.mlmodel", "a/M.mlpackage a/M.mlpackage"),
        ("m.ckpt.index m.ckpt-7.data-00000-of-00001", "m.ckpt m.ckpt-7"),
        ("s/saved_model.pb s/variables/variables.index s/variables/variables.data-00000-of-00001", "s/ s/ s/"),
        ("group1-shard1of2.bin a/group1-shard2of2", "group1of2 a/group1of2"),
        # A whole file is no piece, and what only looks like one is none.
        ("m.gguf m.onnx.json m.mlmodelc.zip model.xml m-00001-of-00002.gguf m.ckpt variables/x", "-------"),
    ],
)
def test_bundles(paths, expected):
    assert [bundle(path) for path in paths.split()] == (
        expected.split() if expected[0] != "-" else [None] * len(expected)
    )
    assert bundle("saved_model.pb") == ""


@pytest.mark.parametrize(
    "path",
    [
        "LICENSE", "license", "Licence.txt", "LICENSE.md", "LICENSE.TXT", "a/b/LICENSE.rst", "LICENSE.pdf",
        "license.html",
        "LICENSE-MIT", "LICENSE_zh.md", "LICENSE-APACHE-2.0.txt", "LICENSE-CC-BY-4.0", "MODEL_LICENSE", "LICENSE-MODEL",
        "LICENSES", "UNLICENSE", "NOTICE", "Notice.txt", "NOTICES", "THIRD_PARTY_NOTICES.txt",
        "third-party-licenses.md",
        "COPYING", "COPYING-LESSER.txt", "COPYRIGHT", "EULA.pdf", "USE_POLICY.md",
        "USE-POLICY", "ACCEPTABLE_USE_POLICY.md", "TERMS", "TERMS_OF_USE.md", "terms-of-service.txt",
    ],
)  # fmt: skip
def test_licences(path):
    assert is_licence(path)


@pytest.mark.parametrize(
    "path",
    [
        "README.md", "license.py", "LICENSE.json", "license-plate.onnx", "license_plate_detector.pt", "licenses/a.txt",
        "LICENSE.bin", "LICENSE-x.safetensors", "LICENSE-2.7z", "mylicense", "policy.md", "reuse_policy.md", "term.txt",
        "determs", "LICENSE .md", "LICENSE\n", "x-LICENSE", "",
    ],
)  # fmt: skip
def test_what_is_no_licence(path):
    assert not is_licence(path)
