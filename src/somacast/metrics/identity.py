"""Is it the same person? Whole people by the first layers of the perceptual measure, faces by dlib's network.

Whole people: the right one among many, all rendered in the same pose and by the same camera. Which features tell them
apart was chosen on people of the split "train".

Faces: detector and landmarks of dlib, networks of the package face-recognition-models 0.3.0 (CC0), found without
importing it, as that needs a module that newer setuptools no longer bring.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from somacast.body.skeleton import CANONICAL_JOINTS
from somacast.errors import SomacastError
from somacast.extras import require
from somacast.metrics.perceptual import layers
from somacast.types import Camera

LAYERS = 2  # the first ones: colour, edges and pattern; the others see more of the shape, which all bodies share
GRID = 4  # cells a side
NO_FACE_DISTANCE = 1.0  # of a face and something without one: farther than strangers are
MIN_CONTRAST = 0.01  # standard deviation of sRGB in [0, 1], below which a box is taken to show no face
FACE_BOX = (0.30, 0.42, 0.70, 0.82)  # left, top, right, bottom in sides of the picture of `head_camera`
HEAD_EXTENT_M = 0.36
HEAD_SIZE_PX = 256
HEAD_MIDDLE_M = (0.0, 0.06, 0.0)  # of a head from its joint, at the top of the neck; in axes of the head
_HEAD = CANONICAL_JOINTS.index("head")
_MODELS = "face_recognition_models"
_LANDMARKS = "shape_predictor_5_face_landmarks.dat"
_NETWORK = "dlib_face_recognition_resnet_model_v1.dat"
_WHAT = "the identity of faces"


def embed(images: np.ndarray, threads: int = 2) -> np.ndarray:
    """What tells people apart in pictures [N, H, W, 3] float32 sRGB in [0, 1]: embeddings [N, 8192] float32.

    Mean and standard deviation of each channel of the first layers of ST-LPIPS in each cell of a grid. All pictures
    are of one size, person and background rendered the same way; cut them by one box around everybody.
    """
    rows = []
    for image in images:
        cells = [c for m in layers(image[None], threads)[:LAYERS] for c in _cells(m[0])]
        rows.append(np.concatenate([np.concatenate([c.mean(1), c.std(1)]) for c in cells]) / np.float32(GRID))
    return np.stack(rows) if rows else np.zeros((0, 0), np.float32)


def _cells(values: np.ndarray) -> list[np.ndarray]:
    """Channels [C, h, w] by the cells of the grid, each [C, pixels]."""
    rows = np.array_split(np.arange(values.shape[1]), GRID)
    columns = np.array_split(np.arange(values.shape[2]), GRID)
    return [values[:, r[0] : r[-1] + 1, c[0] : c[-1] + 1].reshape(len(values), -1) for r in rows for c in columns]


def distance(query: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """Euclidean distances [N] float64 of an embedding [D] to others [N, D]."""
    return np.linalg.norm(np.asarray(gallery, np.float64) - np.asarray(query, np.float64), axis=1)


def nearest_rank(query: np.ndarray, gallery: np.ndarray, right: int) -> int:
    """Place of gallery [N, D] number `right` in the order of distance to query [D]: 1 is the nearest, N the farthest.

    Who is as near as the right one stands before it, so that a query that says nothing is ranked last.
    """
    if not 0 <= right < len(gallery):
        raise ValueError(f"expected the number of one of {len(gallery)} people, got {right}")
    found = distance(query, gallery)
    return int(len(found) - np.count_nonzero(found > found[right]))


def head_camera(
    joints: np.ndarray, rotations: np.ndarray, size_px: int = HEAD_SIZE_PX, extent_m: float = HEAD_EXTENT_M
) -> Camera:
    """The parallel camera that looks at a face from the front, upright, however the head is turned.

    joints [21, 3] in metres and world rotations [21, 3, 3] of a pose; the picture is a square of extent_m.
    """
    turn = np.asarray(rotations[_HEAD], np.float64)
    middle = np.asarray(joints[_HEAD], np.float64) + turn @ np.array(HEAD_MIDDLE_M)
    rotation = np.diag([1.0, -1.0, -1.0]) @ turn.T
    translation = -rotation @ middle + [0, 0, 10 * extent_m]
    scale, half = size_px / extent_m, size_px / 2
    return Camera(rotation, translation, scale, scale, half, half, size_px, size_px, orthographic=True)


def face_box(size_px: int = HEAD_SIZE_PX) -> tuple[int, int, int, int]:
    """Left, top, right, bottom in pixels of the face in a picture of `head_camera`."""
    left, top, right, bottom = (round(share * size_px) for share in FACE_BOX)
    return left, top, right, bottom


class Face(NamedTuple):
    """embedding [128] float64; detected: whether the detector found the face, or it was taken to be in the box."""

    embedding: np.ndarray
    detected: bool


class FaceIdentity:
    """Embeddings of faces; dlib's networks, loaded once."""

    def __init__(self) -> None:
        """SomacastError if the packages of the extra `bench` are missing."""
        require("dlib", _WHAT)
        landmarks, network = model_file(_LANDMARKS), model_file(_NETWORK)
        import dlib

        self._dlib: Any = dlib  # compiled: its types are not known
        self._detector = self._dlib.get_frontal_face_detector()
        self._landmarks = self._dlib.shape_predictor(str(landmarks))
        self._network = self._dlib.face_recognition_model_v1(str(network))

    def embed(self, image: np.ndarray, box: tuple[int, int, int, int] | None = None) -> Face | None:
        """The face in a picture [H, W, 3] uint8, the largest if there are several; None if there is none.

        box: left, top, right, bottom in pixels where a face is known to be; if the detector finds none, what is there
        is taken for it, unless it is all of one colour.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(f"expected a picture [H, W, 3] uint8, got {image.shape} {image.dtype}")
        image = np.ascontiguousarray(image)
        found = self._detector(image, 1)  # in the picture twice as large: faces of 40 px and more
        if len(found):
            place = max(found, key=lambda r: r.area())
        elif box is not None and contrast(image, box) >= MIN_CONTRAST:
            place = self._dlib.rectangle(*box)
        else:
            return None
        shape = self._landmarks(image, place)
        return Face(np.array(self._network.compute_face_descriptor(image, shape)), bool(len(found)))


def contrast(image: np.ndarray, box: tuple[int, int, int, int]) -> float:
    """Standard deviation in a box of a picture [H, W, 3] uint8, of the channel that varies most, in [0, 0.5]."""
    left, top, right, bottom = box
    return float(image[top:bottom, left:right].reshape(-1, 3).std(0).max()) / 255


def face_distance(truth: Face, result: Face | None) -> float:
    """Euclidean distance of two faces, dlib's threshold for one person is 0.6; NO_FACE_DISTANCE if the result has no
    face, and never more."""
    if result is None:
        return NO_FACE_DISTANCE
    return min(float(np.linalg.norm(truth.embedding - result.embedding)), NO_FACE_DISTANCE)


def model_file(name: str) -> Path:
    """A file of face-recognition-models, which is not imported. SomacastError if it is not there."""
    require(_MODELS, _WHAT)
    spec = find_spec(_MODELS)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (Path(folder) / "models" / name).is_file():
            return Path(folder) / "models" / name
    raise SomacastError(f"expected {name} in the package {_MODELS}, found nothing: install version 0.3.0 of it")
