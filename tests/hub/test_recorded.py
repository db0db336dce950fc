"""Recorded answers of the real Hub: each becomes the values it holds, or the right error; none is left out."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
from requests.structures import CaseInsensitiveDict

from vcm.core.digest import git_blob_hash
from vcm.core.metadata import Ref, RemoteFile
from vcm.errors import (
    AUTHENTICATION_ERROR,
    NETWORK_ERROR,
    NOT_FOUND,
    ModelNotFoundError,
    RegistryError,
)
from vcm.http.addresses import origin
from vcm.http.client import _check_redirect
from vcm.http.faults import NetworkFaultError
from vcm.hub import responses
from vcm.hub.refusals import refusal

FOLDER = Path(__file__).parents[3] / "shared" / "corpora" / "recorded"
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"the recorded answers are not at {FOLDER}")

HUB = "https://huggingface.co"

# Model info: id, commit, the hub's own id, gated, disabled, task, licence.
INFO: dict[str, tuple[str, str, str, str | None, bool, str | None, str | None]] = {
    "01_model-info_clip-vit-base-patch32_200": (
        "openai/clip-vit-base-patch32", "3d74acf9a28c67741b2f4f2ea7635f0aaf6f0268", "621ffdc136468d709f17ea62",
        None, False, "zero-shot-image-classification", None,
    ),
    "02_model-info_stable-diffusion-v1-4_200": (
        "CompVis/stable-diffusion-v1-4", "133a221b8aa7292a167afc5127cb63fb5005638b", "6300e0f58a4db6e9052953a8",
        None, False, "text-to-image", "creativeml-openrail-m",
    ),
    "03_model-info_llama-3.1-8b-instruct_gated-manual_200": (
        "meta-llama/Llama-3.1-8B-Instruct", "0e9e39f249a16976918f6564b8830bc894c89659", "6698d8a0653e4babe21e1e7d",
        "manual", False, "text-generation", "llama3.1",
    ),
    "05_model-info_google-bert_bert-base-uncased_200": (
        "google-bert/bert-base-uncased", "86b5e0934494bd15c9632b12f734a8a67f723594", "621ffdc036468d709f174338",
        None, False, "fill-mask", "apache-2.0",
    ),
    "09a_drift_roberta-base-squad2_2024-04": (
        "deepset/roberta-base-squad2", "cbf50ba81465d4d8676b8bab348e31835147541b", "621ffdc136468d709f17a5fd",
        None, False, "question-answering", "cc-by-4.0",
    ),
    "09b_drift_roberta-base-squad2_2025-01": (
        "deepset/roberta-base-squad2", "adc3b06f79f797d1c575d5479d6f5efe54a9e3b4", "621ffdc136468d709f17a5fd",
        None, False, "question-answering", "cc-by-4.0",
    ),
    "10a_drift_paraphrase-albert_2024-04": (
        "sentence-transformers/paraphrase-albert-small-v2", "08663f27e632f8215246d80118296ebc05b717a8",
        "621ffdc136468d709f1802e8", None, False, "sentence-similarity", "apache-2.0",
    ),
    "10b_drift_paraphrase-albert_2025-01": (
        "sentence-transformers/paraphrase-albert-small-v2", "39d5b65549dbfc88a4c56fc853a8b7242873d583",
        "621ffdc136468d709f1802e8", None, False, "sentence-similarity", "apache-2.0",
    ),
    "12_model-info_zephyr-orpo_200": (
        "HuggingFaceH4/zephyr-orpo-141b-A35b-v0.1", "a3be084543d278e61b64cd600f28157afc79ffd3",
        "6616b7983ead6ffb0d483faf", None, False, "text-generation", "apache-2.0",
    ),
    "20_model-info-blobs_qwen3-0.6b_200": (
        "Qwen/Qwen3-0.6B", "c1899de289a04d12100db370d81485cdf75e47ca", "680da718233834890aa01f51",
        None, False, "text-generation", "apache-2.0",
    ),
    "21_model-info-blobs_mcpotato-42-eicar-street_200": (
        "mcpotato/42-eicar-street", "8b3861f6931c4026b0cd22b38dbc09e7668983ac", "621ffdc136468d709f17ddb4",
        None, False, None, None,
    ),
    "22_model-info_mcpotato-42-eicar-street_2024-08_200": (
        "mcpotato/42-eicar-street", "b9c253233a4bdc49df66d54d0eff878915ac086c", "621ffdc136468d709f17ddb4",
        None, False, None, None,
    ),
    "37_model-expand_stable-diffusion-v1-5_200": (
        "stable-diffusion-v1-5/stable-diffusion-v1-5", "451f4fe16113bff5a5d2269ed5ad43b0592e9a14",
        "66d19580e2632490a6bc5829", None, False, "text-to-image", "creativeml-openrail-m",
    ),
    "38_model-expand_llama-3.1-8b_gated_200": (
        "meta-llama/Llama-3.1-8B", "d04e592bb4f6aa9cfee91e2e20afa771667e1d4b", "66944f1fe0c5c2e493a804f5",
        "manual", False, "text-generation", "llama3.1",
    ),
    "39_model-expand_gpt-4chan_disabled_200": (
        "ykilcher/gpt-4chan", "9306aeb6c1ff64e9f5ab7b22ddc6da18fe0dccff", "6283a9b7806a1feb9fbacf18",
        "auto", True, "text-generation", "apache-2.0",
    ),
    "40_model-expand_thebloke-llama-2-7b-gguf_200": (
        "TheBloke/Llama-2-7B-GGUF", "b4e04e128f421c93a5f1e34ac4d7ca9b0af47b80", "64f5fd954d3b1dd311d30e28",
        None, False, "text-generation", "llama2",
    ),
    "95_model-info_whisper-base_200": (
        "openai/whisper-base", "e37978b90ca9030d5170a5c07aadb050351a65bb", "63314bc6e092098b57b97fd5",
        None, False, "automatic-speech-recognition", "apache-2.0",
    ),
}  # fmt: skip

# Model info that cannot be used, and what is said of it.
UNUSABLE_INFO = {
    "11_model-info_expand_llama_200": "x: the hub sends no usable sha",
    "23_revision-info_wikitext_refs-convert-parquet_200": "x: the hub's answer lacks id",
}

# Listings: where the entries stand in the body, how many files, and the SHA-256 of those in LFS by path.
TREES: dict[str, tuple[str | None, int, dict[str, str]]] = {
    "50_tree_bert-base-uncased_dd4bc8b2_200": (None, 5, {
        "pytorch_model.bin": "097417381d6c7230bd9e3557456d726de6e83245ec8b24f529f60198a67b203a",
        "tf_model.h5": "a7a17d6d844b5de815ccab5f42cad6d24496db3850a2a43d8258221018ce87d2",
    }),
    "51_tree-expand_bert-base-uncased_dd4bc8b2_200": (None, 5, {
        "pytorch_model.bin": "097417381d6c7230bd9e3557456d726de6e83245ec8b24f529f60198a67b203a",
        "tf_model.h5": "a7a17d6d844b5de815ccab5f42cad6d24496db3850a2a43d8258221018ce87d2",
    }),
    "54_tree-root_ornith-35b_200": (None, 13, {}),
    "55_tree-root_magenta-realtime_200": (None, 3, {}),
    "56_tree_whispercpp_turbo_partial_200": (None, 3, {}),
    "57_tree-subpath_piper-joe_200": (None, 3, {}),
    "58_tree-entry_and_raw-pointer_adetailer": ("tree_entry", 1, {
        "face_yolov8n.pt": "70b640f8f60b1cf0dcc72f30caf3da9495eb2fb6509da48c53374ad6806e6a9c",
    }),
    "73_api-shapes_gpt2_blobs-and-tree": ("tree_excerpt", 2, {
        "model.safetensors": "248dfc3911869ec493c76e65bf2fcf7f615828b0254c12b473182f0f81d3a707",
    }),
    "94_list-repo-tree_arxiv-nlp": (None, 7, {
        "flax_model.msgpack": "d88b0d6a6ff9c3f8151f9d3228f57092aaea997f09af009eefd7373a77b5abb9",
        "pytorch_model.bin": "9be78edb5b928eba33aa88f431551348f7466ba9f5ef3daf1d552398722a5436",
    }),
}  # fmt: skip
LFS_COUNTS = {
    "54_tree-root_ornith-35b_200": 3,
    "55_tree-root_magenta-realtime_200": 0,
    "56_tree_whispercpp_turbo_partial_200": 2,
    "57_tree-subpath_piper-joe_200": 1,
}

REFS: dict[str, list[tuple[str | None, list[Ref]]]] = {
    "60_refs_gpt2_200": [(None, [Ref("main", "branch", "607a30d783dfa663caf39e06633721c8d4cfcd7e")])],
    "61_refs_the-stack_tags-and-branches": [
        ("2022-12-20", [
            Ref("v1.0", "tag", "c37a8cd1e382064d8aced5e05543c5f7753834da"),
            Ref("main", "branch", "18edc1591d9ce72aa82f56c4431b3c969b210ae3"),
            Ref("v1.1.a1", "branch", "f9826b862d1567f3822d3d25649b0d6d22ace714"),
        ]),
        ("2024-03-29 (partial)", [
            Ref("main", "branch", "349a71353fd5868fb90b593ef09e311379da498a"),
            Ref("v1.2", "branch", "5d3ecf104981e98be039c6b397ed479916fcd767"),
        ]),
    ],
}  # fmt: skip

NO_REPO = ("no such repo, or it is private", "check the spelling; for a private repo set HF_TOKEN")
GATED = (
    "the repo is gated, and access was not granted",
    "accept its terms at https://huggingface.co/acme/x, then set HF_TOKEN to a token of that account",
)
NO_FILE = ("no such file", "the publisher removed it: run vcm lock --upgrade")
NO_REVISION = ("no such revision", "check version or revision in models.toml")
# Refusals to an anonymous caller: what each answer of a file means; None for an answer that is none.
REFUSALS: dict[str, list[tuple[str, str] | None]] = {
    "30_commits_bad-revision_404": [NO_REVISION],
    "31_model-not-found_401": [NO_REPO],
    "32_commits_gated_401": [GATED],
    "41_org-not-found_404": [NO_REPO],
    "59_tree-subpath_missing_404": [NO_FILE],
    "75_resolve-head_missing-file_404": [NO_FILE],
    "76_resolve-head_gated_401": [GATED],
    "89_gate-matrix_2026-10-05": [GATED, GATED, GATED, NO_REPO, NO_FILE, None],
    "90_rate-limit_429": [("too many requests", "try again in 56 s")],
    "92_missing-vs-bad-revision_2026-07-17": [NO_REPO, NO_REVISION],
}
CODES = {NO_REPO: NOT_FOUND, GATED: AUTHENTICATION_ERROR, NO_FILE: NOT_FOUND, NO_REVISION: NOT_FOUND}

# Renamed repos: the API's redirects, which the client follows on the hub's own origin.
RENAMES = (
    "04_rename_bert-base-uncased_307",
    "06_rename_t5-small_307",
    "07_rename_meta-llama-3.1-8b-instruct_307",
    "34_redirect_renamed_llama-3.1-8b_307",
    "35_redirect_case_gpt2_307",
    "36_redirect_other-repo_runwayml-sd15_307",
)
# Redirects of file contents: to another place on the hub, or to another host.
TO_CACHE = (
    "70_resolve-head_git-file_gpt2-config_307-200",
    "74_resolve-head_git-file_full-headers_307",
    "77_resolve-head_git-file_2_307",
    "93_httpcore-debug_resolve_307",
)
TO_CDN = {
    "71_resolve-head_lfs-xet_gpt2-safetensors_302": "us.aws.cdn.hf.co",
    "78_resolve_lfs_whisper-tiny_302-206": "us.aws.cdn.hf.co",
    "83_resolve_lfs_2023_cdn-lfs_302": "cdn-lfs.huggingface.co",
    "84_resolve_lfs_2025_cas-bridge_302": "cas-bridge.xethub.hf.co",
    "85_resolve_lfs_2026_us-aws-cdn_302": "us.aws.cdn.hf.co",
}
OTHERS = (
    "81_resolve-get_git-file_2024_200_with-body",
    "88_tree-pagination_link-header",
    "91_redirect-table_2026-10-02",
)
NEVER_MET = {
    "08_rename-with-query_meta-llama_307": "vcm asks for no expanded fields; file 07 is the same redirect without",
    "13_conflict_repo-create_409": "vcm makes no repos",
    "33_commits_gpt2_200": "vcm lists no commits",
    "52_paths-info_bert_tf_model.h5_200": "vcm lists whole trees, never single paths",
    "53_resolve-head_bert_asserted": "values that another client's tests assert, not an answer",
    "72_cdn-range_gpt2-safetensors_206": "a range with an end; vcm asks from an offset to the end",
    "79_resolve_lfs_minilm-onnx_302": "an answer to HEAD, which vcm does not send, recorded without its Location",
    "80_resolve_lfs_granite-embedding_302-link": "likewise",
    "82_resolve-head_lfs_safety-checker_2023_200": "a mirror's answer to HEAD",
    "86_resolve_qwen3.8-27b-fp8_git-and-lfs": "recorded without the Location",
    "87_commits_qwen3.8-27b-fp8_readme-only-moves": "vcm lists no commits",
}


def recorded(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_bytes())


def answers(name: str) -> list[Any]:
    response = recorded(name)["response"]
    return response if isinstance(response, list) else [response]


def location(answer: Any) -> str:
    """The target of a recorded redirect; where the source cut it, a note in brackets follows."""
    return re.sub(r"\s*\(.*elided.*\)$", "", answer["headers"]["location"])


def test_no_recording_is_left_out():
    table = [*INFO, *UNUSABLE_INFO, *TREES, *REFS, *REFUSALS, *RENAMES, *TO_CACHE, *TO_CDN, *OTHERS, *NEVER_MET]
    assert sorted(table) == sorted(path.stem for path in FOLDER.glob("*.json"))
    assert len(table) == len(set(table)) == 69
    assert {path.name for path in FOLDER.iterdir() if path.suffix != ".json"} == {"README.md", "vcr_model_info.jsonl"}


@pytest.mark.parametrize("name", INFO)
def test_model_info(name):
    body = recorded(name)["response"]["body"]
    info = responses.repo_info(responses.parse_json(json.dumps(body).encode(), "x"), "x")
    found = (info.repo, info.commit, info.repo_id, info.gated, info.disabled, info.task, info.license)
    assert found == INFO[name]
    assert (body["id"], body["sha"], body["_id"]) == found[:3]
    assert info.new_version is None


@pytest.mark.parametrize("name", UNUSABLE_INFO)
def test_model_info_that_lacks_what_locking_needs(name):
    with pytest.raises(RegistryError) as caught:
        responses.repo_info(recorded(name)["response"]["body"], "x")
    assert str(caught.value) == UNUSABLE_INFO[name]


@pytest.mark.parametrize("name", TREES)
def test_listings(name):
    key, count, digests = TREES[name]
    body = recorded(name)["response"]["body"]
    entries = body if key is None else body[key]
    entries = entries if isinstance(entries, list) else [entries]
    files = responses.tree_files(entries, "x")
    assert len(files) == count
    in_lfs = {file.path: file.sha256 for file in files if file.sha256}
    assert len(in_lfs) == LFS_COUNTS.get(name, len(digests))
    assert digests.items() <= in_lfs.items()
    by_path = {entry["path"]: entry for entry in entries if entry["type"] == "file"}
    for file in files:
        entry = by_path[file.path]
        pointer = entry.get("lfs")
        assert file == RemoteFile(
            entry["path"],
            entry["size"],
            oid=None if pointer else entry["oid"],
            sha256=pointer["oid"] if pointer else None,
        )
        assert file.sha256 != entry.get("xetHash", "")
        if pointer:
            text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{file.sha256}\nsize {file.size}\n".encode()
            digest = git_blob_hash(len(text))
            digest.update(text)
            assert digest.hexdigest() == entry["oid"], "the recording itself is whole"


@pytest.mark.parametrize("name", REFS)
def test_refs(name):
    body = recorded(name)["response"]["body"]
    for key, expected in REFS[name]:
        assert list(responses.refs(body if key is None else body[key], "x")) == expected


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals(name):
    found = answers(name)
    assert len(found) == len(REFUSALS[name])
    for answer, expected in zip(found, REFUSALS[name], strict=True):
        if expected is None:
            assert answer["status"] == 200
            continue
        headers = CaseInsensitiveDict(answer["headers"])
        error = refusal(answer["status"], headers, endpoint=HUB, subject="", repo="acme/x", token_source=None)
        assert (error.message, error.hint) == expected
        assert error.error_code == CODES.get(expected, NETWORK_ERROR)
        assert isinstance(error, ModelNotFoundError) == (error.error_code == NOT_FOUND)
        assert isinstance(error, NetworkFaultError) == (answer["status"] == 429)
        assert error.retry_after == (56.0 if answer["status"] == 429 else None)


def renames() -> list[tuple[str, str]]:
    if not FOLDER.is_dir():
        return []
    single = [(urlsplit(recorded(name)["request"]["url"]).path, location(answers(name)[0])) for name in RENAMES]
    rows = recorded("91_redirect-table_2026-10-02")["response"]["body"]
    plain = re.compile(r"/api/models/[^/?]+(/[^/?]+)?")
    return sorted({*single, *((asked, target) for asked, target in rows if plain.fullmatch(asked))})


@pytest.mark.parametrize(("asked", "target"), renames())
def test_a_renamed_repo_is_followed_to_its_present_name(connect, loopback, http_answer, asked, target):
    def answer(connection, request):
        if request.target == asked:
            connection.sendall(http_answer(307, {"Location": target}))
        else:
            name = request.target.removeprefix("/api/models/")
            connection.sendall(http_answer(body=json.dumps({"id": name, "sha": "0" * 40}).encode()))

    server = loopback(answer)
    info = connect(server.url).client.info(asked.removeprefix("/api/models/"), None)
    assert info.repo == target.removeprefix("/api/models/")
    assert [request.target for request in server.asked] == [asked, target]


def test_the_table_of_redirects_stays_on_the_hub():
    rows = recorded("91_redirect-table_2026-10-02")["response"]["body"]
    assert len(rows) == 9
    for asked, target in rows:
        _check_redirect(HUB + asked, urljoin(HUB + asked, target), origin(HUB), leave_origin=False)


@pytest.mark.parametrize("name", TO_CACHE)
def test_a_small_file_is_redirected_on_the_hub_itself(name):
    requests = recorded(name)["request"]
    redirects = [answer for answer in answers(name) if answer["status"] == 307]
    assert redirects
    for request, answer in zip(requests if isinstance(requests, list) else [requests], redirects, strict=True):
        target = urljoin(request["url"], location(answer))
        assert target.startswith(f"{HUB}/api/resolve-cache/models/")
        _check_redirect(request["url"], target, origin(request["url"]), leave_origin=False)


@pytest.mark.parametrize("name", TO_CDN)
def test_a_large_file_is_redirected_to_another_host_and_only_file_requests_follow(name):
    answer = answers(name)[0]
    assert answer["status"] == 302
    target = location(answer)
    assert urlsplit(target).hostname == TO_CDN[name]
    _check_redirect(f"{HUB}/a/b", target, origin(HUB), leave_origin=True)
    with pytest.raises(RegistryError) as caught:
        _check_redirect(f"{HUB}/a/b", target, origin(HUB), leave_origin=False)
    assert str(caught.value) == f"huggingface.co: redirects to another host ({TO_CDN[name]})"
    _, question, query = target.partition("?")
    assert not question or query not in caught.value.message + caught.value.hint


def test_a_recorded_file_has_the_git_id_that_its_etag_says():
    answer = answers("81_resolve-get_git-file_2024_200_with-body")[0]
    data = answer["body_text"].encode()
    assert len(data) == int(answer["headers"]["content-length"]) == 327
    digest = git_blob_hash(len(data))
    digest.update(data)
    assert f'"{digest.hexdigest()}"' == answer["headers"]["etag"]


def test_the_link_to_the_next_page_is_followed_on_the_hub_alone(connect, loopback, http_answer):
    link = answers("88_tree-pagination_link-header")[0]["headers"]["link"].partition(" (")[0]

    def answer(connection, request):
        headers = {} if "cursor=" in request.target else {"Link": link.replace(HUB, server.url)}
        connection.sendall(http_answer(headers=headers, body=b"[]"))

    server = loopback(answer)
    made = connect(server.url)
    assert made.client.tree("Qwen/Qwen3.8-27B-FP8", "0" * 40) == ()
    assert len(server.asked) == 2
    assert "recursive=true&limit=5&cursor=" in server.asked[1].target

    abroad = loopback(http_answer(headers={"Link": link}, body=b"[]"))
    with pytest.raises(RegistryError) as caught:
        connect(abroad.url).client.tree("Qwen/Qwen3.8-27B-FP8", "0" * 40)
    assert str(caught.value) == (
        "the files of Qwen/Qwen3.8-27B-FP8 at 000000000000: the hub's next page is on another host"
    )


def exchanges() -> list[Any]:
    path = FOLDER / "vcr_model_info.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def test_the_raw_recordings_are_of_three_kinds():
    statuses = [exchange["response"]["status"] for exchange in exchanges()]
    assert (len(statuses), statuses.count(200), statuses.count(307)) == (72, 68, 4)


@pytest.mark.parametrize("number", range(72))
def test_each_raw_recording(number):
    exchange = exchanges()[number]
    asked, answer = exchange["request"]["url"], exchange["response"]
    if answer["status"] == 307:
        target = urljoin(asked, answer["headers"]["location"])
        _check_redirect(asked, target, origin(asked), leave_origin=False)
        assert target.startswith(f"{HUB}/api/models/")
        return
    value = responses.parse_json(answer["body_text"].encode(), "x")
    if "expand=" in asked:
        assert "sha" not in value
        with pytest.raises(RegistryError, match="x: the hub sends no usable sha"):
            responses.repo_info(value, "x")
        return
    info = responses.repo_info(value, "x")
    assert (info.repo, info.commit, info.repo_id) == (value["id"], value["sha"], value["_id"])
    assert info.gated == (value["gated"] or None)
    assert info.disabled == value["disabled"]
    assert info.task == value.get("pipeline_tag")
    named = (value.get("cardData") or {}).get("license")
    tagged = [tag.removeprefix("license:") for tag in value["tags"] if tag.startswith("license:")]
    assert info.license == (named or (tagged or [None])[0])
