"""What a file is for, by its name."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.test_lock_properties import CALM, paths
from vcm.core import roles
from vcm.core.formats import is_licence, weight_format
from vcm.core.roles import ROLES, in_order, role

TABLE = {
    "weights": """
        model.safetensors model-00001-of-00002.safetensors model.safetensors.index.json pytorch_model.bin
        unet/diffusion_pytorch_model.fp16.bin model.Q4_K_M.gguf onnx/model.onnx onnx/model.onnx_data tf_model.h5
        flax_model.msgpack openvino/openvino_model.xml coreml/x.mlpackage/Manifest.json rust_model.ot tokenizer.bin
        training_args.bin""",
    "tokenizer": """
        tokenizer.json tokenizer_config.json tokenizer.model TOKENIZER.JSON text_encoder/tokenizer.json
        special_tokens_map.json added_tokens.json vocab.txt vocab.json vocab.bpe merges.txt spiece.model
        sentencepiece.bpe.model source.spm qwen.tiktoken tekken.json normalizer.json tokens.txt bpe.codes dict.txt
        tokenizer-v2.json vocabulary.txt""",
    "template": "chat_template.jinja chat_template.json additional_chat_templates/tool_use.jinja prompt.j2",
    "config": """
        config.json generation_config.json preprocessor_config.json modules.json 1_Pooling/config.json model_index.json
        voice.onnx.json params.json hyperparams.yaml config.pbtxt adapter_config.json tokenization.yml
        sentence_bert_config.json""",
    "code": """
        modeling_x.py tokenization_x.py licence.py lib/kernel.so lib/kernel.so.1.2 handler.PY build.sh demo.ipynb
        tokenizer.js LICENSE.py README.py""",
    "licence": """
        LICENSE LICENCE license.txt LICENSE.md LICENSE-MODEL NOTICE Notice.txt COPYING USE_POLICY.md THIRD-PARTY-NOTICE
        third_party_license.txt docs/LICENSE LICENSE.pdf""",
    "docs": "README.md README readme_zh.md CHANGELOG.md images/a.png a.JPEG logo.svg paper.pdf .gitattributes",
    "other": "requirements.txt voices.npz sample.wav data.parquet a unlicensed.txt noticed tokenizer .hidden model.zip",
}


@pytest.mark.parametrize(("expected", "path"), [(name, path) for name, text in TABLE.items() for path in text.split()])
def test_the_role_of_a_file(expected, path):
    assert role(path) == expected


def test_the_table_of_the_tests_and_of_the_docstring_have_every_role():
    assert tuple(TABLE) == ROLES
    assert set(re.findall(r"^    (\w+) ", roles.__doc__ or "", re.MULTILINE)) == set(ROLES) - {"other"}


def test_roles_are_listed_once_and_in_one_order():
    assert in_order(["docs", "weights", "code", "docs"]) == ("weights", "code", "docs")
    assert in_order([]) == ()


@CALM
@given(paths | st.text())
def test_every_name_has_a_role_whatever_its_case_and_its_folder(path):
    found = role(path)
    assert found in ROLES
    assert (found == "weights") == (weight_format(path) is not None)
    assert (found == "licence") == (is_licence(path) and found != "weights")
    if found != "weights":
        assert role(f"folder/{path}") in (found, "weights")
