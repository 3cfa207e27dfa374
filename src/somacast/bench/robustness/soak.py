"""`somacast bench soak`: a live stream for one simulated hour on links that lose, delay, reorder, copy and fail, while
both ends restart: crashes, memory, stalls and errors, as JSON.

    motion -> LiveSender -> links that change every minute, old packets again -> LiveReceiver -> what is shown
                                                                 error against the truth <-/

All on a simulated clock: the same config gives the same figures on every machine, but for memory and wall time.
"""

from __future__ import annotations

import gc
import time
import traceback
from collections import deque
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from somacast.bench.network.live_stage import coder, container, moving
from somacast.bench.results import Result, describe_run, write_result
from somacast.bench.robustness.config import SoakConfig
from somacast.bench.robustness.soak_counts import Memory, Recovery, Tally
from somacast.bitstream.container import unpack
from somacast.body.rotations import wrap_angle
from somacast.files import check_output_path
from somacast.network.channels.packet.link import Delivery, Link
from somacast.network.channels.packet.profile import LinkProfile
from somacast.network.channels.packet.trace import BandwidthTrace
from somacast.network.transport.base import Lane
from somacast.pipeline.live.receiver import LiveReceiver
from somacast.pipeline.live.sender import LiveConfig, LiveSender
from somacast.systems import registry

STEP_S = 1 / 60
RELIABLE_S = 0.1  # until a message of the reliable lane is there
ACTIONS = ("walking", "running", "standing", "gesturing", "squatting", "reaching")
CLIP_S = 8.0
KEPT_OLD = 3000  # packets that are recorded for replays
STEPS_BPS = (1e6, 50e3, 20e3, 10e3, 300e3)
PHASES = {
    "clear": LinkProfile(delay_s=0.05),
    "loss 10 %": LinkProfile(capacity=200e3, delay_s=0.05, loss=0.1),
    "loss 20 %": LinkProfile(capacity=200e3, delay_s=0.05, loss=0.2),
    "loss 30 %": LinkProfile(capacity=200e3, delay_s=0.05, loss=0.3),
    "bursts": LinkProfile(capacity=200e3, delay_s=0.05, loss=0.15, mean_burst=4.0),
    "reordered": LinkProfile(capacity=200e3, delay_s=0.03, jitter_s=0.06, duplication=0.1),
    "steps": LinkProfile(capacity=1.0, queue_bytes=8000, delay_s=0.05),
    "all": LinkProfile(capacity=60e3, delay_s=0.05, jitter_s=0.03, loss=0.2, mean_burst=2.0, duplication=0.1),
}  # fmt: skip


@dataclass
class _Start:
    """One start of the sender: its clock stands at now + ahead_s; its motion [T, M], played to and fro."""

    epoch: int
    ahead_s: float
    values: np.ndarray
    fps: float

    def truth(self, sender_s: float) -> np.ndarray:
        """Values [M] of the motion at a time of this sender's clock; linear between frames that do not turn far."""
        last = len(self.values) - 1
        place = abs((sender_s * self.fps) % (2 * last) - last)
        low = min(int(place), last - 1)
        return self.values[low] + (place - low) * (self.values[low + 1] - self.values[low])


class _Way:
    """A link that is replaced now and then; what is on its way arrives all the same."""

    def __init__(self, link: Link) -> None:
        self.links, self.counts = [link], {}

    def change(self, link: Link, now: float) -> None:
        link.receive(now)
        self.links.append(link)

    def send(self, now: float, data: bytes) -> None:
        self.links[-1].send(now, data)

    def receive(self, now: float) -> list[Delivery]:
        out = [delivery for link in self.links for delivery in link.receive(now)]
        for link in [link for link in self.links[:-1] if not link.in_flight]:
            self._count(link)
            self.links.remove(link)
        return sorted(out, key=lambda delivery: delivery.time_s)

    def _count(self, link: Link) -> None:
        for name in ("sent", "delivered", "lost", "dropped", "duplicated", "reordered"):
            self.counts[name] = self.counts.get(name, 0) + getattr(link.statistics, name)

    def total(self) -> dict[str, int]:
        """Datagrams by fate, once all is over."""
        for link in self.links:
            self._count(link)
        return self.counts | {"in_flight": sum(link.in_flight for link in self.links)}


class Soak:
    """The loop."""

    def __init__(self, config: SoakConfig) -> None:
        self.config, self.rng = config, np.random.default_rng(config.seed)
        self.coder = coder()
        self.clips = [self._clip(action) for action in ACTIONS]
        self.people = [container(action, frame) for action in ACTIONS for frame in (0, 60)]
        self.live = LiveConfig(batch_s=config.batch_s)
        self.phase, self.now = "clear", 0.0
        self.up, self.down = _Way(self._link()), _Way(self._link())
        self.tally, self.recovery = Tally(), Recovery()
        self.reliable: deque[tuple[float, bytes]] = deque()
        self.old: list[bytes] = []
        self.replays: deque[tuple[float, bytes]] = deque()
        self.starts: dict[int, _Start] = {}
        self.sender: LiveSender | None = None
        self.newest_identity: bytes | None = None  # newest message of the reliable lane
        self.who = self.people[0]
        self.frame_number = 0
        self.down_until_s, self.dark_until_s = 0.0, 0.0  # sender away; link away
        self.faults: list[str] = []
        self.crashes = 0
        self._new_receiver()
        self._start_sender(int(self.rng.integers(256)))
        self.due = {name: self._wait(name) for name in ("sender", "receiver", "outage", "person", "replay", "picture")}
        self.phase_end_s = config.phase_s

    # parts

    def _clip(self, action: str) -> np.ndarray:
        values = moving(action, CLIP_S, self.config.fps)
        values[:, self.coder.circular] = np.unwrap(values[:, self.coder.circular], axis=0)
        return values

    def _wait(self, name: str) -> float:
        mean = getattr(self.config, f"{name}_s")
        return self.now + float(min(max(self.rng.exponential(mean), 0.2 * mean), 3 * mean))

    def _link(self) -> Link:
        profile = PHASES[self.phase]
        if self.phase == "steps":
            steps = self.rng.permutation(STEPS_BPS)
            times = [self.now + 12.0 * k for k in range(len(steps))]
            trace = BandwidthTrace([0.0, *times[1:]], list(steps))
            profile = LinkProfile(**{**vars(profile), "capacity": trace})
        return profile.build(self.rng.spawn(1)[0])

    def _start_sender(self, epoch: int) -> None:
        clip = self.clips[int(self.rng.integers(len(self.clips)))]
        start = _Start(epoch, float(self.rng.uniform(0, 3000)), clip, self.config.fps)
        self.starts[epoch] = start
        self.start = start
        self.frame_number = 0
        self.started_s = self.now
        self.sender = LiveSender(self.coder, self._send, self.live, epoch)
        self.sender.person(self.now + start.ahead_s, self.who)

    def _new_receiver(self) -> None:
        self.receiver = LiveReceiver(self.coder)
        self.peer = f"receiver-{int(self.rng.integers(1 << 30))}"
        if self.newest_identity is not None and self.sender is not None:  # as transports do for whoever joins late
            self.reliable.append((self.now + RELIABLE_S, self.newest_identity))

    def _send(self, lane: Lane, data: bytes) -> bool:
        if lane is Lane.IDENTITY:
            self.newest_identity = data
            self.reliable.append((self.now + RELIABLE_S, data))
            return True
        if len(self.old) < KEPT_OLD:
            self.old.append(data)
        else:
            self.old[int(self.rng.integers(KEPT_OLD))] = data
        if self.now >= self.dark_until_s:
            self.up.send(self.now, data)
        else:
            self.tally.dark += 1
        return True

    # what happens

    def run(self) -> None:
        """All of it."""
        end, minute = 60 * self.config.minutes, 0
        memory = self.memory = Memory()
        steps = round(end / STEP_S)
        for step in range(1, steps + 1):
            self.now = step * STEP_S
            try:
                self._events()
                self._step()
            except Exception as fault:  # a crash is what is looked for: count it, go on with fresh ends
                self.crashes += 1
                if len(self.faults) < 5:
                    place = traceback.extract_tb(fault.__traceback__)[-1]
                    self.faults.append(f"{type(fault).__name__}: {fault} ({Path(place.filename).name}:{place.lineno})")
                self._new_receiver()
                self._start_sender(int(self.rng.integers(256)))
            if self.now >= 60 * (minute + 1):
                minute += 1
                memory.sample(minute)

    def _events(self) -> None:
        if self.now >= self.phase_end_s:
            self.phase_end_s += self.config.phase_s
            names = list(PHASES)
            self.phase = names[(names.index(self.phase) + 1) % len(names)]
            self.up.change(self._link(), self.now)
            self.down.change(self._link(), self.now)
        for name, at in self.due.items():
            if self.now >= at:
                self.due[name] = self._wait(name)
                getattr(self, f"_on_{name}")()
        if self.sender is None and self.now >= self.down_until_s:
            same = self.rng.random() < 0.05  # seldom by chance alone: one in 256
            epoch = self.start.epoch if same else int(self.rng.integers(256))
            kind = "sender, same epoch" if epoch in self.starts else "sender"
            self._start_sender(epoch)
            self.recovery.begin(kind, max(self.now, self.dark_until_s))

    def _on_sender(self) -> None:
        if self.sender is None:
            return
        if self.rng.random() < 0.5:
            self.sender.end(self.now + self.start.ahead_s)
        self.sender, self.down_until_s = None, self.now + float(self.rng.uniform(0.3, 5.0))
        self.tally.sender_restarts += 1
        self.recovery.drop()

    def _on_receiver(self) -> None:
        self.tally.add_receiver(self.receiver)
        self._new_receiver()
        self.tally.receiver_restarts += 1
        if self.sender is not None:
            self.recovery.begin("receiver", max(self.now, self.dark_until_s))

    def _on_outage(self) -> None:
        self.tally.outages += 1
        self.dark_until_s = self.now + float(self.rng.uniform(0.5, 15.0))
        if self.sender is not None:
            self.recovery.begin("outage", self.dark_until_s)

    def _on_person(self) -> None:
        self.who = self.people[int(self.rng.integers(len(self.people)))]
        if self.sender is not None:
            self.sender.person(self.now + self.start.ahead_s, self.who)
            self.tally.persons += 1

    def _on_picture(self) -> None:
        if self.sender is not None:
            self.sender.picture(self.now + self.start.ahead_s, self.rng.bytes(2500))

    def _on_replay(self) -> None:
        """Some old packets, single ones or a recorded row, over a second."""
        count = int(self.rng.integers(1, 40))
        first = int(self.rng.integers(max(len(self.old) - count, 1)))
        row = self.rng.random() < 0.5
        chosen = range(first, min(first + count, len(self.old))) if row else self.rng.integers(0, len(self.old), count)
        times = np.sort(self.now + self.rng.random(len(chosen)))
        self.replays.extend(zip(times.tolist(), [self.old[int(k)] for k in chosen], strict=True))
        self.tally.replays += len(chosen)

    def _step(self) -> None:
        now, sender, start = self.now, self.sender, self.start
        if sender is not None:
            ahead = start.ahead_s
            while self.started_s + self.frame_number / self.config.fps <= now:
                taken = self.started_s + self.frame_number / self.config.fps + ahead
                sender.frame(taken, start.truth(taken), now + ahead)
                self.frame_number += 1
            sender.poll(now + ahead)
        for delivery in self.up.receive(now):
            self.receiver.take(Lane.LIVE, delivery.payload, delivery.time_s, len(delivery.payload) + 28)
        while self.replays and self.replays[0][0] <= now:
            self.receiver.take(Lane.LIVE, self.replays.popleft()[1], now)
        while self.reliable and self.reliable[0][0] <= now:
            self.receiver.take(Lane.IDENTITY, self.reliable.popleft()[1], now)
        if self.receiver.recorder.due(now):
            report = self.receiver.report(now)
            if now >= self.dark_until_s:
                self.down.send(now, report)
        for delivery in self.down.receive(now):
            if sender is not None:
                sender.control(delivery.time_s + start.ahead_s, delivery.payload, self.peer)
        self._look()

    def _look(self) -> None:
        """Compare what is to be seen with the truth."""
        receiver = self.receiver
        shown = receiver.pose(self.now)
        alive = self.sender is not None and self.now >= self.dark_until_s
        if shown is None or receiver.epoch is None or receiver.epoch not in self.starts:
            self.tally.look(self.phase, alive, shown is not None, None, 0.0, STEP_S)
            return
        start = self.starts[receiver.epoch]
        error = np.abs(self._difference(shown.values, start.truth(self._sender_time(start, shown.sender_s))))
        current = start is self.start and shown.overdue_s < 0.3 and receiver.person is not None
        if alive and current:
            self.recovery.found(self.now)
        if self.recovery.waiting:
            alive = False  # counted as a recovery, not as a stall
        self.tally.look(self.phase, alive, True, float((error / self.coder.scale).mean()), shown.overdue_s, STEP_S)
        if alive and int(self.now / STEP_S) % 60 == 0 and receiver.person is not None:
            self.tally.person(receiver.person.layers == unpack(self.who)[0].layers)

    def _difference(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.where(self.coder.circular, wrap_angle(a - b), a - b)

    def _sender_time(self, start: _Start, sender_s: float) -> float:
        """The receiver's count of ticks began anywhere modulo 65536: the time nearest to now."""
        span, expected = 65536 / 120, self.now + start.ahead_s
        return sender_s + round((expected - sender_s) / span) * span


def run_soak(config: SoakConfig) -> Result:
    """Run it; the figures, written to config.json_path if that is given. SomacastError for settings out of range."""
    if config.json_path is not None:
        check_output_path(config.json_path)
    gc.collect()
    soak, began_s = Soak(config), time.perf_counter()
    soak.run()
    soak.tally.add_receiver(soak.receiver)
    results = {
        "crashes": soak.crashes,
        "faults": soak.faults,
        "memory": soak.memory.result(),
        "events": soak.tally.events(),
        "recovery_s": soak.recovery.result(),
        "shown": soak.tally.shown(),
        "phases": soak.tally.by_phase(),
        "datagrams": soak.up.total(),
        "feedback": soak.down.total(),
        "receiver": soak.tally.receivers,
        "wall_s": time.perf_counter() - began_s,
    }
    about = describe_run("soak", config, system=registry.DEFAULT)
    return write_result(config.json_path, Result("soak", about, results))
