"""What a detector is: something that is shown pictures, sound or text, and says what it finds.

A kind of detector is an entry point of the group ``vcm.detectors``, a function that makes one::

    [project.entry-points."vcm.detectors"]
    loud = "my_package.loud:make"

    def make(folder: Path | None, options: Table) -> SoundDetector:
        detector = Loud(options.number("threshold", least=0, most=1) or 0.5)
        options.finish()  # refuses keys that nobody asked for
        return detector

``folder`` is the snapshot of the detector's model, checked by the gate, or None for a detector without a model; nothing
else may be loaded. ``options`` is the detector's table of options in ``models.toml``. It raises ConfigError where they
cannot be used, and where the model is none that this kind can run.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from pathlib import Path

from vcm.core.fields import Table
from vcm.core.findings import Match
from vcm.core.subtitles import Cue
from vcm.video.media import Frame, Sound

ENTRY_POINTS = "vcm.detectors"
"""The group of entry points in which kinds of detectors are found by name."""


class FrameDetector(ABC):
    """Looks at pictures.

    Attributes:
        every: seconds between two pictures that it is shown, 0.01 to 3600.
    """

    every: float = 1.0

    @abstractmethod
    def look(self, frame: Frame) -> Iterable[Match]:
        """What is to be seen in a picture; as a rule a match lasts as long as the picture stands for."""


class SoundDetector(ABC):
    """Listens.

    Attributes:
        seconds: how long the stretches of sound are that it hears, one after the other, 0.01 to 600; the last may be
            shorter.
    """

    seconds: float = 10.0

    @abstractmethod
    def listen(self, sound: Sound) -> Iterable[Match]:
        """What is to be heard in a stretch of sound."""


class TextDetector(ABC):
    """Reads subtitles."""

    @abstractmethod
    def read(self, cue: Cue) -> Iterable[Match]:
        """What stands in a line of text."""


Detector = FrameDetector | SoundDetector | TextDetector
MakeDetector = Callable[[Path | None, Table], Detector]
