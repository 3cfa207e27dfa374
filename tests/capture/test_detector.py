"""The detector on made photographs of people it has never seen: one, several, none, small, masked, of any format."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
from PIL import Image

from somacast.capture import detector as detector
from somacast.capture.cropping import SquareBox, box_of_mask
from somacast.capture.detector import Detection, anchors, decode, find_people, find_person, merge
from somacast.errors import SomacastError
from somacast.synthetic.samples import SceneConfig, SyntheticPeople
from somacast.types import Frame
from somacast.weights import manifest, sessions

PEOPLE = 11
FORMATS = ((320, 240), (240, 320), (256, 256), (480, 270), (200, 360))  # width, height


@lru_cache(maxsize=1)
def people() -> list[np.ndarray]:
    """Cut-out people of the test split [h, w, 4] float32 in [0, 1], none running out of its picture."""
    found = []
    synthetic = SyntheticPeople("test", seed=977, assets=None, config=SceneConfig(size_px=192, views_per_person=1))
    for index in range(3 * PEOPLE):
        sample = next(iter(synthetic.samples(index)))
        alpha = sample.silhouette.astype(np.float32)[..., None] / 255
        rows, columns = np.flatnonzero(alpha.any((1, 2))), np.flatnonzero(alpha.any((0, 2)))
        if len(rows) < 96 or min(rows[0], columns[0]) == 0 or max(rows[-1], columns[-1]) == 191:
            continue
        cut = np.concatenate([sample.image.astype(np.float32) / 255, alpha], 2)
        found.append(cut[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
    assert len(found) >= PEOPLE
    return found[:PEOPLE]


def room(width: int, height: int, seed: int) -> np.ndarray:
    """A wall, a floor, a window and a cupboard with camera noise: [height, width, 3] float32."""
    rng = np.random.default_rng(seed)
    wall, floor = rng.uniform(0.35, 0.9, 3) * 0.3 + 0.55, rng.uniform(0.15, 0.5, 3)
    out = np.empty((height, width, 3), np.float32)
    out[: int(0.75 * height)], out[int(0.75 * height) :] = wall, floor
    x = int(rng.uniform(0.05, 0.6) * width)
    out[int(0.1 * height) : int(0.4 * height), x : x + width // 5] = rng.uniform(0.6, 0.95, 3)
    x = int(rng.uniform(0.05, 0.7) * width)
    out[int(0.5 * height) : int(0.8 * height), x : x + width // 4] = rng.uniform(0.1, 0.6, 3)
    return np.clip(out + rng.normal(0, 0.01, out.shape), 0, 1).astype(np.float32)


def paste(
    picture: np.ndarray, person: np.ndarray, cx: float, feet_y: float, high_px: float
) -> tuple[np.ndarray, SquareBox]:
    """Put a person into a picture, in place; returns its mask and the square that should be found."""
    height, width = picture.shape[:2]
    w, h = round(person.shape[1] * high_px / person.shape[0]), round(high_px)
    planes = [Image.fromarray(np.ascontiguousarray(person[..., c])) for c in range(4)]
    piece = np.stack([np.asarray(p.resize((w, h), Image.Resampling.BOX)) for p in planes], 2)
    left, top = int(cx - w / 2), int(feet_y - h)
    assert left >= 0 and top >= 0 and left + w <= width and top + h <= height, "the test's people lie in the picture"
    part = picture[top : top + h, left : left + w]
    part[:] = part * (1 - piece[..., 3:]) + piece[..., :3] * piece[..., 3:]
    mask = np.zeros((height, width), np.float32)
    mask[top : top + h, left : left + w] = piece[..., 3]
    return mask, box_of_mask(mask)


def iou(a: SquareBox, b: SquareBox) -> float:
    low = np.maximum(a.corner, b.corner)
    high = np.minimum(a.corner + a.side, b.corner + b.side)
    common = float(np.clip(high - low, 0, None).prod())
    return common / (a.side**2 + b.side**2 - common)


def one_person(index: int, share: float) -> tuple[np.ndarray, np.ndarray, SquareBox]:
    """Picture, mask, box: person `index`, `share` of the picture's height if its width allows."""
    width, height = FORMATS[index % len(FORMATS)]
    picture, person = room(width, height, index), people()[index]
    high = min(share * height, 0.9 * width * person.shape[0] / person.shape[1])
    half = 0.5 * high * person.shape[1] / person.shape[0] + 2
    cx = np.random.default_rng(index).uniform(half, width - half) if width > 2 * half else width / 2
    mask, box = paste(picture, person, cx, 0.95 * height, high)
    return picture, mask, box


@pytest.mark.parametrize("share", [0.85, 0.45])
def test_one_person_is_found_in_pictures_of_all_formats(share):
    hits, inside = [], []
    for index in range(10):
        picture, mask, expected = one_person(index, share)
        detection = find_person(Frame(picture))
        box = detection.box
        hits.append(iou(box, expected) if detection.people else 0.0)
        if not detection.people:
            continue
        assert 0.3 <= detection.score <= 1
        y, x = np.nonzero(mask > 0.5)
        inside.append((np.abs(np.stack([x + 0.5 - box.cx, y + 0.5 - box.cy])) <= box.side / 2).all(0).mean())
    assert sum(value > 0.5 for value in hits) >= 8, np.round(hits, 2)
    assert np.median(inside) > 0.98


def test_largest_of_several_people_is_taken_and_this_is_said():
    right = several = 0
    for index in range(5):
        picture = room(480, 300, 40 + index)
        large, small = people()[index], people()[index + 5]
        _, expected = paste(picture, large, 140, 290, min(260, 230 * large.shape[0] / large.shape[1]))
        paste(picture, small, 370, 285, min(190, 200 * small.shape[0] / small.shape[1]))
        detection = find_person(Frame(picture))
        found = find_people(picture)
        assert [p.area_share for p in found] == sorted((p.area_share for p in found), reverse=True)
        said = detection.notes[: len(detection.notes) - len(detection.truncation_notes)]
        assert said == ([f"{len(found)} people found; the largest is taken"] if len(found) > 1 else [])
        assert detection.people == len(found) and detection.box == found[0].box
        several += len(found) == 2
        right += max(iou(p.box, expected) for p in found) > 0.5
    assert right >= 4 and several >= 3


def test_a_person_cut_by_the_picture_is_said():
    said = whole = 0
    for index in range(6):
        picture = room(300, 360, 60 + index)
        person = people()[index]
        _, box = paste(picture, person, 150, 320, min(260, 250 * person.shape[0] / person.shape[1]))
        whole += bool(find_person(Frame(picture)).truncated_edges)
        waist = np.ascontiguousarray(picture[: int(box.cy)])
        detection = find_person(Frame(waist))
        said += "lower" in detection.truncated_edges or not detection.people  # too little of somebody
    assert said >= 4 and whole <= 1


def test_which_way_up_somebody_is_seen():
    picture, _, _ = one_person(2, 0.85)
    assert find_people(picture)[0].quarters == 0
    for quarters in (1, 3):
        people = find_people(np.ascontiguousarray(np.rot90(picture, -quarters)))
        assert people and people[0].quarters == quarters


def test_notes_follow_from_the_fields():
    box = SquareBox(10.0, 10.0, 20.0)
    assert Detection(box).notes == [] and Detection(box).certain
    cut = Detection(box, ("lower", "left"), 0.7, 3)
    assert cut.truncation_notes == [
        "what was found reaches the picture's lower and left edge: whatever may be cut off there is not seen"
    ]
    assert cut.notes == ["3 people found; the largest is taken", *cut.truncation_notes]
    assert not cut.certain and not Detection(box, people=0).certain


def nothing(name: str) -> np.ndarray:
    y, x = np.mgrid[0:200, 0:300].astype(np.float32)
    if name == "gradient":
        return np.stack([x / 300, y / 200, np.full_like(x, 0.4)], 2)
    if name == "noise":
        return np.random.default_rng(5).random((200, 300, 3), np.float32)
    if name == "room":
        return room(300, 200, 77)
    return np.full((200, 300, 3), {"plain": 0.6, "black": 0.0}[name], np.float32)


@pytest.mark.parametrize("name", ["plain", "black", "gradient", "noise", "room"])
def test_nobody_gives_the_whole_picture_and_says_so(name):
    assert find_person(Frame(nothing(name))) == Detection(SquareBox(150.0, 100.0, 300.0), (), 0.0, 0)


def test_a_given_mask_is_taken_at_its_word():
    mask = np.zeros((200, 300), np.float32)
    mask[40:140, 60:90] = 1
    assert find_person(Frame(nothing("plain"), mask=mask)) == Detection(SquareBox(75.0, 90.0, 120.0))
    with pytest.raises(SomacastError, match="mask"):
        find_person(Frame(nothing("plain"), mask=np.zeros((200, 300), np.float32)))


def test_a_small_person_in_a_large_picture_is_found():
    hits = []
    for index in range(6):
        picture = room(1600, 1200, 60 + index)
        _, expected = paste(picture, people()[index], 400 + 150 * index, 1000, 150)
        best = max((iou(p.box, expected) for p in find_people(picture)), default=0.0)
        hits.append(best)
    assert sum(value > 0.4 for value in hits) >= 4, np.round(hits, 2)


def test_the_second_look_does_not_leave_the_person():
    """A box found in a long picture is that of the same person seen alone."""
    picture, _, expected = one_person(0, 0.8)
    wide = np.concatenate([room(320, picture.shape[0], 3), picture, room(320, picture.shape[0], 4)], 1)
    box = find_person(Frame(wide)).box
    assert iou(SquareBox(box.cx - 320, box.cy, box.side), expected) > 0.5


def test_answers_become_places() -> None:
    assert anchors().shape == (28 * 28 * 2 + 14 * 14 * 2 + 7 * 7 * 6, 2)
    np.testing.assert_allclose(anchors()[[0, 1, 2]], [[0.5 / 28] * 2, [0.5 / 28] * 2, [1.5 / 28, 0.5 / 28]])
    np.testing.assert_allclose(anchors()[-1], [6.5 / 7, 6.5 / 7])
    answers, logits = np.zeros((2254, 12), np.float32), np.full(2254, -9.0, np.float32)
    logits[[5, 1568]] = 1.0, 3.0
    answers[5, :8] = 11.2, 0, 22.4, 44.8, 0, 22.4, 0, -22.4  # pixels of 224 from the anchor
    found, scores = decode(answers, logits, 0.4)
    assert scores == pytest.approx([1 / (1 + np.exp(-3)), 1 / (1 + np.exp(-1))])
    x, y = anchors()[5]
    np.testing.assert_allclose(found[1], [x, y - 0.1, x + 0.1, y + 0.1, x, y + 0.1, x, y - 0.1], atol=1e-6)


def test_answers_of_one_person_become_their_mean() -> None:
    found = np.array([[0, 0, 10, 10, 5, 20, 5, 0], [1, 0, 11, 10, 6, 20, 6, 0], [30, 0, 40, 10, 35, 20, 35, 0]], float)
    found = np.concatenate([found, [[20, 0, 30, 10, 9, 20, 9, 0]]])  # another face on the same hips
    merged, scores = merge(found, np.array([0.9, 0.45, 0.6, 0.5]))
    np.testing.assert_allclose(scores, [0.9, 0.6])
    np.testing.assert_allclose(merged[0], found[0] + np.array([1, 0, 1, 0, 1, 0, 1, 0]) / 3)
    np.testing.assert_array_equal(merged[1], found[2])
    assert merge(np.zeros((0, 8)), np.zeros(0))[0].shape == (0, 8)


def test_damaged_weights_are_not_used(tmp_path, monkeypatch):
    (tmp_path / detector.WEIGHTS).write_bytes(b"not these")
    (tmp_path / "manifest.json").write_bytes((manifest.FOLDER / "manifest.json").read_bytes())
    monkeypatch.setattr(manifest, "FOLDER", tmp_path)
    monkeypatch.setattr(sessions, "_ahead", {})  # where another test may have left it open
    detector._session.cache_clear()
    with pytest.raises(SomacastError, match="detector.onnx: expected weights of .* bytes, got 9"):
        find_people(nothing("plain"))
    with pytest.raises(SomacastError, match="detector.onnx"):  # not taken for an empty picture
        find_person(Frame(nothing("plain")))
    detector._session.cache_clear()


def test_the_shipped_network_is_the_one_described() -> None:
    shapes = {o.name: o.shape[1:] for o in detector._session().get_outputs()}
    assert shapes == {"boxes": [2254, 12], "scores": [2254, 1]}
    assert (manifest.FOLDER / detector.WEIGHTS).stat().st_size < 3_000_000
