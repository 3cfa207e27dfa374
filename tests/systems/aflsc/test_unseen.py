"""AFLSC's sender: what the picture does not show is found out, guessed and said."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from somacast.body.skeleton import CANONICAL_JOINTS, JOINT_COUNT
from somacast.capture.cropping import SquareBox
from somacast.synthetic.samples import Sample, SceneConfig, SyntheticPeople
from somacast.systems.aflsc.networks.loading import load_tables
from somacast.systems.aflsc.sender.encoder import Encoder
from somacast.systems.aflsc.sender.evidence import Evidence
from somacast.systems.aflsc.sender.unseen import (
    UNSEEN_STD,
    Unseen,
    find_unseen,
    in_picture,
    mask_notes,
    stand,
    without_unseen,
)
from somacast.types import Capture, Frame

BOX = SquareBox(50.0, 50.0, 100.0)
ANKLES, KNEES, TOES, WRISTS = (27, 28), (25, 26), (31, 32), (15, 16)
CUT = 200  # px of a picture that is cut


def joint(name: str) -> int:
    return CANONICAL_JOINTS.index(name)


def landmarks() -> np.ndarray:
    """Everything visible in the middle of the crop."""
    out = np.zeros((33, 8), np.float32)
    out[:, 3:5] = 1
    return out


def unseen(points: np.ndarray, mask: np.ndarray | None = None, shape: tuple[int, ...] = (100, 100, 3)) -> Unseen:
    return find_unseen(points, np.ones((64, 64), np.float32) if mask is None else mask, BOX, shape)


def test_what_lies_beyond_the_edge_is_outside_and_all_that_hangs_on_it() -> None:
    assert not unseen(landmarks()).joints.any() and unseen(landmarks()).notes == []
    below = landmarks()
    below[[*ANKLES, *TOES], 1] = 0.4
    found = unseen(below, shape=(80, 100, 3))  # row 90 of 80
    assert set(np.flatnonzero(found.joints)) == {joint(f"{s}_{n}") for s in "lr" for n in ("foot", "toe")}
    assert found.notes == ["legs below the knees are not in the picture: guessed"]
    knee = landmarks()
    knee[KNEES[0], 1] = 0.4
    found = unseen(knee, shape=(80, 100, 3))
    assert found.outside[[joint("l_lower_leg"), joint("l_foot"), joint("l_toe")]].all() and found.joints.sum() == 3
    assert found.notes == ["left leg from the knee on is not in the picture: guessed"]
    both = landmarks()
    both[TOES[1], 1], both[WRISTS, 0] = 0.4, -0.6
    assert unseen(both, shape=(80, 100, 3)).notes == ["right foot and hands are not in the picture: guessed"]
    high = landmarks()
    high[0, 1] = -0.55
    assert unseen(high).notes == ["head is not in the picture: guessed"]


def test_legs_that_the_network_takes_to_be_absent_are_outside_wherever_it_places_them() -> None:
    points = landmarks()
    points[[*KNEES, *ANKLES, *TOES], 4] = 0.1
    assert unseen(points).notes == ["legs from the knees on are not in the picture: guessed"]
    points[KNEES[0], 4] = 0.95  # no leg goes without the other
    assert unseen(points).notes == ["legs below the knees are not in the picture: guessed"]


def somebody() -> np.ndarray:
    """Landmarks of somebody with legs and arms apart."""
    out = landmarks()
    out[:11, :2] = [0, -0.38]
    for at, (x, y) in {11: (0.1, -0.25), 13: (0.15, -0.1), 15: (0.2, 0.0), 23: (0.06, 0.02), 25: (0.09, 0.2),
                       27: (0.12, 0.38)}.items():  # fmt: skip
        out[at, :2], out[at + 1, :2] = (x, y), (-x, y)
    out[17:23, :2], out[29:33, :2] = out[15, :2], out[27, :2]
    return out


def body_mask() -> np.ndarray:
    mask = np.zeros((64, 64), np.float32)
    mask[5:37, 22:42], mask[16:34, 18:46], mask[34:60, 22:42] = 1, 1, 1
    return mask


def test_a_mask_that_disagrees_with_the_landmarks_is_said_to() -> None:
    mask = body_mask()
    assert mask_notes(somebody(), mask) == []
    assert "does not agree" in mask_notes(somebody(), np.roll(mask, 24, 1))[0]
    part = mask.copy()
    part[20:] = 0
    assert any("landmarks are not on it" in note for note in mask_notes(somebody(), part))
    assert mask_notes(somebody(), np.ones_like(mask)) == ["the given mask is far larger than the person who is seen"]
    speck = np.zeros_like(mask)
    speck[6:12, 28:36] = 1
    assert "the given mask is far smaller than the person who is seen" in mask_notes(somebody(), speck)


def test_hidden_is_what_is_neither_visible_nor_on_the_mask() -> None:
    points, mask = landmarks(), np.ones((64, 64), np.float32)
    points[[*ANKLES, *TOES], 1] = 0.3
    mask[45:] = 0
    assert unseen(points, mask).notes == []  # the landmarks are sure: the mask errs
    points[[*ANKLES, *TOES], 3] = 0.1
    assert unseen(points, mask).notes == ["legs below the knees are hidden: guessed"]
    assert unseen(points).notes == []  # behind the person's own body


def test_a_crop_knows_its_picture() -> None:
    inside = in_picture(SquareBox(10.0, 20.0, 40.0), (30, 25, 3), 8)
    assert inside.shape == (8, 8)
    np.testing.assert_array_equal(inside.any(1), [True] * 6 + [False] * 2)  # rows 0 to 40 of 30
    np.testing.assert_array_equal(inside.any(0), [False] * 2 + [True] * 5 + [False])  # columns -10 to 30 of 25


def test_unseen_joints_say_nothing_but_that_legs_stand() -> None:
    rng = np.random.default_rng(0)
    evidence = Evidence(
        rng.random((JOINT_COUNT, 2)), np.full(JOINT_COUNT, 0.01), rng.random((JOINT_COUNT, 3)),
        np.full((JOINT_COUNT, 3), 0.1), np.zeros(3),
    )  # fmt: skip
    lacking, standing = np.zeros(JOINT_COUNT, bool), rng.random((JOINT_COUNT, 3))
    lacking[[joint("l_foot"), joint("r_hand")]] = True
    out = without_unseen(evidence, lacking, standing)
    assert (out.std[lacking] == UNSEEN_STD).all() and (out.std[~lacking] == 0.01).all()
    np.testing.assert_array_equal(out.points[joint("l_foot")], standing[joint("l_foot")])
    assert out.points_std[joint("l_foot"), 0] < 1 and out.points_std[joint("r_hand"), 0] == UNSEEN_STD
    np.testing.assert_array_equal(out.points[~lacking], evidence.points[~lacking])
    assert (evidence.std == 0.01).all()  # nothing is changed in place


def test_standing_legs_hang_straight_down_and_the_rest_is_kept() -> None:
    space = load_tables().space
    values = np.array([label.mean for label in space.vocabulary.labels])
    rng = np.random.default_rng(1)
    values[space.parts["pose"].labels] += rng.normal(0, 1, len(space.parts["pose"].labels)) * space.pose.std[0] * 0.3
    lacking, points = np.zeros(JOINT_COUNT, bool), rng.normal(0, 0.1, (JOINT_COUNT, 3))
    for side in "lr":
        lacking[[joint(f"{side}_{n}") for n in ("lower_leg", "foot", "toe")]] = True
    out, places = stand(space, values, lacking, points)
    for side in "lr":
        hip, knee, ankle = (places[joint(f"{side}_{n}")] for n in ("upper_leg", "lower_leg", "foot"))
        np.testing.assert_array_equal(hip, points[joint(f"{side}_upper_leg")])
        for upper, lower in ((hip, knee), (knee, ankle)):
            assert 0.25 < upper[1] - lower[1] < 0.6 and np.abs(upper - lower)[[0, 2]].max() < 0.1
    np.testing.assert_array_equal(places[~lacking], points[~lacking])
    others = np.setdiff1d(np.arange(len(values)), space.parts["pose"].labels)
    np.testing.assert_array_equal(out[others], values[others])
    before, after = space.state(values).rotations, space.state(out).rotations
    knee = joint("l_lower_leg")
    down = np.array([0.0, -1.0, 0.0])
    assert (after[knee] @ down)[1] < min((before[knee] @ down)[1], -0.9)


@lru_cache(maxsize=1)
def sample() -> Sample:
    """Somebody who stands, seen from the front."""
    source = SyntheticPeople("train", 4, None, SceneConfig(size_px=256, views_per_person=1), actions=("standing",))
    return next(one for index in (9, 20) if (one := next(source.samples(index))).rotations[0, 2, 2] > 0.8)


@lru_cache(maxsize=1)
def encoder() -> Encoder:
    return Encoder()


@pytest.mark.parametrize("where", ["whole", "hips"])
def test_somebody_cut_by_the_picture_stands_and_the_report_says_what_is_guessed(where: str) -> None:
    image = sample().image.astype(np.float32) / 255
    if where == "hips":
        image = np.ascontiguousarray(image[: int(sample().joints_px[0, 1]) + 8])
    values, found = encoder().read(Capture([Frame(image)]))
    guessed = [note for note in found.report["notes"] if note.endswith("guessed")]
    assert bool(guessed) == (where == "hips")
    if guessed:
        assert len(guessed) == 1 and guessed[0].startswith("legs") and "not in the picture" in guessed[0]
        assert not any("may be cut off" in note for note in found.report["notes"])
    joints = found.report["joints_3d_m"]
    for side in "lr":
        upper, lower = (np.array(joints[f"{side}_{name}"]) for name in ("upper_leg", "foot"))
        assert upper[1] - lower[1] > 0.85 * np.linalg.norm(upper - lower) > 0.5
    assert np.isfinite(values).all()
