"""Changed bytes for everything else that reads what others wrote: reports, stills, videos, the inbox, and what the
caller adds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from somacast.bench.robustness.fuzz_meter import Meter
from somacast.bench.robustness.fuzz_session import Session
from somacast.bench.robustness.mutate import Mutator, sealed_container, sealed_packet, sealed_report
from somacast.bitstream.packets import LivePacket, Motion, Person, pack_packet, unpack_packet
from somacast.bitstream.video import read_records, record, video_head
from somacast.network.congestion.feedback import FeedbackRecorder, parse_report
from somacast.network.transport.base import TO_RECEIVERS, Inbox, Lane, Limits, TransportStatistics
from somacast.pipeline.still.receiver import open_payload
from somacast.pipeline.video.files import read_video
from somacast.systems import registry

SHARES = {"report": 0.2, "control": 0.2, "still": 0.2, "video": 0.02, "inbox": 0.1}
Readers = Mapping[str, tuple[Callable[[bytes], Any], Sequence[bytes]]]  # by name: a decoder, and real messages for it


def attack_readers(packets: int, seed: int, readers: Readers | None = None) -> dict[str, Any]:
    """Half of all with their check made right, where there is one. readers: more decoders; they share what is left."""
    meter, rng = Meter(), np.random.default_rng(seed + 3)
    session = Session(seed)
    session.settle(4.0)
    _warm(session)
    meter.settle()
    attacks = (_attack_report, _attack_control, _attack_still, _attack_video, _attack_inbox)
    for attack, share in zip(attacks, SHARES.values(), strict=True):
        attack(round(share * packets), meter, rng, session)
    left = round((1 - sum(SHARES.values())) * packets)
    for name, (decode, real) in (readers or {}).items():
        mutate = Mutator(rng, list(real))
        for _ in range(left // len(readers or {})):
            meter.call(name, decode, mutate(mutate.pick()))
    return meter.result()


def open_still(data: bytes) -> None:
    """A still as far as its system reads it without a network."""
    payload, _ = open_payload(data)
    registry.get(payload.system).spec.describe(payload)


def _warm(session: Session) -> None:
    open_still(session.stage.who)


def reports(rng: np.random.Generator) -> list[bytes]:
    """Real feedback."""
    out, recorder, now = [], FeedbackRecorder(), 0.0
    for number in range(65400, 65900):
        now += float(rng.exponential(0.03))
        if rng.random() < 0.8:
            recorder.arrived(number % 65536, now, 100)
        if recorder.due(now):
            out.append(recorder.report(now))
    return out


def video(session: Session) -> bytes:
    """A short real video."""
    sent = [unpack_packet(data, session.digest) for data in session.sent]
    motions = [p.body for p in sent if isinstance(p.body, Motion) and p.body.reference is None][:3]
    who = next(p.body for p in sent if isinstance(p.body, Person))
    bodies = [pack_packet(LivePacket(k, 0, body), session.digest) for k, body in enumerate([who, *motions])]
    return video_head(registry.DEFAULT, session.digest) + b"".join(map(record, bodies))


def _attack_report(count: int, meter: Meter, rng: np.random.Generator, session: Session) -> None:
    mutate = Mutator(rng, reports(rng))
    for number in range(count):
        data = mutate(mutate.pick())
        meter.call("report", parse_report, sealed_report(data) if number % 2 else data)


def _attack_control(count: int, meter: Meter, rng: np.random.Generator, session: Session) -> None:
    """Reports for a sender that goes on sending; of its own receiver and of many others."""
    mutate, sender = Mutator(rng, reports(rng)), session.stage.sender
    for number in range(count):
        if number % 200 == 0:
            session.step()
            recorder, newest = FeedbackRecorder(), session.last().sequence
            for sequence in range(newest - 30, newest + 1):
                recorder.arrived(sequence % 65536, session.now, 100)
            mutate.corpus = [*mutate.corpus[-200:], recorder.report(session.now)]
        data = mutate(mutate.corpus[-1] if rng.random() < 0.5 else mutate.pick())
        peer = "receiver" if rng.random() < 0.5 else f"peer-{int(rng.integers(1000))}"
        data = sealed_report(data) if number % 4 else data
        meter.call("control", sender.control, session.now, data, peer, allowed=False)
        if number % 50 == 0:
            meter.call("poll", sender.poll, session.now, allowed=False)
            meter.call("status", sender.status, session.now, allowed=False)


def _attack_still(count: int, meter: Meter, rng: np.random.Generator, session: Session) -> None:
    who = session.stage.who
    mutate = Mutator(rng, [who])
    for number in range(count):
        data = sealed_container(who, mutate) if number % 4 == 0 else mutate(who)
        meter.call("still", open_still, data)


def _attack_video(count: int, meter: Meter, rng: np.random.Generator, session: Session) -> None:
    whole = video(session)
    mutate, packets = Mutator(rng, [whole]), list(read_records(whole))
    for number in range(count):
        data = mutate(whole)
        if number % 2:
            place = int(rng.integers(len(packets)))
            changed = [*packets]
            changed[place] = sealed_packet(mutate(changed[place]), session.digest)[:16_384]
            data = whole[:7] + b"".join(map(record, changed))
        meter.call("video", read_video, data)


def _attack_inbox(count: int, meter: Meter, rng: np.random.Generator, session: Session) -> None:
    """Messages of any size, of many peers, on any lane, faster than they are fetched."""
    inbox = Inbox(Limits(), TO_RECEIVERS, TransportStatistics(), lambda: 0.0)
    blocks, now = [bytes(size) for size in (0, 100, 1400, 1401, 16_384, 70_000)], 0.0
    for number in range(count):
        now += 1e-4
        lane = (Lane.LIVE, Lane.IDENTITY, Lane.CONTROL)[int(rng.integers(3))]
        peer = f"peer-{int(rng.integers(5000))}"
        meter.call("inbox", inbox.put, lane, blocks[int(rng.integers(len(blocks)))], peer, now, allowed=False)
        if number % 3 == 0:
            meter.call("inbox", inbox.get, allowed=False)
