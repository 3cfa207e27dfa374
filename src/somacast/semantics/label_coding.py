"""Symbols of one person <-> layers of bytes, with integer tables chosen by symbols that are already known.

    symbols [L, levels] -> encode_layers -> layers -> bitstream.container -> file
    layers -> decode_layers -> symbols, -1 where nothing was sent

Layer 0 holds level 0 of all mandatory labels. All that decides what the further layers hold (importance and
compression of every label) follows from it and the network state, so no side information is sent:
layer 1 holds level 0 of the optional labels that are kept (there is no such layer if the vocabulary has no optional
labels), then one layer per deeper level, for the labels that keep it. Each layer is one range-coded stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from somacast.bitstream.container import MAX_LAYERS, packed_bytes
from somacast.entropy.range_coder import TOTAL, RangeDecoder, encode_symbols
from somacast.entropy.tables import check_tables, context_tables
from somacast.semantics.importance import ImportanceModel, compression, importance, kept_levels
from somacast.semantics.vocabulary import Vocabulary
from somacast.types import BitstreamError, SomacastError


@dataclass(frozen=True)
class CodingTables:
    """cumulative[label][level]: uint16 [contexts, symbols + 1], total 4096; and the constants of the importance.

    Level 0 has one context; level k > 0 one for each level-0 symbol of the same label. Level 0 of an optional label
    has one symbol more than its alphabet, the last: "absent".
    """

    cumulative: tuple[tuple[np.ndarray, ...], ...]
    importance: ImportanceModel

    @staticmethod
    def build(vocabulary: Vocabulary, symbols: np.ndarray, model: ImportanceModel) -> CodingTables:
        """Count training symbols [N, L, levels] (-1 = not there; N may be 0) into tables."""
        model.check(vocabulary)
        wide = vocabulary.check_symbols(symbols)
        out = []
        for index, label in enumerate(vocabulary.labels):
            coarse = wide[:, index, 0]
            if label.minimum_levels and np.any(coarse < 0):
                raise ValueError(f"label {label.name!r} is mandatory but missing in {np.sum(coarse < 0)} samples")
            levels = []
            for level in range(len(label.alphabets)):
                contexts, size = table_shape(vocabulary, index, level)
                counts = np.zeros((contexts, size), np.int64)
                if level == 0:
                    counts[0] = np.bincount(np.where(coarse < 0, label.alphabets[0], coarse), minlength=size)
                else:
                    known = wide[:, index, level] >= 0
                    np.add.at(counts, (coarse[known], wide[known, index, level]), 1)
                levels.append(context_tables(counts))
            out.append(tuple(levels))
        return CodingTables(tuple(out), model)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Flat arrays for a safetensors file; `from_arrays` and the vocabulary give the tables back."""
        model = self.importance
        flat = [table.reshape(-1) for levels in self.cumulative for table in levels]
        return {
            "coding.cumulative": np.concatenate(flat).astype(np.uint16),
            "importance.tau": model.tau.astype(np.uint16),
            "importance.embeddings": np.concatenate(model.embeddings).astype(np.int16),
            "importance.constants": np.array([model.sigma, model.rho_min, model.rho_max], np.int32),
        }

    @staticmethod
    def from_arrays(arrays: dict[str, np.ndarray], vocabulary: Vocabulary) -> CodingTables:
        """Inverse of `to_arrays`. ValueError if the arrays do not belong to the vocabulary or a table is no table."""
        flat, position, out = arrays["coding.cumulative"], 0, []
        for index, label in enumerate(vocabulary.labels):
            levels = []
            for level in range(len(label.alphabets)):
                contexts, size = table_shape(vocabulary, index, level)
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
        return CodingTables(tuple(out), model)


def table_shape(vocabulary: Vocabulary, index: int, level: int) -> tuple[int, int]:
    """(contexts, symbols) of the tables of one label and level."""
    label = vocabulary.labels[index]
    if level == 0:
        return 1, label.alphabets[0] + (label.minimum_levels == 0)
    return label.alphabets[0], label.alphabets[level]


@dataclass(frozen=True)
class _Layer:
    level: int
    optional: bool  # level 0 only: optional labels instead of mandatory ones


def layer_plan(vocabulary: Vocabulary) -> list[_Layer]:
    """What each layer holds: the same for every person; SomacastError if that is more than a container takes."""
    plan = [_Layer(0, False)] + [_Layer(0, True)] * bool(np.any(vocabulary.minimum_levels == 0))
    plan += [_Layer(level, False) for level in range(1, vocabulary.levels)]
    if len(plan) > MAX_LAYERS:
        raise SomacastError(f"vocabulary: it needs {len(plan)} layers, a file holds {MAX_LAYERS}")
    return plan


def _members(layer: _Layer, coarse: np.ndarray, kept: np.ndarray, vocabulary: Vocabulary) -> np.ndarray:
    """Indices of the labels in a layer. For deeper levels `coarse` is complete; an absent label has no levels."""
    if layer.level:
        chosen = (kept > layer.level) & (coarse >= 0)
    elif layer.optional:
        chosen = (vocabulary.minimum_levels == 0) & (kept > 0)
    else:
        chosen = vocabulary.minimum_levels == 1
    return np.flatnonzero(chosen)


def _table(tables: CodingTables, index: int, level: int, coarse: int) -> np.ndarray:
    return tables.cumulative[index][level][coarse if level else 0]


def _encode_layer(
    layer: _Layer, members: np.ndarray, symbols: np.ndarray, vocabulary: Vocabulary, tables: CodingTables
) -> bytes:
    sent, used = [], []
    for index in members:
        symbol, coarse = int(symbols[index, layer.level]), int(symbols[index, 0])
        if symbol < 0 and layer.optional:
            symbol = vocabulary.labels[index].alphabets[0]  # "absent"
        elif symbol < 0:
            raise ValueError(f"label {vocabulary.labels[index].name!r} has no symbol at level {layer.level}")
        sent.append(symbol)
        used.append(_table(tables, index, layer.level, coarse))
    return encode_symbols(sent, used)


def encode_layers(symbols: np.ndarray, network_state: int, vocabulary: Vocabulary, tables: CodingTables) -> list[bytes]:
    """Code the symbols [L, levels] of one person for a network state 0 (send all) .. 255 into 1 .. 8 layers.

    Layers at the end that would hold no symbol are left out. Raises ValueError if a symbol to be sent is missing
    (-1), except for level 0 of optional labels, where -1 means absent.
    """
    wide = vocabulary.check_symbols(symbols)
    omega = _importance(wide, vocabulary, tables)
    return _encode(
        wide, kept_levels(compression(omega, network_state, tables.importance), vocabulary), vocabulary, tables
    )


def _importance(wide: np.ndarray, vocabulary: Vocabulary, tables: CodingTables) -> np.ndarray:
    missing = np.flatnonzero((vocabulary.minimum_levels == 1) & (wide[:, 0] < 0))
    if missing.size:
        raise ValueError(f"label {vocabulary.labels[missing[0]].name!r} is mandatory but has no symbol")
    return importance(wide[:, 0], vocabulary, tables.importance)


def _encode(
    wide: np.ndarray,
    kept: np.ndarray,
    vocabulary: Vocabulary,
    tables: CodingTables,
    known: dict[tuple[int, bytes], bytes] | None = None,
) -> list[bytes]:
    """Layers for given kept levels; `known` remembers streams by place and members when many states are tried."""
    known = {} if known is None else known
    layers, filled = [], 1
    for place, layer in enumerate(layer_plan(vocabulary)):
        members = _members(layer, wide[:, 0], kept, vocabulary)
        key = (place, members.tobytes())
        if key not in known:
            known[key] = _encode_layer(layer, members, wide, vocabulary, tables)
        layers.append(known[key])
        filled = place + 1 if members.size else filled
    return layers[:filled]


def decode_layers(
    layers: Sequence[bytes], network_state: int, vocabulary: Vocabulary, tables: CodingTables
) -> np.ndarray:
    """Symbols [L, levels] int16 of the layers at hand (at least layer 0), -1 where nothing was sent or is there.

    Bounded by the vocabulary whatever the bytes are. BitstreamError if there are more layers or bytes than symbols.
    """
    plan = layer_plan(vocabulary)
    if not 1 <= len(layers) <= len(plan):
        raise BitstreamError(f"the file has {len(layers)} layers, expected 1 to {len(plan)} for these weights")
    symbols = np.full(vocabulary.alphabets.shape, -1, np.int64)
    kept = vocabulary.minimum_levels
    for place, (layer, data) in enumerate(zip(plan, layers, strict=False)):
        stream = RangeDecoder(data)
        for index in _members(layer, symbols[:, 0], kept, vocabulary):
            symbol = stream.decode(_table(tables, index, layer.level, symbols[index, 0]))
            absent = layer.optional and symbol == vocabulary.labels[index].alphabets[0]
            symbols[index, layer.level] = -1 if absent else symbol
        stream.finish()
        if place == 0:
            omega = importance(symbols[:, 0], vocabulary, tables.importance)
            kept = kept_levels(compression(omega, network_state, tables.importance), vocabulary)
    return symbols.astype(np.int16)


def fit_budget(
    symbols: np.ndarray, budget_bytes: int, vocabulary: Vocabulary, tables: CodingTables, lowest_state: int = 0
) -> tuple[int, list[bytes]]:
    """The smallest network state from `lowest_state` on whose whole file fits the budget, and its layers.

    If none fits, refinement layers are left out from the end at state 255. More budget never gives fewer symbols.
    SomacastError naming the smallest possible size if not even the base layer fits.
    """
    wide = vocabulary.check_symbols(symbols)
    omega = _importance(wide, vocabulary, tables)
    known: dict[tuple[int, bytes], bytes] = {}
    layers: list[bytes] = []
    # every state is tried: sizes fall with the state only up to a byte or so of luck at the ends of the streams
    for state in range(lowest_state, 256):
        kept = kept_levels(compression(omega, state, tables.importance), vocabulary)
        layers = _encode(wide, kept, vocabulary, tables, known)
        if packed_bytes([len(layer) for layer in layers]) <= budget_bytes:
            return state, layers
    while len(layers) > 1:
        layers = layers[:-1]
        if packed_bytes([len(layer) for layer in layers]) <= budget_bytes:
            return 255, layers
    smallest_bytes = packed_bytes([len(layer) for layer in layers])
    raise SomacastError(
        f"a budget of {budget_bytes} bytes is too small: this person needs at least {smallest_bytes} bytes"
    )


def symbol_bits(symbols: np.ndarray, vocabulary: Vocabulary, tables: CodingTables) -> np.ndarray:
    """Information of every symbol that is there, in bits, [L, levels] float64 (0 elsewhere): for reports by group."""
    wide = vocabulary.check_symbols(symbols)
    bits = np.zeros(wide.shape)
    for index, level in np.argwhere(wide >= 0):
        table = _table(tables, index, level, wide[index, 0])
        symbol = wide[index, level]
        bits[index, level] = -np.log2((int(table[symbol + 1]) - int(table[symbol])) / TOTAL)
    return bits
