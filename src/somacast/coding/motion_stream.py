"""Both ends of a stream of motion: frames -> packets that refer to frames the other side has, and back.

    indices [T, M] at even ticks -> MotionEncoder -> Motion -> MotionDecoder -> poses at ticks

A packet stands for itself unless it is given a reference. Copies repeat earlier frames coarsely, for whoever lost them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from somacast.bitstream.packets import TICK_SPAN, TICKS_PER_S, Motion
from somacast.coding.motion_coding import (
    ACTIVITIES,
    SMALLEST_SCALE,
    STILL,
    VELOCITIES,
    MotionModel,
    MotionPlan,
    Pose,
    decode_motion,
    encode_motion,
)
from somacast.errors import BitstreamError, SomacastError

REMEMBERED = 512  # frames that both sides keep for references
COPY_STATE = 160  # network state of copies: coarse labels are protected, fine ones are not
_TICKS_PER_FRAME = TICKS_PER_S // 30
_TRIES = 5


@dataclass(frozen=True)
class DecodedPose:
    """The pose of a frame as a receiver has it. own: False for a coarse copy that stands in for a lost one."""

    tick: int
    pose: Pose
    own: bool


class _Memory:
    """The newest frames by tick."""

    def __init__(self) -> None:
        self.poses: OrderedDict[int, Pose] = OrderedDict()

    def add(self, tick: int, pose: Pose) -> None:
        self.poses[tick] = pose
        while len(self.poses) > REMEMBERED:
            self.poses.popitem(last=False)


def _gaps(step: int, count: int, before: int) -> tuple[int, ...]:
    """Time from each frame to the one before in frames of 1/30 s, `before` ticks for the first."""
    even = max(1, round(step / _TICKS_PER_FRAME))
    return (max(1, round(before / _TICKS_PER_FRAME)), *(even for _ in range(count - 1)))


def even_frames(
    times_s: np.ndarray, values: np.ndarray, circular: np.ndarray, last_tick: int = -1
) -> tuple[list[int], np.ndarray]:
    """Frames at times [T] in seconds with values [T, M] to even ticks behind `last_tick`, and the values there.

    turns: columns that are angles [M] bool. What a camera's uneven times shift is blended between its frames.
    """
    count = len(times_s)
    first = max(round(times_s[0] * TICKS_PER_S), last_tick + 1)
    step = 1
    if count > 1:
        step = int(np.clip(round((times_s[-1] - times_s[0]) * TICKS_PER_S / (count - 1)), 1, 255))
    ticks = [first + k * step for k in range(count)]
    grid = np.array(ticks) / TICKS_PER_S
    if count < 3 or np.abs(grid - times_s).max() < 0.5 / TICKS_PER_S:
        return ticks, values
    values = values.copy()
    values[:, circular] = np.unwrap(values[:, circular], axis=0)
    return ticks, np.stack([np.interp(grid, times_s, column) for column in values.T], 1)


class MotionEncoder:
    """The sender's side. `poses`: what receivers of all packets have, by tick (unwrapped)."""

    def __init__(self, model: MotionModel):
        self.model = model
        self._memory = _Memory()
        self._sources: OrderedDict[int, np.ndarray] = OrderedDict()
        self._state = 0

    def encode(
        self,
        ticks: Sequence[int],
        frames: np.ndarray,
        *,
        person: int = 0,
        lowest_state: int = 0,
        budget_bytes: int | None = None,
        reference: int | None = None,
        copies: Sequence[int] = (),
    ) -> Motion:
        """Frames [T, M] (finest indices) at even ticks to one packet body.

        lowest_state: f of eq. 18; the state rises from there until payload fits the budget (eq. 17), which may be too
        small even for the highest: then the packet is larger. reference, copies: ticks of earlier frames, copies at
        even ticks too and at most 255 before the first frame; those that are not remembered are left out.
        SomacastError for ticks that are not even.
        """
        steps = {b - a for a, b in pairwise(ticks)} or {_TICKS_PER_FRAME}
        step = steps.pop()
        if steps or not 1 <= step <= 255:
            raise SomacastError("motion: expected frames at even ticks, 1 to 255 apart")
        pose = None if reference is None else self._memory.poses.get(reference)
        copied_back = tuple(sorted(ticks[0] - tick for tick in copies if tick in self._sources))
        copied = np.stack([self._sources[ticks[0] - b] for b in copied_back]) if copied_back else frames[:0]
        before = ticks[0] - reference if pose is not None and reference is not None else step
        gaps = _gaps(step, len(frames), before)
        activity, velocity = self._liveliness(frames, gaps, pose)
        copy_gaps = tuple(max(1, round(b / _TICKS_PER_FRAME)) for b in copied_back)

        def attempt(state: int):
            plan = MotionPlan(state, activity, velocity, gaps, copy_gaps, max(state, COPY_STATE))
            return encode_motion(plan, self.model, pose, frames, copied)

        state = lowest_state
        data, poses, _ = attempt(state)
        if budget_bytes is not None and len(data) > budget_bytes:
            low, high = state, 255
            state = min(max(low + 1, self._state), high)
            for _ in range(_TRIES):
                data, poses, _ = attempt(state)
                low, high = (low, state) if len(data) <= budget_bytes else (state, high)
                if high - low <= 8:
                    break
                state = (low + high) // 2
            if len(data) > budget_bytes or state != high:
                state = high
                data, poses, _ = attempt(state)
        self._state = state
        for tick, known, source in zip(ticks, poses, frames, strict=True):
            self._memory.add(tick, known)
            self._sources[tick] = source
        while len(self._sources) > REMEMBERED:
            self._sources.popitem(last=False)
        wrapped = None if pose is None or reference is None else reference % TICK_SPAN
        return Motion(
            person, ticks[0] % TICK_SPAN, step, len(frames), state, activity, velocity, data, wrapped, copied_back
        )

    def _liveliness(self, frames: np.ndarray, gaps: tuple[int, ...], pose: Pose | None) -> tuple[int, int]:
        """Activity and velocity that suit the frames, from what each velocity would leave over."""
        model = self.model
        rows = frames if pose is None else np.concatenate([pose.index[None], frames])
        if len(rows) < 2:
            return STILL, 0
        size = 1 << model.bits
        step = np.diff(rows, axis=0)
        step = np.where(model.circular, (step + size // 2) % size - size // 2, step)
        expected = 2.0 ** ((model.scales.astype(float) + SMALLEST_SCALE) / 2)
        last = np.concatenate([np.zeros_like(step[:1]), step[:-1]])
        times = np.array(gaps[-len(step) :], float)[:, None]
        left = [(np.abs(step - last * v / 8) / expected / np.maximum(times, 1)) for v in VELOCITIES]
        best = int(np.argmin([part.mean() for part in left]))
        # the median over labels of the mean over frames: one wild label does not make a packet lively
        level = float(np.exp(np.log(left[best].mean(0) + 0.05).mean()))
        activity = int(np.clip(STILL + round(2 * np.log2(max(level, 1e-3))) + 1, 0, ACTIVITIES - 1))
        return activity, best


class MotionDecoder:
    """The receiver's side."""

    def __init__(self, model: MotionModel):
        self.model = model
        self._memory = _Memory()
        self.unreferenced = 0  # packets that referred to a frame that never came

    def decode(self, motion: Motion, tick: int) -> list[DecodedPose]:
        """The frames of a packet whose first one stands at `tick` (unwrapped), copies last; none if it refers to a
        frame that is not there. BitstreamError for a payload that no encoder makes."""
        pose, before = None, motion.step
        if motion.reference is not None:
            before = (motion.tick - motion.reference) % TICK_SPAN
            pose = self._memory.poses.get(tick - before)
            if pose is None:
                self.unreferenced += 1
                return []
        gaps = _gaps(motion.step, motion.count, before)
        copy_gaps = tuple(max(1, round(b / _TICKS_PER_FRAME)) for b in motion.copies)
        state = motion.state
        plan = MotionPlan(state, motion.activity, motion.velocity, gaps, copy_gaps, max(state, COPY_STATE))
        try:
            poses, copied_back = decode_motion(motion.payload, plan, self.model, pose)
        except (ValueError, IndexError) as fault:
            raise BitstreamError(f"damaged motion packet: {fault}") from fault
        out = [DecodedPose(tick + k * motion.step, known, True) for k, known in enumerate(poses)]
        for one in out:
            self._memory.add(one.tick, one.pose)
        return out + [
            DecodedPose(tick - back, known, False) for back, known in zip(motion.copies, copied_back, strict=True)
        ]
