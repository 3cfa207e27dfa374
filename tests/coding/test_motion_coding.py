"""The motion coder: both sides agree to the bit, errors stay in their bins, and no bytes do harm."""

import hashlib
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from somacast.coding.motion_coding import (
    ACTIVITIES,
    VELOCITIES,
    MotionPlan,
    Pose,
    decode_motion,
    encode_motion,
    residual_tables,
)
from somacast.coding.motion_stream import MotionDecoder, MotionEncoder, even_frames
from somacast.entropy.tables import check_tables
from somacast.errors import BitstreamError, SomacastError
from somacast.systems.aflsc.live.motion import load_motion
from support.network.motion_cases import moving, wild

SPACE = load_motion()
MODEL = SPACE.model


def same(a: list[Pose], b: list[Pose]) -> bool:
    return len(a) == len(b) and all(
        np.array_equal(x.index[x.known], y.index[y.known]) and np.array_equal(x.known, y.known)
        for x, y in zip(a, b, strict=True)
    )


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 255), st.integers(0, ACTIVITIES - 1), st.integers(0, len(VELOCITIES) - 1), st.integers(1, 5),
    st.integers(0, 2), st.booleans(), st.integers(0, 1000),
)  # fmt: skip
def test_a_receiver_has_what_the_sender_thinks_it_has(state, activity, velocity, count, copies, refers, seed) -> None:
    frames = wild(count + copies + 1, seed)
    known = np.random.default_rng(seed).random(frames.shape[1]) < 0.9
    reference = Pose(frames[-1], known) if refers else None
    plan = MotionPlan(state, activity, velocity, (3,) * count, tuple(range(4, 4 + copies)), 200)
    data, poses, received = encode_motion(plan, MODEL, reference, frames[:count], frames[count : count + copies])
    got, got_received = decode_motion(data, plan, MODEL, reference)
    assert same(got, poses) and same(got_received, received)
    assert len(got) == count and len(got_received) == copies


@pytest.mark.parametrize("action", ["walking", "running", "standing"])
def test_full_quality_misses_by_less_than_a_bin(action: str) -> None:
    index = SPACE.indices(moving(action))[:8]
    _, poses, _ = encode_motion(MotionPlan(0, 4, 1, (1,) * 8), MODEL, None, index, index[:0])
    error = np.abs(np.stack([pose.index for pose in poses]) - index)
    assert error[:, ~MODEL.circular].max() <= 1


def test_values_survive_the_way_through_indices() -> None:
    values = moving("walking")
    index = SPACE.indices(values)
    back = np.stack([SPACE.values(Pose(row, np.ones(len(row), bool))) for row in index])
    span = np.array([2 * np.pi if x.kind == "circular" else 2 * x.span * x.std for x in MODEL.vocabulary.labels])
    inside = np.abs(values - values.mean(0)) < span / 4
    assert (np.abs(back - values) <= span / (1 << MODEL.bits) + 1e-9)[inside].all()


def test_harder_compression_costs_fewer_bytes_and_errs_more() -> None:
    index = SPACE.indices(moving("walking"))[:12]
    sizes, errors = [], []
    for state in (0, 64, 128, 192, 255):
        data, poses, _ = encode_motion(MotionPlan(state, 4, 1, (1,) * 12), MODEL, None, index, index[:0])
        sizes.append(len(data))
        errors.append(np.abs(np.stack([p.index for p in poses]) - index)[:, ~MODEL.circular].mean())
    assert sizes == sorted(sizes, reverse=True) and errors == sorted(errors)
    assert sizes[-1] < sizes[0] / 3


def test_a_walk_costs_what_is_promised() -> None:
    """Payload of batches of four frames that stand for themselves: at most 10 kbit/s at full quality."""
    index = SPACE.indices(moving("walking"))
    encoder = MotionEncoder(MODEL)
    sizes = [
        len(encoder.encode([4 * (s + k) for k in range(4)], index[s : s + 4]).payload)
        for s in range(0, len(index) - 3, 4)
    ]
    assert 8 * sum(sizes) / (len(sizes) * 4 / 30) < 10_000


def test_a_reference_saves_bytes() -> None:
    index = SPACE.indices(moving("standing"))
    encoder = MotionEncoder(MODEL)
    first = encoder.encode([0], index[:1])
    second = encoder.encode([4], index[1:2], reference=0)
    assert len(second.payload) < len(first.payload) / 2


def test_a_lost_reference_is_noticed_and_the_next_key_is_enough() -> None:
    index = SPACE.indices(moving("walking"))
    encoder, decoder = MotionEncoder(MODEL), MotionDecoder(MODEL)
    encoder.encode([0], index[:1])  # never arrives
    assert decoder.decode(encoder.encode([4], index[1:2], reference=0), 4) == []
    assert decoder.unreferenced == 1
    received = decoder.decode(encoder.encode([8], index[2:3]), 8)
    assert [one.tick for one in received] == [8] and received[0].own


def test_copies_bring_back_a_lost_frame_coarsely() -> None:
    index = SPACE.indices(moving("walking"))
    encoder, decoder = MotionEncoder(MODEL), MotionDecoder(MODEL)
    encoder.encode([0, 4, 8, 12], index[:4])  # lost
    received = decoder.decode(encoder.encode([16, 20, 24, 28], index[4:8], copies=[8]), 16)
    copy = received[-1]
    assert copy.tick == 8 and not copy.own
    values = moving("walking")
    best = np.abs(SPACE.values(copy.pose) - values[2])
    std = np.array([label.std if label.kind == "scalar" else 1.0 for label in MODEL.vocabulary.labels])
    assert np.median(best / std) < 0.15
    neighbour = SPACE.values(received[0].pose)
    assert (best / std).mean() < (np.abs(neighbour - values[2]) / std).mean()  # better than to hold the next frame


def test_a_budget_is_kept_and_given_back() -> None:
    index = SPACE.indices(moving("running"))
    encoder = MotionEncoder(MODEL)
    free = encoder.encode([0, 4, 8, 12], index[:4])
    tight = encoder.encode([16, 20, 24, 28], index[4:8], budget_bytes=60)
    again = encoder.encode([32, 36, 40, 44], index[8:12])
    assert len(tight.payload) <= 60 and tight.state > 0
    assert free.state == again.state == 0


def test_uneven_ticks_are_refused() -> None:
    with pytest.raises(SomacastError, match="even ticks"):
        MotionEncoder(MODEL).encode([0, 4, 9], SPACE.indices(moving())[:3])


def test_a_stumbling_camera_is_evened_out() -> None:
    values = moving("walking")[:10]
    times = np.arange(10) / 30 + np.random.default_rng(0).normal(0, 0.004, 10)
    ticks, even = even_frames(times, values, MODEL.circular)
    assert {b - a for a, b in pairwise(ticks)} == {4}
    assert even.shape == values.shape and np.abs(even - values).max() < 0.2
    ticks, same_values = even_frames(np.arange(10) / 30, values, MODEL.circular, last_tick=100)
    assert ticks[0] == 101 and len(same_values) == 10


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 255), st.integers(0, 7), st.integers(1, 4), st.booleans())
def test_any_bytes_give_poses_in_range_or_a_clear_fault(data, state, activity, count, refers) -> None:
    reference = Pose(wild(1, 1)[0], np.ones(len(MODEL.bits), bool)) if refers else None
    plan = MotionPlan(state, activity, 1, (2,) * count, (3,))
    try:
        poses, received = decode_motion(data, plan, MODEL, reference)
    except BitstreamError:
        return
    for pose in [*poses, *received]:
        assert (pose.index >= 0).all() and (pose.index < 1 << MODEL.bits).all()
        assert np.isfinite(SPACE.values(pose)).all()


def test_too_many_frames_are_refused() -> None:
    with pytest.raises(BitstreamError, match="1 to 64 frames"):
        decode_motion(b"", MotionPlan(0, 4, 0, (1,) * 65), MODEL, None)


def test_tables_are_tables() -> None:
    check_tables(MODEL.residual)
    assert np.array_equal(MODEL.residual, residual_tables())
    MODEL.check()


def test_golden_stream() -> None:
    """The same bytes on every machine: all is integers."""
    frames = wild(6, 9)
    plan = MotionPlan(60, 6, 2, (1, 1, 1, 1), (3, 5), 160)
    alone, poses, _ = encode_motion(plan, MODEL, None, frames[:4], frames[4:])
    after, _, _ = encode_motion(plan, MODEL, poses[-1], frames[:4], frames[4:])
    assert (len(alone), len(after)) == GOLDEN_SIZES
    assert hashlib.sha256(alone + after).hexdigest()[:16] == GOLDEN_DIGEST


GOLDEN_SIZES, GOLDEN_DIGEST = (296, 362), "c0f387d502e6e0d8"
