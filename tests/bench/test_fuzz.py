"""Whatever bytes come, both ends go on: changed packets with wrong and right checks, forged numbers, replays."""

from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from somacast.bench.robustness.fuzz_meter import Meter
from somacast.bench.robustness.fuzz_readers import attack_readers, packets_video, play_video, reports, video
from somacast.bench.robustness.fuzz_session import Session, attack_noise, attack_one
from somacast.bench.robustness.mutate import Mutator, sealed_packet, sealed_report
from somacast.bench.robustness.soak import SoakConfig, run_soak
from somacast.bitstream.packets import (
    End,
    LivePacket,
    Look,
    Motion,
    Person,
    Picture,
    Unwrapper,
    pack_packet,
    unpack_packet,
)
from somacast.errors import BitstreamError, SomacastError
from somacast.network.channels.packet.profile import LinkProfile
from somacast.network.transport.base import Lane
from somacast.pipeline.live.peers import MAX_PEERS
from somacast.pipeline.live.receiver import REPLAY_WINDOW, LiveReceiver
from somacast.pipeline.live.sender import LiveConfig, LiveSender
from somacast.pipeline.video import files as video_files
from somacast.viewer import messages
from support.network.live_cases import Stage, coder

DIGEST = coder().digest
SEEDS = st.integers(0, (1 << 32) - 1)


@lru_cache(maxsize=1)
def recorded() -> tuple[Session, list[bytes]]:
    """A session of two seconds and its packets: every kind, motion alone and after a reference, with copies too."""
    session = Session(0, picture_s=0.5)
    session.stage.sender.config = LiveConfig(batch_s=0.1, copies=1)
    session.settle(2.5)
    session.stage.sender.end(session.now)
    bodies = [unpack_packet(data, DIGEST).body for data in session.sent]
    motions = [body for body in bodies if isinstance(body, Motion)]
    assert {type(body) for body in bodies} == {Motion, Person, Look, Picture, End}
    assert any(m.reference is None for m in motions) and any(m.reference is not None and m.copies for m in motions)
    return session, list(session.sent)


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.booleans(), st.booleans())
def test_changed_packets_neither_raise_nor_stop_a_receiver(seed: int, sealed: bool, reliable: bool) -> None:
    _, sent = recorded()
    mutate = Mutator(np.random.default_rng(seed), sent)
    receiver = LiveReceiver(coder())
    for number, data in enumerate(sent[:16]):
        receiver.take(Lane.LIVE, data, 0.1 * number)
        changed = mutate(mutate.pick() if sealed else sent[int(mutate.rng.integers(number + 1))])
        lane = Lane.IDENTITY if reliable else Lane.LIVE
        receiver.take(lane, sealed_packet(changed, DIGEST) if sealed else changed, 0.1 * number + 0.05)
        receiver.report(0.1 * number + 0.06)
        shown = receiver.pose(0.1 * number + 0.07)
        assert shown is None or np.isfinite(shown.values).all()
    receiver.status(2.0)
    if not sealed:  # nothing has come of it
        frames = [unpack_packet(data, DIGEST).body for data in sent[:16]]
        clean = sum(body.count for body in frames if isinstance(body, Motion))
        assert receiver.counts.frames >= clean - 4 and receiver.counts.restarts == 0


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.booleans())
def test_changed_reports_neither_raise_nor_stop_a_sender(seed: int, sealed: bool) -> None:
    rng = np.random.default_rng(seed)
    mutate, out = Mutator(rng, reports(np.random.default_rng(0))), []
    sender = LiveSender(coder(), lambda lane, data: out.append(data), LiveConfig(batch_s=0.1))
    values = recorded()[0].stage.values
    for number in range(12):
        data = mutate(mutate.pick())
        sender.frame(number / 30, values[number])
        sender.control(number / 30, sealed_report(data) if sealed else data, f"peer-{number % 40}")
        sender.status(number / 30)
    assert sender.counts.frames > 0 and len(sender._peers) <= MAX_PEERS


@pytest.mark.parametrize(
    ("attack", "max_s"),
    [
        ("end and another start", 0.5), ("numbers to the edge", 1.0), ("frames for two minutes", 0.5),
        ("ticks ahead", 1.6), ("pictures without an end", 0.5), ("looks without an end", 0.5),
        ("all that was sent, again", 0.2), ("feedback: all has arrived", 0.5),
    ],
)  # fmt: skip
def test_forged_packets_hold_a_session_up_for_a_moment_only(attack: str, max_s: float) -> None:
    meter = Meter()
    found = attack_one(attack, 0, meter, settle_s=2.0, watch_s=3.0)
    assert found["until_right_s"] < max_s and meter.result()["escaped"] == 0


@pytest.mark.parametrize("number", ["same", "next"])
def test_another_person_does_not_stay_whatever_the_number(number: str) -> None:
    meter = Meter()
    found = attack_one(f"another person, {number} number", 0, meter, settle_s=1.0, watch_s=2.5)
    assert 0 < found["until_right_person_s"] < 2.1 and meter.result()["escaped"] == 0


def test_noise_does_not_show() -> None:
    found = attack_noise(1200, 1)
    assert found["escaped"] == 0 and found["longest_stall_s"] == 0 and found["person_right"]
    assert found["error_mean"] < 1.5 * found["clean_error_mean"]
    assert found["largest_allocation_bytes"] < 1 << 20


def test_readers_refuse_in_one_way() -> None:
    found = attack_readers(800, 1, {"page": (messages.decode_page, [messages.Rendered(3, 1e12).encode()])})
    assert found["kinds"]["page"]["packets"] > 150
    assert found["escaped"] == 0, found["faults"]
    assert found["refused"] > 150 and found["largest_allocation_bytes"] < 4 << 20


def test_the_meter_sees_what_escapes() -> None:
    def fail(fault: Exception) -> None:
        raise fault

    meter = Meter()
    meter.call("a", fail, ZeroDivisionError("one"))
    meter.call("a", fail, BitstreamError("two"))
    meter.call("a", fail, SomacastError("three"), allowed=False)
    meter.call("a", bytearray, 5 << 20)
    found = meter.result()
    assert found["escaped"] == 2 and found["refused"] == 2 and "ZeroDivisionError: one" in found["faults"][0]
    assert found["largest_allocation_bytes"] >= 5 << 20


def test_numbers_that_jump_back_for_ever_need_no_more_memory() -> None:
    receiver = LiveReceiver(coder())
    receiver.take(Lane.LIVE, pack_packet(LivePacket(0, 7, End()), DIGEST), 0.0)
    stream = receiver._stream
    assert stream is not None
    for jump in range(1500):
        for k in range(12):
            stream.fresh((-20_000 * jump + k) % 65536, bytes([k]), 1.0)
    assert len(stream.seen) <= 2 * REPLAY_WINDOW


def test_a_caller_can_keep_numbers_from_jumping() -> None:
    unwrap = Unwrapper(100)
    unwrap(10)
    assert [unwrap(30_000 + k, False) for k in range(6)] == [None] * 6
    assert unwrap(11, False) == 11
    assert [unwrap(30_000 + k) for k in range(4)] == [None] * 3 + [30_003]


def test_packets_of_an_older_start_do_not_hold_a_new_one_back() -> None:
    """A replay every tenth of a second once kept the dead stream alive."""
    old: list[bytes] = []
    run = Stage(config=LiveConfig(batch_s=0.1))
    run.tamper = lambda data: old.append(data) or [data]
    run.run(2)
    old = [*old]
    run.run(0.7, None, frames=False)
    run.start_sender(9)
    for data in old[:15]:
        run.receiver.take(Lane.LIVE, data, run.now)
        run.run(0.1, None)
    assert run.receiver.epoch == 9 and run.receiver.counts.restarts == 1
    assert run.errors(run.now - 0.5).mean() < 0.06


class _OtherClock:
    """A sender whose clock is 100 s ahead of the stage's."""

    def __init__(self, sender: LiveSender) -> None:
        self.sender = sender

    def frame(self, time_s, values, now_s) -> None:
        self.sender.frame(time_s + 100, values, now_s + 100)

    def __getattr__(self, name: str):
        return lambda time_s, *rest: getattr(self.sender, name)(time_s + 100, *rest)


def test_a_sender_that_draws_the_same_epoch_again_is_taken_up() -> None:
    run = Stage(config=LiveConfig(batch_s=0.1)).run(5)
    run.run(0.7, None, frames=False)
    run.start_sender(run.epoch)
    run.sender = _OtherClock(run.sender)  # type: ignore[assignment]
    run.run(2.0, tell_at=run.now)
    frames = run.receiver.counts.frames
    run.run(1.0, None)
    assert run.receiver.counts.restarts == 1 and run.receiver.counts.frames > frames + 20
    assert run.shown[-1][1].overdue_s < 0.1


def test_references_go_to_what_every_receiver_has() -> None:
    run = Stage(config=LiveConfig(batch_s=0.1)).run(8)
    assert run.sender.counts.keys <= 10  # one a second: what is told again does not push out what is new


def test_a_receiver_that_lacks_what_it_seems_to_have_is_helped_by_the_next_key() -> None:
    up, down = (LinkProfile(delay_s=0.2, header_bytes=0).build(np.random.default_rng(k)) for k in range(2))
    run = Stage(up, down, LiveConfig(batch_s=0.1)).run(3)
    assert run.receiver._stream is not None
    run.receiver._stream.decoder._coder._memory.poses.clear()
    run.run(1.8, None)
    lost = run.receiver.counts.undecodable
    run.run(2, None)
    assert lost > 0 and run.receiver.counts.undecodable == lost


def test_the_videos_that_are_changed_are_sound() -> None:
    session = recorded()[0]
    for data in (video(session), packets_video(session)):
        play_video(data)
        assert len(video_files.read_video(data).times_s) > 2


def test_a_short_soak() -> None:
    config = SoakConfig(None, minutes=2.0, phase_s=12, sender_s=15, receiver_s=20, outage_s=30, person_s=8, replay_s=6)
    found = run_soak(config).results
    assert found["crashes"] == 0, found["faults"]
    assert found["events"]["sender_restarts"] >= 3 and found["events"]["receiver_restarts"] >= 2
    assert found["shown"]["on_screen_while_alive"] > 0.9 and found["shown"]["moving_while_alive"] > 0.85
    assert found["phases"]["clear"]["error_median"] < 0.1
    assert max(one["max"] for one in found["recovery_s"].values()) < 6
