"""Which frame shows best who it is, and a still of it with its picture, made beside the frames.

offer(observation) each now and then -> the best so far;   begin(room) -> a thread makes a container -> take()
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from somacast.systems.registry import System
from somacast.systems.spec import PicturingTracker

OFFER_S = 0.2  # between frames that are looked at for it
BETTER = 1.15  # times as good: worth the bytes
END_S = 10.0  # how long the end of a session waits for one that is being made
FADE_S = 240.0  # in which a look counts half: clothes and light change


@dataclass
class _Best:
    """A frame, how good it is, and when it was."""

    observation: Any
    worth: float
    time_s: float

    def worth_at(self, time_s: float) -> float:
        """What it is worth later."""
        return self.worth * 0.5 ** (max(time_s - self.time_s, 0.0) / FADE_S)


class Looks:
    """Of one sender: offer and begin are called by the thread of the frames, take by any."""

    def __init__(self, tracker: PicturingTracker, system: System, done: Callable[[bytes, int], None]) -> None:
        """done: called with a container and the bytes that it might have had, by a thread of its own."""
        self._tracker, self._system, self._done = tracker, system, done
        self._best: _Best | None = None
        self._sent: _Best | None = None
        self._room = 0  # bytes that the newest one might have had
        self._offered_s = -1e9
        self._thread: threading.Thread | None = None
        self.fault = ""

    def offer(self, observation: Any, time_s: float) -> None:
        """A frame of time_s; kept if it is the best."""
        if time_s - self._offered_s < OFFER_S:
            return
        self._offered_s = time_s
        one = _Best(observation, self._tracker.worth(observation), time_s)
        if one.worth > 0 and (self._best is None or one.worth > self._best.worth_at(time_s)):
            self._best = one

    def begin(self, time_s: float, room_bytes: int) -> None:
        """Make one of the best frame in at most room_bytes, if that gives a better or a finer one than before."""
        best, sent = self._best, self._sent
        if best is None or not room_bytes or (self._thread is not None and self._thread.is_alive()):
            return
        better = sent is None or (best is not sent and best.worth_at(time_s) > BETTER * sent.worth_at(time_s))
        if not better and room_bytes <= self._room:
            return
        self._sent, self._room = best, room_bytes
        make = self._tracker.still(best.observation)
        self._thread = threading.Thread(target=self._make, args=(make, room_bytes), name="send-look", daemon=True)
        self._thread.start()

    def _make(self, make: Callable[[int], Any], room_bytes: int) -> None:
        try:
            encoded = make(room_bytes)
            if encoded is not None:
                self._done(self._system.pack(encoded.layers), room_bytes)
        except Exception as fault:  # a look that cannot be made must not end the session
            self.fault = f"{type(fault).__name__}: {fault}"

    def forget(self) -> None:
        """Another person may be there: the next frame counts, whatever was before."""
        self._best = self._sent = None

    def end(self) -> None:
        """Wait for what is being made."""
        if self._thread is not None:
            self._thread.join(END_S)
