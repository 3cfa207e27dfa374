"""Whether a film cuts, and whether behind a cut somebody else is to be seen, by the colours of what they wear.

A cut is a change of the picture far beyond those before it that stays: a flash goes again. People are compared only
there, part of the body by part, where the landmarks see both. Who cannot be compared counts as the same: one person
must not become two without need.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import TypeVar

import numpy as np

from somacast.capture.cropping import square_crop
from somacast.capture.detector import find_people
from somacast.capture.landmarks import INPUT_PX, find_landmarks
from somacast.metrics.color import delta_e, srgb_to_lab

AHEAD = 3  # frames that are looked ahead: what lasts no longer is no cut
MIN_CHANGE, TIMES_USUAL = 0.02, 5.0  # mean difference of small pictures that may be a cut, alone and beside the usual
OTHER_SCENE = 0.1  # a change from which on nothing of the picture before tells where the person is
OTHER_DELTA_E = 11.0  # mean CIEDE2000 of parts from which on somebody else wears them
PARTS = ("torso", "thighs", "arms")
_THUMB, _USUAL, _HISTORY = 32, 30, 5
_SEEN = 0.5  # visibility of a landmark from which on its place counts
_FEWEST = 4  # samples of a part
T = TypeVar("T")
Clothes = dict[str, np.ndarray]  # part -> CIELAB [3]


def looking_ahead(items: Iterable[T], count: int = AHEAD) -> Iterator[tuple[T, T]]:
    """Each item with the one `count` behind it, or the last."""
    waiting: deque[T] = deque()
    for item in items:
        waiting.append(item)
        if len(waiting) > count:
            yield waiting[0], item
            waiting.popleft()
    last = list(waiting)
    yield from ((item, last[-1]) for item in last)


def _thumb(image: np.ndarray) -> np.ndarray:
    """A picture [H, W, 3] as a tiny one."""
    height, width = image.shape[:2]
    rows, columns = (np.linspace(0, side, _THUMB + 1).astype(int)[:-1] for side in (height, width))
    step = max(height // _THUMB // 4, 1), max(width // _THUMB // 4, 1)
    parts = [image[rows[:, None] + dy * step[0], columns + dx * step[1]] for dy in range(4) for dx in range(4)
             if height >= _THUMB * 4 and width >= _THUMB * 4] or [image[rows[:, None], columns]]  # fmt: skip
    return np.mean(parts, 0)


class Cuts:
    """Finds the cuts of a film, frame by frame."""

    def __init__(self) -> None:
        self._before: np.ndarray | None = None
        self._changes: deque[float] = deque(maxlen=_USUAL)
        self._flash = 0  # frames that one has lasted

    def change(self, image: np.ndarray, later: np.ndarray) -> float:
        """How much the picture [H, W, 3] has changed against the one before if that may be a cut, else 0; later: a
        picture some frames on."""
        here, before = _thumb(image), self._before
        if before is None:
            self._before = here
            return 0.0
        change = float(np.abs(here - before).mean())
        known = len(self._changes) >= _HISTORY
        enough = max(MIN_CHANGE, TIMES_USUAL * max(self._changes)) if known else OTHER_SCENE
        if change >= enough and self._flash < AHEAD and np.abs(_thumb(later) - before).mean() < 0.5 * change:
            self._flash += 1  # what follows is held against what was before the flash
            return 0.0
        self._before, self._flash = here, 0
        if change < enough:
            self._changes.append(change)
            return 0.0
        return change


def clothes_of(image: np.ndarray) -> Clothes:
    """Colours of what the largest person in a picture [H, W, 3] wears, of the parts that are seen; empty for nobody."""
    people = find_people(image)
    if not people:
        return {}
    crop = square_crop(image, people[0].box, INPUT_PX)
    found, _ = find_landmarks(crop[None], people[0].quarters)
    left, right = (_part_samples(found[0], side) for side in (0, 1))
    torso = _quad(found[0], (11, 12, 24, 23))
    samples = {"torso": [torso], "thighs": [left["thigh"], right["thigh"]], "arms": [left["arm"], right["arm"]]}
    out = {}
    for part, places in samples.items():
        points = np.array([point for point in chain(*places)]).reshape(-1, 2)
        pixels = np.rint((points + 0.5) * INPUT_PX).astype(int)
        pixels = pixels[((pixels >= 0) & (pixels < INPUT_PX)).all(1)]
        if len(pixels) >= _FEWEST:
            out[part] = np.median(srgb_to_lab(crop[pixels[:, 1], pixels[:, 0]]), 0)
    return out


def _part_samples(landmarks: np.ndarray, side: int) -> dict[str, np.ndarray]:
    """Points along a thigh and an upper arm of a side, [N, 2] in crop sides."""
    return {"thigh": _line(landmarks, 23 + side, 25 + side), "arm": _line(landmarks, 11 + side, 13 + side)}


def _line(landmarks: np.ndarray, start: int, end: int) -> np.ndarray:
    if landmarks[[start, end], 3].min() < _SEEN:
        return np.zeros((0, 2))
    share = np.linspace(0.25, 0.75, 6)[:, None]
    return landmarks[start, :2] * (1 - share) + landmarks[end, :2] * share


def _quad(landmarks: np.ndarray, corners: tuple[int, int, int, int]) -> np.ndarray:
    """Points inside four landmarks that go round."""
    if landmarks[list(corners), 3].min() < _SEEN:
        return np.zeros((0, 2))
    a, b, c, d = landmarks[list(corners), :2]
    across, down = (
        grid.ravel()[:, None] for grid in np.meshgrid(np.linspace(0.25, 0.75, 5), np.linspace(0.15, 0.8, 6))
    )
    return (a * (1 - across) + b * across) * (1 - down) + (d * (1 - across) + c * across) * down


def difference(one: Clothes, other: Clothes) -> float:
    """Mean CIEDE2000 over the parts that both show; 0 if there are none: nothing speaks for two people."""
    shared = [part for part in PARTS if part in one and part in other]
    return float(np.mean([delta_e(one[part], other[part]) for part in shared])) if shared else 0.0
