"""Symbols of one person <-> layers of bytes, with integer tables chosen by symbols that are already known.

    symbols [L, levels] -> encode_layers -> layers -> bitstream.container -> file
    layers -> decode_layers -> symbols, -1 where nothing was sent

Layer 0 holds level 0 of all mandatory labels. All that decides what the further layers hold (importance and
compression of every label) follows from it and the network state, so no side information is sent. Layer 1 holds level 0
of the optional labels that are kept and level 1 of all labels that keep it, layer 2 level 2, layer 3 all deeper
levels. Each layer is one range-coded stream; a layer that can hold nothing for a vocabulary does not exist.

Probabilities are conditional: level 0 of a label on level 0 of up to two mandatory labels before it (its parents,
chosen from data), a deeper level on the levels of the same label above it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from somacast.coding.importance import ImportanceModel, compression, importance, kept_levels
from somacast.coding.vocabulary import Vocabulary
from somacast.entropy.range_coder import TOTAL, RangeDecoder, encode_symbols
from somacast.entropy.tables import check_tables, context_tables
from somacast.errors import BitstreamError, SomacastError

MAX_PARENTS = 2
MAX_CONTEXTS = 128
_MIN_GAIN_BITS = 0.01  # a parent that saves less is not worth its tables
_PARENT_SAMPLES = 8000  # enough to tell which parents save bits
_DEEP_LAYER = 3  # the layer from which on all deeper levels share one stream


@dataclass(frozen=True)
class CodingTables:
    """cumulative[label][level]: uint16 [contexts, symbols + 1], total 4096; and the constants of the importance.

    parents [L, 2] int16: mandatory labels before this one whose level-0 symbols choose the context of its level 0, -1
    for none. The context of a deeper level is made of the symbols above it in the same label, or of its level-0 symbol
    alone where there would be more than 128 contexts. Level 0 of an optional label has one symbol more than its
    alphabet, the last: "absent".
    """

    cumulative: tuple[tuple[np.ndarray, ...], ...]
    importance: ImportanceModel
    parents: np.ndarray

    @staticmethod
    def build(
        vocabulary: Vocabulary, symbols: np.ndarray, model: ImportanceModel, conditional: bool = True
    ) -> CodingTables:
        """Count training symbols [N, L, levels] (-1 = not there; N may be 0) into tables.

        conditional False: no label looks at another one (ablation).
        """
        model.check(vocabulary)
        wide = vocabulary.check_symbols(symbols)
        missing = ((wide[:, :, 0] < 0) & (vocabulary.minimum_levels == 1)).sum(0)
        if missing.any():
            name = vocabulary.labels[int(missing.argmax())].name
            raise ValueError(f"label {name!r} is mandatory but missing in {missing.max()} samples")
        parents = np.full((len(vocabulary.labels), MAX_PARENTS), -1, np.int16)
        if conditional and len(wide):
            parents = choose_parents(vocabulary, wide[:, :, 0])
        out = []
        for index, label in enumerate(vocabulary.labels):
            levels = []
            for level in range(len(label.alphabets)):
                counts = np.zeros(table_shape(vocabulary, index, level, parents), np.int64)
                known = (wide[:, index, level] >= 0) | (level == 0)
                context = context_of(wide[known], index, level, vocabulary, parents)
                symbol = wide[known, index, level]
                np.add.at(counts, (context, np.where(symbol < 0, label.alphabets[0], symbol)), 1)
                levels.append(context_tables(counts))
            out.append(tuple(levels))
        return CodingTables(tuple(out), model, parents)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Flat arrays for a safetensors file; `from_arrays` and the vocabulary give the tables back."""
        model = self.importance
        flat = [table.reshape(-1) for levels in self.cumulative for table in levels]
        return {
            "coding.cumulative": np.concatenate(flat).astype(np.uint16),
            "coding.parents": self.parents.astype(np.int16),
            "importance.tau": model.tau.astype(np.uint16),
            "importance.embeddings": np.concatenate(model.embeddings).astype(np.int16),
            "importance.constants": np.array([model.sigma, model.rho_min, model.rho_max], np.int32),
        }

    @cached_property
    def parent_lists(self) -> list[list[int]]:
        """Per label the parents that there are, as plain integers."""
        return [[int(p) for p in row if p >= 0] for row in self.parents]

    @staticmethod
    def from_arrays(arrays: dict[str, np.ndarray], vocabulary: Vocabulary) -> CodingTables:
        """Inverse of `to_arrays`. ValueError if the arrays do not belong to the vocabulary or a table is no table."""
        if "coding.parents" not in arrays:
            raise ValueError("the coding tables name no parents: these weights are older than this version")
        flat, position, out, parents = arrays["coding.cumulative"], 0, [], arrays["coding.parents"]
        _check_parents(parents, vocabulary)
        for index, label in enumerate(vocabulary.labels):
            levels = []
            for level in range(len(label.alphabets)):
                contexts, size = table_shape(vocabulary, index, level, parents)
                part = flat[position : position + contexts * (size + 1)]
                if part.size != contexts * (size + 1):
                    raise ValueError(f"coding tables end early, at label {label.name!r}: made for another vocabulary?")
                position += part.size
                check_tables(part.reshape(contexts, size + 1))
                levels.append(part.reshape(contexts, size + 1))
            out.append(tuple(levels))
        rows = [label.alphabets[0] for label in vocabulary.labels]
        embeddings = arrays["importance.embeddings"]
        if position != flat.size or sum(rows) != len(embeddings):
            raise ValueError("coding tables have more or fewer entries than the vocabulary asks for")
        sigma, rho_min, rho_max = (int(c) for c in arrays["importance.constants"])
        tables = tuple(np.split(embeddings, np.cumsum(rows)[:-1]))
        model = ImportanceModel(arrays["importance.tau"], tables, sigma, rho_min, rho_max)
        model.check(vocabulary)
        return CodingTables(tuple(out), model, parents)


def table_shape(vocabulary: Vocabulary, index: int, level: int, parents: np.ndarray) -> tuple[int, int]:
    """(contexts, symbols) of the tables of one label and level."""
    label = vocabulary.labels[index]
    if level == 0:
        contexts = math.prod(vocabulary.labels[p].alphabets[0] for p in parents[index] if p >= 0)
        return contexts, label.alphabets[0] + (label.minimum_levels == 0)
    above = math.prod(label.alphabets[:level])
    return above if above <= MAX_CONTEXTS else label.alphabets[0], label.alphabets[level]


def context_of(symbols: np.ndarray, index: int, level: int, vocabulary: Vocabulary, parents: np.ndarray) -> np.ndarray:
    """Row of the table of one label and level for symbols [..., L, levels], integers [...]: what it looks at must be
    known."""
    context = np.zeros(symbols.shape[:-2], np.int64)
    if level == 0:
        for p in parents[index]:
            if p >= 0:
                context = context * vocabulary.labels[p].alphabets[0] + symbols[..., p, 0]
        return context
    alphabets = vocabulary.labels[index].alphabets
    deep = math.prod(alphabets[:level]) <= MAX_CONTEXTS
    for above in range(level if deep else 1):
        context = context * alphabets[above] + symbols[..., index, above]
    return context


def choose_parents(vocabulary: Vocabulary, coarse: np.ndarray) -> np.ndarray:
    """Parents [L, 2] of every label from level-0 symbols [N, L]: greedily those that save the most bits, corrected for
    what counts alone would seem to save (Miller and Madow)."""
    coarse = coarse[:_PARENT_SAMPLES]
    count, total = coarse.shape
    out = np.full((total, MAX_PARENTS), -1, np.int16)
    sizes = [label.alphabets[0] for label in vocabulary.labels]

    def entropy(context: np.ndarray, contexts: int, symbol: np.ndarray, size: int) -> float:
        table = np.bincount(context * size + symbol, minlength=contexts * size).reshape(contexts, size)
        rows = table.sum(1)
        share = table[table > 0] / count
        bits = -(share * np.log2(share)).sum() + (rows[rows > 0] / count * np.log2(rows[rows > 0] / count)).sum()
        return bits + ((table > 0).sum() - (rows > 0).sum()) / (2 * count * math.log(2))

    for index in range(total):
        symbol = np.where(coarse[:, index] < 0, sizes[index], coarse[:, index])
        size = sizes[index] + 1
        context, contexts = np.zeros(count, np.int64), 1
        best = entropy(context, contexts, symbol, size)
        for place in range(MAX_PARENTS):
            options = [
                (entropy(context * sizes[p] + coarse[:, p], contexts * sizes[p], symbol, size), p)
                for p in range(index)
                if vocabulary.minimum_levels[p] and p not in out[index] and contexts * sizes[p] <= MAX_CONTEXTS
            ]
            if not options or min(options)[0] > best - _MIN_GAIN_BITS:
                break
            best, chosen = min(options)
            out[index, place] = chosen
            context, contexts = context * sizes[chosen] + coarse[:, chosen], contexts * sizes[chosen]
    return out


def _check_parents(parents: np.ndarray, vocabulary: Vocabulary) -> None:
    """ValueError unless every parent is a mandatory label that comes before its child."""
    if parents.shape != (len(vocabulary.labels), MAX_PARENTS) or parents.dtype != np.int16:
        expected = f"[{len(vocabulary.labels)}, {MAX_PARENTS}] int16"
        raise ValueError(f"parents: expected {expected}, got {parents.shape} {parents.dtype}")
    for index, row in enumerate(parents):
        if any(not -1 <= p < index or (p >= 0 and not vocabulary.minimum_levels[p]) for p in row):
            raise ValueError(f"parents of {vocabulary.labels[index].name!r}: expected mandatory labels before it")


def layer_plan(vocabulary: Vocabulary) -> list[tuple[tuple[int, bool], ...]]:
    """What each layer holds, as (level, optional labels?) in coding order: the same for every person."""
    second: tuple[tuple[int, bool], ...] = ((0, True),) if np.any(vocabulary.minimum_levels == 0) else ()
    deeper = [(level, False) for level in range(1, vocabulary.levels)]
    plan = [((0, False),), (*second, *deeper[:1]), tuple(deeper[1 : _DEEP_LAYER - 1]), tuple(deeper[_DEEP_LAYER - 1 :])]
    return [layer for layer in plan if layer]


def level_members(
    level: int, optional: bool, coarse: np.ndarray, kept: np.ndarray, vocabulary: Vocabulary
) -> list[int]:
    """Indices of the labels in a part of a layer. For deeper levels `coarse` is complete; an absent label has none."""
    if level:
        chosen = (kept > level) & (coarse >= 0)
    elif optional:
        chosen = (vocabulary.minimum_levels == 0) & (kept > 0)
    else:
        chosen = vocabulary.minimum_levels == 1
    return np.flatnonzero(chosen).tolist()


def symbol_table(
    symbols: list[list[int]], index: int, level: int, vocabulary: Vocabulary, tables: CodingTables
) -> list[int]:
    """The table [A + 1] of one symbol of one person: `context_of` in plain integers, which is many times faster."""
    label, context = vocabulary.labels[index], 0
    if level == 0:
        for p in tables.parent_lists[index]:
            context = context * vocabulary.labels[p].alphabets[0] + symbols[p][0]
    else:
        deep = math.prod(label.alphabets[:level]) <= MAX_CONTEXTS
        for above in range(level if deep else 1):
            context = context * label.alphabets[above] + symbols[index][above]
    return tables.cumulative[index][level][context].tolist()


def encode_layers(
    symbols: np.ndarray, network_state: int, vocabulary: Vocabulary, tables: CodingTables,
    settled: np.ndarray | None = None,
) -> list[bytes]:  # fmt: skip
    """Code the symbols [L, levels] of one person for a network state 0 (send all) .. 255 into 1 .. 4 layers.

    settled [L] int64: levels that are sent of a label whatever the state, -1 where importance decides; all labels then
    share one layer. Layers at the end that would hold no symbol are left out. Raises ValueError if a symbol to be
    sent is missing (-1), except for level 0 of optional labels, where -1 means absent.
    """
    wide = vocabulary.check_symbols(symbols)
    kept = levels_sent(importance_of(wide, vocabulary, tables), network_state, vocabulary, tables, settled)
    _check_sent(wide, kept, vocabulary)
    return _encode(wide, kept, vocabulary, tables, _plan(vocabulary, settled))


def _plan(vocabulary: Vocabulary, settled: np.ndarray | None) -> list[tuple[tuple[int, bool], ...]]:
    """`layer_plan`; where some labels are settled all of it as one layer."""
    plan = layer_plan(vocabulary)
    return plan if settled is None else [tuple(part for layer in plan for part in layer)]


def levels_sent(
    omega: np.ndarray, network_state: int, vocabulary: Vocabulary, tables: CodingTables, settled: np.ndarray | None
) -> np.ndarray:
    """Levels [L] of each label that are sent (eq. 17)."""
    kept = kept_levels(compression(omega, network_state, tables.importance), vocabulary)
    return kept if settled is None else np.where(settled < 0, kept, settled)


def importance_of(wide: np.ndarray, vocabulary: Vocabulary, tables: CodingTables) -> np.ndarray:
    missing = np.flatnonzero((vocabulary.minimum_levels == 1) & (wide[:, 0] < 0))
    if missing.size:
        raise ValueError(f"label {vocabulary.labels[missing[0]].name!r} is mandatory but has no symbol")
    return importance(wide[:, 0], vocabulary, tables.importance)


def _check_sent(wide: np.ndarray, kept: np.ndarray, vocabulary: Vocabulary) -> None:
    """ValueError if a label that is there lacks a level that is to be sent."""
    levels = np.arange(vocabulary.levels)
    missing = np.argwhere((levels < kept[:, None]) & (wide[:, :1] >= 0) & (wide < 0))
    if missing.size:
        index, level = missing[0]
        raise ValueError(f"label {vocabulary.labels[index].name!r} has no symbol at level {level}")


def _encode(
    wide: np.ndarray, kept: np.ndarray, vocabulary: Vocabulary, tables: CodingTables,
    plan: list[tuple[tuple[int, bool], ...]],
) -> list[bytes]:  # fmt: skip
    """Layers for given kept levels, without those at the end that hold no symbol."""
    symbols: list[list[int]] = wide.tolist()
    layers, filled = [], 1
    for place, layer in enumerate(plan):
        sent, used = [], []
        for level, optional in layer:
            for index in level_members(level, optional, wide[:, 0], kept, vocabulary):
                symbol = symbols[index][level]
                sent.append(vocabulary.labels[index].alphabets[0] if symbol < 0 else symbol)  # the last: absent
                used.append(symbol_table(symbols, index, level, vocabulary, tables))
        layers.append(encode_symbols(sent, used))
        filled = place + 1 if sent else filled
    return layers[:filled]


def decode_layers(
    layers: Sequence[bytes], network_state: int, vocabulary: Vocabulary, tables: CodingTables,
    settled: np.ndarray | None = None,
) -> np.ndarray:  # fmt: skip
    """Symbols [L, levels] int16 of the layers at hand (at least layer 0), -1 where nothing was sent or is there;
    settled: as they were encoded.

    Bounded by the vocabulary whatever the bytes are. BitstreamError if there are more layers or bytes than symbols.
    """
    plan = _plan(vocabulary, settled)
    if not 1 <= len(layers) <= len(plan):
        raise BitstreamError(f"the file has {len(layers)} layers, expected 1 to {len(plan)} for these weights")
    symbols = [[-1] * vocabulary.levels for _ in vocabulary.labels]
    kept = vocabulary.minimum_levels
    for layer, data in zip(plan, layers, strict=False):
        stream = RangeDecoder(data)
        for level, optional in layer:
            coarse = np.array([row[0] for row in symbols])
            for index in level_members(level, optional, coarse, kept, vocabulary):
                symbol = stream.decode(symbol_table(symbols, index, level, vocabulary, tables))
                absent = optional and symbol == vocabulary.labels[index].alphabets[0]
                symbols[index][level] = -1 if absent else symbol
            if not level and not optional:  # all that the rest depends on is known
                omega = importance(np.array([row[0] for row in symbols]), vocabulary, tables.importance)
                kept = levels_sent(omega, network_state, vocabulary, tables, settled)
        stream.finish()
    return np.array(symbols, np.int16)


def fit_budget(
    symbols: np.ndarray, budget_bytes: int, vocabulary: Vocabulary, tables: CodingTables, lowest_state: int,
    file_bytes: Callable[[list[int]], int],
) -> tuple[int, list[bytes]]:  # fmt: skip
    """The smallest network state from `lowest_state` on whose whole file fits the budget, and its layers.

    file_bytes: size of the file that holds layers of the given lengths.

    If none fits, refinement layers are left out from the end at state 255. More budget never gives fewer symbols.
    SomacastError naming the smallest possible size if not even the base layer fits.
    """
    wide = vocabulary.check_symbols(symbols)
    omega = importance_of(wide, vocabulary, tables)
    states = range(lowest_state, 256)
    kept = np.stack([kept_levels(compression(omega, state, tables.importance), vocabulary) for state in states])
    _check_sent(wide, kept[0], vocabulary)
    least = _min_bytes(_bits(wide, vocabulary, tables), kept, vocabulary, file_bytes)
    layers: list[bytes] = []
    # sizes fall with the state only up to a byte or so of luck at the ends of the streams: no bisection
    for place, state in enumerate(states):
        if state < 255 and (least[place] > budget_bytes or (layers and np.array_equal(kept[place], kept[place - 1]))):
            continue
        layers = _encode(wide, kept[place], vocabulary, tables, layer_plan(vocabulary))
        if file_bytes([len(layer) for layer in layers]) <= budget_bytes:
            return state, layers
    while len(layers) > 1:
        layers = layers[:-1]
        if file_bytes([len(layer) for layer in layers]) <= budget_bytes:
            return 255, layers
    smallest_bytes = file_bytes([len(layer) for layer in layers])
    raise SomacastError(
        f"a budget of {budget_bytes} bytes is too small: this person needs at least {smallest_bytes} bytes"
    )


def _min_bytes(
    bits: np.ndarray, kept: np.ndarray, vocabulary: Vocabulary, file_bytes: Callable[[list[int]], int]
) -> list[int]:
    """Size below which a file hardly ever gets, for rows of kept levels [S, L]: every stream at its information [L,
    levels] in whole bytes. It spares coding what cannot fit, and never grows where less is kept."""
    sent = np.where(np.arange(vocabulary.levels) < kept[:, :, None], bits, 0.0)
    optional = vocabulary.minimum_levels == 0
    layers = np.zeros((len(layer_plan(vocabulary)), len(kept)))
    for total, layer in zip(layers, layer_plan(vocabulary), strict=True):
        for level, wanted in layer:
            total += sent[:, (optional == wanted) | (level > 0), level].sum(1)
    sizes = []
    for row in layers.T.tolist():
        filled = max((place + 1 for place, n in enumerate(row) if n), default=1)
        sizes.append(file_bytes([int(n // 8) for n in row[:filled]]))
    return sizes


def symbol_bits(symbols: np.ndarray, vocabulary: Vocabulary, tables: CodingTables) -> np.ndarray:
    """Information of every symbol that is there, in bits, [L, levels] float64 (0 elsewhere): for reports by group."""
    wide = vocabulary.check_symbols(symbols)
    return np.where(wide >= 0, _bits(wide, vocabulary, tables), 0.0)


def _bits(wide: np.ndarray, vocabulary: Vocabulary, tables: CodingTables) -> np.ndarray:
    """Information of every symbol [L, levels], with that of "absent" at level 0 of optional labels."""
    bits = np.zeros(wide.shape)
    symbols: list[list[int]] = wide.tolist()
    for index, label in enumerate(vocabulary.labels):
        for level, symbol in enumerate(symbols[index]):
            if symbol < 0 and (level or label.minimum_levels):
                break
            table = symbol_table(symbols, index, level, vocabulary, tables)
            at = label.alphabets[0] if symbol < 0 else symbol
            bits[index, level] = math.log2(TOTAL / (table[at + 1] - table[at]))
    return bits
