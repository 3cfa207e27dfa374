"""The semantic vocabulary of AFLSC: what is said about a person, and between what is said and what it means.

    PersonState (rotations, shape, hands, camera, attributes, appearance codes) <-> values [L] <-> symbols

labels/schema.py lists the labels. How many bits each has follows from how much the person changes with it
(systems/aflsc/training/labels.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from somacast.body.clothing import ATTRIBUTES
from somacast.body.rotations import matrix_to_yaw_tilt, yaw_tilt_to_matrix
from somacast.body.skeleton import mirror_pose
from somacast.coding.vocabulary import Label, Vocabulary
from somacast.systems.aflsc.labels.appearance_basis import AppearanceBasis
from somacast.systems.aflsc.labels.pose_basis import PoseBasis
from somacast.systems.aflsc.labels.schema import (
    FITTED_LABELS,
    FLOOR_BITS,
    GROUPS,
    LABELS,
    MIRRORED,
    PART_SIZES,
    VOCABULARY_VERSION,
    LabelEntry,
    levels_of,
)
from somacast.systems.aflsc.labels.state import PersonState


class Part(NamedTuple):
    """Vocabulary indices [n] of a part's labels, in coding order, and which numbers [n] of the part they are."""

    labels: np.ndarray
    numbers: np.ndarray


@dataclass(frozen=True)
class LabelSpace:
    """The tables behind the labels.

    scalars: name -> (mean, std) for the labels that are no components of a basis; bits [len(FITTED_LABELS)]: of each
    of them; 0 for a pose component or a code that is not worth sending.
    """

    pose: PoseBasis
    appearance: AppearanceBasis
    scalars: Mapping[str, tuple[float, float]]
    bits: np.ndarray

    @cached_property
    def _sent(self) -> list[tuple[LabelEntry, Label]]:
        """The entries that have a label, with it."""
        bits = {entry.name: int(b) for entry, b in zip(FITTED_LABELS, self.bits, strict=True)}
        labels = [(entry, self._label(entry, bits.get(entry.name, entry.bits or 0))) for entry in LABELS]
        return [(entry, label) for entry, label in labels if label is not None]

    def _label(self, entry: LabelEntry, bits: int) -> Label | None:
        if entry.classes is not None:
            return Label(entry.name, entry.group, "class", (len(entry.classes),), classes=entry.classes)
        if entry.kind == "circular":
            return Label(entry.name, entry.group, "circular", levels_of(bits))
        if bits == 0:
            return None
        bases = {"pose": self.pose.std, "codes": self.appearance.std}
        of_basis = entry.part in bases
        mean, std = (0.0, bases[entry.part][entry.number]) if of_basis else self.scalars[entry.name]
        mandatory = int(bits > FLOOR_BITS and entry.bits is None)
        return Label(entry.name, entry.group, "scalar", levels_of(bits), mandatory, float(mean), float(std))

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary of these tables."""
        return Vocabulary(tuple(label for _, label in self._sent), VOCABULARY_VERSION, GROUPS)

    @cached_property
    def parts(self) -> dict[str, Part]:
        """Part of the person (see labels/schema.py) -> its labels."""
        of = {name: [i for i, (entry, _) in enumerate(self._sent) if entry.part == name] for name in PART_SIZES}
        return {name: Part(np.array(i, int), np.array([self._sent[k][0].number for k in i], int))
                for name, i in of.items()}  # fmt: skip

    def part_of(self, values: np.ndarray, name: str) -> np.ndarray:
        """A part [..., size] float64 of label values [..., L]; 0 where there is no label."""
        part = self.parts[name]
        out = np.zeros((*values.shape[:-1], PART_SIZES[name]))
        out[..., part.numbers] = values[..., part.labels]
        return out

    def values(self, truth: Mapping[str, np.ndarray]) -> np.ndarray:
        """Truth or estimate in batches to label values [N, L] float64, see `Vocabulary.quantise`.

        truth: rotations [N, 21, 3, 3], shape [N, >=12], attributes [N, 5] class numbers, codes [N, K], curl [N, 2],
        pelvis [N, 3].
        """
        rotations = truth["rotations"]
        root, pose = matrix_to_yaw_tilt(rotations[:, 0].astype(np.float64)), self.pose.components(rotations)
        numbers = {**truth, "root": root, "pose": pose}
        out = np.empty((len(rotations), len(self.vocabulary.labels)))
        for name, part in self.parts.items():
            out[:, part.labels] = np.asarray(numbers[name])[:, part.numbers]
        return out

    def state(self, values: np.ndarray) -> PersonState:
        """Label values [L] of one person back to plain units."""
        numbers = {name: self.part_of(np.asarray(values, np.float64), name) for name in self.parts}
        root = yaw_tilt_to_matrix(numbers["root"][None])[0]
        attributes = {
            name: classes[int(np.clip(round(x), 0, len(classes) - 1))]
            for (name, classes), x in zip(ATTRIBUTES.items(), numbers["attributes"], strict=True)
        }
        return PersonState(
            rotations=self.pose.rotations(root, numbers["pose"]),
            shape=numbers["shape"].astype(np.float32),
            curl=np.clip(numbers["curl"], 0, 1),
            pelvis=numbers["pelvis"],
            attributes=attributes,
            codes=numbers["codes"].astype(np.float32),
        )

    def mirrored(self, values: np.ndarray) -> np.ndarray:
        """Label values [L] of the person seen in a mirror. Appearance codes are kept as they are."""
        state = self.state(values)
        truth = {name: self.part_of(values, name)[None] for name in self.parts}
        truth |= {
            "rotations": mirror_pose(state.rotations)[None],
            "curl": state.curl[None, ::-1],
            "pelvis": state.pelvis[None] * [-1, 1, 1],
        }
        changed = np.concatenate([self.parts[name].labels for name in MIRRORED])
        out = values.copy()
        out[changed] = self.values(truth)[0][changed]
        return out

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Arrays for a safetensors file."""
        mean, std = np.array(list(self.scalars.values()), np.float32).T
        return {
            **self.pose.to_arrays(),
            **self.appearance.to_arrays(),
            "labels.scalar_names": np.frombuffer("\n".join(self.scalars).encode(), np.uint8).copy(),
            "labels.scalar_mean": mean.copy(),
            "labels.scalar_std": std.copy(),
            "labels.bits": self.bits.astype(np.uint8),
        }

    @staticmethod
    def from_arrays(a: dict[str, np.ndarray]) -> LabelSpace:
        """Inverse of `to_arrays`; KeyError for arrays that are missing."""
        names = bytes(a["labels.scalar_names"]).decode().split("\n")
        statistics = zip(a["labels.scalar_mean"].tolist(), a["labels.scalar_std"].tolist(), strict=True)
        scalars = dict(zip(names, statistics, strict=True))
        return LabelSpace(
            PoseBasis.from_arrays(a), AppearanceBasis.from_arrays(a), scalars, a["labels.bits"].astype(np.int64)
        )
