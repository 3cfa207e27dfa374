"""Nearest neighbours among points in 3D: a balanced tree of boxes, searched from where the last answer was found.

The halves of a split lie next to each other in memory, so that the tree needs no pointers: node i has the children 2i
and 2i + 1, and the leaves are slices of one array. Queries are taken in the order of a space-filling curve. Each
starts with the neighbours of the one before as a first guess, which leaves few boxes to look into even where points
and queries lie far apart; a grid of cells would walk through empty space there.
"""

from __future__ import annotations

import numpy as np

from somacast.kernels import compiled

LEAF_POINTS = 8
_CURVE_STEPS = 1 << 10  # along each axis; three times ten bits fit into 32


@compiled(nogil=True)
def _select(points, order, low, high, middle, axis):
    """Reorder order[low:high] so that order[middle] is what sorting along the axis would put there (quickselect)."""
    last = high - 1
    while low < last:
        pivot = points[order[(low + last) // 2], axis]
        i, j = low, last
        while i <= j:
            while points[order[i], axis] < pivot:
                i += 1
            while points[order[j], axis] > pivot:
                j -= 1
            if i <= j:
                order[i], order[j] = order[j], order[i]
                i += 1
                j -= 1
        if middle <= j:
            last = j
        elif middle >= i:
            low = i
        else:
            return


@compiled(nogil=True)
def _build(points, order, depth, boxes):
    """Split `order` in halves along the longest side of each node's box, `depth` times; boxes [2^(depth+1), 2, 3]."""
    count = len(points)
    for level in range(depth + 1):
        for j in range(1 << level):
            node = (1 << level) + j
            start, stop = (j * count) >> level, ((j + 1) * count) >> level
            for c in range(3):
                low, high = points[order[start], c], points[order[start], c]
                for i in range(start + 1, stop):
                    value = points[order[i], c]
                    low, high = min(low, value), max(high, value)
                boxes[node, 0, c], boxes[node, 1, c] = low, high
            if level < depth:
                side = boxes[node, 1] - boxes[node, 0]
                _select(points, order, start, stop, ((2 * j + 1) * count) >> (level + 1), np.argmax(side))


@compiled(nogil=True)
def _box_distance(boxes, node, x, y, z):
    """Squared distance to a box. Rounded no higher than that to any point in it: the same steps on smaller numbers."""
    dx = max(boxes[node, 0, 0] - x, x - boxes[node, 1, 0], 0.0)
    dy = max(boxes[node, 0, 1] - y, y - boxes[node, 1, 1], 0.0)
    dz = max(boxes[node, 0, 2] - z, z - boxes[node, 1, 2], 0.0)
    return dx * dx + dy * dy + dz * dz


@compiled(nogil=True)
def _insert(best, index, square, number):
    """Put a neighbour into its place among the best so far; of equally far ones the lower number comes first."""
    place = len(best) - 1
    if square > best[place] or (square == best[place] and number > index[place]):
        return
    while place > 0 and (square < best[place - 1] or (square == best[place - 1] and number < index[place - 1])):
        best[place], index[place] = best[place - 1], index[place - 1]
        place -= 1
    best[place], index[place] = square, number


@compiled(nogil=True)
def _query(points, order, depth, boxes, queries, turn, squares, index):
    """The k nearest of points [N, 3], in the tree's order, to queries [M, 3] -> squares, index [M, k]."""
    count, k, leaves = len(points), squares.shape[1], 1 << depth
    stack, far = np.empty(depth + 2, np.int64), np.empty(depth + 2, np.float64)
    place = np.empty(count, np.int64)
    for i in range(count):
        place[order[i]] = i
    before = -1
    for q in turn:
        x, y, z = queries[q, 0], queries[q, 1], queries[q, 2]
        best, found = squares[q], index[q]
        limit = np.inf  # no answer is farther than the farthest of any k points, for example the last answer's
        if before >= 0:
            limit = 0.0
            for m in range(k):
                i = place[index[before, m]]
                dx, dy, dz = points[i, 0] - x, points[i, 1] - y, points[i, 2] - z
                limit = max(limit, dx * dx + dy * dy + dz * dz)
        best[:] = np.inf
        found[:] = count
        stack[0], far[0], top = 1, 0.0, 1
        while top:
            top -= 1
            node = stack[top]
            if far[top] > limit:
                continue
            while node < leaves:  # down to the nearer child, the other one for later
                near, other = 2 * node, 2 * node + 1
                d, e = _box_distance(boxes, near, x, y, z), _box_distance(boxes, other, x, y, z)
                if e < d:
                    near, other, d, e = other, near, e, d
                if e <= limit:
                    stack[top], far[top] = other, e
                    top += 1
                if d > limit:
                    break
                node = near
            if node < leaves:
                continue
            j = node - leaves
            for i in range((j * count) >> depth, ((j + 1) * count) >> depth):
                dx, dy, dz = points[i, 0] - x, points[i, 1] - y, points[i, 2] - z
                square = dx * dx + dy * dy + dz * dz
                if square <= limit:
                    _insert(best, found, square, order[i])
            limit = min(limit, best[k - 1])
        before = q


def _interleave_bits(values: np.ndarray) -> np.ndarray:
    """Ten bits to every third of thirty: the steps of Morton's curve."""
    for shift, mask in ((16, 0x030000FF), (8, 0x0300F00F), (4, 0x030C30C3), (2, 0x09249249)):
        values = (values | (values << np.uint32(shift))) & np.uint32(mask)
    return values


def _along_curve(places: np.ndarray) -> np.ndarray:
    """Order [N] that keeps neighbours in space together: places [N, 3] along Morton's curve."""
    low, side = places.min(0), np.ptp(places, axis=0)
    steps = ((places - low) * ((_CURVE_STEPS - 1) / max(float(side.max()), 1e-30))).astype(np.uint32)
    key = _interleave_bits(steps[:, 0]) | (_interleave_bits(steps[:, 1]) << 1) | (_interleave_bits(steps[:, 2]) << 2)
    return np.argsort(key)


class PointTree:
    """Points [N, 3] or [N, 2] (any unit, finite, at least one) made ready for exact searches of the nearest."""

    def __init__(self, points: np.ndarray):
        points = _in_space("points", points)
        if not len(points):
            raise ValueError("points: expected at least one, got none")
        self.count = len(points)
        self._depth = max(int(np.ceil(np.log2(self.count / LEAF_POINTS))), 0)
        self._order = np.arange(self.count)
        self._boxes = np.empty((2 << self._depth, 2, 3))
        _build(points, self._order, self._depth, self._boxes)
        self._points = points[self._order]

    def query(self, places: np.ndarray, k: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """The k nearest points of every place [M, 3], nearest first: distances [M, k] float64 and numbers [M, k] int64.

        For k = 1 both are [M]. Of points equally far the lower number wins, so that the answer depends on nothing else.
        Raises ValueError if k is not from 1 to the number of points, or for numbers that are not finite.
        """
        places = _in_space("places", places)
        if not 1 <= k <= self.count:
            raise ValueError(f"k: expected 1 to {self.count}, the number of points, got {k}")
        squares, index = np.empty((len(places), k)), np.empty((len(places), k), np.int64)
        if len(places):
            turn = _along_curve(places)
            _query(self._points, self._order, self._depth, self._boxes, places, turn, squares, index)
        distance = np.sqrt(squares)
        return (distance[:, 0], index[:, 0]) if k == 1 else (distance, index)


def _in_space(name: str, places: np.ndarray) -> np.ndarray:
    """Places [N, 2 or 3] as contiguous float64 [N, 3]; ValueError for another shape, NaN or infinity."""
    places = np.asarray(places, np.float64)
    if places.ndim != 2 or places.shape[1] not in (2, 3):
        raise ValueError(f"{name}: expected shape [N, 3] or [N, 2], got {places.shape}")
    if not np.isfinite(places).all():
        raise ValueError(f"{name}: expected finite numbers, got NaN or infinity")
    if places.shape[1] == 2:
        places = np.concatenate([places, np.zeros((len(places), 1))], 1)
    return np.ascontiguousarray(places)
