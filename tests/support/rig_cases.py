"""A rig of the body table and half a second of walking, for tests."""

from functools import lru_cache

import numpy as np

from somacast.body.skeleton import JOINT_COUNT, JOINT_PARENT
from somacast.body.table import TPOSE, load_body
from somacast.geometry.rig import Motion, Rig, body_joint_weights
from somacast.synthetic.motion.builtin import builtin_clip
from somacast.types import Mesh

SHAPE = np.array([0.8, -0.6, 0.5], np.float32)


@lru_cache(maxsize=1)
def motion() -> Motion:
    """Half a second of walking."""
    rotations, path = builtin_clip(np.random.default_rng(5), "walking", 0.5, 20.0)
    return Motion(rotations, path + [0.1, 0.9, -0.2], 20.0)


@lru_cache(maxsize=2)
def bare_rig(in_tpose: bool = False) -> Rig:
    """The body table itself, bound in a walking pose or in the T-pose."""
    rotations = TPOSE if in_tpose else motion().rotations[3].astype(np.float32)
    vertices, joints = load_body().pose(SHAPE, rotations)
    colors = np.random.default_rng(0).integers(0, 256, vertices.shape) / 255
    return Rig(Mesh(vertices, load_body().faces, colors.astype(np.float32)), joints, rotations, body_joint_weights())


def blended(rig: Rig, rotations: np.ndarray, pelvis_m: np.ndarray) -> np.ndarray:
    """Linear blend skinning as the formula says, with all weights: sum_j w_j (R'_j R_j^T (v - J_j) + J'_j)."""
    places = np.array(rig.joints, np.float64)
    places[0] = pelvis_m
    for joint, parent in list(enumerate(JOINT_PARENT))[1:]:
        bone = rig.rotations[parent].T @ (rig.joints[joint] - rig.joints[parent])
        places[joint] = places[parent] + rotations[parent] @ bone
    out = np.zeros(rig.mesh.vertices.shape)
    for joint in range(JOINT_COUNT):
        turn = rotations[joint] @ rig.rotations[joint].T
        out += rig.weights[:, joint, None] * ((rig.mesh.vertices - rig.joints[joint]) @ turn.T + places[joint])
    return out
