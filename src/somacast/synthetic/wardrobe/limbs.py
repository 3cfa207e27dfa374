"""Limbs of the procedural motions: arms, legs and trunk of a phase to rotations, styles drawn for one split.

Angles are in degrees. Legs are given in the world, arms in the frame of the chest either by joint angles or by the
place of the wrist (two-bone inverse kinematics), so that hands reach hips, ears and pockets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from somacast.body.rotations import about_axis
from somacast.body.skeleton import JOINT_COUNT
from somacast.errors import SomacastError

TEST_STYLES = frozenset({"behind_back", "one_hip", "salute", "clap", "star", "ankle_on_knee", "reach_floor", "guard"})
# Lengths of the mean body in metres: only their ratios matter, rotations carry over to every build.
_UPPER_ARM_M, _LOWER_ARM_M, _THIGH_M, _SHIN_M, _FOOT_M, _ANKLE_M = 0.25, 0.225, 0.37, 0.42, 0.145, 0.05
STANDING_M = _THIGH_M + _SHIN_M + _ANKLE_M  # pelvis of somebody who stands, above the ground

# Wrist relative to the left shoulder in metres (x outward, y up, z forward) and the direction the elbow points to.
_WRIST: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "hips": ((0.03, -0.37, 0.02), (1, 0, -0.45)),
    "folded": ((-0.25, -0.22, 0.20), (0.7, -0.7, 0.1)),
    "phone_ear": ((0.01, 0.04, 0.13), (0.6, -0.8, 0.2)),
    "phone_text": ((-0.07, -0.17, 0.28), (0.5, -1, -0.2)),
    "pockets": ((0.04, -0.42, 0.08), (0.8, 0, -1)),
    "raised": ((0.10, 0.38, 0.04), (1, 0.1, 0.1)),
    "behind_back": ((-0.09, -0.37, -0.17), (1, 0, -0.6)),
    "behind_head": ((-0.04, 0.19, 0.00), (1, 0.4, 0.3)),
    "chin": ((-0.11, -0.03, 0.21), (0.4, -1, 0.1)),
    "chest": ((-0.16, -0.12, 0.19), (0.6, -0.8, 0.0)),
    "point": ((0.05, 0.02, 0.44), (0.5, -0.8, 0)),
    "point_side": ((0.42, 0.04, 0.10), (0, -1, -0.3)),
    "talk": ((-0.02, -0.18, 0.29), (0.6, -0.8, -0.3)),
    "wave": ((0.20, 0.20, 0.12), (0.9, -0.6, 0)),
    "offer": ((0.06, -0.16, 0.35), (0.4, -1, -0.2)),
    "salute": ((-0.06, 0.15, 0.13), (1, 0.0, 0.1)),
    "clap": ((-0.15, -0.12, 0.30), (0.7, -0.7, 0)),
    "guard": ((-0.08, 0.04, 0.22), (0.4, -1, 0.1)),
    "lap": ((-0.07, -0.36, 0.24), (0.9, -0.2, -0.5)),
    "knees": ((0.00, -0.29, 0.35), (0.8, -0.4, -0.4)),
    "desk": ((-0.03, -0.22, 0.34), (0.8, -0.5, -0.3)),
    "armrest": ((0.07, -0.25, 0.23), (0.5, -0.5, -1)),
}


@dataclass
class Arm:
    """One arm over T frames in its own side's mirror frame; `wrist` (with `pole`) takes the place of the angles."""

    swing: np.ndarray | float = 0.0  # forward
    abduct: np.ndarray | float = 8.0
    twist: np.ndarray | float = 0.0
    elbow: np.ndarray | float = 12.0
    pronate: np.ndarray | float = 0.0
    hand: np.ndarray | float = 0.0  # towards the palm
    wrist: np.ndarray | None = None  # [T, 3] metres from the shoulder
    pole: np.ndarray | None = None


@dataclass
class Leg:
    """One leg over T frames: thigh angles in the world, knee bend, and the foot's pitch in the world (toes down)."""

    flex: np.ndarray | float = 0.0
    abduct: np.ndarray | float = 3.0
    twist: np.ndarray | float = 5.0
    knee: np.ndarray | float = 3.0
    pitch: np.ndarray | float = 0.0
    hanging: bool = False  # pitch counts from the shin instead of the ground


@dataclass
class Frames:
    """Angles of T frames: torso triples are (forward, turn to the left, side to the right)."""

    pelvis: tuple = (0.0, 0.0, 0.0)
    spine: tuple = (0.0, 0.0, 0.0)
    chest: tuple = (0.0, 0.0, 0.0)
    neck: tuple = (5.0, 0.0, 0.0)
    head: tuple = (-5.0, 0.0, 0.0)
    arms: list[Arm] = field(default_factory=lambda: [Arm(), Arm()])
    legs: list[Leg] = field(default_factory=lambda: [Leg(), Leg()])
    raise_m: np.ndarray | float = 0.0  # the lowest foot above the ground
    flies: bool = False  # the lift counts from the clip's highest stance: feet leave the ground where they are higher


Motion = Callable[[np.ndarray], Frames]


class Style:
    """Draws style parameters of one split."""

    def __init__(self, rng: np.random.Generator, split: str):
        if split not in ("train", "test"):
            raise SomacastError(f'split: expected "train" or "test", got {split!r}')
        self.rng = rng
        self.test = split == "test"

    def uniform(self, low: float, high: float) -> float:
        """A number of the split's bands of [low, high]."""
        band = self.rng.choice([1, 3] if self.test else [0, 2, 4])
        return float(low + (high - low) * (band + self.rng.random()) / 5)

    def pick(self, names: tuple[str, ...]) -> str:
        """A style; those held out are half of what the test split sees."""
        held = [n for n in names if n in TEST_STYLES]
        free = [n for n in names if n not in TEST_STYLES]
        return str(self.rng.choice(held if self.test and held and self.rng.random() < 0.5 else free))

    def wrist(self, name: str, gap_m: float = 0.03) -> tuple[np.ndarray, np.ndarray]:
        place, pole = _WRIST[name]
        shift = np.array([self.uniform(-gap_m, gap_m) for _ in range(3)])
        return np.array(place) + shift, np.array(pole) + self.rng.normal(0, 0.08, 3)


def turn(axis: int, degrees: np.ndarray | float, count: int) -> np.ndarray:
    """Rotations [count, 3, 3] about a coordinate axis."""
    return about_axis("xyz"[axis], np.broadcast_to(np.radians(degrees), (count,)))


def bump(u: np.ndarray, centre: float, sharpness: float) -> np.ndarray:
    """Smooth periodic bump of height 1."""
    return np.exp(sharpness * (np.cos(2 * np.pi * (u - centre)) - 1))


def unit(v: np.ndarray) -> np.ndarray:
    return v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-9)


def _arm_rotations(arm: Arm, count: int) -> list[np.ndarray]:
    """Left clavicle, upper arm, lower arm and hand [T, 3, 3] in the frame of the chest."""
    if arm.wrist is None:
        upper = turn(0, -np.asarray(arm.swing), count) @ turn(2, np.asarray(arm.abduct) - 90.0, count)
        upper = upper @ turn(0, arm.twist, count)
        lower = upper @ turn(1, -np.asarray(arm.elbow), count)
    else:
        wrist = np.broadcast_to(arm.wrist, (count, 3))
        reach = np.clip(np.linalg.norm(wrist, axis=1), 0.13, 0.985 * (_UPPER_ARM_M + _LOWER_ARM_M))
        aim = unit(wrist)
        assert arm.pole is not None
        pole = unit(arm.pole - aim * (aim @ arm.pole)[:, None])
        along = (_UPPER_ARM_M**2 - _LOWER_ARM_M**2 + reach**2) / (2 * reach)
        aside = np.sqrt(np.maximum(_UPPER_ARM_M**2 - along**2, 0))
        elbow = aim * along[:, None] + pole * aside[:, None]
        x, x_low = unit(elbow), unit(aim * reach[:, None] - elbow)
        z = unit(x_low - x * (x_low * x).sum(1, keepdims=True))
        upper = np.stack([x, np.cross(z, x), z], -1)
        bend = np.degrees(np.arccos(np.clip((x * x_low).sum(1), -1, 1)))
        lower = upper @ turn(1, -bend, count)
    lower = lower @ turn(0, np.asarray(arm.pronate) * 0.6, count)
    hand = lower @ turn(0, np.asarray(arm.pronate) * 0.4, count) @ turn(2, -np.asarray(arm.hand), count)
    raised = np.clip(np.degrees(np.arcsin(np.clip(upper[:, 1, 0], -1, 1))) + 20, 0, 110)
    clavicle = turn(2, raised * 0.28, count)
    return [clavicle, upper, lower, hand]


def _leg_rotations(leg: Leg, count: int) -> list[np.ndarray]:
    """Left upper leg, lower leg, foot and toe [T, 3, 3] in the world; the ankle stays within its limits."""
    upper = turn(0, -np.asarray(leg.flex), count) @ turn(2, leg.abduct, count) @ turn(1, leg.twist, count)
    lower = upper @ turn(0, leg.knee, count)
    if leg.hanging:
        foot = lower @ turn(0, leg.pitch, count)
        return [upper, lower, foot, foot]
    shin = np.asarray(leg.knee) - np.asarray(leg.flex)
    pitch = np.clip(leg.pitch, shin - 32, shin + 50)
    heading = np.degrees(np.arctan2(lower[:, 0, 2], lower[:, 2, 2]))
    heading = np.where(lower[:, 2, 2] > 0.25, np.clip(heading, -35, 50), np.broadcast_to(leg.twist, (count,)))
    foot = turn(1, heading, count) @ turn(0, pitch, count)
    toe = turn(1, heading, count) @ turn(0, np.clip(pitch, np.minimum(pitch, 0), pitch * 0.35), count)
    return [upper, lower, foot, toe]


def assemble(frames: Frames, count: int) -> np.ndarray:
    """World rotations [T, 21, 3, 3]."""

    def torso(triple: tuple) -> np.ndarray:
        return turn(1, triple[1], count) @ turn(0, triple[0], count) @ turn(2, -np.asarray(triple[2]), count)

    world = np.zeros((count, JOINT_COUNT, 3, 3))
    # The pelvis keeps yaw 0 by the definition of a canonical pose.
    world[:, 0] = torso((frames.pelvis[0], 0.0, frames.pelvis[2]))
    for joint, triple in enumerate((frames.spine, frames.chest, frames.neck, frames.head), 1):
        world[:, joint] = world[:, joint - 1] @ torso(triple)
    flip = np.diag([-1.0, 1.0, 1.0])
    for side in range(2):
        arm = _arm_rotations(frames.arms[side], count)
        leg = _leg_rotations(frames.legs[side], count)
        if side == 1:
            arm, leg = [flip @ r @ flip for r in arm], [flip @ r @ flip for r in leg]
        for k in range(4):
            world[:, 5 + 4 * side + k] = world[:, 2] @ arm[k]
            world[:, 13 + 4 * side + k] = leg[k]
    return world


def ground_height(world: np.ndarray) -> np.ndarray:
    """Height [T] of the pelvis above the lowest foot point, of the mean body."""
    points = []
    for first in (13, 17):
        ankle = world[:, first] @ [0, -_THIGH_M, 0] + world[:, first + 1] @ [0, -_SHIN_M, 0]
        foot = world[:, first + 2]
        points += [ankle + foot @ [0, -_ANKLE_M, -0.04], ankle + foot @ [0, -_ANKLE_M, _FOOT_M]]
    return -np.min([p[:, 1] for p in points], axis=0)


def arm_pose(style: Style, name: str) -> Callable[[np.ndarray], Arm]:
    """A resting arm pose by name, swaying slightly with the phase."""
    if name == "hanging":
        swing, abduct, elbow = style.uniform(-10, 14), style.uniform(5, 20), style.uniform(4, 40)
        twist, pronate = style.uniform(-30, 20), style.uniform(-20, 40)
        return lambda u: Arm(swing + 1.5 * np.sin(2 * np.pi * u), abduct, twist, elbow, pronate, 5.0)
    wrist, pole = style.wrist(name)
    pronate, hand, sway = style.uniform(-40, 40), style.uniform(-15, 25), style.rng.normal(0, 0.006, 3)
    if name in ("pockets", "hips"):
        pronate, hand = style.uniform(-10, 15), -20.0 if name == "hips" else 0.0
    return lambda u: Arm(wrist=wrist + np.sin(2 * np.pi * u)[:, None] * sway, pole=pole, pronate=pronate, hand=hand)


def rest_arms(style: Style) -> list[Callable[[np.ndarray], Arm]]:
    """Both arms of somebody who stands."""
    both = ("hanging", "hips", "folded", "pockets", "phone_text", "raised", "behind_head", "behind_back", "guard")
    single = ("phone_ear", "hips", "pockets", "chin", "raised", "one_hip", "phone_text")
    roll = style.rng.random()
    if roll < 0.36:
        return [arm_pose(style, "hanging"), arm_pose(style, "hanging")]
    if roll < 0.68:
        name = style.pick(both)
        arms = [arm_pose(style, name), arm_pose(style, name)]
        if name == "folded":  # one forearm lies on the other
            inner = arms[1]

            def lower(u: np.ndarray) -> Arm:
                arm = inner(u)
                assert arm.wrist is not None
                arm.wrist = arm.wrist + [0.03, -0.06, -0.03]
                return arm

            arms[1] = lower
        return arms
    name = style.pick(single)
    if name == "one_hip":
        return [arm_pose(style, "hips"), arm_pose(style, "folded")]
    return [arm_pose(style, name), arm_pose(style, "hanging")]
