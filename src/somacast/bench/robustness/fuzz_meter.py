"""What a call on bytes of others costs and raises, counted over many calls."""

from __future__ import annotations

import gc
import sys
import time
import traceback
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

from somacast.bench.robustness.soak_counts import resident_bytes
from somacast.errors import SomacastError

TRACED = 3000  # calls whose allocations are watched, which is slow


class Meter:
    """Times are of this thread's processor, so that a busy machine does not count; garbage collection is counted apart.

    kind: where a call belongs; the slowest and the hungriest of each are told.
    """

    def __init__(self) -> None:
        self.packets, self.refused, self.escaped = 0, 0, 0
        self.faults: list[str] = []
        self.longest_s, self.total_s = {}, {}
        self.largest: dict[str, int] = {}
        self.counts: dict[str, int] = {}
        self.pause_s, self.longest_pause_s, self._pause_began_s = 0.0, 0.0, 0.0
        self._traced: dict[str, int] = {}
        self._start_bytes = 0
        gc.callbacks.append(self._collecting)

    def _collecting(self, phase: str, info: dict[str, Any]) -> None:
        if phase == "start":
            self._pause_began_s = time.thread_time()
        else:
            spent = time.thread_time() - self._pause_began_s
            self.pause_s += spent
            self.longest_pause_s = max(self.longest_pause_s, spent)

    def call(self, kind: str, function: Callable[..., Any], *arguments: Any, allowed: bool = True) -> None:
        """One call. allowed: whether it may refuse with a SomacastError; nothing else may leave it."""
        self.packets += 1
        self.counts[kind] = self.counts.get(kind, 0) + 1
        traced = self._traced.get(kind, 0) < TRACED
        if traced:
            self._traced[kind] = self._traced.get(kind, 0) + 1
            tracemalloc.start()
            before = tracemalloc.get_traced_memory()[0]
        pause, began = self.pause_s, time.thread_time()
        try:
            function(*arguments)
        except SomacastError as fault:
            self.refused += 1
            if not allowed:
                self._escape(fault)
        except Exception as fault:
            self._escape(fault)
        spent = time.thread_time() - began - (self.pause_s - pause)
        if traced:
            self.largest[kind] = max(self.largest.get(kind, 0), tracemalloc.get_traced_memory()[1] - before)
            tracemalloc.stop()
            return
        self.total_s[kind] = self.total_s.get(kind, 0.0) + spent
        self.longest_s[kind] = max(self.longest_s.get(kind, 0.0), spent)

    def _escape(self, fault: Exception) -> None:
        self.escaped += 1
        if len(self.faults) < 8:
            place = traceback.extract_tb(fault.__traceback__)[-1]
            self.faults.append(f"{type(fault).__name__}: {fault} ({Path(place.filename).name}:{place.lineno})")

    def settle(self) -> None:
        """From here on memory must not grow."""
        gc.collect()
        self._start_bytes, self._start_blocks = resident_bytes(), sys.getallocatedblocks()

    def result(self) -> dict[str, Any]:
        """The figures; ends the watch on the garbage collector."""
        gc.callbacks.remove(self._collecting)
        gc.collect()
        grown = {}
        if self._start_bytes:
            grown = {"grown_bytes": resident_bytes() - self._start_bytes,
                     "grown_blocks": sys.getallocatedblocks() - self._start_blocks}  # fmt: skip
        timed = {kind: self.counts[kind] - self._traced.get(kind, 0) for kind in self.total_s}
        return {
            "packets": self.packets, "refused": self.refused, "escaped": self.escaped, "faults": self.faults,
            "longest_s": max(self.longest_s.values(), default=0.0), "longest_pause_s": self.longest_pause_s,
            "largest_allocation_bytes": max(self.largest.values(), default=0), **grown,
            "kinds": {kind: {"packets": self.counts[kind], "longest_s": self.longest_s.get(kind, 0.0),
                             "mean_s": self.total_s.get(kind, 0.0) / max(timed.get(kind, 0), 1),
                             "largest_allocation_bytes": self.largest.get(kind, 0)} for kind in sorted(self.counts)},
        }  # fmt: skip
