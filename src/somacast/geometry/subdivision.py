"""Finer triangles, so that colours kept at the vertices lose nothing of a picture that was stretched over them."""

from __future__ import annotations

import numpy as np

MAX_REFINED_FACES = 2_000_000


def refine(
    points: np.ndarray, faces: np.ndarray, longest: float, chosen: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Triangles split at the middles of their edges until no edge is longer than `longest`.

    points [V, K] floats whose first three columns are the place, in the unit of `longest`; further columns (texture
    coordinates, colours) go along. faces [F, 3]. chosen [F] bool: the triangles that this is asked of (default all);
    others are split only along edges that they share with these. Neighbours split a common edge alike, so no cracks
    arise, at seams neither. Returns more of both, the given points first; it stops early beyond MAX_REFINED_FACES
    triangles.
    """
    faces = np.asarray(faces, np.int64)
    chosen = np.ones(len(faces), bool) if chosen is None else np.asarray(chosen, bool)
    done: list[np.ndarray] = []  # triangles without a long edge
    while len(faces) + sum(map(len, done)) <= MAX_REFINED_FACES:
        corner = points[:, :3][faces]
        step = corner - corner[:, [1, 2, 0]]
        long = np.einsum("fek,fek->fe", step, step) > longest * longest
        unfinished = long.any(1)
        done.append(faces[~unfinished])
        faces, chosen, long = faces[unfinished], chosen[unfinished], long[unfinished]
        ends = faces[:, [[0, 1], [1, 2], [2, 0]]]
        low, high = np.sort(ends[long], 1).T
        keys, which = np.unique(low * len(points) + high, return_inverse=True)
        asked = np.zeros(len(keys), bool)
        asked[which[np.broadcast_to(chosen[:, None], long.shape)[long]]] = True
        if not asked.any():
            break
        keys, long[long] = keys[asked], asked[which]
        which = (np.cumsum(asked) - 1)[which[asked[which]]]
        middle = np.full(faces.shape, -1)
        middle[long] = len(points) + which
        edges = np.stack(np.divmod(keys, len(points)), 1)
        points = np.concatenate([points, points[edges].mean(1).astype(points.dtype)])
        faces, parent = _split(faces, middle, long)
        chosen = chosen[parent]
    return points, np.concatenate([*done, faces])


def _split(faces: np.ndarray, middle: np.ndarray, long: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every triangle in 1 to 4: middle [F, 3] is the new point on the edges 0-1, 1-2, 2-0 where `long` says so. Returns
    the triangles, and of which each is a part."""
    count = long.sum(1)
    # Turned so that one long edge comes first, or one short edge comes last.
    first = np.where(count == 1, long.argmax(1), np.where(count == 2, (long.argmin(1) + 1) % 3, 0))
    turn = (first[:, None] + np.arange(3)) % 3
    corner, point = np.take_along_axis(faces, turn, 1), np.take_along_axis(middle, turn, 1)
    parts, parents = [faces[count == 0]], [np.flatnonzero(count == 0)]
    for number, pieces in (
        (1, ("ajc", "jbc")),
        (2, ("jbk", "ajk", "akc")),
        (3, ("ajl", "jbk", "lkc", "jkl")),
    ):
        chosen = count == number
        named = dict(zip("abcjkl", [*corner[chosen].T, *point[chosen].T], strict=True))
        parts += [np.stack([named[name] for name in piece], 1) for piece in pieces]
        parents += [np.flatnonzero(chosen)] * len(pieces)
    return np.concatenate(parts), np.concatenate(parents)
