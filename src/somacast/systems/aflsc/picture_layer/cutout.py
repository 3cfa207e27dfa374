"""Sender: what of a picture is the person for sure. Nothing else of it is sent.

The mask alone errs at its edge and in gaps between limbs. There, where nothing of a room may leave it, the picture
itself decides: whether a pixel has the colours of what is around the person or of the person nearby. That costs some of
the person too, pale skin before a pale wall. Chosen on people of the training split (docs/log.md).
"""

from __future__ import annotations

import numpy as np

from somacast.geometry.projection import carried_on, grown

INSIDE, CERTAIN, OUTSIDE = 0.6, 0.97, 0.05  # of the mask: else nothing is believed; believed unless; background
OWN = 0.95  # of the mask: the person's own colours
# Of the way from the background's colours to the person's: nearer to the background than that is background, where the
# mask is in doubt and where it is certain.
DOUBTED, BELIEVED = 0.7, 0.4
ALIKE = 0.1  # distance of colours under which they tell nothing
EDGE_PX = 1  # pixels of the usual size along the edge, which are mixtures
_COARSE = 4  # pixels of the usual size in which colours around are looked at
_REACHES_PX = (1.0, 4.0, 16.0)  # how far they are carried on, in those


def surely_person(picture: np.ndarray, mask: np.ndarray, scale: float = 1.0, strict: bool = True) -> np.ndarray:
    """Pixels [H, W] bool of a picture [H, W, 3] in [0, 1] that show the person, by a mask [H, W] in [0, 1]; scale:
    pixels for one of the usual size; strict: by colours, too."""
    coarse, edge = round(_COARSE * scale), round(EDGE_PX * scale)
    if not strict:
        return ~grown(mask <= INSIDE, edge)
    pixels, weight = (plane[coarse // 2 :: coarse, coarse // 2 :: coarse] for plane in (picture, mask))
    if min(weight.shape) < 1:
        return ~grown(mask <= INSIDE, edge)
    around, around_known = carried_on(pixels, weight < OUTSIDE, 1.0, _REACHES_PX)
    own, own_known = carried_on(pixels, ~grown(weight <= OWN, 1), 1.0, _REACHES_PX)
    around, own, known = (_enlarged(plane, mask.shape, coarse) for plane in (around, own, around_known & own_known))
    way = np.linalg.norm(own - around, axis=-1)
    share = np.where(mask < CERTAIN, DOUBTED, BELIEVED)
    background = known & (way > ALIKE) & (np.linalg.norm(picture - around, axis=-1) < share * way)
    return ~grown((mask <= INSIDE) | background, edge)


def _enlarged(plane: np.ndarray, shape: tuple[int, ...], times: int) -> np.ndarray:
    rows, columns = (np.minimum(np.arange(n) // times, m - 1) for n, m in zip(shape, plane.shape, strict=False))
    return plane[rows[:, None], columns]
