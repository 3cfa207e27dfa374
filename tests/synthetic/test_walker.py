"""The synthetic person before a camera: pictures agree with the truth, motion is smooth."""

from dataclasses import replace

import numpy as np
import pytest

from somacast.body.rotations import matrix_to_rotvec
from somacast.body.skeleton import CANONICAL_JOINTS
from somacast.errors import SomacastError
from somacast.geometry.rasteriser import render_camera
from somacast.synthetic.motion.builtin import BUILTIN_ACTIONS
from somacast.synthetic.walker import SyntheticWalker, WalkerConfig

SMALL = WalkerConfig(size_px=96)
JOINT = {name: number for number, name in enumerate(CANONICAL_JOINTS)}


@pytest.fixture(scope="module")
def walker() -> SyntheticWalker:
    return SyntheticWalker(SMALL)


def angle_deg(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.degrees(np.linalg.norm(matrix_to_rotvec(np.swapaxes(a, -1, -2) @ b), axis=-1))


def covered(walker: SyntheticWalker, time_s: float) -> np.ndarray:
    """Where the person is drawn, found by drawing them over another background."""
    kept, walker._kept = walker._kept, {}
    first = walker.picture(time_s).astype(int)
    background, walker._kept = walker._background, {}
    walker._background = 255 - background
    second = walker.picture(time_s).astype(int)
    walker._background, walker._kept = background, kept
    return np.abs(first - second).max(-1) == 0


def test_pictures_show_the_truth():
    """The silhouette of the picture is that of the truth's mesh, placed at the truth's pelvis before the camera."""
    walker = SyntheticWalker(replace(SMALL, size_px=256))
    for time_s in (7.77,):
        truth, mesh = walker.truth(time_s), walker.mesh(time_s)
        camera = replace(walker.camera, rotation=np.diag([1.0, -1, -1]), translation=truth.pelvis_m.astype(np.float64))
        rendered = render_camera(mesh, camera).mask > 0.5
        seen = covered(walker, time_s)
        assert (rendered & seen).sum() / (rendered | seen).sum() > 0.95
        pixels = camera.project(truth.joints_m)[:, :2]
        assert ((pixels > 0) & (pixels < 256)).all() and seen[tuple(pixels[JOINT["chest"], ::-1].astype(int))]


def test_the_person_fills_the_picture_and_faces_the_camera(walker):
    rows = np.flatnonzero(covered(walker, 0.2).any(1))
    assert 0.6 < (rows[-1] - rows[0]) / 96 < 0.82
    joints = walker.truth(0.2).joints_m
    assert joints[JOINT["head"], 1] > 0.3 and joints[JOINT["l_foot"], 1] < -0.5
    assert joints[JOINT["l_upper_arm"], 0] > joints[JOINT["r_upper_arm"], 0]  # our right is their left
    np.testing.assert_array_equal(joints[0], 0)
    back = SyntheticWalker(replace(SMALL, view_deg=180)).truth(0.2).joints_m
    assert back[JOINT["l_upper_arm"], 0] < back[JOINT["r_upper_arm"], 0]


def test_the_person_walks(walker):
    """Legs swing against each other, and as much forward as back."""
    times = np.arange(24) / 24 * walker.loop_s
    feet = np.stack([walker.truth(t).joints_m[[JOINT["l_foot"], JOINT["r_foot"]], 2] for t in times])
    gap = feet[:, 0] - feet[:, 1]
    assert gap.max() > 0.2 and gap.min() < -0.2


def test_motion_is_smooth_and_repeats(walker):
    times = np.arange(0, walker.loop_s, 1 / 240)
    rotations = np.stack([walker.truth(t).rotations for t in times])
    steps = angle_deg(rotations[:-1], rotations[1:])
    assert steps.max() < 5 and angle_deg(rotations[-1], rotations[0]).max() < 5
    loops = walker.truth(0.4 + 3 * walker.loop_s)
    np.testing.assert_allclose(loops.joints_m, walker.truth(0.4).joints_m, atol=1e-4)
    between = walker.truth(1 / 120).joints_m  # between two poses of the clip
    halfway = (walker.truth(0).joints_m + walker.truth(1 / 60).joints_m) / 2
    assert 0 < np.abs(between - halfway).max() < 0.003


def test_turning():
    turning = SyntheticWalker(replace(SMALL, turn_deg_per_s=90))
    first, second = turning.truth(0.5).rotations[0], turning.truth(0.5 + turning.loop_s).rotations[0]
    assert angle_deg(first, second) == pytest.approx(90 * turning.loop_s, abs=0.1)
    sitting = SyntheticWalker(replace(SMALL, action="sitting", turn_deg_per_s=90, fill=0.95, seed=2))
    for time_s in np.arange(0, 8, 0.25):  # all sides and all of the motion fit the picture
        truth = sitting.truth(time_s)
        camera = replace(sitting.camera, translation=truth.pelvis_m.astype(np.float64))
        pixels = camera.project(truth.vertices)[:, :2]
        assert pixels.min() > 0 and pixels.max() < 96


def test_pictures_are_kept_and_the_same(walker):
    one = walker.picture(3 / 30)
    assert walker.picture(3 / 30 + walker.loop_s) is one and not one.flags.writeable
    rendered = SyntheticWalker(replace(SMALL, keep_bytes=0))
    assert rendered.picture(3 / 30) is not rendered.picture(3 / 30)
    np.testing.assert_array_equal(rendered.picture(3 / 30), one)
    frame = walker.frame(3 / 30)
    assert frame.image.dtype == np.float32 and frame.mask is None and frame.camera is None
    np.testing.assert_array_equal(np.round(frame.image * 255), one)
    assert len(walker._kept) <= walker.loop_frames


def test_other_seeds_are_other_people():
    other = SyntheticWalker(replace(SMALL, seed=1))
    assert np.abs(other.person.shape - SyntheticWalker(SMALL).person.shape).max() > 0.1


@pytest.mark.parametrize("action", BUILTIN_ACTIONS)
def test_every_action(action):
    walker = SyntheticWalker(replace(SMALL, action=action, size_px=64))
    assert covered(walker, 0.7).sum() > 100


@pytest.mark.parametrize("wrong", [
    {"action": "flying"}, {"size_px": 8}, {"size_px": 5000}, {"fps": 0}, {"fill": 0}, {"view_deg": float("nan")},
    {"seed": -1}, {"turn_deg_per_s": float("inf")},
])  # fmt: skip
def test_what_does_not_fit_is_one_line(wrong):
    with pytest.raises(SomacastError, match=f"{next(iter(wrong))}: expected") as caught:
        WalkerConfig(**wrong)
    assert "\n" not in str(caught.value)
