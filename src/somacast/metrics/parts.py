"""What colour each part of a body has: visible points sorted by the nearest bone, colours compared part by part.

A picture of a person in a wrong pose is far from the truth at every pixel even where all colours are right. Here the
hand is compared with the hand, wherever each of the two stands.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from somacast.body.skeleton import CANONICAL_JOINTS, JOINT_PARENT
from somacast.errors import SomacastError
from somacast.geometry.rasteriser import Rendering, srgb_to_linear
from somacast.metrics.color import delta_e, lab_to_linear, linear_to_lab
from somacast.types import Camera

BODY_PARTS = (
    "head", "upper_trunk", "lower_trunk",
    "l_upper_arm", "l_forearm", "l_hand", "r_upper_arm", "r_forearm", "r_hand",
    "l_thigh", "l_shin", "l_foot", "r_thigh", "r_shin", "r_foot",
)  # fmt: skip
MIN_PIXELS = 12


class PartColor(NamedTuple):
    """lab [3] float64: mean colour of a part in CIELAB; pixels: how many show it."""

    lab: np.ndarray
    pixels: int


class _Bone(NamedTuple):
    """A segment from `begin` to `until` of the way from one joint to another, and `beyond` further (share of a leg)."""

    part: str
    start: str
    end: str
    begin: float = 0.0
    until: float = 1.0
    beyond: float = 0.0


def _limbs(side: str) -> list[_Bone]:
    return [
        _Bone("upper_trunk", "chest", f"{side}_clavicle"),
        _Bone("upper_trunk", f"{side}_clavicle", f"{side}_upper_arm"),
        # The flanks: without these lines a hanging arm is nearer to them than the spine is.
        _Bone("upper_trunk", f"{side}_upper_arm", f"{side}_upper_leg", begin=0.2, until=0.5),
        _Bone("lower_trunk", f"{side}_upper_arm", f"{side}_upper_leg", begin=0.5),
        _Bone("lower_trunk", "pelvis", f"{side}_upper_leg"),
        _Bone(f"{side}_upper_arm", f"{side}_upper_arm", f"{side}_lower_arm"),
        _Bone(f"{side}_forearm", f"{side}_lower_arm", f"{side}_hand"),
        _Bone(f"{side}_hand", f"{side}_lower_arm", f"{side}_hand", begin=1.0, beyond=0.2),
        _Bone(f"{side}_thigh", f"{side}_upper_leg", f"{side}_lower_leg"),
        _Bone(f"{side}_shin", f"{side}_lower_leg", f"{side}_foot"),
        _Bone(f"{side}_foot", f"{side}_foot", f"{side}_toe", beyond=0.07),
    ]


_BONES = [
    _Bone("head", "neck", "head", beyond=0.14),
    _Bone("upper_trunk", "chest", "neck"),
    _Bone("lower_trunk", "pelvis", "spine"),
    _Bone("lower_trunk", "spine", "chest"),
    *_limbs("l"), *_limbs("r"),
]  # fmt: skip
_PART = np.array([BODY_PARTS.index(bone.part) for bone in _BONES], np.int8)
_START, _END = (np.array([CANONICAL_JOINTS.index(getattr(b, k)) for b in _BONES]) for k in ("start", "end"))
_BEGIN, _UNTIL, _BEYOND = (np.array([[getattr(b, k)] for b in _BONES]) for k in ("begin", "until", "beyond"))
_LEG = np.array([CANONICAL_JOINTS.index(f"{s}_{k}") for s in "lr" for k in ("lower_leg", "foot")])


def body_parts(points: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """Part of the body that each point belongs to: that of the nearest bone.

    points [N, 3] and joints [21, 3] (CANONICAL_JOINTS) in metres of one world; returns [N] int8 into BODY_PARTS.
    Head, hands and feet reach beyond their last joint, by shares of the length of a leg.
    """
    joints = np.asarray(joints, np.float64)
    leg_m = np.linalg.norm(joints[_LEG] - joints[JOINT_PARENT[_LEG]], axis=1).sum() / 2
    along = joints[_END] - joints[_START]
    length_m = np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
    first = joints[_START] + _BEGIN * along
    bone = joints[_START] + (_UNTIL + _BEYOND * leg_m / length_m) * along - first
    squares = np.maximum((bone**2).sum(1), 1e-18)
    nearest = np.full(len(points), np.inf)
    part = np.zeros(len(points), np.int8)
    for k in range(len(bone)):
        offset = points - first[k]
        share = np.clip(offset @ bone[k] / squares[k], 0, 1)
        distance = ((offset - share[:, None] * bone[k]) ** 2).sum(1)
        closer = distance < nearest
        nearest[closer], part[closer] = distance[closer], _PART[k]
    return part


def visible_points(rendering: Rendering, camera: Camera) -> np.ndarray:
    """World points [N, 3] float64 in metres that the pixels of a rendering's mask show, row by row."""
    row, column = np.nonzero(rendering.mask)
    depth = rendering.depth[row, column].astype(np.float64)
    scale = np.ones_like(depth) if camera.orthographic else depth
    x = (column + 0.5 - camera.cx) / camera.fx * scale
    y = (row + 0.5 - camera.cy) / camera.fy * scale
    return (np.stack([x, y, depth], 1) - camera.translation) @ camera.rotation


def part_colors(rendering: Rendering, camera: Camera, joints: np.ndarray) -> dict[str, PartColor]:
    """Mean colour of every part of the body that a rendering shows on at least MIN_PIXELS pixels; keys of BODY_PARTS.

    camera: that of the rendering; joints [21, 3]: of the person shown, in the world of the camera. The mean is taken
    in linear light: so a picture blends when it is seen from afar or made smaller, so that a fine pattern and a plain
    colour that looks like it from there are equal.
    """
    part = body_parts(visible_points(rendering, camera), joints)
    linear = srgb_to_linear(rendering.rgb[rendering.mask].astype(np.float64))
    found = {}
    for number, name in enumerate(BODY_PARTS):
        own = linear[part == number]
        if len(own) >= MIN_PIXELS:
            found[name] = PartColor(linear_to_lab(own.mean(0)), len(own))
    return found


def part_delta_e(truth_parts: dict[str, PartColor], result_parts: dict[str, PartColor]) -> float:
    """Mean CIEDE2000 between the parts of a truth and those of a result, each part once, whatever its size.

    Where the result does not show a part, the mean colour of all that it shows stands for it. Raises SomacastError if
    either of the two shows no part.
    """
    for name, parts in (("truth", truth_parts), ("result", result_parts)):
        if not parts:
            raise SomacastError(f"colours of parts: expected a part on {MIN_PIXELS} pixels, the {name} shows none")
    shown = result_parts.values()
    weights = [part.pixels for part in shown]
    whole = linear_to_lab(np.average([lab_to_linear(part.lab) for part in shown], axis=0, weights=weights))
    pairs = [
        (part.lab, result_parts[name].lab if name in result_parts else whole) for name, part in truth_parts.items()
    ]
    truth, result = np.moveaxis(np.array(pairs), 1, 0)
    return float(delta_e(truth, result).mean())
