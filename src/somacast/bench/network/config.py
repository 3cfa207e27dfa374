"""Settings of `somacast bench link`, `bench video` and `bench live`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from somacast.checks import check_count, check_number, check_probability
from somacast.errors import SomacastError
from somacast.options import Json, check_positive


@dataclass(frozen=True)
class LinkBenchConfig:
    """Measure how well rate control holds a link whose capacity steps between 1 Mbit/s and 10 kbit/s, against AIMD and
    fixed rates, on a simulated clock. Writes the JSON, and beside it FILE.png.

    Example: somacast bench link --json results/live/link.json
    """

    json_path: Json = Path("results/live/link.json")
    """file for the results"""
    steps_bps: tuple[float, ...] = (1e6, 3e5, 5e4, 1e4, 1e5, 1e6, 1e4, 1e6)
    """capacities in bit/s, one after the other"""
    step_s: float = 20.0
    """length of a step"""
    queue_bytes: int = 12_500
    """of the bottleneck, drop-tail"""
    delay_s: float = 0.05
    """of an idle link, each way"""
    losses: tuple[float, ...] = (0.0, 0.02, 0.1)
    """shares of datagrams and reports lost at random"""
    controllers: tuple[str, ...] = ("ours", "aimd", "fixed_50k", "fixed_200k")
    """what is compared; the first is the one that is drawn in full"""
    seed: int = 0
    """start of all randomness"""

    def __post_init__(self) -> None:
        if not self.steps_bps or not self.losses:
            raise SomacastError("--steps-bps, --losses: expected at least one of each")
        for rate in self.steps_bps:
            check_number("--steps-bps", rate, 1000.0, 1e8)
        for loss in self.losses:
            check_probability("--losses", loss)
        check_number("--step-s", self.step_s, 4.0, 3600.0)
        check_number("--delay-s", self.delay_s, above=True)
        check_count("--queue-bytes", self.queue_bytes, 1500)

    @property
    def more_written(self) -> list[Path]:
        """Beside the JSON."""
        return [self.figure_path]

    @property
    def figure_path(self) -> Path:
        """The time series, beside the JSON."""
        return self.json_path.with_suffix(".png")


@dataclass(frozen=True)
class VideoBench:
    """Measure what moving people cost at full and at the smallest quality, how smooth they are, and what losses do to
    how they look. On a simulated clock, with the real tracker for the looks, on the CPU.

    Example: somacast bench video --json results/live/video.json
    """

    json: Json = Path("results/live/video.json")
    """file for the results"""
    seconds: float = 8.0
    """length of each motion"""
    clips: int = 2
    """motions of each action whose rates are measured"""
    people: int = 3
    """synthetic people who are tracked in pictures and sent over lossy links"""
    seed: int = 11
    """start of all randomness"""

    def __post_init__(self) -> None:
        check_positive(seconds=self.seconds, clips=self.clips, people=self.people)


@dataclass(frozen=True)
class LiveBench:
    """Measure the delay from camera to drawn person, and how soon somebody is seen over a narrow, lossy link, with real
    processes and sockets, on the CPU. Figures are worth something on a quiet machine only.

    Example: somacast bench live --json results/live/live.json
    """

    json: Json = Path("results/live/live.json")
    """file for the results"""
    seconds: float = 20.0
    """length of the delay measurement"""
    fps: float = 16.0
    """of the made camera"""
    starts: int = 10
    """how often a start over the narrow link is timed, for each transport"""
    rate_kbit_s: float = 50.0
    """of the narrow link, both ways"""
    rtt_ms: float = 100.0
    """there and back"""
    loss: float = 0.1
    """share of datagrams lost, each way"""
    seed: int = 1
    """start of all randomness"""

    def __post_init__(self) -> None:
        check_positive(
            seconds=self.seconds, fps=self.fps, starts=self.starts, rate_kbit_s=self.rate_kbit_s, rtt_ms=self.rtt_ms
        )
        check_probability("--loss", self.loss)
