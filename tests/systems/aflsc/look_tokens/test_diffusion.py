"""The diffusion of the look tokens (eq. 26, 27): ours in one step or more, with or without noise, and as printed."""

from __future__ import annotations

import numpy as np
import pytest

from somacast.errors import SomacastError
from somacast.systems.aflsc.config import MAX_STEPS, VARIANTS, DecoderConfig
from somacast.systems.aflsc.look_tokens.diffusion import literal_steps, noise_share, reversed_steps

RNG = np.random.default_rng(0)
CLEAN, START = RNG.random((2, 1, 6, 12, 8), np.float32)


class Oracle:
    """Knows x_0 and notes what it is shown."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, np.ndarray]] = []

    def __call__(self, noisy: np.ndarray, level: float) -> np.ndarray:
        self.seen.append((level, noisy))
        return CLEAN


def halfway(noisy: np.ndarray, level: float) -> np.ndarray:
    """A network that goes half of the way."""
    return noisy + 0.5 * (CLEAN - noisy)


@pytest.mark.parametrize("steps", [1, 2, 5, MAX_STEPS])
def test_steps_walk_from_the_smooth_colours_to_what_the_network_knows(steps):
    oracle = Oracle()
    np.testing.assert_array_equal(reversed_steps(oracle, START, steps), CLEAN)
    assert [level for level, _ in oracle.seen] == pytest.approx([1 - i / steps for i in range(steps)])
    for level, noisy in oracle.seen:
        np.testing.assert_allclose(noisy, CLEAN + level * (START - CLEAN), atol=1e-6)
        assert noisy.dtype == np.float32


def test_noise_follows_its_seed_and_its_share():
    oracle = Oracle()
    np.testing.assert_array_equal(reversed_steps(oracle, START, 4, seed=3), CLEAN)  # none is left at the end
    for level, noisy in oracle.seen:
        off = noisy - (CLEAN + level * (START - CLEAN))
        assert off.std() == pytest.approx(noise_share(level), rel=0.2) and abs(off.mean()) < 0.2 * noise_share(level)
    one, same, other = (reversed_steps(halfway, START, 4, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, same)
    assert one.dtype == np.float32 and np.abs(one - other).max() > 0.01
    mean = reversed_steps(halfway, START, 4)
    np.testing.assert_array_equal(mean, reversed_steps(halfway, START, 4))
    assert np.abs(one - mean).max() > 0.01
    assert np.abs(mean - CLEAN).max() < np.abs(reversed_steps(halfway, START, 1) - CLEAN).max()


def test_literal_steps_are_equation_27_with_the_noise_that_is_seen_first():
    asked = Oracle()
    got = literal_steps(asked, START, 3, c=0.64)
    assert [level for level, _ in asked.seen] == [1.0] and asked.seen[0][1] is START
    expected = START.astype(np.float64)
    for _ in range(3):
        expected = (expected - 0.6 * (START - CLEAN)) / 0.8
    np.testing.assert_allclose(got, expected, rtol=1e-4)
    assert got.dtype == np.float32


@pytest.mark.parametrize("noise_is_one", [True, False])
def test_equation_27_undoes_equation_26_only_where_all_noise_is_one(noise_is_one):
    """Why the printed steps are an ablation."""
    c, u = 0.9, RNG.standard_normal(CLEAN.shape)
    eps = np.ones(CLEAN.shape) if noise_is_one else RNG.standard_normal(CLEAN.shape)
    forward = np.sqrt(c) * CLEAN + np.sqrt(1 - c) * (u * eps)
    missed = literal_steps(lambda noisy, level: noisy - u, forward, 1, c) - CLEAN
    np.testing.assert_allclose(missed, np.sqrt((1 - c) / c) * u * (eps - 1), atol=1e-5)
    assert (np.abs(missed).mean() < 1e-5) == noise_is_one


@pytest.mark.parametrize("steps", [0, -1, MAX_STEPS + 1])
def test_one_to_eight_steps_may_be_asked_for(steps):
    with pytest.raises(SomacastError, match=f"steps: expected 1 to {MAX_STEPS} of the diffusion, got {steps}"):
        DecoderConfig(steps=steps)


def test_variants_name_the_ways_that_are_not_the_products():
    assert VARIANTS["literal"].decoder.literal and not VARIANTS["literal"].decoder.sample
    assert VARIANTS["sampled"].decoder.sample and VARIANTS["sampled"].decoder.steps == MAX_STEPS
