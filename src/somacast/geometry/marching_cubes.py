"""Marching cubes: the zero surface of a field on a grid as triangles that close without gaps (Lorensen, Cline 1987).

What the surface looks like inside a cell follows from which of its eight corners are inside. The table of cases is
derived here rather than listed. On each of the six sides of a cell, every run of inside corners is cut off by one
line. Where two inside corners lie across from each other, the sign of the bilinear field in the middle of its
saddle decides whether they are joined (the asymptotic decider, Nielson, Hamann 1991): thin parts hold together, and
narrow gaps stay open. All this looks at the four corners of the side alone, so that both cells at it draw the same
lines. The lines of all sides join into loops, and the loops are cut into triangles by lines that run through the
cell, never along a side, where the neighbour might draw the same one; the few loops that allow no such cut get a
vertex in their middle. So every edge belongs to exactly two triangles that run through it in opposite directions.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np

from somacast.kernels import compiled

# Corner c of a cell stands at (c >> 2 & 1, c >> 1 & 1, c & 1); an edge is named by its axis and its lower corner.
_CORNERS = [(c >> 2 & 1, c >> 1 & 1, c & 1) for c in range(8)]
_EDGES = [(axis, c) for axis in range(3) for c in range(8) if not _CORNERS[c][axis]]
_CENTRE = len(_EDGES)  # stands for the vertex in the middle of a loop
_ON_A_SIDE = 1e3  # price of a cut along a side of the cell; any cut through the cell is shorter than 2


def _sides() -> list[list[int]]:
    """The corners of the six sides, counter-clockwise as seen from outside the cell."""
    out = []
    for axis in range(3):
        step, other = 4 >> (axis + 1) % 3, 4 >> (axis + 2) % 3
        ring = [0, step, step | other, other]  # counter-clockwise as seen from the end of the axis
        out.append([c | 4 >> axis for c in ring])
        out.append(ring[::-1])
    return out


_SIDES = _sides()
_EDGE_BETWEEN = {pair: n for n, (axis, c) in enumerate(_EDGES) for pair in ((c, c | 4 >> axis), (c | 4 >> axis, c))}


def _across(inside: int, ring: list[int]) -> bool:
    """Whether a side has two inside corners across from each other; bit c of inside is corner c."""
    bits = [inside >> c & 1 for c in ring]
    return bits[0] == bits[2] != bits[1] == bits[3]


def _loops(inside: int, joined: int) -> list[list[int]]:
    """Closed loops of edge numbers where the surface cuts the sides of a cell; bit s of joined: what lies across from
    each other on side s is joined."""
    follows = {}
    for side, ring in enumerate(_SIDES):
        bits = [inside >> c & 1 for c in ring]
        join = _across(inside, ring) and joined >> side & 1
        for i in range(4):
            if bits[i - 1] or not bits[i]:
                continue
            last = i  # a run of inside corners begins here; its line leads to where it, or the one across, ends
            while bits[(last + 1) % 4]:
                last += 1
            last += 2 * join
            follows[_EDGE_BETWEEN[ring[i - 1], ring[i]]] = _EDGE_BETWEEN[ring[last % 4], ring[(last + 1) % 4]]
    loops = []
    while follows:
        first = next(iter(follows))
        loop = [first]
        while (following := follows.pop(loop[-1])) != first:
            loop.append(following)
        loops.append(loop)
    return loops


@lru_cache(maxsize=1)
def _prices() -> list[list[float]]:
    """What a cut between the middles of two edges of a cell costs [12][12]: its length, much more along a side."""
    middle = np.array([_CORNERS[corner] for _, corner in _EDGES]) + 0.5 * np.eye(3)[[axis for axis, _ in _EDGES]]
    a, b = middle[:, None], middle[None]
    on_a_side = ((a == b) & ((a == 0) | (a == 1))).any(2)
    return (np.linalg.norm(a - b, axis=2) + _ON_A_SIDE * on_a_side).tolist()


@cache
def _triangles(loop: tuple[int, ...]) -> list[tuple[int, int, int]]:
    """The loop cut into triangles with the shortest cuts of which none lies in a side of the cell; (_CENTRE, a, b) all
    around where there are none."""
    last, prices = len(loop) - 1, _prices()
    # best[i][j]: price and triangles of the part of the loop from i to j that the cut from j to i closes
    best: list[list[tuple[float, tuple[tuple[int, int, int], ...]]]] = [[(0.0, ()) for _ in loop] for _ in loop]
    for length in range(2, last + 1):
        for i in range(last + 1 - length):
            j = i + length
            cut = 0.0 if length == last else prices[loop[i]][loop[j]]
            price, m = min((best[i][m][0] + best[m][j][0], m) for m in range(i + 1, j))
            best[i][j] = (cut + price, (*best[i][m][1], (loop[i], loop[m], loop[j]), *best[m][j][1]))
    price, chosen = best[0][last]
    if price >= _ON_A_SIDE:
        return [(_CENTRE, a, b) for a, b in zip(loop, loop[1:] + loop[:1], strict=True)]
    return list(chosen)


@dataclass(frozen=True)
class CaseTable:
    """Triangles of every case; a case with S undecided sides has 2^S variants, the first of which is first[case].

    first [256] int32; undecided [256] uint8: bit s for each side with inside corners across; counts [N] uint8:
    triangles of every variant; edges [N, T, 3] uint8: their edge numbers, outside in front; centred [N] bool: whether
    one of the loops has a vertex in its middle (never two of them).
    """

    first: np.ndarray
    undecided: np.ndarray
    counts: np.ndarray
    edges: np.ndarray
    centred: np.ndarray


@lru_cache(maxsize=1)
def case_table() -> CaseTable:
    """The table of all cases, derived in a few hundredths of a second."""
    first, undecided, variants = [], [], []
    for inside in range(256):
        sides = [side for side, ring in enumerate(_SIDES) if _across(inside, ring)]
        first.append(len(variants))
        undecided.append(sum(1 << side for side in sides))
        for choice in range(1 << len(sides)):
            joined = sum((choice >> n & 1) << side for n, side in enumerate(sides))
            variants.append([t for loop in _loops(inside, joined) for t in _triangles(tuple(loop))])
    edges = np.zeros((len(variants), max(map(len, variants)), 3), np.uint8)
    for variant, triangles in enumerate(variants):
        if triangles:
            edges[variant, : len(triangles)] = triangles
    counts = np.array([len(triangles) for triangles in variants], np.uint8)
    centred = (edges == _CENTRE).any((1, 2))
    return CaseTable(np.array(first, np.int32), np.array(undecided, np.uint8), counts, edges, centred)


@compiled(nogil=True)
def _variant(field, i, j, k, rings, inside, first, undecided):
    """The number of a cell's variant in the table; rings [6, 4, 3]: the corners of every side."""
    variant, bit = first[inside], 1
    for side in range(6):
        if not undecided[inside] >> side & 1:
            continue
        ring = rings[side]
        a = field[i + ring[0, 0], j + ring[0, 1], k + ring[0, 2]]
        b = field[i + ring[1, 0], j + ring[1, 1], k + ring[1, 2]]
        c = field[i + ring[2, 0], j + ring[2, 1], k + ring[2, 2]]
        d = field[i + ring[3, 0], j + ring[3, 1], k + ring[3, 2]]
        # The saddle has the sign of ac - bd where a and c are inside. The products are the same from the other cell.
        if (a * c > b * d) if a > 0 else (b * d > a * c):
            variant += bit
        bit *= 2
    return variant


@compiled(nogil=True)
def _cases(field, rings, first, undecided, counts, centred, case):
    """The variant of every cell [X-1, Y-1, Z-1] int16; returns the number of vertices and of triangles."""
    nx, ny, nz = field.shape
    vertices, triangles = 0, 0
    for i in range(nx):
        for j in range(ny):
            for k in range(nz):
                here = field[i, j, k] > 0
                vertices += i + 1 < nx and here != (field[i + 1, j, k] > 0)
                vertices += j + 1 < ny and here != (field[i, j + 1, k] > 0)
                vertices += k + 1 < nz and here != (field[i, j, k + 1] > 0)
            if i + 1 == nx or j + 1 == ny:
                continue
            # Bits of the four corners at k and at k + 1; the latter come up again at the next cell.
            low = (field[i, j, 0] > 0) | (field[i, j + 1, 0] > 0) << 2
            low |= (field[i + 1, j, 0] > 0) << 4 | (field[i + 1, j + 1, 0] > 0) << 6
            for k in range(nz - 1):
                high = (field[i, j, k + 1] > 0) | (field[i, j + 1, k + 1] > 0) << 2
                high |= (field[i + 1, j, k + 1] > 0) << 4 | (field[i + 1, j + 1, k + 1] > 0) << 6
                variant = first[low | high << 1]
                if undecided[low | high << 1]:
                    variant = _variant(field, i, j, k, rings, low | high << 1, first, undecided)
                case[i, j, k] = variant
                triangles += counts[variant]
                vertices += centred[variant]
                low = high
    return vertices, triangles


@compiled(nogil=True)
def _place(field, number, vertices):
    """Vertices [V, 3] in grid coordinates where edges between nodes are cut; number [3, X, Y, Z] tells which.

    Returns how many these are; those in the middle of loops follow.
    """
    nx, ny, nz = field.shape
    count = 0
    for i in range(nx):
        for j in range(ny):
            for k in range(nz):
                here = field[i, j, k]
                for axis in range(3):
                    a, b, c = i + (axis == 0), j + (axis == 1), k + (axis == 2)
                    if a == nx or b == ny or c == nz:
                        continue
                    there = field[a, b, c]
                    if (here > 0) == (there > 0):
                        continue
                    share = here / (here - there)
                    vertices[count, 0] = i + share * (axis == 0)
                    vertices[count, 1] = j + share * (axis == 1)
                    vertices[count, 2] = k + share * (axis == 2)
                    number[axis, i, j, k] = count
                    count += 1
    return count


@compiled(nogil=True)
def _connect(case, counts, table, starts, number, centre, vertices, faces):
    """Faces [F, 3] of all cells, and the vertices in the middle of loops, from number `centre` on.

    starts [12, 4]: axis of every edge of a cell, and the corner it starts from.
    """
    count = 0
    nx, ny, nz = case.shape
    for i in range(nx):
        for j in range(ny):
            for k in range(nz):
                variant = case[i, j, k]
                around = 0
                for t in range(counts[variant]):
                    for m in range(3):
                        e = table[variant, t, m]
                        if e == _CENTRE:
                            faces[count, m] = centre
                        else:
                            faces[count, m] = number[starts[e, 0], i + starts[e, 1], j + starts[e, 2], k + starts[e, 3]]
                    if table[variant, t, 0] == _CENTRE:  # the mean of the loop
                        if not around:
                            vertices[centre] = 0
                        vertices[centre] += vertices[faces[count, 1]]
                        around += 1
                    count += 1
                if around:
                    vertices[centre] /= around
                    centre += 1


def marching_cubes(field: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Zero surface of field [X, Y, Z] float32, positive inside, at least two nodes a side.

    Returns vertices [V, 3] float32 in grid coordinates and faces [F, 3] int32, counter-clockwise from outside; both
    empty where the field has one sign. Closed and two-manifold where the border of the grid is outside. A node of
    exactly 0 counts as outside and draws the vertices around it together into one place.
    """
    if field.ndim != 3 or min(field.shape) < 2:
        raise ValueError(f"field: expected shape [X, Y, Z] with at least two nodes a side, got {field.shape}")
    field = np.ascontiguousarray(field, np.float32)
    table = case_table()
    rings = np.array([[_CORNERS[c] for c in ring] for ring in _SIDES])
    starts = np.array([(axis, *_CORNERS[corner]) for axis, corner in _EDGES])
    case = np.empty([n - 1 for n in field.shape], np.int16)
    vertex_count, face_count = _cases(field, rings, table.first, table.undecided, table.counts, table.centred, case)
    vertices, faces = np.empty((vertex_count, 3), np.float32), np.empty((face_count, 3), np.int32)
    number = np.empty((3, *field.shape), np.int32)
    centre = _place(field, number, vertices)
    _connect(case, table.counts, table.edges, starts, number, centre, vertices, faces)
    return vertices, faces
