"""How somebody holds themselves, seen from the side: lean of the spine and bend of the knees, against the truth.

Pure functions of joints [21, 3] in any frame and unit (both sides in the same frame); angles in degrees. Nobody needs
to know where the vertical is: leans are compared in the plane of symmetry of the true person.
"""

from __future__ import annotations

import numpy as np

from somacast.body.skeleton import CANONICAL_JOINTS

_PELVIS, _NECK = CANONICAL_JOINTS.index("pelvis"), CANONICAL_JOINTS.index("neck")
# hip, knee, ankle of the left and the right leg
_LEGS = np.array([[CANONICAL_JOINTS.index(f"{side}_{name}") for name in ("upper_leg", "lower_leg", "foot")]
                  for side in "lr"])  # fmt: skip
STRAIGHT_KNEE_DEG = 30.0  # of somebody who stands neither knee is bent more
STRAIGHT_HIP_DEG = 35.0  # nor does a thigh lie farther from the line of the spine


def knee_bends_deg(joints: np.ndarray) -> np.ndarray:
    """Bend of the left and the right knee [2]: 0 is straight."""
    hip, knee, ankle = np.moveaxis(np.asarray(joints, np.float64)[_LEGS], 1, 0)
    return _angles_deg(knee - hip, ankle - knee)


def is_standing(joints: np.ndarray) -> bool:
    """Whether legs and trunk are stretched, by knees and hips: so of people who stand, and in most steps of a walk."""
    joints = np.asarray(joints, np.float64)
    spine = joints[_PELVIS] - joints[_NECK]
    hips = _angles_deg(joints[_LEGS[:, 1]] - joints[_LEGS[:, 0]], np.stack([spine, spine]))
    return bool((knee_bends_deg(joints) < STRAIGHT_KNEE_DEG).all() and (hips < STRAIGHT_HIP_DEG).all())


def lean_error_deg(truth: np.ndarray, result: np.ndarray) -> float:
    """How much farther forward than in truth somebody leans, from pelvis to neck; backward is negative. Both are looked
    at along the line through the true person's hips."""
    truth, result = np.asarray(truth, np.float64), np.asarray(result, np.float64)
    left = truth[_LEGS[0, 0]] - truth[_LEGS[1, 0]]
    left /= max(float(np.linalg.norm(left)), 1e-9)
    spine = truth[_NECK] - truth[_PELVIS]
    up = spine - (spine @ left) * left
    up /= max(float(np.linalg.norm(up)), 1e-9)
    forward = np.cross(left, up)
    found = result[_NECK] - result[_PELVIS]
    return float(np.degrees(np.arctan2(found @ forward, found @ up)))


def posture_errors(truth: np.ndarray, result: np.ndarray) -> dict[str, float]:
    """`lean_deg` and `knees_deg`, mean of both knees, absolute errors of somebody who truly stands; of others none."""
    if not is_standing(truth):
        return {}
    bends = np.abs(knee_bends_deg(result) - knee_bends_deg(truth))
    return {"lean_deg": abs(lean_error_deg(truth, result)), "knees_deg": float(bends.mean())}


def _angles_deg(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Angles [N] between vectors [N, 3]."""
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.degrees(np.arccos(np.clip((a * b).sum(1) / np.maximum(lengths, 1e-12), -1, 1)))
