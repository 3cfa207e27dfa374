"""How well a frame shows who somebody is: what the looks are chosen by."""

from __future__ import annotations

import numpy as np

from somacast.body.skeleton import CANONICAL_JOINTS
from somacast.capture.cropping import SquareBox, square_crop
from somacast.systems.aflsc.labels.space import LabelSpace
from somacast.systems.aflsc.sender.encoder import SURE_CONFIDENCE
from somacast.systems.aflsc.sender.look import CROP_MARGIN, Look
from somacast.types import Frame

FACE_LANDMARKS = slice(0, 11)
FACE_SIDE, FACE_PX = 0.15, 64  # of the square around the face: crop sides; pixels that it is looked at in
FACE_SHARPNESS = 0.12  # of a face that needs no better picture: detail over contrast, see `sharpness`
PERSON_PX = 400  # height of a person from which on more pixels make no better look
BEHIND = 0.05  # what a look from behind is worth beside one that faces the camera
_FRONT = [CANONICAL_JOINTS.index(name) for name in ("head", "chest")]


def worth_of(space: LabelSpace, frame: Frame, look: Look, values: np.ndarray) -> float:
    """0 (nothing to be seen, or doubtful whether it is a person) to 1: sharp, facing the camera, unhidden, large;
    values [L] of all labels."""
    if look.confidence < SURE_CONFIDENCE:
        return 0.0
    rotations = space.state(values).rotations
    facing = float(np.mean([(1 + rotations[joint][2, 2]) / 2 for joint in _FRONT]))
    seen = 1 - float(look.unseen.joints.mean())
    size = min(look.box.side / CROP_MARGIN / PERSON_PX, 1.0)
    detail = min(sharpness(_face(frame, look)) / FACE_SHARPNESS, 1.0)
    return float(np.clip((BEHIND + (1 - BEHIND) * facing**2) * seen**2 * np.sqrt(size) * (0.2 + 0.8 * detail), 0, 1))


def _face(frame: Frame, look: Look) -> np.ndarray:
    """The square around the face, [FACE_PX, FACE_PX] grey."""
    middle = look.landmarks[FACE_LANDMARKS, :2].mean(0) + 0.5
    x, y = look.box.to_picture(middle, 1)
    box = SquareBox(float(x), float(y), FACE_SIDE * look.box.side)
    return square_crop(frame.image, box, FACE_PX).mean(-1)


def sharpness(grey: np.ndarray) -> float:
    """How much of the contrast of a picture [H, W] is between neighbouring pixels; 0 for an even one."""
    around = (grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]) / 4
    contrast = float(grey.std())
    return float((grey[1:-1, 1:-1] - around).std()) / contrast if contrast > 1e-3 else 0.0
