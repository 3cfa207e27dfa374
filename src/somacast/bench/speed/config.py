"""Settings of `somacast bench speed` and `bench people`."""

from __future__ import annotations

from dataclasses import dataclass

from somacast.options import Assets, Device, Json, SystemName, check_positive
from somacast.systems.registry import DEFAULT


@dataclass(frozen=True)
class SpeedConfig:
    """Measure stages, whole commands, peak memory and the size of the package on synthetic people.

    Figures are worth something on a quiet machine only; how busy it was is written down.

    Example: somacast bench speed --json results/stills/speed.json --people 10
    """

    json_path: Json
    """file for the results"""
    system: SystemName = DEFAULT
    """system to measure"""
    people: int = 5
    """how many made pictures"""
    repeats: int = 3
    """how often each is run"""
    command_runs: int = 4
    """how often the whole commands are run, at least 2"""
    cores: int = 2
    """the most processor cores to use"""
    photograph_px: int = 3000
    """side of the large picture"""
    budgets_bytes: tuple[int, ...] = (600, 1500)
    """most bytes of files that are measured beside those without a budget: they hold a picture, too"""
    seed: int = 0
    """start of all randomness"""
    device: Device = "cpu"

    def __post_init__(self) -> None:
        check_positive(
            people=self.people, repeats=self.repeats, command_runs=self.command_runs, cores=self.cores,
            photograph_px=self.photograph_px,
        )  # fmt: skip


@dataclass(frozen=True)
class PeopleBench:
    """Measure how many samples per second are drawn, everything true about them included.

    Example: somacast bench people --json results/stills/people.json
    """

    json: Json
    """file for the results"""
    size_px: int = 256
    """side of the pictures"""
    views: int = 6
    """pictures of every person"""
    processes: tuple[int, ...] = (1, 2)
    """numbers of processes, each measured"""
    seconds: float = 20.0
    """length of each measurement"""
    warm_up_people: int = 40
    """drawn by every process before, so that its caches are as in a long run"""
    assets: Assets = None
    """folder with an asset wardrobe and motions; built-in ones if not given"""
    seed: int = 0
    """start of all randomness"""

    def __post_init__(self) -> None:
        check_positive(
            size_px=self.size_px, views=self.views, processes=min(self.processes, default=0), seconds=self.seconds
        )
