"""The person in a decoded picture: what the receiver makes of it, and what the sender tries beforehand."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from somacast.capture.cropping import SquareBox, square_crop
from somacast.geometry.projection import project_picture
from somacast.geometry.reconstruction import Reconstruction
from somacast.geometry.texturing.completion import completed
from somacast.geometry.unlit import without_light
from somacast.systems.baselines.default_system import DefaultSystem
from somacast.systems.baselines.picture.place import CropPlace
from somacast.types import Camera, Capture, Encoded

_EVEN = 0.04  # of colours in [0, 1]: what a codec leaves of one colour
_REACH = 0.03  # of the picture's side: as far a silhouette may lie outside of the person


@dataclass(frozen=True)
class Rebuilt:
    """human: the pelvis in the camera of `CropPlace.frame`; camera: that one in the view frame, None if nobody knows
    where the person stands; unlit [S, S, 3] float32: the picture without its light, as far as that is known."""

    human: Reconstruction
    camera: Camera | None
    unlit: np.ndarray


def rebuild(default: DefaultSystem, place: CropPlace, picture: np.ndarray, projected: bool) -> Rebuilt:
    """The person whom the default system sees in a decoded picture [S, S, 3] uint8; projected: with the picture, less
    its light, on the surface. SomacastError if nobody is seen."""
    frame = place.frame(picture)
    human, encoded = default.rebuild(Capture([frame]))
    if human.mesh is None or human.pelvis_m is None:
        return Rebuilt(human, None, frame.image)
    camera = place.camera_at(human.pelvis_m, len(picture))
    base = human.render(camera)
    inside = shown(frame.image, encoded)
    if inside is None:
        inside = base.mask
    unlit = without_light(frame.image, inside, base)
    if projected:
        human = replace(human, mesh=project_picture(human.mesh, unlit, camera, inside, complete=completed))
    return Rebuilt(human, camera, unlit)


def seen_silhouette(encoded: Encoded, height: int, width: int) -> np.ndarray | None:
    """Where an encoder saw the person in a picture of that size, [H, W] float32 in [0, 1]; None if it does not say."""
    box, silhouette = encoded.report.get("person_box_px"), encoded.maps.get("silhouette")
    if box is None or silhouette is None or not (silhouette > 0.5).any():
        return None
    square = SquareBox((box[0] + box[2]) / 2, (box[1] + box[3]) / 2, box[2] - box[0])
    return over_picture(silhouette, square, height, width)


def over_picture(silhouette: np.ndarray, square: SquareBox, height: int, width: int) -> np.ndarray:
    """The map [S, S] of a square in a picture brought to the pixels of the picture, [H, W] float32, empty around."""
    side, size = len(silhouette), max(height, width)
    middle = square.to_crop(np.array([size / 2, size / 2]), side) + 1
    plane = np.pad(np.asarray(silhouette, np.float32), 1)
    return square_crop(plane, (*middle, size * side / square.side), size)[:height, :width]


def shown(image: np.ndarray, encoded: Encoded) -> np.ndarray | None:
    """Where a decoded picture [S, S, 3] shows the person, [S, S] bool: the encoder's silhouette without what has the
    even colour of a flat background along its border. None if the encoder does not say."""
    seen = seen_silhouette(encoded, *image.shape[:2])
    if seen is None:
        return None
    inside = seen > 0.5
    rim = np.concatenate([image[:2].reshape(-1, 3), image[-2:].reshape(-1, 3), image[:, [0, 1, -2, -1]].reshape(-1, 3)])
    even = np.median(rim, 0)
    if np.abs(rim - even).mean() > _EVEN:
        return inside  # a background of many colours
    background = np.abs(image - even).max(2) < 1.5 * _EVEN
    beyond = ~inside
    for _ in range(round(_REACH * len(image))):
        beyond |= _neighbours(beyond) & background
    return ~beyond


def _neighbours(mask: np.ndarray) -> np.ndarray:
    out = mask.copy()
    out[1:] |= mask[:-1]
    out[:-1] |= mask[1:]
    out[:, 1:] |= mask[:, :-1]
    out[:, :-1] |= mask[:, 1:]
    return out
