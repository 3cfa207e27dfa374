"""Finding people in an ordinary photograph: the pose detector of BlazePose, run offline by onnxruntime.

Bazarevsky et al. 2020, arXiv:2006.10204; Apache-2.0. It sees faces and upper bodies in a square view and says, for
each, where the middle of the hips is and how large a circle around it holds the whole person.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from somacast.capture.cropping import SquareBox, box_of_mask, square_crop
from somacast.capture.pictures import PictureFrame
from somacast.types import Frame
from somacast.weights.sessions import open_session

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

WEIGHTS = "detector.onnx"
INPUT_PX = 224
CELLS = ((28, 2), (14, 2), (7, 6))  # of the network's grids: cells on a side, answers of each cell
HIPS, CIRCLE = slice(4, 6), slice(6, 8)  # of an answer: the middle of the hips, a point on the circle above the head
GUESS = 0.1  # of a single look
GUESSES = 8  # looked at from near
SURE = 0.8  # needs no second look
THRESHOLD = 0.5  # mean of the look at the whole and the one from near
NEAR = 1.25  # side of the look from near over that of the box
# Two answers are of the same person if their faces overlap so much, or their hips lie so near, in radii of the circle.
SAME_FACE, SAME_HIPS = 0.3, 0.5
SAME_SIZE = 0.6  # of the sides of the boxes
MARGIN = 1.2  # side of the box over the longer side of the person
LONGER = 1.87  # longer side of a person, in radii of the circle: median of made people
ACROSS = 0.5  # half the breadth of a person, in half lengths
MAX_SIDE = 2.5  # of a box, in longer sides of the picture: of who is larger too little is seen
WORK_PX = 640  # longer side of what is searched
LONG, TILE_STEP, MAX_TILES = 3.0, 0.67, 60  # of the search in tiles, see `_tiles`
# A rectangle that comes so near to an edge of the picture, in its own longer sides, may be cut there.
TOUCHES = 0.01
CUT = "what was found reaches the picture's {} edge: whatever may be cut off there is not seen"
NO_PERSON = "no person found in the picture: expected one person, mostly visible"


@dataclass(frozen=True)
class DetectedPerson:
    """box: square around the person, about 1.2 times its longer side, may leave the picture. score: 0 to 1. area_share:
    area of the person's tight rectangle over that of the picture. rectangle: left, top, right, bottom in pixels.
    quarters: how often the picture must be turned to the left by 90 degrees to have the head above."""

    box: SquareBox
    score: float
    area_share: float
    rectangle: tuple[float, float, float, float]
    quarters: int = 0


@dataclass(frozen=True)
class Detection:
    """Where the person of a picture is.

    box: square around the person. truncated_edges: edges of the picture ("lower", "upper", "left", "right") that the
    person reaches and may be cut at. score: 0 to 1; 1 for a user's mask. people: how many were seen; 0 if nobody was,
    and the box is then the whole picture. quarters: see DetectedPerson.
    """

    box: SquareBox
    truncated_edges: tuple[str, ...] = ()
    score: float = 1.0
    people: int = 1
    quarters: int = 0

    @property
    def certain(self) -> bool:
        """Somebody was seen, and whole."""
        return self.people > 0 and not self.truncated_edges

    @property
    def truncation_notes(self) -> list[str]:
        """One line for the user if the person may be cut, else none."""
        return [CUT.format(" and ".join(self.truncated_edges))] if self.truncated_edges else []

    @property
    def several_notes(self) -> list[str]:
        """One line for the user if the person is not the only one, else none."""
        return [f"{self.people} people found; the largest is taken"] if self.people > 1 else []

    @property
    def notes(self) -> list[str]:
        """What the user should know, a line each."""
        return self.several_notes + self.truncation_notes


@dataclass
class PersonFrame(PictureFrame):
    """A picture of several people, and of which of them this is."""

    detection: Detection = field(kw_only=True)

    @classmethod
    def of(cls, frame: Frame, person: DetectedPerson) -> PersonFrame:
        """The same picture for somebody of `find_people`; what was noted of the picture stays with the picture."""
        height, width = frame.image.shape[:2]
        size_px = frame.source_size_px if isinstance(frame, PictureFrame) else (width, height)
        edges = _edges_reached(person.rectangle, width, height)
        detection = Detection(person.box, edges, person.score, quarters=person.quarters)
        return cls(frame.image, frame.mask, frame.camera, [], frame.time_s, size_px, detection=detection)


def find_people(image: np.ndarray, everywhere: bool = False) -> list[DetectedPerson]:
    """Everybody in image [H, W, 3] (float, sRGB in [0, 1]), the largest first; about 12 ms, more if nobody is seen.

    The whole picture is looked at, and where the answer is not sure, once more from near: the score is then the mean
    of both looks. Only if nobody is there, or with `everywhere`, overlapping tiles are searched in the same way, for
    people that are small in a large picture, or beside larger ones: then somebody may be named twice.
    """
    small, scale = _reduced(image)
    height, width = small.shape[:2]
    people = _confirmed(
        image, *_look(small, [SquareBox(width / 2, height / 2, float(max(height, width)))], GUESS), scale
    )
    if everywhere or not people:
        found = _confirmed(image, *_look(small, _tiles(width, height), GUESS), scale)
        people += [one for one in found if not any(_same_place(one, other) for other in people)]
    return sorted(people, key=lambda person: -person.area_share)


def find_person(frame: Frame) -> Detection:
    """The person of a frame: whom the mask marks, which is taken at its word, or the largest of those seen; if nobody
    is, the whole picture with `people` 0. SomacastError if the mask is empty."""
    if isinstance(frame, PersonFrame):
        return frame.detection
    if frame.mask is not None:
        return Detection(box_of_mask(frame.mask))
    height, width = frame.image.shape[:2]
    people = find_people(frame.image)
    if not people:
        return Detection(SquareBox(width / 2, height / 2, float(max(height, width))), score=0.0, people=0)
    largest = people[0]
    edges = _edges_reached(largest.rectangle, width, height)
    return Detection(largest.box, edges, largest.score, len(people), largest.quarters)


def _same_place(one: DetectedPerson, other: DetectedPerson) -> bool:
    """Whether two answers of different looks are of one person: hips near each other, and of one size or so."""
    apart = math.hypot(one.box.cx - other.box.cx, one.box.cy - other.box.cy)
    sides = sorted((one.box.side, other.box.side))
    return apart < SAME_HIPS / (MARGIN * LONGER) * sides[0] and sides[0] > SAME_SIZE * sides[1]


def _edges_reached(rectangle: tuple[float, float, float, float], width: int, height: int) -> tuple[str, ...]:
    """Edges of a picture at which somebody's rectangle ends, who may be cut there: lower, upper, left, right."""
    left, top, right, bottom = rectangle
    near = TOUCHES * max(right - left, bottom - top)
    gaps = {"lower": height - bottom, "upper": top, "left": left, "right": width - right}
    return tuple(name for name, gap in gaps.items() if gap <= near)


def _confirmed(image: np.ndarray, found: np.ndarray, scores: np.ndarray, scale: float) -> list[DetectedPerson]:
    """The answers (found [N, 8] in pixels of the reduced picture) that are sure, or hold when seen from near."""
    kept, sure = [np.zeros((0, 8))], [np.zeros(0)]
    found, scores = merge(found * scale, scores)
    for one, score in zip(found[:GUESSES], scores[:GUESSES], strict=True):
        if score < SURE:
            box = _person(one, score, image.shape).box
            near, near_scores = merge(*_look(image, [SquareBox(box.cx, box.cy, NEAR * box.side)], GUESS))
            same = np.flatnonzero(_same_hips(one, near))
            if not len(same):
                continue
            one, score = near[same[0]], (score + near_scores[same[0]]) / 2
        too_large = _person(one, score, image.shape).box.side > MAX_SIDE * max(image.shape[:2])
        if score >= THRESHOLD and not too_large:
            kept.append(one[None])
            sure.append(np.array([score]))
    found, scores = merge(np.concatenate(kept), np.concatenate(sure))
    return [_person(one, float(score), image.shape) for one, score in zip(found, scores, strict=True)]


def _person(found: np.ndarray, score: float, shape: tuple[int, ...]) -> DetectedPerson:
    """A person of an answer [8] in pixels of the picture. How far somebody reaches follows from the circle: as far up
    and down along the body, half as far to the sides."""
    hips, axis = found[HIPS], found[CIRCLE] - found[HIPS]
    along = np.abs(axis) * (LONGER / 2)
    reach = np.maximum(along, ACROSS * along[::-1])
    limits = np.array([shape[1], shape[0]])
    low, high = np.clip(hips - reach, 0, limits), np.clip(hips + reach, 0, limits)
    side = MARGIN * LONGER * max(float(np.linalg.norm(axis)), 1.0)
    square = SquareBox(float(hips[0]), float(hips[1]), side)
    share = float(np.prod(high - low) / np.prod(limits))
    quarters = round(float(np.arctan2(axis[0], -axis[1])) / (np.pi / 2)) % 4
    return DetectedPerson(
        square, score, share, (float(low[0]), float(low[1]), float(high[0]), float(high[1])), quarters
    )


def _reduced(image: np.ndarray) -> tuple[np.ndarray, float]:
    """The picture with at most WORK_PX on its longer side, and what one of its pixels is in pixels of the picture."""
    height, width = image.shape[:2]
    side = max(height, width)
    if side <= WORK_PX:
        return image, 1.0
    scale = side / WORK_PX
    small = square_crop(image, SquareBox(side / 2, side / 2, float(side)), WORK_PX)
    return small[: max(1, round(height / scale)), : max(1, round(width / scale))], scale


def _tiles(width: int, height: int) -> list[SquareBox]:
    """Squares of half the shorter side (of the whole of it too in very long pictures), each at least a third over the
    next."""
    side = min(width, height)
    tiles = []
    for tile in [side, side / 2] if max(width, height) > LONG * side else [side / 2]:
        across, down = (max(1, math.ceil((length - tile) / (tile * TILE_STEP))) + 1 for length in (width, height))
        if across * down > MAX_TILES:  # a very long strip
            continue
        tiles += [
            SquareBox(float(x), float(y), float(tile))
            for y in np.linspace(tile / 2, height - tile / 2, down)
            for x in np.linspace(tile / 2, width - tile / 2, across)
        ]
    return tiles


def _look(image: np.ndarray, views: list[SquareBox], threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Answers [N, 8] in pixels of the picture and scores [N] of everything the network sees in square views: see
    `decode`."""
    found, scores = [np.zeros((0, 8))], [np.zeros(0)]
    for view in views:
        picture = np.ascontiguousarray(_letterbox(image, view).transpose(2, 0, 1)[None])
        answers, logits = (np.asarray(o)[0] for o in _session().run(["boxes", "scores"], {"image": picture}))
        answer, score = decode(answers, logits[:, 0], threshold)
        found.append(answer * view.side + np.tile(view.corner, 4))
        scores.append(score)
    return np.concatenate(found), np.concatenate(scores)


def _letterbox(image: np.ndarray, view: SquareBox) -> np.ndarray:
    """The view as the network wants it [224, 224, 3] in [-1, 1], black where there is no picture."""
    crop = square_crop(image, view, INPUT_PX)
    middles = view.side / INPUT_PX * (np.arange(INPUT_PX) + 0.5)
    left, top = view.corner
    across, down = left + middles, top + middles
    outside = ((across < 0) | (across > image.shape[1]))[None] | ((down < 0) | (down > image.shape[0]))[:, None]
    crop[outside] = 0
    return 2 * crop - 1


@lru_cache(maxsize=1)
def anchors() -> np.ndarray:
    """The middle [2254, 2] of the cell that each answer belongs to, x and y over the view's side."""
    rows = []
    for cells, answers in CELLS:
        y, x = np.mgrid[:cells, :cells]
        rows.append(np.repeat((np.stack([x, y], -1).reshape(-1, 2) + 0.5) / cells, answers, 0))
    return np.concatenate(rows)


def decode(answers: np.ndarray, logits: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """The network's answers [2254, 12] and logits [2254] as places over the view's side and scores [N] in
    [threshold, 1], best first.

    A place [8]: left, top, right, bottom of face and shoulders; x, y of the middle of the hips; x, y of a point on the
    circle around them that holds the whole person, in the direction of the head.
    """
    score = 1 / (1 + np.exp(-np.clip(logits.astype(np.float64), -50, 50)))
    kept = np.flatnonzero(score >= threshold)
    kept = kept[np.argsort(-score[kept], kind="stable")]
    raw = answers[kept].astype(np.float64) / INPUT_PX
    middle = raw[:, :2] + anchors()[kept]
    half = raw[:, 2:4] / 2
    points = raw[:, 4:8] + np.tile(anchors()[kept], 2)
    return np.concatenate([middle - half, middle + half, points], 1), score[kept]


def merge(found: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Answers [N, 8] of one person become one: the mean, weighed by score, of those whose faces overlap the best; the
    best score. Best first. Raw answers tremble, means do not."""
    kept: list[np.ndarray] = []
    best: list[float] = []
    left = np.argsort(-scores, kind="stable")
    while len(left):
        first, others = found[left[0]], found[left]
        same = overlaps(first[:4], others[:, :4]) > SAME_FACE
        same[0] = True
        kept.append(np.average(others[same], axis=0, weights=scores[left[same]]))
        best.append(float(scores[left[0]]))
        left = left[~same & ~_same_hips(first, others)]
    return np.array(kept).reshape(-1, 8), np.array(best)


def overlaps(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of a box [4] with others [N, 4] (left, top, right, bottom)."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    common = np.clip(high - low, 0, None).prod(1)
    areas = (others[:, 2:] - others[:, :2]).prod(1)
    return common / np.maximum((box[2:] - box[:2]).prod() + areas - common, 1e-9)


def _same_hips(one: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Which of the answers [N, 8] have their hips where one [8] has them."""
    return np.linalg.norm(others[:, HIPS] - one[HIPS], axis=1) < SAME_HIPS * np.linalg.norm(one[CIRCLE] - one[HIPS])


@lru_cache(maxsize=1)
def _session() -> InferenceSession:
    """The network; loaded when the first picture comes."""
    return open_session(WEIGHTS)
