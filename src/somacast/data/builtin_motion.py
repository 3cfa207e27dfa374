"""Labelled procedural motions that need no asset: every action is a smooth periodic function of a phase.

A motion is drawn in two steps: a style (stride, lean, arm pose ...) from random numbers, then frames of that style
at phases in [0, 1). Angles are in degrees. Legs are given in the world, arms in the frame of the chest either by
joint angles or by the place of the wrist (two-bone inverse kinematics), so that hands reach hips, ears and pockets.

Splits: every style parameter's range is cut into five bands; "test" draws from the second and fourth, "train" from
the rest. The arm and leg styles in `TEST_STYLES` appear in "test" only. So no test motion is seen in training.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from somacast.human.rotations import rotvec_to_matrix
from somacast.human.skeleton import JOINT_COUNT, mirror_pose
from somacast.types import SomacastError

BUILTIN_ACTIONS = ("standing", "walking", "running", "jumping", "sitting", "gesturing", "squatting", "reaching")
TEST_STYLES = frozenset({"behind_back", "one_hip", "salute", "clap", "star", "ankle_on_knee", "reach_floor", "guard"})
_PERIOD_S = {"standing": 4.0, "walking": 1.1, "running": 0.72, "jumping": 1.5, "sitting": 4.0, "gesturing": 1.6,
             "squatting": 2.6, "reaching": 2.4}  # fmt: skip
# Lengths of the mean body in metres: only their ratios matter, rotations carry over to every build.
_UPPER_ARM_M, _LOWER_ARM_M, _THIGH_M, _SHIN_M, _FOOT_M, _ANKLE_M = 0.25, 0.225, 0.37, 0.42, 0.145, 0.05

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
class _Arm:
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
class _Leg:
    """One leg over T frames: thigh angles in the world, knee bend, and the foot's pitch in the world (toes down)."""

    flex: np.ndarray | float = 0.0
    abduct: np.ndarray | float = 3.0
    twist: np.ndarray | float = 5.0
    knee: np.ndarray | float = 3.0
    pitch: np.ndarray | float = 0.0
    hanging: bool = False  # pitch counts from the shin instead of the ground


@dataclass
class _Frames:
    """Angles of T frames: torso triples are (forward, turn to the left, side to the right)."""

    pelvis: tuple = (0.0, 0.0, 0.0)
    spine: tuple = (0.0, 0.0, 0.0)
    chest: tuple = (0.0, 0.0, 0.0)
    neck: tuple = (5.0, 0.0, 0.0)
    head: tuple = (-5.0, 0.0, 0.0)
    arms: list[_Arm] = field(default_factory=lambda: [_Arm(), _Arm()])
    legs: list[_Leg] = field(default_factory=lambda: [_Leg(), _Leg()])
    lift_m: np.ndarray | float = 0.0  # the lowest foot above the ground
    flies: bool = False  # the lift counts from the clip's highest stance: feet leave the ground where they are higher


_Motion = Callable[[np.ndarray], _Frames]


class _Style:
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

    def wrist(self, name: str, spread_m: float = 0.03) -> tuple[np.ndarray, np.ndarray]:
        place, pole = _WRIST[name]
        shift = np.array([self.uniform(-spread_m, spread_m) for _ in range(3)])
        return np.array(place) + shift, np.array(pole) + self.rng.normal(0, 0.08, 3)


def _turn(axis: int, degrees: np.ndarray | float, count: int) -> np.ndarray:
    """Rotations [count, 3, 3] about a coordinate axis."""
    angle = np.broadcast_to(np.radians(degrees), (count,))
    c, s = np.cos(angle), np.sin(angle)
    out = np.zeros((count, 3, 3))
    i, j = (axis + 1) % 3, (axis + 2) % 3
    out[:, axis, axis] = 1
    out[:, i, i] = out[:, j, j] = c
    out[:, i, j], out[:, j, i] = -s, s
    return out


def _bump(u: np.ndarray, centre: float, sharpness: float) -> np.ndarray:
    """Smooth periodic bump of height 1."""
    return np.exp(sharpness * (np.cos(2 * np.pi * (u - centre)) - 1))


def _unit(v: np.ndarray) -> np.ndarray:
    return v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-9)


def _arm_rotations(arm: _Arm, count: int) -> list[np.ndarray]:
    """Left clavicle, upper arm, lower arm and hand [T, 3, 3] in the frame of the chest."""
    if arm.wrist is None:
        upper = _turn(0, -np.asarray(arm.swing), count) @ _turn(2, np.asarray(arm.abduct) - 90.0, count)
        upper = upper @ _turn(0, arm.twist, count)
        lower = upper @ _turn(1, -np.asarray(arm.elbow), count)
    else:
        wrist = np.broadcast_to(arm.wrist, (count, 3))
        reach = np.clip(np.linalg.norm(wrist, axis=1), 0.13, 0.985 * (_UPPER_ARM_M + _LOWER_ARM_M))
        aim = _unit(wrist)
        assert arm.pole is not None
        pole = _unit(arm.pole - aim * (aim @ arm.pole)[:, None])
        along = (_UPPER_ARM_M**2 - _LOWER_ARM_M**2 + reach**2) / (2 * reach)
        aside = np.sqrt(np.maximum(_UPPER_ARM_M**2 - along**2, 0))
        elbow = aim * along[:, None] + pole * aside[:, None]
        x, x_low = _unit(elbow), _unit(aim * reach[:, None] - elbow)
        z = _unit(x_low - x * (x_low * x).sum(1, keepdims=True))
        upper = np.stack([x, np.cross(z, x), z], -1)
        bend = np.degrees(np.arccos(np.clip((x * x_low).sum(1), -1, 1)))
        lower = upper @ _turn(1, -bend, count)
    lower = lower @ _turn(0, np.asarray(arm.pronate) * 0.6, count)
    hand = lower @ _turn(0, np.asarray(arm.pronate) * 0.4, count) @ _turn(2, -np.asarray(arm.hand), count)
    raised = np.clip(np.degrees(np.arcsin(np.clip(upper[:, 1, 0], -1, 1))) + 20, 0, 110)
    clavicle = _turn(2, raised * 0.28, count)
    return [clavicle, upper, lower, hand]


def _leg_rotations(leg: _Leg, count: int) -> list[np.ndarray]:
    """Left upper leg, lower leg, foot and toe [T, 3, 3] in the world; the ankle stays within its limits."""
    upper = _turn(0, -np.asarray(leg.flex), count) @ _turn(2, leg.abduct, count) @ _turn(1, leg.twist, count)
    lower = upper @ _turn(0, leg.knee, count)
    if leg.hanging:
        foot = lower @ _turn(0, leg.pitch, count)
        return [upper, lower, foot, foot]
    shin = np.asarray(leg.knee) - np.asarray(leg.flex)
    pitch = np.clip(leg.pitch, shin - 32, shin + 50)
    heading = np.degrees(np.arctan2(lower[:, 0, 2], lower[:, 2, 2]))
    heading = np.where(lower[:, 2, 2] > 0.25, np.clip(heading, -35, 50), np.broadcast_to(leg.twist, (count,)))
    foot = _turn(1, heading, count) @ _turn(0, pitch, count)
    toe = _turn(1, heading, count) @ _turn(0, np.clip(pitch, np.minimum(pitch, 0), pitch * 0.35), count)
    return [upper, lower, foot, toe]


def _assemble(frames: _Frames, count: int) -> np.ndarray:
    """World rotations [T, 21, 3, 3]."""

    def torso(triple: tuple) -> np.ndarray:
        return _turn(1, triple[1], count) @ _turn(0, triple[0], count) @ _turn(2, -np.asarray(triple[2]), count)

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


def _ground_height(world: np.ndarray) -> np.ndarray:
    """Height [T] of the pelvis above the lowest foot point, of the mean body."""
    points = []
    for first in (13, 17):
        ankle = world[:, first] @ [0, -_THIGH_M, 0] + world[:, first + 1] @ [0, -_SHIN_M, 0]
        foot = world[:, first + 2]
        points += [ankle + foot @ [0, -_ANKLE_M, -0.04], ankle + foot @ [0, -_ANKLE_M, _FOOT_M]]
    return -np.min([p[:, 1] for p in points], axis=0)


def _arm_pose(style: _Style, name: str) -> Callable[[np.ndarray], _Arm]:
    """A resting arm pose by name, swaying slightly with the phase."""
    if name == "hanging":
        swing, abduct, elbow = style.uniform(-10, 14), style.uniform(5, 20), style.uniform(4, 40)
        twist, pronate = style.uniform(-30, 20), style.uniform(-20, 40)
        return lambda u: _Arm(swing + 1.5 * np.sin(2 * np.pi * u), abduct, twist, elbow, pronate, 5.0)
    wrist, pole = style.wrist(name)
    pronate, hand, sway = style.uniform(-40, 40), style.uniform(-15, 25), style.rng.normal(0, 0.006, 3)
    if name in ("pockets", "hips"):
        pronate, hand = style.uniform(-10, 15), -20.0 if name == "hips" else 0.0
    return lambda u: _Arm(wrist=wrist + np.sin(2 * np.pi * u)[:, None] * sway, pole=pole, pronate=pronate, hand=hand)


def _rest_arms(style: _Style) -> list[Callable[[np.ndarray], _Arm]]:
    """Both arms of somebody who stands."""
    both = ("hanging", "hips", "folded", "pockets", "phone_text", "raised", "behind_head", "behind_back", "guard")
    single = ("phone_ear", "hips", "pockets", "chin", "raised", "one_hip", "phone_text")
    roll = style.rng.random()
    if roll < 0.36:
        return [_arm_pose(style, "hanging"), _arm_pose(style, "hanging")]
    if roll < 0.68:
        name = style.pick(both)
        arms = [_arm_pose(style, name), _arm_pose(style, name)]
        if name == "folded":  # one forearm lies on the other
            inner = arms[1]

            def lower(u: np.ndarray) -> _Arm:
                arm = inner(u)
                assert arm.wrist is not None
                arm.wrist = arm.wrist + [0.03, -0.06, -0.03]
                return arm

            arms[1] = lower
        return arms
    name = style.pick(single)
    if name == "one_hip":
        return [_arm_pose(style, "hips"), _arm_pose(style, "folded")]
    return [_arm_pose(style, name), _arm_pose(style, "hanging")]


def _stand(style: _Style, arms: list[Callable[[np.ndarray], _Arm]] | None = None) -> _Motion:
    arms = arms or _rest_arms(style)
    width, shift = style.uniform(1, 14), style.uniform(-6, 6)
    knees = [style.uniform(0, 8) + max(0, s * shift) * style.uniform(0.5, 3) for s in (1, -1)]
    split_deg, out = style.uniform(-11, 11), [style.uniform(-5, 28), style.uniform(-5, 28)]
    lean, turn, side = style.uniform(-6, 12), style.uniform(-16, 16), style.uniform(-6, 6)
    nod, look, tilt = style.uniform(-16, 26), style.uniform(-50, 50), style.uniform(-9, 9)

    def motion(u: np.ndarray) -> _Frames:
        wave = np.sin(2 * np.pi * u)
        legs = [
            _Leg(knees[k] * 0.5 + s * split_deg, width + s * shift * 0.5, out[k], knees[k] + max(0, -s * split_deg))
            for k, s in enumerate((1, -1))
        ]
        return _Frames(
            (lean * 0.3, 0, shift + 0.6 * wave), (lean * 0.3, turn * 0.4, -shift * 0.5 + side * 0.4),
            (lean * 0.3 - wave * 0.7, turn * 0.6, -shift * 0.5 + side * 0.6 + 0.6 * wave),
            (5 + nod * 0.4, look * 0.4, tilt * 0.4), (-5 + nod * 0.6, look * 0.6 + 2 * wave, tilt * 0.6),
            [arm(u) for arm in arms], legs,
        )  # fmt: skip

    return motion


@dataclass
class _Gait:
    """Style of walking or running, degrees."""

    stride: float
    offset: float
    swing_knee: float
    stance_knee: float
    lean: float
    arm_swing: float
    elbow: float
    abduct: float
    roll: float
    turn: float
    nod: float
    look: float
    width: float
    out: float


def _gait(style: _Style, run: bool) -> _Motion:
    draw = style.uniform
    if run:
        gait = _Gait(draw(28, 52), draw(8, 20), draw(70, 125), draw(18, 36), draw(4, 18), draw(25, 55), draw(65, 115),
                     draw(8, 26), draw(2, 6), draw(8, 22), draw(-12, 14), draw(-14, 14), draw(-1, 4),
                     draw(0, 10))  # fmt: skip
    else:
        gait = _Gait(draw(13, 34), draw(0, 8), draw(42, 72), draw(4, 20), draw(-3, 12), draw(3, 42), draw(8, 55),
                     draw(4, 18), draw(1, 5), draw(3, 15), draw(-12, 25), draw(-35, 35), draw(0, 6),
                     draw(-3, 18))  # fmt: skip
    held = None
    if not run and style.rng.random() < 0.2:  # walks with a hand at the phone or in the pocket
        held = _arm_pose(style, style.pick(("phone_ear", "phone_text", "pockets", "guard")))
    spread = draw(0.0, 0.08)

    def leg(u: np.ndarray) -> _Leg:
        strike = 0.05 if run else 0.0
        flex = gait.offset + gait.stride * np.cos(2 * np.pi * (u - strike)) * (1 - 0.12 * np.cos(4 * np.pi * u))
        peak, sharp = (0.66, 3.2) if run else (0.72, 4.5)
        knee = 4 + gait.stance_knee * _bump(u, 0.14, 5) + gait.swing_knee * _bump(u, peak, sharp)
        heel = (60 if run else 52) * (0.5 + gait.stride / 60)
        pitch = heel * _bump(u, 0.60 if run else 0.64, 5) - (6 if run else 18) * _bump(u, 0.97, 9)
        return _Leg(flex, gait.width + spread * 20, gait.out, knee, pitch)

    def arm(u: np.ndarray) -> _Arm:
        swing = -gait.arm_swing * np.cos(2 * np.pi * (u - 0.03))
        bend = gait.elbow + (0.22 if run else 0.35) * gait.arm_swing * -np.cos(2 * np.pi * (u - 0.06))
        return _Arm(swing - (10 if run else 0), gait.abduct, -18.0, np.maximum(bend, 3), 20.0, 5.0)

    def motion(u: np.ndarray) -> _Frames:
        c = np.cos(2 * np.pi * u)
        s = np.sin(2 * np.pi * u)
        bounce = 0.5 + 0.5 * np.cos(4 * np.pi * (u - 0.97))
        right = (u + 0.5) % 1
        arms = [held(u) if held else arm(u), arm(right)]
        return _Frames(
            (gait.lean * 0.4, 0, gait.roll * s), (gait.lean * 0.4, gait.turn * 0.5 * c, -gait.roll * 0.7 * s),
            (gait.lean * 0.4, gait.turn * c, -gait.roll * 0.5 * s),
            (4 + gait.nod * 0.4, -gait.turn * 0.7 * c + gait.look * 0.4, 0.0),
            (-4 - gait.lean * 0.6 + gait.nod * 0.6, -gait.turn * 0.5 * c + gait.look * 0.6, 0.0),
            arms, [leg(u), leg(right)], 0.07 * bounce - 0.05 if run else 0.0, run,
        )  # fmt: skip

    return motion


def _jump(style: _Style) -> _Motion:
    kind = style.pick(("tuck", "straight", "split", "star", "straight"))
    crouch, height = style.uniform(35, 95), style.uniform(0.15, 0.5)
    lean, nod = style.uniform(10, 40), style.uniform(-20, 15)
    air = {
        "tuck": (style.uniform(50, 95), style.uniform(70, 120), style.uniform(3, 14)),
        "straight": (style.uniform(-8, 25), style.uniform(5, 50), style.uniform(2, 10)),
        "split": (style.uniform(20, 50), style.uniform(20, 70), style.uniform(2, 10)),
        "star": (style.uniform(-5, 10), style.uniform(2, 15), style.uniform(22, 38)),
    }[kind]
    swing, wide, bend = style.uniform(60, 175), style.uniform(8, 40), style.uniform(5, 60)
    if kind == "star":
        swing, wide = style.uniform(0, 20), style.uniform(85, 140)
    back = style.uniform(15, 55)

    def motion(u: np.ndarray) -> _Frames:
        dip = np.maximum(_bump(u, 0.12, 9), 0) + 0.6 * _bump(u, 0.86, 10)  # crouch, then landing
        fly = _bump(u, 0.5, 3.2)
        air_gate = 1 / (1 + np.exp(-(np.cos(2 * np.pi * (u - 0.5)) - 0.2) * 9))
        legs = []
        for side in range(2):
            sign = -1 if kind == "split" and side else 1
            flex = dip * crouch * 0.62 + fly * air[0] * sign
            knee = 5 + dip * crouch * 1.15 + fly * air[1]
            pitch = air_gate * (knee - flex + 38)
            legs.append(_Leg(flex, 4 + fly * air[2], 6, knee, pitch))
        arm = _Arm(-dip * back + fly * swing, 8 + fly * wide, -15.0, 12 + fly * bend + dip * 15, 20.0)
        forward = dip * lean
        return _Frames(
            (forward * 0.5, 0, 0), (forward * 0.3 + fly * 3, 0, 0), (forward * 0.2, 0, 0), (4.0, 0, 0),
            (-4 - forward * 0.6 + nod * fly, 0, 0), [arm, arm], legs,
            height * np.maximum(np.cos(2 * np.pi * (u - 0.5)) - 0.2, 0) * 1.25,
        )  # fmt: skip

    return motion


def _sit(style: _Style) -> _Motion:
    kind = style.pick(("plain", "plain", "crossed", "stretched", "ankle_on_knee"))
    flex = [style.uniform(76, 98)] * 2
    knee = [flex[0] + style.uniform(-22, 18), flex[0] + style.uniform(-22, 18)]
    abduct = [style.uniform(-2, 24), style.uniform(-2, 24)]
    twist = [style.uniform(-4, 8), style.uniform(-4, 8)]
    if kind == "stretched":
        knee = [style.uniform(30, 55), style.uniform(30, 60)]
    if kind == "crossed":
        flex, abduct, knee[0] = [flex[0] + 14, flex[0]], [-17, 4], 68 + style.uniform(0, 15)
    if kind == "ankle_on_knee":
        flex, abduct, twist[0], knee[0] = [flex[0] + 4, flex[0]], [42, 6], 52, 92 + style.uniform(-5, 8)
    roll = style.rng.random()
    pairs = ("lap", "knees", "desk", "armrest", "folded", "phone_text", "behind_head", "guard")
    names = [style.pick(pairs)] * 2 if roll < 0.7 else [style.pick(("chin", "phone_ear", "desk", "one_hip"))] + ["lap"]
    names = ["armrest" if n == "one_hip" else n for n in names]
    arms = [_arm_pose(style, n) for n in names]
    lean = style.uniform(-16, 26) if names[0] != "knees" else style.uniform(8, 30)
    turn, nod, look = style.uniform(-15, 15), style.uniform(-12, 25), style.uniform(-45, 45)

    def motion(u: np.ndarray) -> _Frames:
        wave = np.sin(2 * np.pi * u)
        free = kind in ("crossed", "ankle_on_knee")
        legs = [_Leg(flex[k] + (0.8 * wave if free and not k else 0), abduct[k], twist[k], knee[k],
                     18.0 if free and k == 0 else 0.0, free and k == 0) for k in range(2)]  # fmt: skip
        return _Frames(
            (lean * 0.4 - 6, 0, 0), (lean * 0.4 + 5, turn * 0.4, 0), (lean * 0.35 + wave * 0.6, turn * 0.6, 0),
            (5 + nod * 0.4, look * 0.4, 0), (-5 - lean * 0.4 + nod * 0.6, look * 0.6 + wave * 2, 0),
            [arm(u) for arm in arms], legs,
        )  # fmt: skip

    return motion


def _gesture(style: _Style) -> _Motion:
    name = style.pick(("wave", "point", "point_side", "talk", "chest", "offer", "chin", "salute", "clap"))
    both = name in ("talk", "offer", "clap") and (name == "clap" or style.rng.random() < 0.7)
    place, pole = style.wrist(name, 0.05)
    size = {"wave": 0.09, "talk": 0.07, "clap": 0.06, "offer": 0.04}.get(name, 0.02) * style.uniform(0.5, 1.3)
    path = _unit(np.array([[1, 0, 0] if name in ("wave", "clap") else style.rng.normal(0, 1, 3)]))[0] * size
    pronate, late = style.uniform(-60, 50), 0.0 if name == "clap" else style.uniform(0.0, 0.4)

    def arm(u: np.ndarray) -> _Arm:
        wave = np.sin(2 * np.pi * u)
        circle = np.cos(2 * np.pi * u) * size * 0.4
        return _Arm(wrist=place + wave[:, None] * path + circle[:, None] * [0, 1, 0], pole=pole,
                    pronate=pronate + 10 * wave, hand=5 + 8 * wave)  # fmt: skip

    other = _arm_pose(style, style.pick(("hanging", "hips", "pockets", "hanging", "folded")))
    return _stand(style, [arm, (lambda u: arm((u + late) % 1)) if both else other])


def _squat(style: _Style) -> _Motion:
    depth, shallow = style.uniform(55, 118), style.uniform(0, 30)
    wide, lean = style.uniform(4, 26), style.uniform(0.22, 0.42)
    name = style.pick(("offer", "folded", "hips", "hanging", "knees", "clap", "guard"))
    arms = [_arm_pose(style, name)] * 2
    nod, look = style.uniform(-10, 20), style.uniform(-30, 30)

    def motion(u: np.ndarray) -> _Frames:
        d = shallow + (depth - shallow) * (0.5 - 0.5 * np.cos(2 * np.pi * u))
        leg = _Leg(d * 0.84, wide + d * 0.06, wide * 0.8, d * 1.16)
        return _Frames(
            (d * lean * 0.5, 0, 0), (d * lean * 0.35, 0, 0), (d * lean * 0.15, 0, 0), (4 + nod * 0.4, look * 0.4, 0),
            (-4 - d * lean * 0.6 + nod * 0.6, look * 0.6, 0), [arm(u) for arm in arms], [leg, leg],
        )  # fmt: skip

    return motion


def _reach(style: _Style) -> _Motion:
    kind = style.pick(("up", "forward", "side", "low", "reach_floor"))
    target = {"up": (0.02, 0.44, 0.14), "forward": (-0.02, 0.05, 0.45), "side": (0.38, 0.15, 0.2),
              "low": (-0.05, -0.2, 0.4), "reach_floor": (0.0, -0.1, 0.44)}[kind]  # fmt: skip
    far = np.array(target) + [style.uniform(-0.06, 0.06) for _ in range(3)]
    near, pole = style.wrist("talk")
    lean = {"up": -4, "forward": 14, "side": 4, "low": 38, "reach_floor": 72}[kind] + style.uniform(-7, 9)
    side, turn = (style.uniform(4, 14) if kind == "side" else 0.0), style.uniform(-12, 6)
    bend = style.uniform(5, 50) if kind in ("low", "reach_floor") else style.uniform(0, 10)
    step, tiptoe = style.uniform(0, 18), style.uniform(0, 30) if kind == "up" else 0.0
    both = style.rng.random() < 0.35
    other = _arm_pose(style, style.pick(("hanging", "hips", "hanging")))

    def motion(u: np.ndarray) -> _Frames:
        r = 0.5 - 0.5 * np.cos(2 * np.pi * u)
        wrist = near + (far - near) * r[:, None]
        arm = _Arm(wrist=wrist, pole=pole, pronate=20.0, hand=-5.0)
        legs = [_Leg(bend * r * 0.55 + s * step * r * 0.6, 4, 8, 4 + bend * r * 1.1 + (s < 0) * step * r * 0.8,
                     tiptoe * r + (s < 0) * step * r) for s in (1, -1)]  # fmt: skip
        forward = lean * r
        return _Frames(
            (forward * 0.55, 0, side * -0.4 * r), (forward * 0.25, turn * 0.4 * r, -side * 0.5 * r),
            (forward * 0.2, turn * r, -side * 0.5 * r), (5 + 0 * r, 0, 0),
            (-5 - forward * 0.45 + (-18 * r if kind == "up" else 8 * r), 0, 0), [arm, arm if both else other(u)], legs,
        )  # fmt: skip

    return motion


_MOTIONS: dict[str, Callable[[_Style], _Motion]] = {
    "standing": _stand, "walking": lambda s: _gait(s, False), "running": lambda s: _gait(s, True), "jumping": _jump,
    "sitting": _sit, "gesturing": _gesture, "squatting": _squat, "reaching": _reach,
}  # fmt: skip


def _motion(rng: np.random.Generator, action: str, split: str) -> _Motion:
    if action not in _MOTIONS:
        raise SomacastError(f"action: expected one of {', '.join(BUILTIN_ACTIONS)}, got {action!r}")
    return _MOTIONS[action](_Style(rng, split))


def _perturbation(rng: np.random.Generator, u: np.ndarray) -> np.ndarray:
    """Small rotations [T, 21, 3, 3] that no style has: a constant part and one slow wave per joint."""
    size = np.full((JOINT_COUNT, 1), 2.2)
    size[[0, 13, 14, 15, 17, 18, 19]] = 0.8  # legs and pelvis carry the body: larger errors lift the feet
    size[[8, 12]] = 6.0
    wave = np.sin(2 * np.pi * (u[:, None, None] + rng.random((1, JOINT_COUNT, 1))))
    vector = rng.normal(0, 1, (JOINT_COUNT, 3)) * size + wave * rng.normal(0, 0.35, (JOINT_COUNT, 3)) * size
    return rotvec_to_matrix(np.radians(vector))


def _without_yaw(world: np.ndarray) -> np.ndarray:
    """The same poses [T, 21, 3, 3] turned about y until the pelvis faces +z."""
    yaw = np.degrees(np.arctan2(world[:, 0, 0, 2], world[:, 0, 2, 2]))
    return _turn(1, -yaw, len(world))[:, None] @ world


def draw_builtin_pose(rng: np.random.Generator, action: str, split: str = "train") -> np.ndarray:
    """A pose of an action of BUILTIN_ACTIONS: joint world rotations [21, 3, 3] float32, pelvis yaw 0.

    Raises SomacastError for an unknown action or split.
    """
    motion = _motion(rng, action, split)
    u = np.array([rng.random()])
    if action in ("squatting", "reaching"):  # dwell where the action can be told
        u = 0.5 + 0.5 * np.sign(u - 0.5) * np.abs(2 * u - 1) ** 1.8
    if action == "jumping":
        u = np.clip(rng.normal(0.46, 0.2, 1), 0.02, 0.98)
    world = _without_yaw(_assemble(motion(u), 1) @ _perturbation(rng, u))[0]
    if rng.random() < 0.5:
        world = mirror_pose(world)
    return world.astype(np.float32)


def builtin_clip(
    rng: np.random.Generator, action: str, seconds: float, fps: float, split: str = "train"
) -> tuple[np.ndarray, np.ndarray]:
    """A clip that loops: rotations [T, 21, 3, 3] float32 and the pelvis path [T, 3] float32, T = seconds * fps.

    The path is in metres relative to standing upright on the ground, in place (the person does not travel).
    """
    motion = _motion(rng, action, split)
    count = max(2, round(seconds * fps))
    cycles = max(1, round(seconds / (_PERIOD_S[action] * rng.uniform(0.85, 1.15))))
    u = np.arange(count) / count * cycles % 1
    frames = motion(u)
    world = _without_yaw(_assemble(frames, count) @ _perturbation(rng, u))
    ground = _ground_height(world)
    if frames.flies:
        ground = np.maximum(np.full(count, ground.max()) + frames.lift_m, ground) - frames.lift_m
    height = ground + frames.lift_m - (_THIGH_M + _SHIN_M + _ANKLE_M)
    # Both feet share the ground: the minimum over them has kinks where they take turns.
    frequency = np.fft.rfftfreq(count, 1 / fps)
    height = np.fft.irfft(np.fft.rfft(height) * np.exp(-((frequency / 7.0) ** 2)), count)
    path = np.stack([0.008 * np.sin(2 * np.pi * u), height, 0.008 * np.sin(4 * np.pi * u)], 1)
    if rng.random() < 0.5:
        world, path = mirror_pose(world), path * [-1, 1, 1]
    return world.astype(np.float32), path.astype(np.float32)
