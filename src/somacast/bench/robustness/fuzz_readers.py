"""Changed bytes for everything else that reads what others wrote: reports, stills, videos, the inbox, and what the
caller adds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from somacast.bench.robustness.fuzz_meter import Meter
from somacast.bench.robustness.fuzz_session import Session
from somacast.bench.robustness.mutate import Mutator, sealed_container, sealed_record, sealed_report
from somacast.bitstream.packets import LivePacket, Motion, Person, pack_packet, unpack_packet
from somacast.bitstream.video import (
    HEAD_BYTES,
    PACKETS_VERSION,
    Absent,
    End,
    Frames,
    Record,
    RecordReader,
    RecordWriter,
    Turn,
    Who,
    read_varint,
    video_head,
)
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
    """A short real video with a record of every kind."""
    bodies = [unpack_packet(data, session.digest).body for data in session.sent]
    alone = [body for body in bodies if isinstance(body, Motion) and body.reference is None]
    motions = [body for body in alone if not body.copies][:3]
    who = next(body.container for body in bodies if isinstance(body, Person))
    records: list[Record] = [Who(0, who), Who(1, who), Absent(0, 500_000)]
    for number, motion in enumerate(motions):
        start_us = (number + 1) * 2_000_000
        times = tuple(start_us + 33_333 * k + 4_000 * (k % 3 == 1) for k in range(motion.count))
        records += [Frames(times, motion, motion.tick), Turn(number % 2)]
    writer = RecordWriter(session.digest)
    head = video_head(registry.DEFAULT, session.digest)
    return head + b"".join(map(writer.record, [*records, End(20_000_000)]))


def packets_video(session: Session) -> bytes:
    """A short real video of version 3."""
    bodies = [unpack_packet(data, session.digest).body for data in session.sent][:20]
    kept = [b for b in bodies if isinstance(b, Person) or (isinstance(b, Motion) and b.reference is None)]
    packets = [pack_packet(LivePacket(k, 0, body), session.digest) for k, body in enumerate(kept)]
    head = video_head(registry.DEFAULT, session.digest)
    head = head[:2] + bytes([PACKETS_VERSION << 4]) + head[3:]
    return head + b"".join(len(packet).to_bytes(2, "little") + packet for packet in packets)


def play_video(data: bytes) -> None:
    """Read a video, and every frame in it."""
    held = read_video(data)
    for number in range(len(held.times_s)):
        held.row(number)


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
    whole, packets = video(session), packets_video(session)
    mutate, records = Mutator(rng, [whole, packets]), records_of(whole)
    for number in range(count):
        data = mutate(whole if number % 4 else packets)
        if number % 2:
            place = int(rng.integers(len(records)))
            changed = [
                sealed_record(mutate(one) if k == place else one, session.digest) for k, one in enumerate(records)
            ]
            data = whole[:HEAD_BYTES] + b"".join(changed)
        meter.call("video", play_video, data)


def records_of(data: bytes) -> list[bytes]:
    """The records of a sound video without their lengths."""
    return [whole[read_varint(whole, 0)[1] :] for _, whole in RecordReader(data).with_bytes()]


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
