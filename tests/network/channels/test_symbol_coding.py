"""LDPC codes of the library against the error rate without a code at the same Eb/N0, and against what any code can do.

Sionna and torch come with extras; without them only the line that says so is tested.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest

from somacast.errors import SomacastError
from somacast.extras import installed
from somacast.network.channels.symbol import coding
from somacast.network.channels.symbol.awgn import Awgn
from somacast.network.channels.symbol.coding import LdpcCode, coded_es_n0_db, send_coded_bytes
from somacast.network.channels.symbol.modulation import Modulation
from somacast.network.channels.symbol.path import send_bytes
from somacast.network.channels.symbol.power import es_n0_db
from somacast.network.channels.symbol.rayleigh import Rayleigh

needs_sionna = pytest.mark.skipif(
    not (installed("sionna") and installed("torch")), reason="Sionna is not installed: no LDPC code to test"
)
MESSAGE, BLOCK = 256, 512


@cache
def code(iterations: int = 20) -> LdpcCode:
    return LdpcCode(MESSAGE, BLOCK, iterations=iterations)


def generator(seed: int = 4) -> np.random.Generator:
    return np.random.default_rng(seed)


def q(x: float) -> float:
    return math.erfc(x / math.sqrt(2)) / 2


def normal_approximation(es_n0: float) -> float:
    """Share of blocks that the best code of k = 256, n = 512 gets wrong with BPSK over AWGN, nearly.

    Q((n C - k + log2(n) / 2) / sqrt(n V)), C and V mean and variance of the information density.
    Source: Y. Polyanskiy, H. V. Poor, S. Verdu, "Channel coding rate in the finite blocklength regime", 2010.
    """
    deviation = math.sqrt(1 / (2 * es_n0))
    samples = np.linspace(1 - 12 * deviation, 1 + 12 * deviation, 20_001)
    weights = np.exp(-((samples - 1) ** 2) / (2 * deviation**2))
    weights /= weights.sum()
    density = 1 - np.logaddexp(0, -2 * samples / deviation**2) / math.log(2)
    capacity = float(weights @ density)
    std = float(weights @ (density - capacity) ** 2)
    return q((BLOCK * capacity - MESSAGE + math.log2(BLOCK) / 2) / math.sqrt(BLOCK * std))


def wrong_bits(eb_n0_db: float, blocks: int, hard: bool = False) -> np.ndarray:
    """Wrong message bits [blocks, k] behind BPSK over AWGN."""
    modulation = Modulation("bpsk")
    es = coded_es_n0_db(eb_n0_db, modulation, code())
    bits = generator(1).integers(0, 2, (blocks, MESSAGE))
    samples, variance = Awgn(es, generator(2)).transmit(modulation.modulate(code().encode(bits))).equalised()
    if hard:
        raw = q(math.sqrt(2 * 10 ** (es / 10)))
        return code().decode_hard(modulation.demodulate_hard(samples), raw) != bits
    return code().decode_soft(modulation.demodulate_soft(samples, variance)) != bits


@needs_sionna
def test_soft_decoding_gains_what_a_code_of_this_length_can_gain() -> None:
    """At 3 dB, where every 44th uncoded bit is wrong, hardly any is; and no block code does what it cannot do."""
    wrong = wrong_bits(3.0, 64)
    assert wrong.any(1).sum() <= 1  # 1 in 1,000 blocks or fewer
    assert wrong.mean() < q(math.sqrt(2 * 10**0.3)) / 10
    failed = wrong_bits(1.5, 160).any(1).mean()
    best = normal_approximation(MESSAGE / BLOCK * 10**0.15)
    assert best < 0.002  # a code at its limit
    assert 0.05 < failed < 0.25  # about 0.12: one decibel short of it, as known of belief propagation at this length
    wrong = wrong_bits(0.0, 32)  # and below its threshold a code only does harm
    assert wrong.any(1).mean() > 0.85 and wrong.mean() > q(math.sqrt(2))


@needs_sionna
def test_hard_decisions_cost_about_two_decibels() -> None:
    hard = wrong_bits(3.5, 96, hard=True).any(1).mean()
    assert wrong_bits(2.0, 96).any(1).mean() < 0.12
    assert 0 < hard < 0.2
    assert wrong_bits(2.0, 32, hard=True).any(1).mean() > 0.5


@needs_sionna
def test_a_code_helps_most_over_fading() -> None:
    """16-QAM over fast Rayleigh fading: without a code every 25th bit is wrong at 9 dB, with one hardly any."""
    modulation, data = Modulation("16qam"), generator().bytes(40 * MESSAGE // 8)
    eb_n0_db = 9.0
    plain = send_bytes(data, modulation, Rayleigh(es_n0_db(eb_n0_db, 4), generator()))
    coded = send_coded_bytes(
        data, code(), modulation, Rayleigh(coded_es_n0_db(eb_n0_db, modulation, code()), generator())
    )
    assert plain.bit_error_rate > 0.02
    assert coded.bit_errors == 0 and coded.data == data
    assert (coded.bits, coded.symbols) == (len(data) * 8, 2 * plain.symbols)


@needs_sionna
def test_code_words_are_linear_and_decode_to_themselves() -> None:
    bits = generator().integers(0, 2, (3, 5, MESSAGE)).astype(np.uint8)
    words = code().encode(bits)
    assert words.shape == (3, 5, BLOCK) and words.dtype == np.uint8 and code().rate == 0.5
    np.testing.assert_array_equal(code().encode(bits[0] ^ bits[1]), words[0] ^ words[1])
    certain = np.where(words == 1, -np.inf, np.inf)
    for decided in (code().decode_soft(certain), code().decode_hard(words, 0.01)):
        assert decided.dtype == np.uint8
        np.testing.assert_array_equal(decided, bits)
    np.testing.assert_array_equal(code().decode_soft(certain[1, 2]), bits[1, 2])  # a batch equals its rows
    distances = [int((words[0, 0] ^ word).sum()) for word in words.reshape(-1, BLOCK)[1:]]
    assert min(distances) > 150  # random messages lie about half a block apart
    assert code().encode(np.zeros((0, MESSAGE), int)).shape == (0, BLOCK)


@needs_sionna
def test_more_iterations_are_not_worse_and_erasures_are_filled() -> None:
    bits = generator().integers(0, 2, (40, MESSAGE))
    ratios = (1.0 - 2 * code().encode(bits)) * 20
    ratios[:, generator().choice(BLOCK, BLOCK // 3, replace=False)] = 0  # a third never came
    np.testing.assert_array_equal(code().decode_soft(ratios), bits)
    few = (code(2).decode_soft(ratios) != bits).sum()
    assert few > 0


@needs_sionna
@pytest.mark.parametrize(("message", "block"), [(12, 60), (100, 109), (500, 750), (8448, 9600)])
def test_any_length_and_rate_in_range(message: int, block: int) -> None:
    any_code = LdpcCode(message, block, iterations=20)
    bits = generator().integers(0, 2, (2, message))
    words = any_code.encode(bits)
    assert words.shape == (2, block) and any_code.rate == message / block
    np.testing.assert_array_equal(any_code.decode_soft(8.0 - 16.0 * words), bits)


@needs_sionna
@pytest.mark.parametrize("size", [0, 1, 31, 32, 33, 100])
def test_bytes_of_any_length_pass(size: int) -> None:
    data = generator().bytes(size)
    got = send_coded_bytes(data, code(), Modulation("64qam"), Awgn(20, generator()))
    blocks = -(-8 * size // MESSAGE)
    assert (got.data, got.bit_errors, got.bits, got.symbols) == (data, 0, 8 * size, -(-blocks * BLOCK // 6))


def test_eb_n0_pays_for_the_redundancy() -> None:
    half = type("Half", (), {"rate": 0.5})()
    for name, bits in (("bpsk", 1), ("64qam", 6)):
        got = coded_es_n0_db(3.0, Modulation(name), half)  # type: ignore[arg-type]
        assert got == pytest.approx(es_n0_db(3.0, bits) - 10 * math.log10(2))


def test_a_missing_library_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(package: str, what: str) -> None:
        if package == "sionna":
            raise SomacastError(f"{what} needs the package {package}")

    monkeypatch.setattr(coding, "require", missing)
    with pytest.raises(SomacastError, match="an LDPC code needs the package sionna"):
        LdpcCode(MESSAGE, BLOCK)


LENGTHS: dict[str, Callable[[], object]] = {
    "message_bits: expected a whole number from 12 to 8448, got 11": lambda: LdpcCode(11, 30),
    "block_bits: expected a whole number from 1 to 25344, got 30000": lambda: LdpcCode(8448, 30_000),
    "expected a rate from 0.2 to 0.925, got 0.1": lambda: LdpcCode(100, 1000),
    "expected a rate from 0.2 to 0.925, got 1": lambda: LdpcCode(100, 100),
    "iterations: expected a whole number from 1 to 200, got 0": lambda: LdpcCode(100, 200, iterations=0),
}
VALUES: dict[str, Callable[[], object]] = {
    "bits: expected zeros and ones of shape [..., 256], got shape (255,)": lambda: code().encode(np.zeros(255, int)),
    "bits: expected zeros and ones of shape [..., 256], got shape (256,)": lambda: code().encode(np.full(256, 2)),
    "ratios: expected numbers of shape [..., 512], got (3, 256)": lambda: code().decode_soft(np.zeros((3, 256))),
    "ratios: expected numbers, got NaN": lambda: code().decode_soft(np.full(512, np.nan)),
    "bits: expected zeros and ones of shape [..., 512]": lambda: code().decode_hard(np.zeros(512), 0.1),
    "error_rate: expected a finite number above 0, got 0": lambda: code().decode_hard(np.zeros(512, int), 0),
    "error_rate: expected a number below 0.5, got 0.5": lambda: code().decode_hard(np.zeros(512, int), 0.5),
}


@pytest.mark.parametrize("message", [*LENGTHS, *(pytest.param(m, marks=needs_sionna) for m in VALUES)])
def test_wrong_arguments_give_one_clear_line(message: str) -> None:
    with pytest.raises(SomacastError, match=re.escape(message)):
        (LENGTHS | VALUES)[message]()
