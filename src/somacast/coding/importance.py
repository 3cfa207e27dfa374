"""Importance of labels (AFLSC eq. 14) and how strongly each is compressed (eq. 17), in integers.

Sender and receiver compute both from the symbols of the base layer, so nothing about them is sent. Floats would not
agree on every machine; `reference_compression` is the readable float twin for the tests.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, localcontext
from functools import cached_property, lru_cache

import numpy as np

from somacast.coding.vocabulary import Vocabulary

ONE_Q16 = 65536
EXP_STEPS = 64  # places of the table per unit of d / sigma
_EXP_PLACES = 1024


@lru_cache(maxsize=1)
def exp_table() -> np.ndarray:
    """exp(-i/64) in 1/65536, rounded to nearest, i = 0 .. 1023; [1024] int64. Exact decimals, so equal everywhere."""
    with localcontext() as context:
        context.prec = 40
        places = [(Decimal(-i) / EXP_STEPS).exp() * ONE_Q16 for i in range(_EXP_PLACES)]
        return np.array([int(place.to_integral_value()) for place in places], np.int64)


@dataclass(frozen=True)
class ImportanceModel:
    """Constants of eq. 14 and 17, fitted once; they ship with the weights.

    tau [L] uint16 >= 1: sensitivity of the reconstruction to each label; embeddings: per label [A0, D] int16, one
    vector per level-0 symbol, the same D for all; sigma >= 1 in the unit of the embeddings' L1 distance;
    rho_min, rho_max in 1/65536, 0 <= rho_min <= rho_max <= 65536 (1 = all but the minimum is dropped).
    """

    tau: np.ndarray
    embeddings: tuple[np.ndarray, ...]
    sigma: int
    rho_min: int = 0
    rho_max: int = ONE_Q16

    @cached_property
    def flat(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All embeddings in a row [sum A0, D] int64, where each label's begin [L], and how many each has [L]."""
        sizes = np.array([len(table) for table in self.embeddings], np.int64)
        return np.concatenate(self.embeddings).astype(np.int64), np.cumsum(sizes) - sizes, sizes

    def check(self, vocabulary: Vocabulary) -> None:
        """Raise ValueError unless the constants are in range and belong to this vocabulary."""
        count = len(vocabulary.labels)
        if self.tau.shape != (count,) or self.tau.dtype != np.uint16 or np.any(self.tau == 0):
            raise ValueError(f"tau: expected [{count}] uint16, all >= 1, got {self.tau.shape} {self.tau.dtype}")
        if len(self.embeddings) != count:
            raise ValueError(f"embeddings: expected {count} tables, got {len(self.embeddings)}")
        depth = self.embeddings[0].shape[-1]
        for label, table in zip(vocabulary.labels, self.embeddings, strict=True):
            if table.shape != (label.alphabets[0], depth) or table.dtype != np.int16 or not 1 <= depth <= 64:
                raise ValueError(f"embedding of {label.name!r}: expected [{label.alphabets[0]}, 1 to 64] int16")
        if not (1 <= self.sigma < 1 << 31 and 0 <= self.rho_min <= self.rho_max <= ONE_Q16):
            raise ValueError(f"importance: sigma {self.sigma}, rho {self.rho_min} .. {self.rho_max} out of range")

    @staticmethod
    def plain(vocabulary: Vocabulary, tau: np.ndarray | None = None, sigma: int = 256) -> ImportanceModel:
        """A model that needs no fitting: 256 a standard deviation for scalars, a circle of radius 256 for angles,
        512 between any two classes (at most four different ones, further ones repeat); tau = 256 unless given [L]."""
        tables = []
        for label in vocabulary.labels:
            u = np.arange(label.alphabets[0]) + 0.5
            table = np.zeros((len(u), 4))
            if label.kind == "scalar":
                table[:, 0] = 256 * label.span * (2 * u / len(u) - 1)
            elif label.kind == "circular":
                table[:, 0], table[:, 1] = (256 * f(2 * np.pi * u / len(u) - np.pi) for f in (np.cos, np.sin))
            else:
                table[np.arange(len(u)), np.arange(len(u)) % 4] = 256
            tables.append(np.rint(table).astype(np.int16))
        chosen = np.full(len(vocabulary.labels), 256) if tau is None else np.asarray(tau)
        return ImportanceModel(chosen.astype(np.uint16), tuple(tables), sigma)


def importance(coarse: np.ndarray, vocabulary: Vocabulary, model: ImportanceModel) -> np.ndarray:
    """Eq. 14: omega = tau * exp(-d / sigma), [L] int64 in 1/65536, from the level-0 symbols `coarse` [L].

    d is the mean L1 distance between the embedding of a label's symbol and those of its context, 0 without context.
    Symbols of optional labels are not looked at.
    """
    own, other, begins, counts = vocabulary.context_pairs
    flat, starts, sizes = model.flat
    place = np.zeros(len(vocabulary.labels), np.int64)
    if len(own):
        vectors = flat[starts + np.asarray(coarse, np.int64) % sizes]
        distances = np.add.reduceat(np.abs(vectors[other] - vectors[own]).sum(1), begins)
        unit = counts * model.sigma
        place[own[begins]] = np.minimum((EXP_STEPS * distances + unit // 2) // unit, _EXP_PLACES - 1)
    return model.tau.astype(np.int64) * exp_table()[place]


def compression(omega: np.ndarray, network_state: int, model: ImportanceModel) -> np.ndarray:
    """Eq. 17: rho = rho_min + (rho_max - rho_min) * (1 - omega/max) * f, [L] int64 in 1/65536, f = state/255."""
    if not 0 <= network_state <= 255:
        raise ValueError(f"network state: expected 0 to 255, got {network_state}")
    top = max(int(omega.max()), 1)
    return model.rho_min + (model.rho_max - model.rho_min) * (top - omega) * network_state // (top * 255)


def kept_levels(rho: np.ndarray, vocabulary: Vocabulary) -> np.ndarray:
    """Levels that are sent of each label, [L] int64: minimum + round((1 - rho) * (levels - minimum))."""
    minimum = vocabulary.minimum_levels
    return minimum + (((ONE_Q16 - rho) * (vocabulary.level_counts - minimum) + ONE_Q16 // 2) >> 16)


def reference_compression(
    coarse: np.ndarray, network_state: int, vocabulary: Vocabulary, model: ImportanceModel
) -> tuple[np.ndarray, np.ndarray]:
    """Float twin of `importance` and `compression`, straight from the equations: (omega [L], rho [L]) float64."""
    omega = model.tau.astype(np.float64)
    for index, context in enumerate(vocabulary.contexts):
        here = model.embeddings[index][coarse[index]].astype(np.float64)
        distances = [np.abs(model.embeddings[i][coarse[i]] - here).sum() for i in context]
        omega[index] *= np.exp(-np.mean(distances) / model.sigma) if distances else 1.0
    rho_min, rho_max = model.rho_min / ONE_Q16, model.rho_max / ONE_Q16
    return omega, rho_min + (rho_max - rho_min) * (1 - omega / omega.max()) * network_state / 255
