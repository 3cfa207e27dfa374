"""Labelled procedural motions that need no asset: every action is a smooth periodic function of a phase.

A motion is drawn in two steps: a style (stride, lean, arm pose ...) from random numbers, then frames of that style
at phases in [0, 1). Angles are in degrees. Legs are given in the world, arms in the frame of the chest either by
joint angles or by the place of the wrist (two-bone inverse kinematics), so that hands reach hips, ears and pockets.

Splits: every style parameter's range is cut into five bands; "test" draws from the second and fourth, "train" from
the rest. The arm and leg styles in `TEST_STYLES` appear in "test" only. So no test motion is seen in training.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from somacast.body.rotations import rotvec_to_matrix
from somacast.body.skeleton import JOINT_COUNT, mirror_pose
from somacast.errors import SomacastError
from somacast.synthetic.wardrobe.limbs import (
    STANDING_M,
    Arm,
    Frames,
    Leg,
    Motion,
    Style,
    arm_pose,
    assemble,
    bump,
    ground_height,
    rest_arms,
    turn,
    unit,
)

BUILTIN_ACTIONS = ("standing", "walking", "running", "jumping", "sitting", "gesturing", "squatting", "reaching")
PERIOD_S = {"standing": 4.0, "walking": 1.1, "running": 0.72, "jumping": 1.5, "sitting": 4.0, "gesturing": 1.6,
            "squatting": 2.6, "reaching": 2.4}  # fmt: skip


def _stand(style: Style, arms: list[Callable[[np.ndarray], Arm]] | None = None) -> Motion:
    arms = arms or rest_arms(style)
    width, shift = style.uniform(1, 14), style.uniform(-6, 6)
    knees = [style.uniform(0, 8) + max(0, s * shift) * style.uniform(0.5, 3) for s in (1, -1)]
    split_deg, out = style.uniform(-11, 11), [style.uniform(-5, 28), style.uniform(-5, 28)]
    lean, turn, side = style.uniform(-6, 12), style.uniform(-16, 16), style.uniform(-6, 6)
    nod, look, tilt = style.uniform(-16, 26), style.uniform(-50, 50), style.uniform(-9, 9)

    def motion(u: np.ndarray) -> Frames:
        wave = np.sin(2 * np.pi * u)
        legs = [
            Leg(knees[k] * 0.5 + s * split_deg, width + s * shift * 0.5, out[k], knees[k] + max(0, -s * split_deg))
            for k, s in enumerate((1, -1))
        ]
        return Frames(
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


def _gait(style: Style, run: bool) -> Motion:
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
        held = arm_pose(style, style.pick(("phone_ear", "phone_text", "pockets", "guard")))
    stance = draw(0.0, 0.08)

    def leg(u: np.ndarray) -> Leg:
        strike = 0.05 if run else 0.0
        flex = gait.offset + gait.stride * np.cos(2 * np.pi * (u - strike)) * (1 - 0.12 * np.cos(4 * np.pi * u))
        peak, sharp = (0.66, 3.2) if run else (0.72, 4.5)
        knee = 4 + gait.stance_knee * bump(u, 0.14, 5) + gait.swing_knee * bump(u, peak, sharp)
        heel = (60 if run else 52) * (0.5 + gait.stride / 60)
        pitch = heel * bump(u, 0.60 if run else 0.64, 5) - (6 if run else 18) * bump(u, 0.97, 9)
        return Leg(flex, gait.width + stance * 20, gait.out, knee, pitch)

    def arm(u: np.ndarray) -> Arm:
        swing = -gait.arm_swing * np.cos(2 * np.pi * (u - 0.03))
        bend = gait.elbow + (0.22 if run else 0.35) * gait.arm_swing * -np.cos(2 * np.pi * (u - 0.06))
        return Arm(swing - (10 if run else 0), gait.abduct, -18.0, np.maximum(bend, 3), 20.0, 5.0)

    def motion(u: np.ndarray) -> Frames:
        c = np.cos(2 * np.pi * u)
        s = np.sin(2 * np.pi * u)
        bounce = 0.5 + 0.5 * np.cos(4 * np.pi * (u - 0.97))
        right = (u + 0.5) % 1
        arms = [held(u) if held else arm(u), arm(right)]
        return Frames(
            (gait.lean * 0.4, 0, gait.roll * s), (gait.lean * 0.4, gait.turn * 0.5 * c, -gait.roll * 0.7 * s),
            (gait.lean * 0.4, gait.turn * c, -gait.roll * 0.5 * s),
            (4 + gait.nod * 0.4, -gait.turn * 0.7 * c + gait.look * 0.4, 0.0),
            (-4 - gait.lean * 0.6 + gait.nod * 0.6, -gait.turn * 0.5 * c + gait.look * 0.6, 0.0),
            arms, [leg(u), leg(right)], 0.07 * bounce - 0.05 if run else 0.0, run,
        )  # fmt: skip

    return motion


def _jump(style: Style) -> Motion:
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

    def motion(u: np.ndarray) -> Frames:
        dip = np.maximum(bump(u, 0.12, 9), 0) + 0.6 * bump(u, 0.86, 10)  # crouch, then landing
        fly = bump(u, 0.5, 3.2)
        air_gate = 1 / (1 + np.exp(-(np.cos(2 * np.pi * (u - 0.5)) - 0.2) * 9))
        legs = []
        for side in range(2):
            sign = -1 if kind == "split" and side else 1
            flex = dip * crouch * 0.62 + fly * air[0] * sign
            knee = 5 + dip * crouch * 1.15 + fly * air[1]
            pitch = air_gate * (knee - flex + 38)
            legs.append(Leg(flex, 4 + fly * air[2], 6, knee, pitch))
        arm = Arm(-dip * back + fly * swing, 8 + fly * wide, -15.0, 12 + fly * bend + dip * 15, 20.0)
        forward = dip * lean
        return Frames(
            (forward * 0.5, 0, 0), (forward * 0.3 + fly * 3, 0, 0), (forward * 0.2, 0, 0), (4.0, 0, 0),
            (-4 - forward * 0.6 + nod * fly, 0, 0), [arm, arm], legs,
            height * np.maximum(np.cos(2 * np.pi * (u - 0.5)) - 0.2, 0) * 1.25,
        )  # fmt: skip

    return motion


def _sit(style: Style) -> Motion:
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
    arms = [arm_pose(style, n) for n in names]
    lean = style.uniform(-16, 26) if names[0] != "knees" else style.uniform(8, 30)
    turn, nod, look = style.uniform(-15, 15), style.uniform(-12, 25), style.uniform(-45, 45)

    def motion(u: np.ndarray) -> Frames:
        wave = np.sin(2 * np.pi * u)
        free = kind in ("crossed", "ankle_on_knee")
        legs = [Leg(flex[k] + (0.8 * wave if free and not k else 0), abduct[k], twist[k], knee[k],
                     18.0 if free and k == 0 else 0.0, free and k == 0) for k in range(2)]  # fmt: skip
        return Frames(
            (lean * 0.4 - 6, 0, 0), (lean * 0.4 + 5, turn * 0.4, 0), (lean * 0.35 + wave * 0.6, turn * 0.6, 0),
            (5 + nod * 0.4, look * 0.4, 0), (-5 - lean * 0.4 + nod * 0.6, look * 0.6 + wave * 2, 0),
            [arm(u) for arm in arms], legs,
        )  # fmt: skip

    return motion


def _gesture(style: Style) -> Motion:
    name = style.pick(("wave", "point", "point_side", "talk", "chest", "offer", "chin", "salute", "clap"))
    both = name in ("talk", "offer", "clap") and (name == "clap" or style.rng.random() < 0.7)
    place, pole = style.wrist(name, 0.05)
    size = {"wave": 0.09, "talk": 0.07, "clap": 0.06, "offer": 0.04}.get(name, 0.02) * style.uniform(0.5, 1.3)
    path = unit(np.array([[1, 0, 0] if name in ("wave", "clap") else style.rng.normal(0, 1, 3)]))[0] * size
    pronate, late = style.uniform(-60, 50), 0.0 if name == "clap" else style.uniform(0.0, 0.4)

    def arm(u: np.ndarray) -> Arm:
        wave = np.sin(2 * np.pi * u)
        circle = np.cos(2 * np.pi * u) * size * 0.4
        return Arm(wrist=place + wave[:, None] * path + circle[:, None] * [0, 1, 0], pole=pole,
                    pronate=pronate + 10 * wave, hand=5 + 8 * wave)  # fmt: skip

    other = arm_pose(style, style.pick(("hanging", "hips", "pockets", "hanging", "folded")))
    return _stand(style, [arm, (lambda u: arm((u + late) % 1)) if both else other])


def _squat(style: Style) -> Motion:
    depth, shallow = style.uniform(55, 118), style.uniform(0, 30)
    wide, lean = style.uniform(4, 26), style.uniform(0.22, 0.42)
    name = style.pick(("offer", "folded", "hips", "hanging", "knees", "clap", "guard"))
    arms = [arm_pose(style, name)] * 2
    nod, look = style.uniform(-10, 20), style.uniform(-30, 30)

    def motion(u: np.ndarray) -> Frames:
        d = shallow + (depth - shallow) * (0.5 - 0.5 * np.cos(2 * np.pi * u))
        leg = Leg(d * 0.84, wide + d * 0.06, wide * 0.8, d * 1.16)
        return Frames(
            (d * lean * 0.5, 0, 0), (d * lean * 0.35, 0, 0), (d * lean * 0.15, 0, 0), (4 + nod * 0.4, look * 0.4, 0),
            (-4 - d * lean * 0.6 + nod * 0.6, look * 0.6, 0), [arm(u) for arm in arms], [leg, leg],
        )  # fmt: skip

    return motion


def _reach(style: Style) -> Motion:
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
    other = arm_pose(style, style.pick(("hanging", "hips", "hanging")))

    def motion(u: np.ndarray) -> Frames:
        r = 0.5 - 0.5 * np.cos(2 * np.pi * u)
        wrist = near + (far - near) * r[:, None]
        arm = Arm(wrist=wrist, pole=pole, pronate=20.0, hand=-5.0)
        legs = [Leg(bend * r * 0.55 + s * step * r * 0.6, 4, 8, 4 + bend * r * 1.1 + (s < 0) * step * r * 0.8,
                     tiptoe * r + (s < 0) * step * r) for s in (1, -1)]  # fmt: skip
        forward = lean * r
        return Frames(
            (forward * 0.55, 0, side * -0.4 * r), (forward * 0.25, turn * 0.4 * r, -side * 0.5 * r),
            (forward * 0.2, turn * r, -side * 0.5 * r), (5 + 0 * r, 0, 0),
            (-5 - forward * 0.45 + (-18 * r if kind == "up" else 8 * r), 0, 0), [arm, arm if both else other(u)], legs,
        )  # fmt: skip

    return motion


_MOTIONS: dict[str, Callable[[Style], Motion]] = {
    "standing": _stand, "walking": lambda s: _gait(s, False), "running": lambda s: _gait(s, True), "jumping": _jump,
    "sitting": _sit, "gesturing": _gesture, "squatting": _squat, "reaching": _reach,
}  # fmt: skip


def _motion(rng: np.random.Generator, action: str, split: str) -> Motion:
    if action not in _MOTIONS:
        raise SomacastError(f"action: expected one of {', '.join(BUILTIN_ACTIONS)}, got {action!r}")
    return _MOTIONS[action](Style(rng, split))


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
    return turn(1, -yaw, len(world))[:, None] @ world


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
    world = _without_yaw(assemble(motion(u), 1) @ _perturbation(rng, u))[0]
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
    cycles = max(1, round(seconds / (PERIOD_S[action] * rng.uniform(0.85, 1.15))))
    u = np.arange(count) / count * cycles % 1
    frames = motion(u)
    world = _without_yaw(assemble(frames, count) @ _perturbation(rng, u))
    ground = ground_height(world)
    if frames.flies:
        ground = np.maximum(np.full(count, ground.max()) + frames.raise_m, ground) - frames.raise_m
    height = ground + frames.raise_m - STANDING_M
    # Both feet share the ground: the minimum over them has kinks where they take turns.
    frequency = np.fft.rfftfreq(count, 1 / fps)
    height = np.fft.irfft(np.fft.rfft(height) * np.exp(-((frequency / 7.0) ** 2)), count)
    path = np.stack([0.008 * np.sin(2 * np.pi * u), height, 0.008 * np.sin(4 * np.pi * u)], 1)
    if rng.random() < 0.5:
        world, path = mirror_pose(world), path * [-1, 1, 1]
    return world.astype(np.float32), path.astype(np.float32)
