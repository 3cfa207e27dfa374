"""What moves from frame to frame in AFLSC (root, pose, hands, camera): label values <-> indices of the motion coder.

The rest (attributes, shape, face, appearance) is who somebody is and goes into a .soma container now and then.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
from safetensors.numpy import load_file, save_file

from somacast.coding.label_coding import CodingTables
from somacast.coding.motion_coding import MotionModel, Pose
from somacast.coding.vocabulary import MAX_LEVELS, Label, Vocabulary
from somacast.systems.aflsc.labels.schema import levels_of
from somacast.systems.aflsc.labels.space import LabelSpace
from somacast.systems.aflsc.networks.loading import load_tables
from somacast.weights.manifest import digest, weights_path

WEIGHTS = "aflsc_motion"
MOVING_GROUPS = ("root", "pose", "hands", "camera")
EXTRA_BITS = 1  # finer than a still: what one picture cannot show, steps in a motion can
FLOOR_BITS = 5  # what a label may lose at the strongest compression; labels of no more bits are optional
MAX_BITS = MAX_LEVELS + 2


def motion_vocabulary(space: LabelSpace) -> Vocabulary:
    """The labels that move, one bit finer than in a still."""

    def finer(label: Label) -> Label:
        bits = min(label.fine_bins.bit_length() - 1 + EXTRA_BITS, MAX_BITS)
        mandatory = int(bits > FLOOR_BITS and label.group != "camera")
        return replace(label, alphabets=levels_of(bits), minimum_levels=mandatory)

    labels = tuple(finer(label) for label in space.vocabulary.labels if label.group in MOVING_GROUPS)
    return Vocabulary(labels, space.vocabulary.version, MOVING_GROUPS)


@dataclass(frozen=True)
class MotionSpace:
    """The motion coder's tables and how they belong to the label space."""

    space: LabelSpace
    model: MotionModel

    @cached_property
    def columns(self) -> np.ndarray:
        """Indices [M] in the full vocabulary of the labels that move."""
        return np.array([self.space.vocabulary.positions[label.name] for label in self.model.vocabulary.labels])

    @cached_property
    def resting(self) -> np.ndarray:
        """Indices in the full vocabulary of the labels that say who somebody is."""
        return np.setdiff1d(np.arange(len(self.space.vocabulary.labels)), self.columns)

    @cached_property
    def _units(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest value and width of a finest bin of every label [M]."""
        low, width = [], []
        for label in self.model.vocabulary.labels:
            half = np.pi if label.kind == "circular" else label.span * label.std
            centre = 0.0 if label.kind == "circular" else label.mean
            low.append(centre - half)
            width.append(2 * half / label.fine_bins)
        return np.array(low), np.array(width)

    def indices(self, values: np.ndarray) -> np.ndarray:
        """Values [..., M] of the labels that move to finest indices [..., M] int64; out of range: the nearest."""
        low, width = self._units
        size = 1 << self.model.bits
        index = np.floor((np.asarray(values, np.float64) - low) / width).astype(np.int64)
        return np.where(self.model.circular, index % size, np.clip(index, 0, size - 1))

    def values(self, pose: Pose) -> np.ndarray:
        """Values [M] of a pose as it was decoded; the label's mean where nothing was ever told."""
        low, width = self._units
        mean = np.array([label.mean for label in self.model.vocabulary.labels])
        return np.where(pose.known, low + (pose.index + 0.5) * width, mean)


def save_motion(path, model: MotionModel) -> None:
    """The motion coder's tables as a safetensors file."""
    save_file({**model.tables.to_arrays(), "motion.scales": model.scales, "motion.residual": model.residual}, str(path))


@lru_cache(maxsize=1)
def load_motion() -> MotionSpace:
    """The motion coder of the weights in the package."""
    space, arrays = load_tables().space, load_file(str(weights_path(WEIGHTS)))
    vocabulary = motion_vocabulary(space)
    tables = CodingTables.from_arrays(arrays, vocabulary)
    model = MotionModel(vocabulary, tables, arrays["motion.scales"], arrays["motion.residual"])
    model.check()
    return MotionSpace(space, model)


def motion_digest() -> bytes:
    """Names the weights that a stream of motion belongs to: three bytes, of the labels' and of the motion coder's."""
    return bytes(a ^ b for a, b in zip(load_tables().codec.digest, digest(WEIGHTS)[:3], strict=True))
