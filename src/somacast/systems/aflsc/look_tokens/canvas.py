"""The canvas of the look tokens: that of the picture layer, widened to the one shape that the networks know."""

from __future__ import annotations

import numpy as np

from somacast.systems.aflsc.labels.state import PersonState
from somacast.systems.aflsc.picture_layer.canvas import Canvas
from somacast.systems.aflsc.receiver.assemble import pelvis_place

HEIGHT_PX, WIDTH_PX = 192, 128


def look_canvas(vertices: np.ndarray, state: PersonState) -> Canvas:
    """Around the body of a state, vertices [N, 3] in the view frame, with WIDTH_PX : HEIGHT_PX as its sides."""
    tight = Canvas.of(vertices, pelvis_place(state))
    width, height = tight.high - tight.low
    side = max(height, width * HEIGHT_PX / WIDTH_PX)
    half = np.array([side * WIDTH_PX / HEIGHT_PX, side]) / 2
    middle = (tight.low + tight.high) / 2
    return Canvas(middle - half, middle + half, tight.pelvis_m)
