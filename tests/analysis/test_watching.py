"""What detectors are shown and say, and what becomes of those that do not keep to what a detector is."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Notes
from vcm import AnalysisPipeline, ModelManager, load_config

pytest.importorskip("av")

from tests.video.making import make_video
from vcm.analysis.redacting import write_redacted

SECONDS = 6.0
SUBTITLES = """\
1
00:00:01,000 --> 00:00:02,000
one

2
00:00:05,000 --> 00:00:07,500
two
"""

SAYS = """
class Says(TextDetector):
    def read(self, cue):
        {body}
return Says()
"""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Six seconds of pictures, without sound."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    return make_video(path, [(SECONDS, "red")], tones=None, size=(64, 48)).read_bytes()


@pytest.fixture
def film(project: Path, pictures: bytes) -> Path:
    """The same, with subtitles beside it that go on after the end."""
    path = project / "film.mp4"
    path.write_bytes(pictures)
    path.with_suffix(".srt").write_text(SUBTITLES)
    return path


@pytest.fixture
def pipeline(manifest: Callable[[str], Path], project: Path) -> Callable[[str], AnalysisPipeline]:
    """A verified pipeline with those tables in its manifest."""

    def make(text: str) -> AnalysisPipeline:
        manifest(text)
        made = AnalysisPipeline(load_config(project))
        assert made.verify_models() is True
        return made

    return make


@pytest.fixture
def found(kinds, pipeline, film) -> Callable[[str], Any]:
    """The findings of a detector that does this with each ``cue``."""

    def run(body: str) -> list[dict[str, Any]]:
        kinds(says=SAYS.format(body=body))
        findings: list[dict[str, Any]] = pipeline('[pipeline.detectors.mine]\nkind = "says"\n').analyze(film)[
            "findings"
        ]
        return findings

    return run


def test_times_are_cut_to_the_video(found):
    findings = found("return [Match(cue.text, 0.5, cue.start - 3, cue.end)]")
    assert [(each["label"], each["start"], each["end"]) for each in findings] == [("one", 0.0, 2.0), ("two", 2.0, 6.0)]


def test_what_lies_behind_a_duration_that_is_wrong_is_found(kinds, pipeline, project):
    film = make_video(project / "film.mkv", [(SECONDS, "red")], None, size=(64, 48))
    duration = b"\x44\x89\x88"  # a number of milliseconds follows
    before, after = film.read_bytes().split(duration)
    film.write_bytes(before + duration + struct.pack(">d", 2000.0) + after[8:])
    body = 'return type("F", (FrameDetector,), {"look": lambda self, each: [Match("x", 1, each.start, each.end)]})()'
    kinds(picture=body)

    report = pipeline('[pipeline.detectors.mine]\nkind = "picture"\n').analyze(film)

    assert report["video"]["duration"] == 2.0
    assert [(each["start"], each["end"]) for each in report["segments"]] == [(0.0, SECONDS)]


def test_what_lies_outside_the_video_is_left_out(found):
    assert found("return [Match(cue.text, 0.5, 100, 101), Match(cue.text, 0.5, -2, -1)]") == []


def test_a_label_cannot_steer_a_terminal(found):
    assert found('return [Match("a\\x1b[2J\\n\\ud800b", 1, 1, 2)]')[0]["label"] == "a\ufffd[2J\ufffd\ufffdb"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ('return [Match("x", 1.5, 1, 2)]', 'ValueError: the score of "x" is 1.5, expected 0 to 1'),
        ('return [Match("x", float("nan"), 1, 2)]', 'ValueError: the score of "x" is nan, expected 0 to 1'),
        ('return [Match("x", "high", 1, 2)]', "TypeError: '<=' not supported between instances of 'int' and 'str'"),
        ('return [Match("x", 1, 2, 2)]', 'ValueError: "x" lasts from 2 to 2 s'),
        ('return [Match("x", 1, 2, float("inf"))]', 'ValueError: "x" lasts from 2 to inf s'),
        ('return [Match("x", 1, float("nan"), 3)]', 'ValueError: "x" lasts from nan to 3 s'),
        ('return [Match(" ", 1, 2, 3)]', "ValueError: expected a label, found ' '"),
        ("return [Match(7, 1, 2, 3)]", "ValueError: expected a label, found 7"),
        ('return ["x"]', "TypeError: expected a Match, found str"),
        ("return None", "TypeError: 'NoneType' object is not iterable"),
        ("yield 1 / 0", "ZeroDivisionError: division by zero"),
        ("assert False", "AssertionError"),
        ("raise SystemExit(3)", "SystemExit: 3"),
    ],
)
def test_a_detector_that_fails_is_named(body, reason, found, refusal):
    assert refusal(found, body) == (
        "VcmError",
        "CONFIG_ERROR",
        f'the detector "mine" of the kind says failed: {reason}',
        "tell whoever makes that kind (-vv shows where), or take the detector out of the configuration",
    )


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("return 7", "TypeError: int is no FrameDetector, SoundDetector or TextDetector"),
        ('raise RuntimeError("no GPU")', "RuntimeError: no GPU"),
        (
            'return type("F", (FrameDetector,), {"every": 0, "look": print})()',
            "ValueError: 0 is no number of seconds from 0.01 to 3600",
        ),
        (
            'return type("S", (SoundDetector,), {"seconds": float("nan"), "listen": print})()',
            "ValueError: nan is no number of seconds from 0.01 to 600",
        ),
        (  # a day of sound would be in memory at once
            'return type("S", (SoundDetector,), {"seconds": 86400, "listen": print})()',
            "ValueError: 86400 is no number of seconds from 0.01 to 600",
        ),
        (
            'return type("F", (FrameDetector,), {"every": 1e-320, "look": print})()',
            "ValueError: 1e-320 is no number of seconds from 0.01 to 3600",
        ),
    ],
)
def test_a_detector_that_cannot_be_made(body, reason, kinds, pipeline, film, refusal):
    kinds(odd=body)
    assert refusal(pipeline('[pipeline.detectors.mine]\nkind = "odd"\n').analyze, film)[2] == (
        f'the detector "mine" of the kind odd failed: {reason}'
    )


def test_options_are_looked_at_before_the_video(kinds, pipeline, refusal, project):
    kinds(loud='options.number("threshold", least=0, most=1)\noptions.finish()')
    made = pipeline('[pipeline.detectors.mine]\nkind = "loud"\noptions.treshold = 1\n')
    assert refusal(made.analyze, project / "none.mp4") == (
        "ConfigError",
        "CONFIG_ERROR",
        'models.toml:3: pipeline.detectors.mine.options.treshold: unknown key, did you mean "threshold"?',
        "allowed here: threshold",
    )


def test_a_kind_that_nobody_offers(pipeline, refusal, project, kinds):
    kinds(word_lists="return None")
    made = pipeline('[pipeline.detectors.mine]\nkind = "word_list"\n')
    assert refusal(made.analyze, project / "none.mp4")[2] == (
        'there is no kind of detector "word_list", did you mean "word_lists"?'
    )


def test_no_detector(pipeline, refusal, film):
    assert refusal(pipeline("").analyze, film)[2:] == (
        "there is no detector to run",
        "declare one in models.toml, such as this one, or see vcm init --template video-censor",
    )


def test_no_video(pipeline, refusal, project, film):
    made = pipeline('[pipeline.detectors.mine]\nkind = "word-list"\noptions.words = ["two"]\n')
    assert refusal(made.analyze)[2:] == ("no video to analyse", "name one: analyze(video)")
    assert refusal(made.analyze, "none.mp4")[1:] == (
        "CONFIG_ERROR",
        "cannot read none.mp4: no such file or directory",
        "check that it is a file you may read",
    )
    os.mkfifo(project / "pipe.mp4")
    assert refusal(made.analyze, project / "pipe.mp4")[2] == f"cannot read {project}/pipe.mp4: no regular file"
    os.mkfifo(project / "film.en.srt")
    assert refusal(made.analyze, film)[2] == f"cannot read {project}/film.en.srt: no regular file"
    (project / "film.en.srt").unlink()
    made.config.video = film
    assert [each["label"] for each in made.analyze()["findings"]] == ["two"]


def test_detectors_that_have_nothing_to_do_do_not_run(kinds, pipeline, film, caplog):
    kinds(
        sound='return type("S", (SoundDetector,), {"listen": None})()',
        picture='return type("F", (FrameDetector,), {"look": lambda self, frame: []})()',
        text='return type("T", (TextDetector,), {"read": None})()',
    )
    film.with_suffix(".srt").unlink()
    tables = "".join(f'[pipeline.detectors.{name}]\nkind = "{name}"\n' for name in ("sound", "picture", "text"))

    report = pipeline(tables).analyze(film)

    assert [(each["name"], each["status"], each.get("reason")) for each in report["detectors"]] == [
        ("sound", "skipped", "the video has no sound"),
        ("picture", "ran", None),
        ("text", "skipped", "the video has no subtitles"),
    ]
    assert caplog.messages == [
        "the detector sound did not run: the video has no sound",
        "the detector text did not run: the video has no subtitles",
    ]


def test_one_pass_for_all_detectors(kinds, pipeline, film):
    kinds(
        seen="""
        class Seen(FrameDetector):
            every = options.number("every", least=0, most=10)
            def look(self, frame):
                yield Match(f"{frame.pixels.shape} {frame.pixels[0, 0, 0] > 150}", 1, frame.start, frame.end)
        return Seen()
        """
    )
    tables = "".join(
        f'[pipeline.detectors.{name}]\nkind = "seen"\noptions.every = {every}\n'
        for name, every in (("a", 2), ("b", 2.0), ("c", 3))
    )
    notes = Notes()

    report = pipeline(tables).analyze(film, reporter=notes)

    assert [(each["detector"], each["start"], each["end"]) for each in report["findings"]] == [
        ("a", 0.0, 2.0), ("b", 0.0, 2.0), ("c", 0.0, 3.0), ("a", 2.0, 4.0), ("b", 2.0, 4.0), ("c", 3.0, 6.0),
        ("a", 4.0, 6.0), ("b", 4.0, 6.0),
    ]  # fmt: skip
    assert {each["label"] for each in report["findings"]} == {"(48, 64, 3) True"}
    size = film.stat().st_size
    assert notes.tasks == [("hashing film.mp4", 0), ("analysing film.mp4", size)]
    # Once to hash it, once for all detectors.
    assert notes.progress == {"film.mp4": 2 * size}
    assert notes.ends == 2


def test_the_same_bytes_give_the_same_report(pipeline, film, tmp_path):
    made = pipeline('[pipeline.detectors.mine]\nkind = "word-list"\noptions.words = ["one", "two"]\n')
    first = made.analyze(film)
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(film.parent, elsewhere)
    again = AnalysisPipeline(load_config(elsewhere))
    again.verify_models()
    assert json.dumps(again.analyze(elsewhere / "film.mp4")) == json.dumps(first)
    assert str(tmp_path) not in json.dumps(first)
    assert first["video"]["subtitles"] == [
        {"name": "film.srt", "sha256": hashlib.sha256(SUBTITLES.encode()).hexdigest()},
    ]


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ("film.write_bytes(film.read_bytes() + b'more')", "{film} changed while it was read"),
        ("shutil.copy(film, 'new.mp4'); os.replace('new.mp4', film)", "{film} changed while it was read"),
        ("film.unlink(missing_ok=True)", "cannot read {film}: no such file or directory"),
    ],
    ids=["written", "replaced", "removed"],
)
def test_a_video_that_changes_while_it_is_read(action, message, found, film, refusal):
    body = f"import os, shutil, pathlib; film = pathlib.Path('film.mp4'); {action}; return []"
    assert refusal(found, body)[2] == message.format(film=film)


def test_what_could_not_be_decoded_is_told(kinds, pipeline, project, caplog):
    av = pytest.importorskip("av")
    path = make_video(project / "film.mkv", [(SECONDS, "red")], tones=None, size=(64, 48))
    with av.open(str(path)) as container:
        place, size = [(each.pos, each.size) for each in container.demux(video=0) if each.size][30]
    data = bytearray(path.read_bytes())
    data[place + 6 : place + size] = b"\xff" * (size - 6)
    path.write_bytes(data)
    kinds(picture='return type("F", (FrameDetector,), {"look": lambda self, frame: []})()')

    report = pipeline('[pipeline.detectors.mine]\nkind = "picture"\n').analyze(path)

    assert report["video"]["damaged_packets"] == 1
    assert caplog.messages == ["1 packet of film.mkv could not be decoded"]


def test_only_the_video_that_was_analysed_is_redacted(pipeline, film, project, refusal):
    report = pipeline('[pipeline.detectors.mine]\nkind = "word-list"\noptions.words = ["one"]\n').analyze(film)
    notes = Notes()
    write_redacted(film, report, project / "out.mp4", notes)
    assert notes.tasks == [("hashing film.mp4", 0), ("writing out.mp4", film.stat().st_size)]
    assert notes.progress["film.mp4"] == 2 * film.stat().st_size
    make_video(film, [(SECONDS, "blue")], tones=None, size=(64, 48))
    assert refusal(write_redacted, film, report, project / "again.mp4", notes)[1:] == (
        "CHECKSUM_MISMATCH",
        f"{film} changed while it was read",
        "run it again when nothing writes the video any more",
    )
    assert not (project / "again.mp4").exists()


PICTURES = '[models.frames]\nrepo = "acme/frames"\n[pipeline.detectors.mine]\nkind = "folder"\nmodel = "frames"\n'
FOLDER = 'return type("T", (TextDetector,), {"read": lambda self, cue: [Match(folder.name, 1, 1, 2)]})()'


@pytest.fixture
def ready(frames, kinds, manifest, project, vcm) -> AnalysisPipeline:
    """A pipeline whose detector says where its model is; verified."""
    kinds(folder=FOLDER)
    manifest(PICTURES)
    assert vcm("sync").code == 0
    pipeline = AnalysisPipeline(load_config(project))
    pipeline.verify_models()
    return pipeline


def test_a_detector_gets_the_snapshot(ready, film):
    report = ready.analyze(film)
    folder = ModelManager(ready.config).get_model_path("frames")
    assert [each["label"] for each in report["findings"]] == [folder.name, folder.name]
    assert report["models"][0]["tree_digest"] == f"sha256:{folder.name}"
    assert report["models_verified"] is True


def test_a_model_that_changes_between_gate_and_use(ready, film, refusal):
    folder = ModelManager(ready.config).get_model_path("frames")
    (folder / "config.json").unlink()
    assert refusal(ready.analyze, film)[:3] == (
        "ModelChecksumError",
        "CHECKSUM_MISMATCH",
        "frames: not what is locked: config.json: missing",
    )


def test_a_check_that_was_skipped_is_in_the_report(ready, film):
    folder = ModelManager(ready.config).get_model_path("frames")
    (folder / "config.json").unlink()
    pipeline = AnalysisPipeline(ready.config, skip_model_check=True)
    assert pipeline.verify_models() is True
    assert pipeline.analyze(film)["models_verified"] is False
    shutil.rmtree(folder)
    pipeline = AnalysisPipeline(ready.config, skip_model_check=True)
    pipeline.verify_models()
    with pytest.raises(Exception, match="frames: not installed"):
        pipeline.analyze(film)
