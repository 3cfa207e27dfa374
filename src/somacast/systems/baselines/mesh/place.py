"""Where a mesh stands before the sender's camera, in six bytes in front of it: two directions and a distance.

pelvis: x over z and y over z in steps of 1/8192 (int16), logarithm of z in steps of 1/2000 (uint16; 0: not known)
"""

from __future__ import annotations

import math
import struct

import numpy as np

PLACE_BYTES = 6
_FORMAT = struct.Struct("<hhH")
_TANGENT_STEPS, _LOG_STEPS, _MIN_LOG = 8192, 2000, -3.0


def pack_place(pelvis_m: np.ndarray | None) -> bytes:
    """The place of a pelvis [3] in the sender's camera (OpenCV axes, metres)."""
    if pelvis_m is None or pelvis_m[2] <= 0:
        return _FORMAT.pack(0, 0, 0)
    x, y, z = (float(v) for v in pelvis_m)
    across, down = (round(np.clip(v / z * _TANGENT_STEPS, -32768, 32767)) for v in (x, y))
    far = round(np.clip((math.log(z) - _MIN_LOG) * _LOG_STEPS, 1, 65535))
    return _FORMAT.pack(across, down, far)


def unpack_place(data: bytes) -> np.ndarray | None:
    """Inverse of `pack_place`, float64 [3], of the first PLACE_BYTES bytes."""
    across, down, far = _FORMAT.unpack(data[:PLACE_BYTES])
    if far == 0:
        return None
    z = math.exp(far / _LOG_STEPS + _MIN_LOG)
    return np.array([across / _TANGENT_STEPS * z, down / _TANGENT_STEPS * z, z])
