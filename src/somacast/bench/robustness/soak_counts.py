"""What long runs count, in memory that does not grow with their length."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from somacast.pipeline.live.receiver import LiveReceiver

SETTLED_MIN = 10  # minutes after which memory is looked at
EDGES = np.concatenate([np.linspace(0, 0.5, 101), [0.6, 0.8, 1, 1.5, 2, 4, 1e9]])  # of the histogram of errors
STALLED_S = 0.5  # the newest frame was due this long ago: the person stands still


def resident_bytes() -> int:
    """Memory that this process holds now; 0 where the system does not tell."""
    try:
        return 4096 * int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0


def slope(values: Sequence[float]) -> float | None:
    """Least-squares growth from one value to the next; None for fewer than three."""
    if len(values) < 3:
        return None
    return float(np.polyfit(np.arange(len(values)), np.array(values, float), 1)[0])


class Memory:
    """Resident bytes and blocks of Python's allocator, once a simulated minute."""

    def __init__(self) -> None:
        self.resident: list[int] = []
        self.blocks: list[int] = []

    def sample(self, minute: int) -> None:
        """One look, behind a garbage collection."""
        gc.collect()
        self.resident.append(resident_bytes())
        self.blocks.append(sys.getallocatedblocks())

    def result(self) -> dict[str, Any]:
        """Both by minute, their growth a minute once all is settled, the most."""
        settled = SETTLED_MIN if len(self.resident) > SETTLED_MIN + 3 else 0
        return {
            "settled_min": settled,
            "growth_bytes_per_min": slope(self.resident[settled:]),
            "growth_blocks_per_min": slope(self.blocks[settled:]),
            "grown_bytes": self.resident[-1] - self.resident[settled] if len(self.resident) > settled else 0,
            "largest_bytes": max(self.resident, default=0),
            "resident_bytes": self.resident,
            "blocks": self.blocks,
        }


@dataclass
class Recovery:
    """Times from when a new pose could come again to when one was seen, by what had happened."""

    waiting: dict[str, float] = field(default_factory=dict)
    times_s: dict[str, list[float]] = field(default_factory=dict)

    def begin(self, kind: str, time_s: float) -> None:
        """Something has interrupted the stream; it could go on at time_s."""
        for other in self.waiting:  # an interruption on top of another: all wait from the later one
            self.waiting[other] = max(self.waiting[other], time_s)
        self.waiting[kind] = time_s

    def drop(self) -> None:
        """What is waited for does not come any more."""
        self.waiting.clear()

    def found(self, time_s: float) -> None:
        """A new pose is to be seen."""
        for kind, began in [*self.waiting.items()]:
            if time_s >= began:
                self.times_s.setdefault(kind, []).append(time_s - began)
                del self.waiting[kind]

    def result(self) -> dict[str, Any]:
        """Number, median, p95 and longest, by kind."""
        return {
            kind: {"count": len(times), "median": float(np.median(times)), "p95": float(np.percentile(times, 95)),
                   "max": max(times)}
            for kind, times in sorted(self.times_s.items())
        }  # fmt: skip


@dataclass
class _Phase:
    """What was seen during links of one kind."""

    seconds: float = 0.0
    seen_s: float = 0.0
    fresh_s: float = 0.0
    longest_stall_s: float = 0.0
    errors: np.ndarray = field(default_factory=lambda: np.zeros(len(EDGES) - 1, np.int64))
    total: float = 0.0


@dataclass
class Tally:
    """Everything else."""

    phases: dict[str, _Phase] = field(default_factory=dict)
    receivers: dict[str, int] = field(default_factory=dict)
    sender_restarts: int = 0
    receiver_restarts: int = 0
    outages: int = 0
    persons: int = 0
    replays: int = 0
    dark: int = 0  # datagrams sent into an outage
    person_looks: int = 0
    person_right: int = 0
    all_s: float = 0.0
    any_s: float = 0.0

    def look(self, phase: str, alive: bool, seen: bool, error: float | None, overdue_s: float, span_s: float) -> None:
        """What is seen for the next span_s. alive: sender and link are there, and nothing is being recovered from."""
        self.all_s += span_s
        self.any_s += seen * span_s
        if not alive:
            return
        one = self.phases.setdefault(phase, _Phase())
        one.seconds += span_s
        if not seen or error is None:
            return
        one.seen_s += span_s
        one.fresh_s += (overdue_s < STALLED_S) * span_s
        one.longest_stall_s = max(one.longest_stall_s, overdue_s)
        one.errors[min(int(np.searchsorted(EDGES, error, side="right")) - 1, len(one.errors) - 1)] += 1
        one.total += error

    def person(self, right: bool) -> None:
        """Whether the receiver knows who the sender says it is, looked at once a second."""
        self.person_looks += 1
        self.person_right += right

    def add_receiver(self, receiver: LiveReceiver) -> None:
        """The counts of a receiver that ends."""
        for name, value in vars(receiver.counts).items():
            self.receivers[name] = self.receivers.get(name, 0) + value

    def events(self) -> dict[str, int]:
        """What was done to the stream."""
        names = ("sender_restarts", "receiver_restarts", "outages", "persons", "replays")
        return {name: getattr(self, name) for name in names} | {"datagrams_into_outages": self.dark}

    def shown(self) -> dict[str, float]:
        """Shares of time: with a person on screen, of all and while sender and link were there; that moved on."""
        alive = sum(one.seconds for one in self.phases.values()) or 1.0
        return {
            "on_screen": self.any_s / max(self.all_s, 1e-9),
            "on_screen_while_alive": sum(one.seen_s for one in self.phases.values()) / alive,
            "moving_while_alive": sum(one.fresh_s for one in self.phases.values()) / alive,
            "longest_stall_s": max((one.longest_stall_s for one in self.phases.values()), default=0.0),
            "right_person": self.person_right / max(self.person_looks, 1),
        }

    def by_phase(self) -> dict[str, dict[str, float]]:
        """Seconds, shares of them and errors (mean over labels, in spreads of each), by kind of link."""
        out = {}
        for name, one in self.phases.items():
            count = int(one.errors.sum())
            reached = np.searchsorted(np.cumsum(one.errors), [0.5 * count, 0.95 * count])
            out[name] = {
                "seconds": one.seconds, "on_screen": one.seen_s / max(one.seconds, 1e-9),
                "moving": one.fresh_s / max(one.seconds, 1e-9), "longest_stall_s": one.longest_stall_s,
                "error_mean": one.total / max(count, 1), "error_median": float(EDGES[reached[0] + 1]),
                "error_p95": float(EDGES[reached[1] + 1]) if count else float("nan"),
            }  # fmt: skip
        return out
