"""Symbol channels and modulation against closed forms of the bit error rate, and soft decisions against brute force.

Bounds are four and a half standard errors of the estimate: a right model with another seed fails once in 100,000 tests.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from somacast.errors import SomacastError
from somacast.network.channels.symbol.awgn import Awgn
from somacast.network.channels.symbol.flat import FlatChannel, Received, complex_normal
from somacast.network.channels.symbol.modulation import SHAPES, Modulation
from somacast.network.channels.symbol.path import bits_from_bytes, bytes_from_bits, send_bytes
from somacast.network.channels.symbol.power import es_n0_db, normalise_power
from somacast.network.channels.symbol.rayleigh import Rayleigh
from somacast.network.channels.symbol.rician import Rician

SIGMAS = 4.5
NAMES = tuple(SHAPES)
ANGLES = (np.arange(4000) + 0.5) * (math.pi / 8000)  # midpoints of (0, pi / 2)


def generator(seed: int = 11) -> np.random.Generator:
    return np.random.default_rng(seed)


def q_terms(name: str) -> list[tuple[float, float]]:
    """BER = sum of w Q(sqrt(c Es/N0)) over (w, c): exact for Gray labels.

    For M-QAM: K. Cho, D. Yoon, "On the general BER expression of one- and two-dimensional amplitude modulations", 2002.
    """
    if name == "bpsk":
        return [(1.0, 2.0)]
    order = {"qpsk": 4, "16qam": 16, "64qam": 64}[name]
    root = math.isqrt(order)
    bits = int(math.log2(root))
    terms = []
    for k in range(1, bits + 1):
        for i in range(int((1 - 2.0**-k) * root)):
            part = i * 2 ** (k - 1) / root
            sign = (-1) ** math.floor(part)
            weight = 2 * sign * (2 ** (k - 1) - math.floor(part + 0.5)) / root / bits
            terms.append((weight, 3 * (2 * i + 1) ** 2 / (order - 1)))
    return terms


def theory(name: str, es_n0: float, k_factor: float | None) -> float:
    """Closed-form BER over AWGN (K None), Rayleigh (K 0) or Rician fading (Craig's form of Q averaged by the MGF)."""
    total = 0.0
    for weight, c in q_terms(name):
        if k_factor is None:
            mean_q = math.erfc(math.sqrt(c * es_n0 / 2)) / 2
        elif k_factor == 0:
            mean_q = (1 - math.sqrt(c * es_n0 / (2 + c * es_n0))) / 2
        else:
            s = c * es_n0 / (2 * np.sin(ANGLES) ** 2)
            std = 1 + k_factor + s
            mean_q = float(np.mean((1 + k_factor) / std * np.exp(-k_factor * s / std))) / 2
        total += weight * mean_q
    return total


def bit_errors(name: str, channel: FlatChannel, symbols: int, seed: int = 5) -> np.ndarray:
    """Wrong bits of each symbol: [symbols] int."""
    modulation = Modulation(name)
    bits = generator(seed).integers(0, 2, symbols * modulation.bits_per_symbol)
    samples, _ = channel.transmit(modulation.modulate(bits)).equalised()
    return (modulation.demodulate_hard(samples) != bits).reshape(symbols, -1).sum(1)


def assert_ber(name: str, wrong: np.ndarray, want: float) -> None:
    """The errors of independent symbols agree with a BER, and are enough of them to say so."""
    k = Modulation(name).bits_per_symbol
    error = wrong.std() / k / math.sqrt(len(wrong))
    assert wrong.sum() > 300, "too few errors for a test"
    assert abs(wrong.mean() / k - want) < SIGMAS * error


# bit error rates -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "snr_db"), [("bpsk", 0), ("bpsk", 5), ("qpsk", 3), ("16qam", 4), ("16qam", 12),
                                              ("64qam", 8), ("64qam", 17)])  # fmt: skip
def test_ber_over_awgn(name: str, snr_db: float) -> None:
    assert_ber(name, bit_errors(name, Awgn(snr_db, generator()), 120_000), theory(name, 10 ** (snr_db / 10), None))


@pytest.mark.parametrize("snr_db", [5, 18])
@pytest.mark.parametrize("name", NAMES)
def test_ber_over_fast_rayleigh_fading(name: str, snr_db: float) -> None:
    wrong = bit_errors(name, Rayleigh(snr_db, generator()), 100_000)
    assert_ber(name, wrong, theory(name, 10 ** (snr_db / 10), 0))


def test_ber_over_block_fading_is_the_same_on_average() -> None:
    wrong = bit_errors("qpsk", Rayleigh(8, generator(), coherence_symbols=20), 200_000)
    blocks = wrong.reshape(-1, 20).mean(1) / 2  # symbols of a block share their fate
    assert abs(blocks.mean() - theory("qpsk", 10**0.8, 0)) < SIGMAS * blocks.std() / math.sqrt(len(blocks))
    assert blocks.std() > 2 * math.sqrt(blocks.mean() / 40)  # which independent errors would not do


@pytest.mark.parametrize("k_factor", [0.5, 3.0, 10.0])
@pytest.mark.parametrize("name", ["bpsk", "16qam"])
def test_ber_over_rician_fading(name: str, k_factor: float) -> None:
    snr_db = 5 if name == "bpsk" else 10
    es_n0 = 10 ** (snr_db / 10)
    want = theory(name, es_n0, k_factor)
    assert theory(name, es_n0, None) < want < theory(name, es_n0, 0)
    assert_ber(name, bit_errors(name, Rician(snr_db, k_factor, generator()), 100_000), want)


def test_rician_limits() -> None:
    symbols = Modulation("16qam").modulate(generator().integers(0, 2, 4000))
    rayleigh, k_zero = Rayleigh(10, generator()).transmit(symbols), Rician(10, 0, generator()).transmit(symbols)
    np.testing.assert_array_equal(rayleigh.samples, k_zero.samples)
    np.testing.assert_allclose(Rician(10, 1e12, generator()).transmit(symbols).gains, 1, atol=1e-5)
    assert_ber("bpsk", bit_errors("bpsk", Rician(4, 1e9, generator()), 100_000), theory("bpsk", 10**0.4, None))


def test_the_closed_forms_agree_with_each_other() -> None:
    for name in NAMES:
        assert theory(name, 8.0, 1e-9) == pytest.approx(theory(name, 8.0, 0), rel=1e-6)
        assert theory(name, 8.0, 1e7) == pytest.approx(theory(name, 8.0, None), rel=1e-4)
        assert theory(name, 1e-12, None) == pytest.approx(0.5, abs=1e-5)


def test_gray_labels_halve_what_symbols_err() -> None:
    wrong = bit_errors("16qam", Awgn(17, generator()), 60_000)
    assert wrong.sum() > 30 and np.mean(wrong[wrong > 0] == 1) > 0.95  # one bit for each wrong symbol


# channels ------------------------------------------------------------------------------------------------------------


def test_noise_has_its_variance_half_per_dimension() -> None:
    received = Awgn(6, generator()).transmit(np.zeros(100_000))
    n0 = 10**-0.6
    assert received.noise_variance == pytest.approx(n0)
    for part in (received.samples.real, received.samples.imag):
        assert abs(part.mean()) < SIGMAS * math.sqrt(n0 / 2 / 100_000)
        assert abs(part.var() / (n0 / 2) - 1) < SIGMAS * math.sqrt(2 / 100_000)
    assert abs(np.mean(received.samples.real * received.samples.imag)) < SIGMAS * n0 / 2 / math.sqrt(100_000)
    np.testing.assert_array_equal(received.gains, 1)


@pytest.mark.parametrize("k_factor", [0.0, 1.0, 6.0])
def test_gains_have_unit_power_and_their_spread(k_factor: float) -> None:
    power = np.abs(Rician(0, k_factor, generator()).draw_gains((100_000,))) ** 2
    variance = (2 * k_factor + 1) / (k_factor + 1) ** 2
    assert abs(power.mean() - 1) < SIGMAS * math.sqrt(variance / 100_000)
    assert power.var() == pytest.approx(variance, rel=0.05)


def test_rayleigh_fades_as_deep_as_an_exponential_law() -> None:
    power = np.abs(Rayleigh(0, generator()).draw_gains((50_000,))) ** 2
    for depth in (0.01, 0.1, 1.0):
        outage = 1 - math.exp(-depth)
        assert abs(np.mean(power < depth) - outage) < SIGMAS * math.sqrt(outage * (1 - outage) / 50_000)


def test_gains_hold_for_a_block() -> None:
    gains = Rayleigh(0, generator(), coherence_symbols=4).transmit(np.ones((3, 10))).gains
    assert gains.shape == (3, 10)
    for row in gains:
        assert len(set(row)) == 3 and len(set(row[:4])) == len(set(row[4:8])) == len(set(row[8:])) == 1
    whole = Rayleigh(0, generator(), coherence_symbols=None).transmit(np.ones((3, 10))).gains
    assert len(np.unique(whole)) == 3 and all(len(set(row)) == 1 for row in whole)
    assert len(np.unique(Rayleigh(0, generator()).transmit(np.ones((3, 10))).gains)) == 30


def test_perfect_knowledge_of_the_channel_takes_the_gain_out() -> None:
    symbols = complex_normal(generator(), (2, 500))
    received = Rician(150, 2, generator()).transmit(symbols)
    samples, variance = received.equalised()
    np.testing.assert_allclose(samples, symbols, atol=1e-5)
    np.testing.assert_allclose(variance, received.noise_variance / np.abs(received.gains) ** 2)


def test_a_dead_gain_tells_nothing() -> None:
    samples, variance = Received(np.array([1 + 1j]), np.array([0j]), 0.1).equalised()
    assert samples[0] == 0 and variance[0] == np.inf
    np.testing.assert_array_equal(Modulation("16qam").demodulate_soft(samples, variance), 0)


def test_same_seed_same_samples() -> None:
    symbols = np.ones(50)
    for make in (
        lambda s: Awgn(3, generator(s)),
        lambda s: Rayleigh(3, generator(s)),
        lambda s: Rician(3, 1, generator(s)),
    ):
        first, again, other = (make(seed).transmit(symbols).samples for seed in (1, 1, 2))
        np.testing.assert_array_equal(first, again)
        assert (first != other).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.floats(1e-150, 1e150))
def test_normalised_power_is_one(seed: int, scale: float) -> None:
    symbols = complex_normal(generator(seed), (3, 7)) * scale * np.array([[1], [0.01], [30]])
    normal = normalise_power(symbols)
    np.testing.assert_allclose(np.mean(np.abs(normal) ** 2, -1), 1)
    np.testing.assert_allclose(np.angle(normal), np.angle(symbols))


def test_energy_per_bit_and_per_symbol() -> None:
    assert es_n0_db(3.0, 1) == 3.0
    assert es_n0_db(3.0, 4) == pytest.approx(3 + 10 * math.log10(4))


# modulation ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_constellation_has_unit_energy_and_gray_labels(name: str) -> None:
    modulation = Modulation(name)
    points = modulation.constellation
    assert len(set(points.round(9))) == len(points) == 2**modulation.bits_per_symbol
    assert np.mean(np.abs(points) ** 2) == pytest.approx(1) and abs(points.mean()) < 1e-12
    distance = np.abs(points[:, None] - points)
    nearest = distance[distance > 1e-9].min()
    pairs = np.argwhere(np.isclose(distance, nearest))
    assert all(int(a ^ b).bit_count() == 1 for a, b in pairs.tolist())
    assert len(pairs) == {"bpsk": 2, "qpsk": 8, "16qam": 48, "64qam": 224}[name]


def test_symbols_are_those_of_3gpp() -> None:
    """Single symbols worked out by hand from TS 38.211, section 5.1."""
    cases = {
        "bpsk": [("0", 1), ("1", -1)],
        "qpsk": [("00", (1 + 1j) / math.sqrt(2)), ("01", (1 - 1j) / math.sqrt(2)), ("10", (-1 + 1j) / math.sqrt(2))],
        "16qam": [("0000", (1 + 1j) / math.sqrt(10)), ("0010", (3 + 1j) / math.sqrt(10)),
                  ("1101", (-1 - 3j) / math.sqrt(10))],
        "64qam": [("000000", (3 + 3j) / math.sqrt(42)), ("000010", (1 + 3j) / math.sqrt(42)),
                  ("001000", (5 + 3j) / math.sqrt(42)), ("101010", (-7 + 3j) / math.sqrt(42)),
                  ("010111", (1 - 7j) / math.sqrt(42))],
    }  # fmt: skip
    for name, symbols in cases.items():
        for bits, want in symbols:
            got = Modulation(name).modulate(np.array([int(b) for b in bits]))
            np.testing.assert_allclose(got, [want], err_msg=f"{name} {bits}")


@pytest.mark.parametrize("name", NAMES)
def test_hard_decision_is_the_nearest_symbol(name: str) -> None:
    modulation = Modulation(name)
    samples = 1.2 * complex_normal(generator(), (4, 500))
    labels = np.abs(samples[..., None] - modulation.constellation).argmin(-1)
    k = modulation.bits_per_symbol
    want = (labels[..., None] >> np.arange(k)[::-1] & 1).reshape(4, -1)
    np.testing.assert_array_equal(modulation.demodulate_hard(samples), want)


@pytest.mark.parametrize("name", NAMES)
def test_soft_decision_is_the_log_ratio_of_likelihoods(name: str) -> None:
    modulation = Modulation(name)
    samples = complex_normal(generator(), (2, 60))
    variance = np.linspace(0.05, 2, 60)
    likelihood = np.exp(-(np.abs(samples[..., None] - modulation.constellation) ** 2) / variance[:, None])
    k = modulation.bits_per_symbol
    labels = np.arange(2**k)
    want = np.stack(
        [np.log(likelihood[..., b == 0].sum(-1) / likelihood[..., b == 1].sum(-1))
         for b in (labels >> shift & 1 for shift in range(k - 1, -1, -1))], -1,
    )  # fmt: skip
    np.testing.assert_allclose(modulation.demodulate_soft(samples, variance), want.reshape(2, -1), rtol=1e-7, atol=1e-8)


def test_soft_decisions_have_their_closed_forms() -> None:
    samples = complex_normal(generator(), (200,))
    np.testing.assert_allclose(Modulation("bpsk").demodulate_soft(samples, 0.3), 4 * samples.real / 0.3)
    qpsk = Modulation("qpsk").demodulate_soft(samples, 0.3).reshape(-1, 2)
    np.testing.assert_allclose(qpsk, 2 * math.sqrt(2) / 0.3 * np.stack([samples.real, samples.imag], 1))


@pytest.mark.parametrize("name", NAMES)
def test_soft_decisions_say_how_sure_they_are(name: str) -> None:
    """Over fading: the share of errors among bits of one confidence is 1 / (1 + exp |LLR|)."""
    modulation = Modulation(name)
    bits = generator().integers(0, 2, 30_000 * modulation.bits_per_symbol)
    samples, variance = Rayleigh(9, generator()).transmit(modulation.modulate(bits)).equalised()
    ratios = modulation.demodulate_soft(samples, variance)
    wrong, sure = (ratios < 0) != bits, np.abs(ratios)
    for low, high in ((0, 0.5), (0.5, 1.5), (1.5, 3)):
        chosen = (sure >= low) & (sure < high)
        want = np.mean(1 / (1 + np.exp(sure[chosen])))
        error = math.sqrt(
            want * (1 - want) / chosen.sum() * modulation.bits_per_symbol
        )  # bits of a symbol may err together
        assert abs(wrong[chosen].mean() - want) < SIGMAS * error


@pytest.mark.parametrize("name", NAMES)
def test_soft_and_hard_agree_without_noise(name: str) -> None:
    modulation = Modulation(name)
    bits = generator().integers(0, 2, (3, 60 * modulation.bits_per_symbol)).astype(np.uint8)
    symbols = modulation.modulate(bits)
    assert symbols.shape == (3, 60)
    hard = modulation.demodulate_hard(symbols)
    assert hard.dtype == np.uint8
    np.testing.assert_array_equal(hard, bits)
    soft = modulation.demodulate_soft(symbols, 1e-12)
    assert np.isfinite(soft).all()
    np.testing.assert_array_equal(soft < 0, bits)
    for row in range(3):  # a batch equals its rows
        np.testing.assert_array_equal(modulation.modulate(bits[row]), symbols[row])


# bytes ---------------------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.binary(max_size=60), st.sampled_from(NAMES))
def test_bytes_survive_a_good_channel(data: bytes, name: str) -> None:
    assert bytes_from_bits(bits_from_bytes(data)) == data
    modulation = Modulation(name)
    for channel in (Awgn(40, generator()), Rician(90, 5, generator(), coherence_symbols=3)):
        got = send_bytes(data, modulation, channel)
        assert (got.data, got.bit_errors, got.bits) == (data, 0, 8 * len(data))
        assert got.symbols == -(-8 * len(data) // modulation.bits_per_symbol) and got.bit_error_rate == 0


def test_bit_errors_are_those_between_the_bytes() -> None:
    data = generator().bytes(5001)
    got = send_bytes(data, Modulation("64qam"), Rayleigh(12, generator()))
    pairs = zip(data, got.data, strict=True)
    assert got.bit_errors == sum((a ^ b).bit_count() for a, b in pairs) > 1000
    assert got.bit_error_rate == pytest.approx(theory("64qam", 10**1.2, 0), rel=0.1)
    assert got == send_bytes(data, Modulation("64qam"), Rayleigh(12, generator()))


def test_first_bit_is_the_highest() -> None:
    assert bits_from_bytes(b"\x80\x01").tolist() == [1] + [0] * 14 + [1]


WRONG: dict[str, Callable[[], object]] = {
    "es_n0_db: expected a finite number from -200 to 200, got nan": lambda: Awgn(math.nan, generator()),
    "es_n0_db: .* got inf": lambda: Rayleigh(math.inf, generator()),
    "es_n0_db: .* got 201": lambda: Rician(201, 1, generator()),
    "rng: expected a numpy.random.Generator, got 5": lambda: Awgn(1, 5),  # type: ignore[arg-type]
    "k_factor: expected a finite number from 0, got -1": lambda: Rician(1, -1, generator()),
    "coherence_symbols: .* got 0": lambda: Rayleigh(1, generator(), coherence_symbols=0),
    "coherence_symbols: .* got 1.5": lambda: Rician(1, 1, generator(), coherence_symbols=1.5),  # type: ignore[arg-type]
    "symbols: expected finite numbers, got NaN": lambda: Awgn(1, generator()).transmit(np.array([np.nan])),
    "symbols: expected complex numbers of shape": lambda: Awgn(1, generator()).transmit(np.array(1.0)),
    "symbols: expected complex numbers .* array\\(\\['a'": lambda: Awgn(1, generator()).transmit(np.array(["a"])),
    "symbols: expected energy in every row": lambda: normalise_power(np.array([[1, 1], [0, 0]])),
    "a row of zeros or of no symbols": lambda: normalise_power(np.zeros((2, 0))),
    "symbols: .* infinity": lambda: normalise_power(np.array([np.inf])),
    "bits_per_symbol: .* got 0": lambda: es_n0_db(1, 0),
    "eb_n0_db: .* got nan": lambda: es_n0_db(math.nan, 1),
    "modulation: expected one of bpsk, qpsk, 16qam, 64qam, got '8psk'": lambda: Modulation("8psk"),
    "bits: expected a multiple of 4 for 16qam, got 6": lambda: Modulation("16qam").modulate(np.zeros(6, int)),
    "bits: expected zeros and ones": lambda: Modulation("bpsk").modulate(np.array([0, 2])),
    "bits: expected zeros and ones .*0.5": lambda: Modulation("bpsk").modulate(np.array([0.5])),
    "samples: expected finite": lambda: Modulation("bpsk").demodulate_hard(np.array([np.nan])),
    "samples: .* infinity": lambda: Modulation("bpsk").demodulate_soft(np.array([np.inf]), 1),
    "noise_variance: expected numbers above 0, got 0": lambda: Modulation("bpsk").demodulate_soft(np.ones(3), 0),
    "noise_variance: .* got nan": lambda: Modulation("bpsk").demodulate_soft(np.ones(3), math.nan),
    "noise_variance: expected shape \\(3,\\), got \\(2,\\)": lambda: Modulation("bpsk").demodulate_soft(
        np.ones(3), np.ones(2)
    ),
    "data: expected bytes, got 'text'": lambda: bits_from_bytes("text"),  # type: ignore[arg-type]
    "bits: .* got shape \\(7,\\)": lambda: bytes_from_bits(np.zeros(7, int)),
    "bits: expected zeros and ones of shape \\[8 n\\]": lambda: bytes_from_bits(np.full(8, 2)),
}  # fmt: skip


@pytest.mark.parametrize("message", WRONG)
def test_wrong_arguments_give_one_clear_line(message: str) -> None:
    with pytest.raises(SomacastError, match=message) as caught:
        WRONG[message]()
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 160
