"""How the sender's label vector is laid out, and labels out of what the coder says. NumPy only, for the product."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from somacast.coding.vocabulary import Vocabulary

DEPTH_OFFSET_M = 1.5  # the depth head ends in a ReLU (eq. 4): it predicts metres behind a plane in front of the person
CODED_GROUPS = ("root", "pose", "attributes", "shape", "hands")  # labels the network predicts from the picture


@dataclass(frozen=True)
class LabelLayout:
    """Which columns of the network's label vector belong to which label.

    The label vector holds standardised values of scalars, (cos, sin) of angles and one-hot classes.
    """

    scalars: tuple[int, ...]  # vocabulary indices
    bins: tuple[int, ...]
    spans: tuple[float, ...]
    angles: tuple[int, ...]
    classes: tuple[tuple[int, int], ...]  # (vocabulary index, count)

    @staticmethod
    def of(vocabulary: Vocabulary, groups: tuple[str, ...] = CODED_GROUPS) -> LabelLayout:
        pick = [(i, label) for i, label in enumerate(vocabulary.labels) if label.group in groups]
        scalars = [(i, label) for i, label in pick if label.kind == "scalar"]
        return LabelLayout(
            tuple(i for i, _ in scalars),
            tuple(label.fine_bins for _, label in scalars),
            tuple(label.span for _, label in scalars),
            tuple(i for i, label in pick if label.kind == "circular"),
            tuple((i, label.alphabets[0]) for i, label in pick if label.kind == "class"),
        )

    @property
    def size(self) -> int:
        """Length of the label vector."""
        return len(self.scalars) + 2 * len(self.angles) + sum(n for _, n in self.classes)

    def vector(self, vocabulary: Vocabulary, values: np.ndarray) -> np.ndarray:
        """Label values [N, L] to label vectors [N, size] float32."""
        mean = np.array([vocabulary.labels[i].mean for i in self.scalars])
        std = np.array([vocabulary.labels[i].std for i in self.scalars])
        span = np.array(self.spans)
        parts = [np.clip((values[:, self.scalars] - mean) / std, -span, span)]
        for i in self.angles:
            parts.append(np.stack([np.cos(values[:, i]), np.sin(values[:, i])], 1))
        for i, n in self.classes:
            parts.append(np.eye(n)[values[:, i].astype(int)])
        return np.concatenate(parts, 1).astype(np.float32)


def label_values(
    layout: LabelLayout, vocabulary: Vocabulary, out: dict[str, np.ndarray], values: np.ndarray
) -> np.ndarray:
    """Write arg max pi(z) into rows of label values [N, L]; `out` as of `SemanticCoder.decode`, in NumPy."""
    values = values.copy()
    for column, i in enumerate(layout.scalars):
        label = vocabulary.labels[i]
        values[:, i] = label.mean + label.std * np.clip(out["mean"][:, column], -label.span, label.span)
    for column, i in enumerate(layout.angles):
        values[:, i] = np.arctan2(out["angles"][:, column, 1], out["angles"][:, column, 0])
    at = 0
    for i, n in layout.classes:
        values[:, i] = out["classes"][:, at : at + n].argmax(1)
        at += n
    return values
