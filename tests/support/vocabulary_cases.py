"""Vocabularies, symbols and tables that the tests of labels share."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from somacast.coding.importance import ImportanceModel
from somacast.coding.label_coding import CodingTables
from somacast.coding.vocabulary import KINDS, Label, Vocabulary

GROUPS = ("camera", "pose", "look")


@st.composite
def vocabularies(draw: st.DrawFn) -> Vocabulary:
    labels = []
    for number in range(draw(st.integers(1, 14))):
        kind = draw(st.sampled_from(KINDS))
        levels = 1 if kind == "class" else draw(st.integers(1, 5))
        alphabets = tuple(draw(st.integers(2, 9)) for _ in range(levels))
        classes = tuple(f"c{i}" for i in range(alphabets[0])) if kind == "class" else None
        minimum = draw(st.integers(0, 1)) if number else 1
        group = draw(st.sampled_from(GROUPS))
        labels.append(Label(f"l{number}", group, kind, alphabets, minimum, 0.25, 1.5, classes))
    return Vocabulary(tuple(labels), 3, GROUPS)


def random_symbols(vocabulary: Vocabulary, count: int, seed: int, absent: bool = True) -> np.ndarray:
    """[count, L, levels]: uneven symbols of every level; optional labels absent in one of four."""
    rng = np.random.default_rng(seed)
    uneven = rng.random((count, *vocabulary.alphabets.shape)) ** 2
    symbols = np.where(vocabulary.alphabets > 0, (uneven * vocabulary.alphabets).astype(np.int64), -1)
    gone = (vocabulary.minimum_levels == 0) & (rng.random((count, len(vocabulary.labels))) < 0.25)
    return np.where(gone[..., None] & absent, -1, symbols)


def random_tables(vocabulary: Vocabulary, seed: int) -> CodingTables:
    rng = np.random.default_rng(seed)
    tau = rng.integers(1, 65536, len(vocabulary.labels))
    return CodingTables.build(
        vocabulary, random_symbols(vocabulary, 40, seed + 1), ImportanceModel.plain(vocabulary, tau)
    )


def big_vocabulary() -> Vocabulary:
    """Of about the size the product has: 110 labels, 20 of them optional, one to five levels."""
    labels = [Label(f"pose{i}", "pose", "scalar", (6, 4, 2, 2), std=1 + i) for i in range(60)]
    labels += [Label(f"turn{i}", "camera", "circular", (8, 4, 4, 2, 2)) for i in range(10)]
    labels += [Label(f"kind{i}", "look", "class", (3,), classes=("a", "b", "c")) for i in range(20)]
    labels += [Label(f"fine{i}", "look", "scalar", (5, 3), minimum_levels=0) for i in range(20)]
    return Vocabulary(tuple(labels), 1, GROUPS)


def chained_symbols(vocabulary: Vocabulary, count: int, seed: int) -> np.ndarray:
    """[count, L, levels] in which labels follow one another: three of four times a symbol is what the same level of the
    label before would suggest."""
    rng = np.random.default_rng(seed)
    symbols = random_symbols(vocabulary, count, seed, absent=False)
    alphabets = np.maximum(vocabulary.alphabets, 1)
    for index in range(1, len(vocabulary.labels)):
        received = symbols[:, index - 1] * alphabets[index] // alphabets[index - 1]
        follow = (rng.random(symbols[:, index].shape) < 0.75) & (received >= 0) & (symbols[:, index] >= 0)
        symbols[:, index] = np.where(follow, received, symbols[:, index])
    return symbols


BIG = big_vocabulary()
BIG_TABLES = random_tables(BIG, 5)
BIG_SYMBOLS = random_symbols(BIG, 8, 77)
