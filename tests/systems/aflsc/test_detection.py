"""AFLSC's sender: who is taken for a person, the same for stills and live."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from somacast.body.skeleton import JOINT_COUNT
from somacast.capture.cropping import SquareBox, square_crop
from somacast.capture.detector import NO_PERSON, Detection
from somacast.errors import SomacastError
from somacast.systems.aflsc.live.tracker import Tracker
from somacast.systems.aflsc.sender import detection as detection_module
from somacast.systems.aflsc.sender.detection import DETECTED, DOUBTED, Criterion, Sighting, locate
from somacast.systems.aflsc.sender.encoder import Encoder
from somacast.systems.aflsc.sender.look import Look, closer_box, edges_passed, merge_masks
from somacast.systems.aflsc.sender.unseen import Unseen
from somacast.types import Capture, Frame
from support import aflsc_cases as cases

BOX = SquareBox(50.0, 50.0, 100.0)


@lru_cache(maxsize=1)
def encoder() -> Encoder:
    return Encoder()


def person() -> Frame:
    return Frame(cases.sample(0).image.astype(np.float32) / 255)


def look(confidence: float, silhouette: np.ndarray | None = None, joints: np.ndarray | None = None) -> Look:
    """A look at a crop of 100 px in which every joint is as clear as `confidence`."""
    seen = np.zeros((100, 100)) if silhouette is None else silhouette
    out = {
        "confidence": np.full(JOINT_COUNT, confidence),
        "joints": np.zeros((JOINT_COUNT, 2)) if joints is None else joints,
    }
    whole = Unseen(np.zeros(JOINT_COUNT, bool), np.zeros(JOINT_COUNT, bool))
    image, mask = np.zeros((100, 100, 3), np.float32), seen.astype(np.float32)
    return Look(BOX, image, mask, np.zeros((33, 8), np.float32), whole, out, np.zeros(1), np.zeros(1))


@pytest.mark.parametrize(
    ("criterion", "detection"),
    [(DETECTED, Detection(BOX)), (DETECTED, Detection(BOX, ("left",), 0.6)), (DOUBTED, Detection(BOX, (), 0.0, 0))],
)
def test_doubtful_detections_are_judged_more_strictly(criterion: Criterion, detection: Detection) -> None:
    clear, faint = criterion.high_confidence + 1e-9, criterion.min_confidence + 1e-9
    for score, confidence, accepted in (
        (0.0, clear, True), (criterion.high_score, faint, True), (1.0, faint - 1e-6, False),
        (criterion.high_score - 1e-6, clear - 1e-6, False),
    ):  # fmt: skip
        sighting = Sighting(detection, score, look(confidence))
        if accepted:
            assert sighting.check() is sighting
            continue
        with pytest.raises(SomacastError) as caught:
            sighting.check()
        assert str(caught.value) == "; ".join([NO_PERSON, *detection.truncation_notes])
    assert DOUBTED.high_confidence > DETECTED.high_confidence and DOUBTED.min_confidence > DETECTED.min_confidence


def test_a_crop_is_kept_unless_another_fits_clearly_better() -> None:
    silhouette = np.zeros((100, 100))
    silhouette[9:91, 30:70] = 1  # 82 px high: 1.22 of it fill the crop
    assert closer_box(look(0.1, silhouette)) is None
    small = np.zeros((100, 100))
    small[10:50, 20:40] = 1
    joints = np.tile([-0.2, -0.2], (JOINT_COUNT, 1))  # the middle of it
    box = closer_box(look(0.1, small, joints))
    assert box is not None
    np.testing.assert_allclose([box.cx, box.cy], [29.5, 29.5], atol=1)
    assert 40 < box.side < 52
    assert closer_box(look(0.1)) is None  # nothing is seen: nothing is better


def test_a_crop_of_somebody_cut_follows_the_landmarks() -> None:
    silhouette = np.zeros((100, 100))
    silhouette[9:50, 30:70] = 1  # the upper half
    seen = look(0.1, silhouette)
    seen.landmarks[:, 1] = np.linspace(-0.35, 0.41, 33)
    seen.unseen.outside[-1] = True
    assert closer_box(seen) is None
    seen.landmarks[:, 1] = np.linspace(-0.35, 0.9, 33)
    box = closer_box(seen)
    assert box is not None and box.side > 130 and box.cy > 60


def test_locating_keeps_the_box_in_which_the_network_was_sure(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([0.9, 0.2])

    def find(crops: np.ndarray, quarters: int) -> tuple[np.ndarray, np.ndarray]:
        points = np.zeros((1, 33, 8), np.float32)
        points[0, :, 1] = np.linspace(0.0, 0.7, 33)
        return points, np.array([next(scores)], np.float32)

    monkeypatch.setattr(detection_module, "find_landmarks", find)
    located = locate(person(), Detection(BOX))
    assert located.box == BOX and located.landmarks is not None and located.score == pytest.approx(0.9)


def test_landmarks_of_somebody_much_smaller_than_the_detected_are_looked_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A lunging runner whose legs were taken for arms: half of the box the first time, all of it in a wider one."""
    boxes = []

    def crop(image: np.ndarray, box: SquareBox, size_px: int) -> np.ndarray:
        boxes.append(box)
        return square_crop(image, box, size_px)

    def find(crops: np.ndarray, quarters: int = 0) -> tuple[np.ndarray, np.ndarray]:
        landmarks = np.zeros((1, 33, 8), np.float32)
        landmarks[0, :, 1] = np.linspace(-1, 1, 33) * (0.2 if len(boxes) == 1 else 0.4)
        landmarks[0, :, 3] = 1
        return landmarks, np.ones(1)

    monkeypatch.setattr(detection_module, "square_crop", crop)
    monkeypatch.setattr(detection_module, "find_landmarks", find)
    located = locate(Frame(np.ones((100, 100, 3), np.float32)), Detection(BOX))
    assert [box.side for box in boxes[:2]] == [BOX.side, detection_module.WIDER * BOX.side]
    assert located.box.side == boxes[-1].side > BOX.side


def test_locating_ends_where_the_landmarks_stay() -> None:
    frame, edge = person(), float(cases.sample(0).image.shape[0])
    start = SquareBox(edge / 2, edge / 2, 1.5 * edge)
    located = locate(frame, Detection(start, people=0))
    assert located.score > 0.9 and located.landmarks is not None
    again = locate(frame, Detection(located.box))
    assert again.box == located.box
    joints = cases.sample(0).joints_px
    inside = np.abs(joints - [located.box.cx, located.box.cy]).max(1) < located.box.side / 2
    assert inside.mean() > 0.9


def test_stills_and_live_refuse_in_the_same_words() -> None:
    frame = person()
    height = frame.image.shape[0]
    noise = np.random.default_rng(0).random((200, 300, 3), np.float32)
    feet = np.ascontiguousarray(frame.image[int(0.8 * height) :])
    for picture in (Frame(noise), Frame(feet), Frame(np.zeros((90, 90, 3), np.float32))):
        lines = []
        for verb in (encoder().encode, lambda capture: Tracker(encoder=encoder()).look(capture, 0)):
            with pytest.raises(SomacastError) as caught:
                verb(Capture([picture]))
            lines.append(str(caught.value))
        assert lines[0] == lines[1] and lines[0].startswith(NO_PERSON)


def test_stills_and_live_take_the_same_first_crop() -> None:
    tracker = Tracker(encoder=encoder())
    seen = tracker.look(Capture([person()]), 0.0)
    sighting = encoder().detect(person())
    assert seen.look.box == sighting.look.box and seen.confidence == sighting.look.confidence
    assert tracker.notes == sighting.detection.notes


def test_the_mask_decides_and_the_extractor_where_it_saw_nobody() -> None:
    mask = np.zeros((8, 8), np.float32)
    mask[:4], mask[4] = 1.0, 0.5
    own = np.full((4, 4), 9.0)
    own[:, 2:] = -9.0
    sure, unsure = merge_masks(mask, 1.0, 0.13 * own), merge_masks(mask, 0.0, own)
    assert sure.dtype == np.float32 and sure.shape == mask.shape
    np.testing.assert_array_equal(sure[:4] > 0.5, True)
    np.testing.assert_array_equal(sure[5:] > 0.5, False)
    assert (sure[4, :3] > 0.5).all() and (sure[4, 5:] < 0.5).all()  # undecided: as the extractor says
    np.testing.assert_array_equal(unsure[:, :3] > 0.99, True)
    np.testing.assert_array_equal(unsure[:, 5:] < 0.01, True)


def test_a_skirt_that_the_mask_lacks_is_the_extractors_if_it_is_sure() -> None:
    mask, own = np.zeros((256, 256), np.float32), np.full((256, 256), -6.0)
    mask[40:200, 112:144], own[40:200, 112:144] = 1, 6
    own[120:180, 40:112] = 6  # a skirt to one side
    merged = merge_masks(mask, 1.0, own) > 0.5
    assert merged[122:178, 44:140].all() and not merged[:110, :104].any() and merged[42:198, 114:142].all()
    own[120:180, 40:112] = 1  # it is not so sure
    assert not (merge_masks(mask, 1.0, own) > 0.5)[122:178, 44:104].any()
    own[120:180, 40:112] = -6
    own[40:200, 110:146] = 6  # the blur of an edge
    assert ((merge_masks(mask, 1.0, own) > 0.5) == (mask > 0.5)).all()


def test_edges_beyond_which_somebody_goes_on() -> None:
    silhouette = np.zeros((100, 100))
    silhouette[40:, 30:60] = 1
    assert edges_passed(look(0.1, silhouette)).tolist() == [[False, False], [False, True]]
    silhouette[40:60] = 1
    assert edges_passed(look(0.1, silhouette)).tolist() == [[True, False], [True, True]]


def test_the_silhouette_is_the_persons() -> None:
    sighting = encoder().detect(person())
    seen = sighting.look
    true = square_crop(cases.sample(0).silhouette.astype(np.float32) / 255, seen.box, len(seen.mask)) > 0.5
    assert ((seen.mask > 0.5) & true).sum() / ((seen.mask > 0.5) | true).sum() > 0.93
    assert seen.silhouette.shape == seen.image.shape[:2]
    assert abs(seen.silhouette.mean() - seen.mask.mean()) < 1e-3
