"""How a person moves: label indices of a few frames <-> one stream of symbols, predicted from frames that are known.

    indices [T, M] --first frame by level, the others as differences--> bytes, and the indices that a receiver rebuilds

Every label has 2^bits bins and levels of bits, coarse to fine. How many levels are sent follows from its importance and
the network state (eq. 14, 17), once for a packet. A packet's first frame stands for itself or is predicted from a
frame that both sides have; each further frame is predicted from the two before it, and copies of earlier frames, which
may have been lost, from the first frame. All is integer arithmetic on tables that ship with the weights.

A difference is counted in bins of the levels that are sent, from the bin of the prediction. Inside its bin a value is
rebuilt as near to the prediction as a margin allows, so that coarse bins do not make a smooth motion stumble.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from somacast.coding.importance import compression, kept_levels
from somacast.coding.label_coding import CodingTables, importance_of, layer_plan, level_members, symbol_table
from somacast.coding.vocabulary import Vocabulary
from somacast.entropy.range_coder import TOTAL, RangeDecoder, encode_symbols
from somacast.entropy.tables import cumulative_table
from somacast.errors import BitstreamError

REACH = 12  # differences of -12 .. 12 have symbols of their own; two more stand for what lies beyond
SCALES, FRACTIONS = 24, 8  # tables by expected size of the difference (half octaves) and by place of the prediction
SMALLEST_SCALE = -10  # scale 0 expects 2^(-10/2) bins
ACTIVITIES, STILL = 8, 4  # how lively a packet is, in half octaves; STILL is what training saw
VELOCITIES = (0, 4, 6, 8)  # eighths of the last step that the prediction goes on with
MAX_FRAMES = 64
_DEAD_ZONE = 4  # a value this part of a bin beyond the prediction's bin still counts as inside it
_BIT = [0, TOTAL // 2, TOTAL]
_MAX_ESCAPE_BITS = 17


@dataclass(frozen=True)
class MotionModel:
    """vocabulary: labels that move, every alphabet a power of two; tables: of a first frame that stands for itself;
    scales [M] uint8: the residual table that a label's prediction asks for at 30 frames a second, in finest bins;
    residual [SCALES, FRACTIONS, 2 REACH + 4] uint16: cumulative tables of differences."""

    vocabulary: Vocabulary
    tables: CodingTables
    scales: np.ndarray
    residual: np.ndarray

    @cached_property
    def bits(self) -> np.ndarray:
        """[M] int64: log2 of the number of bins."""
        return np.array([label.fine_bins.bit_length() - 1 for label in self.vocabulary.labels])

    @cached_property
    def level_bits(self) -> np.ndarray:
        """[M, levels + 1] int64: bits that are known with 0, 1, ... levels."""
        sizes = np.log2(np.maximum(self.vocabulary.alphabets, 1)).round().astype(np.int64)
        return np.concatenate([np.zeros((len(sizes), 1), np.int64), np.cumsum(sizes, 1)], 1)

    @cached_property
    def circular(self) -> np.ndarray:
        """[M] bool: labels whose last bin is next to the first."""
        return np.array([label.kind == "circular" for label in self.vocabulary.labels])

    @cached_property
    def rows(self) -> list[list[list[int]]]:
        """The residual tables as plain integers, which the coder takes fastest."""
        return self.residual.tolist()

    def check(self) -> None:
        """Raise ValueError unless all parts belong together."""
        count = len(self.vocabulary.labels)
        if self.scales.shape != (count,) or self.scales.dtype != np.uint8:
            raise ValueError(f"scales: expected [{count}] uint8, got {self.scales.shape} {self.scales.dtype}")
        if self.residual.shape != (SCALES, FRACTIONS, 2 * REACH + 4):
            raise ValueError(
                f"residual tables: expected {(SCALES, FRACTIONS, 2 * REACH + 4)}, got {self.residual.shape}"
            )
        if any(a & (a - 1) for label in self.vocabulary.labels for a in label.alphabets):
            raise ValueError("motion labels: expected alphabets that are powers of two")

    def symbols(self, index: np.ndarray) -> np.ndarray:
        """Finest indices [..., M] to symbols [..., M, levels] int64, -1 where a label has no such level."""
        known = self.level_bits[:, 1:]
        digit = (index[..., None] >> (self.bits[:, None] - known)) & (np.maximum(self.vocabulary.alphabets, 1) - 1)
        return np.where(self.vocabulary.alphabets > 0, digit, -1)

    def depths(self, base: np.ndarray, state: int) -> np.ndarray:
        """Levels [M] that are sent of every label around a frame with indices [M] at a network state 0 .. 255."""
        omega = importance_of(self.symbols(base), self.vocabulary, self.tables)
        return kept_levels(compression(omega, state, self.tables.importance), self.vocabulary)


def residual_tables() -> np.ndarray:
    """Laplace distributed differences for every scale and place of the prediction inside its bin, as `residual` of
    `MotionModel`. Made once, in floats; what ships is its result."""

    def below(x: float, scale: float) -> float:
        return 0.5 * math.exp(x / scale) if x < 0 else 1 - 0.5 * math.exp(-x / scale)

    out = np.zeros((SCALES, FRACTIONS, 2 * REACH + 4), np.uint16)
    for s in range(SCALES):
        scale = 2 ** ((s + SMALLEST_SCALE) / 2)
        for f in range(FRACTIONS):
            place = (f + 0.5) / FRACTIONS
            edges = [below(r - place, scale) for r in range(-REACH, REACH + 2)]
            mass = [edges[0], *np.diff(edges).tolist(), 1 - edges[-1]]
            out[s, f] = cumulative_table([1 + round(1e6 * m) for m in mass])
    return out


class SymbolWriter:
    """Collects symbols with their tables; `RangeDecoder` has the same `code`."""

    def __init__(self) -> None:
        self.symbols: list[int] = []
        self.tables: list[Sequence[int]] = []

    def code(self, table: Sequence[int], symbol: int) -> int:
        self.symbols.append(symbol)
        self.tables.append(table)
        return symbol

    def bits(self) -> float:
        """Information so far."""
        return sum(math.log2(TOTAL / (t[s + 1] - t[s])) for s, t in zip(self.symbols, self.tables, strict=True))

    def data(self) -> bytes:
        return encode_symbols(self.symbols, self.tables)


class SymbolReader:
    """Reads what `SymbolWriter` wrote; the symbols it is given are not looked at."""

    def __init__(self, data: bytes) -> None:
        self.stream = RangeDecoder(data)

    def code(self, table: Sequence[int], symbol: int) -> int:
        return self.stream.decode(table)


Coder = SymbolWriter | SymbolReader


@dataclass(frozen=True)
class Pose:
    """One frame as both sides know it: finest indices [M] int64, and which of them were ever told [M] bool."""

    index: np.ndarray
    known: np.ndarray


@dataclass(frozen=True)
class MotionPlan:
    """How a packet is coded. state: network state 0 .. 255; activity 0 .. 7, velocity: number of VELOCITIES; gaps:
    time from each frame to the one before it, the reference for the first, in frames of 1/30 s (at least 1 each);
    copy_gaps: from each copy to the first frame; copy_state: network state of the copies."""

    state: int
    activity: int
    velocity: int
    gaps: tuple[int, ...]
    copy_gaps: tuple[int, ...] = ()
    copy_state: int = 255


def code_motion(
    coder: Coder, plan: MotionPlan, model: MotionModel, reference: Pose | None, frames: np.ndarray, copies: np.ndarray
) -> tuple[list[Pose], list[Pose]]:
    """Write or read the frames [T, M] and copies [C, M] of a packet: the poses that a receiver has then.

    A reader takes T and C from the plan and looks at nothing else in `frames` and `copies`.
    """
    if reference is None:
        first, depth = _code_alone(coder, plan.state, model, frames[0])
    else:
        depth = model.depths(reference.index, plan.state)
        first = _code_difference(coder, plan, plan.gaps[0], model, depth, (reference, None, 1), frames[0])
    poses, before = [first], reference
    for number in range(1, len(plan.gaps)):
        history = (poses[-1], before, plan.gaps[number - 1])
        before = poses[-1]
        poses.append(_code_difference(coder, plan, plan.gaps[number], model, depth, history, frames[number]))
    coarse = model.depths(first.index, plan.copy_state) if plan.copy_gaps else depth
    coded_copies = [
        _code_difference(coder, plan, gap, model, np.minimum(coarse, depth), (first, None, 1), copies[number])
        for number, gap in enumerate(plan.copy_gaps)
    ]
    return poses, coded_copies


def _code_alone(coder: Coder, state: int, model: MotionModel, index: np.ndarray) -> tuple[Pose, np.ndarray]:
    """A frame that needs no other: level by level as in a still (`label_coding`); the pose and the levels sent [M]."""
    vocabulary, tables = model.vocabulary, model.tables
    count = len(vocabulary.labels)
    wanted: list[list[int]] = model.symbols(index).tolist()
    symbols = [[-1] * vocabulary.levels for _ in range(count)]
    depth = vocabulary.minimum_levels
    for place, layer in enumerate(layer_plan(vocabulary)):
        for level, optional in layer:
            coarse = np.array([row[0] for row in symbols])
            for label in level_members(level, optional, coarse, depth, vocabulary):
                table = symbol_table(symbols, label, level, vocabulary, tables)
                symbol = coder.code(table, wanted[label][level])
                if symbol >= vocabulary.labels[label].alphabets[level]:  # "absent": nothing that moves ever is
                    raise BitstreamError("damaged motion packet: a label that moves is said to be absent")
                symbols[label][level] = symbol
        if place == 0:
            base = np.array(symbols)
            omega = importance_of(base, vocabulary, tables)
            depth = kept_levels(compression(omega, state, tables.importance), vocabulary)
    found = np.array(symbols)
    known = (found >= 0).sum(1)
    shift = model.bits - model.level_bits[np.arange(count), known]
    digits = np.where(found >= 0, found, 0)
    rest = model.bits[:, None] - model.level_bits[:, 1:]
    start = (digits << np.maximum(rest, 0)).sum(1)
    return Pose(start + np.where(shift > 0, (1 << shift) >> 1, 0), known > 0), depth


def _code_difference(
    coder: Coder,
    plan: MotionPlan,
    gap: int,
    model: MotionModel,
    depth: np.ndarray,
    history: tuple[Pose, Pose | None, int],
    index: np.ndarray,
) -> Pose:
    """A frame as differences to its prediction. history: the pose before, the one before that or None, their gap."""
    last, before, last_gap = history
    size = 1 << model.bits
    guess = last.index.copy()
    if before is not None:
        step = last.index - before.index
        step = np.where(model.circular, (step + size // 2) % size - size // 2, step)
        guess += (step * (VELOCITIES[plan.velocity] * gap)) // (8 * last_gap)
    guess = np.where(model.circular, guess % size, np.clip(guess, 0, size - 1))
    shift = model.bits - model.level_bits[np.arange(len(depth)), depth]
    fraction = (((guess & ((1 << shift) - 1)) * 2 + 1) * (FRACTIONS // 2)) >> shift
    scale = model.scales.astype(np.int64) + (plan.activity - STILL) + 2 * (gap.bit_length() - 1) - 2 * shift
    scale = np.clip(scale, 0, SCALES - 1)
    bins, at = size >> shift, guess >> shift
    if isinstance(coder, SymbolWriter):
        change = _changes(model, shift, guess, at, bins, index)
    else:
        change = np.zeros_like(at)
    sent = np.flatnonzero(depth > 0)
    rows, scales, places, changes = model.rows, scale.tolist(), fraction.tolist(), change.tolist()
    for label in sent.tolist():
        changes[label] = _code_change(coder, rows[scales[label]][places[label]], changes[label])
    change = np.array(changes)
    where = at + change
    outside = (depth > 0) & ~model.circular & ((where < 0) | (where >= bins))
    if outside.any() or (np.abs(change) > bins).any():
        raise BitstreamError("damaged motion packet: a label leaves its range")
    low = where << shift
    margin = (1 << shift) >> 2
    rebuilt = np.clip(guess, low + margin, low + (1 << shift) - 1 - margin)
    rebuilt = np.where(model.circular, rebuilt % size, rebuilt)
    return Pose(np.where(depth > 0, rebuilt, last.index), last.known | (depth > 0))


def _changes(
    model: MotionModel, shift: np.ndarray, guess: np.ndarray, at: np.ndarray, bins: np.ndarray, index: np.ndarray
) -> np.ndarray:
    """Bins from the prediction's to the value's, [M]; a value just beyond the edge stays in the prediction's bin."""
    change = (index >> shift) - at
    change = np.where(model.circular, (change + bins // 2) % bins - bins // 2, change)
    low = at << shift
    over = index - (low + (1 << shift) - 1)
    under = low - index
    slack = (1 << shift) // _DEAD_ZONE
    near = ((change == 1) & (over <= slack)) | ((change == -1) & (under <= slack))
    return np.where(near & (shift > 0), 0, change)


def _code_change(coder: Coder, table: list[int], change: int) -> int:
    """One difference: a symbol, and for large ones the rest as an Elias gamma number."""
    limit = 2 * REACH + 2
    symbol = coder.code(table, min(max(change + REACH + 1, 0), limit))
    if 0 < symbol < limit:
        return symbol - REACH - 1
    sign = 1 if symbol else -1
    rest = abs(change) - REACH  # at least 1
    width = 0
    while coder.code(_BIT, int(rest >> (width + 1) > 0)):
        width += 1
        if width > _MAX_ESCAPE_BITS:
            raise BitstreamError("damaged motion packet: a label moves beyond any range")
    value = 1
    for place in range(width - 1, -1, -1):
        value = 2 * value + coder.code(_BIT, (rest >> place) & 1)
    return sign * (REACH + value)


def encode_motion(
    plan: MotionPlan, model: MotionModel, reference: Pose | None, frames: np.ndarray, copies: np.ndarray
) -> tuple[bytes, list[Pose], list[Pose]]:
    """The stream of a packet, the poses of its frames [T, M] and of its copies [C, M] as a receiver will have them."""
    writer = SymbolWriter()
    poses, coded_copies = code_motion(writer, plan, model, reference, frames, copies)
    return writer.data(), poses, coded_copies


def decode_motion(
    data: bytes, plan: MotionPlan, model: MotionModel, reference: Pose | None
) -> tuple[list[Pose], list[Pose]]:
    """Inverse of `encode_motion`, bounded by the plan whatever the bytes are. BitstreamError for what is damaged."""
    if not 1 <= len(plan.gaps) <= MAX_FRAMES or len(plan.copy_gaps) > MAX_FRAMES:
        raise BitstreamError(f"damaged motion packet: expected 1 to {MAX_FRAMES} frames, got {len(plan.gaps)}")
    reader, count = SymbolReader(data), len(model.vocabulary.labels)
    blank = np.zeros((MAX_FRAMES, count), np.int64)
    poses, coded_copies = code_motion(reader, plan, model, reference, blank, blank)
    reader.stream.finish()
    return poses, coded_copies
