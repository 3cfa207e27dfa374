"""Half bodies and troublesome files are judged as a user would."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from somacast.bench.users import kinds
from somacast.bench.users.halves import CUTS, Half, cut, faults, synthetic_halves
from somacast.body.skeleton import CANONICAL_JOINTS
from somacast.body.table import TPOSE, load_body

REPORTS = Path(__file__).parents[3] / "shared" / "reports"
NOTE = ["legs are not in the picture: guessed"]


def standing() -> tuple[np.ndarray, np.ndarray]:
    """Joints of somebody in T-pose, in metres from the pelvis and in a picture of 400 pixels."""
    body = load_body()
    joints = body.joints(body.rest(np.zeros(4))[1], TPOSE)
    joints = joints - joints[0]
    return joints, np.array([200.0, 200.0]) + joints[:, :2] * [200, -200]


def report(joints_m: np.ndarray, joints_px: np.ndarray, notes: list[str]) -> dict:
    places = {name: joint.tolist() for name, joint in zip(CANONICAL_JOINTS, joints_m, strict=True)}
    return {"joints_2d_px": joints_px.tolist(), "joints_3d_m": places, "notes": notes}


def test_what_is_right_and_what_is_wrong():
    joints_m, joints_px = standing()
    half: Half = cut("a", np.zeros((400, 400, 3), np.float32), joints_px, joints_m, "waist", np.inf)
    assert faults(half, report(joints_m, joints_px, NOTE)) == []
    assert faults(half, report(joints_m, joints_px, [])) == ["no note"]
    child = faults(half, report(joints_m * 0.6, joints_px, NOTE))
    assert len(child) == 1 and child[0].startswith("extent")
    assert any("off by" in fault for fault in faults(half, report(joints_m, joints_px + [0, 60], NOTE)))
    bent = joints_m.copy()
    bent[CANONICAL_JOINTS.index("l_foot")] = bent[CANONICAL_JOINTS.index("l_lower_leg")] - [0, 0, 0.4]
    assert "l leg bent" in faults(half, report(bent, joints_px, NOTE))
    assert any("leans" in fault for fault in faults(half, report(joints_m[:, [1, 0, 2]], joints_px, NOTE)))


@pytest.mark.parametrize("where", CUTS)
def test_cuts_take_the_joints_with_them(where):
    joints_m, joints_px = standing()
    image = np.zeros((400, 400, 3), np.float32)
    wide, close = (cut("a", image, joints_px, joints_m, where, room) for room in (np.inf, 0.2))
    assert (
        wide.image.shape[1] == 400 and close.image.shape[1] < 200 and close.image.shape[0] < wide.image.shape[0] < 400
    )
    moved = wide.joints_px - close.joints_px
    assert np.ptp(moved, axis=0).max() < 1e-9 and (moved[0] > 0).all()


def test_synthetic_people_are_cut_where_they_say():
    halves = list(synthetic_halves("train", 1))
    assert [half.name.split()[2] for half in halves] == list(CUTS)
    heights = [half.image.shape[0] for half in halves]
    assert heights == sorted(heights) and heights[0] < heights[-1] < 384


@pytest.mark.skipif(not REPORTS.is_dir(), reason="shared/reports is not here")
def test_every_reported_file_is_what_it_is():
    found = kinds.measure(REPORTS)
    assert found["reached"] == found["cases"], found["by_file"]
