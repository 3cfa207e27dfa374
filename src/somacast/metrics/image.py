"""How far one picture is from another: MSE, PSNR and SSIM, inside a silhouette, a box or everywhere (eq. 29, 30), and
normals where both show the person."""

from __future__ import annotations

import numpy as np

from somacast.geometry.gaussian import gaussian_filter
from somacast.geometry.rasteriser import Rendering

PSNR_CAP_DB = 100.0  # equal pictures would be infinite, which JSON cannot hold and a mean does not survive
SSIM_WINDOW = 11
SSIM_SIGMA = 1.5
_C1, _C2 = 0.01**2, 0.03**2  # for values in [0, 1]


def _same_shape(truth: np.ndarray, result: np.ndarray) -> None:
    if truth.shape != result.shape:
        raise ValueError(f"expected two pictures of one shape, got {truth.shape} and {result.shape}")


def mse(truth: np.ndarray, result: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Mean squared error over pixels and channels of pictures [H, W, C] in [0, 1] (eq. 29).

    mask [H, W] bool: the pixels that count (default all); 0 if none does, since nothing differs.
    """
    _same_shape(truth, result)
    difference = truth.astype(np.float64) - result.astype(np.float64)
    if mask is not None:
        difference = difference[mask]
    return float(np.mean(difference**2)) if difference.size else 0.0


def psnr_of(mean_squared_error: float) -> float:
    """PSNR in dB of an MSE of values in [0, 1], at most PSNR_CAP_DB."""
    return float(min(-10 * np.log10(max(mean_squared_error, 1e-30)), PSNR_CAP_DB))


def psnr(truth: np.ndarray, result: np.ndarray, mask: np.ndarray | None = None) -> float:
    """PSNR in dB over the same pixels as `mse`."""
    return psnr_of(mse(truth, result, mask))


def _window_mean(values: np.ndarray) -> np.ndarray:
    """Mean of [H, W, C] under the 11 x 11 Gaussian; the picture is mirrored at its border."""
    return gaussian_filter(values, SSIM_SIGMA, SSIM_WINDOW // 2, (0, 1), mirror=True)


def ssim_map(truth: np.ndarray, result: np.ndarray) -> np.ndarray:
    """SSIM of every pixel [H, W] of two pictures [H, W, C] in [0, 1], mean over the channels (eq. 30).

    Gaussian window of 11 pixels and sigma 1.5, K1 = 0.01, K2 = 0.03, population moments, as in Wang et al. 2004.
    """
    _same_shape(truth, result)
    x, y = truth.astype(np.float64), result.astype(np.float64)
    mean_x, mean_y = _window_mean(x), _window_mean(y)
    var_x = _window_mean(x * x) - mean_x**2
    var_y = _window_mean(y * y) - mean_y**2
    cov = _window_mean(x * y) - mean_x * mean_y
    top = (2 * mean_x * mean_y + _C1) * (2 * cov + _C2)
    bottom = (mean_x**2 + mean_y**2 + _C1) * (var_x + var_y + _C2)
    return (top / bottom).mean(2)


def mask_box(mask: np.ndarray) -> tuple[slice, slice] | None:
    """Rows and columns of the smallest box around mask [H, W]; None if the mask is empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return None
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def ssim(truth: np.ndarray, result: np.ndarray, box: tuple[slice, slice] | None = None) -> float:
    """Mean of `ssim_map` over the picture, or over a box of it.

    Windows at the edge of the box look at the pixels beside it, which are there, instead of a mirror image.
    """
    values = ssim_map(truth, result)
    return float((values if box is None else values[box]).mean())


def iou(truth: np.ndarray, result: np.ndarray) -> float:
    """Intersection over union of two silhouettes [H, W] bool; 1 if both are empty."""
    union = np.count_nonzero(truth | result)
    return np.count_nonzero(truth & result) / union if union else 1.0


def normal_error_deg(truth: Rendering, result: Rendering) -> float | None:
    """Mean angle in degrees [0, 180] between the normals of two renderings of one size at the pixels where both show
    the person; None where there is no such pixel."""
    _same_shape(truth.normals, result.normals)
    both = truth.mask & result.mask
    if not both.any():
        return None
    a, b = truth.normals[both].astype(np.float64), result.normals[both].astype(np.float64)
    # The arc tangent keeps small angles that the arc cosine rounds away.
    angle = np.arctan2(np.linalg.norm(np.cross(a, b), axis=1), (a * b).sum(1))
    return float(np.degrees(angle).mean())


def structure_distance(truth: np.ndarray, result: np.ndarray) -> float:
    """Lack of SSIM and root mean squared error, mean over the pictures [H, W, 3] at a half and a quarter of their size,
    where an edge that lies a pixel off still meets its own."""
    total = 0.0
    for _ in range(2):
        truth, result = _halved(truth), _halved(result)
        total += (1 - ssim(truth, result)) + mse(truth, result) ** 0.5
    return total / 2


def _halved(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[0] // 2, image.shape[1] // 2
    return image[: 2 * height, : 2 * width].reshape(height, 2, width, 2, -1).mean((1, 3))
