"""Vocabulary and importance: values, symbols, and the integer arithmetic of eq. 14 and 17."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from somacast.coding.importance import (
    ImportanceModel,
    compression,
    exp_table,
    importance,
    kept_levels,
    reference_compression,
)
from somacast.coding.vocabulary import Label, Vocabulary
from somacast.errors import SomacastError
from support.vocabulary_cases import BIG, BIG_TABLES, GROUPS, random_symbols, random_tables, vocabularies

# --- labels and vocabulary ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "vector"},
        {"alphabets": ()},
        {"alphabets": (1, 4)},
        {"alphabets": (4096,)},
        {"alphabets": (2,) * 8},
        {"alphabets": (300, 300)},
        {"minimum_levels": 2},
        {"std": 0.0},
        {"mean": math.nan},
        {"span": 9.0},
        {"classes": ("a", "b")},
        {"kind": "class"},
        {"kind": "class", "classes": ("a", "b", "c")},
    ],
)
def test_label_refuses_nonsense(change: dict) -> None:
    good = Label("knee", "pose", "scalar", (4, 4))
    with pytest.raises(SomacastError, match="knee"):
        replace(good, **change)


def test_vocabulary_refuses_doubled_names_and_strange_groups() -> None:
    label = Label("knee", "pose", "scalar", (4, 4))
    for labels, groups in [((label, label), GROUPS), ((label,), ("look",)), ((label,), ("pose", "pose")), ((), GROUPS)]:
        with pytest.raises(SomacastError):
            Vocabulary(labels, 1, groups)


@settings(max_examples=40, deadline=None)
@given(vocabularies())
def test_json_is_stable(vocabulary: Vocabulary) -> None:
    text = vocabulary.to_json()
    again = Vocabulary.from_json(text)
    assert again == vocabulary and again.to_json() == text and again.digest == vocabulary.digest
    assert replace(vocabulary, version=4).digest != vocabulary.digest


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"labels": [{}], "version": 1, "groups": []}', '{"labels": [3]}'])
def test_json_of_something_else_is_refused(text: str) -> None:
    with pytest.raises(SomacastError):
        Vocabulary.from_json(text)


# --- values <-> symbols ------------------------------------------------------------------------------------------


@settings(max_examples=80, deadline=None)
@given(vocabularies(), st.integers(0, 2**32 - 1))
def test_values_come_back_inside_their_bin_at_every_depth(vocabulary: Vocabulary, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 2, (20, len(vocabulary.labels)))
    for column, label in enumerate(vocabulary.labels):
        if label.kind == "class":
            values[:, column] = rng.integers(0, label.alphabets[0], 20)
    symbols = vocabulary.quantise(values)
    assert symbols.dtype == np.int16 and np.all((symbols >= 0) == (vocabulary.alphabets > 0))
    previous = np.full(values.shape, np.inf)
    for depth in range(1, vocabulary.levels + 1):
        partial = symbols.copy()
        partial[:, :, depth:] = -1
        rebuilt, width, present = vocabulary.dequantise(partial)
        assert rebuilt.dtype == np.float32 and width.dtype == np.float32 and present.all()
        for column, label in enumerate(vocabulary.labels):
            error = rebuilt[:, column] - values[:, column]
            half = width[:, column] + 1e-5
            if label.kind == "class":
                assert np.all(error == 0) and np.all(width[:, column] == 0)
            elif label.kind == "circular":
                assert np.all(np.abs(np.angle(np.exp(1j * error))) <= half)
            else:  # the reconstruction lies in the bin, so at most a whole bin away
                u = np.clip((values[:, column] - label.mean) / label.std, -label.span, label.span)
                assert np.all(np.abs((rebuilt[:, column] - label.mean) / label.std - u) <= 2 * half)
        assert np.all(width <= previous)
        previous = width
    # the reconstruction of all levels quantises to the same symbols
    assert np.array_equal(vocabulary.quantise(rebuilt.astype(float)), symbols)


def test_levels_are_digits_most_significant_first() -> None:
    label = Label("x", "pose", "scalar", (4, 3, 2), mean=10.0, std=2.0, span=3.0)
    vocabulary = Vocabulary((label,), 1, GROUPS)
    u = (np.arange(24) + 0.5) / 24 * 6 - 3
    symbols = vocabulary.quantise((10 + 2 * u)[:, None])[:, 0]
    assert np.array_equal(symbols[:, 0] * 6 + symbols[:, 1] * 2 + symbols[:, 2], np.arange(24))
    ends = vocabulary.quantise(np.array([[-1e9], [1e9], [4.0], [16.0]]))[:, 0]
    assert ends.tolist() == [[0, 0, 0], [3, 2, 1], [0, 0, 0], [3, 2, 1]]


def test_circle_wraps() -> None:
    vocabulary = Vocabulary((Label("yaw", "camera", "circular", (8, 4)),), 1, GROUPS)
    angles = np.linspace(-np.pi, np.pi, 33)[:-1] + 1e-3
    symbols = vocabulary.quantise(angles[:, None])
    assert np.array_equal(symbols[:, 0, 0] * 4 + symbols[:, 0, 1], np.arange(32))
    for turn in (-4 * np.pi, 2 * np.pi):
        assert np.array_equal(vocabulary.quantise(angles[:, None] + turn), symbols)
    edges = vocabulary.quantise(np.array([[np.pi], [-np.pi], [np.nextafter(-np.pi, -4)]]))[:, 0]
    assert edges[0].tolist() == edges[1].tolist() == [0, 0]
    assert edges[2].tolist() in ([0, 0], [7, 3])


def test_coarse_scalars_are_rebuilt_at_the_conditional_mean() -> None:
    vocabulary = Vocabulary((Label("x", "pose", "scalar", (4, 8), span=3.2),), 1, GROUPS)
    u = np.random.default_rng(0).standard_normal((400_000, 1))
    u = u[np.abs(u[:, 0]) < 3.2]
    coarse = vocabulary.quantise(u)
    coarse[:, :, 1:] = -1
    rebuilt, width, _ = vocabulary.dequantise(coarse)
    for symbol in range(4):
        chosen = coarse[:, 0, 0] == symbol
        assert rebuilt[chosen][0, 0] == pytest.approx(u[chosen].mean(), abs=0.01)
    assert np.all(width == np.float32(0.8))


def test_what_is_not_there_is_marked() -> None:
    labels = (
        Label("x", "pose", "scalar", (4, 4), mean=7.0),
        Label("yaw", "camera", "circular", (4,), mean=0.5),
        Label("top", "look", "class", (3,), mean=2.0, classes=("a", "b", "c")),
    )
    vocabulary = Vocabulary(labels, 1, GROUPS)
    symbols = vocabulary.quantise(np.array([[np.nan, np.nan, np.nan], [7.0, 0.5, 1.0]]))
    assert np.all(symbols[0] == -1) and np.all(symbols[1, :, 0] >= 0)
    values, width, present = vocabulary.dequantise(symbols)
    assert values[0].tolist() == [7.0, 0.5, 2.0] and present.tolist() == [[False] * 3, [True] * 3]
    assert width[0] == pytest.approx([3.2, np.pi, 1.0])


@pytest.mark.parametrize("values", [[[np.inf, 0.0]], [[0.0, 3.0]], [[0.0, 0.5]], [[0.0, -1.0]], [[0.0]]])
def test_quantise_refuses_values_without_a_symbol(values: list) -> None:
    labels = (Label("x", "pose", "scalar", (4,)), Label("top", "look", "class", (3,), classes=("a", "b", "c")))
    with pytest.raises(ValueError):
        Vocabulary(labels, 1, GROUPS).quantise(np.array(values))


@pytest.mark.parametrize("symbols", [[[4, 0]], [[-2, -1]], [[-1, 2]], [[0, 4]], [[1]]])
def test_dequantise_refuses_symbols_outside_the_vocabulary(symbols: list) -> None:
    with pytest.raises(ValueError, match="symbols"):
        Vocabulary((Label("x", "pose", "scalar", (4, 4)),), 1, GROUPS).dequantise(np.array([symbols]))


# --- importance --------------------------------------------------------------------------------------------------


@settings(max_examples=80, deadline=None)
@given(vocabularies(), st.integers(0, 10**6), st.integers(0, 255))
def test_importance_agrees_with_its_float_twin(vocabulary: Vocabulary, seed: int, state: int) -> None:
    rng = np.random.default_rng(seed)
    model = replace(
        random_tables(vocabulary, seed).importance,
        sigma=int(rng.integers(50, 3000)),
        rho_min=int(rng.integers(0, 20000)),
        rho_max=int(rng.integers(30000, 65537)),
    )
    coarse = random_symbols(vocabulary, 1, seed, absent=False)[0, :, 0]
    omega = importance(coarse, vocabulary, model)
    rho = compression(omega, state, model)
    omega_float, rho_float = reference_compression(coarse, state, vocabulary, model)
    # the table has 64 places a unit: half a place is 1/128 of relative error; and 1/65536 of tau for its own rounding
    assert np.all(np.abs(omega / 65536 - omega_float) <= omega_float / 120 + model.tau / 60000)
    assert np.all(np.abs(rho / 65536 - rho_float) <= 0.02)


def test_importance_by_hand() -> None:
    labels = tuple(Label(n, "pose", "scalar", (2, 2, 2), m) for n, m in (("a", 1), ("b", 1), ("c", 1), ("d", 0)))
    vocabulary = Vocabulary(labels, 1, GROUPS)
    table = np.array([[0], [100]], np.int16)
    model = ImportanceModel(np.array([1000, 500, 1000, 800], np.uint16), (table,) * 4, 100)
    assert vocabulary.contexts == ((1, 2), (2, 0), (0, 1), ())
    omega = importance(np.array([0, 0, 1, -1]), vocabulary, model)
    half, full = exp_table()[32], exp_table()[64]  # d = 50 and 100 of sigma 100
    assert omega.tolist() == [1000 * half, 500 * half, 1000 * full, 800 * 65536]
    assert compression(omega, 0, model).tolist() == [0, 0, 0, 0]
    rho = compression(omega, 255, model)
    assert rho.tolist() == [int(65536 * (1 - Fraction(int(w), int(omega.max())))) for w in omega]
    assert kept_levels(np.array([0, 16384, 16385, 0]), vocabulary).tolist() == [3, 3, 2, 3]
    assert kept_levels(np.array([49152, 49153, 65536, 65536]), vocabulary).tolist() == [2, 1, 1, 0]


def test_context_is_eight_next_mandatory_labels_of_the_group() -> None:
    contexts = BIG.contexts
    assert contexts[0] == tuple(range(1, 9)) and contexts[58] == (59, 0, 1, 2, 3, 4, 5, 6)
    assert contexts[90] == () and all(i < 90 for context in contexts for i in context)


@settings(max_examples=30, deadline=None)
@given(vocabularies(), st.integers(0, 10**6))
def test_harder_networks_never_get_more_levels(vocabulary: Vocabulary, seed: int) -> None:
    model = random_tables(vocabulary, seed).importance
    omega = importance(random_symbols(vocabulary, 1, seed)[0, :, 0], vocabulary, model)
    kept = np.stack([kept_levels(compression(omega, state, model), vocabulary) for state in range(256)])
    assert np.all(kept[0] == vocabulary.level_counts)
    assert np.all(np.diff(kept, axis=0) <= 0)
    assert np.all(kept >= vocabulary.minimum_levels)
    assert kept[255, omega.argmax()] == vocabulary.level_counts[omega.argmax()]  # the most important label is whole


def test_importance_model_checks_itself() -> None:
    model = BIG_TABLES.importance
    short = tuple(table[:-1] for table in model.embeddings)
    bad = [
        {"sigma": 0},
        {"rho_max": 70000},
        {"rho_min": 9, "rho_max": 8},
        {"tau": model.tau * 0},
        {"embeddings": short},
    ]
    bad += [{"tau": model.tau.astype(np.int32)}, {"tau": model.tau[:-1]}, {"embeddings": model.embeddings[:-1]}]
    for change in bad:
        with pytest.raises(ValueError):
            replace(model, **change).check(BIG)


def test_the_nearest_value_of_a_label_is_what_is_rebuilt_of_its_symbols():
    labels = (Label("a", "g", "scalar", (4, 2, 2), mean=0.3, std=0.7), Label("b", "g", "circular", (8, 2)))
    vocabulary = Vocabulary(labels, 1, ("g",))
    for value in np.linspace(-4.0, 4.0, 101):
        symbols = vocabulary.quantise(np.array([[value, value]]))
        for known in range(3):
            rebuilt = vocabulary.dequantise(np.where(np.arange(3) < known, symbols, -1))[0][0]
            assert np.allclose([label.nearest(float(value), known) for label in labels], rebuilt, atol=1e-6)
