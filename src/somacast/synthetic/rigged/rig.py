"""Rigs of rigged people: which bone follows which canonical joint, and how fingers close."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from somacast.body.skeleton import CANONICAL_JOINTS, JOINT_PARENT
from somacast.body.table import CURL_RAD, THUMB_SHARE, bone_transforms

_JOINT_OF_BONE = {"Hips": "pelvis", "Spine": "spine", "Spine1": "chest", "Spine2": "chest", "Neck": "neck",
                  "Head": "head"}  # fmt: skip
_LIMB_BONES = {
    "Shoulder": "clavicle", "Arm": "upper_arm", "ForeArm": "lower_arm", "Hand": "hand", "UpLeg": "upper_leg",
    "Leg": "lower_leg", "Foot": "foot", "ToeBase": "toe",
}  # fmt: skip
_JOINT_OF_BONE |= {
    f"{side}{bone}": f"{side[0].lower()}_{joint}" for side in ("Left", "Right") for bone, joint in _LIMB_BONES.items()
}
_FINGERS = ("Thumb", "Index", "Middle", "Ring", "Pinky")
_PHALANGES = 3


@dataclass(frozen=True)
class Rig:
    """parent [B] int64, parents first; joint [B] int64: canonical joint whose rotation a bone follows; joint_bone [21]
    int64: bone that stands for a joint; close [B, 2] float64: turn in radians about z of a bone in the T-pose for each
    unit of curl of the left and the right hand, those of the bones above it included; eyes [B] bool."""

    parent: np.ndarray
    joint: np.ndarray
    joint_bone: np.ndarray
    close: np.ndarray
    eyes: np.ndarray

    def rotations(self, joints: np.ndarray, curl: tuple[float, float]) -> np.ndarray:
        """World rotations of the bones [B, 3, 3] float32 for those of the joints [21, 3, 3] and curl of the hands."""
        rotation = np.ascontiguousarray(joints[self.joint], np.float32)
        angle = self.close @ np.asarray(curl, np.float64)
        bent = np.flatnonzero(angle)
        turn = np.zeros((len(bent), 3, 3), np.float32)
        turn[:, 0, 0] = turn[:, 1, 1] = np.cos(angle[bent])
        turn[:, 1, 0] = np.sin(angle[bent])
        turn[:, 0, 1] = -turn[:, 1, 0]
        turn[:, 2, 2] = 1
        rotation[bent] = rotation[bent] @ turn
        return rotation

    def transforms(
        self, heads: np.ndarray, joints: np.ndarray, curl: tuple[float, float]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Bone heads at rest [B, 3] float32 and joint rotations [21, 3, 3] to transforms [B, 3, 4] from the rest pose
        and posed heads [B, 3], both float32."""
        out = np.empty((len(heads), 3, 4), np.float32)
        return out, bone_transforms(self.parent, self.rotations(joints, curl), heads, out)

    def carried(self, transform: np.ndarray, anchors: np.ndarray) -> np.ndarray:
        """Where bones with transforms [B, 3, 4] take points [21, 3] of the canonical joints: half by the joint's bone,
        half by that of the joint above."""
        above = np.concatenate([self.joint_bone[:1], self.joint_bone[JOINT_PARENT[1:]]])
        both = (transform[self.joint_bone] + transform[above]) / 2
        return (np.einsum("jik,jk->ji", both[..., :3], anchors) + both[..., 3]).astype(np.float32)


def make_rig(names: list[str], parent: np.ndarray) -> Rig:
    """Rig of bones with Mixamo's names, parents first; ValueError in one line if a canonical joint has no bone."""
    absent = sorted(set(_JOINT_OF_BONE) - {"Spine2"} - set(names))
    if absent:
        raise ValueError(f"bones: expected Mixamo's names, found no {', '.join(absent)}")
    count = len(names)
    joint = np.zeros(count, np.int64)
    close = np.zeros((count, 2))
    for bone, name in enumerate(names):
        above = int(parent[bone])
        if name in _JOINT_OF_BONE:
            joint[bone] = CANONICAL_JOINTS.index(_JOINT_OF_BONE[name])
            continue
        if above >= 0:  # fingers, eyes and ends follow the bone above
            joint[bone], close[bone] = joint[above], close[above]
        for side, sign in ((0, -1.0), (1, 1.0)):  # palms face down in the T-pose: finger tips go down
            hand = ("LeftHand", "RightHand")[side]
            for finger in _FINGERS:
                if name in [f"{hand}{finger}{k + 1}" for k in range(_PHALANGES)]:
                    close[bone, side] += sign * CURL_RAD * (THUMB_SHARE if finger == "Thumb" else 1.0)
    stands = {j: n for n, j in _JOINT_OF_BONE.items() if n != "Spine2"}
    joint_bone = np.array([names.index(stands[j]) for j in CANONICAL_JOINTS])
    eyes = np.array([n.endswith("Eye") for n in names])
    return Rig(parent.astype(np.int64), joint, joint_bone, close, eyes)
