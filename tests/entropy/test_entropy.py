"""Range coder and tables: exact round trips, size against the information, and garbage."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from somacast.entropy.range_coder import TOTAL, RangeDecoder, encode_symbols
from somacast.entropy.tables import (
    check_tables,
    context_tables,
    cumulative_table,
    frequencies_from_counts,
)
from somacast.errors import BitstreamError


def ideal_bits(symbols: list[int], tables: list[np.ndarray]) -> float:
    """Information of the symbols under their tables, in bits: what no coder can beat on average."""
    spans = [int(table[s + 1]) - int(table[s]) for s, table in zip(symbols, tables, strict=True)]
    return float(-np.log2(np.array(spans, float) / TOTAL).sum())


counts_lists = st.lists(st.integers(0, 10**6), min_size=1, max_size=40)


@st.composite
def messages(draw: st.DrawFn) -> tuple[list[int], list[np.ndarray]]:
    """Some tables, and a sequence of symbols each with one of them."""
    tables = [cumulative_table(draw(counts_lists)) for _ in range(draw(st.integers(1, 4)))]
    symbols, used = [], []
    for choice, fraction in draw(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 0.999)), max_size=120)):
        table = tables[choice % len(tables)]
        symbols.append(int(fraction * (len(table) - 1)))
        used.append(table)
    return symbols, used


def decode_all(data: bytes, tables: list[np.ndarray]) -> list[int]:
    decoder = RangeDecoder(data)
    symbols = [decoder.decode(table) for table in tables]
    decoder.finish()
    return symbols


@settings(max_examples=300, deadline=None)
@given(messages())
def test_round_trip_and_size(message: tuple[list[int], list[np.ndarray]]) -> None:
    symbols, tables = message
    data = encode_symbols(symbols, tables)
    assert decode_all(data, tables) == symbols
    # less than a byte for the flush, 4e-4 bits a symbol for the rounding of the step
    assert len(data) * 8 < ideal_bits(symbols, tables) + 8 + 4e-4 * len(symbols)
    assert not data.endswith(b"\0")


def test_long_message_is_near_its_information() -> None:
    rng = np.random.default_rng(3)
    table = cumulative_table([900, 50, 30, 15, 5])
    spans = np.diff(table.astype(int)) / TOTAL
    symbols = rng.choice(5, 20000, p=spans).tolist()
    data = encode_symbols(symbols, [table] * len(symbols))
    overhead_bytes = len(data) - ideal_bits(symbols, [table] * len(symbols)) / 8
    assert overhead_bytes <= 2
    assert decode_all(data, [table] * len(symbols)) == symbols


def test_carry_runs_through_written_bytes() -> None:
    table = np.array([0, 1000, 1500, 4096])
    assert encode_symbols([0, 0, 0, 1, 1], [table] * 5) == bytes.fromhex("0106")
    # a sure symbol costs nothing; the top of the interval and the bottom are reached exactly
    for symbol in (0, 2):
        assert decode_all(encode_symbols([symbol] * 400, [table] * 400), [table] * 400) == [symbol] * 400
    assert encode_symbols([0] * 50, [np.array([0, TOTAL])] * 50) == b""


def test_every_short_message_round_trips() -> None:
    table = np.array([0, 1, 4000, 4096])
    for number in range(3**7):
        symbols = [number // 3**k % 3 for k in range(7)]
        assert decode_all(encode_symbols(symbols, [table] * 7), [table] * 7) == symbols


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60), counts_lists, st.integers(0, 200))
def test_garbage_gives_symbols_of_the_alphabet(data: bytes, counts: list[int], length: int) -> None:
    table = cumulative_table(counts)
    decoder = RangeDecoder(data)
    symbols = [decoder.decode(table) for _ in range(length)]
    assert all(0 <= symbol < len(counts) for symbol in symbols)
    # what the decoder reads is what the encoder writes, up to bytes that no symbol has settled
    again = encode_symbols(symbols, [table] * length)
    assert decode_all(again, [table] * length) == symbols


def test_bytes_left_over_are_refused() -> None:
    table = cumulative_table([1] * 16)
    data = encode_symbols([5] * 10, [table] * 10)
    with pytest.raises(BitstreamError, match="belong to no symbol"):
        decode_all(data + b"\1\2\3\4\5\6", [table] * 10)


def test_encoder_refuses_what_it_cannot_code() -> None:
    table = cumulative_table([1] * 4)
    with pytest.raises(ValueError, match="outside its table"):
        encode_symbols([4], [table])
    with pytest.raises(ValueError, match="outside its table"):
        encode_symbols([-1], [table])
    with pytest.raises(ValueError, match="bad table"):
        encode_symbols([1], [np.array([0, 10, 10, TOTAL])])
    with pytest.raises(ValueError, match="bad table"):
        encode_symbols([0], [np.array([0, 10, 20])])
    with pytest.raises(ValueError, match="one table per symbol"):
        encode_symbols([0, 1], [table])


@settings(max_examples=300, deadline=None)
@given(counts_lists)
def test_frequencies(counts: list[int]) -> None:
    frequencies = frequencies_from_counts(counts)
    assert sum(frequencies) == TOTAL and min(frequencies) >= 1
    order = sorted(range(len(counts)), key=lambda i: counts[i])
    assert all(frequencies[a] <= frequencies[b] for a, b in pairwise(order) if counts[a] < counts[b])
    check_tables(cumulative_table(counts))


def test_frequencies_by_hand() -> None:
    assert frequencies_from_counts([1, 1, 1]) == [1366, 1365, 1365]  # ties go to the lower index
    assert frequencies_from_counts([0, 0]) == [2048, 2048]
    assert frequencies_from_counts([10**9, 0, 1]) == [4094, 1, 1]
    assert frequencies_from_counts([3, 1]) == [3072, 1024]
    assert frequencies_from_counts([0] * TOTAL) == [1] * TOTAL
    for bad in ([], [1] * (TOTAL + 1), [1, -1]):
        with pytest.raises(ValueError):
            frequencies_from_counts(bad)


def test_context_tables_lean_on_all_contexts_when_one_is_rare() -> None:
    tables = context_tables(np.array([[1000, 0, 0], [0, 1000, 0], [0, 0, 0]])).astype(int)
    check_tables(tables)
    spans = np.diff(tables, axis=1)
    assert spans[0, 0] > 3900 and spans[1, 1] > 3900
    assert abs(spans[2, 0] - spans[2, 1]) <= 1 and spans[2, 2] < 10  # never seen: like all together


def test_check_tables_finds_faults() -> None:
    for bad in ([0, 5, 5, TOTAL], [1, 5, TOTAL], [0, 5, TOTAL - 1], [0, 9, 5, TOTAL], [0]):
        with pytest.raises(ValueError, match="bad coding table"):
            check_tables(np.array(bad, np.uint16))
