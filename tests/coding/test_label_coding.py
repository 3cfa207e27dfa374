"""Labels into layers and back: round trips, sizes, budgets, damage."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from somacast.coding import label_coding
from somacast.coding.importance import ImportanceModel, compression, importance, kept_levels
from somacast.coding.label_coding import (
    MAX_CONTEXTS,
    CodingTables,
    choose_parents,
    context_of,
    decode_layers,
    encode_layers,
    fit_budget,
    layer_plan,
    symbol_bits,
    table_shape,
)
from somacast.coding.vocabulary import Label, Vocabulary
from somacast.entropy.range_coder import TOTAL
from somacast.errors import BitstreamError, SomacastError
from support.vocabulary_cases import (
    BIG,
    BIG_SYMBOLS,
    BIG_TABLES,
    GROUPS,
    chained_symbols,
    random_symbols,
    random_tables,
    vocabularies,
)


def file_bytes(lengths: list[int]) -> int:
    """Size of a file with layers of these lengths: 12 bytes around the first, 3 for each further one."""
    return 9 + sum(3 + length for length in lengths)


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
    for count in range(1, len(layers)):
        part = decode_layers(layers[:count], state, vocabulary, tables)
        show = np.arange(vocabulary.levels) < count
        show = show & ((vocabulary.minimum_levels[:, None] == 1) | (count > 1))
        assert np.array_equal(part, np.where(show, expected, -1))


@settings(max_examples=60, deadline=None)
@given(vocabularies(), st.integers(0, 10**6), st.integers(0, 255))
def test_beside_something_that_tells_more_all_labels_share_a_layer(
    vocabulary: Vocabulary, seed: int, state: int
) -> None:
    tables = random_tables(vocabulary, seed)
    symbols = random_symbols(vocabulary, 1, seed + 9)[0]
    which = np.random.default_rng(seed).choice(3, len(vocabulary.labels), p=[0.5, 0.3, 0.2])
    settled = np.choose(which, [np.full(len(which), -1), vocabulary.minimum_levels, vocabulary.level_counts])
    layers = encode_layers(symbols, state, vocabulary, tables, settled)
    assert len(layers) == 1
    kept = np.arange(vocabulary.levels) < settled[:, None]
    expected = np.where(kept & (symbols[:, :1] >= 0), symbols, -1)
    expected = np.where(settled[:, None] < 0, sent_part(symbols, state, vocabulary, tables), expected)
    assert np.array_equal(decode_layers(layers, state, vocabulary, tables, settled), expected)


def test_one_layer_is_shorter_than_several() -> None:
    nothing = np.full(len(BIG.labels), -1)
    for symbols in BIG_SYMBOLS[:20]:
        (whole,) = encode_layers(symbols, 40, BIG, BIG_TABLES, nothing)
        several = encode_layers(symbols, 40, BIG, BIG_TABLES)
        assert sum(map(len, several)) - len(several) <= len(whole) <= sum(map(len, several))


def test_the_plan_has_no_layer_for_nothing() -> None:
    def plan(*alphabets: tuple[int, ...], optional: bool = False) -> list:
        labels = [Label(f"l{i}", "pose", "scalar", a) for i, a in enumerate(alphabets)]
        labels += [Label("more", "pose", "scalar", (2,), 0)] if optional else []
        return layer_plan(Vocabulary(tuple(labels), 1, GROUPS))

    base, rest = ((0, False),), ((0, True),)
    assert plan((4,)) == [base]
    assert plan((4,), optional=True) == [base, rest]
    assert plan((4, 2), (4,)) == [base, ((1, False),)]
    assert plan((4, 2, 2), optional=True) == [base, (*rest, (1, False)), ((2, False),)]
    assert plan((2,) * 4) == [base, ((1, False),), ((2, False),), ((3, False),)]
    deepest = ((3, False), (4, False), (5, False), (6, False))
    assert plan((2,) * 7, (2,), optional=True) == [base, (*rest, (1, False)), ((2, False),), deepest]


@settings(max_examples=60, deadline=None)
@given(vocabularies(), st.integers(0, 10**6))
def test_the_fast_table_is_that_of_the_readable_context(vocabulary: Vocabulary, seed: int) -> None:
    tables = random_tables(vocabulary, seed)
    symbols = random_symbols(vocabulary, 1, seed + 3)[0]
    for index, level in np.argwhere(symbols >= 0).tolist():
        context = context_of(symbols, index, level, vocabulary, tables.parents)
        rows = tables.cumulative[index][level]
        assert rows.shape == (
            table_shape(vocabulary, index, level, tables.parents)[0],
            table_shape(vocabulary, index, level, tables.parents)[1] + 1,
        )
        assert 0 <= context < len(rows) <= MAX_CONTEXTS
        fast = label_coding.symbol_table(symbols.tolist(), index, level, vocabulary, tables)
        assert fast == rows[context].tolist()


def test_each_stream_is_near_its_information() -> None:
    mandatory = BIG.minimum_levels == 1
    for symbols in BIG_SYMBOLS:
        layers = encode_layers(symbols, 0, BIG, BIG_TABLES)
        bits = symbol_bits(symbols, BIG, BIG_TABLES)
        absent_bits = 0.0
        for index in np.flatnonzero(symbols[:, 0] < 0).tolist():
            table = BIG_TABLES.cumulative[index][0][context_of(symbols, index, 0, BIG, BIG_TABLES.parents)].astype(int)
            absent_bits -= np.log2((table[-1] - table[-2]) / TOTAL)
        expected = [
            bits[mandatory, 0].sum(),
            bits[~mandatory, 0].sum() + absent_bits + bits[:, 1].sum(),
            bits[:, 2].sum(),
            bits[:, 3:].sum(),
        ]
        for layer, information in zip(layers, expected, strict=True):
            assert information - 16 < len(layer) * 8 < information + 9


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
                state, layers = fit_budget(symbols, budget_bytes, BIG, BIG_TABLES, 0, file_bytes)
            except SomacastError:
                assert not before.any()
                continue
            assert file_bytes([len(layer) for layer in layers]) <= budget_bytes
            decoded = decode_layers(layers, state, BIG, BIG_TABLES)
            assert np.all((decoded >= 0) >= before)
            assert np.array_equal(decoded[decoded >= 0], symbols[decoded >= 0])
            before = decoded >= 0
            states.append(state)
        assert states[0] == 255 and states[-1] == 0 and sorted(states, reverse=True) == states
        assert np.array_equal(decoded, symbols)


def test_budget_is_used_and_its_floor_is_named() -> None:
    symbols = BIG_SYMBOLS[0]
    state, _ = fit_budget(symbols, 70, BIG, BIG_TABLES, 0, file_bytes)
    assert 0 < state < 255
    tighter = encode_layers(symbols, state - 1, BIG, BIG_TABLES)
    assert file_bytes([len(layer) for layer in tighter]) > 70
    floor = file_bytes([len(encode_layers(symbols, 255, BIG, BIG_TABLES)[0])])
    with pytest.raises(SomacastError, match=f"at least {floor} bytes"):
        fit_budget(symbols, floor - 1, BIG, BIG_TABLES, 0, file_bytes)
    assert len(fit_budget(symbols, floor, BIG, BIG_TABLES, 0, file_bytes)[1]) == 1
    assert fit_budget(symbols, 10_000, BIG, BIG_TABLES, 40, file_bytes)[0] == 40


def test_below_the_last_state_layers_go_one_by_one_from_the_end() -> None:
    gentle = replace(BIG_TABLES, importance=replace(BIG_TABLES.importance, rho_max=30_000))
    smallest = encode_layers(BIG_SYMBOLS[0], 255, BIG, gentle)
    assert len(smallest) == 4
    for count in (3, 2, 1):
        budget_bytes = file_bytes([len(layer) for layer in smallest[:count]])
        assert fit_budget(BIG_SYMBOLS[0], budget_bytes, BIG, gentle, 0, file_bytes) == (255, smallest[:count])


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
        lambda: fit_budget(symbols, 999, BIG, BIG_TABLES, 0, file_bytes),
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
    with pytest.raises(BitstreamError, match="0 layers, expected 1 to 4"):
        decode_layers([], 0, BIG, BIG_TABLES)
    with pytest.raises(BitstreamError, match="belong to no symbol"):
        decode_layers([layers[0] + b"12345678"], 0, BIG, BIG_TABLES)


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


@pytest.mark.parametrize(
    ("label", "parent"),
    [
        (5, 5),  # itself
        (5, 6),  # a later one: with the next case, a loop
        (6, 110),  # none of ours
        (5, -2),
        (95, 92),  # optional: the base layer does not have it
        (0, 0),
    ],
)
def test_hostile_parents_are_refused(label: int, parent: int) -> None:
    arrays = BIG_TABLES.to_arrays()
    for place in (0, 1):
        parents = arrays["coding.parents"].copy()
        parents[label, place] = parent
        with pytest.raises(ValueError, match="parents of"):
            CodingTables.from_arrays({**arrays, "coding.parents": parents}, BIG)


def test_parents_of_a_wrong_form_are_refused() -> None:
    arrays = BIG_TABLES.to_arrays()
    parents = arrays["coding.parents"]
    loop = parents.copy()
    loop[5, 0], loop[6, 0] = 6, 5
    for wrong in (parents[:-1], parents[:, :1], parents.astype(np.float32), parents.astype(np.int64), loop):
        with pytest.raises(ValueError, match="parents"):
            CodingTables.from_arrays({**arrays, "coding.parents": wrong}, BIG)
    del arrays["coding.parents"]
    with pytest.raises(ValueError, match="older than"):
        CodingTables.from_arrays(arrays, BIG)


def test_other_parents_ask_for_other_tables() -> None:
    arrays = BIG_TABLES.to_arrays()
    parents = arrays["coding.parents"].copy()
    parents[20] = -1  # fewer tables
    with pytest.raises(ValueError):
        CodingTables.from_arrays({**arrays, "coding.parents": parents}, BIG)
    alone = CodingTables.build(BIG, BIG_SYMBOLS, BIG_TABLES.importance, conditional=False).to_arrays()
    parents = alone["coding.parents"].copy()
    parents[20, 0] = 3  # more tables
    with pytest.raises(ValueError):
        CodingTables.from_arrays({**alone, "coding.parents": parents}, BIG)


@settings(max_examples=40, deadline=None)
@given(vocabularies(), st.integers(0, 10**6))
def test_parents_are_earlier_and_mandatory(vocabulary: Vocabulary, seed: int) -> None:
    for parents in (
        choose_parents(vocabulary, chained_symbols(vocabulary, 60, seed)[:, :, 0]),
        random_tables(vocabulary, seed).parents,
    ):
        assert parents.shape == (len(vocabulary.labels), 2) and parents.dtype == np.int16
        for index, row in enumerate(parents.tolist()):
            chosen = [p for p in row if p >= 0]
            assert len(set(chosen)) == len(chosen) and chosen == row[: len(chosen)]
            assert all(p < index and vocabulary.minimum_levels[p] == 1 for p in chosen)
            assert table_shape(vocabulary, index, 0, parents)[0] <= MAX_CONTEXTS


def chain_vocabulary() -> Vocabulary:
    labels = [Label(f"l{i}", GROUPS[i % 3], "scalar", (6, 4, 2, 2), int(i % 4 != 3)) for i in range(24)]
    return Vocabulary(tuple(labels), 1, GROUPS)


def test_conditional_tables_code_what_hangs_together_in_fewer_bits() -> None:
    vocabulary = chain_vocabulary()
    model = ImportanceModel.plain(vocabulary)
    seen, fresh = chained_symbols(vocabulary, 3000, 1), chained_symbols(vocabulary, 20, 2)
    with_parents = CodingTables.build(vocabulary, seen, model)
    alone = CodingTables.build(vocabulary, seen, model, conditional=False)
    assert np.all(alone.parents == -1) and np.all(with_parents.parents[1:, 0] >= 0)
    followed = [int(row[0]) == i - 1 for i, row in enumerate(with_parents.parents) if i % 4]
    assert np.mean(followed) > 0.9  # the one before is the one that tells
    sizes = []
    for tables in (with_parents, alone):
        files = [encode_layers(symbols, 0, vocabulary, tables) for symbols in fresh]
        for symbols, layers in zip(fresh, files, strict=True):
            assert np.array_equal(decode_layers(layers, 0, vocabulary, tables), symbols)
        sizes.append(np.mean([len(layers[0]) for layers in files]))
    assert sizes[0] < 0.75 * sizes[1]


def test_a_parent_that_tells_nothing_is_not_chosen() -> None:
    vocabulary = chain_vocabulary()
    rng = np.random.default_rng(0)
    coarse = np.stack([rng.integers(0, 6, 8000) for _ in vocabulary.labels], 1)
    assert np.all(choose_parents(vocabulary, coarse) == -1)


def test_tables_are_the_same_when_built_again() -> None:
    vocabulary = chain_vocabulary()
    model = ImportanceModel.plain(vocabulary)
    one, two = (CodingTables.build(vocabulary, chained_symbols(vocabulary, 400, 1), model) for _ in range(2))
    for name, array in one.to_arrays().items():
        assert np.array_equal(array, two.to_arrays()[name]) and array.dtype == two.to_arrays()[name].dtype


def test_a_budget_is_met_as_if_every_state_had_been_coded() -> None:
    """`fit_budget` leaves out states by their information: the answer is that of a search through all files."""
    vocabulary = chain_vocabulary()
    tables = CodingTables.build(
        vocabulary, chained_symbols(vocabulary, 400, 1), ImportanceModel.plain(vocabulary, np.arange(24) * 2000 + 100)
    )
    for symbols in chained_symbols(vocabulary, 3, 5):
        files = [encode_layers(symbols, state, vocabulary, tables) for state in range(256)]
        sizes = [file_bytes([len(layer) for layer in layers]) for layers in files]
        for budget_bytes in range(min(sizes), max(sizes) + 3, 2):
            first = next(state for state, size in enumerate(sizes) if size <= budget_bytes)
            assert fit_budget(symbols, budget_bytes, vocabulary, tables, 0, file_bytes) == (first, files[first])


def test_tables_from_no_samples_and_from_many() -> None:
    empty = CodingTables.build(BIG, np.zeros((0, *BIG.alphabets.shape), int), BIG_TABLES.importance)
    trained = CodingTables.build(BIG, random_symbols(BIG, 3000, 1), BIG_TABLES.importance)
    symbols = random_symbols(BIG, 1, 2)[0]
    for tables in (empty, trained):
        assert np.array_equal(decode_layers(encode_layers(symbols, 0, BIG, tables), 0, BIG, tables), symbols)
    assert symbol_bits(symbols, BIG, trained).sum() < 0.97 * symbol_bits(symbols, BIG, empty).sum()
