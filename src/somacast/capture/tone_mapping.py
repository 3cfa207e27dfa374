"""Code values of wide gamut and high dynamic range (HLG, PQ) to sRGB."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from somacast.capture.frames import BT2020, HLG, P3, P3_DCI, PQ
from somacast.kernels import compiled

WHITE_NITS = 203.0  # diffuse white of HDR pictures (ITU-R BT.2408): 75 % of HLG, 58 % of PQ
HLG_WHITE = 0.75
HLG_PEAK_NITS = 1000.0
PQ_PEAK_NITS = 4000.0  # brighter is drawn as this
HLG_GAMMA = 1.2  # of the display that HLG is made for (BT.2100)
KNEE = 0.8  # from this share of diffuse white on highlights are compressed
# Linear light of each set of primaries to that of sRGB, all with the white point D65 (DCI's own white is passed over).
_TO_SRGB = {
    BT2020: ((1.660491, -0.587641, -0.072850), (-0.124550, 1.132900, -0.008349), (-0.018151, -0.100579, 1.118730)),
    P3: ((1.224940, -0.224940, 0.0), (-0.042057, 1.042057, 0.0), (-0.019638, -0.078636, 1.098274)),
}
_TO_SRGB[P3_DCI] = _TO_SRGB[P3]
_LUMINANCE = np.array([0.2627, 0.6780, 0.0593], np.float32)  # of BT.2020
_LEVELS = 4096  # of the table back to sRGB


def codes_to_srgb(codes: np.ndarray, transfer: int, primaries: int) -> np.ndarray:
    """Code values [H, W, 3] uint16 of a transfer and primaries of `frames.WIDE` (H.273) to sRGB uint8: to light, to
    what a display shows, to sRGB's primaries, highlights compressed, to code values."""
    matrix = np.array(_TO_SRGB[primaries], np.float32)
    gamma, peak_nits = {HLG: (HLG_GAMMA, HLG_PEAK_NITS), PQ: (1.0, PQ_PEAK_NITS)}.get(transfer, (1.0, WHITE_NITS))
    out = np.empty(codes.shape, np.uint8)
    _map(
        np.ascontiguousarray(codes), _light(transfer), matrix, np.float32(gamma - 1),
        np.float32(peak_nits / WHITE_NITS), _to_codes(), out,
    )  # fmt: skip
    return out


@lru_cache(maxsize=4)
def _light(transfer: int) -> np.ndarray:
    """Linear light of each code value, [65536] float32, with diffuse white at 1."""
    code = np.arange(65536) / 65535
    if transfer == PQ:
        m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
        root = code ** (1 / m2)
        nits = 10000 * (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)
        return (nits / WHITE_NITS).astype(np.float32)
    if transfer == HLG:
        return (_hlg_scene(code) / _hlg_scene(np.array(HLG_WHITE))).astype(np.float32)
    return np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4).astype(np.float32)


def _hlg_scene(code: np.ndarray) -> np.ndarray:
    """Scene light of HLG code values in [0, 1] (BT.2100)."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12)


@lru_cache(maxsize=1)
def _to_codes() -> np.ndarray:
    """sRGB code values of linear light in [0, 1], [_LEVELS + 1] uint8, by the root of light: dark steps are fine."""
    light = (np.arange(_LEVELS + 1) / _LEVELS) ** 2
    code = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.rint(255 * code).astype(np.uint8)


@compiled(nogil=True)
def _map(pixels, light, matrix, gamma, peak, codes, out):
    """See `codes_to_srgb`; light [65536] of code values, codes: of roots of light; gamma: beyond 1, of luminance."""
    for y in range(pixels.shape[0]):
        for x in range(pixels.shape[1]):
            r, g, b = light[pixels[y, x, 0]], light[pixels[y, x, 1]], light[pixels[y, x, 2]]
            if gamma > 0:
                luminance = _LUMINANCE[0] * r + _LUMINANCE[1] * g + _LUMINANCE[2] * b
                scale = max(luminance, np.float32(1e-6)) ** gamma
                r, g, b = r * scale, g * scale, b * scale
            one = matrix[0, 0] * r + matrix[0, 1] * g + matrix[0, 2] * b
            two = matrix[1, 0] * r + matrix[1, 1] * g + matrix[1, 2] * b
            three = matrix[2, 0] * r + matrix[2, 1] * g + matrix[2, 2] * b
            top = max(one, two, three)
            scale = np.float32(1)
            if peak > 1 and top > KNEE:  # a curve with slope 1 at the knee that reaches 1 at the peak; hues stay
                room, span = np.float32(1 - KNEE), np.float32(peak - KNEE)
                above = min(top, np.float32(peak)) - np.float32(KNEE)
                curved = above / (1 + above * (1 / room - 1 / span))
                scale = (np.float32(KNEE) + curved) / top
            for channel, value in enumerate((one, two, three)):
                root = np.sqrt(min(max(value * scale, np.float32(0)), np.float32(1)))
                out[y, x, channel] = codes[int(root * (codes.shape[0] - 1) + np.float32(0.5))]
