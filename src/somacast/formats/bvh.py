"""BVH, the text form of motion that every animation tool reads: the skeleton without the mesh.

Lengths are metres unless asked otherwise, angles degrees, y is up. The root's offset is 0, so that its position
channels alone place it, however a tool takes them. A turn relative to the parent is Rz Rx Ry (channels Zrotation
Xrotation Yrotation) from a rest pose that is the T-pose.
"""

from __future__ import annotations

import io

import numpy as np

from somacast.body.rotations import wrap_angle
from somacast.body.skeleton import CANONICAL_JOINTS, JOINT_COUNT, JOINT_PARENT, local_rotations, rest_offsets
from somacast.checks import check_places, check_rotations
from somacast.geometry.rig import Motion

_LOCK = 1e-6  # cosine of the middle angle below which the first and the last turn about one line
_END_M = {  # where the last bones end in the T-pose, seen from their joints: the body table's mean
    "head": (0.0, 0.15, 0.0),
    "l_hand": (0.18, 0.0, 0.0),
    "r_hand": (-0.18, 0.0, 0.0),
    "l_toe": (0.0, -0.02, 0.055),
    "r_toe": (0.0, -0.02, 0.055),
}


def _rest_of(turn: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The angles [J, 3] (z, x, y) of turns [J, 3, 3] = Rz Rx Ry whose y [J] is known: Rz Rx is what Ry leaves over."""
    zero = np.zeros_like(y)
    first = np.einsum("jik,jk->ji", turn, np.stack([np.cos(y), zero, np.sin(y)], 1))  # of Rz Rx: (cos z, sin z, 0)
    last = np.einsum("jk,jk->j", turn[:, 2], np.stack([-np.sin(y), zero, np.cos(y)], 1))
    return np.stack([np.arctan2(first[:, 1], first[:, 0]), np.arctan2(turn[:, 2, 1], last), y], 1)


def euler_zxy_deg(rotations: np.ndarray) -> np.ndarray:
    """Rotations [T, J, 3, 3] to degrees [T, J, 3] about z, x, y: R = Rz Rx Ry, continuous along T.

    Two sets of angles (and any full turns) give one rotation: that nearer to the frame before is taken. Where x is 90
    degrees only z and y together are known, and y stays as it was.
    """
    angles = np.zeros((*rotations.shape[:2], 3))
    before = np.zeros((rotations.shape[1], 3))
    for frame, turn in enumerate(rotations):
        locked = np.hypot(turn[:, 2, 0], turn[:, 2, 2]) < _LOCK
        y = np.where(locked, before[:, 2], np.arctan2(-turn[:, 2, 0], turn[:, 2, 2]))
        steps = [wrap_angle(_rest_of(turn, choice) - before) for choice in (y, y + np.pi)]
        costs = np.stack([np.abs(step).sum(1) for step in steps])
        other = (costs[1] < costs[0]) & ~locked
        before = before + np.where(other[:, None], steps[1], steps[0])
        angles[frame] = before
    return np.degrees(angles)


def _hierarchy(offsets: np.ndarray, units_per_m: float) -> list[str]:
    """Lines of the HIERARCHY section for offsets [21, 3] in the file's units. Canonical joints are numbered depth
    first, as MOTION wants its columns."""

    def place(values) -> str:
        return "OFFSET " + " ".join(f"{value:.6f}" for value in values)

    def joint_lines(joint: int, indent: str) -> list[str]:
        name, inner = CANONICAL_JOINTS[joint], indent + "\t"
        position = "" if joint else " Xposition Yposition Zposition"
        channels = f"CHANNELS {3 if joint else 6}{position} Zrotation Xrotation Yrotation"
        lines = [f"{indent}{'JOINT' if joint else 'ROOT'} {name}", indent + "{", inner + place(offsets[joint])]
        lines.append(inner + channels)
        for child in np.flatnonzero(np.equal(JOINT_PARENT, joint)):
            lines += joint_lines(int(child), inner)
        if name in _END_M:
            end = place(units_per_m * value for value in _END_M[name])
            lines += [inner + "End Site", inner + "{", inner + "\t" + end, inner + "}"]
        return [*lines, indent + "}"]

    return ["HIERARCHY", *joint_lines(0, "")]


def encode_bvh(joints: np.ndarray, rotations: np.ndarray, motion: Motion, units_per_m: float = 1.0) -> str:
    """The text of a BVH file in metres, or in units of which a metre has units_per_m, and degrees.

    joints [21, 3] in metres and world rotations [21, 3, 3] of any one pose give the lengths of the bones; the motion
    may have a single frame. Raises ValueError for other shapes, matrices that do not turn, and what is not finite.
    """
    joints = check_places("joints", joints, (JOINT_COUNT, 3))
    offsets_m = rest_offsets(joints, check_rotations("rotations", rotations, (JOINT_COUNT, 3, 3)))
    angles_deg = euler_zxy_deg(local_rotations(motion.rotations))
    frames = len(angles_deg)
    table = np.concatenate([units_per_m * motion.pelvis_m, angles_deg.reshape(frames, -1)], 1)
    hierarchy = _hierarchy(units_per_m * offsets_m, units_per_m)
    text = io.StringIO()
    lines = [*hierarchy, "MOTION", f"Frames: {frames}", f"Frame Time: {1 / motion.fps:.8f}"]
    text.write("\n".join(lines) + "\n")
    np.savetxt(text, table, "%.6f")
    return text.getvalue()
