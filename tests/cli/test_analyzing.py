"""``vcm analyze``, from an empty store to a report: real video, a really trained classifier, real processes."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("av")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from tests.analysis.conftest import kinds
from tests.detectors.training import train_scene_classifier
from tests.test_minilm import COMMIT, own_project, serve
from tests.video.making import COLOURS, make_video

__all__ = ["kinds", "own_project"]

LABELS = {"fire": COLOURS["red"], "meadow": COLOURS["green"], "sea": COLOURS["blue"]}
SCENES = [(3.0, "green"), (2.0, "red"), (3.0, "blue"), (2.0, "red")]
TONES = [(0.0, 10.0, 440.0)]
STEP = 0.5
SUBTITLES = """\
1
00:00:00,500 --> 00:00:02,000
Damn the torpedoes

2
00:00:06,000 --> 00:00:07,000
Hello, my friend
"""
MANIFEST = f"""
[models.scenes]
repo = "acme/scenes"
version = "~=1.0"

[pipeline]
merge-gap = 0.5

[pipeline.detectors.fire]
kind = "image-classification"
model = "scenes"
options = {{ labels = ["fire"], threshold = 0.6, every = {STEP} }}

[pipeline.detectors.swearing]
kind = "word-list"
options = {{ words = ["damn"] }}
"""
OPTIONAL = """
[models.spare]
repo = "acme/spare"
optional = true

[pipeline.detectors.more]
kind = "image-classification"
model = "spare"
options = { labels = ["fire"] }
"""


@pytest.fixture(scope="session")
def classifier(tmp_path_factory) -> Path:
    """A trained classifier's files."""
    folder: Path = tmp_path_factory.mktemp("classifier")
    train_scene_classifier(folder, LABELS)
    return folder


@pytest.fixture(scope="session")
def scenes(tmp_path_factory) -> bytes:
    """Ten seconds of video: two of fire in the middle, two at the end; a tone all the time."""
    return make_video(tmp_path_factory.mktemp("film") / "film.mp4", SCENES, TONES).read_bytes()


@pytest.fixture
def film(project, scenes) -> Path:
    """The same, with subtitles beside it."""
    path: Path = project / "film.mp4"
    path.write_bytes(scenes)
    path.with_suffix(".srt").write_text(SUBTITLES)
    return path


@pytest.fixture
def served(classifier, hub, manifest):
    """The classifier on the hub, as version 1.2, and a manifest that asks for it."""
    files = {path.relative_to(classifier).as_posix(): path for path in classifier.rglob("*") if path.is_file()}
    manifest(MANIFEST)
    return hub.add_repo("acme/scenes", files, tags=["v1.2"], pipeline_tag="image-classification")


@pytest.fixture
def run(vcm_process):
    """Runs a command line in a process of its own: exit code, standard output, standard error."""

    def command(*arguments):
        process = vcm_process(*arguments)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    return command


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_from_nothing_to_a_report(served, film, project, hub, run, cache):
    code, out, err = run("analyze", "film.mp4", "--download-models", "-o", "report.json")

    assert code == 0, err
    assert out == "3 segments found: report.json\n"
    assert "Locked 1 model" in err
    assert "Installed 1 model" in err
    report = json.loads((project / "report.json").read_text())
    assert report["lock_sha256"] == sha256(project / "models.lock")
    assert report["video"]["sha256"] == sha256(film)
    assert report["video"]["size"] == film.stat().st_size
    assert report["video"]["duration"] == pytest.approx(10, abs=0.1)
    (model,) = report["models"]
    (snapshot,) = (cache / "snapshots").iterdir()
    assert model == {
        "name": "scenes",
        "version": "1.2",
        "commit": served.tags["v1.2"],
        "tree_digest": f"sha256:{snapshot.name}",
        "repo": "acme/scenes",
        "url": None,
    }
    assert [(each["name"], each["status"]) for each in report["detectors"]] == [("fire", "ran"), ("swearing", "ran")]
    found = [(each["labels"], each["detectors"]) for each in report["segments"]]
    assert found == [(["damn"], ["swearing"]), (["fire"], ["fire"]), (["fire"], ["fire"])]
    for segment, (start, end) in zip(report["segments"], [(0.5, 2.0), (3.0, 5.0), (8.0, 10.0)], strict=True):
        assert segment["start"] == pytest.approx(start, abs=STEP)
        assert segment["end"] == pytest.approx(end, abs=STEP)
        assert segment["score"] > 0.6

    # What is there is used without a network, and gives the same report.
    hub.clear_requests()
    code, out, err = run("--offline", "-q", "analyze", "film.mp4")
    assert (code, err) == (0, "")
    assert json.loads(out) == report
    assert out.encode() == (project / "report.json").read_bytes()
    assert hub.requests == []


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("word-list", "reading a video needs av, which is not installed\nhint: pip install 'vcm[video]'"),
        (
            "image-classification",
            (
                'the kind of detector "image-classification" needs numpy, which is not installed\n'
                "hint: pip install 'vcm[video]'"
            ),
        ),
        (
            "transformers",
            (
                'the kind of detector "transformers" needs numpy, which is not installed\n'
                "hint: pip install 'vcm[transformers]'"
            ),
        ),
    ],
)
def test_without_the_extras_one_command_installs_what_is_needed(kind, message, film, manifest, project):
    manifest(f'[pipeline.detectors.mine]\nkind = "{kind}"\n')
    code = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(['av', 'numpy', 'PIL', 'onnxruntime', 'tokenizers', 'transformers']))\n"
        "from vcm.cli.app import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "analyze", film], cwd=project, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"error: {message}\n")


def test_without_the_flag_nothing_is_downloaded(served, film, hub, vcm, project):
    assert vcm("lock").code == 0
    hub.clear_requests()
    result = vcm("analyze", film)
    assert (result.code, result.out) == (1, "")
    assert result.err == ("error: scenes: not installed\nhint: run vcm sync, or start with --download-models\n")
    (project / "models.lock").unlink()
    result = vcm("analyze", film)
    assert (result.code, result.err) == (1, f"error: no models.lock in {project}\nhint: run vcm lock\n")
    assert hub.requests == []


def test_an_optional_model_that_cannot_be_had(served, film, hub, vcm, manifest):
    manifest(MANIFEST + OPTIONAL)
    hub.add_repo("acme/spare", {"model.onnx": b"weights"})
    assert vcm("lock").code == 0
    hub.remove("acme/spare")

    result = vcm("analyze", film, "--download-models")

    assert result.code == 0, result.err
    report = json.loads(result.out)
    assert report["detectors"][2] == {
        "name": "more",
        "kind": "image-classification",
        "model": "spare",
        "options": {"labels": ["fire"]},
        "status": "skipped",
        "reason": "its model spare is not installed",
    }
    assert [model["name"] for model in report["models"]] == ["scenes"]
    assert len(report["segments"]) == 3
    assert "note: optional models are missing: spare\n" in result.err
    assert "note: the detector more did not run: its model spare is not installed\n" in result.err


def test_a_model_that_its_kind_cannot_run(served, film, hub, vcm, manifest):
    manifest(MANIFEST + OPTIONAL)
    hub.add_repo("acme/spare", {"config.json": b"{}", "model.onnx": b"weights"})
    result = vcm("analyze", film, "--download-models")
    assert (result.code, result.out) == (2, "")
    assert "error: spare/config.json: id2label: missing: the model names no labels\n" in result.err


def test_a_required_model_that_cannot_be_had(served, film, hub, vcm):
    assert vcm("lock").code == 0
    hub.remove("acme/scenes")
    result = vcm("analyze", film, "--download-models", "-o", "report.json")
    assert (result.code, result.out) == (3, "")
    assert not (film.parent / "report.json").exists()


def test_what_is_wrong_is_said_before_anything_is_downloaded(served, film, hub, vcm, manifest, project):
    assert "no such file" in vcm("analyze", "none.mp4", "--download-models").err
    manifest(MANIFEST.replace('"word-list"', '"word-lists"'))
    assert vcm("analyze", film, "--download-models").code == 2
    manifest(MANIFEST.partition("[pipeline")[0])
    result = vcm("analyze", film, "--download-models")
    assert result.code == 2
    assert result.err == (
        "error: there is no detector to run\n"
        "  [pipeline.detectors.swearing]\n"
        '  kind = "word-list"\n'
        '  options = { words = ["damn"] }\n'
        "hint: declare one in models.toml, such as this one, or see vcm init --template video-censor\n"
    )
    assert hub.requests == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["-o", "out.MP4"],
            "out.MP4 is called like a video, and -o takes the report\nhint: write the video with --output out.MP4\n",
        ),
        (["--output", "film.mp4"], "film.mp4 is the video itself\nhint: choose another name for what is written\n"),
        (["-o", "./link"], "link is the video itself\nhint: choose another name for what is written\n"),
        (["-o", "same"], "same is the video itself\nhint: choose another name for what is written\n"),
        (
            ["-o", "film.srt", "--format", "srt"],
            "film.srt is read as the video's subtitles\nhint: choose a name that does not begin with film.\n",
        ),
        (
            ["-o", "folder/../film.SRT"],
            "folder/../film.SRT is read as the video's subtitles\nhint: choose a name that does not begin with film.\n",
        ),
        (
            ["--output", "pipe.mp4"],
            "pipe.mp4 is no regular file\nhint: name another: the copy is written to a file\n",
        ),
        (["-o", "folder"], "folder is a folder\nhint: name a file in it\n"),
        (["-o", "no/report.json"], "no: no such folder\nhint: make it first, or name another\n"),
        (["-o", "x", "--output", "x"], "x cannot hold both the report and the video\nhint: choose two names\n"),
        (
            ["--output", "out.txt"],
            "a video cannot be written as out.txt\nhint: give it a name that ends with .mp4, .mov or .mkv\n",
        ),
        (["--format", "jsn"], 'no format "jsn", did you mean "json"?\nhint: --format takes json, srt, edl\n'),
    ],
)
def test_places_and_formats_that_cannot_be_meant(arguments, message, film, vcm, project, manifest):
    manifest('[pipeline.detectors.words]\nkind = "word-list"\noptions.words = ["x"]\n')
    (project / "folder").mkdir()
    (project / "link").symlink_to(film)
    (project / "same").hardlink_to(film)
    os.mkfifo(project / "pipe.mp4")
    before = film.read_bytes()
    result = vcm("analyze", "film.mp4", *arguments)
    assert (result.code, result.out, result.err) == (2, "", f"error: {message}")
    assert film.read_bytes() == before
    assert film.with_suffix(".srt").read_text() == SUBTITLES


@pytest.mark.skipif(sys.platform == "win32", reason="pipes are no files there")
def test_a_pipe_stays_one_and_links_are_followed(film, vcm_process, project, manifest):
    manifest('[pipeline.detectors.words]\nkind = "word-list"\noptions.words = ["damn"]\n')
    os.mkfifo(project / "pipe")
    (project / "elsewhere").mkdir()
    (project / "out.mp4").symlink_to("elsewhere/copy.mp4")
    process = vcm_process("analyze", "film.mp4", "-o", "pipe", "--output", "out.mp4")
    assert json.loads((project / "pipe").read_text())["segments"]
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "1 segment found: pipe and out.mp4\n")
    assert (project / "pipe").is_fifo()
    assert [each.name for each in (project / "elsewhere").iterdir()] == ["copy.mp4"]
    assert (project / "out.mp4").is_symlink()


def test_what_was_found_is_black_and_silent_in_the_copy(served, film, run, project):
    code, out, err = run(
        "analyze", "film.mp4", "--download-models", "-o", "found.srt", "--format", "srt", "--output", "out.mp4"
    )

    assert (code, out) == (0, "3 segments found: found.srt and out.mp4\n"), err
    blocks = (project / "found.srt").read_text().strip().split("\n\n")
    texts = [block.split("\n") for block in blocks]
    assert [text[0] for text in texts] == ["1", "2", "3"]
    assert [text[2].partition(" (")[0] for text in texts] == ["damn", "fire", "fire"]
    stretches = [tuple(map(seconds, text[1].split(" --> "))) for text in texts]
    assert stretches == [pytest.approx(each, abs=STEP) for each in ((0.5, 2.0), (3.0, 5.0), (8.0, 10.0))]
    assert {path.name for path in project.iterdir()} == {
        "film.mp4", "film.srt", "found.srt", "models.lock", "models.toml", "out.mp4",
    }  # fmt: skip

    pictures, sounds = contents(project / "out.mp4")
    assert len(pictures) == 100
    for moment, brightness in pictures:
        if any(start <= moment < end for start, end in stretches):
            assert brightness < 20, moment
        elif all(not start - 0.2 <= moment < end + 0.2 for start, end in stretches):
            assert brightness > 50, moment
    for moment, loudness in sounds:
        # A frame of AAC reaches into its neighbours.
        if any(start + 0.1 <= moment < end - 0.1 for start, end in stretches):
            assert loudness < 0.01, moment
        elif all(not start - 0.1 <= moment < end + 0.1 for start, end in stretches) and 0.1 < moment < 9.8:
            assert loudness > 0.2, moment


def seconds(text: str) -> float:
    hours, minutes, rest = text.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(rest.replace(",", "."))


def contents(path: Path) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """The pictures' times and brightness (0 to 255, of the brightest colour), the sounds' times and loudness (RMS)."""
    import av
    import numpy as np

    pictures, sounds = [], []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0, audio=0):
            assert isinstance(frame, av.VideoFrame | av.AudioFrame)
            assert frame.time is not None
            if isinstance(frame, av.VideoFrame):
                pictures.append((frame.time, float(frame.to_ndarray(format="rgb24").mean(axis=(0, 1)).max())))
            else:
                sounds.append((frame.time, float(np.sqrt((frame.to_ndarray() ** 2).mean()))))
    return pictures, sounds


def test_an_edit_decision_list(served, film, vcm):
    result = vcm("analyze", film, "--download-models", "--format", "edl")
    assert result.code == 0, result.err
    rows = [tuple(map(float, line.split())) for line in result.out.splitlines()]
    assert rows == [pytest.approx(row, abs=STEP) for row in ((0.5, 2.0, 0), (3.0, 5.0, 0), (8.0, 10.0, 0))]


def test_the_store_that_is_named(served, film, vcm, tmp_path, cache):
    result = vcm("--cache-dir", tmp_path / "mine", "analyze", film, "--download-models")
    assert result.code == 0, result.err
    assert not cache.exists()


def test_verbose(served, film, vcm):
    assert vcm("sync").code == 0
    result = vcm("-v", "analyze", film, "-o", "report.json")
    assert [line for line in result.err.splitlines() if line.startswith("note: ")] == [
        "note: verifying 1 model: scenes",
        "note: ready: 1 model verified",
        "note: building the detector fire (image-classification)",
        "note: building the detector swearing (word-list)",
        "note: analysing film.mp4 with 2 detectors",
        "note: done: 9 findings in 3 segments of film.mp4",
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="signals are another matter there")
def test_ctrl_c(kinds, film, manifest, vcm_process, project):
    kinds(
        slow="""
        import pathlib, time
        def look(self, frame):
            pathlib.Path("looking").touch()
            time.sleep(60)
        return type("Slow", (FrameDetector,), {"look": look})()
        """
    )
    manifest('[pipeline.detectors.slow]\nkind = "slow"\n')
    process = vcm_process("analyze", "film.mp4", "-o", "report.json", "--output", "out.mp4")
    deadline = time.monotonic() + 15
    while not (project / "looking").exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)

    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    out, err = process.communicate(timeout=10)

    assert time.monotonic() - began < 5
    assert (process.returncode, out) == (130, "")
    assert err.endswith("\ninterrupted\n")
    assert {path.name for path in project.iterdir()} == {"film.mp4", "film.srt", "looking", "models.toml"}


def test_a_detector_that_has_nothing_to_look_at_is_named(film, manifest, vcm, project, monkeypatch):
    monkeypatch.chdir(project)
    manifest('[pipeline.detectors.swearing]\nkind = "word-list"\noptions.words = ["damn"]\n')
    film.with_suffix(".srt").unlink()
    result = vcm("analyze", "film.mp4", "-o", "report.json")
    assert (result.code, result.out) == (0, "0 segments found, but 1 of 1 detector did not run: report.json\n")
    result = vcm("analyze", "film.mp4", "-o", "report.json", "--output", "out.mp4")
    note = "note: the detector swearing did not run: the video has no subtitles\n"
    assert (result.code, result.out) == (2, "")
    assert result.err.endswith(
        note + "error: no detector ran: nothing would be hidden in out.mp4\n"
        "hint: declare a detector for what the video has, or leave out --output\n"
    )
    assert sorted(each.name for each in project.iterdir()) == ["film.mp4", "models.toml", "report.json"]


def test_the_genuine_sentence_model(film, genuine, hub, own_project, vcm, project):
    serve(hub, genuine)
    with (project / "models.toml").open("a") as stream:
        stream.write(
            '\n[pipeline.detectors.meaning]\nkind = "sentence-similarity"\nmodel = "minilm"\n'
            'options = { phrases = ["ships are attacked"], threshold = 0.3, label = "war" }\n'
        )
    result = vcm("analyze", film, "--download-models")
    assert result.code == 0, result.err
    report = json.loads(result.out)
    assert [(each["name"], each["commit"]) for each in report["models"]] == [("minilm", COMMIT)]
    assert [(each["label"], each["start"], each["end"]) for each in report["findings"]] == [("war", 0.5, 2.0)]


def test_a_folder_that_may_not_be_written_is_told_before_the_analysis(film, vcm, manifest, monkeypatch):
    manifest('[pipeline.detectors.words]\nkind = "word-list"\noptions.words = ["x"]\n')
    monkeypatch.setattr("os.access", lambda _, mode: mode != os.W_OK)  # root may write everywhere
    result = vcm("analyze", "film.mp4", "-o", "report.json")
    assert (result.code, result.out) == (2, "")
    assert result.err == "error: . may not be written\nhint: name another folder\n"
    # What is no file has no folder of its own.
    assert vcm("analyze", "film.mp4", "-o", "/dev/null").code == 0
