"""What a model pulls in: locked as entries of their own, or refused in so many words."""

from __future__ import annotations

import hashlib
import json

import pytest

from vcm.core.lock import lock_text, parse_lock
from vcm.errors import AUTHENTICATION_ERROR, NOT_FOUND, RegistryError, VcmError

WEIGHTS = hashlib.shake_128(b"weights").digest(4000)
BASE = {"config.json": b'{"model_type": "llama"}', "model.safetensors": WEIGHTS}


def adapter(base: str, **more: object) -> dict[str, bytes]:
    config = {"peft_type": "LORA", "base_model_name_or_path": base, "revision": None, **more}
    return {"adapter_config.json": json.dumps(config).encode(), "adapter_model.safetensors": WEIGHTS[:1000]}


TEXT = '[models.lora]\nrepo = "acme/lora"\n'


def test_an_adapters_base_model_is_locked_beside_it(hub, session, lock):
    base = hub.add_repo("meta/llama", BASE, card={"license": "llama"})
    hub.add_repo("acme/lora", adapter("meta/llama"))
    within = session()
    found = lock(TEXT, within=within)
    assert [(model.name, model.via, model.repo, model.commit) for model in found.models] == [
        ("lora", None, "acme/lora", hub.repo("acme/lora").head()),
        ("lora.llama", "lora", "meta/llama", base.head()),
    ]
    assert [file.path for file in found.models[1].files] == ["config.json", "model.safetensors"]
    assert found.models[1].license == "llama"
    assert within.reporter.notices == ["lora: its base model meta/llama is locked beside it"]


def test_the_revision_that_the_adapter_names(hub, lock):
    base = hub.add_repo("meta/llama", BASE)
    first = base.head()
    base.commit({"config.json": b"{2}"})
    hub.add_repo("acme/lora", adapter("meta/llama", revision=first))
    assert lock(TEXT).get("lora.llama").commit == first


def test_a_card_that_says_adapter_is_enough(hub, lock):
    hub.add_repo("black/flux", BASE)
    hub.add_repo(
        "acme/lora",
        {"style.safetensors": WEIGHTS},
        card={"base_model": "black/flux", "base_model_relation": "adapter"},
    )
    assert [model.name for model in lock(TEXT).models] == ["lora", "lora.flux"]


@pytest.mark.parametrize("relation", ["finetune", "quantized", "merge", None])
def test_lineage_that_is_not_needed_to_run_is_not_followed(hub, lock, relation):
    card = {"base_model": "meta/llama"} | ({"base_model_relation": relation} if relation else {})
    hub.add_repo("acme/lora", BASE, card=card)
    assert [model.name for model in lock(TEXT).models] == ["lora"]


def test_code_of_another_repo_is_locked_without_its_weights(hub, session, lock):
    hub.add_repo("tii/code", {"modeling_falcon.py": b"import os\n", "LICENSE": b"MIT", **BASE})
    config = {"auto_map": {"AutoModel": "tii/code--modeling_falcon.Falcon", "AutoConfig": "modeling_own.Config"}}
    hub.add_repo("acme/m", {"config.json": json.dumps(config).encode(), "modeling_own.py": b"\n", "m.gguf": WEIGHTS})
    within = session()
    found = lock('[models.m]\nrepo = "acme/m"\n', within=within)
    code = found.get("m.code")
    assert (code.via, [file.path for file in code.files]) == ("m", ["LICENSE", "modeling_falcon.py"])
    notices = "\n".join(within.reporter.notices)
    assert "m: holds Python code" in notices
    assert "modeling_own.py" in notices
    assert "m.code: holds Python code" in notices


def test_a_chain_is_followed_to_its_end_and_a_circle_once(hub, lock):
    hub.add_repo("meta/llama", BASE)
    hub.add_repo("acme/one", adapter("acme/two"))
    hub.add_repo("acme/two", adapter("meta/llama"))
    assert [(model.name, model.via) for model in lock('[models.one]\nrepo = "acme/one"\n').models] == [
        ("one", None),
        ("one.llama", "one"),
        ("one.two", "one"),
    ]
    hub.add_repo("acme/a", adapter("acme/b"))
    hub.add_repo("acme/b", adapter("acme/a"))
    assert [model.name for model in lock('[models.a]\nrepo = "acme/a"\n').models] == ["a", "a.b"]


def test_follow_false_refuses_and_says_so(hub, session, lock):
    hub.add_repo("acme/lora", adapter("meta/llama"))
    within = session()
    found = lock(TEXT + "follow = false\n", within=within)
    assert [model.name for model in found.models] == ["lora"]
    (notice,) = within.reporter.notices
    assert notice == (
        "lora: its base model meta/llama (adapter_config.json) is not locked, since follow = false; "
        "the program must bring it"
    )
    assert not any("llama" in request.path for request in hub.requests)


def test_a_base_on_the_authors_disk_is_said_to_be_missing(hub, session, lock):
    hub.add_repo("acme/lora", adapter("/home/author/llama"))
    within = session()
    assert [model.name for model in lock(TEXT, within=within).models] == ["lora"]
    assert within.reporter.notices == [
        'lora: its base model "/home/author/llama" (adapter_config.json) is no repo; the program must bring it'
    ]


def test_a_base_that_cannot_be_had_fails_the_adapter(hub, lock):
    hub.add_repo("acme/lora", adapter("meta/llama"))
    with pytest.raises(RegistryError) as caught:
        lock(TEXT)
    assert str(caught.value) == (
        "lora: its base model meta/llama, which adapter_config.json names: meta/llama: no such repo, or it is private"
    )
    assert caught.value.hint.endswith("; or set follow = false on [models.lora]")
    assert caught.value.error_code == NOT_FOUND
    hub.add_repo("meta/llama", BASE, gated="manual")
    with pytest.raises(RegistryError) as caught:
        lock(TEXT)
    assert caught.value.error_code == AUTHENTICATION_ERROR
    assert f"{hub.endpoint}/meta/llama" in caught.value.hint


def test_what_was_pulled_in_stays_until_its_model_shall_move(hub, lock):
    base = hub.add_repo("meta/llama", BASE)
    hub.add_repo("acme/lora", adapter("meta/llama"))
    hub.add_repo("acme/other", BASE)
    before = lock(TEXT)
    second = base.commit({"config.json": b"{2}"})
    wider = TEXT + '[models.other]\nrepo = "acme/other"\n'
    after = lock(wider, before)
    assert [after.get(name) for name in ("lora", "lora.llama")] == list(before.models)
    assert lock(TEXT, before) is before
    assert lock(wider, after, upgrade={"other"}).get("lora.llama") == before.get("lora.llama")
    assert lock(wider, after, upgrade={"lora"}).get("lora.llama").commit == second


def test_what_was_pulled_in_is_installed_with_its_model_and_only_then(hub, vcm, manifest, project):
    hub.add_repo("meta/llama", BASE)
    hub.add_repo("acme/lora", adapter("meta/llama"))
    hub.add_repo("acme/m", {"config.json": b"{}"})
    manifest(TEXT + 'groups = ["style"]\n[models.m]\nrepo = "acme/m"\n')
    assert vcm("lock").code == 0
    assert 'name = "lora.llama"' in (project / "models.lock").read_text()
    assert 'via = "lora"' in (project / "models.lock").read_text()
    assert vcm("sync").code == 0
    assert "lora" not in vcm("check", "--json").out
    assert vcm("path", "lora.llama").code == 1
    assert vcm("sync", "--group", "style").code == 0
    assert vcm("check", "--group", "style").code == 0
    assert vcm("path", "lora.llama", "config.json").out.strip().endswith("config.json")
    assert vcm("lock", "--check").code == 0
    assert vcm("remove", "lora").code == 0
    assert "llama" not in (project / "models.lock").read_text()


def test_add_can_leave_it_out(hub, vcm, manifest, project):
    hub.add_repo("acme/lora", adapter("meta/llama"))
    manifest("")
    assert vcm("add", "lora", "acme/lora").code == 3
    assert vcm("add", "lora", "acme/lora", "--no-follow").code == 0
    assert (project / "models.toml").read_text() == '[models.lora]\nrepo = "acme/lora"\nfollow = false\n'


def test_the_base_is_locked_with_its_adapter_again_when_the_manifest_no_longer_requires_it(hub, vcm, manifest, project):
    base = hub.add_repo("meta/llama", BASE)
    hub.add_repo("acme/lora", adapter("meta/llama"))
    manifest(TEXT + '[models.base]\nrepo = "meta/llama"\n')
    assert vcm("lock").code == 0
    first = base.head()
    base.commit({"config.json": b"{2}"})
    assert vcm("remove", "base").code == 0
    text = (project / "models.lock").read_text()
    assert 'name = "lora.llama"' in text
    # A model that is locked by another name from now on is not moved by that.
    assert f'commit = "{first}"' in text
    assert vcm("add", "base", "meta/llama", "--no-sync").code == 0
    text = (project / "models.lock").read_text()
    assert "lora.llama" not in text
    assert 'name = "base"\nsource = "huggingface"\nrepo = "meta/llama"' in text
    assert f'commit = "{first}"' in text


@pytest.mark.parametrize(
    ("adapter_keys", "base_keys", "is_enough"),
    [
        ("", "", True),
        ('groups = ["a"]', "", True),
        ('groups = ["a"]', 'groups = ["b", "a"]', True),
        ("optional = true", "optional = true", True),
        ("marker = \"os_name == 'nt'\"", "marker = \"os_name == 'nt'\"", True),
        ("", 'groups = ["a"]', False),
        ('groups = ["a", "b"]', 'groups = ["a"]', False),
        ("", "optional = true", False),
        ("", "marker = \"os_name == 'nt'\"", False),
    ],
)
def test_a_base_that_is_not_always_installed_with_its_adapter_is_locked_for_it(
    hub, lock, adapter_keys, base_keys, is_enough
):
    hub.add_repo("meta/llama", BASE)
    hub.add_repo("acme/lora", adapter("meta/llama"))
    found = lock(f'{TEXT}{adapter_keys}\n[models.base]\nrepo = "meta/llama"\n{base_keys}\n')
    assert [model.name for model in found.models] == ["base", "lora"] + ([] if is_enough else ["lora.llama"])


def test_the_manifests_names_are_its_own(hub, vcm, manifest, project):
    hub.add_repo("meta/llama", BASE)
    hub.add_repo("acme/lora", adapter("meta/llama"))
    hub.add_repo("acme/m", {"config.json": b"{}"})
    manifest(TEXT)
    assert vcm("lock").code == 0
    assert vcm("add", "lora.llama", "acme/m", "--no-sync").code == 0
    added = (project / "models.lock").read_bytes()
    models = parse_lock(added).models
    assert [(model.name, model.repo, model.via) for model in models] == [
        ("lora", "acme/lora", None),
        ("lora.llama", "acme/m", None),
        ("lora.meta-llama", "meta/llama", "lora"),
    ]
    (project / "models.lock").unlink()
    assert vcm("lock").code == 0
    assert (project / "models.lock").read_bytes() == added


def test_two_models_whose_names_and_repos_add_up_to_the_same(hub, lock):
    hub.add_repo("x/b.c", BASE)
    hub.add_repo("x/c", BASE)
    hub.add_repo("acme/one", adapter("x/b.c"))
    hub.add_repo("acme/two", adapter("x/c"))
    found = lock('[models.a]\nrepo = "acme/one"\n[models."a.b"]\nrepo = "acme/two"\n')
    assert [(model.name, model.repo) for model in found.models] == [
        ("a", "acme/one"),
        ("a.b", "acme/two"),
        ("a.b.c", "x/b.c"),
        ("a.b.x-c", "x/c"),
    ]
    assert parse_lock(lock_text(found).encode()) == found


def test_a_base_that_goes_by_its_old_name_and_is_required_by_its_new_one(hub, lock):
    hub.add_repo("meta/llama", BASE)
    hub.rename("meta/llama", "meta-llama/llama")
    hub.add_repo("acme/lora", adapter("meta/llama"))
    found = lock(TEXT + '[models.base]\nrepo = "meta-llama/llama"\n')
    assert [model.name for model in found.models] == ["base", "lora"]


def test_a_word_without_a_namespace_may_be_an_old_repo_or_a_folder(hub, session, lock):
    hub.add_repo("acme/lora", adapter("TBA"))
    within = session()
    assert [model.name for model in lock(TEXT, within=within).models] == ["lora"]
    assert within.reporter.notices == [
        'lora: its base model "TBA" (adapter_config.json) is no repo; the program must bring it'
    ]
    hub.add_repo("TBA", BASE)
    assert [model.name for model in lock(TEXT).models] == ["lora", "lora.tba"]
    hub.add_repo("meta/llama", BASE)
    hub.repo("acme/lora").card = {"base_model": "meta/llama"}
    assert [model.name for model in lock(TEXT).models] == ["lora", "lora.llama"]


@pytest.mark.parametrize(
    ("base", "config", "message", "hint"),
    [
        (
            {"pytorch_model.bin": WEIGHTS},
            {},
            "a file of this name may hold Python pickles, which run code when they are loaded",
            'leave it out with exclude, or set allow-pickle = true on a [models.NAME] with repo = "meta/llama"',
        ),
        (
            {"m.Q4_K_M.gguf": WEIGHTS, "m.Q8_0.gguf": WEIGHTS},
            {},
            "meta/llama has 2 variants of its weights in gguf, and vcm cannot choose",
            'choose one under a [models.NAME] with repo = "meta/llama", such as include = ["*Q4_K_M*"]',
        ),
        (
            BASE,
            {"revision": "nowhere"},
            "meta/llama at nowhere: no such revision",
            "require meta/llama itself in models.toml, as it is there",
        ),
    ],
)
def test_what_to_do_about_a_base_that_cannot_be_taken_as_it_is(hub, lock, base, config, message, hint):
    hub.add_repo("meta/llama", base)
    hub.add_repo("acme/lora", adapter("meta/llama", **config))
    with pytest.raises(VcmError) as caught:
        lock(TEXT)
    assert caught.value.model == "lora"
    assert caught.value.message == f"its base model meta/llama, which adapter_config.json names: {message}"
    assert caught.value.hint == f"{hint}; or set follow = false on [models.lora]"


def test_code_that_another_repo_lacks(hub, lock):
    hub.add_repo("tii/code", {"config.json": b"{}"})
    config = {"auto_map": {"AutoModel": "tii/code--modeling_falcon.Falcon"}}
    hub.add_repo("acme/m", {"config.json": json.dumps(config).encode()})
    with pytest.raises(RegistryError) as caught:
        lock('[models.m]\nrepo = "acme/m"\n')
    assert str(caught.value) == "m: its code tii/code, which config.json names: tii/code has no file like *.py"
    assert caught.value.hint == (
        "require tii/code itself in models.toml, as it is there; or set follow = false on [models.m]"
    )


def test_notices_come_in_the_order_of_the_models(hub, session, lock):
    hub.add_repo("meta/llama", BASE)
    text = ""
    for number in range(20):
        hub.add_repo(f"acme/lora{number:02}", adapter("meta/llama"))
        text += f'[models.l{number:02}]\nrepo = "acme/lora{number:02}"\n'
    within = session()
    lock(text, within=within)
    assert within.reporter.notices == [
        f"l{number:02}: its base model meta/llama is locked beside it" for number in range(20)
    ]
