"""What long work tells while it goes on. Every method does nothing, so that silence is the default."""

from __future__ import annotations


class Reporter:
    """Told of progress and notices; a terminal, a log or a test may listen by overriding what it wants.

    Methods may be called from several threads at once, and for every chunk of every file: they return at once.
    """

    def notice(self, text: str) -> None:
        """Something the user should know and may act on."""

    def started(self, task: str, total_bytes: int) -> None:
        """Work of this size begins; ``task`` says which, in a word or two: ``fetching 3 files``."""

    def file_started(self, label: str, size: int, already: int) -> None:
        """A file of ``size`` bytes (0: not known) begins, of which ``already`` are here."""

    def kept(self, label: str, count: int) -> None:
        """``count`` more bytes of that file were here already, and were looked at: done, but no measure of speed."""

    def advanced(self, label: str, count: int) -> None:
        """``count`` more bytes of that file arrived (negative: thrown away again)."""

    def file_finished(self, label: str) -> None:
        """The file is done, or was given up."""

    def steps(self, task: str, total: int) -> None:
        """Work of that many steps begins, which no bytes measure: ``locking``, 20 models."""

    def step(self) -> None:
        """One of them is done."""

    def waiting(self, label: str, seconds: float, reason: str) -> None:
        """Work on that file rests before the next try."""

    def finished(self) -> None:
        """All work is over."""
