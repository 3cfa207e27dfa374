"""The canonical skeleton: 21 joints, world rotations relative to a T-pose.

Frame of a person in T-pose: x = the person's left, y up, z forward, metres. A pose is one world rotation per
joint, so that the identity everywhere is the T-pose facing +z.
"""

from __future__ import annotations

import numpy as np

from somacast.body.rotations import matrix_to_rotvec, rotvec_to_matrix

CANONICAL_JOINTS = (
    "pelvis", "spine", "chest", "neck", "head",
    "l_clavicle", "l_upper_arm", "l_lower_arm", "l_hand",
    "r_clavicle", "r_upper_arm", "r_lower_arm", "r_hand",
    "l_upper_leg", "l_lower_leg", "l_foot", "l_toe",
    "r_upper_leg", "r_lower_leg", "r_foot", "r_toe",
)  # fmt: skip
JOINT_COUNT = len(CANONICAL_JOINTS)
JOINT_PARENT = np.array([-1, 0, 1, 2, 3, 2, 5, 6, 7, 2, 9, 10, 11, 0, 13, 14, 15, 0, 17, 18, 19])
MIRROR = np.array([0, 1, 2, 3, 4, 9, 10, 11, 12, 5, 6, 7, 8, 17, 18, 19, 20, 13, 14, 15, 16])

_SIDED = {
    "clavicle": "clavicle", "shoulder01": "clavicle", "wrist": "hand", "foot": "foot",
}  # fmt: skip
_SIDED_PREFIX = {
    "upperarm": "upper_arm", "lowerarm": "lower_arm", "finger": "hand", "metacarpal": "hand",
    "upperleg": "upper_leg", "lowerleg": "lower_leg", "toe": "toe",
}  # fmt: skip
_CENTRAL = {"root": "pelvis", "spine05": "pelvis", "spine04": "spine", "spine03": "spine",
            "spine02": "chest", "spine01": "chest", "breast": "chest"}  # fmt: skip


def canonical_joint_of_bone(bone: str) -> str:
    """Canonical joint whose rotation moves the given bone of the 163-bone MakeHuman rig."""
    stem, _, side = bone.partition(".")
    if stem.startswith("pelvis"):
        return "pelvis"
    if stem in _CENTRAL:
        return _CENTRAL[stem]
    if stem.startswith("neck"):
        return "neck"
    if side:
        prefix = {"L": "l_", "R": "r_"}[side]
        if stem in _SIDED:
            return prefix + _SIDED[stem]
        for start, joint in _SIDED_PREFIX.items():
            if stem.startswith(start):
                return prefix + joint
    return "head"


def local_rotations(world: np.ndarray) -> np.ndarray:
    """World rotations [..., 21, 3, 3] to rotations relative to the parent joint; the pelvis stays world."""
    local = world.copy()
    local[..., 1:, :, :] = np.swapaxes(world[..., JOINT_PARENT[1:], :, :], -1, -2) @ world[..., 1:, :, :]
    return local


def world_rotations(local: np.ndarray) -> np.ndarray:
    """Inverse of `local_rotations`."""
    world = local.copy()
    for joint in range(1, JOINT_COUNT):
        world[..., joint, :, :] = world[..., JOINT_PARENT[joint], :, :] @ local[..., joint, :, :]
    return world


def rest_offsets(joints: np.ndarray, rotations: np.ndarray) -> np.ndarray:
    """Each joint seen from its parent in the T-pose [21, 3] metres, from places and rotations of any pose; pelvis 0."""
    offsets = np.zeros((JOINT_COUNT, 3))
    parent = JOINT_PARENT[1:]
    offsets[1:] = np.einsum("jki,jk->ji", rotations[parent], joints[1:] - joints[parent])
    return offsets


def joint_places(offsets_m: np.ndarray, rotations: np.ndarray, pelvis_m: np.ndarray) -> np.ndarray:
    """Forward kinematics: offsets [21, 3], world rotations [..., 21, 3, 3], pelvis [..., 3] to joints [..., 21, 3]."""
    places = np.empty((*rotations.shape[:-3], JOINT_COUNT, 3))
    places[..., 0, :] = pelvis_m
    for joint in range(1, JOINT_COUNT):
        parent = JOINT_PARENT[joint]
        places[..., joint, :] = places[..., parent, :] + rotations[..., parent, :, :] @ offsets_m[joint]
    return places


def joint_rotvecs(world: np.ndarray) -> np.ndarray:
    """World rotations [N, 21, 3, 3] to those of the 20 joints below the pelvis, rotation vectors [N, 60] float64."""
    local = local_rotations(world.astype(np.float64))[:, 1:]
    return matrix_to_rotvec(local).reshape(len(world), -1)


def rotations_from_rotvecs(root: np.ndarray, rotvecs: np.ndarray) -> np.ndarray:
    """Pelvis rotations [N, 3, 3] and rotation vectors [N, 60] of the joints below to world rotations [N, 21, 3, 3]."""
    local = rotvec_to_matrix(rotvecs.reshape(len(rotvecs), JOINT_COUNT - 1, 3))
    return world_rotations(np.concatenate([root[:, None], local], 1))


def mirror_pose(world: np.ndarray) -> np.ndarray:
    """The pose seen in a mirror (left and right exchanged)."""
    flip = np.diag([-1.0, 1.0, 1.0]).astype(world.dtype)
    return (flip @ world @ flip)[..., MIRROR, :, :]
