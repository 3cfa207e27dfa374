"""The Gaussian filter: of fields on a grid, which are zero outside, and of pictures, mirrored at their border."""

from __future__ import annotations

import numpy as np

from somacast.kernels import compiled


@compiled(nogil=True)
def _mirrored(n, length):
    """Index n of a line that goes on as its own mirror image on both sides, the end value twice."""
    n %= 2 * length
    return n if n < length else 2 * length - 1 - n


@compiled(fastmath=True, nogil=True)
def _filter_rows(field, kernel, mirror, out):
    """Weighted sums along the middle axis of field [A, N, B] into out; outside is zero, or the mirror image."""
    reach = len(kernel) // 2
    planes, length, width = field.shape
    for a in range(planes):
        for n in range(length):
            for b in range(width):
                out[a, n, b] = 0
            for t in range(-reach, reach + 1):
                at = n + t
                if at < 0 or at >= length:
                    if not mirror:
                        continue
                    at = _mirrored(at, length)
                weight = kernel[t + reach]
                for b in range(width):
                    out[a, n, b] += weight * field[a, at, b]


@compiled(fastmath=True, nogil=True)
def _filter_lines(field, kernel, mirror, out):
    """The same along the last axis of field [A, N], with the long loop inside."""
    reach = len(kernel) // 2
    lines, length = field.shape
    for a in range(lines):
        for n in range(length):
            out[a, n] = 0
        for t in range(-reach, reach + 1):
            weight = kernel[t + reach]
            first, last = min(max(0, -t), length), max(min(length, length - t), 0)
            for n in range(first, last):
                out[a, n] += weight * field[a, n + t]
            if mirror:
                for n in range(first):
                    out[a, n] += weight * field[a, _mirrored(n + t, length)]
                for n in range(last, length):
                    out[a, n] += weight * field[a, _mirrored(n + t, length)]


def gaussian_filter(
    values: np.ndarray, sigma: float, radius: int, axes: tuple[int, ...], mirror: bool = False
) -> np.ndarray:
    """Values of any shape, float32 or float64, under a Gaussian along some axes, cut at `radius` steps; sigma in steps.

    Outside are zeros, or with `mirror` the mirror image, the end value twice. The same as
    scipy.ndimage.gaussian_filter with mode "constant" or "reflect", in a third of the time.
    """
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    kernel = (kernel / kernel.sum()).astype(values.dtype)
    values = np.ascontiguousarray(values)
    for axis in axes:
        out = np.empty_like(values)
        before, length = int(np.prod(values.shape[:axis])), values.shape[axis]
        if axis == values.ndim - 1:
            _filter_lines(values.reshape(before, length), kernel, mirror, out.reshape(before, length))
        else:
            view = (before, length, int(np.prod(values.shape[axis + 1 :])))
            _filter_rows(values.reshape(view), kernel, mirror, out.reshape(view))
        values = out
    return values
