"""Progress: what is on the screen, or in the log, when it is over."""

from __future__ import annotations

import io
import os
import struct
import sys
from collections.abc import Callable

import pytest

from vcm.cli.progress import LogReporter, NoticeReporter, TerminalReporter, make_reporter

if sys.platform == "win32":
    pytest.skip("there are no such terminals there", allow_module_level=True)

import fcntl
import pty
import termios

HOSTILE = "said \x1b]0;title\x07 and \x1b[2J and \x9b31m\r\n"
HARMLESS = "said \ufffd]0;title\ufffd and \ufffd[2J and \ufffd31m\ufffd\ufffd"


def screen(text: str) -> list[str]:
    """The lines that a terminal shows which knows carriage return, line feed and cursor up."""
    lines, row, column = [""], 0, 0
    for part in text.replace("\x1b[A", "\v"):
        if part == "\r":
            column = 0
        elif part == "\v":
            row = max(0, row - 1)
        elif part == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        else:
            line = lines[row].ljust(column)
            lines[row] = line[:column] + part + line[column + 1 :]
            column += 1
    return [line.rstrip() for line in lines]


@pytest.fixture
def terminal():
    """Lets a reporter work on a terminal of so many columns; what it shows then."""

    def show(work: Callable[[TerminalReporter], object], columns: int = 80) -> tuple[str, list[str]]:
        control, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        try:
            with os.fdopen(terminal, "w") as stream:
                reporter = make_reporter(quiet=False, stream=stream)
                assert isinstance(reporter, TerminalReporter)
                work(reporter)
                stream.write("|")
                stream.flush()
                text = b""
                while not text.endswith(b"|"):
                    text += os.read(control, 65536)
        finally:
            os.close(control)
        return text.decode(), screen(text.decode())

    return show


@pytest.mark.parametrize("columns", [80, 40, 0])
def test_what_was_locked_in_a_moment_leaves_the_notices_alone(terminal, columns):
    def work(reporter):
        reporter.steps("locking", 3)
        reporter.step()
        reporter.notice("of m")
        reporter.step()
        reporter.waiting("the hub", 56.2, "500 api requests per 300 s are used up")
        reporter.step()
        reporter.finished()

    assert terminal(work, columns)[1] == [
        "note: of m",
        "the hub: 500 api requests per 300 s are used up; next try in 56 s",
        "|",
    ]


def test_a_download_leaves_the_notices_alone(terminal):
    def work(reporter):
        reporter.started("fetching 2 files", 1000)
        reporter.file_started("m/a", 600, 0)
        reporter.file_started("m/b", 400, 100)
        reporter.advanced("m/a", 600)
        reporter.waiting("m/b", 2, "connection reset")
        reporter.file_finished("m/a")
        reporter.advanced("m/b", 300)
        reporter.file_finished("m/b")
        reporter.finished()

    text, shown = terminal(work)
    assert "fetching 2 files" in text
    assert [line for line in shown if line] == ["m/b: connection reset; next try in 2 s", "|"]


@pytest.mark.parametrize(
    "begin",
    [
        lambda _: None,
        lambda reporter: reporter.steps("locking", 3),
        lambda reporter: reporter.started("fetching 1 file", 10),
    ],
)
def test_no_stranger_steers_the_terminal(terminal, begin):
    def work(reporter):
        begin(reporter)
        reporter.notice(HOSTILE)
        reporter.waiting("the hub", 1, HOSTILE)
        reporter.finished()

    shown = [line for line in terminal(work)[1] if line]
    assert shown == [f"note: {HARMLESS}", f"the hub: {HARMLESS}; next try in 1 s", "|"]


def test_a_log_has_lines_and_nothing_else():
    stream = io.StringIO()
    reporter = make_reporter(quiet=False, stream=stream)
    assert isinstance(reporter, LogReporter)
    reporter.steps("locking", 2)
    reporter.step()
    for _ in range(2):
        reporter.notice(HOSTILE)
    reporter.waiting("the hub", 300, "used up")
    reporter.finished()
    reporter.started("fetching 1 file", 1000)
    reporter.file_started("m/a", 1000, 0)
    reporter.advanced("m/a", 1000)
    reporter.finished()
    assert stream.getvalue().splitlines() == [
        f"note: {HARMLESS}",
        "the hub: used up; next try in 300 s",
        "fetching 1 file, 1.0 kB",
    ]


def test_who_wants_quiet_is_told_of_waits_and_notices_alone():
    stream = io.StringIO()
    reporter = make_reporter(quiet=True, stream=stream)
    assert type(reporter) is NoticeReporter
    reporter.steps("locking", 2)
    reporter.started("fetching 1 file", 1000)
    reporter.notice("of m")
    reporter.waiting("the hub", 300, "used up")
    reporter.finished()
    assert stream.getvalue() == "note: of m\nthe hub: used up; next try in 300 s\n"


def test_threads_that_wait_for_the_same_thing_say_so_once_each_time():
    stream = io.StringIO()
    reporter = NoticeReporter(stream)
    for _ in range(3):
        reporter.waiting("the hub", 600, "connection refused")
    reporter.waiting("the hub", 0, "too many requests")
    reporter.waiting("the hub", 0, "too many requests")
    assert stream.getvalue().splitlines() == [
        "the hub: connection refused; next try in 600 s",
        "the hub: too many requests; next try in 0 s",
        "the hub: too many requests; next try in 0 s",
    ]
