"""How far apart two colours look: CIELAB and CIEDE2000, float64.

G. Sharma, W. Wu, E. N. Dalal: The CIEDE2000 color-difference formula: implementation notes, supplementary test data,
and mathematical observations. Color Research and Application 30(1), 2005. Weights kL = kC = kH = 1.
"""

from __future__ import annotations

import numpy as np

from somacast.geometry.rasteriser import srgb_to_linear

# Linear sRGB (IEC 61966-2-1) to CIE 1931 XYZ; white is its row sums (D65), so that grey has no chroma at all.
_XYZ_OF_RGB = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750],
                        [0.0193339, 0.1191920, 0.9503041]])  # fmt: skip
_SHARE_OF_WHITE = _XYZ_OF_RGB / _XYZ_OF_RGB.sum(1, keepdims=True)
_EPSILON, _KAPPA = 216 / 24389, 24389 / 27  # where the cube root gives way to a straight line
_CHROMA_7 = 25.0**7


def linear_to_lab(linear: np.ndarray) -> np.ndarray:
    """Linear light [..., 3] of sRGB's primaries, white 1, to CIELAB [..., 3] under D65: L in [0, 100], a, b."""
    share = np.asarray(linear, np.float64) @ _SHARE_OF_WHITE.T
    x, y, z = np.moveaxis(np.where(share > _EPSILON, np.cbrt(share), (_KAPPA * share + 16) / 116), -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)


def lab_to_linear(lab: np.ndarray) -> np.ndarray:
    """Inverse of `linear_to_lab`; colours outside sRGB give values outside [0, 1]."""
    light, a, b = np.moveaxis(np.asarray(lab, np.float64), -1, 0)
    y = (light + 16) / 116
    root = np.stack([y + a / 500, y, y - b / 200], -1)
    share = np.where(root**3 > _EPSILON, root**3, (116 * root - 16) / _KAPPA)
    return np.linalg.solve(_SHARE_OF_WHITE, share[..., None])[..., 0]


def srgb_to_lab(srgb: np.ndarray) -> np.ndarray:
    """sRGB [..., 3] in [0, 1] to CIELAB [..., 3] float64 under D65."""
    return linear_to_lab(srgb_to_linear(np.asarray(srgb, np.float64)))


def _hue_deg(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Hue in [0, 360) degrees; 0 for grey."""
    return np.degrees(np.arctan2(b, a)) % 360.0


def delta_e(lab1: np.ndarray, lab2: np.ndarray) -> np.ndarray:
    """CIEDE2000 of CIELAB colours [..., 3] that broadcast: [...] float64, 0 for equal ones, 1 about just visible."""
    (light1, a1, b1), (light2, a2, b2) = (np.moveaxis(np.asarray(lab, np.float64), -1, 0) for lab in (lab1, lab2))
    chroma7 = ((np.hypot(a1, b1) + np.hypot(a2, b2)) / 2) ** 7
    stretch = 1.5 - 0.5 * np.sqrt(chroma7 / (chroma7 + _CHROMA_7))  # 1 + G: greyish colours differ more along a
    a1, a2 = a1 * stretch, a2 * stretch
    chroma1, chroma2 = np.hypot(a1, b1), np.hypot(a2, b2)
    hue1, hue2 = _hue_deg(a1, b1), _hue_deg(a2, b2)
    both = chroma1 * chroma2 > 0  # else one is grey, whose hue says nothing

    step = hue2 - hue1
    step = np.where(both, step - 360 * (step > 180) + 360 * (step < -180), 0.0)
    total = hue1 + hue2
    far = both & (np.abs(hue1 - hue2) > 180)
    mean_hue = np.where(both, total / 2 + far * np.where(total < 360, 180.0, -180.0), total)

    light_step, chroma_step = light2 - light1, chroma2 - chroma1
    hue_step = 2 * np.sqrt(chroma1 * chroma2) * np.sin(np.radians(step / 2))
    mean_chroma, lightness = (chroma1 + chroma2) / 2, ((light1 + light2) / 2 - 50) ** 2

    def cosine(factor: float, offset_deg: float) -> np.ndarray:
        return np.cos(np.radians(factor * mean_hue + offset_deg))

    hue_weight = 1 - 0.17 * cosine(1, -30) + 0.24 * cosine(2, 0) + 0.32 * cosine(3, 6) - 0.20 * cosine(4, -63)
    l_part = light_step / (1 + 0.015 * lightness / np.sqrt(20 + lightness))
    c_part = chroma_step / (1 + 0.045 * mean_chroma)
    h_part = hue_step / (1 + 0.015 * mean_chroma * hue_weight)
    rotation = 2 * np.sqrt(mean_chroma**7 / (mean_chroma**7 + _CHROMA_7))
    rotation = rotation * -np.sin(np.radians(60 * np.exp(-(((mean_hue - 275) / 25) ** 2))))
    # Rounding alone may take the sum of equal colours below 0.
    return np.sqrt(np.maximum(l_part**2 + c_part**2 + h_part**2 + rotation * c_part * h_part, 0.0))
