"""What is shown when: smooth between frames, still where nothing comes, and never ahead of what is known for long."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from somacast.errors import SomacastError
from somacast.pipeline.live.playout import MAX_FRAMES, Playout, PlayoutConfig

CIRCULAR = np.array([False, True])


def fed(times: list[float], delay: float = 0.05) -> Playout:
    """A motion whose first value is the time itself, each frame in a packet of its own."""
    playout = Playout(CIRCULAR)
    for time_s in times:
        playout.add(time_s + delay, [time_s], [np.array([time_s, 0.0])], [True])
    return playout


def test_nothing_is_shown_before_the_first_frame() -> None:
    assert Playout(CIRCULAR).show(1.0) is None


def test_values_between_frames_are_blended() -> None:
    playout = fed([0.0, 0.1, 0.2])
    assert playout.at(0.15)[0] == pytest.approx(0.15)


def test_angles_take_the_short_way() -> None:
    playout = Playout(CIRCULAR)
    playout.add(0.0, [0.0, 0.1], [np.array([0.0, np.pi - 0.1]), np.array([0.0, -np.pi + 0.1])], [True, True])
    assert abs(playout.at(0.05)[1]) == pytest.approx(np.pi, abs=1e-9)


def test_a_motion_goes_on_a_little_and_stops() -> None:
    coast = PlayoutConfig().coast_s
    playout = fed([0.0, 0.05, 0.1])
    ahead = [playout.at(0.1 + t)[0] for t in (0.02, 0.1, 2 * coast, 1.0, 9.0)]
    assert ahead == sorted(ahead)
    assert ahead[0] == pytest.approx(0.12, abs=0.005)
    assert ahead[2] == ahead[3] == ahead[4] == pytest.approx(0.1 + coast)


def test_a_frame_takes_the_place_of_its_copy_and_never_the_other_way() -> None:
    playout = Playout(CIRCULAR)
    playout.add(0.0, [0.0], [np.array([1.0, 0.0])], [False])
    playout.add(0.1, [0.0], [np.array([2.0, 0.0])], [True])
    playout.add(0.2, [0.0], [np.array([3.0, 0.0])], [False])
    assert playout.at(0.0)[0] == 2.0


def test_the_offset_grows_to_cover_what_comes_late() -> None:
    playout = Playout(CIRCULAR)
    rng = np.random.default_rng(0)
    late = 0
    for k in range(900):
        time_s = k / 30
        now = time_s + 0.05 + rng.exponential(0.02)
        playout.add(now, [time_s], [np.array([time_s, 0.0])], [True])
        found = playout.show(now)
        assert found is not None
        late += k > 300 and found[2] > 0
    assert playout.offset_s is not None and 0.07 < playout.offset_s < 0.2
    assert late < 0.15 * 600


def test_the_offset_moves_too_slowly_to_be_seen() -> None:
    playout = fed([k / 30 for k in range(30)])
    before = playout.offset_s
    playout.show(1.0)
    for k in range(30, 60):
        playout.add(k / 30 + 0.3, [k / 30], [np.array([k / 30, 0.0])], [True])
    playout.show(1.1)
    assert playout.offset_s is not None and before is not None
    assert 0 < playout.offset_s - before <= 0.1 * PlayoutConfig().slew + 1e-9


def test_another_clock_begins_anew() -> None:
    playout = fed([0.0, 0.1])
    playout.add(0.4, [1000.0], [np.array([7.0, 0.0])], [True])
    found = playout.show(0.5)
    assert found is not None and found[0][0] == 7.0


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 1e4), min_size=1, max_size=40), st.integers(0, 99))
def test_any_order_gives_finite_values_in_bounded_memory(times: list[float], seed: int) -> None:
    playout, now = Playout(CIRCULAR), 0.0
    for time_s in times:
        now += 0.01
        playout.add(now, [time_s], [np.array([1.0, 0.0])], [True])
        found = playout.show(now)
        assert found is not None and np.isfinite(found[0]).all()


def test_memory_is_bounded() -> None:
    playout = Playout(CIRCULAR)
    for k in range(3 * MAX_FRAMES):
        playout.add(k / 1e4, [k / 1e4], [np.zeros(2)], [True])
    assert len(playout._times) <= MAX_FRAMES and len(playout._values) == len(playout._times)


def test_frames_and_times_must_match() -> None:
    with pytest.raises(SomacastError, match="as many times"):
        Playout(CIRCULAR).add(0.0, [0.0, 0.1], [np.zeros(2)], [True])
