"""``analyze``: a video shown to the detectors of models.toml, on locked models only."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vcm.analysis.report import segments_of
from vcm.cli import output
from vcm.cli.context import open_project, open_reporter, open_session, options, results_aside
from vcm.cli.dispatch import command
from vcm.cli.installing import carry_out
from vcm.core.plan import ALL_GROUPS, models_in_scope
from vcm.core.segment_formats import edl, srt
from vcm.core.subtitles import are_subtitles_of
from vcm.core.wording import counted, did_you_mean
from vcm.errors import ConfigError
from vcm.store.files import disk_errors, replace_file

if TYPE_CHECKING:
    from vcm.core.manifest import Manifest
    from vcm.core.reporter import Reporter
    from vcm.store.project import Project

_FORMATS = ("json", "srt", "edl")
_VIDEOS = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".webm")


@command("analyze")
def analyze(
    video: Annotated[Path, typer.Argument(metavar="VIDEO", help="The video's file.")],
    download_models: Annotated[
        bool,
        typer.Option("--download-models", help="Bring what the detectors need first; else no network is used."),
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option("-o", "--report", metavar="FILE", help="Where the report goes; else to standard output."),
    ] = None,
    redacted: Annotated[
        Path | None,
        typer.Option("--output", metavar="FILE.mp4", help="Also write the video, black and silent where flagged."),
    ] = None,
    form: Annotated[str, typer.Option("--format", metavar="FORMAT", help="Of the report: json, srt or edl.")] = "json",
) -> int:
    """Find in a video what the detectors of models.toml look for.

    The exit code is 0 whether or not anything was found; the report says what.
    """
    _refuse_places(video, report, redacted, form)
    from vcm.analysis.detecting import check_detectors

    project = open_project()
    manifest = project.manifest()
    check_detectors(manifest.detectors)
    # Only now: of the extras that may be missing, the one that the detectors need holds all that a video needs, too.
    from vcm.analysis.pipeline import AnalysisPipeline
    from vcm.analysis.redacting import check_target, write_redacted
    from vcm.analysis.watching import check_video
    from vcm.enforce.config import load_config

    check_video(video)
    if redacted is not None:
        check_target(redacted)
    if download_models:
        code = _bring_models(project, manifest)
        if code:
            return code
    config = load_config(project.folder)
    if options().cache_dir:
        config.models.cache_dir = str(options().cache_dir)
    reporter = open_reporter()
    with _told(reporter):
        pipeline = AnalysisPipeline(config)
        pipeline.verify_models()
        document = pipeline.analyze(video, reporter=reporter)
    _put(_text(document, form), report)
    if redacted is not None:
        write_redacted(video, document, redacted, reporter)
    if report is not None:
        places = " and ".join(str(each) for each in (report, redacted) if each)
        print(f"{_outcome(document)}: {places}")
    return 0


def _refuse_places(video: Path, report: Path | None, redacted: Path | None, form: str) -> None:
    """Refuse what could only fail, or do harm, after the minutes that an analysis takes."""
    if form not in _FORMATS:
        near = did_you_mean(form, _FORMATS)
        raise ConfigError(f'no format "{form}"{near}', hint=f"--format takes {', '.join(_FORMATS)}")
    if report is not None and report.suffix.lower() in _VIDEOS:
        raise ConfigError(
            f"{report} is called like a video, and -o takes the report",
            hint=f"write the video with --output {report}",
        )
    for place in filter(None, (report, redacted)):
        _refuse_place(place, video)
    if report is not None and redacted is not None and report.resolve() == redacted.resolve():
        raise ConfigError(f"{report} cannot hold both the report and the video", hint="choose two names")


def _refuse_place(place: Path, video: Path) -> None:
    if place.resolve() == video.resolve() or (place.exists() and video.exists() and place.samefile(video)):
        raise ConfigError(f"{place} is the video itself", hint="choose another name for what is written")
    if place.is_dir():
        raise ConfigError(f"{place} is a folder", hint="name a file in it")
    if not place.absolute().parent.is_dir():
        raise ConfigError(f"{place.parent}: no such folder", hint="make it first, or name another")
    is_special = place.exists() and not place.is_file()
    if not is_special and not os.access(place.absolute().parent, os.W_OK):
        raise ConfigError(f"{place.parent} may not be written", hint="name another folder")
    if are_subtitles_of(video.stem, place.name) and place.parent.resolve() == video.parent.resolve():
        raise ConfigError(
            f"{place} is read as the video's subtitles",
            hint=f"choose a name that does not begin with {video.stem}.",
        )


def _bring_models(project: Project, manifest: Manifest) -> int:
    """Lock where ``vcm sync`` would, and install what the detectors need; the exit code, where that fails."""
    wanted = {detector.model for detector in manifest.detectors}
    with results_aside(), open_session(project, manifest) as session:  # standard output is the report's
        locking = session.lock_for_sync(project, manifest, locked=False, write=True)
        if locking.before != locking.after:
            output.print_lock(locking, verb="Locked")
        models = [
            model
            for model in models_in_scope(manifest, locking.after, (ALL_GROUPS,))
            # An adapter runs on its base model: what was locked for a model is needed with it.
            if model.root in wanted
        ]
        return carry_out(session, manifest, models, asked_hub=locking.requested, whole=False, json=False)


@contextmanager
def _told(reporter: Reporter) -> Iterator[None]:
    """Show what is logged: warnings, and with -v every step."""
    logger, handler = logging.getLogger("vcm"), _NoticeHandler(reporter)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO if options().verbosity else logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)


class _NoticeHandler(logging.Handler):
    def __init__(self, reporter: Reporter) -> None:
        super().__init__()
        self._reporter = reporter

    def emit(self, record: logging.LogRecord) -> None:
        self._reporter.notice(record.getMessage())


def _text(document: Mapping[str, Any], form: str) -> str:
    if form == "json":
        return json.dumps(document, indent=2, allow_nan=False) + "\n"
    return {"srt": srt, "edl": edl}[form](segments_of(document))


def _outcome(document: Mapping[str, Any]) -> str:
    """What was found, and whether all looked: no segments of a detector that did not run are no good news."""
    found = f"{counted(len(document['segments']), 'segment')} found"
    idle = sum(detector["status"] == "skipped" for detector in document["detectors"])
    return f"{found}, but {idle} of {counted(len(document['detectors']), 'detector')} did not run" if idle else found


def _put(text: str, report: Path | None) -> None:
    if report is None:
        sys.stdout.write(text)
        return
    with disk_errors(report, hint="name another file with -o"):
        if report.exists() and not report.is_file():
            # A device or a pipe, which a new file must not take the place of.
            report.write_text(text, encoding="utf-8")
        else:
            replace_file(report, text.encode())
