"""How far the download of one model is, for a program that asks."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Any

from vcm.core.entries import ModelStatus
from vcm.core.plan import PlannedModel
from vcm.core.reporter import Reporter


class DownloadProgress(Reporter):
    """How far a download is. Its numbers never go back: bytes that were thrown away and come again count once."""

    def __init__(self, model_id: str, clock: Callable[[], float]) -> None:
        """Begin with nothing.

        Args:
            model_id: whose download it is.
            clock: tells the time in seconds.
        """
        self._clock = clock
        self._model_id = model_id
        self._lock = Lock()
        self._began = 0.0
        self._received = 0
        self._here: dict[str, int] = {}
        self._sizes: dict[str, int] = {}
        self._reused = self._downloaded = self._total = 0
        self._files_reused = self._files_completed = self._files_total = 0
        self.status = ModelStatus.PENDING

    def begin(self, planned: PlannedModel) -> None:
        """What there is to do is known; what was fetched to find out is in the store already."""
        with self._lock:
            self._began = self._clock()
            self._total, self._files_total = planned.model.size, len(planned.model.files)
            self._files_completed = self._files_reused = self._files_total - len(planned.fetch)
            self._downloaded = self._reused = self._total - planned.bytes_to_fetch
            self._here, self._sizes, self._received = {}, {}, 0

    def file_started(self, label: str, size: int, already: int) -> None:
        with self._lock:
            self._here[label], self._sizes[label] = already, size
            self._add_up()

    def kept(self, label: str, count: int) -> None:
        with self._lock:
            self._here[label] = self._here.get(label, 0) + count
            self._sizes.setdefault(label, count)
            self._add_up()

    def advanced(self, label: str, count: int) -> None:
        with self._lock:
            self._here[label] = self._here.get(label, 0) + count
            self._received += max(0, count)
            self._add_up()

    def _add_up(self) -> None:
        here = {label: min(count, self._sizes.get(label, count)) for label, count in self._here.items()}
        self._downloaded = max(self._downloaded, min(self._reused + sum(here.values()), self._total))
        whole = sum(count == self._sizes.get(label) for label, count in here.items())
        self._files_completed = max(self._files_completed, min(self._files_reused + whole, self._files_total))

    def as_dict(self) -> dict[str, Any]:
        """The published keys."""
        with self._lock:
            elapsed = self._clock() - self._began
            left = self._total - self._downloaded
            return {
                "model_id": self._model_id,
                "status": self.status.value,
                "progress": self._downloaded / self._total if self._total else 0.0,
                "downloaded_bytes": self._downloaded,
                "total_bytes": self._total,
                "files_completed": self._files_completed,
                "files_total": self._files_total,
                "estimated_remaining": round(left * elapsed / self._received) if self._received else None,
            }
