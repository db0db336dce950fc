"""Progress: what is on the screen, or in the log, when it is over."""

from __future__ import annotations

import io
import os
import re
import struct
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tqdm.utils import disp_len

from vcm.cli.meters import duration, log_line, terminal_lines
from vcm.cli.progress import LogReporter, NoticeReporter, TerminalReporter, make_reporter
from vcm.cli.tally import Tally
from vcm.settings import terminal_is_plain

if sys.platform == "win32":
    pytest.skip("there are no such terminals there", allow_module_level=True)

import fcntl
import pty
import termios

HOSTILE = "said \x1b]0;title\x07 and \x1b[2J and \x9b31m\r\n"
HARMLESS = "said \ufffd]0;title\ufffd and \ufffd[2J and \ufffd31m\ufffd\ufffd"
SEQUENCE = re.compile(r"\x1b\[(\d*)([AJK])|(.)", re.DOTALL)


def screen(text: str) -> list[str]:
    """The lines that a terminal shows which knows carriage return, line feed, cursor up and erasing what follows."""
    lines, row, column = [""], 0, 0
    for match in SEQUENCE.finditer(text):
        number, sequence, letter = match.groups()
        if sequence == "A":
            row = max(0, row - int(number or 1))
        elif sequence:
            lines[row] = lines[row][:column]
            lines = lines if sequence == "K" else lines[: row + 1]
        elif letter == "\r":
            column = 0
        elif letter == "\n":
            # A terminal's driver makes \r\n of it.
            row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
        else:
            line = lines[row].ljust(column)
            lines[row] = line[:column] + letter + line[column + 1 :]
            column += 1
    return [line.rstrip() for line in lines]


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    """The clock of a reporter that draws only when it is told to."""
    monkeypatch.setattr(TerminalReporter, "_period", 3600.0)
    monkeypatch.setattr(LogReporter, "_period", 3600.0)
    return Clock()


@pytest.fixture
def terminal(monkeypatch):
    """Lets a reporter work on a terminal of so many columns; what was written there, and what it shows then."""
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("TERM", "xterm")

    def show(
        work: Callable[[TerminalReporter], object],
        columns: int = 80,
        rows: int = 24,
        clock: Clock | None = None,
    ) -> tuple[str, list[str]]:
        control, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        text = b""

        def read() -> None:
            nonlocal text
            while not text.endswith(b"|end"):
                text += os.read(control, 65536)

        reading = threading.Thread(target=read)
        reading.start()
        try:
            with os.fdopen(terminal, "w", encoding="utf-8") as stream:
                reporter = TerminalReporter(stream, clock=clock) if clock else make_reporter(quiet=False, stream=stream)
                assert isinstance(reporter, TerminalReporter)
                work(reporter)
                stream.write("|end")
                stream.flush()
                reading.join(timeout=10)
        finally:
            os.close(control)
        return text.decode(), screen(text.decode().removesuffix("end").replace("\r\n", "\n"))

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


def test_a_download_leaves_the_notices_alone(terminal, clock):
    def work(reporter):
        reporter.started("fetching 2 files", 1000)
        reporter.file_started("m/a", 600, 0)
        reporter.file_started("m/b", 400, 100)
        clock.now += 1
        reporter.advanced("m/a", 600)
        reporter.waiting("m/b", 2, "connection reset")
        reporter.tick()
        reporter.file_finished("m/a")
        reporter.advanced("m/b", 300)
        reporter.tick()
        reporter.file_finished("m/b")
        reporter.finished()

    text, shown = terminal(work, clock=clock)
    assert "fetching 2 files" in text
    assert shown == ["m/b: connection reset; next try in 2 s", "|"]


def test_what_a_terminal_shows_meanwhile(terminal, clock):
    def work(reporter):
        reporter.started("fetching 3 files", 2_000_000_000)
        reporter.file_started("llama/model-00001-of-00002.safetensors", 1_000_000_000, 500_000_000)
        reporter.file_started("llama/model-00002-of-00002.safetensors", 999_000_000, 0)
        for _ in range(50):
            clock.now += 0.1
            reporter.advanced("llama/model-00001-of-00002.safetensors", 5_000_000)
            reporter.tick()
        reporter.kept("llama/model-00002-of-00002.safetensors", 400_000_000)
        reporter.file_started("llama/config.json", 1_000_000, 0)
        reporter.notice("of m")
        reporter.tick()
        # Killed, say.
        reporter._over.set()

    # What stands above stays; where the cursor is, the end is written over the first line.
    text, shown = terminal(work, columns=90, clock=clock)
    assert shown == [
        "note: of m",
        "|etching 3 files                57%|████████▋      |     1.1 GB/2.0 GB  50.0 MB/s    0:17",
        "llama/model-00001-of-00002      75%|███████████▎   |   750.0 MB/1.0 GB  50.0 MB/s    0:05",
        "llama/model-00002-of-00002      40%|██████         | 400.0 MB/999.0 MB      0 B/s",
    ]
    assert len(re.findall("note: of m", text)) == 1


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


def test_who_wants_quiet_is_told_of_notices_alone():
    stream = io.StringIO()
    reporter = make_reporter(quiet=True, verbose=True, stream=stream)
    assert type(reporter) is NoticeReporter
    reporter.steps("locking", 2)
    reporter.started("fetching 1 file", 1000)
    reporter.file_started("m/a", 1000, 0)
    reporter.notice("of m")
    reporter.waiting("the hub", 300, "used up")
    reporter.finished()
    assert stream.getvalue() == "note: of m\n"


def test_files_that_wait_for_the_same_thing_say_so_once_each_time():
    stream = io.StringIO()
    reporter = make_reporter(quiet=False, stream=stream)
    for label in ("m/a", "m/b", "m/a"):
        reporter.waiting(label, 600, "connection refused")
    reporter.waiting("m/b", 300, "connection refused")
    reporter.waiting("the hub", 0, "too many requests")
    reporter.waiting("the hub", 0, "too many requests")
    assert stream.getvalue().splitlines() == [
        "m/a: connection refused; next try in 600 s",
        "m/b: connection refused; next try in 300 s",
        "the hub: too many requests; next try in 0 s",
        "the hub: too many requests; next try in 0 s",
    ]


def test_a_log_gets_a_line_now_and_then(clock):
    stream = io.StringIO()
    reporter = LogReporter(stream, clock=clock)
    reporter.started("fetching 1 file", 10_000_000_000)
    reporter.file_started("m/a", 10_000_000_000, 1_000_000_000)
    told: dict[int, str] = {}
    for second in range(1, 1201):
        clock.now += 1
        if second <= 900:
            reporter.advanced("m/a", 5_000_000)
        before = stream.getvalue()
        reporter.tick()
        if stream.getvalue() != before:
            told[second] = stream.getvalue()[len(before) :]
    reporter.finished()
    moments = list(told)
    assert moments[:12] == [*range(5, 106, 10), 116]
    assert len(moments) == 38
    assert moments[-1] - moments[-2] == 60
    assert told[5] == "1.0 GB of 10.0 GB (10 %), 5.0 MB/s, 29:55 left\n"
    assert told[moments[-1]] == "5.5 GB of 10.0 GB (55 %), 0 B/s, no data for 242 s\n"


def test_a_log_tells_of_steps_that_take_long(clock):
    stream = io.StringIO()
    reporter = LogReporter(stream, clock=clock)
    reporter.steps("locking", 20)
    clock.now += 4
    reporter.step()
    reporter.tick()
    clock.now += 2
    reporter.tick()
    reporter.finished()
    assert stream.getvalue() == "locking: 1 of 20\n"


def test_speed_is_that_of_the_last_seconds_and_of_bytes_that_came(clock):
    tally = Tally(clock)
    tally.begin("fetching 2 files", 10_000)
    tally.file_started("a", 5000, 2000)
    tally.file_started("b", 5000, 0)
    tally.kept("b", 1000)
    for _ in range(20):
        clock.now += 0.5
        tally.advanced("a", 100)
        view = tally.look()
    assert (view.whole.done, view.whole.speed, view.whole.seconds_left) == (5000, 200, 25)
    assert [(file.label, file.done, file.speed) for file in view.files] == [("a", 4000, 200), ("b", 1000, 0)]
    # What is thrown away was on the wire all the same.
    tally.advanced("a", -4000)
    view = tally.look()
    assert (view.whole.done, view.whole.speed, view.files[0].done) == (1000, 200, 0)
    speeds = []
    for _ in range(12):
        clock.now += 0.5
        view = tally.look()
        speeds.append(round(view.whole.speed))
    assert speeds == [180, 160, 140, 120, 100, 80, 60, 40, 20, 0, 0, 0]
    assert (view.whole.silent, view.whole.seconds_left) == (6, None)


def test_a_rest_is_over_when_bytes_arrive(clock):
    tally = Tally(clock)
    tally.begin("fetching 1 file", 1000)
    tally.file_started("a", 1000, 0)
    tally.waiting("a", 8, "connection reset")
    tally.waiting("the hub", 8, "too many requests")
    clock.now += 2
    (file,) = tally.look().files
    assert (file.rest, file.reason) == (6, "connection reset")
    tally.advanced("a", 1)
    (file,) = tally.look().files
    assert file.rest == 0


def test_all_threads_are_counted(clock):
    tally = Tally(clock)
    tally.begin("fetching 1 file", 1)
    tally.file_started("a", 80_000, 0)

    def work() -> None:
        for _ in range(10_000):
            tally.advanced("a", 1)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert tally.look().whole.done == tally.look().files[0].done == 80_000


COUNTS = st.integers(0, 10**15)


@given(
    st.text(),
    st.lists(st.tuples(st.text(max_size=80), COUNTS, COUNTS, st.sampled_from([0, 0, 7]), st.text(max_size=60))),
    COUNTS,
    st.integers(1, 200),
    st.integers(1, 40),
    st.sampled_from(["utf-8", "ascii", "cp437", "cp932"]),
)
def test_lines_fit_whatever_they_tell(task, files, total, columns, rows, encoding):
    clock = Clock()
    tally = Tally(clock)
    tally.begin(task, total)
    for number, (label, size, done, _, _) in enumerate(files):
        tally.file_started(f"{number}{label}", size, done)
    for number, (label, _, done, rest, reason) in enumerate(files):
        tally.advanced(f"{number}{label}", done // 3)
        if rest:
            tally.waiting(f"{number}{label}", rest, reason)
    clock.now += 1
    lines = terminal_lines(tally.look(), columns, rows, encoding)
    assert len(lines) == min(1 + len(files), max(1, rows - 1))
    for line in lines:
        assert disp_len(line) <= max(1, columns - 1)
        assert line.isprintable()
        line.encode(encoding)
    if len(lines) < 1 + len(files) and rows > 2 and columns > 20:
        assert lines[-1].endswith(f"and {2 + len(files) - len(lines)} more")


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (100, ["fetching 1 file                   50%|███████████▌           |   500.0 MB/1.0 GB  50.0 MB/s    0:10"]),
        (60, ["fetching 1 file    50%   500.0 MB/1.0 GB  50.0 MB/s    0:10"]),
        (40, [" 50% 500.0 MB/1.0 GB 50.0 MB/s 0:10"]),
        (20, [" 50% 50.0 MB/s 0:10"]),
        (10, [" 50%"]),
    ],
)
def test_a_narrow_terminal_shows_what_matters_most(columns, expected):
    clock = Clock()
    tally = Tally(clock)
    tally.begin("fetching 1 file", 1_000_000_000)
    clock.now += 10
    tally.advanced("a", 500_000_000)
    assert terminal_lines(tally.look(), columns, 24) == expected


def test_small_files_do_not_flicker(clock):
    tally = Tally(clock)
    tally.begin("fetching 300 files", 3000)
    tally.file_started("a", 10, 0)
    clock.now += 0.4
    assert len(terminal_lines(tally.look(), 80, 24)) == 1
    clock.now += 0.2
    assert len(terminal_lines(tally.look(), 80, 24)) == 2


def test_a_stall_and_a_rest_are_named(clock):
    tally = Tally(clock)
    tally.begin("fetching 2 files", 1000)
    tally.file_started("a", 500, 0)
    tally.file_started("b", 500, 0)
    clock.now += 12
    tally.look()
    tally.waiting("b", 4, "the server answers 503")
    assert [" ".join(line.split()) for line in terminal_lines(tally.look(), 100, 24)] == [
        "fetching 2 files 0%| | 0 B/1.0 kB no data for 12 s",
        "a 0%| | 0 B/500 B no data for 12 s",
        "b 0% next try in 4 s: the server answers 503",
    ]
    assert log_line(tally.look()) == "0 B of 1.0 kB (0 %), 0 B/s, no data for 12 s"


def test_durations():
    assert [duration(each) for each in (0, 0.4, 59.6, 725, 3723, 359_999, 360_000)] == [
        "0:00",
        "0:00",
        "1:00",
        "12:05",
        "1:02:03",
        "99:59:59",
        "4 days",
    ]


def test_frames_come_by_themselves_and_the_last_is_taken_away(terminal):
    def work(reporter):
        reporter.started("fetching 1 file", 1000)
        reporter.file_started("m/a", 1000, 0)
        for _ in range(100):
            reporter.advanced("m/a", 1)
            time.sleep(0.01)
        reporter.finished()
        seconds.append(time.monotonic() - began)
        assert threading.active_count() == before

    began, seconds = time.monotonic(), list[float]()
    before = threading.active_count() + 1  # with the one that reads
    text, shown = terminal(work)
    assert shown == ["|"]
    # Ten in a second, however long a hundredth of one takes.
    assert 3 <= text.count("fetching 1 file") <= 5 + 10 * seconds[0]


def test_a_terminal_that_is_gone_stops_nothing():
    control, terminal = pty.openpty()
    stream = os.fdopen(terminal, "w", encoding="utf-8")
    reporter = TerminalReporter(stream)
    reporter.started("fetching 1 file", 1000)
    time.sleep(0.5)
    os.close(control)
    reporter.notice("of m")
    time.sleep(0.3)
    reporter.finished()
    reporter.notice("of n")
    with suppress(OSError):
        stream.close()


@pytest.mark.parametrize(
    ("environ", "plain"),
    [({"TERM": "xterm"}, False), ({}, False), ({"TERM": "dumb"}, True), ({"CI": "true"}, True), ({"CI": "0"}, False)],
)
def test_what_cannot_move_its_cursor_is_a_log(environ, plain):
    assert terminal_is_plain(environ) is plain


def test_a_chunk_costs_next_to_nothing(terminal):
    seconds = []

    def work(reporter):
        reporter.started("fetching 1 file", 1 << 40)
        reporter.file_started("m/a", 1 << 40, 0)
        began = time.thread_time()
        for _ in range(100_000):
            reporter.advanced("m/a", 1)
        seconds.append(time.thread_time() - began)
        reporter.finished()

    terminal(work)
    # A bar of its own for each call takes a hundred times as long.
    assert seconds[0] < 0.5
