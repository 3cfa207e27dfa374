"""Geometry of the built-in wardrobe, part three: skirts and shoes as generated surfaces that are bound to the
nearest body vertices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from somacast.body.table import BODY_VERTICES
from somacast.geometry.nearest import PointTree
from somacast.synthetic.wardrobe.shapes import JOINT, Part, Reference, hang_table, join, look_up, smoothstep, waist_y


def bind(ref: Reference, place: np.ndarray, candidates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The three nearest of the candidate vertices and inverse-distance weights, for places [V, 3]."""
    distance, near = PointTree(ref.vertices[candidates]).query(place, k=3)
    weight = 1 / (distance + 0.004)
    return candidates[near], weight / weight.sum(1, keepdims=True)


def grid(
    place: np.ndarray, closed: bool = True, u_span: tuple[float, float] = (0.0, 1.0)
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Faces, uvs and face_uvs of places [rows, columns, 3]; v runs from 1 in the first row to 0; slivers dropped."""
    rows, columns = place.shape[:2]
    number = np.arange(rows * columns).reshape(rows, columns)
    wide = np.concatenate([number, number[:, :1]], 1) if closed else number
    u, v = np.meshgrid(np.linspace(*u_span, wide.shape[1]), np.linspace(0.998, 0.002, rows))
    uv_number = np.arange(u.size).reshape(u.shape)

    def triangles(n: np.ndarray) -> np.ndarray:
        a, b, c, d = n[:-1, :-1], n[:-1, 1:], n[1:, :-1], n[1:, 1:]
        return np.concatenate([np.stack([a, c, b], -1).reshape(-1, 3), np.stack([b, c, d], -1).reshape(-1, 3)])

    faces, face_uvs = triangles(wide), triangles(uv_number)
    flat = place.reshape(-1, 3)
    corner = flat[faces]
    area = np.linalg.norm(np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]), axis=1)
    keep = area > 2e-7
    return faces[keep], np.stack([u.ravel(), v.ravel()], 1), face_uvs[keep]


def grid_part(ref: Reference, place: np.ndarray, candidates: np.ndarray, closed: bool = True,
               u_span: tuple[float, float] = (0.0, 1.0)) -> Part:  # fmt: skip
    faces, uvs, face_uvs = grid(place, closed, u_span)
    flat = place.reshape(-1, 3)
    return Part(*bind(ref, flat, candidates), flat, faces, uvs, face_uvs)


@dataclass(frozen=True)
class SkirtStyle:
    """hem: along the leg (1 knee, 2 ankle); flare: widening per metre of height; pleats: count, 0 for none;
    rise: start over the waist in metres (dresses start higher)."""

    hem: float
    flare: float
    pleats: int = 0
    rise_m: float = 0.0
    gap_m: float = 0.014


def skirt(ref: Reference, style: SkirtStyle, seed: int) -> tuple[Part, np.ndarray]:
    """A skirt and a field over the body that is positive where it covers."""
    rng = np.random.default_rng(seed)
    s = ref.size
    top = waist_y(ref) + 0.015 * s + style.rise_m * s
    knee, ankle = ref.at("l_lower_leg")[1], ref.at("l_foot")[1]
    hip = ref.at("l_upper_leg")[1]
    low = hip + style.hem * (knee - hip) if style.hem < 1 else knee + (style.hem - 1) * (ankle - knee)
    rows, columns = 9 + int(9 * style.hem), 56
    table, z, base, high = hang_table(ref, style.gap_m * s, 9.0)
    y = np.linspace(top, low, rows)
    turn = (np.arange(columns) / columns - 0.5) * 2 * np.pi
    radius = np.stack([look_up(table, turn, np.full(columns, (h - base) / (high - base))) for h in y])
    waist = top - 0.04 * s
    for r in range(1, rows):  # cloth falls: it widens with the flare and never follows the body inwards
        least = radius[r - 1] + (style.flare if y[r] < waist else 0.0) * (y[r - 1] - y[r])
        if style.flare < 0.02:  # a pencil skirt closes towards the hem
            least = radius[r - 1] - 0.12 * (y[r - 1] - y[r])
        radius[r] = np.maximum(radius[r], least)
    depth = smoothstep((hip + 0.05 * s - y) / (0.35 * s))[:, None]
    count = style.pleats or int(rng.integers(5, 9))
    size = (0.010 if style.pleats else 0.008 + 0.04 * max(style.flare, 0)) * s
    radius += depth * size * (1 + np.sin(count * turn + rng.uniform(0, 6.28)))
    drop = np.where(np.arange(rows) == rows - 1, 0.006 * s, 0.0)[:, None] * np.cos(count * turn)
    place = np.stack(
        [radius * np.sin(turn), np.broadcast_to(y[:, None], radius.shape) + drop, z + radius * np.cos(turn)], -1
    )
    faces, uvs, face_uvs = grid(place)
    flat = place.reshape(-1, 3)
    index, weight = _bind_skirt(ref, flat, hip, s)
    p = ref.vertices[:BODY_VERTICES]
    field = np.minimum(top - p[:, 1], p[:, 1] - low - 0.05 * s)
    return Part(index, weight, flat, faces, uvs, face_uvs), np.where(ref.arm_share > 0.05, -1.0, field)


def _bind_skirt(ref: Reference, place: np.ndarray, hip: float, s: float) -> tuple[np.ndarray, np.ndarray]:
    """Each vertex hangs on the pelvis and both legs: on the nearer leg more, on the pelvis near the waist."""
    p = ref.vertices[:BODY_VERTICES]
    free = (ref.arm_share < 0.1) & (p[:, 1] < waist_y(ref) + 0.25 * s) & (p[:, 1] > ref.at("l_foot")[1])
    out = np.empty((len(place), 3), np.int64)
    for k, mask in enumerate((p[:, 0] > 0.015 * s, p[:, 0] < -0.015 * s, p[:, 1] > hip - 0.02 * s)):
        some = np.flatnonzero(mask & free)
        near = place if k < 2 else np.maximum(place, [-9, hip + 0.02 * s, -9])
        out[:, k] = some[PointTree(p[some]).query(near)[1]]
    pelvis = 1 - smoothstep((hip + 0.05 * s - place[:, 1]) / (0.17 * s))
    left = smoothstep(place[:, 0] / (0.16 * s) + 0.5)
    return out, np.stack([(1 - pelvis) * left, (1 - pelvis) * (1 - left), pelvis], 1)


def _radial(values: np.ndarray, angle: np.ndarray, row: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Largest value per (row, angle bin), holes filled from their neighbours, smoothed around."""
    rows, columns = shape
    table = np.zeros(shape)
    col = np.floor((angle / (2 * np.pi) + 0.5) * columns + 0.5).astype(int) % columns
    np.maximum.at(table, (np.clip(row, 0, rows - 1), col), values)
    for _ in range(12):
        if (table > 0).all():
            break
        near = np.stack([np.roll(table, 1, 1), np.roll(table, -1, 1), np.vstack([table[1:], table[-1:]]),
                         np.vstack([table[:1], table[:-1]])])  # fmt: skip
        some = (near > 0).sum(0)
        table = np.where((table == 0) & (some > 0), near.sum(0) / np.maximum(some, 1), table)
    return table


@dataclass(frozen=True)
class ShoeStyle:
    """collar_m: opening over the ankle joint; sole_m; bulk_m: thickness of the upper; toe: 0 round to 1 pointed."""

    collar_m: float
    sole_m: float
    bulk_m: float
    toe: float = 0.0


def shoes(ref: Reference, style: ShoeStyle) -> tuple[Part, np.ndarray]:
    """Both shoes, lofted along heel, arch and toes, and the body vertices they hide.

    A vertex of the foot has coordinates (station, across, below) of a bent tube around the pivot, the crease in front
    of the ankle: stations below 0 go up the shin, 0 to 1 turn through the heel, 1 to 2 run to the tip of the toes.
    """
    p, s = ref.vertices[:BODY_VERTICES], ref.size
    ankle, toe = ref.at("l_foot"), ref.at("l_toe")
    ahead = (toe - ankle) * [1, 0, 1]
    ahead /= np.linalg.norm(ahead)
    up = np.array([0.0, 1, 0])
    across = np.cross(up, ahead)
    foot = ref.share[:, [JOINT["l_foot"], JOINT["l_toe"], JOINT["l_lower_leg"]]].sum(1) > 0.5
    foot &= p[:, 1] < ankle[1] + 0.36 * s
    q = p[foot] - ankle
    ring = np.abs(q[:, 1] - 0.012 * s) < 0.014 * s
    pivot = np.array([0.012 * s, 0.02 * s]) + [np.max((q @ ahead)[ring]), 0]  # ahead, up of the ankle joint
    a, h, aside = q @ ahead - pivot[0], q[:, 1] - pivot[1], q @ across
    tip = a.max() + 0.012 * s
    station = np.where(h > 0, -h / (0.1 * s), np.where(a >= 0, 1 + a / tip, np.arctan2(-h, -a) / (np.pi / 2)))
    below = np.where(h > 0, -a, np.where(a >= 0, -h, np.hypot(a, h)))
    start = -(style.collar_m - 0.02) / 0.1
    stops = np.concatenate([np.arange(start, -0.05, 0.3), np.linspace(0, 1, 7), np.linspace(1, 2, 11)[1:]])
    columns = 22
    rings = []
    for at in stops:
        width = 0.3 if at < 0 else 0.11
        gap = np.abs(station - min(at, 1.97))
        near = gap < max(width, np.partition(gap, 7)[7] + 1e-6)  # never fewer than eight points, on any build
        mid = np.array([(aside[near].max() + aside[near].min()) / 2, (below[near].max() + below[near].min()) / 2])
        x, y = aside[near] - mid[0], below[near] - mid[1]
        angle = np.arctan2(x, y)
        table = _radial(np.hypot(x, y), angle, np.zeros(near.sum(), int), (1, columns))[0]
        bins = (np.arange(columns) / columns - 0.5) * 2 * np.pi
        table = np.maximum(table, (np.roll(table, 1) + np.roll(table, -1)) / 2)
        table = (np.roll(table, 1) + 2 * table + np.roll(table, -1)) / 4 + style.bulk_m * s
        rings.append(np.stack([mid[0] + table * np.sin(bins), mid[1] + table * np.cos(bins)], -1))
    shape = np.stack(rings)  # [rings, columns, (across, below)]
    shape[1:-1] = (shape[:-2] + 2 * shape[1:-1] + shape[2:]) / 4
    ground = p[foot][:, 1].min() - ankle[1] - style.sole_m * s
    place = _unroll(shape, stops, pivot, tip, ground, style, s)
    world = ankle + place[..., :1] * ahead + place[..., 1:2] * up + place[..., 2:] * across
    faces, uvs, face_uvs = grid(world)
    flat = world.reshape(-1, 3)
    candidates = np.flatnonzero(foot)
    index, weight = bind(ref, flat, candidates)
    left = Part(index, weight, flat, faces, uvs, face_uvs)
    right_candidates = np.flatnonzero(
        (ref.share[:, [JOINT["r_foot"], JOINT["r_toe"], JOINT["r_lower_leg"]]].sum(1) > 0.5)
        & (p[:, 1] < ankle[1] + 0.36 * s)
    )
    mirrored = flat * [-1, 1, 1]
    index, weight = bind(ref, mirrored, right_candidates)
    right = Part(index, weight, mirrored, faces[:, ::-1], uvs, face_uvs[:, ::-1])
    top = ankle[1] + (style.collar_m - 0.02) * s
    sided = ref.share[:, [JOINT[f"{c}_{n}"] for c in "lr" for n in ("foot", "toe", "lower_leg")]].sum(1) > 0.5
    return join([left, right]), np.flatnonzero(sided & (p[:, 1] < top))


def _unroll(shape, stops, pivot, tip, ground, style: ShoeStyle, s: float) -> np.ndarray:
    """Rings in tube coordinates to places [rings + 1, columns, (ahead, up, across)] around the ankle joint."""
    rows = []
    for at, ring in zip(stops, shape, strict=True):
        side, below = ring[:, 0], ring[:, 1]
        if at < 0:
            a, h = -below, np.full(len(ring), -at * 0.1 * s)
        elif at <= 1:
            a, h = -below * np.cos(at * np.pi / 2), -below * np.sin(at * np.pi / 2)
        else:
            forward = (at - 1) * tip
            end = smoothstep(np.array((at - 1.62) / 0.38))
            squeeze = 1 - end * (0.30 + 0.35 * style.toe)
            middle, height = side.mean(), below.max()
            side = middle + (side - middle) * squeeze
            below = height - (height - below) * (1 - 0.35 * end)
            a, h = np.full(len(ring), forward * (1 + 0.05 * style.toe * end)), -below
        rows.append(np.stack([a + pivot[0], h + pivot[1], side], -1))
    place = np.stack(rows)
    low = place[..., 1] < ground + style.sole_m * s + 0.008 * s
    place[..., 1] = np.where(low, ground, np.maximum(place[..., 1], ground))
    last = place[-1]
    cap = np.broadcast_to(last.mean(0) + [0.006 * s, 0.0, 0.0], last.shape)
    return np.concatenate([place, [0.45 * last + 0.55 * cap], [cap]])
