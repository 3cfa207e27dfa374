"""Decoded frames to upright sRGB: which colours and which way up they are meant to be seen.

Numbers of primaries, transfers and matrices are those of ITU-T H.273, which FFmpeg and HEIF files use. Films of plain
dynamic range are taken as sRGB whatever their transfer says, as every player does.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

UNKNOWN = 2
BT709, BT601, BT2020, P3_DCI, P3 = 1, 6, 9, 11, 12
PQ, HLG = 16, 18
WIDE = (BT2020, P3_DCI, P3)  # primaries that reach beyond sRGB
_SWSCALE_KNOWS = (1, 4, 5, 6, 7, 9)  # matrices; an RGB frame (0) needs none
HD_LINES, HD_COLUMNS = 576, 1280  # above this a film that does not say so is BT.709, as players have it
ODD_ANGLE_DEG = 1.0  # away from a quarter turn, from which on it is said


@dataclass(frozen=True)
class ColorSpace:
    """What a stream or picture says of its colours (H.273); UNKNOWN where it says nothing."""

    primaries: int = UNKNOWN
    transfer: int = UNKNOWN
    matrix: int = UNKNOWN

    @property
    def high_range(self) -> bool:
        """Whether highlights go far beyond white."""
        return self.transfer in (PQ, HLG)

    @property
    def gamut(self) -> int:
        """Primaries; HDR that does not name them is BT.2020."""
        return BT2020 if self.high_range and self.primaries not in WIDE else self.primaries

    @property
    def plain(self) -> bool:
        """Whether code values are sRGB as they are."""
        return not self.high_range and self.gamut not in WIDE

    def matrix_of(self, width: int, height: int) -> int:
        """The matrix of a frame of that size, guessed as players do where nothing is said."""
        if self.matrix in _SWSCALE_KNOWS:
            return self.matrix
        if self.gamut == BT2020:
            return BT2020
        large = height > HD_LINES or width >= HD_COLUMNS
        return BT709 if self.primaries in (BT709, P3, P3_DCI) or large else BT601


def to_srgb(frame: Any, size_px: tuple[int, int], space: ColorSpace) -> np.ndarray:
    """A frame of PyAV, resized to (width, height), to sRGB [H, W, 3] uint8."""
    width, height = size_px
    if frame.colorspace not in _SWSCALE_KNOWS and not frame.format.is_rgb:
        frame.colorspace = space.matrix_of(frame.width, frame.height)
    how = "AREA" if width < frame.width or height < frame.height else "BILINEAR"
    pixels = frame.reformat(
        width=width, height=height, format="rgb24" if space.plain else "rgb48le", interpolation=how
    ).to_ndarray()
    if space.plain:
        return pixels
    from somacast.capture.tone_mapping import codes_to_srgb  # loads what plain films do not need

    return codes_to_srgb(pixels, space.transfer, space.gamut)


class Upright(NamedTuple):
    """First flipped from left to right, if so, then turned to the left by 90 degrees, so many times."""

    quarters: int = 0
    mirrored: bool = False

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """A stored picture [H, W, ...] as it is meant to be seen, in one piece of memory."""
        flipped = image[:, ::-1] if self.mirrored else image
        return np.ascontiguousarray(np.rot90(flipped, self.quarters))

    def then(self, other: Upright) -> Upright:
        """This one first, then another."""
        turned = -self.quarters if other.mirrored else self.quarters
        return Upright((turned + other.quarters) % 4, self.mirrored != other.mirrored)

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of what is seen."""
        return (height, width) if self.quarters % 2 else (width, height)


def upright_of_matrix(values: tuple[int, ...]) -> tuple[Upright, float]:
    """What the nine numbers of a display matrix (ISO 14496-12: a b u c d v x y w; x to the right, y down) ask for, as
    the nearest of quarter turns and their mirror images, and how far that is from what they say, in degrees."""
    a, b, c, d = (float(values[k]) for k in (0, 1, 3, 4))
    mirrored = a * d - b * c < 0
    if mirrored:  # the flip comes first: what is left turns
        a, b = -a, -b
    # x goes to (a, b): clockwise on the screen, where y points down; c and d say the same of y
    angle = float(np.degrees(np.arctan2(b - c, a + d)))
    quarters = round(angle / 90)
    return Upright(-quarters % 4, mirrored), abs(angle - 90 * quarters)


def upright_of_frame(frame: Any) -> tuple[Upright, float]:
    """As `upright_of_matrix`, of a decoded frame of PyAV."""
    from av.sidedata.sidedata import Type

    found = frame.side_data.get(Type.DISPLAYMATRIX)
    return (Upright(), 0.0) if found is None else upright_of_matrix(struct.unpack("=9i", bytes(found)[:36]))
