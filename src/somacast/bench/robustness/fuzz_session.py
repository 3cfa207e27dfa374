"""Attacks on a session that runs: does it still show the person, and how soon does it again?"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from somacast.bench.network.live_stage import Stage, container, moving
from somacast.bench.robustness.fuzz_meter import Meter
from somacast.bench.robustness.mutate import Mutator, sealed_packet
from somacast.bitstream.container import unpack
from somacast.bitstream.packets import (
    TICK_SPAN,
    TICKS_PER_S,
    Body,
    End,
    LivePacket,
    Look,
    Motion,
    Person,
    Picture,
    pack_packet,
    unpack_packet,
)  # fmt: skip
from somacast.network.channels.packet.profile import LinkProfile
from somacast.network.congestion.feedback import FeedbackRecorder
from somacast.network.transport.base import Lane
from somacast.pipeline.live.sender import LiveConfig

EPOCH, OTHER = 7, 8
STEP_S = 1 / 30
NOISE_PER_STEP, REPLAYED = 60, 0.05
STORM, STORM_S, LONGEST_PAUSE_S = 400, 1.0, 10.0
BOUND = 0.6  # mean error in scales of the values: the person as they move, even coarsely; another pose is above 1
CALM = 6  # looks in a row that must be right
ATTACKS = (
    "end", "end and another start", "one number far ahead", "numbers far ahead", "numbers to the edge", "a wrong pose",
    "a second of wrong poses", "frames for two minutes", "ticks ahead", "ticks back", "another person, same number",
    "another person, next number", "pictures without an end", "looks without an end", "somebody else's look",
    "all that was sent, again", "another start after silence", "feedback: all has arrived", "feedback: nothing arrives",
)  # fmt: skip
MAX_DELAY_S = 3.5  # between what is shown and now: forged times can hold the picture back for a few seconds


class Session:
    """A stage whose datagrams are recorded, looked at step by step."""

    def __init__(self, seed: int, batch_s: float = 0.1, picture_s: float = 2.0) -> None:
        values = moving()
        there_and_back = np.concatenate([values, values[-2:0:-1]])  # a loop without a jump
        rng = np.random.default_rng(seed)
        up, down = (LinkProfile(delay_s=0.03, header_bytes=0).build(one) for one in rng.spawn(2))
        self.stage = Stage(up, down, LiveConfig(batch_s=batch_s), there_and_back, who=container(), epoch=EPOCH)
        self.stage.tamper = self._record
        self.digest, self.rng = self.stage.coder.digest, rng
        self.sent: list[bytes] = []
        self.right = unpack(self.stage.who)[0].layers
        self._picture_s, self._every_s = 0.0, picture_s
        self._looks = [container(frame=frame) for frame in (0, 20)]
        self._reported = False

    def _record(self, data: bytes) -> list[bytes]:
        self.sent.append(data)
        del self.sent[:-4000]
        return [data]

    @property
    def now(self) -> float:
        """Seconds since the start."""
        return self.stage.now

    def step(self, frames: bool = True) -> float | None:
        """A thirtieth of a second; the error of what is seen behind it, None while nothing new is."""
        stage = self.stage
        if frames and stage.now >= self._picture_s:
            self._picture_s += self._every_s
            stage.sender.picture(stage.now, self.rng.bytes(1500))
            stage.sender.look(stage.now, self._looks[round(self._picture_s / self._every_s) % 2], 0)
        stage.run(STEP_S, None if self._reported else 0.0, frames)
        self._reported = True
        found = stage.shown[-1][1] if stage.shown else None
        stage.shown.clear()
        if found is None or found.overdue_s > 0.5:
            return None
        span = TICK_SPAN / TICKS_PER_S
        at = found.sender_s + round((stage.now - found.sender_s) / span) * span
        error = np.abs(found.values - stage.true_values(max(at, 0.0)))
        error = np.where(stage.coder.circular, np.minimum(error, np.abs(2 * np.pi - error)), error)
        return float((error / stage.coder.scale).mean()) + (0.0 if abs(stage.now - at) < MAX_DELAY_S else 10.0)

    def settle(self, seconds: float = 6.0) -> np.ndarray:
        """Errors without an attack."""
        errors = [self.step() for _ in range(round(seconds / STEP_S))]
        return np.array([error for error in errors[len(errors) // 4 :] if error is not None])

    def take(self, data: bytes, lane: Lane = Lane.LIVE) -> None:
        """One datagram more."""
        self.stage.receiver.take(lane, data, self.now)

    def last(self, kind: type[Motion] | type[Person] | type[Picture] = Motion) -> LivePacket:
        """The newest packet of a kind that the sender has sent."""
        return next(p for p in (unpack_packet(d, self.digest) for d in reversed(self.sent)) if isinstance(p.body, kind))

    def forge(self, body: Body, ahead: int = 5, epoch: int = EPOCH) -> bytes:
        """A packet that claims to be the sender's."""
        return pack_packet(LivePacket((self.last().sequence + ahead) % 65536, epoch, body), self.digest)

    @property
    def person_right(self) -> bool:
        """Whether the receiver has the sender's person."""
        person = self.stage.receiver.person
        return person is not None and person.layers == self.right


def attack_noise(packets: int, seed: int) -> dict[str, Any]:
    """Changed packets whose check is wrong (as good as always), and replays, in a session at the same time."""
    session, meter = Session(seed), Meter()
    clean = session.settle()
    mutate = Mutator(np.random.default_rng(seed + 1), session.sent)
    errors: list[float | None] = []
    stall = longest = 0.0
    for number in range(-(-packets // NOISE_PER_STEP)):
        if number == 30:
            meter.settle()
        for _ in range(NOISE_PER_STEP):
            data = mutate.pick()
            if mutate.rng.random() >= REPLAYED:
                data = mutate(data)
            lane = Lane.LIVE if mutate.rng.random() < 0.9 else Lane.IDENTITY
            meter.call("packet", session.take, data, lane, allowed=False)
        error = session.step()
        stall = 0.0 if error is not None and error < BOUND else stall + STEP_S
        longest = max(longest, stall)
        errors.append(error)
    seen = np.array([error for error in errors if error is not None])
    return meter.result() | {
        "simulated_s": session.now, "longest_stall_s": longest, "person_right": session.person_right,
        "error_mean": float(seen.mean()), "error_p95": float(np.percentile(seen, 95)),
        "clean_error_mean": float(clean.mean()), "clean_error_p95": float(np.percentile(clean, 95)),
        "receiver": dict(vars(session.stage.receiver.counts)),
    }  # fmt: skip


def attack_forged(packets: int, seed: int) -> dict[str, Any]:
    """Storms of changed packets whose check is right, with numbers that are new; how long until all is well again."""
    session, meter = Session(seed), Meter()
    session.settle()
    mutate = Mutator(np.random.default_rng(seed + 2), session.sent)
    recoveries: list[float] = []
    for storm in range(-(-packets // STORM)):
        if storm == 10:
            meter.settle()
        for _ in range(round(STORM_S / STEP_S)):
            for _ in range(round(STORM * STEP_S / STORM_S)):
                meter.call("packet", session.take, _forged(session, mutate), allowed=False)
            session.step()
        recoveries.append(_recovery(session))
    return meter.result() | {
        "simulated_s": session.now, "storms": len(recoveries), "longest_stall_s": max(recoveries),
        "stall_median_s": float(np.median(recoveries)), "stall_p95_s": float(np.percentile(recoveries, 95)),
        "person_right": session.person_right, "receiver": dict(vars(session.stage.receiver.counts)),
    }  # fmt: skip


def _forged(session: Session, mutate: Mutator) -> bytes:
    data = bytearray(mutate(mutate.pick()).ljust(4, b"\0"))
    draw = mutate.rng.random(2)
    if draw[0] < 0.5:  # a number that is not used yet
        newest = session.last().sequence
        data[1:3] = ((newest + int(mutate.rng.integers(-50, 50))) % 65536).to_bytes(2, "little")
    if draw[1] < 0.7:
        data[3] = EPOCH
    return sealed_packet(bytes(data), session.digest)


def _recovery(session: Session) -> float:
    """Seconds from now until the person is shown as they move, and stays so."""
    start, calm = session.now, 0
    while session.now < start + LONGEST_PAUSE_S:
        error = session.step()
        calm = calm + 1 if error is not None and error < BOUND else 0
        if calm == CALM:
            return max(session.now - start - CALM * STEP_S, 0.0)
    return LONGEST_PAUSE_S


# one purpose each


def _wrong_motion(session: Session, count: int, step: int, ahead: int = 0) -> Motion:
    """Frames of somebody who stands on their head, as if of now."""
    coder, last = session.stage.coder, session.last().body
    assert isinstance(last, Motion)
    rng = np.random.default_rng(3)
    frame = 3 * coder.scale * rng.uniform(-1, 1, len(coder.scale))
    first = last.tick + last.step * last.count + ahead
    ticks, state = [first + k * step for k in range(count)], 255 if count > 30 else 0  # it must fit a packet
    body = coder.encoder().encode(ticks, np.stack([frame] * count), lowest_state=state)
    return replace(body, tick=first % TICK_SPAN)


def _single(session: Session) -> dict[str, Callable[[], Iterable[bytes]]]:
    forge, other = session.forge, container(frame=40)
    person = session.last(Person).body
    assert isinstance(person, Person)
    wrong = _wrong_motion
    return {
        "end": lambda: [forge(End())],
        "end and another start": lambda: [forge(End()), forge(wrong(session, 4, 4), epoch=OTHER)],
        "one number far ahead": lambda: [forge(End(), 20_000)],
        "numbers far ahead": lambda: [forge(End(), 20_000 + k) for k in range(8)],
        "numbers to the edge": lambda: [forge(End(), 2040 * k) for k in range(1, 6)],
        "a wrong pose": lambda: [forge(wrong(session, 4, 4))],
        "a second of wrong poses": lambda: [forge(wrong(session, 30, 4))],
        "frames for two minutes": lambda: [forge(wrong(session, 64, 255))],
        "ticks ahead": lambda: [forge(wrong(session, 4, 4, 2040 * k), 5 + k) for k in range(6)],
        "ticks back": lambda: [forge(wrong(session, 4, 4, -2040 * k), 5 + k) for k in range(1, 7)],
        "another person, same number": lambda: [forge(Person(person.person, 0, other))],
        "another person, next number": lambda: [forge(Person(person.person + 1, 0, other))],
        "pictures without an end": lambda: [forge(Picture(k, 0, 64, bytes(1100)), 5 + k) for k in range(250)],
        "looks without an end": lambda: [forge(Look(k, 0, 64, bytes(1100)), 5 + k) for k in range(250)],
        "somebody else's look": lambda: [forge(Look(200, 0, 1, other))],
        "all that was sent, again": lambda: list(session.sent),
        "another start after silence": lambda: [forge(wrong(session, 4, 4), epoch=OTHER)],
    }  # fmt: skip


def attack_single(packets: int, seed: int) -> dict[str, Any]:
    """One attack of each kind on a session of its own. packets: not used, the attacks are few."""
    meter = Meter()
    out = {name: attack_one(name, seed, meter) for name in ATTACKS}
    longest = max(one["until_right_s"] for one in out.values())
    return meter.result() | {"attacks": out, "longest_stall_s": longest}


def attack_one(name: str, seed: int, meter: Meter, settle_s: float = 6.0, watch_s: float = 8.0) -> dict[str, float]:
    """One of ATTACKS: seconds until the person is shown as they move again, and until the right one is known."""
    session = Session(seed)
    session.settle(settle_s)
    if name.startswith("feedback"):
        _lie(session, meter, name.endswith("all has arrived"))
    else:
        if name.endswith("silence"):
            for _ in range(round(0.8 / STEP_S)):
                session.step(frames=False)
        for data in _single(session)[name]():
            meter.call("packet", session.take, data, allowed=False)
    wrong_s, person_s, start = 0.0, 0.0, session.now
    looks: deque[bool] = deque(maxlen=CALM)
    while session.now < start + watch_s:
        error = session.step()
        looks.append(error is None or error > BOUND)
        if 2 * sum(looks) > CALM:  # one look that is off is a packet that came late
            wrong_s = session.now - start
        if not session.person_right:
            person_s = session.now - start
    return {"until_right_s": wrong_s, "until_right_person_s": person_s}


def _lie(session: Session, meter: Meter, arrived: bool) -> None:
    """Forged feedback of the receiver's own name for a second."""
    for _ in range(round(1 / STEP_S)):
        recorder = FeedbackRecorder()
        newest = session.last().sequence
        for number in range(newest - 20, newest + 1) if arrived else [newest - 60]:
            recorder.arrived(number % 65536, session.now, 100)
        report = recorder.report(session.now + 1000.0)
        meter.call("report", session.stage.sender.control, session.now, report, "receiver", allowed=False)
        session.step()
