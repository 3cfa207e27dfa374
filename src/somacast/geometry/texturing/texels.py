"""The texels of a picture on triangles: which triangle each shows, and colours around the islands."""

from __future__ import annotations

import numpy as np

from somacast.kernels import compiled


def texels_of(corners: np.ndarray, size: int, order: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Triangle [S, S] int32 under the middle of each texel of a square, -1 where there is none, and its barycentric
    coordinates [S, S, 3] float32.

    corners [F, 3, 2]: u to the right, v down, in [0, 1]. Of triangles that lie over each other the last one counts, in
    the order [F] if one is given.
    """
    face = np.full((size, size), -1, np.int32)
    bary = np.zeros((size, size, 3), np.float32)
    fill_texels(corners, np.arange(len(corners)) if order is None else order, face, bary)
    return face, bary


@compiled(nogil=True)
def fill_texels(corners, order, face, bary):
    """Fills face [S, S] and bary [S, S, 3] where triangles [F, 3, 2] lie, taken in an order, later ones over others."""
    size = face.shape[0]
    for t in order:
        ax, ay = np.float64(corners[t, 0, 0]) * size, np.float64(corners[t, 0, 1]) * size
        bx, by = np.float64(corners[t, 1, 0]) * size, np.float64(corners[t, 1, 1]) * size
        cx, cy = np.float64(corners[t, 2, 0]) * size, np.float64(corners[t, 2, 1]) * size
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if -1e-12 < area < 1e-12:
            continue
        first, last = max(0, int(min(ax, bx, cx))), min(size - 1, int(max(ax, bx, cx)))
        for y in range(max(0, int(min(ay, by, cy))), min(size - 1, int(max(ay, by, cy))) + 1):
            dy = y + 0.5 - ay
            for x in range(first, last + 1):
                dx = x + 0.5 - ax
                u = (dx * (cy - ay) - dy * (cx - ax)) / area
                v = ((bx - ax) * dy - (by - ay) * dx) / area
                if u >= 0 and v >= 0 and u + v <= 1:
                    face[y, x] = t
                    bary[y, x, 0] = 1 - u - v
                    bary[y, x, 1] = u
                    bary[y, x, 2] = v


@compiled(nogil=True)
def claim_texels(corners, face, bary):
    """Gives triangles [F, 3, 2] that lie under the middle of no texel the one in which they lie, if nobody has it: face
    and bary as of `fill_texels`, which came before."""
    size = face.shape[0]
    shown = np.zeros(len(corners), np.bool_)
    for y in range(size):
        for x in range(size):
            if face[y, x] >= 0:
                shown[face[y, x]] = True
    for t in range(len(corners)):
        if not shown[t]:
            x = min(int((corners[t, 0, 0] + corners[t, 1, 0] + corners[t, 2, 0]) / 3 * size), size - 1)
            y = min(int((corners[t, 0, 1] + corners[t, 1, 1] + corners[t, 2, 1]) / 3 * size), size - 1)
            if face[y, x] < 0:
                face[y, x] = t
                bary[y, x] = 1 / 3


def padded(image: np.ndarray, known: np.ndarray) -> np.ndarray:
    """A picture [H, W, C] whose colours are carried on from where they are known [H, W] bool over all else, each place
    as the nearest that is known: reduced sizes show nothing else. A picture of which nothing is known comes back as it
    is."""
    if known.all() or not known.any():
        return image
    out = image.copy()
    _carry_on(out, known, np.empty((*known.shape, 2), np.int32))
    return out


@compiled(nogil=True)
def _carry_on(image, known, source):
    """Fills image where it is not known; source [H, W, 2]: row and column from which each place takes its colour, found
    by handing them on to neighbours, down and up again (Danielsson's distance map, nearly exact)."""
    height, width = known.shape
    for y in range(height):
        for x in range(width):
            source[y, x, 0] = y if known[y, x] else -1
            source[y, x, 1] = x
    for y in range(height):
        if y:
            for x in range(width):
                if not known[y, x]:
                    _hand_on(source, y, x, y - 1, x)
        _hand_on_sideways(known, source, y)
    for y in range(height - 2, -1, -1):
        for x in range(width):
            if not known[y, x]:
                _hand_on(source, y, x, y + 1, x)
        _hand_on_sideways(known, source, y)
    for y in range(height):
        for x in range(width):
            if not known[y, x]:
                for k in range(image.shape[2]):
                    image[y, x, k] = image[source[y, x, 0], source[y, x, 1], k]


@compiled(nogil=True)
def _hand_on_sideways(known, source, y):
    """The same along row y, to the right and back."""
    for x in range(1, known.shape[1]):
        if not known[y, x]:
            _hand_on(source, y, x, y, x - 1)
    for x in range(known.shape[1] - 2, -1, -1):
        if not known[y, x]:
            _hand_on(source, y, x, y, x + 1)


@compiled(nogil=True)
def _hand_on(source, y, x, row, column):
    """Let a place take its colour from where a neighbour takes it, if that is nearer."""
    a, b = source[row, column, 0], source[row, column, 1]
    if a < 0:
        return
    p, q = source[y, x, 0], source[y, x, 1]
    if p < 0 or (a - y) ** 2 + (b - x) ** 2 < (p - y) ** 2 + (q - x) ** 2:
        source[y, x, 0], source[y, x, 1] = a, b
