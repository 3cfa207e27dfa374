"""A sender and a receiver of one stream on a simulated clock, joined by link models: for benchmarks and tests.

label values of a motion -> LiveSender -> Link -> LiveReceiver -> what is shown, and feedback back through a Link
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from somacast.body.rotations import wrap_angle
from somacast.network.channels.packet.link import Link
from somacast.network.transport.base import Lane
from somacast.pipeline.live.receiver import LiveReceiver, Shown
from somacast.pipeline.live.sender import LiveConfig, LiveSender
from somacast.synthetic.motion.builtin import builtin_clip
from somacast.synthetic.scenes import draw_view
from somacast.systems import registry
from somacast.systems.spec import FrameCoder

STEP_S = 1 / 120


def coder() -> FrameCoder:
    """Of the system that runs live unless another is asked for."""
    return registry.get(registry.DEFAULT).live.coder()


def moving(action: str = "walking", seconds: float = 6.0, fps: float = 30.0, seed: int = 5) -> np.ndarray:
    """Values [T, M] of what moves, of a motion of the test split from a test view, somewhere before the camera."""
    rng = np.random.default_rng(seed)
    rotations, path = builtin_clip(rng, action, seconds, fps, "test")
    place = [rng.uniform(-0.5, 0.5), rng.uniform(-0.3, 0.3), -rng.uniform(2.5, 6)]
    return coder().rehearse(draw_view(rng, "test") @ rotations, path + place)[0]


def container(action: str = "walking", frame: int = 0, seed: int = 5) -> bytes:
    """A still of somebody average in the pose of a frame of a motion."""
    rng = np.random.default_rng(seed)
    rotations, path = builtin_clip(rng, action, 3.0, 30.0, "test")
    rotations, path = rotations[frame : frame + 1], path[frame : frame + 1] + [0, 0, -3.5]
    return registry.get(registry.DEFAULT).pack(coder().rehearse(rotations, path)[1].layers)


@dataclass
class Stage:
    """Runs both ends. up: from sender to receiver; down: back; values [T, M]: of the labels that move, played as a loop
    at `fps`; who: a .soma container; tamper: what becomes of a live datagram on its way. shown: what is to be seen, by
    time."""

    up: Link = field(default_factory=Link)
    down: Link = field(default_factory=Link)
    config: LiveConfig = LiveConfig()
    values: np.ndarray = field(default_factory=lambda: moving())
    fps: float = 30.0
    who: bytes = b""
    tamper: Callable[[bytes], list[bytes]] = lambda data: [data]
    epoch: int = 7

    def __post_init__(self) -> None:
        self.coder = coder()
        self.who = self.who or container()
        self.receiver = LiveReceiver(self.coder)
        self.now = 0.0
        self.reliable: list[tuple[float, bytes]] = []
        self.shown: list[tuple[float, Shown]] = []
        self.next_frame = 0
        self.start_sender(self.epoch)

    def start_sender(self, epoch: int) -> None:
        self.sender = LiveSender(self.coder, self._send, self.config, epoch)

    def _send(self, lane: Lane, data: bytes) -> bool:
        if lane is Lane.IDENTITY:
            self.reliable.append((self.now + 0.1, data))
        else:
            for one in self.tamper(data):
                self.up.send(self.now, one, self.config.header_bytes)
        return True

    def true_values(self, time_s: float) -> np.ndarray:
        place = time_s * self.fps % (len(self.values) - 1)
        low = int(place)
        a, b = self.values[low], self.values[low + 1]
        step = np.where(self.coder.circular, wrap_angle(b - a), b - a)
        return a + (place - low) * step

    def run(self, seconds: float, tell_at: float | None = 0.0, frames: bool = True) -> Stage:
        end = self.now + seconds
        while self.now < end:
            self.now = round((self.now + STEP_S) / STEP_S) * STEP_S
            now = self.now
            if tell_at is not None and now >= tell_at:
                self.sender.person(now, self.who)
                tell_at = None
            if frames and now >= self.next_frame / self.fps:
                self.sender.frame(self.next_frame / self.fps, self.true_values(self.next_frame / self.fps), now)
                self.next_frame += 1
            elif not frames:
                self.next_frame = int(now * self.fps) + 1
            self.sender.poll(now)
            for delivery in self.up.receive(now):
                wire = len(delivery.payload) + self.config.header_bytes
                self.receiver.take(Lane.LIVE, delivery.payload, delivery.time_s, wire)
            for time_s, data in [r for r in self.reliable if r[0] <= now]:
                self.receiver.take(Lane.IDENTITY, data, time_s)
            self.reliable = [r for r in self.reliable if r[0] > now]
            if self.receiver.recorder.due(now):
                self.down.send(now, self.receiver.report(now), self.config.header_bytes)
            for delivery in self.down.receive(now):
                self.sender.control(delivery.time_s, delivery.payload, "receiver")
            found = self.receiver.pose(now)
            if found is not None:
                self.shown.append((now, found))
        return self

    def errors(self, after_s: float = 1.0) -> np.ndarray:
        """How far what is shown is from what was true at the sender's time: mean over values, in their scales."""
        rows = [
            np.abs(found.values - self.true_values(max(found.sender_s, 0.0))) / self.coder.scale
            for time_s, found in self.shown
            if time_s >= after_s
        ]
        return np.stack(rows).mean(1)
