"""Reading, checking and writing a large lock, beside parsers and writers that check nothing and digest nothing.

    pip install tomli_w
    python tests/bench/lock.py [--rounds 15] [--models 1000] [--tomlkit]

Everything happens in this process and in memory: no file is read, and no contestant starts up.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import statistics
import time
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import replace

from tests.bench.timing import begin, print_line, print_table
from vcm.core.lock import Lock, LockedFile, LockedModel, lock_text, parse_lock, staleness
from vcm.core.manifest import parse_manifest
from vcm.version import VERSION

# Repos as they are found on the Hub, 20 files each. {} is the model's own name, which some bear in their files' names.
_REPOS = """
.gitattributes LICENSE README.md USE_POLICY.md config.json generation_config.json model.safetensors.index.json
special_tokens_map.json tokenizer.json tokenizer_config.json
model-00001-of-00010.safetensors model-00002-of-00010.safetensors model-00003-of-00010.safetensors
model-00004-of-00010.safetensors model-00005-of-00010.safetensors model-00006-of-00010.safetensors
model-00007-of-00010.safetensors model-00008-of-00010.safetensors model-00009-of-00010.safetensors
model-00010-of-00010.safetensors

.gitattributes LICENSE.md README.md model_index.json {}.jpg feature_extractor/preprocessor_config.json
safety_checker/config.json safety_checker/model.safetensors scheduler/scheduler_config.json
text_encoder/config.json text_encoder/model.safetensors tokenizer/merges.txt tokenizer/special_tokens_map.json
tokenizer/tokenizer_config.json tokenizer/vocab.json tokenizer_2/tokenizer.json
unet/config.json unet/diffusion_pytorch_model.safetensors vae/config.json vae/diffusion_pytorch_model.safetensors

.gitattributes LICENSE README.md config.json
{}-Q2_K.gguf {}-Q3_K_S.gguf {}-Q3_K_M.gguf {}-Q3_K_L.gguf {}-Q4_0.gguf {}-Q4_K_S.gguf {}-Q4_K_M.gguf {}-Q5_0.gguf
{}-Q5_K_S.gguf {}-Q5_K_M.gguf {}-Q6_K.gguf {}-Q8_0.gguf {}-IQ4_XS.gguf {}-IQ4_NL.gguf {}-F16.gguf {}-BF16.gguf

.gitattributes 1_Pooling/config.json 2_Normalize/config.json README.md added_tokens.json config.json
config_sentence_transformers.json data_config.json merges.txt model.safetensors modules.json onnx/{}.onnx
onnx/{}_quantized.onnx openvino/openvino_model.xml sentence_bert_config.json special_tokens_map.json
tokenizer.json tokenizer_config.json train_script.py vocab.json
"""
_WEIGHTS = (".safetensors", ".gguf", ".onnx")
_OWNERS = ("acme", "open-weights", "Sentence-Labs", "video.tools", "TheQuantizer", "k2_research", "vision-lab")
_FAMILIES = ("Frame-Classifier", "whisper", "Words-Instruct", "MiniLM", "diffusion-xl", "clip-vit", "Scenes_v2")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument("--tomlkit", action="store_true", help="tomlkit too, which takes seconds a round")
    arguments = parser.parse_args()
    try:
        import tomli_w
    except ImportError:
        raise SystemExit("pip install tomli_w: it is what writing is compared with") from None

    manifest_data = "".join(map(_requirement, range(arguments.models))).encode()
    manifest = parse_manifest(manifest_data, vcm_version=VERSION)
    models = sorted(map(_model, range(arguments.models)), key=lambda model: model.name)
    lock = Lock(manifest_sha256=manifest.digest, models=tuple(models))
    text = lock_text(lock)
    data, document = text.encode(), tomllib.loads(text)
    as_json = json.dumps(document)
    # A model keeps its digest once it was computed; as after resolving, each of these has yet to compute it.
    unwritten = [replace(lock, models=tuple(map(replace, lock.models))) for _ in range(arguments.rounds + 1)]

    def read_and_check() -> None:
        if staleness(parse_lock(data), parse_manifest(manifest_data, vcm_version=VERSION)) is not None:
            raise SystemExit("the lock does not fit its manifest")

    reading = {
        "tomllib, bare": lambda: tomllib.loads(text),
        "json, bare": lambda: json.loads(as_json),
        "vcm, the lock": lambda: parse_lock(data),
        "vcm, its manifest": lambda: parse_manifest(manifest_data, vcm_version=VERSION),
        "vcm, both and staleness": read_and_check,
    }
    writing: dict[str, Callable[[], object]] = {
        "tomli_w": lambda: tomli_w.dumps(document),
        "vcm": lambda: lock_text(unwritten.pop()),
    }
    if arguments.tomlkit:
        import tomlkit

        reading["tomlkit, bare"] = lambda: tomlkit.parse(text)
        writing["tomlkit"] = lambda: tomlkit.dumps(document)

    begin()
    files = sum(len(model.files) for model in models)
    print_line(
        f"a lock of {len(models)} models and {files} files, {len(data)} bytes; its manifest {len(manifest_data)}"
    )
    _compare("reading", reading, arguments.rounds)
    _compare("writing", writing, arguments.rounds)


def _compare(title: str, contestants: Mapping[str, Callable[[], object]], rounds: int) -> None:
    """Time the contestants in turn, so many rounds after one that does not count; the first is the peer."""
    taken: dict[str, list[float]] = {name: [] for name in contestants}
    for counts in (False, *[True] * rounds):
        for name, call in contestants.items():
            gc.collect()
            start = time.perf_counter()
            call()
            if counts:
                taken[name].append((time.perf_counter() - start) * 1000)
    base = statistics.median(next(iter(taken.values())))
    rows = [
        (name, f"{middle:.1f}", f"{min(times):.1f}-{max(times):.1f}", f"{middle / base:.2f}")
        for name, times in taken.items()
        for middle in [statistics.median(times)]
    ]
    print_table(f"{title} ({rounds} rounds)", ("", "ms", "range", "ratio"), rows)


def _name(number: int) -> str:
    return f"{_FAMILIES[number % len(_FAMILIES)]}-{number}B"


def _repo(number: int) -> str:
    return f"{_OWNERS[number % len(_OWNERS)]}/{_name(number)}"


def _requirement(number: int) -> str:
    lines = [f"[models.{_name(number).lower()}]", f'repo = "{_repo(number)}"']
    match number % 6:
        case 0 | 1:
            lines.append(f'version = "~={number % 9}.{number % 5}"')
        case 2:
            lines.append(f'revision = "{_digest("commit", number)[:40]}"')
        case 3:
            lines += ['include = ["*.safetensors", "*.json"]', 'exclude = ["fp16/**"]']
        case 4:
            lines += ['groups = ["audio"]', "optional = true"]
    return "\n".join(lines) + "\n\n"


def _model(number: int) -> LockedModel:
    asked = f"{number % 9}.{number % 5}" if number % 6 < 2 else None
    version = f"{asked}.{number % 3}" if asked else None
    commit = _digest("commit", number)[:40]
    return LockedModel(
        name=_name(number).lower(),
        source="huggingface",
        repo=_repo(number),
        repo_id=_digest("repo", number)[:24],
        gated="auto" if number % 10 == 0 else None,
        requested=f"~={asked}" if asked else commit if number % 6 == 2 else None,
        version=version,
        ref=f"v{version}" if version else None,
        commit=commit,
        format="safetensors" if number % 4 != 2 else "gguf",
        type="text-generation" if number % 2 else "image-classification",
        license="apache-2.0",
        files=_files(number),
    )


def _files(number: int) -> tuple[LockedFile, ...]:
    repos = _REPOS.split("\n\n")
    paths = sorted(path.format(_name(number)) for path in repos[number % len(repos)].split())
    digests = {path: _digest(path, number) for path in paths}
    return tuple(
        LockedFile(path, int(digest[:8], 16) + 2**31, digest)
        if path.endswith(_WEIGHTS)
        else LockedFile(path, int(digest[:4], 16), digest, digest[::-1][:40])
        for path, digest in digests.items()
    )


def _digest(what: str, number: int) -> str:
    return hashlib.sha256(f"{what} {number}".encode()).hexdigest()


if __name__ == "__main__":
    main()
