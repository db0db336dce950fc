"""What a file's name says: format, pickles, shards, variants, licences."""

from __future__ import annotations

import pytest

from vcm.core.formats import FORMATS, holds_pickle, weight_format


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
