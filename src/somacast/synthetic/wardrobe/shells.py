"""Geometry of the built-in wardrobe, part two: tops and trousers as shells of the body surface."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from somacast.body.table import BODY_VERTICES, load_body
from somacast.synthetic.wardrobe.shapes import (
    JOINT,
    Part,
    Reference,
    clip,
    hang_table,
    look_up,
    smoothed,
    smoothstep,
    waist_y,
)

_FAR = 9.0
TAIL_HEM = 0.13  # a top that ends lower than this goes on as a skirt-like tail (else it would follow each leg)


@dataclass(frozen=True)
class TopStyle:
    """A top. sleeve: where it ends along the arm (0 shoulder, 1 elbow, 2 wrist; below 0 there is none);
    neck: crew, v, scoop, open or high; hem: height over the crotch in torso lengths (below TAIL_HEM: with a tail);
    gap_m: distance from the skin; loose in [0, 1]; opening_m: half width of an open front at the hem."""

    sleeve: float
    neck: str
    hem: float
    gap_m: float
    loose: float
    opening_m: float = -1.0
    cuff: bool = False
    collar: str = "none"


@dataclass(frozen=True)
class LegStyle:
    """Trousers or shorts. end: along the leg (1 knee, 2 ankle); wide in [0, 1]; taper: the hem closes again."""

    end: float
    wide: float
    gap_m: float = 0.007
    cuff: bool = False


def _crotch_y(ref: Reference) -> float:
    return float(ref.at("l_upper_leg")[1]) - 0.09 * ref.size


def top_field(ref: Reference, style: TopStyle) -> np.ndarray:
    """Signed field [13380], positive where the top is, about metres near its borders."""
    p, s = ref.vertices[:BODY_VERTICES], ref.size
    neck, crotch = ref.at("neck"), _crotch_y(ref)
    on_arm = ref.arm_share > 0.5
    hem = crotch + max(style.hem, TAIL_HEM) * (neck[1] - crotch)
    low = np.where(on_arm, _FAR, p[:, 1] - hem)
    front = smoothstep((p[:, 2] - neck[2] + 0.02 * s) / (0.05 * s))
    base = neck[1] - 0.012 * s - 0.55 * (p[:, 2] - neck[2])
    x = np.abs(p[:, 0])
    if style.neck == "high":
        base = base + 0.035 * s
    high = base - p[:, 1]
    if style.neck in ("v", "open", "scoop"):
        deep = {"v": 0.11, "open": 0.085, "scoop": 0.085}[style.neck] * s
        bottom = neck[1] - 0.05 * s - deep
        shape = bottom + (x * 1.75 if style.neck != "scoop" else x**2 * 14 / s)
        high = np.minimum(high, np.where(front > 0.5, shape - p[:, 1], high))
    high = np.where(on_arm, _FAR, high)
    if style.sleeve < 0:
        shoulders = ref.share[:, [JOINT["l_clavicle"], JOINT["r_clavicle"]]].sum(1)
        sleeve = (0.33 + style.sleeve * 0.2 - ref.arm_share - 0.0 * shoulders) * 0.12
    else:
        length = np.linalg.norm(ref.at("l_lower_arm") - ref.at("l_upper_arm"))
        sleeve = (style.sleeve - ref.arm) * length + np.maximum(0, 0.5 - ref.arm_share) * 2.0
    field = np.minimum(np.minimum(low, high), sleeve)
    if style.opening_m >= 0:
        chest = ref.at("chest")[1] + 0.1 * s
        width = 0.012 * s + (style.opening_m * s) * np.clip((chest + 0.14 * s - p[:, 1]) / (0.45 * s), 0, 1)
        ahead = p[:, 2] > ref.at("spine")[2] + 0.02 * s
        field = np.where(ahead & ~on_arm, np.minimum(field, x - width), field)
    return field


def leg_field(ref: Reference, style: LegStyle) -> np.ndarray:
    """Signed field [13380], positive where the trousers are."""
    p = ref.vertices[:BODY_VERTICES]
    length = np.linalg.norm(ref.at("l_foot") - ref.at("l_lower_leg"))
    legs = np.where(p[:, 1] < _crotch_y(ref) + 0.05, (style.end - ref.leg) * length, _FAR)
    field = np.minimum(legs, waist_y(ref) - p[:, 1])
    return np.where(ref.arm_share > 0.2, -0.1, field)


def covered(field: np.ndarray, ring_m: float = 0.025) -> np.ndarray:
    """Body vertices well inside a field: their skin is not drawn. A ring at the hem stays."""
    return np.flatnonzero(field > ring_m)


def _waves(rng: np.random.Generator, place: np.ndarray, size: float) -> np.ndarray:
    """Smooth noise in about [-1, 1] over places, wavelengths of 8 to 20 cm."""
    total = np.zeros(len(place))
    for _ in range(5):
        direction = rng.normal(0, 1, 3) * [1, 0.55, 1]
        direction *= rng.uniform(30, 75) / (np.linalg.norm(direction) * size)
        total += np.sin(place @ direction + rng.uniform(0, 6.28))
    return total / 3


def _bind_shell(ref: Reference, field: np.ndarray):
    """Binding of the body where field > 0: (index, weight, faces, body values -> values there), (skin, normals)."""
    pair, share, faces = clip(field, load_body().faces)
    index = np.stack([pair[:, 0], pair[:, 1], pair[:, 0]], 1)
    weight = np.stack([1 - share, share, 0 * share], 1)

    def mix(values: np.ndarray) -> np.ndarray:
        if values.ndim == 1:
            return values[pair[:, 0]] * (1 - share) + values[pair[:, 1]] * share
        return values[pair[:, 0]] * (1 - share)[:, None] + values[pair[:, 1]] * share[:, None]

    normal = mix(ref.normals)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-6)
    return (index, weight, faces, mix), (mix(ref.vertices[:BODY_VERTICES]), normal)


def _push_out(place: np.ndarray, skin: np.ndarray, normal: np.ndarray, gap: np.ndarray | float) -> np.ndarray:
    lack = gap - ((place - skin) * normal).sum(1)
    return place + normal * np.maximum(lack, 0)[:, None]


def _wrap(u: np.ndarray) -> np.ndarray:
    """u [F, 3] in turns, made continuous within each face."""
    return u[:, :1] + (u - u[:, :1] + 0.5) % 1 - 0.5


def shell_top(ref: Reference, style: TopStyle, seed: int) -> tuple[Part, np.ndarray]:
    """A top as a shell of torso and arms, and its field over the body."""
    rng = np.random.default_rng(seed)
    field, s = top_field(ref, style), ref.size
    (index, weight, faces, mix), (skin, normal) = _bind_shell(ref, field)
    arms, along = mix(ref.arm_share), mix(ref.arm)
    gap = style.gap_m * s * np.ones(len(skin))
    if style.hem < 0.2:  # worn over the trousers: clear of their waistband
        hem = _crotch_y(ref) + max(style.hem, TAIL_HEM) * (ref.at("neck")[1] - _crotch_y(ref))
        gap += 0.007 * s * smoothstep((hem + 0.2 * s - skin[:, 1]) / (0.1 * s)) * (1 - smoothstep(arms / 0.3))
    place = skin + normal * gap[:, None]
    # sleeves: away from the arm's axis, wider in the middle of each part, tight at a cuff
    wide = style.loose * 0.024 * s * smoothstep((along - 0.15) / 0.5) * (0.6 + 0.4 * np.cos(along * 5.0))
    if style.cuff:
        wide *= smoothstep((style.sleeve - along) / 0.15)
    place += mix(ref.arm_out) * (wide * smoothstep((arms - 0.4) / 0.4))[:, None]
    table, z, low, high = hang_table(ref, style.gap_m * s, 0.75 - 0.7 * style.loose)
    turn = np.arctan2(place[:, 0], place[:, 2] - z)
    radius = np.hypot(place[:, 0], place[:, 2] - z)
    hang = look_up(table, turn, (place[:, 1] - low) / (high - low))
    fade = smoothstep((high - 0.06 * s - place[:, 1]) / (0.12 * s)) * (1 - smoothstep(arms / 0.25))
    grow = np.clip(hang - radius, 0, 0.10 * s) * fade * min(1.0, style.loose * 1.4)
    if style.cuff:  # the waistband holds a sweater
        grow *= smoothstep((place[:, 1] - place[arms < 0.3, 1].min()) / (0.07 * s)) * 0.9 + 0.1
    place += np.stack([np.sin(turn), 0 * turn, np.cos(turn)], 1) * grow[:, None]
    place = smoothed(place, faces, 4 + int(10 * style.loose))
    fold = _waves(rng, place, s) * (0.0015 + 0.006 * style.loose) * s
    fold += 0.0035 * s * style.loose * np.cos(along * 34) * np.exp(-(((along - 1) / 0.22) ** 2)) * arms
    place = _push_out(place + normal * fold[:, None], skin, normal, 0.75 * gap)
    uvs = _top_uvs(ref, place, arms, along, faces, z)
    flat = np.arange(3 * len(faces)).reshape(-1, 3)
    return Part(index, weight, place, faces, uvs, flat), field


def _top_uvs(ref, place, arms, along, faces, z) -> np.ndarray:
    """Torso around and along in the upper 0.6 of the texture, front in the middle; the sleeves below it."""
    s, neck = ref.size, ref.at("neck")[1] + 0.03 * ref.size
    floor = _crotch_y(ref) - 0.25 * s
    u = np.arctan2(place[:, 0], place[:, 2] - z)[faces] / (2 * np.pi) + 0.5
    v = 0.4 + 0.6 * np.clip((place[:, 1] - floor) / (neck - floor), 0, 1)
    uv = np.stack([_wrap(u), v[faces]], -1)
    side = np.where(place[:, 0] < 0, -1.0, 1.0)
    root, elbow, wrist = (ref.at(f"l_{n}") for n in ("upper_arm", "lower_arm", "hand"))
    t = np.clip(along, 0, 2)[:, None]
    axis = np.where(t < 1, root + t * (elbow - root), elbow + (t - 1) * (wrist - elbow))
    away = place * np.stack([side, side * 0 + 1, side * 0 + 1], 1) - axis
    around = np.arctan2(away[:, 2], away @ np.array([0.74, 0.67, 0])) / (2 * np.pi)
    half = (side[faces].sum(1) < 0)[:, None] * 0.5
    sleeve = np.stack(
        [half + 0.25 + 0.5 * np.clip(_wrap(around[faces]), -0.5, 0.5), 0.385 * (1 - along[faces] / 2)], -1
    )
    is_arm = arms[faces].mean(1) > 0.5
    return np.where(is_arm[:, None, None], sleeve, uv).reshape(-1, 2)


def shell_legs(ref: Reference, style: LegStyle, seed: int) -> tuple[Part, np.ndarray]:
    """Trousers or shorts as a shell of hips and legs, and their field over the body."""
    rng = np.random.default_rng(seed)
    field, s = leg_field(ref, style), ref.size
    (index, weight, faces, mix), (skin, normal) = _bind_shell(ref, field)
    along, radius, out = mix(ref.leg), mix(ref.leg_radius), mix(ref.leg_out)
    below = smoothstep((_crotch_y(ref) + 0.02 * s - skin[:, 1]) / (0.16 * s))
    gap = (0.005 + (style.gap_m - 0.005) * below) * s  # flat at the hips, where tops lie over it
    place = skin + normal * gap[:, None]
    # a straight leg hangs from the thigh: below it the cloth keeps a part of the thigh's radius
    thigh = 0.088 * s
    goal = thigh * (0.52 + 0.62 * style.wide) * np.clip(along - 0.15, 0, 1) + thigh * style.wide**2 * 0.35 * np.clip(
        along - 1, 0, 1
    )
    if style.cuff:
        goal = goal * smoothstep((style.end - along) / 0.12)
    grow = np.clip(goal - radius - gap, 0, 0.11 * s) * below
    if style.end < 1.3:
        grow = np.maximum(grow, style.wide * 0.022 * s * below * smoothstep((along - 0.1) / 0.5))
    place += out * grow[:, None]
    place = smoothed(place, faces, 5 + int(8 * style.wide))
    fold = _waves(rng, place, s) * (0.0012 + 0.006 * style.wide) * s * (0.1 + 0.9 * below)
    fold += 0.003 * s * np.cos(along * 40) * (np.exp(-(((along - 1) / 0.14) ** 2)) + (along > 1.7) * 0.8) * below
    place = _push_out(place + normal * fold[:, None], skin, normal, 0.75 * gap)
    side = np.where(skin[:, 0] < 0, -1.0, 1.0)
    inner = np.abs(skin[:, 0]) > 0.004 * s
    place[inner, 0] = (np.maximum(place[:, 0] * side, 0.002 * s) * side)[inner]  # the legs do not cross
    root = ref.at("l_upper_leg")
    t = np.clip(along, 0, 2)[:, None]
    knee, ankle = ref.at("l_lower_leg"), ref.at("l_foot")
    axis = np.where(t < 1, root + t * (knee - root), knee + (t - 1) * (ankle - knee))
    away = place * np.stack([side, side * 0 + 1, side * 0 + 1], 1) - axis
    around = np.arctan2(away[:, 2], away[:, 0]) / (2 * np.pi)  # 0 outside, a quarter in front, a half inside
    half = (side[faces].sum(1) < 0)[:, None] * 0.5
    v = (place[:, 1] - ankle[1]) / (waist_y(ref) + 0.01 - ankle[1])
    uv = np.stack([half + 0.25 + 0.49 * np.clip(_wrap(around[faces]), -0.5, 0.5), np.clip(v, 0.002, 0.998)[faces]], -1)
    return Part(index, weight, place, faces, uv.reshape(-1, 2), np.arange(3 * len(faces)).reshape(-1, 3)), field
