"""Labels into layers and back: round trips, sizes, budgets, damage."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from somacast.bitstream.container import Container, pack, packed_bytes
from somacast.entropy.tables import ideal_bits
from somacast.semantics.importance import (
    compression,
    importance,
    kept_levels,
)
from somacast.semantics.label_coding import (
    CodingTables,
    decode_layers,
    encode_layers,
    fit_budget,
    layer_plan,
    symbol_bits,
)
from somacast.semantics.vocabulary import Label, Vocabulary
from somacast.types import BitstreamError, SomacastError
from vocabulary_cases import BIG, BIG_SYMBOLS, BIG_TABLES, GROUPS, random_symbols, random_tables, vocabularies


def sent_part(symbols: np.ndarray, state: int, vocabulary: Vocabulary, tables: CodingTables) -> np.ndarray:
    """The symbols with all that this state drops set to -1."""
    omega = importance(symbols[:, 0], vocabulary, tables.importance)
    kept = kept_levels(compression(omega, state, tables.importance), vocabulary)
    return np.where(np.arange(vocabulary.levels) < kept[:, None], symbols, -1)


@settings(max_examples=80, deadline=None)
@given(vocabularies(), st.integers(0, 10**6), st.integers(0, 255))
def test_layers_round_trip_in_every_prefix(vocabulary: Vocabulary, seed: int, state: int) -> None:
    tables = random_tables(vocabulary, seed)
    symbols = random_symbols(vocabulary, 1, seed + 9)[0]
    layers = encode_layers(symbols, state, vocabulary, tables)
    expected = sent_part(symbols, state, vocabulary, tables)
    decoded = decode_layers(layers, state, vocabulary, tables)
    assert decoded.dtype == np.int16 and np.array_equal(decoded, expected)
    optional = [layer.optional for layer in layer_plan(vocabulary)]
    for count in range(1, len(layers)):
        part = decode_layers(layers[:count], state, vocabulary, tables)
        deepest = count - (True in optional)
        show = np.arange(vocabulary.levels) < max(deepest, 1)
        show = show & ((vocabulary.minimum_levels[:, None] == 1) | (count > 1))
        assert np.array_equal(part, np.where(show, expected, -1))


def test_each_stream_is_near_its_information() -> None:
    for symbols in BIG_SYMBOLS:
        layers = encode_layers(symbols, 0, BIG, BIG_TABLES)
        bits = symbol_bits(symbols, BIG, BIG_TABLES)
        mandatory = BIG.minimum_levels == 1
        assert len(layers[0]) * 8 < bits[mandatory, 0].sum() + 9
        assert len(layers[2]) * 8 < bits[:, 1].sum() + 9
        assert len(layers[3]) * 8 < bits[:, 2].sum() + 9
        absent = [BIG_TABLES.cumulative[i][0][0] for i in np.flatnonzero(symbols[:, 0] < 0)]
        absent_bits = ideal_bits([len(table) - 2 for table in absent], absent)
        assert len(layers[1]) * 8 < bits[~mandatory, 0].sum() + absent_bits + 9


def test_bigger_network_state_never_costs_more() -> None:
    for symbols in BIG_SYMBOLS[:4]:
        sizes, information = [], []
        for state in range(0, 256, 15):
            sizes.append(sum(len(layer) for layer in encode_layers(symbols, state, BIG, BIG_TABLES)))
            information.append(symbol_bits(sent_part(symbols, state, BIG, BIG_TABLES), BIG, BIG_TABLES).sum())
        assert np.all(np.diff(information) <= 0) and information[-1] < 0.8 * information[0]
        # bytes follow, but for the luck of a stream that happens to end on a zero byte
        assert np.all(np.diff(sizes) <= 1) and sizes[-1] < 0.8 * sizes[0]


def test_more_budget_never_gives_fewer_symbols() -> None:
    for symbols in BIG_SYMBOLS[:3]:
        before, states = np.zeros(symbols.shape, bool), []
        for budget_bytes in range(30, 130, 3):
            try:
                state, layers = fit_budget(symbols, budget_bytes, BIG, BIG_TABLES)
            except SomacastError:
                assert not before.any()
                continue
            packed = pack(Container("aflsc", b"1234", state, layers))
            assert len(packed) <= budget_bytes
            decoded = decode_layers(layers, state, BIG, BIG_TABLES)
            assert np.all((decoded >= 0) >= before)
            assert np.array_equal(decoded[decoded >= 0], symbols[decoded >= 0])
            before = decoded >= 0
            states.append(state)
        assert states[0] == 255 and states[-1] == 0 and sorted(states, reverse=True) == states
        assert np.array_equal(decoded, symbols)


def test_budget_is_used_and_its_floor_is_named() -> None:
    symbols = BIG_SYMBOLS[0]
    state, _ = fit_budget(symbols, 70, BIG, BIG_TABLES)
    assert 0 < state < 255
    tighter = encode_layers(symbols, state - 1, BIG, BIG_TABLES)
    assert packed_bytes([len(layer) for layer in tighter]) > 70
    floor = packed_bytes([len(encode_layers(symbols, 255, BIG, BIG_TABLES)[0])])
    with pytest.raises(SomacastError, match=f"at least {floor} bytes"):
        fit_budget(symbols, floor - 1, BIG, BIG_TABLES)
    assert len(fit_budget(symbols, floor, BIG, BIG_TABLES)[1]) == 1
    assert fit_budget(symbols, 10_000, BIG, BIG_TABLES, lowest_state=40)[0] == 40


def test_below_the_last_state_layers_go_one_by_one_from_the_end() -> None:
    smallest = encode_layers(BIG_SYMBOLS[0], 255, BIG, BIG_TABLES)
    assert len(smallest) == 3
    for count in (2, 1):
        budget_bytes = packed_bytes([len(layer) for layer in smallest[:count]])
        assert fit_budget(BIG_SYMBOLS[0], budget_bytes, BIG, BIG_TABLES) == (255, smallest[:count])


def test_layers_without_symbols_are_not_written() -> None:
    only_base = replace(BIG_TABLES, importance=replace(BIG_TABLES.importance, rho_min=65536))
    layers = encode_layers(BIG_SYMBOLS[0], 0, BIG, only_base)
    assert len(layers) == 1
    decoded = decode_layers(layers, 0, BIG, only_base)
    assert np.array_equal(decoded[:, 0] >= 0, BIG.minimum_levels == 1) and np.all(decoded[:, 1:] == -1)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=30), min_size=1, max_size=4), st.integers(0, 255))
def test_garbage_layers_give_symbols_of_the_vocabulary(layers: list[bytes], state: int) -> None:
    try:
        symbols = decode_layers(layers, state, BIG, BIG_TABLES)
    except BitstreamError:
        return
    BIG.check_symbols(symbols)
    assert np.all(symbols[BIG.minimum_levels == 1, 0] >= 0)


def test_missing_symbols_are_refused_unless_optional() -> None:
    symbols = BIG_SYMBOLS[0].copy()
    symbols[3] = -1
    for call in (
        lambda: encode_layers(symbols, 255, BIG, BIG_TABLES),
        lambda: fit_budget(symbols, 999, BIG, BIG_TABLES),
        lambda: CodingTables.build(BIG, symbols[None], BIG_TABLES.importance),
    ):
        with pytest.raises(ValueError, match="pose3"):
            call()
    symbols = BIG_SYMBOLS[0].copy()
    symbols[2, 1:] = -1
    with pytest.raises(ValueError, match="pose2"):
        encode_layers(symbols, 0, BIG, BIG_TABLES)
    symbols = BIG_SYMBOLS[0].copy()
    symbols[90:] = -1
    assert np.array_equal(decode_layers(encode_layers(symbols, 0, BIG, BIG_TABLES), 0, BIG, BIG_TABLES), symbols)


def test_too_many_layers_or_bytes_are_refused() -> None:
    layers = encode_layers(BIG_SYMBOLS[0], 0, BIG, BIG_TABLES)
    with pytest.raises(BitstreamError, match="5 layers, expected 1 to 4"):
        decode_layers([*layers, b""], 0, BIG, BIG_TABLES)
    with pytest.raises(BitstreamError, match="belong to no symbol"):
        decode_layers([layers[0] + b"12345678"], 0, BIG, BIG_TABLES)
    deep = Vocabulary((Label("x", "pose", "scalar", (2,) * 7), Label("y", "pose", "scalar", (2,), 0)), 1, GROUPS)
    assert len(layer_plan(deep)) == 8


def test_tables_survive_their_arrays() -> None:
    arrays = BIG_TABLES.to_arrays()
    again = CodingTables.from_arrays(arrays, BIG)
    assert encode_layers(BIG_SYMBOLS[0], 30, BIG, again) == encode_layers(BIG_SYMBOLS[0], 30, BIG, BIG_TABLES)
    assert all(np.array_equal(again.to_arrays()[name], arrays[name]) for name in arrays)
    flat = arrays["coding.cumulative"]
    broken = flat.copy()
    broken[2] = broken[1]
    for wrong in (flat[:-1], np.append(flat, flat[-1]), broken):
        with pytest.raises(ValueError, match="coding table"):
            CodingTables.from_arrays({**arrays, "coding.cumulative": wrong}, BIG)
    other = Vocabulary(BIG.labels[:-1], 1, GROUPS)
    with pytest.raises(ValueError):
        CodingTables.from_arrays(arrays, other)


def test_tables_from_no_samples_and_from_many() -> None:
    empty = CodingTables.build(BIG, np.zeros((0, *BIG.alphabets.shape), int), BIG_TABLES.importance)
    trained = CodingTables.build(BIG, random_symbols(BIG, 3000, 1), BIG_TABLES.importance)
    symbols = random_symbols(BIG, 1, 2)[0]
    for tables in (empty, trained):
        assert np.array_equal(decode_layers(encode_layers(symbols, 0, BIG, tables), 0, BIG, tables), symbols)
    assert symbol_bits(symbols, BIG, trained).sum() < 0.97 * symbol_bits(symbols, BIG, empty).sum()
