"""The live stream, both ends joined by link models on a simulated clock."""

import numpy as np
import pytest

from somacast.bitstream.packets import LivePacket, Motion, pack_packet, unpack_packet
from somacast.network.channels.packet.profile import LinkProfile
from somacast.network.transport.base import Lane
from somacast.pipeline.live.sender import LiveConfig
from somacast.systems.aflsc.live.motion import motion_digest
from support.network.live_cases import Stage, container

DIGEST = motion_digest()
BATCH = LiveConfig(batch_s=0.1, header_bytes=75)


def stage(config: LiveConfig = BATCH, seed: int = 1, **link) -> Stage:
    rng = np.random.default_rng(seed)
    up = LinkProfile(**{"delay_s": 0.05, "header_bytes": 0} | link).build(rng)
    down = LinkProfile(delay_s=0.05, loss=link.get("loss", 0.0), header_bytes=0).build(rng)
    return Stage(up, down, config)


def test_a_person_is_shown_as_they_move() -> None:
    run = stage().run(4)
    assert run.receiver.person is not None and run.receiver.person_number == 0
    assert run.errors().mean() < 0.06
    counts = run.receiver.counts
    assert counts.damaged == counts.replayed == counts.undecodable == counts.restarts == 0
    assert run.receiver.missing() == {}


def test_frames_go_at_once_without_a_batch_and_refer_to_what_has_arrived() -> None:
    run = stage(LiveConfig(header_bytes=75), delay_s=0.02).run(3)
    assert run.sender.counts.packets >= 80
    assert run.sender.counts.keys < 20  # the others refer to frames that were acknowledged
    delays = [now - found.sender_s for now, found in run.shown if now > 1]
    assert np.median(delays) < 0.06


def test_batches_save_headers() -> None:
    alone, together = (stage(LiveConfig(batch_s=b, header_bytes=75)).run(3) for b in (0.0, 0.1))
    assert together.sender.counts.packets < alone.sender.counts.packets / 2
    wire = [8 * (x.sender.counts.payload_bytes + 75 * x.sender.counts.packets) / 3 for x in (alone, together)]
    assert wire[1] < wire[0] / 1.5 and wire[1] < 20_000


@pytest.mark.parametrize("burst", [None, 3.0])
def test_thirty_per_cent_loss_leaves_the_person_whole(burst: float | None) -> None:
    clean, lossy = stage().run(6), stage(loss=0.3, mean_burst=burst).run(6)
    assert lossy.receiver.counts.repaired > 0
    assert lossy.errors(2).mean() < clean.errors(2).mean() + 0.08


def test_who_it_is_comes_over_the_lossy_lane_too() -> None:
    run = stage(loss=0.3)
    run.sender._send = lambda lane, data: run._send(Lane.LIVE, data) if lane is Lane.LIVE else True
    run.run(4)
    assert run.receiver.person is not None


def test_before_anybody_has_told_who_it_is_all_of_it_is_missing() -> None:
    run = stage().run(1, tell_at=None)
    missing = run.receiver.missing()
    assert missing["shape"] == 12 and "pose" not in missing
    assert run.shown


def test_late_joiners_see_the_person_within_a_key_interval() -> None:
    run = stage(LiveConfig(header_bytes=75)).run(2)
    run.receiver.__init__(run.coder)  # somebody new behind the same link
    run.shown.clear()
    run.run(1.2, tell_at=None)
    assert run.shown and run.shown[0][0] < run.now - 0.1


def test_replayed_packets_change_nothing() -> None:
    kept: list[bytes] = []
    run = stage()

    def record(data: bytes) -> list[bytes]:
        kept.append(data)
        return [data, data, *kept[-40:-39]]

    run.tamper = record
    run.run(3)
    assert run.receiver.counts.replayed > 20
    assert run.errors().mean() < 0.06


def test_reordered_packets_are_put_in_order() -> None:
    run = stage(LiveConfig(header_bytes=75), jitter_s=0.05).run(4)
    assert run.up.statistics.reordered > 0
    assert run.errors(2).mean() < 0.12


def test_a_sender_that_restarts_is_taken_up_again() -> None:
    run = stage().run(2)
    run.now += 0.7
    run.next_frame = int(run.now * run.fps) + 1
    run.start_sender(200)
    run.run(2, tell_at=run.now)
    assert run.receiver.counts.restarts == 1
    assert run.errors(run.now - 1).mean() < 0.06


def test_packets_of_an_older_start_are_ignored_while_the_new_one_lives() -> None:
    old: list[bytes] = []
    run = stage()
    run.tamper = lambda data: old.append(data) or [data]
    run.run(2)
    run.now += 0.7
    run.next_frame = int(run.now * run.fps) + 1
    run.start_sender(200)
    run.tamper = lambda data: [data, old[len(data) % len(old)]]
    run.run(2, tell_at=run.now)
    assert run.receiver.counts.restarts == 1 and run.receiver.counts.stale > 5
    assert run.errors(run.now - 1).mean() < 0.06


def test_forged_numbers_do_not_stop_the_stream() -> None:
    """Even with the right check: far sequence numbers, far ticks, other persons."""
    rng = np.random.default_rng(4)
    run = stage()

    def forge(data: bytes) -> list[bytes]:
        packet = unpack_packet(data, DIGEST)
        if not isinstance(packet.body, Motion) or rng.random() < 0.5:
            return [data]
        body = packet.body
        far = Motion(
            body.person, int(rng.integers(65536)), body.step, body.count, body.state, body.activity, body.velocity,
            body.payload, None,
        )  # fmt: skip
        return [data, pack_packet(LivePacket(int(rng.integers(65536)), packet.epoch, far), DIGEST)]

    run.tamper = forge
    run.run(5)
    gaps = np.diff([now for now, found in run.shown if found.overdue_s < 0.3])
    assert gaps.max() < 1.0
    assert np.median(run.errors(1)) < 0.06


def test_garbage_is_counted_and_nothing_else() -> None:
    rng = np.random.default_rng(5)
    run = stage()
    run.tamper = lambda data: [rng.bytes(int(rng.integers(0, 300))), data]
    run.run(2)
    assert run.receiver.counts.damaged > 10
    assert run.errors().mean() < 0.06


def test_a_narrow_link_is_not_flooded() -> None:
    run = stage(capacity=10_000, queue_bytes=4000).run(8)
    sent = run.up.statistics
    late = [now - found.sender_s for now, found in run.shown if now > 5]
    assert sent.dropped == 0 or sent.dropped < 0.1 * sent.sent
    assert np.median(late) < 1.5
    assert run.errors(5).mean() < 0.3


def test_without_adaptation_everything_goes_at_full_quality() -> None:
    run = stage(LiveConfig(batch_s=0.1, adapt=False, header_bytes=75), capacity=9_000, queue_bytes=2000).run(4)
    assert run.sender.state == 0 and run.up.statistics.dropped > 0


def test_the_senders_picture_arrives_whole_or_not_at_all() -> None:
    run = stage()
    jpeg = b"\xff\xd8" + np.random.default_rng(0).bytes(5000)
    run.run(0.5)
    assert run.sender.picture(run.now, jpeg)
    run.run(0.3, tell_at=None)
    assert run.receiver.picture is None and not run.sender.picture(run.now, jpeg)  # in parts, behind the motion
    run.run(3, tell_at=None)
    assert run.receiver.picture == jpeg
    assert run.errors().mean() < 0.06
    assert not run.sender.picture(run.now, bytes(200_000))


def test_goodbye_is_noticed() -> None:
    run = stage().run(1)
    run.sender.end(run.now)
    run.run(0.3, tell_at=None, frames=False)
    assert run.receiver.ended


def test_a_container_of_other_weights_is_refused_with_a_note() -> None:
    run = stage()
    strange = bytearray(container())
    run.run(0.5, tell_at=None)
    strange[4] ^= 1
    run.sender.person(run.now, bytes(strange))
    run.run(0.5, tell_at=None)
    assert run.receiver.person is None
    assert any("damaged" in note or "weights" in note for note in run.receiver.notes)


def test_status_tells_what_happens() -> None:
    run = stage(loss=0.1).run(4)
    sent, received = run.sender.status(run.now), run.receiver.status(run.now)
    assert 25 < sent["fps"] < 35 and sent["peers"] == 1 and 0.09 < sent["round_trip_s"] < 0.2
    assert 20 < received["fps"] < 35 and received["alive"] and received["kbit_s"] > 1
    assert 0 <= received["loss"] < 0.4
