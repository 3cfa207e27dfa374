"""Settings of `somacast bench soak` and `bench fuzz`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from somacast.checks import check_count, check_number
from somacast.options import Written

JsonOrNone = Annotated[Path | None, tyro.conf.arg(name="json"), Written((".json",))]


@dataclass(frozen=True)
class SoakConfig:
    """Run the live stream for a simulated hour over links that lose, reorder, copy and fail, while both ends restart:
    crashes, memory, stalls.

    Example: somacast bench soak --minutes 60 --json results/live/soak.json
    """

    json_path: JsonOrNone = Path("results/live/soak.json")
    """file for the results"""
    minutes: float = 60.0
    """simulated"""
    fps: float = 30.0
    """of the sender's camera"""
    batch_s: float = 0.1
    """how long frames wait to share a datagram"""
    phase_s: float = 60.0
    """between changes of the link"""
    sender_s: float = 60.0
    """mean time between restarts of the sender"""
    receiver_s: float = 90.0
    """mean time between restarts of the receiver"""
    outage_s: float = 120.0
    """mean time between outages of the link"""
    person_s: float = 25.0
    """mean time between news of who it is"""
    replay_s: float = 20.0
    """mean time between replays"""
    picture_s: float = 15.0
    """mean time between pictures"""
    seed: int = 0
    """start of all randomness"""

    def __post_init__(self) -> None:
        for name in ("minutes", "batch_s", "phase_s", "sender_s", "receiver_s", "outage_s", "person_s", "replay_s",
                     "picture_s"):  # fmt: skip
            check_number(f"--{name.replace('_', '-')}", getattr(self, name), 0.02, 1e5)
        check_number("--fps", self.fps, 1.0, 60.0)
        check_count("--seed", self.seed)


@dataclass(frozen=True)
class FuzzConfig:
    """Feed a million changed packets to everything that reads bytes of others: crashes, hangs, memory, stalls.

    Example: somacast bench fuzz --packets 1000000 --json results/live/fuzz.json
    """

    json_path: JsonOrNone = Path("results/live/fuzz.json")
    """file for the results"""
    packets: int = 1_000_000
    """in all"""
    processes: int = 2
    """1 or 2"""
    seed: int = 0
    """start of all randomness"""

    def __post_init__(self) -> None:
        check_count("--packets", self.packets, 100, 100_000_000)
        check_count("--processes", self.processes, 1, 2)
        check_count("--seed", self.seed)
