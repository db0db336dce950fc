"""What vcm promises of its speed, and how a measurement is held against it: printed, nothing fails."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tests.bench.contestants import ARIA2C, CURL, HF, VCM
from tests.bench.timing import Summary, print_table

MOST_MEBIBYTES = 120
"""What a download may use, whatever its size and number of files."""

MOST_MICROSECONDS = 1000
"""What ``vcm.require`` may take in a process that has called it before."""

PASS, TYPER, HASHING = "python -c pass", "python -c 'import typer'", "xargs openssl dgst"
PUSH, SKOPEO_PUSH, ORAS_PUSH = "vcm push", "skopeo copy to it", "oras push"
PULL, SKOPEO_PULL, ORAS_PULL = "vcm sync from the registry", "skopeo copy from it", "oras pull"
SYNC, CHECK, GATE, VERIFY = "vcm sync", "vcm check", "vcm.gate()", "vcm verify"


@dataclass(frozen=True, slots=True)
class Target:
    """How much of a peer's time something of vcm's may take.

    Attributes:
        own: the name of the contestant that is vcm's.
        peer: the other one's.
        at_most: the greatest ratio of their seconds.
        cases: for downloads: the cases it is about.
        tls: for downloads: whether it is about https; None: about both.
        is_far: for downloads: whether it is about a hub that is far away; None: about both.
    """

    own: str
    peer: str
    at_most: float
    cases: Sequence[str] = ()
    tls: bool | None = None
    is_far: bool | None = None


_LARGE = ("large", "shards")
TARGETS = (
    Target(VCM, HF, 0.5, _LARGE, tls=False),
    Target(VCM, ARIA2C, 0.45, _LARGE, tls=False),
    Target(VCM, CURL, 1.0, _LARGE, tls=False),
    Target(VCM, HF, 0.8, _LARGE, tls=True),
    Target(VCM, ARIA2C, 1.0, _LARGE, tls=True),
    Target(VCM, HF, 0.35, ("small",), is_far=False),
    Target(VCM, HF, 0.4, ("small",), is_far=True),
    Target(VCM, HF, 0.4, ("repos",)),
    Target(SYNC, TYPER, 1.5),
    Target(CHECK, TYPER, 1.5),
    Target(GATE, PASS, 3.0),
    Target(VERIFY, HASHING, 1.0),
    Target(PUSH, SKOPEO_PUSH, 1.0),
    Target(PUSH, ORAS_PUSH, 1.0),
    Target(PULL, SKOPEO_PULL, 1.0),
    Target(PULL, ORAS_PULL, 1.0),
)


def of_download(case: str, *, tls: bool, is_far: bool) -> list[Target]:
    """The targets of one way to download a case."""
    return [
        target
        for target in TARGETS
        if case in target.cases and target.tls in (None, tls) and target.is_far in (None, is_far)
    ]


def print_targets(
    measured: Mapping[str, Summary], targets: Iterable[Target], *, most_mebibytes: float | None = None
) -> None:
    """Say of each target whose two contestants took part whether it is met, and by how much.

    The ratio of the medians decides; those of the quickest rounds and of the processors' time are nearer to what a
    quiet machine would say.
    Where ``most_mebibytes`` is given, the memory that a download took is held against it, too.
    """
    rows = []
    for target in targets:
        if (own := measured.get(target.own)) and (peer := measured.get(target.peer)):
            middle, quickest = own.seconds / peer.seconds, own.quickest / peer.quickest
            ratios = (target.at_most, middle, quickest, own.cpu_seconds / peer.cpu_seconds)
            shown = [f"{ratio:.2f}" for ratio in ratios]
            rows.append((f"{target.own} / {target.peer}", *shown, met(middle <= target.at_most)))
    if most_mebibytes is not None and (own := measured.get(VCM)):
        peak = f"{own.mebibytes:.0f}"
        rows.append((f"{VCM}, peak MiB", f"{most_mebibytes:g}", peak, "", "", met(own.mebibytes <= most_mebibytes)))
    if rows:
        print_table("targets", ("", "at most", "median", "quickest", "CPU", ""), rows)


def met(is_met: bool) -> str:
    """The word for a target that is met, or not."""
    return "met" if is_met else "MISSED"
