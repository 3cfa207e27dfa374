"""A person in plain units, between labels and mesh."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass
class PersonState:
    """Everything the stream says, in plain units. view frame, metres, radians.

    rotations [21, 3, 3], shape [<=12], curl [2] in [0, 1], pelvis [3]: x/z and y/z of the pelvis in the sender's camera
    (OpenCV axes, tangents) and log depth in metres, attributes {name: class}, codes [152] appearance and face.
    present: which labels were sent.
    """

    rotations: np.ndarray
    shape: np.ndarray
    curl: np.ndarray
    pelvis: np.ndarray
    attributes: dict[str, str]
    codes: np.ndarray
    present: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))
