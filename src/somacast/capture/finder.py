"""Finding people in an ordinary photograph: a small network of ours, run offline by onnxruntime."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from somacast.capture.crop import SquareBox, box_of_mask, square_crop
from somacast.types import Frame, SomacastError
from somacast.weights.manifest import FOLDER, list_weights

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

WEIGHTS = "finder.onnx"
INPUT_PX = 128
GRID = 32
OUTSIDE_GREY = 128 / 255  # what the network sees beyond the picture's edges, in training too
THRESHOLD = 0.3
SURE = 0.5  # asked of people found in tiles, where many more looks are taken
MARGIN = 1.2  # side of the box over the longer side of the person
ZOOM = 1.6 / MARGIN  # second look, over the box of the first
NO_PERSON = "no person found in the picture: expected one person, mostly visible"


@dataclass(frozen=True)
class FoundPerson:
    """box: square around the person, 1.2 times its longer side, may leave the picture. score: 0 to 1. area_share:
    area of the person's tight rectangle over that of the picture. rectangle: left, top, right, bottom in pixels."""

    box: SquareBox
    score: float
    area_share: float
    rectangle: tuple[float, float, float, float]


def find_people(image: np.ndarray) -> list[FoundPerson]:
    """Everybody in image [H, W, 3] (float, sRGB in [0, 1]), the largest first; about 10 ms, more if nobody is seen.

    The whole picture is looked at first; only if nobody is there, a grid of overlapping tiles, for people that are
    small in a large picture.
    """
    height, width = image.shape[:2]
    whole = SquareBox(width / 2, height / 2, float(max(height, width)))
    boxes, scores = _look(image, [whole], THRESHOLD)
    if len(boxes) == 0:
        boxes, scores = _look(image, _tiles(width, height), SURE)
    boxes = np.clip(boxes, 0, [width, height, width, height])
    order = suppress(boxes, scores)
    people = [_person(boxes[i], float(scores[i]), width * height) for i in order]
    return sorted(people, key=lambda person: -person.area_share)


def find_person(frame: Frame) -> tuple[SquareBox, list[str]]:
    """The square around the person of a frame, with what the user should be told.

    A mask is taken at its word. Otherwise the largest person found is looked at once more from near, which gives a
    tighter box. Raises SomacastError if there is nobody.
    """
    if frame.mask is not None:
        return box_of_mask(frame.mask), []
    people = find_people(frame.image)
    if not people:
        raise SomacastError(NO_PERSON)
    notes = [f"{len(people)} people found; the largest is taken"] if len(people) > 1 else []
    return _refine(frame.image, people[0]).box, notes


def _refine(image: np.ndarray, person: FoundPerson) -> FoundPerson:
    """The same person seen in a closer crop; unchanged if the closer look shows something else."""
    height, width = image.shape[:2]
    near = SquareBox(person.box.cx, person.box.cy, person.box.side * ZOOM)
    boxes, scores = _look(image, [near], THRESHOLD)
    if len(boxes) == 0:
        return person
    boxes = np.clip(boxes, 0, [width, height, width, height])
    common = overlaps(np.array(person.rectangle), boxes)
    best = int(common.argmax())
    if common[best] < 0.4:
        return person
    return _person(boxes[best], max(person.score, float(scores[best])), width * height)


def _person(box: np.ndarray, score: float, picture_area: float) -> FoundPerson:
    left, top, right, bottom = (float(v) for v in box)
    w, h = right - left, bottom - top
    square = SquareBox((left + right) / 2, (top + bottom) / 2, MARGIN * max(w, h, 1.0))
    return FoundPerson(square, score, w * h / picture_area, (left, top, right, bottom))


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
    """Boxes [N, 4] in pixels of the picture and scores [N] of everything the network sees in square views."""
    found, scores = [np.zeros((0, 4))], [np.zeros(0)]
    session = _session()
    for view in views:
        picture = _letterbox(image, view).transpose(2, 0, 1)[None]
        heat, box = session.run(["heat", "box"], {"picture": np.ascontiguousarray(picture)})
        boxes, score = decode_boxes(np.asarray(heat)[0, 0], np.asarray(box)[0], threshold)
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

    heat [G, G] logits, box [4, G, G] (see FinderNet) -> boxes [N, 4] left, top, right, bottom over the side of the
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
    """The network, checked against the manifest; loaded when the first picture comes."""
    entry = next((e for e in list_weights() if e["file"] == WEIGHTS), None)
    path = FOLDER / WEIGHTS
    if entry is None or not path.is_file():
        raise SomacastError(f"{WEIGHTS}: these weights are missing; install somacast again")
    data = path.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != entry["sha256"]:
        raise SomacastError(f"{WEIGHTS}: these weights are damaged: expected sha256 {entry['sha256']}, got {found}")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = 2, 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
