"""What a receiver shows when: frames that come in batches, late, twice or never, to one smooth motion.

A frame of the sender's time s is due at s + offset. The offset follows how late what was needed came (a high share of
the recent packets was in time) and moves slowly, so that nobody sees it move. Between two frames values are blended;
where the next one is missing the motion goes on a little and then stops.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from dataclasses import dataclass

import numpy as np

from somacast.body.rotations import wrap_angle
from somacast.errors import SomacastError

KEPT_S = 4.0  # how much motion is kept behind what is shown
MAX_FRAMES = 1024
WINDOW_S = 4.0  # over which lateness is looked at
CLOCK_JUMP_S = 3.0  # a packet this far off the others belongs to another clock: all starts anew


@dataclass(frozen=True)
class PlayoutConfig:
    """share: of recent packets that are to be in time; margin_s: on top of that; slew: seconds the offset may move in
    one; coast_s: how long a motion goes on without news."""

    share: float = 0.9
    margin_s: float = 0.005
    slew: float = 0.15
    coast_s: float = 0.15


class Playout:
    """Frames of one stream. turns: columns of the values [M] that are angles [M] bool. Times are seconds."""

    def __init__(self, circular: np.ndarray, config: PlayoutConfig | None = None):
        self.circular, self.config = circular, config or PlayoutConfig()
        self.reset()

    def reset(self) -> None:
        """Forget everything, as at the start."""
        self.offset_s: float | None = None
        self._times: list[float] = []
        self._values: dict[float, np.ndarray] = {}
        self._own: dict[float, bool] = {}
        self._late: deque[tuple[float, float]] = deque()
        self._shown_s: float | None = None

    def add(self, now_s: float, times_s: list[float], values: list[np.ndarray], own: list[bool]) -> None:
        """The frames of one packet that came at now_s: their sender's times, values [M], and whether each is the frame
        itself (own) or a coarse copy, which never takes the place of the frame."""
        if not times_s:
            return
        if not len(times_s) == len(values) == len(own):
            raise SomacastError("playout: expected as many times as frames")
        fresh = []
        for time_s, value, real in zip(times_s, values, own, strict=True):
            if time_s in self._values:
                if real and not self._own[time_s]:
                    self._values[time_s], self._own[time_s] = value, True
                continue
            insort(self._times, time_s)
            self._values[time_s], self._own[time_s] = value, real
            fresh.append(time_s)
        if fresh:
            self._late.append((now_s, now_s - min(fresh)))
            self._aim(now_s)
        if self.offset_s is not None:  # frames far ahead would push out all that is to be seen before them
            while self._times and self._times[-1] > now_s - self.offset_s + CLOCK_JUMP_S:
                self._drop(-1)
            if not self._times:
                return
        limit = self._times[-1] - KEPT_S - (0 if self.offset_s is None else 1)
        while self._times and (self._times[0] < limit or len(self._times) > MAX_FRAMES):
            self._drop(0)

    def _drop(self, place: int) -> None:
        gone = self._times.pop(place)
        del self._values[gone], self._own[gone]

    def _aim(self, now_s: float) -> None:
        lateness = self._late[-1][1]
        if self.offset_s is not None and abs(lateness - self.offset_s) > CLOCK_JUMP_S:
            frames = [(t, self._values[t], self._own[t]) for t in self._times if abs(now_s - t - lateness) < 0.5]
            self.reset()
            for time_s, value, real in frames:
                insort(self._times, time_s)
                self._values[time_s], self._own[time_s] = value, real
            self._late.append((now_s, lateness))
        while self._late[0][0] < now_s - WINDOW_S:
            self._late.popleft()
        if self.offset_s is None:
            self.offset_s = lateness + self.config.margin_s
            self._shown_s = now_s

    @property
    def wanted_s(self) -> float:
        """The offset that would have had `share` of the recent packets in time."""
        late = sorted(seconds for _, seconds in self._late)
        return late[min(int(self.config.share * len(late)), len(late) - 1)] + self.config.margin_s

    def has(self, time_s: float) -> bool:
        """Whether a frame, or a copy of it, of that sender's time is there."""
        return time_s in self._values

    @property
    def newest_s(self) -> float | None:
        """Sender's time of the newest frame, None before the first."""
        return self._times[-1] if self._times else None

    def show(self, now_s: float) -> tuple[np.ndarray, float, float] | None:
        """Values [M] to be seen at now_s, the sender's time they belong to, and how long ago the newest frame was due
        (negative: frames are ahead). None before the first frame. now_s must not go back."""
        if self.offset_s is None or not self._times:
            return None
        passed = max(now_s - (self._shown_s or now_s), 0.0)
        self._shown_s = now_s
        way = self.wanted_s - self.offset_s
        step = self.config.slew * passed
        self.offset_s += float(np.clip(way, -step, step)) if abs(way) < 1 else way
        place = now_s - self.offset_s
        return self.at(place), place, place - self._times[-1]

    def at(self, time_s: float) -> np.ndarray:
        """Values [M] at a sender's time; before the first frame the first one."""
        right = bisect_left(self._times, time_s)
        if right == 0:
            return self._values[self._times[0]]
        if right == len(self._times):
            return self._beyond(time_s)
        a, b = self._times[right - 1], self._times[right]
        share = (time_s - a) / (b - a)
        if b - a > 0.25:  # a long gap: leave and arrive gently
            share = share * share * (3 - 2 * share)
        return self._values[a] + share * self._step(self._values[a], self._values[b])

    def _step(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        step = b - a
        return np.where(self.circular, wrap_angle(step), step)

    def _beyond(self, time_s: float) -> np.ndarray:
        """The motion goes on with falling speed and stops after twice `coast_s`."""
        last = self._times[-1]
        back = bisect_left(self._times, last - 0.1)
        if back >= len(self._times) - 1:
            return self._values[last]
        gap = last - self._times[back]
        speed = self._step(self._values[self._times[back]], self._values[last]) / gap
        ahead = min(time_s - last, 2 * self.config.coast_s)
        return self._values[last] + speed * (ahead - ahead * ahead / (4 * self.config.coast_s))
