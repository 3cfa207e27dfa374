"""Lean of the spine and bend of the knees."""

from __future__ import annotations

import numpy as np
import pytest

from somacast.body.rotations import about_axis
from somacast.body.skeleton import CANONICAL_JOINTS, JOINT_COUNT
from somacast.body.table import load_body
from somacast.metrics.posture import is_standing, knee_bends_deg, lean_error_deg, posture_errors

_LEG = ("upper_leg", "lower_leg", "foot", "toe")
LEGS = {side: [CANONICAL_JOINTS.index(f"{side}_{name}") for name in _LEG] for side in "lr"}


def joints(lean_deg: float = 0, knees_deg: tuple[float, float] = (0, 0), hips_deg: float = 0) -> np.ndarray:
    """Somebody of mean build, from the T-pose: leaning forward from the pelvis on, legs bent."""
    body, rotations = load_body(), np.tile(np.eye(3), (JOINT_COUNT, 1, 1))
    rotations[:13] = about_axis("x", np.radians(lean_deg))
    for side, bend in zip("lr", knees_deg, strict=True):
        rotations[LEGS[side]] = about_axis("x", np.radians(-hips_deg))
        rotations[LEGS[side][1:]] = about_axis("x", np.radians(bend - hips_deg))
    return body.joints(body.bone_mean, rotations.astype(np.float32)).astype(np.float64)


@pytest.mark.parametrize("lean", [-12.0, 3.0, 20.0])
@pytest.mark.parametrize("yaw", [0.0, 70.0, 180.0])
def test_lean_is_measured_from_the_side_wherever_the_camera_stands(lean: float, yaw: float) -> None:
    turn = about_axis("x", 0.2) @ about_axis("y", np.radians(yaw))
    truth, result = joints() @ turn.T, joints(lean) @ turn.T
    assert lean_error_deg(truth, result) == pytest.approx(lean, abs=1e-4)
    tilted = truth @ about_axis("z", 0.1).T if yaw == 0 else truth
    assert lean_error_deg(truth, tilted) == pytest.approx(0, abs=0.3)  # to the side is no lean


def test_knees_bend_each_for_itself() -> None:
    start = knee_bends_deg(joints())
    bent = knee_bends_deg(joints(knees_deg=(25, 10)))
    assert (start < 12).all() and bent[0] > bent[1] > start[1]
    found = posture_errors(joints(), joints(knees_deg=(25, 10)))
    assert found["knees_deg"] == pytest.approx(np.abs(bent - start).mean())
    assert posture_errors(joints(), joints()) == pytest.approx({"lean_deg": 0, "knees_deg": 0}, abs=1e-9)


def test_who_stands_is_decided_by_the_truth() -> None:
    assert is_standing(joints())
    assert not is_standing(joints(knees_deg=(0, 60)))
    assert not is_standing(joints(hips_deg=50))  # straight legs of somebody who sits on the ground, or bows
    assert posture_errors(joints(knees_deg=(70, 70), hips_deg=60), joints()) == {}
    assert posture_errors(joints(), joints(knees_deg=(70, 70), hips_deg=60))["knees_deg"] > 40
