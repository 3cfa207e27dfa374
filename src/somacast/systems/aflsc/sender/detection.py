"""Sender: whether there is a person in a picture, and where; one way for stills and live."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from somacast.capture.cropping import SquareBox, square_crop
from somacast.capture.detector import NO_PERSON, Detection
from somacast.capture.landmarks import INPUT_PX, box_of_landmarks, find_landmarks
from somacast.errors import SomacastError
from somacast.systems.aflsc.sender.look import CROP_MARGIN, Look
from somacast.types import Frame

# The crop need not be exact: the networks learnt from crops of 1.08 to 1.4 times the person's box.
LOCATE_ROUNDS, NEAR_SIDE, NEAR_CENTRE = 3, 1.1, 0.05
SCORE_LOSS = 0.3  # of the network between two rounds, from which on the earlier box is kept
MAX_ZOOM = 4.0  # change of a box's side in one round
MIN_SHARE = 0.7  # of the side of a detected box


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
    quarters: see `find_landmarks`."""

    box: SquareBox
    landmarks: np.ndarray | None
    score: float
    quarters: int


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


def locate(frame: Frame, detection: Detection) -> Located:
    """From a detector's box to the one that the landmarks in it ask for, found again until it stays.

    If the network is much less sure of a person there, the one before is kept. Where somebody was detected the box
    does not shrink far: who is cut by the picture's edge may look like somebody small. Whoever is said to lie or to
    stand on their head is looked at upright, too.
    """
    before: Located | None = None
    box, score, quarters = detection.box, 0.0, detection.quarters
    least = MIN_SHARE * box.side if detection.people else 0.0
    for _ in range(LOCATE_ROUNDS):
        crop = square_crop(frame.image, box, INPUT_PX)[None].astype(np.float32)
        landmarks, scores = find_landmarks(crop, quarters)
        if before is None and quarters:
            upright = find_landmarks(crop)
            if upright[1][0] > scores[0]:
                (landmarks, scores), quarters = upright, 0
        if before is not None and scores[0] < before.score - SCORE_LOSS:
            return before
        score = max(score, float(scores[0]))
        centre, side = box_of_landmarks(landmarks[0])
        side = max(side * CROP_MARGIN, least / box.side)
        before = Located(box, landmarks[0], score, quarters)
        if 1 / NEAR_SIDE < side < NEAR_SIDE and np.abs(centre).max() < NEAR_CENTRE:
            return before
        place = box.to_picture(centre + 0.5, 1)
        zoom = float(np.clip(side, 1 / MAX_ZOOM, MAX_ZOOM))
        box = SquareBox(float(place[0]), float(place[1]), box.side * zoom)
    return Located(box, None, score, quarters)
