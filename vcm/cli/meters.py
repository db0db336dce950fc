"""Progress as lines: as much of it as fits into a terminal, or one for a log."""

from __future__ import annotations

from vcm.cli.tally import Meter, View
from vcm.core.wording import byte_count, counted, printable

SILENCE = 5.0
"""Seconds without a byte after which that is said."""

_SHOWN_AFTER = 0.5  # seconds: a file that comes and goes in a moment would only flicker
_LABEL_COLUMNS = 32
_LEAST_LABEL = 8
_LEAST_BAR = 6
_ROOMY = 60  # columns in which numbers stand below each other
_NUMBERS_COLUMNS = 36


def terminal_lines(view: View, columns: int, rows: int, encoding: str = "utf-8") -> list[str]:
    """One line for the whole and one for each file that is on its way, none of them as wide as the terminal.

    Args:
        view: what to show.
        columns: the terminal's width.
        rows: its height; what does not fit is counted in the last line.
        encoding: what it understands; letters that it lacks are replaced.
    """
    width = max(1, columns - 1)  # a full line would wrap on some terminals
    files = [file for file in view.files if file.age >= _SHOWN_AFTER]
    room = max(0, rows - 2)
    hidden = len(files) - room if len(files) > room else 0
    if hidden and room:
        hidden += 1
    shown = files[: len(files) - hidden]
    lines = [_line(view.steps or view.whole, _numbers(view, columns), width, encoding, is_whole=True)]
    lines += [_line(file, _file_numbers(file), width, encoding) for file in shown]
    if hidden and room:
        lines.append(_fitting(f"{_mark(encoding)} and {hidden} more", width, encoding).rstrip())
    return lines


def log_line(view: View) -> str:
    """How far the whole is, in a sentence."""
    if view.steps is not None:
        return f"{view.steps.label}: {view.steps.done} of {view.steps.total}"
    whole = view.whole
    line = f"{byte_count(whole.done)} of {byte_count(whole.total)} ({whole.share} %), {byte_count(whole.speed)}/s"
    if _is_silent(whole):
        return f"{line}, no data for {whole.silent:.0f} s"
    return line if whole.seconds_left is None else f"{line}, {duration(whole.seconds_left)} left"


def duration(seconds: float) -> str:
    """``0:14``, ``12:05``, ``1:02:03``; days beyond that."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 100:  # noqa: PLR2004
        return counted(hours // 24, "day")
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _is_silent(meter: Meter) -> bool:
    return meter.silent >= SILENCE and not (meter.total and meter.done >= meter.total)


def _numbers(view: View, columns: int) -> list[str]:
    """What can be said of the whole, the longest first."""
    if view.steps is not None:
        return [f"{view.steps.done}/{view.steps.total}", ""]
    numbers = _byte_numbers(view.whole)
    # Where there is no room for columns, none is wasted on them.
    return numbers if columns >= _ROOMY else [" ".join(each.split()) for each in numbers]


def _file_numbers(file: Meter) -> list[str]:
    """What can be said of a file, the longest first."""
    if file.rest > 0:
        soon = f"next try in {file.rest:.0f} s"
        return [f"{soon}: {printable(file.reason)}", soon, "waits", ""]
    if file.total and file.done >= file.total:
        return ["finishing", ""]
    return _byte_numbers(file)


def _byte_numbers(meter: Meter) -> list[str]:
    amount = f"{byte_count(meter.done)}/{byte_count(meter.total)}" if meter.total else byte_count(meter.done)
    if _is_silent(meter):
        silence = f"no data for {meter.silent:.0f} s"
        return [f"{amount:>17}  {silence}", silence, "no data", ""]
    speed = f"{byte_count(meter.speed)}/s"
    left = "" if meter.seconds_left is None else duration(meter.seconds_left)
    return [f"{amount:>17} {speed:>10} {left:>7}", f"{speed:>10} {left:>7}", f"{speed:>10}", ""]


def _line(meter: Meter, choices: list[str], width: int, encoding: str, *, is_whole: bool = False) -> str:
    """Label, per cent, a bar where there is room for it, and the longest of the choices that fits."""
    share = "    " if meter.share is None else f"{meter.share:3}%"
    needed = len(share) + 1 + (0 if is_whole else 1 + _LEAST_LABEL)
    choices = [_known(each, encoding) for each in choices]
    numbers = next((each for each in choices if needed + len(each) <= width), choices[-1])
    if width >= _ROOMY:
        numbers = f"{numbers:{_NUMBERS_COLUMNS}}"
    right = f" {numbers}" if numbers else ""
    free = width - len(share) - len(right) - 1
    label_width = min(_LABEL_COLUMNS, (width + 1) // 3)
    if meter.rest > 0 or label_width < _LEAST_LABEL or free - label_width - 2 < _LEAST_BAR:
        if width >= _ROOMY:
            free = min(free, label_width)
        label = _fitting(meter.label, min(_LABEL_COLUMNS, free), encoding) + " " if free >= _LEAST_LABEL else ""
        return _fitting(f"{label}{share}{right}".rstrip(), width, encoding).rstrip()
    label = _fitting(meter.label, label_width, encoding)
    if meter.share is None:
        return f"{label} {share}{right:>{free - label_width + len(right)}}".rstrip()
    return _with_bar(f"{label} {share}|", f"|{right}", meter, width, encoding)


def _with_bar(left: str, right: str, meter: Meter, width: int, encoding: str) -> str:
    from tqdm import tqdm

    left, right = (part.replace("{", "{{").replace("}", "}}") for part in (left, right))
    return tqdm.format_meter(
        n=min(meter.done, meter.total),
        total=meter.total,
        elapsed=0,
        ncols=width,
        ascii=not _has_letters("█▏", encoding),
        bar_format=f"{left}{{bar}}{right}",
    ).rstrip()


def _fitting(text: str, width: int, encoding: str) -> str:
    """Text of exactly so many columns: filled up with blanks, or cut to what tells files apart.

    That is the end of a path, but not its suffix: shards have their number before it.
    """
    from tqdm.utils import disp_len

    text = _known(printable(text), encoding)
    if disp_len(text) > width:
        stem, dot, suffix = text.rpartition(".")
        text = stem if dot and stem and "/" not in suffix and " " not in suffix else text
    if disp_len(text) > width:
        mark = _mark(encoding)
        kept, room = len(text), width - len(mark)
        while disp_len(text[kept - 1 :]) <= room:
            kept -= 1
        text = (mark + text[kept:])[-width:] if room < 0 else mark + text[kept:]
    return text + " " * (width - disp_len(text))


def _mark(encoding: str) -> str:
    return "…" if _has_letters("…", encoding) else "..."


def _known(text: str, encoding: str) -> str:
    """Only letters that the terminal has: another would be spelt out, and the line become too long."""
    return text.encode(encoding, "replace").decode(encoding)


def _has_letters(letters: str, encoding: str) -> bool:
    try:
        letters.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True
