"""Finding people in an ordinary photograph: a small network of ours, run offline by onnxruntime."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from somacast.capture.cropping import SquareBox, box_of_mask, square_crop
from somacast.types import Frame
from somacast.weights.sessions import open_session

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

WEIGHTS = "detector.onnx"
INPUT_PX = 128
GRID = 32
OUTSIDE_GREY = 128 / 255  # what the network sees beyond the picture's edges, in training too
GUESS = 0.12  # of a single look
GUESSES = 8  # looked at from near
THRESHOLD = 0.3  # mean of the look at the whole and the one from near: about 3 false alarms in 100 empty pictures
SURE = 0.42  # asked of people found in tiles, where many more looks are taken
MARGIN = 1.2  # side of the box over the longer side of the person
SHORT = 0.92  # the network's rectangles over the true ones, median over 160 made pictures
WORK_PX = 640  # longer side of what is searched: tiles of 128 pixels then show people of a 20th of the height
ZOOM = 1.6 * SHORT / MARGIN  # second look, over the box of the first
# A rectangle that comes so near to an edge of the picture, in its own longer sides, may be cut there. Below, where cut
# people go on, it tends to end too early.
TOUCHES, TOUCHES_BELOW = 0.01, 0.05
CUT = "what was found reaches the picture's {} edge: whatever may be cut off there is not seen"
NO_PERSON = "no person found in the picture: expected one person, mostly visible"


@dataclass(frozen=True)
class DetectedPerson:
    """box: square around the person, about 1.2 times its longer side, may leave the picture. score: 0 to 1. area_share:
    area of the person's tight rectangle over that of the picture. rectangle: left, top, right, bottom in pixels."""

    box: SquareBox
    score: float
    area_share: float
    rectangle: tuple[float, float, float, float]


@dataclass(frozen=True)
class Detection:
    """Where the person of a picture is.

    box: square around the person. truncated_edges: edges of the picture ("lower", "upper", "left", "right") that the
    person reaches and may be cut at. score: 0 to 1; 1 for a user's mask. people: how many were seen; 0 if nobody was,
    and the box is then the whole picture.
    """

    box: SquareBox
    truncated_edges: tuple[str, ...] = ()
    score: float = 1.0
    people: int = 1

    @property
    def certain(self) -> bool:
        """Somebody was seen, and whole."""
        return self.people > 0 and not self.truncated_edges

    @property
    def truncation_notes(self) -> list[str]:
        """One line for the user if the person may be cut, else none."""
        return [CUT.format(" and ".join(self.truncated_edges))] if self.truncated_edges else []

    @property
    def notes(self) -> list[str]:
        """What the user should know, a line each."""
        several = [f"{self.people} people found; the largest is taken"] if self.people > 1 else []
        return several + self.truncation_notes


def find_people(image: np.ndarray) -> list[DetectedPerson]:
    """Everybody in image [H, W, 3] (float, sRGB in [0, 1]), the largest first; about 20 ms, more if nobody is seen.

    The whole picture is looked at first and then each place once more from near: the score is the mean of both looks
    and the box that of the second. Only if nobody is there, overlapping tiles are searched in the same way, for
    people that are small in a large picture.
    """
    small, scale = _reduced(image)
    height, width = small.shape[:2]
    whole = [SquareBox(width / 2, height / 2, float(max(height, width)))]
    people = _confirmed(image, *_look(small, whole, GUESS), scale, THRESHOLD)
    if not people:
        people = _confirmed(image, *_look(small, _tiles(width, height), THRESHOLD), scale, SURE)
    return sorted(people, key=lambda person: -person.area_share)


def find_person(frame: Frame) -> Detection:
    """The person of a frame: whom the mask marks, which is taken at its word, or the largest of those seen; if nobody
    is, the whole picture with `people` 0. SomacastError if the mask is empty."""
    if frame.mask is not None:
        return Detection(box_of_mask(frame.mask))
    height, width = frame.image.shape[:2]
    people = find_people(frame.image)
    if not people:
        return Detection(SquareBox(width / 2, height / 2, float(max(height, width))), score=0.0, people=0)
    largest = people[0]
    return Detection(largest.box, _edges_reached(largest.rectangle, width, height), largest.score, len(people))


def _edges_reached(rectangle: tuple[float, float, float, float], width: int, height: int) -> tuple[str, ...]:
    """Edges of a picture at which somebody's rectangle ends, who may be cut there: lower, upper, left, right."""
    left, top, right, bottom = rectangle
    side = max(right - left, bottom - top)
    near = {"upper": top, "left": left, "right": width - right}
    below = ["lower"] if height - bottom <= TOUCHES_BELOW * side else []
    return (*below, *(name for name, gap in near.items() if gap <= TOUCHES * side))


def _confirmed(
    image: np.ndarray, boxes: np.ndarray, scores: np.ndarray, scale: float, threshold: float
) -> list[DetectedPerson]:
    """The guesses (boxes [N, 4] in pixels of the reduced picture) that hold when seen from near, without doubles."""
    height, width = image.shape[:2]
    limits = [width, height, width, height]
    boxes = np.clip(boxes * scale, 0, limits)
    tight, sure = [np.zeros((0, 4))], [np.zeros(0)]
    for i in suppress(boxes, scores)[:GUESSES]:
        guess = _person(boxes[i], float(scores[i]), 1.0).box
        seen, seen_scores = _look(image, [SquareBox(guess.cx, guess.cy, guess.side * ZOOM)], GUESS)
        seen = np.clip(seen, 0, limits)
        seen_scores = seen_scores * (overlaps(boxes[i], seen) > 0.35)
        if len(seen) and (scores[i] + seen_scores.max()) / 2 >= threshold:
            tight.append(seen[[seen_scores.argmax()]])
            sure.append(np.array([(scores[i] + seen_scores.max()) / 2]))
    boxes, scores = np.concatenate(tight), np.concatenate(sure)
    return [_person(boxes[i], float(scores[i]), width * height) for i in suppress(boxes, scores)]


def _person(box: np.ndarray, score: float, picture_area: float) -> DetectedPerson:
    left, top, right, bottom = (float(v) for v in box)
    w, h = right - left, bottom - top
    square = SquareBox((left + right) / 2, (top + bottom) / 2, MARGIN / SHORT * max(w, h, 1.0))
    return DetectedPerson(square, score, w * h / picture_area, (left, top, right, bottom))


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
    """Squares of half the shorter side (of the whole of it in long pictures), each half over the next."""
    side = min(width, height)
    sides = [side, side / 2] if max(width, height) > 1.4 * side else [side / 2]
    tiles = []
    for tile in sides:
        across, down = (max(1, round((length - tile) / (tile / 2)) + 1) for length in (width, height))
        if across * down > 60:  # a very long strip
            continue
        tiles += [
            SquareBox(float(x), float(y), float(tile))
            for y in np.linspace(tile / 2, height - tile / 2, down)
            for x in np.linspace(tile / 2, width - tile / 2, across)
        ]
    return tiles


def _look(image: np.ndarray, views: list[SquareBox], threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Boxes [N, 4] in pixels of the picture and scores [N] of everything the network sees in square views.

    Each view is seen as it is and mirrored, and the answers are averaged.
    """
    found, scores = [np.zeros((0, 4))], [np.zeros(0)]
    pictures = np.stack([_letterbox(image, view).transpose(2, 0, 1) for view in views])
    both = np.concatenate([pictures, pictures[..., ::-1]])
    heats, sizes = (np.asarray(o).copy() for o in _session().run(["heat", "box"], {"picture": both}))
    heats[len(views) :], sizes[len(views) :] = heats[len(views) :, ..., ::-1], sizes[len(views) :, ..., ::-1]
    sizes[len(views) :, 0] *= -1  # the centre's offset in x turns round
    heats, sizes = (v.reshape(2, len(views), *v.shape[1:]).mean(0) for v in (heats, sizes))
    for view, heat, box in zip(views, heats, sizes, strict=True):
        boxes, score = decode_boxes(heat[0], box, threshold)
        found.append(boxes * view.side + np.tile(view.corner, 2))
        scores.append(score)
    return np.concatenate(found), np.concatenate(scores)


def _letterbox(image: np.ndarray, view: SquareBox) -> np.ndarray:
    """The view at the size of the network [128, 128, 3], grey where there is no picture."""
    crop = square_crop(image, view, INPUT_PX)
    middles = view.side / INPUT_PX * (np.arange(INPUT_PX) + 0.5)
    left, top = view.corner
    across, down = left + middles, top + middles
    outside = ((across < 0) | (across > image.shape[1]))[None] | ((down < 0) | (down > image.shape[0]))[:, None]
    crop[outside] = OUTSIDE_GREY
    return crop


def decode_boxes(heat: np.ndarray, box: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Peaks of the network's heat map as boxes.

    heat [G, G] logits, box [4, G, G] (see DetectorNet) -> boxes [N, 4] left, top, right, bottom over the side of the
    square view, scores [N] in [threshold, 1], best first.
    """
    score = 1 / (1 + np.exp(-heat.astype(np.float64)))
    size = len(score)
    around = np.pad(score, 1)
    top = np.max([around[y : y + size, x : x + size] for y in range(3) for x in range(3)], axis=0)
    rows, columns = np.nonzero((score >= threshold) & (score >= top))
    order = np.argsort(-score[rows, columns], kind="stable")
    rows, columns = rows[order], columns[order]
    dx, dy, w, h = box[:, rows, columns].astype(np.float64)
    cx, cy = (columns + 0.5 + dx) / size, (rows + 0.5 + dy) / size
    w, h = np.exp(np.clip(w, -6, 1)) / 2, np.exp(np.clip(h, -6, 1)) / 2
    return np.stack([cx - w, cy - h, cx + w, cy + h], 1), score[rows, columns]


def overlaps(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of a box [4] with others [N, 4] (left, top, right, bottom)."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    common = np.clip(high - low, 0, None).prod(1)
    areas = (others[:, 2:] - others[:, :2]).prod(1)
    return common / np.maximum((box[2:] - box[:2]).prod() + areas - common, 1e-9)


def suppress(boxes: np.ndarray, scores: np.ndarray, limit: float = 0.45) -> np.ndarray:
    """Non-maximum suppression: indices of boxes [N, 4] to keep, best score first.

    A box that lies almost wholly in a better and larger one (a part of that person) goes too.
    """
    kept: list[int] = []
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    for i in np.argsort(-scores, kind="stable"):
        better = boxes[kept]
        low, high = np.maximum(boxes[i, :2], better[:, :2]), np.minimum(boxes[i, 2:], better[:, 2:])
        inside = np.clip(high - low, 0, None).prod(1) / max(float(areas[i]), 1e-9)
        part = (inside > 0.85) & (areas[i] > 0.15 * areas[kept])
        if not (overlaps(boxes[i], better) > limit).any() and not part.any():
            kept.append(int(i))
    return np.array(kept, np.int64)


@lru_cache(maxsize=1)
def _session() -> InferenceSession:
    """The network; loaded when the first picture comes."""
    return open_session(WEIGHTS, threads=1)  # 2 ms; a second thread spins for longer
