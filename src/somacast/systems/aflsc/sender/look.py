"""Sender: what the networks say about one crop of a picture, and how good that crop is."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from somacast.body.skeleton import CANONICAL_JOINTS, JOINT_COUNT, MIRROR
from somacast.capture.cropping import SquareBox, square_crop
from somacast.capture.landmarks import box_of_landmarks, completed_landmarks
from somacast.geometry.projection import grown
from somacast.systems.aflsc.labels.layout import LabelLayout, label_values
from somacast.systems.aflsc.labels.space import LabelSpace
from somacast.systems.aflsc.sender.unseen import Unseen

CROP_MARGIN = 1.22  # crop side over the person's box, the middle of what the network learnt from
# A crop is kept if a better one has a side within 15 % of its own and a centre within 6 % of its side.
KEPT_SIDE, KEPT_CENTRE = 0.15, 0.06
# A silhouette that covers so much of an edge of the crop goes on beyond it; so far is then looked, in crop sides.
CUT_SHARE, BEYOND = 0.04, 0.2
MIN_PERSON_PX = 12  # pixels of a silhouette under which it says nothing about where the person is
# Mean peak of the heat maps of these joints tells people from other things better than that of all.
TRUNK = [CANONICAL_JOINTS.index(n) for n in ("pelvis", "spine", "chest", "neck", "head", "l_upper_leg", "r_upper_leg")]
LOGISTIC_STD = 1.8  # standard deviation of a logistic distribution over its scale: pi / sqrt(3)
# Weight of the extractor's silhouette beside the landmark network's, which weighs its score: it decides only where
# that one is undecided or saw nobody. Chosen on people of the training split.
OWN_SILHOUETTE = 0.2
# The landmark network takes a wide skirt for a thing: where the extractor is sure, beyond the blur of edges (shares of
# the crop's side), of so large a share of the person, it is believed there and around.
SURE_OWN, EDGE_OFF, MISSED, MISSED_REACH = 0.8, 0.012, 0.025, 0.047
ANGLE_STD = 0.35  # radians, of label values that are angles


@dataclass
class Look:
    """What the networks say about one crop, NumPy: image [S, S, 3]; `out` as of MultiTaskViT, mirror image merged in;
    mask [M, M] float32 in [0, 1]: where the person is, finer than the image, 0 outside of the picture; landmarks
    [33, 8]; what of the person the picture does not show; label values [L] and their standard deviations [L]."""

    box: SquareBox
    image: np.ndarray
    mask: np.ndarray
    landmarks: np.ndarray
    unseen: Unseen
    out: dict[str, np.ndarray]
    values: np.ndarray
    value_std: np.ndarray

    @cached_property
    def silhouette(self) -> np.ndarray:
        """The mask at the size of the image, [S, S] float32."""
        return self.silhouette_at(len(self.image))

    def silhouette_at(self, size_px: int) -> np.ndarray:
        """The mask of another size, [size_px, size_px] float32 in [0, 1]."""
        return _resized(self.mask, size_px)

    @property
    def confidence(self) -> float:
        """How clearly the trunk of a person is seen: mean peak of its heat maps."""
        return float(self.out["confidence"][TRUNK].mean())


def closer_box(look: Look, least_side: float = 0.0) -> SquareBox | None:
    """A box that fits silhouette and joints better, or None if this one is good enough. Of somebody who is partly
    outside of the picture only the landmarks tell how far, and of legs what is usual. least_side: the smallest side
    that it may have, in pixels of the picture."""
    size = len(look.image)
    if look.unseen.outside.any():
        middle, share = box_of_landmarks(completed_landmarks(look.landmarks))
        return _box_unless_kept(look, (middle + 0.5) * size, share * size * CROP_MARGIN, least_side)
    joints = (look.out["joints"] + 0.5) * size
    rows, columns = np.nonzero(look.silhouette > 0.5)
    if len(rows) < MIN_PERSON_PX:
        return None
    low = np.minimum([np.percentile(columns, 1), np.percentile(rows, 1)], joints.min(0))
    high = np.maximum([np.percentile(columns, 99), np.percentile(rows, 99)], joints.max(0))
    beyond = edges_passed(look)
    low -= BEYOND * size * beyond[0]
    high += BEYOND * size * beyond[1]
    return _box_unless_kept(look, (high + low) / 2, float((high - low).max()) * CROP_MARGIN, least_side)


def edges_passed(look: Look) -> np.ndarray:
    """Beyond which edges of the crop the person goes on: [[left, top], [right, bottom]] bool."""
    inside = look.silhouette > 0.5
    edges = [[inside[:, 0], inside[0]], [inside[:, -1], inside[-1]]]
    return np.array([[edge.sum() > CUT_SHARE * len(inside) for edge in pair] for pair in edges])


def _box_unless_kept(look: Look, centre: np.ndarray, side: float, least_side: float) -> SquareBox | None:
    """The box with that centre [2] and side in pixels of the look's image, or None if the look's own is near it or that
    is too small."""
    size = len(look.image)
    if side * look.box.side / size < least_side:
        return None
    if abs(side / size - 1) < KEPT_SIDE and np.abs(centre - size / 2).max() < KEPT_CENTRE * size:
        return None
    place = look.box.to_picture(centre, size)
    return SquareBox(float(place[0]), float(place[1]), side * look.box.side / size)


def merge_masks(mask: np.ndarray, score: float, own: np.ndarray) -> np.ndarray:
    """Where the person of a crop is, [M, M] float32 in [0, 1]: the landmark network's mask [M, M] with its score, and
    a little of the extractor's silhouette `own` [S, S], logits; all of that where it is sure of a part that the mask
    lacks."""
    own = 1 / (1 + np.exp(-_resized(own, len(mask))))
    merged = ((score * mask + OWN_SILHOUETTE * own) / (score + OWN_SILHOUETTE)).astype(np.float32)
    there = merged > 0.5
    missed = (own > SURE_OWN) & ~grown(there, round(EDGE_OFF * len(mask)))
    if missed.sum() <= MISSED * there.sum():
        return merged
    return np.where(grown(missed, round(MISSED_REACH * len(mask))), np.maximum(merged, own), merged).astype(np.float32)


def _resized(square: np.ndarray, size_px: int) -> np.ndarray:
    size = len(square)
    return square if size == size_px else square_crop(square, SquareBox(size / 2, size / 2, size), size_px)


def coded_labels(space: LabelSpace, layout: LabelLayout, coded: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """arg max pi(z) (eq. 13) over the picture and, if it is there, its mirror image: outputs of SemanticCoder.infer to
    label values [L] and their standard deviations [L]."""
    vocabulary = space.vocabulary
    coded = coded | {"classes": np.repeat(coded["classes"].mean(0, keepdims=True), len(coded["mean"]), 0)}
    means = np.tile([label.mean for label in vocabulary.labels], (len(coded["mean"]), 1))
    plain, *mirrored = label_values(layout, vocabulary, coded, means)
    other = space.mirrored(mirrored[0]) if mirrored else plain
    values = (plain + other) / 2
    values[list(layout.angles)] = [
        np.arctan2(np.sin(plain[i]) + np.sin(other[i]), np.cos(plain[i]) + np.cos(other[i])) for i in layout.angles
    ]
    value_std = np.ones(len(values))
    std = np.array([vocabulary.labels[i].std for i in layout.scalars])
    value_std[list(layout.scalars)] = np.exp(coded["log_scale"].mean(0)) * LOGISTIC_STD * std
    value_std[list(layout.angles)] = ANGLE_STD
    return values, value_std


def merge_mirrored(out: dict[str, np.ndarray], shape_count: int) -> dict[str, np.ndarray]:
    """Outputs of MultiTaskViT for a crop, or for a crop and its mirror image, to one set without the batch axis.

    share [21, G, G] (heat maps as distributions), joints [21, 2], points [21, 3], confidence [21],
    camera [3] of the pose head, depth [S, S], silhouette [S, S] logits.
    """
    count = len(out["heat"])  # 1: there is no mirror image
    heat = out["heat"].reshape(count, JOINT_COUNT, -1)
    share = np.exp(heat - heat.max(-1, keepdims=True))
    share = (share / share.sum(-1, keepdims=True)).reshape(out["heat"].shape)
    share = share[0] if count == 1 else (share[0] + share[1][MIRROR][..., ::-1]) / 2
    cells = share.shape[-1]
    axis = (np.arange(cells) + 0.5) / cells - 0.5
    camera = out["pose"][:, 6 * JOINT_COUNT + shape_count + 2 :][:, :3].astype(np.float64)
    camera[1:, 0] *= -1
    points = [out["points"][0], *((p * [-1, 1, 1])[MIRROR] for p in out["points"][1:])]
    planes = {name: [out[name][0, 0], *(p[0][:, ::-1] for p in out[name][1:])] for name in ("depth", "silhouette")}
    return {
        "share": share,
        "joints": np.stack([(share.sum(1) * axis).sum(-1), (share.sum(2) * axis).sum(-1)], -1),
        "points": np.mean(points, 0),
        "confidence": share.max((1, 2)),
        "camera": camera.mean(0),
        **{name: np.mean(parts, 0) for name, parts in planes.items()},
    }
