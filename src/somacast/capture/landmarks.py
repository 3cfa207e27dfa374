"""Sender: where a landmark network that has seen many photographs believes the body to be.

BlazePose GHUM Full (Bazarevsky et al. 2020, arXiv:2006.10204; Apache-2.0), a named addition to the paper: the
multi-task ViT learns from synthetic people only and takes these landmarks as a hint beside the picture. The same
network says which pixels are the person's.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from somacast.weights.sessions import open_session

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

WEIGHTS = "landmarks.onnx"
LANDMARK_COUNT = 33  # BlazePose also gives six auxiliary points, which are left out
LANDMARK_VALUES = 8  # x, y, z in crop sides, visibility, presence, world x, y, z in metres
INPUT_PX = 256
LANDMARK_EXTENT = 0.96  # of the side of a person's box, median of 512 synthetic people
_PAIRS = ((1, 4), (2, 5), (3, 6), (7, 8), (9, 10), *((k, k + 1) for k in range(11, LANDMARK_COUNT, 2)))
PRESENT = 0.5  # presence under which the network takes a landmark not to be in the picture
# Of somebody who stands, medians of synthetic people: shoulders to hips over ears to shoulders; hips to knees, knees to
# ankles and ankles to toes over shoulders to hips.
TRUNK_OF_NECK, THIGH, SHIN, FOOT = 2.4, 0.75, 0.7, 0.12
SHORT_TRUNK, SHORT_LEGS = 2.1, 0.8  # the same, of somebody squeezed into half of their height
MIRRORED = np.arange(LANDMARK_COUNT)
for _a, _b in _PAIRS:
    MIRRORED[_a], MIRRORED[_b] = _b, _a


class BodyHints(NamedTuple):
    """What the network says about crops: landmarks [N, 33, 8] and scores [N] (see `find_landmarks`), and masks
    [N, 256, 256] float32 in [0, 1]: how surely a pixel is the person's."""

    landmarks: np.ndarray
    scores: np.ndarray
    masks: np.ndarray


@lru_cache(maxsize=1)
def load_landmarks() -> InferenceSession:
    """The landmark network: image [B, 3, 256, 256] in [0, 1] -> landmarks [B, 195], world [B, 117], score [B, 1] and,
    if with_mask [1] is true, mask [B, 1, 256, 256] as logits."""
    return open_session(WEIGHTS)


def find_landmarks(images: np.ndarray, quarters: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Crops [N, 256, 256, 3] float32 in [0, 1] to landmarks [N, 33, 8] float32 and scores [N] in [0, 1]: how surely
    there is a person.

    x, y from the crop's centre in crop sides (y down), z in crop sides (from the hips, away from the camera);
    visibility and presence in [0, 1]; world place in metres from the middle of the hips: x right, y up, z to the
    camera. quarters: how often a crop is turned to the left by 90 degrees to have the head above, as the network
    knows people; what is found is that of the crop as it is given.
    """
    landmarks, scores = _landmarks_of(*_run(images, quarters, with_mask=False)[:3])
    return turn_landmarks(landmarks, -quarters), scores


def find_body(images: np.ndarray, quarters: int = 0) -> BodyHints:
    """As `find_landmarks`, with the masks; takes nearly twice as long."""
    *found, logits = _run(images, quarters, with_mask=True)
    landmarks, scores = _landmarks_of(*found)
    mask = 1 / (1 + np.exp(-np.clip(logits[:, 0], -20, 20)))
    return BodyHints(turn_landmarks(landmarks, -quarters), scores, np.rot90(mask, -quarters, (1, 2)))


def _run(images: np.ndarray, quarters: int, with_mask: bool) -> list[np.ndarray]:
    """Landmarks, world, score and mask as the network gives them."""
    if images.ndim != 4 or images.shape[1:] != (INPUT_PX, INPUT_PX, 3):
        raise ValueError(f"expected crops [N, {INPUT_PX}, {INPUT_PX}, 3], got {list(images.shape)}")
    turned = np.rot90(images, quarters, (1, 2))
    fed = np.ascontiguousarray(turned.transpose(0, 3, 1, 2), np.float32)
    found = load_landmarks().run(
        ["landmarks", "world", "score", "mask"], {"image": fed, "with_mask": np.array([with_mask])}
    )
    return [np.asarray(a) for a in found]


def _landmarks_of(points: np.ndarray, world: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Outputs of the network to what `find_landmarks` gives."""
    points = points.reshape(len(points), -1, 5)[:, :LANDMARK_COUNT]
    out = np.empty((len(points), LANDMARK_COUNT, LANDMARK_VALUES), np.float32)
    out[..., :3] = points[..., :3] / INPUT_PX
    out[..., :2] -= 0.5
    out[..., 3:5] = 1 / (1 + np.exp(-np.clip(points[..., 3:], -20, 20)))
    out[..., 5:] = world.reshape(len(points), -1, 3)[:, :LANDMARK_COUNT] * [1, -1, -1]
    return out, score[:, 0]


def turn_landmarks(landmarks: np.ndarray, quarters: int) -> np.ndarray:
    """Landmarks [..., 33, 8] of the picture turned to the left by 90 degrees, so many times."""
    out = landmarks.copy()
    for _ in range(quarters % 4):
        x, y, right, up = (out[..., k].copy() for k in (0, 1, 5, 6))
        out[..., 0], out[..., 1] = y, -x
        out[..., 5], out[..., 6] = -up, right
    return out


def mirror_landmarks(landmarks: np.ndarray) -> np.ndarray:
    """Landmarks [..., 33, 8] of the mirror image."""
    out = landmarks[..., MIRRORED, :].copy()
    out[..., [0, 5]] *= -1
    return out


def box_of_landmarks(landmarks: np.ndarray) -> tuple[np.ndarray, float]:
    """Centre [2] and side of the square around a person with landmarks [33, 8], in crop sides from the crop's centre.

    No landmark is on the top of the head: it is taken to be as far above the ears as three quarters of the way from
    the shoulders to them.
    """
    points = landmarks[:, :2]
    ears, shoulders = points[[7, 8]].mean(0), points[[11, 12]].mean(0)
    points = np.concatenate([points, (ears + 0.75 * (ears - shoulders))[None]])
    low, high = points.min(0), points.max(0)
    return (low + high) / 2, float((high - low).max()) / LANDMARK_EXTENT


def completed_landmarks(landmarks: np.ndarray) -> np.ndarray:
    """Landmarks [33, 8] of which x and y of hips and legs that are not in the picture are those of somebody who stands:
    where the network places them then, it makes somebody small of half a person."""
    out, present = landmarks.copy(), landmarks[:, 4] >= PRESENT
    points = out[:, :2]  # a view: filled in below
    ears, shoulders = points[[7, 8]].mean(0), points[[11, 12]].mean(0)
    spine = points[[23, 24]].mean(0) - shoulders
    length = float(np.linalg.norm(spine))
    if not length or not present[[11, 12]].any():  # nothing to go by
        return out
    if not present[[23, 24]].any():
        least = TRUNK_OF_NECK * float(np.linalg.norm(ears - shoulders))
        moved = spine * (max(least / length, 1.0) - 1)
        points[[23, 24]] += moved
        length = max(least, length)
    axis = int(np.abs(spine).argmax())  # of a picture that may lie on its side
    down = np.zeros(2)
    down[axis] = np.sign(spine[axis]) * length
    for side in (0, 1):
        hip, knee, ankle, heel, toe = (k + side for k in (23, 25, 27, 29, 31))
        if not present[knee]:
            points[knee] = points[hip] + THIGH * down
        if not (present[knee] and present[ankle]):
            points[ankle] = points[knee] + SHIN * down
            points[[heel, toe]] = points[ankle] + FOOT * down
    return out


def are_squeezed(landmarks: np.ndarray) -> bool:
    """Whether landmarks [33, 8] draw somebody with too short a trunk for the neck, or too short legs for the trunk, as
    the network does with half a person in a crop that would hold a whole one of that size."""
    points = landmarks[:, :2]
    ears, shoulders, hips, ankles = (points[[k, k + 1]].mean(0) for k in (7, 11, 23, 27))
    neck, trunk, legs = (
        float(np.linalg.norm(b - a)) for a, b in ((ears, shoulders), (shoulders, hips), (hips, ankles))
    )
    return trunk < SHORT_TRUNK * neck or legs < SHORT_LEGS * trunk


def legs_are_present(landmarks: np.ndarray) -> bool:
    """Whether the network takes the ankles of landmarks [33, 8] to be in the picture."""
    return bool((landmarks[[27, 28], 4] >= PRESENT).any())
