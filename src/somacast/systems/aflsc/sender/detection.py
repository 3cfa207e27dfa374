"""Sender: whether there is a person in a picture, and where; one way for stills and live."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from somacast.capture.cropping import SquareBox, square_crop
from somacast.capture.detector import NO_PERSON, Detection
from somacast.capture.landmarks import (
    INPUT_PX,
    are_squeezed,
    box_of_landmarks,
    completed_landmarks,
    find_landmarks,
    legs_are_present,
)
from somacast.errors import SomacastError
from somacast.systems.aflsc.sender.look import CROP_MARGIN, Look
from somacast.types import Frame

# The crop need not be exact: the networks learnt from crops of 1.08 to 1.4 times the person's box.
LOCATE_ROUNDS, NEAR_SIDE, NEAR_CENTRE = 3, 1.1, 0.05
SCORE_LOSS = 0.3  # of the network between two rounds, from which on the earlier box is kept
MAX_ZOOM = 4.0  # change of a box's side in one round
MIN_SHARE, MIN_CUT_SHARE = 0.7, 0.9  # of the side of a detected box, of one of somebody who may be cut
# Landmarks that ask for a box so much smaller than the detected one are wrong (legs taken for arms): in a wider one
# they are right.
SHRUNK, WIDER = 0.8, 1.35
LARGER = (1.0, 1.4, 2.0)  # boxes, over the detected one, in which somebody who may be cut is looked for


@dataclass(frozen=True)
class Criterion:
    """Is it a person? The trunk must be seen at all (min_confidence), and either the landmark network's score must be
    high or the trunk seen well. Chosen on people of the training split and on pictures of other things."""

    min_confidence: float
    high_score: float
    high_confidence: float

    def accepts(self, score: float, confidence: float) -> bool:
        """score of the landmark network, confidence of the trunk (see `Look.confidence`)."""
        clear = score >= self.high_score or confidence >= self.high_confidence
        return confidence >= self.min_confidence and clear


DETECTED = Criterion(0.03, 0.99, 0.065)
DOUBTED = Criterion(0.08, 0.95, 0.12)  # where the detector saw nobody


@dataclass(frozen=True)
class Located:
    """A box and the landmarks [33, 8] in it, if they are known; score: how surely there is a person, in [0, 1];
    quarters: see `find_landmarks`; least_side: the smallest that a box of somebody who may be cut has."""

    box: SquareBox
    landmarks: np.ndarray | None
    score: float
    quarters: int
    least_side: float = 0.0


@dataclass(frozen=True)
class Sighting:
    """A person in a frame: the detector's answer, the landmark network's score, the networks' look at the final
    crop."""

    detection: Detection
    score: float
    look: Look

    def check(self) -> Sighting:
        """This sighting; SomacastError if it is not of a person.

        Of somebody cut at the waist enough to be detected may be seen, but too little to go on: the message says so.
        """
        criterion = DETECTED if self.detection.people else DOUBTED
        if not criterion.accepts(self.score, self.look.confidence):
            raise SomacastError("; ".join([NO_PERSON, *self.detection.truncation_notes]))
        return self


def _box_of_whole(frame: Frame, detection: Detection) -> SquareBox:
    """The detected box, or a larger one from the same top, in which the landmarks of somebody who may be cut are those
    of a person of usual shape, or of one whose legs are not there. Of half a person the network otherwise makes
    somebody small."""
    found = detection.box
    for factor in LARGER:
        side = factor * found.side
        box = SquareBox(found.cx, found.cy + (side - found.side) / 2, side)
        crop = square_crop(frame.image, box, INPUT_PX)[None].astype(np.float32)
        landmarks = find_landmarks(crop)[0][0]
        if not are_squeezed(landmarks) or (factor > 1 and not legs_are_present(landmarks)):
            return box
    return found


def _asks_for_less(landmarks: np.ndarray) -> bool:
    """Whether landmarks [33, 8] of a crop are of somebody much smaller than it."""
    return float(box_of_landmarks(landmarks)[1]) * CROP_MARGIN < SHRUNK


def locate(frame: Frame, detection: Detection) -> Located:
    """From a detector's box to the one that the landmarks in it ask for, found again until it stays.

    If the network is much less sure of a person there, the one before is kept. Where somebody was detected the box
    does not shrink far: who is cut by the picture's edge may look like somebody small. Whoever is said to lie or to
    stand on their head is looked at upright, too.
    """
    before: Located | None = None
    cut = bool(detection.truncated_edges) or frame.mask is not None
    box = _box_of_whole(frame, detection) if cut and not detection.quarters else detection.box
    score, quarters = 0.0, detection.quarters
    found_side = box.side if detection.people else 0.0
    for _ in range(LOCATE_ROUNDS):
        crop = square_crop(frame.image, box, INPUT_PX)[None].astype(np.float32)
        landmarks, scores = find_landmarks(crop, quarters)
        if before is None and quarters:
            upright = find_landmarks(crop)
            if upright[1][0] > scores[0]:
                (landmarks, scores), quarters = upright, 0
        if before is not None and scores[0] < before.score - SCORE_LOSS:
            return before
        if not cut and before is None and box.side == found_side and _asks_for_less(landmarks[0]):
            box = SquareBox(box.cx, box.cy, WIDER * box.side)
            continue
        score = max(score, float(scores[0]))
        lacks_legs = cut and not legs_are_present(landmarks[0])
        least = (MIN_CUT_SHARE if lacks_legs else MIN_SHARE) * found_side
        centre, side = box_of_landmarks(completed_landmarks(landmarks[0]) if lacks_legs else landmarks[0])
        side = max(side * CROP_MARGIN, least / box.side)
        before = Located(box, landmarks[0], score, quarters, least if lacks_legs else 0.0)
        if 1 / NEAR_SIDE < side < NEAR_SIDE and np.abs(centre).max() < NEAR_CENTRE:
            return before
        place = box.to_picture(centre + 0.5, 1)
        zoom = float(np.clip(side, 1 / MAX_ZOOM, MAX_ZOOM))
        box = SquareBox(float(place[0]), float(place[1]), box.side * zoom)
    return Located(box, None, score, quarters, before.least_side if before else 0.0)
