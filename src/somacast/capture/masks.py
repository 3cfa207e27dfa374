"""Where the person is, as users give it: by the transparency of a picture, or by a mask beside it."""

from __future__ import annotations

import numpy as np

from somacast.errors import SomacastError

WORK_PX = 256  # longer side at which shapes are looked at
HALF = 0.5
# Transparency is a cut-out if so much is clear, no more of the picture's border is covered, and what is covered either
# is narrow or fills no more of its convex hull: rounded windows, discs and frames are pictures.
MIN_CLEAR, MAX_BORDER, MAX_SOLIDITY = 0.04, 0.6, 0.955
NARROW = 0.6  # of the picture's breadth or height
FLAT = 0.9  # least over greatest alpha from which on a picture is as good as opaque
COLORED, COLORED_SHARE = 0.16, 0.1  # spread of a pixel's channels; share of such pixels
LABELS, LABEL_SHARE = 8, 0.85  # so many colours cover so much of a map of labels
LABEL_STEPS = 15  # of a channel, in which colours count as one
FROM_BACKGROUND = 0.1  # of a label's colour
# What is half-tone, how much of it no mask has, and how much none has that is less dark or bright than that.
MIDDLE, MANY_MIDDLE, SOME_MIDDLE = (0.2, 0.8), 0.4, 0.1
TWO_SHARE = 0.02  # of dark and of bright pixels in what alpha shows, if the mask is drawn in it
INVERTED_BORDER = 0.6
INVERTED = "the given mask marks what is around the person: it is taken the other way round"
NO_CUT_OUT = "the transparency of the picture has not the shape of a person: it is not used as a mask"
NEARLY_ALL, ALL = 0.97, "the given mask marks nearly the whole picture"


def cut_out(alpha: np.ndarray) -> np.ndarray | None:
    """Transparency [H, W] float32 in [0, 1] as a mask whose greatest value is 1, or None if it is not the outline of
    somebody but of a picture: nearly opaque, a window with round corners or a shadow, a disc, a frame."""
    top = float(alpha.max())
    if top == 0 or float(alpha.min()) >= FLAT * top:
        return None
    mask = (alpha / np.float32(top)).astype(np.float32)
    return mask if _may_be_somebody(_reduced(mask) > HALF) else None


def _reduced(plane: np.ndarray) -> np.ndarray:
    """At most WORK_PX on a side, by leaving out."""
    step = -(-max(plane.shape) // WORK_PX)
    return plane[step // 2 :: step, step // 2 :: step]


def _border(plane: np.ndarray) -> np.ndarray:
    """The outermost pixels of [H, W, ...], one after the other."""
    return np.concatenate([plane[0], plane[-1], plane[1:-1, 0], plane[1:-1, -1]])


def _may_be_somebody(covered: np.ndarray) -> bool:
    """Whether what is covered [H, W] bool may be somebody cut out."""
    if covered.mean() > 1 - MIN_CLEAR or _border(covered).mean() > MAX_BORDER or not covered.any():
        return False
    spans = (np.ptp(np.flatnonzero(covered.any(axis))) / covered.shape[1 - axis] for axis in (0, 1))
    return min(spans) < NARROW or float(covered.sum()) / _hull_area(covered) < MAX_SOLIDITY


def _hull_area(covered: np.ndarray) -> float:
    """Area in pixels of the convex hull of what is covered [H, W] bool."""
    rows = np.flatnonzero(covered.any(1))
    left, right = covered[rows].argmax(1), covered.shape[1] - covered[rows, ::-1].argmax(1)
    return hull_area(np.array([(x, y + below) for side in (left, right) for x, y in zip(side, rows, strict=True)
                               for below in (0, 1)]))  # fmt: skip


def hull_area(points: np.ndarray) -> float:
    """Area of the convex hull of points [N, 2] (Andrew's monotone chain)."""
    ordered = np.unique(np.asarray(points, np.float64), axis=0)
    hull = np.array([*_half_hull(ordered), *_half_hull(ordered[::-1])])
    if len(hull) < 3:
        return 0.0
    x, y = hull.T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def _half_hull(points: np.ndarray) -> list[tuple[float, float]]:
    """One side of the convex hull of sorted points [N, 2], without its last one."""
    chain: list[tuple[float, float]] = []
    for x, y in points.tolist():
        while len(chain) > 1:
            (ax, ay), (bx, by) = chain[-2:]
            if (bx - ax) * (y - ay) - (by - ay) * (x - ax) > 0:
                break
            chain.pop()
        chain.append((x, y))
    return chain[:-1]


def mask_of(pixels: np.ndarray, name: str) -> tuple[np.ndarray, list[str]]:
    """A mask as it is given, [H, W], [H, W, 3] or [H, W, 4], float32 in [0, 1], to [H, W] float32 in [0, 1], 1 where
    the person is, and notes.

    It is bright on dark, opaque on clear, or a map of labels, of which what is at the border is the background; the
    other way round it is turned over. SomacastError for an empty one and for what looks like a photograph.
    """
    planes = pixels if pixels.ndim == 3 else pixels[..., None]
    colors, alpha = planes[..., :3], planes[..., 3] if planes.shape[2] == 4 else None
    visible = None if alpha is None or alpha.min() >= HALF * alpha.max() else alpha > HALF * alpha.max()
    if alpha is not None and visible is not None and not _shown_within(colors, visible):
        mask = alpha
    else:
        mask = _brightness(colors, name)
        if alpha is not None and visible is not None:
            mask = mask * alpha
    low, top = float(mask.min()), float(mask.max())
    if top == 0:
        raise SomacastError(f"{name}: the mask is empty; expected white where the person is")
    if low < FLAT * top:
        mask = (mask - low) / (top - low)
        if _is_photograph(mask):
            raise SomacastError(f"{name}: looks like a photograph, not like a mask; expected white where the person is")
    else:
        mask = np.ones_like(mask)
    mask, notes = mask.astype(np.float32), []
    if _is_inverted(mask > HALF):
        mask, notes = 1 - mask, [INVERTED]
    return mask, [*notes, ALL] if mask.mean() > NEARLY_ALL else notes


def _shown_within(colors: np.ndarray, visible: np.ndarray) -> bool:
    """Whether a mask with transparency is drawn dark and bright in what is visible, not by the transparency."""
    values = colors.mean(2)[visible]
    dark, bright = float((values < MIDDLE[0]).mean()), float((values > MIDDLE[1]).mean())
    return min(dark, bright) > TWO_SHARE and dark + bright > 1 - SOME_MIDDLE


def _brightness(colors: np.ndarray, name: str) -> np.ndarray:
    """Bright where the person is, [H, W]: of a grey picture itself, of a map of labels all that is not background."""
    small = _reduced(colors)
    if float((np.ptp(small, axis=2) > COLORED).mean()) < COLORED_SHARE:
        return colors.mean(2)
    steps = (small * LABEL_STEPS).round().astype(int)
    counts = np.unique(steps.reshape(-1, 3), axis=0, return_counts=True)[1]
    if not _few(counts) or not _few(np.sort(counts)[:-1]):
        raise SomacastError(f"{name}: is a coloured picture, not a mask; expected white where the person is")
    found, counts = np.unique(_border(steps), axis=0, return_counts=True)
    background = (found[counts.argmax()] / LABEL_STEPS).astype(np.float32)
    return (np.abs(colors - background).max(2) > FROM_BACKGROUND).astype(np.float32)


def _few(counts: np.ndarray) -> bool:
    """Whether a few of some colours cover nearly all that they cover together."""
    return float(np.sort(counts)[-LABELS:].sum()) >= LABEL_SHARE * counts.sum()


def _is_photograph(mask: np.ndarray) -> bool:
    """Whether a mask that reaches from 0 to 1 has more half-tones than the soft edge of a person."""
    dark, bright = float((mask < MIDDLE[0]).mean()), float((mask > MIDDLE[1]).mean())
    middle = 1 - dark - bright
    return middle > MANY_MIDDLE or middle > max(SOME_MIDDLE, min(dark, bright))


def _is_inverted(marked: np.ndarray) -> bool:
    """Whether a mask [H, W] bool marks the upper corners and most of the border, and leaves something out."""
    corner = bool(marked[0, 0]) and bool(marked[0, -1])
    return corner and float(_border(marked).mean()) > INVERTED_BORDER and float(marked.mean()) < NEARLY_ALL
