"""Looks: stills with the person's picture that follow who it is, in parts, in the room that motion leaves."""

from __future__ import annotations

import numpy as np
import pytest

from somacast.bitstream.container import unpack
from somacast.bitstream.packets import MAX_LOOK_BYTES, MAX_PACKET_BYTES, LivePacket, Look, pack_packet, unpack_packet
from somacast.errors import SomacastError
from somacast.network.channels.packet.profile import LinkProfile
from somacast.network.transport.base import Lane
from somacast.pipeline.live.looks import BETTER, OFFER_S, Looks
from somacast.pipeline.live.parts import AGAIN_S, LOOK_BYTES, TRIES, Assembly, Behind, next_look_bytes, part_bytes
from somacast.pipeline.live.receiver import LiveReceiver
from somacast.pipeline.live.sender import LiveConfig
from somacast.types import Encoded
from support.network.live_cases import SYSTEM, Stage, coder, container, look_container

DIGEST = coder().digest
CONFIG = LiveConfig(header_bytes=54)


def stage(config: LiveConfig = CONFIG, seed: int = 1, **link) -> Stage:
    rng = np.random.default_rng(seed)
    up = LinkProfile(**{"delay_s": 0.05, "header_bytes": 0} | link).build(rng)
    down = LinkProfile(delay_s=0.05, loss=link.get("loss", 0.0), header_bytes=0).build(rng)
    return Stage(up, down, config)


def send_look(run: Stage, data: bytes, room: int | None = None) -> float:
    """A look now; how long the receiver waited for it."""
    start = run.now
    run.sender.look(run.now, data, room or len(data))
    while run.receiver.look is None or run.receiver.look.layers != unpack(data)[0].layers:
        run.run(1 / 60, tell_at=None)
        assert run.now < start + 60
    return run.now - start


# -- parts -------------------------------------------------------------------------------------------------------------


def test_parts_in_any_order_make_the_whole_once() -> None:
    assembly = Assembly(1000)
    assert assembly.take(3, 1, 3, b"b") is None and assembly.take(3, 1, 3, b"b") is None
    assert assembly.take(3, 2, 3, b"c") is None
    assert assembly.take(3, 0, 3, b"a") == b"abc"
    assert assembly.take(3, 2, 3, b"c") is None
    assert assembly.take(4, 0, 1, b"d") == b"d"


def test_parts_of_an_older_one_that_come_late_do_not_undo_a_newer_one() -> None:
    assembly = Assembly(1000)
    assembly.take(8, 0, 2, b"a")
    assembly.take(9, 0, 2, b"c")
    assembly.take(8, 0, 2, b"a")
    assert assembly.take(9, 1, 2, b"d") == b"cd"


def test_what_is_collected_is_bounded() -> None:
    assembly = Assembly(1000)
    for number in range(256):
        for part in range(63):
            assembly.take(number, part, 64, bytes(900 // 63))
    assert len(assembly._open) <= 2 and len(assembly._counts) <= 2
    assert assembly.take(1, 0, 2, bytes(600)) is None and assembly.take(1, 1, 2, bytes(600)) is None
    assert assembly.take(2, 0, 2, b"x") is None and assembly.take(2, 0, 3, b"a") is None  # another count: anew
    assert [assembly.take(2, k, 3, b"bc"[k - 1 : k]) for k in (1, 2)] == [None, b"abc"]


def test_parts_suit_the_link() -> None:
    assert part_bytes(5000, 50_000, 1184) == 200
    assert part_bytes(5000, 300_000, 1184) == 750
    assert part_bytes(5000, None, 1184) == 1184
    assert part_bytes(64 * 1184, 50_000, 1184) == 1184 and part_bytes(64 * 1184 + 1, 50_000, 1184) is None


def test_looks_are_coarse_first_and_as_fine_as_the_link_carries() -> None:
    steps = [next_look_bytes(before, 1e6) for before in (0, *LOOK_BYTES)]
    assert steps == [*LOOK_BYTES, LOOK_BYTES[-1]]
    assert next_look_bytes(LOOK_BYTES[1], 5_000) == LOOK_BYTES[1]
    assert next_look_bytes(LOOK_BYTES[-1], 100) == LOOK_BYTES[0]


def test_a_part_goes_again_until_everybody_has_it_and_then_seldom() -> None:
    behind, one, other = Behind(), {0}, set()
    behind.put_look(b"abcd", 2)
    for number in range(2):
        part = behind.next(0.0, [])
        assert isinstance(part, Look) and part == Look(0, number, 2, b"abcd"[2 * number : 2 * number + 2])
        behind.sent(0.0, part, 10 + number, 0.1)
    assert behind.next(0.1, [one, other]) is None and not behind.through([one, other])
    assert behind.arrived(10) == {0} and behind.arrived(11) == {1} and behind.arrived(12) == set()
    again = behind.next(0.5, [one, other])
    assert again is not None and again.part == 0  # the other one lacks it
    behind.sent(0.5, again, 12, 0.1)
    one.add(1)
    other |= {0, 1}
    assert behind.next(5.0, [one, other]) is None and behind.through([one, other])
    assert behind.next(AGAIN_S + 1, [one, other]) is not None


def test_whoever_never_reports_is_not_told_for_ever() -> None:
    behind, time_s, count = Behind(), 0.0, 0
    behind.put_look(b"abcd", 4)
    while not behind.through([set()]):
        time_s += 0.05
        part = behind.next(time_s, [set()])
        if part is not None:
            count += 1
            behind.sent(time_s, part, count, 0.1)
    assert count == TRIES and 5 < time_s < 20


def test_looks_that_no_receiver_takes_are_not_sent() -> None:
    with pytest.raises(SomacastError, match="16384"):
        Behind().put_look(bytes(MAX_LOOK_BYTES + 1), 1000)


# -- both ends ---------------------------------------------------------------------------------------------------------


def test_a_look_follows_who_it_is_over_a_narrow_lossy_link() -> None:
    run = stage(capacity=50_000, queue_bytes=6000, loss=0.1).run(1.5)
    assert run.receiver.person is not None and run.receiver.look is None
    assert send_look(run, look_container(450)) < 1.0
    assert run.receiver.person is not None
    assert run.receiver.missing() == {}
    status = run.receiver.status(run.now)
    assert status["look_bytes"] == 450 and status["look_age_s"] < 0.05
    assert send_look(run, look_container(1600, 1)) < 2.5
    assert run.sender.status(run.now)["look_bytes"] == 1600


def test_looks_do_not_hold_up_the_motion() -> None:
    plain, looking = (stage(capacity=50_000, queue_bytes=6000, loss=0.1).run(3) for _ in range(2))
    plain.run(8, tell_at=None)
    for seed in range(2):
        looking.sender.look(looking.now, look_container(5000, seed), 5000)
        looking.run(4, tell_at=None)
    assert looking.receiver.look is not None
    frames = [run.receiver.counts.frames for run in (plain, looking)]
    assert frames[1] > 0.9 * frames[0]
    delays = [np.median([now - found.sender_s for now, found in run.shown if now > 4]) for run in (plain, looking)]
    assert delays[1] < delays[0] + 0.06
    assert looking.errors(4).mean() < plain.errors(4).mean() + 0.02
    assert looking.up.statistics.dropped <= 0.02 * looking.up.statistics.sent


def test_a_look_comes_through_where_motion_takes_all_there_is() -> None:
    run = stage(capacity=9_000, queue_bytes=4000).run(8)
    assert send_look(run, look_container(450)) < 20


def test_every_datagram_of_a_look_is_bounded() -> None:
    sizes: list[int] = []
    run = stage()
    run.tamper = lambda data: sizes.append(len(data)) or [data]
    run.run(2)
    send_look(run, look_container(MAX_LOOK_BYTES))
    assert max(sizes) <= MAX_PACKET_BYTES


def test_a_better_look_takes_the_place_of_the_one_before() -> None:
    run = stage(loss=0.1).run(1)
    run.sender.look(run.now, look_container(5000, 1), 5000)
    run.run(0.1, tell_at=None)  # on its way
    send_look(run, look_container(1500, 2))
    run.run(3, tell_at=None)
    assert run.receiver.look is not None and run.receiver.look_bytes == 1500


def test_what_is_told_without_a_picture_leaves_the_look() -> None:
    run = stage().run(1)
    send_look(run, look_container())
    look = run.receiver.look
    run.sender.person(run.now, container(frame=7))
    run.run(1, tell_at=None)
    assert run.receiver.person_number == 1 and run.receiver.look is look


def test_a_late_joiner_gets_the_newest_look() -> None:
    run = stage(loss=0.1).run(1)
    send_look(run, look_container(900, 1))
    send_look(run, look_container(1500, 2))
    run.run(4, tell_at=None)
    run.sender._peers._known.clear()  # as a receiver that has gone
    run.receiver = LiveReceiver(run.coder)
    run.run(3, tell_at=None)
    assert run.receiver.look is not None and run.receiver.look_bytes == 1500


def test_whose_look_it_was_is_forgotten_when_the_sender_starts_anew_without() -> None:
    run = stage().run(1)
    send_look(run, look_container())
    run.now += 0.7
    run.next_frame = int(run.now * run.fps) + 1
    run.start_sender(200)
    run.run(1.5, tell_at=run.now)
    assert run.receiver.look is None and run.receiver.person is not None


@pytest.mark.parametrize("what", ["other weights", "other system", "cut", "flipped", "no container", "no labels"])
def test_a_look_that_cannot_be_used_is_dropped_and_the_person_stays(what: str) -> None:
    run = stage().run(1)
    data = bytearray(look_container(600))
    if what == "other weights":
        data[4] ^= 1
    elif what == "other system":
        data[3] = 11
    elif what == "flipped":
        data[300] ^= 4
    damaged = {"cut": bytes(data[:20]), "no container": b"x" * 600, "no labels": SYSTEM.pack([b""])}.get(
        what, bytes(data)
    )
    before = run.receiver.counts.damaged
    run.sender.look(run.now, damaged, 600)
    run.run(1, tell_at=None)
    assert run.receiver.look is None and run.receiver.person is not None
    assert run.receiver.counts.damaged > before and any("a look was dropped" in note for note in run.receiver.notes)
    send_look(run, look_container(700))


def test_receivers_that_know_no_looks_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """As they were before: kind 5 is refused as unknown, and nothing of it is reported."""

    def drop(data: bytes) -> list[bytes]:
        return [] if isinstance(unpack_packet(data, DIGEST).body, Look) else [data]

    run = stage().run(1)
    run.tamper = drop
    run.sender.look(run.now, look_container(600), 600)
    run.run(6, tell_at=None)
    assert run.errors(2).mean() < 0.06 and run.receiver.counts.damaged == 0
    assert run.sender.look_room(run.now) == 0
    run.run(8, tell_at=None)
    assert run.sender.look_room(run.now) > 0  # given up: nobody else waits for that


def test_parts_on_another_lane_or_of_another_start_are_left_alone() -> None:
    run = stage().run(1)
    data = look_container(600)
    packet = pack_packet(LivePacket(5000, run.epoch, Look(1, 0, 1, data)), DIGEST)
    run.receiver.take(Lane.IDENTITY, packet, run.now)
    assert run.receiver.look is None
    packet = pack_packet(LivePacket(0, (run.epoch + 1) % 256, Look(1, 0, 1, data)), DIGEST)
    run.receiver.take(Lane.LIVE, packet, run.now)
    assert run.receiver.look is None and run.receiver.counts.stale > 0


# -- which frame -------------------------------------------------------------------------------------------------------


class FakeTracker:
    """worth of an observation: itself; stills have it in their layer."""

    def worth(self, observation: float) -> float:
        return observation

    def still(self, observation: float):
        return lambda room: Encoded([f"{observation} {room}".encode()]) if observation < 1 else 1 / 0


class FakeSystem:
    def pack(self, layers: list[bytes]) -> bytes:
        return layers[0]


def looks() -> tuple[Looks, list[bytes]]:
    out: list[bytes] = []
    return Looks(FakeTracker(), FakeSystem(), lambda data, room: out.append(data)), out  # type: ignore[arg-type]


def offer(of: Looks, *frames: tuple[float, float], room: int = 100) -> None:
    for time_s, worth in frames:
        of.offer(worth, time_s)
        of.begin(time_s, room)
        of.end()


def test_the_first_frame_is_sent_and_then_only_better_ones() -> None:
    of, out = looks()
    offer(of, (0.0, 0.4), (0.5, 0.41), (1.0, 0.3), (1.5, 0.4 * BETTER + 0.01), (2.0, 0.2))
    assert out == [b"0.4 100", b"0.47 100"]
    offer(of, (900.0, 0.2))  # the one before has faded
    assert out[-1] == b"0.2 100"


def test_a_finer_one_is_made_of_the_best_frame_so_far() -> None:
    of, out = looks()
    offer(of, (0.0, 0.4), (0.5, 0.42))
    of.begin(0.6, 0)  # one is on its way
    of.end()
    offer(of, (0.7, 0.1), room=500)
    assert out == [b"0.4 100", b"0.42 500"]
    offer(of, (0.9, 0.1), room=300)
    assert len(out) == 2


def test_frames_that_show_nobody_for_sure_and_too_many_frames_are_left_out() -> None:
    of, out = looks()
    offer(of, (0.0, 0.0))
    offer(of, (1.0, 0.4), (1.0 + OFFER_S / 2, 0.9))
    assert out == [b"0.4 100"]
    of.forget()
    offer(of, (2.0, 0.2))
    assert out[-1] == b"0.2 100"


def test_a_look_that_cannot_be_made_ends_nothing() -> None:
    of, out = looks()
    offer(of, (0.0, 1.0))
    assert out == [] and "ZeroDivisionError" in of.fault
    of.forget()
    offer(of, (1.0, 0.5))
    assert out == [b"0.5 100"]
