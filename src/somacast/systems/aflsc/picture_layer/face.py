"""The face once more and finer, behind the picture: where it lies on the canvas follows from the body at both ends."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from somacast.body.skeleton import CANONICAL_JOINTS
from somacast.body.table import BODY_VERTICES, load_body
from somacast.geometry.silhouette import sample
from somacast.systems.aflsc.labels.state import PersonState
from somacast.systems.aflsc.picture_layer.canvas import Canvas, size_of
from somacast.systems.aflsc.picture_layer.coding import resized

MARGIN = 0.08  # around the face, of its sides
SOFT = 0.1  # of its sides, over which it is blended into the picture
FACING = -0.2  # cosine between where the head looks and the camera above which there is a face to be seen
FACED_CANVAS_PX = 768  # longer side up to which a canvas is made finer for a face
_HEAD = CANONICAL_JOINTS.index("head")


@lru_cache(maxsize=1)
def _face_vertices() -> np.ndarray:
    """Numbers of the skin vertices that move with the head and lie before its middle."""
    body = load_body()
    bone = np.take_along_axis(body.skin_index, body.skin_weight.argmax(1)[:, None], 1)[:BODY_VERTICES, 0]
    head = np.flatnonzero(body.bone_joint[bone] == _HEAD)
    forward = body.shape_mean[head, 2]
    return head[forward > (forward.min() + forward.max()) / 2]


def face_box(vertices: np.ndarray, canvas: Canvas) -> np.ndarray:
    """Corners [2, 2] of the face on a canvas, in places: upper left and lower right; of skin vertices."""
    places = canvas.places(vertices[_face_vertices()])
    low, high = places.min(0), places.max(0)
    margin = MARGIN * (high - low)
    return np.clip([low - margin, high + margin], 0, 1)


def shows_face(state: PersonState) -> bool:
    """Whether the head is turned to the camera."""
    return float(state.rotations[_HEAD][2, 2]) > FACING


def aspect_of(box: np.ndarray, canvas: Canvas) -> float:
    """Width of a box over its height, as they are seen."""
    width, height = box[1] - box[0]
    return float(width / height * canvas.aspect)


def with_face(picture: np.ndarray, face: np.ndarray, box: np.ndarray) -> np.ndarray:
    """A canvas' picture [H, W, 3] with the picture of a face [h, w, 3] in its box; finer if the face is."""
    height, width = picture.shape[:2]
    wanted = max(1.0, float(face.shape[0] / ((box[1, 1] - box[0, 1]) * height)))
    side = min(round(max(height, width) * wanted), max(FACED_CANVAS_PX, height, width))
    finer = side > max(height, width)
    out = np.clip(resized(picture, *size_of(width / height, side)), 0, 1) if finer else picture.copy()
    size = np.array(out.shape[1::-1])
    (left, top), (right, down) = np.rint(box * size).astype(int)
    share = (np.stack(np.meshgrid(np.arange(left, right), np.arange(top, down)), -1) + 0.5) / size
    inside = (share - box[0]) / (box[1] - box[0])
    weight = np.clip(np.minimum(inside, 1 - inside).min(-1) / SOFT, 0, 1)[..., None]
    found = sample(face, inside * face.shape[1::-1])
    out[top:down, left:right] += (weight * (found - out[top:down, left:right])).astype(np.float32)
    return out
