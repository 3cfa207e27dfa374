"""The light in a picture of a person, told apart from their colours with the help of colours that are known roughly."""

from __future__ import annotations

import numpy as np

from somacast.geometry.rasteriser import Rendering

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_RIDGE = 0.005  # of all pixels: how firmly the gain is held at an even one
_ROUNDS = 4
_MIN_PIXELS = 50
_DARKEST, _BRIGHTEST = 0.35, 2.5  # gain beyond which a pixel is not corrected


def light_gain(image: np.ndarray, inside: np.ndarray, base: Rendering) -> np.ndarray:
    """By how much the light brightens each pixel of a picture [H, W, 3], [H, W] float32; 1 where nothing is known.

    inside [H, W] bool: where the picture shows the person; base: the same person rendered without light, whose colours
    are right in the mean. A smooth function of the surface's direction (second-order spherical harmonics: what a matte
    surface can show of any light, Ramamoorthi and Hanrahan 2001), fitted to luma against luma; pixels that it does not
    explain, where base and picture differ in what they show, count for little.
    """
    known = inside & base.mask
    gain = np.ones(image.shape[:2], np.float32)
    if np.count_nonzero(known) < _MIN_PIXELS:
        return gain
    x, y, z = base.normals[known].astype(np.float64).T
    basis = np.stack([np.ones_like(x), x, y, z, x * y, x * z, y * z, x * x - y * y, 3 * z * z - 1], 1)
    seen, own = image[known] @ _LUMA, base.rgb[known] @ _LUMA
    design, weight = basis * own[:, None], np.ones(len(seen))
    firm = _RIDGE * float((own**2).sum()) * np.diag([0.0] + [1.0] * 8)
    factors = np.zeros(9)
    for _ in range(_ROUNDS):
        turned = design.T * weight
        factors = np.linalg.solve(turned @ design + firm + 1e-9 * np.eye(9), turned @ seen)
        error = np.abs(design @ factors - seen)
        weight = 1 / (1 + (error / max(1.5 * float(np.median(error)), 0.01)) ** 2)
    gain[known] = basis @ factors
    return gain


def without_light(image: np.ndarray, inside: np.ndarray, base: Rendering) -> np.ndarray:
    """The picture [H, W, 3] as it would look without light, float32 in [0, 1]: divided by `sure_gain`, whose arguments
    these are."""
    return np.clip(image / sure_gain(image, inside, base)[..., None], 0, 1).astype(np.float32)


def sure_gain(image: np.ndarray, inside: np.ndarray, base: Rendering) -> np.ndarray:
    """`light_gain`, whose arguments these are, within bounds; where it is not known its mean."""
    gain = light_gain(image, inside, base)
    known = inside & base.mask
    if not known.any():
        return gain
    gain[~known] = gain[known].mean()
    return np.clip(gain, _DARKEST, _BRIGHTEST)
