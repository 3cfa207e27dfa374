"""Geometry of the built-in wardrobe, part four: hair, hats, collars and eyes, bound to the nearest body vertices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from somacast.body.table import BODY_VERTICES, load_body
from somacast.geometry.nearest import PointTree
from somacast.synthetic.wardrobe.shapes import JOINT, Part, Reference, join, look_up, smoothstep
from somacast.synthetic.wardrobe.volumes import _radial, bind, grid, grid_part


@dataclass(frozen=True)
class HairStyle:
    """Angles from the crown in degrees where hair ends in front, at the sides and at the back; thickness over the
    skull; drop_m: how far the sides and back hang below the chin line (negative: not at all); tail: none, pony, bun
    or pigtails; puff: 1 for an afro; ridge: a mohawk's height in metres."""

    front: float
    side: float
    back: float
    thick_m: float
    drop_m: float = -1.0
    tail: str = "none"
    puff: float = 0.0
    ridge_m: float = 0.0
    lumps: float = 0.0


_HAIR_COLUMNS, _HAIR_ROWS = 48, 30


@dataclass(frozen=True)
class _Skull:
    centre: np.ndarray
    table: np.ndarray  # [rows over 0 to 150 degrees from the crown, columns], metres
    ids: np.ndarray


def _skull(ref: Reference) -> _Skull:
    p = ref.vertices[:BODY_VERTICES]
    head = np.flatnonzero((ref.share[:, JOINT["head"]] > 0.5) | (ref.share[:, JOINT["neck"]] > 0.6))
    eye = ref.vertices[np.unique(load_body().eye_faces[0])].mean(0)
    q = p[head]
    high = q[:, 1] > eye[1] + 0.03 * ref.size
    centre = np.array([0, eye[1] + 0.025, (q[high, 2].max() + q[high, 2].min()) / 2])
    d = q - centre
    r = np.linalg.norm(d, axis=1)
    polar, azimuth = np.degrees(np.arccos(np.clip(d[:, 1] / r, -1, 1))), np.arctan2(d[:, 0], d[:, 2])
    row = (polar / 150 * _HAIR_ROWS).astype(int)
    half = np.abs(q[high, 0]).max()
    ear = (np.abs(d[:, 0]) > half * 0.93) & (d[:, 1] < 0.02) & (d[:, 2] < half * 0.9)
    keep = ~ear & (row < _HAIR_ROWS)
    table = _radial(r[keep], azimuth[keep], row[keep], (_HAIR_ROWS, _HAIR_COLUMNS))
    for _ in range(3):
        padded = np.pad(table, ((1, 1), (0, 0)), mode="edge")
        table = (np.roll(table, 1, 1) + np.roll(table, -1, 1) + padded[:-2] + padded[2:] + 4 * table) / 8
    return _Skull(centre, table, head)


def _skull_radius(skull: _Skull, polar: np.ndarray, azimuth: np.ndarray) -> np.ndarray:
    return look_up(skull.table.T, azimuth, polar / 150)


def _direction(polar: np.ndarray, azimuth: np.ndarray) -> np.ndarray:
    a = np.radians(polar)
    return np.stack([np.sin(a) * np.sin(azimuth), np.cos(a), np.sin(a) * np.cos(azimuth)], -1)


def _edge(front: float, side: float, back: float, azimuth: np.ndarray) -> np.ndarray:
    """Angle from the crown where a cap ends, for azimuths."""
    d = np.degrees(np.abs(azimuth))
    return np.interp(
        d,
        [0, 38, 58, 74, 100, 128, 180],
        [front, front * 1.02, (front + side) / 2, side, side * 0.97, back * 0.98, back],
    )


def hair(ref: Reference, style: HairStyle, seed: int) -> tuple[Part, np.ndarray]:
    """Hair as a cap over the skull, a curtain below it and a tail, and the body vertices it hides."""
    rng = np.random.default_rng(seed)
    skull, s = _skull(ref), ref.size**0.5  # heads differ less than bodies
    azimuth = (np.arange(_HAIR_COLUMNS) / _HAIR_COLUMNS - 0.5) * 2 * np.pi
    edge = _edge(style.front, style.side, style.back, azimuth)
    hangs = style.drop_m >= 0
    rows = 17
    t = np.linspace(0.015, 1, rows)[:, None]
    polar = t * edge
    bumps = sum(np.sin(polar / w + k * azimuth + rng.uniform(0, 6.28)) for w, k in ((9, 5), (6, 8), (14, 3))) / 3
    thick = style.thick_m * s * (1 + (0.12 + style.lumps) * bumps)
    thin = 0.25 + 0.75 * smoothstep((1 - t) / 0.22)
    if style.puff:
        thin = 0.55 + 0.45 * smoothstep((1 - t) / 0.35)
    if hangs:
        thin = np.where(np.degrees(np.abs(azimuth)) > 64, 1.0, thin)
    ridge = style.ridge_m * np.exp(-((np.sin(azimuth) * np.sin(np.radians(polar)) / 0.22) ** 2))
    radius = _skull_radius(skull, polar, np.broadcast_to(azimuth, polar.shape)) + thick * thin + ridge + 0.003
    place = skull.centre + _direction(polar, np.broadcast_to(azimuth, polar.shape)) * radius[..., None]
    crown = np.broadcast_to(place[:1].mean(1, keepdims=True), (1, _HAIR_COLUMNS, 3))
    place = np.concatenate([crown, place])
    parts = []
    faces, uvs, face_uvs = grid(place)
    uvs[:, 1] = 0.35 + 0.65 * uvs[:, 1]
    flat = place.reshape(-1, 3)
    parts.append(Part(*bind(ref, flat, skull.ids), flat, faces, uvs, face_uvs))
    if hangs:
        parts.append(_curtain(ref, skull, place[-1], azimuth, style))
    if style.tail != "none":
        parts += _tails(ref, skull, style, s)
    d = ref.vertices[skull.ids] - skull.centre
    own = np.degrees(np.arccos(np.clip(d[:, 1] / np.linalg.norm(d, axis=1), -1, 1)))
    ends = _edge(style.front, style.side, style.back, np.arctan2(d[:, 0], d[:, 2]))
    hidden = skull.ids[(own < ends - 12) & (ref.share[skull.ids, JOINT["head"]] > 0.5)]
    return join(parts), hidden


def _curtain(ref: Reference, skull: _Skull, edge: np.ndarray, azimuth: np.ndarray, style: HairStyle) -> Part:
    """Hair hanging from the cap's edge at the sides and back, in front of neither face nor chest."""
    s = ref.size
    columns = np.flatnonzero(np.degrees(np.abs(azimuth)) > 62)
    columns = np.concatenate(
        [columns[azimuth[columns] > 0], columns[azimuth[columns] < 0]]
    )  # left over the back to right
    turn = azimuth[columns] % (2 * np.pi)
    top = edge[columns]
    chin = ref.at("neck")[1] + 0.03 * s
    low = chin - style.drop_m * s
    rows = 7 + int(style.drop_m * 30)
    p = ref.vertices[:BODY_VERTICES]
    trunk = np.flatnonzero(ref.arm_share < 0.6)
    place = [top]
    start = np.hypot(top[:, 0], top[:, 2] - skull.centre[2])
    for r in range(1, rows):
        f = r / (rows - 1)
        y = top[:, 1] * (1 - f) + low * f
        under = smoothstep((chin - y) / (0.12 * s))
        # below the chin the hair is drawn to the back, so that it does not run into the shoulders
        squeezed = np.pi + (turn - np.pi) * (1 - 0.38 * under)
        radius = start * (1 + 0.05 * np.sin(np.pi * f)) * (1 - 0.12 * under)
        q = np.stack([radius * np.sin(squeezed), y, skull.centre[2] + radius * np.cos(squeezed)], -1)
        place.append(q)
    out = np.stack(place)
    # keep clear of the trunk: move back until behind the nearest skin
    tree = PointTree(p[trunk])
    gap = 0.012 * s
    flat = out.reshape(-1, 3)
    free = np.arange(len(flat)) >= len(columns)
    for _ in range(6):
        near = trunk[tree.query(flat)[1]]
        lack = gap - ((flat - p[near]) * ref.normals[near]).sum(1)
        flat = flat + ref.normals[near] * [1, 0.15, 1] * (np.clip(lack, 0, 0.05) * free)[:, None]
    out = flat.reshape(out.shape)
    out[2:-1] = (out[1:-2] + 2 * out[2:-1] + out[3:]) / 4
    faces, uvs, face_uvs = grid(out, closed=False, u_span=(0.15, 0.85))
    uvs[:, 1] *= 0.36
    flat = out.reshape(-1, 3)
    index, weight = bind(ref, flat, skull.ids)
    back = np.flatnonzero(
        (ref.share[:, [JOINT["chest"], JOINT["neck"]]].sum(1) > 0.5) & (p[:, 2] < ref.at("neck")[2] + 0.05)
    )
    near = back[PointTree(p[back]).query(flat)[1]]
    share = smoothstep((chin - 0.02 * s - flat[:, 1]) / (0.22 * s)) * 0.75
    index[:, 2] = near
    weight[:, :2] *= ((1 - share) / weight[:, :2].sum(1))[:, None]
    weight[:, 2] = share
    return Part(index, weight, flat, faces, uvs, face_uvs)


def _tube(path: np.ndarray, radius: np.ndarray, columns: int = 10) -> np.ndarray:
    """Rings [rows, columns, 3] around a path [rows, 3]."""
    ahead = np.gradient(path, axis=0)
    ahead /= np.linalg.norm(ahead, axis=1, keepdims=True)
    side = np.cross(ahead, np.array([0.31, 0.1, 0.95]))
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    other = np.cross(ahead, side)
    angle = np.arange(columns) / columns * 2 * np.pi
    ring = side[:, None] * np.cos(angle)[:, None] + other[:, None] * np.sin(angle)[:, None]
    return path[:, None] + ring * radius[:, None, None]


def _tails(ref: Reference, skull: _Skull, style: HairStyle, s: float) -> list[Part]:
    spots = {"pony": [(72.0, np.pi)], "low": [(112.0, np.pi)], "bun": [(55.0, np.pi)], "low_bun": [(105.0, np.pi)],
             "pigtails": [(80.0, 1.75), (80.0, -1.75)]}[style.tail]  # fmt: skip
    parts = []
    for polar, azimuth in spots:
        out = _direction(np.array(polar), np.array(azimuth))
        root = skull.centre + out * (_skull_radius(skull, np.array(polar), np.array(azimuth)) + style.thick_m * 0.5)
        f = np.linspace(0, 1, 12)
        if "bun" in style.tail:
            size = 0.042 * s
            path = root + out * ((f - 0.12) * 2 * size)[:, None]
            radius = size * np.sqrt(np.clip(1 - (2 * f - 1) ** 2, 0.0005, 1)) * 1.15
        else:
            length = (0.30 if style.tail != "pigtails" else 0.24) * s
            away = out * [1, 0, 1] / np.linalg.norm(out * [1, 0, 1])
            path = root + away * (0.055 * s * np.sin(np.minimum(f * 4, np.pi * 0.62)))[:, None]
            path = (
                path
                + np.array([0, 1, 0]) * (0.03 * np.sin(f * 5) * (f < 0.5) - length * f**1.25)[:, None]
                + away * (f * 0.07)[:, None]
            )
            radius = 0.032 * s * np.interp(f, [0, 0.12, 0.4, 0.8, 1], [0.55, 0.9, 1.05, 0.75, 0.12])
        place = _tube(path, radius)
        part = grid_part(ref, place, skull.ids)
        near, share = bind(ref, root[None], skull.ids)  # rigid with the head
        part.index[:], part.weight[:] = near, share
        part.uvs[:, 1] = 0.4 + 0.55 * part.uvs[:, 1]
        parts.append(part)
    return parts


def hat(ref: Reference, kind: str) -> tuple[Part, np.ndarray]:
    """A cap, beanie or bucket hat, and the body vertices it hides."""
    skull = _skull(ref)
    azimuth = (np.arange(_HAIR_COLUMNS) / _HAIR_COLUMNS - 0.5) * 2 * np.pi
    front, side, back, thick = {
        "cap": (70, 80, 92, 0.020),
        "beanie": (66, 84, 98, 0.022),
        "bucket": (74, 80, 88, 0.026),
    }[kind]
    d = np.degrees(np.abs(azimuth))
    edge = np.interp(d, [0, 90, 180], [front, side, back])
    rows = 13
    t = np.linspace(0.015, 1, rows)[:, None]
    polar = t * edge
    raised = {"cap": 0.008, "beanie": 0.022, "bucket": 0.024}[kind] * (1 - t**2)
    radius = _skull_radius(skull, polar, np.broadcast_to(azimuth, polar.shape)) + thick + raised
    if kind == "beanie":
        radius[-3:] += 0.006
    place = skull.centre + _direction(polar, np.broadcast_to(azimuth, polar.shape)) * radius[..., None]
    crown = np.broadcast_to(place[:1].mean(1, keepdims=True), (1, _HAIR_COLUMNS, 3))
    parts = [grid_part(ref, np.concatenate([crown, place]), skull.ids)]
    parts[0].uvs[:, 1] = 0.25 + 0.74 * parts[0].uvs[:, 1]
    if kind in ("cap", "bucket"):
        wide = azimuth[d < 58] if kind == "cap" else np.append(azimuth, azimuth[0])
        ends = np.interp(np.degrees(np.abs(wide)), [0, 90, 180], [front, side, back])
        rim = skull.centre + _direction(ends, wide) * (_skull_radius(skull, ends, wide) + thick - 0.001)[:, None]
        away = np.stack([np.sin(wide), -0.18 * np.ones_like(wide), np.cos(wide)], -1)
        if kind == "cap":
            away = np.stack([0.35 * np.sin(wide), -0.22 * np.ones_like(wide), np.ones_like(wide)], -1)
            reach = 0.075 * np.cos(np.radians(d[d < 58]) * 1.5) ** 0.5
        else:
            away[:, 1] = -0.8
            reach = np.full(len(wide), 0.05)
        brim = np.stack([rim + away * (reach * k)[:, None] for k in (0, 0.5, 1)])
        part = grid_part(ref, brim, skull.ids, closed=False)
        part.uvs[:, 1] = 0.02 + 0.2 * part.uvs[:, 1]
        parts.append(part)
    q = ref.vertices[skull.ids] - skull.centre
    own = np.degrees(np.arccos(np.clip(q[:, 1] / np.linalg.norm(q, axis=1), -1, 1)))
    ends = np.interp(np.degrees(np.abs(np.arctan2(q[:, 0], q[:, 2]))), [0, 90, 180], [front, side, back])
    return join(parts), skull.ids[own < ends - 10]


def collar(ref: Reference, style: str) -> Part:
    """A ring around the neck: a stand collar, a folded shirt collar, or a hood lying on the back."""
    p, s = ref.vertices[:BODY_VERTICES], ref.size
    neck = ref.at("neck")
    columns = 32
    turn = (np.arange(columns) / columns - 0.5) * 2 * np.pi
    ring = np.abs(p[:, 1] - (neck[1] + 0.0 * s) + 0.5 * (p[:, 2] - neck[2])) < 0.02 * s
    ring &= (ref.arm_share < 0.05) & (np.abs(p[:, 0]) < 0.1 * s)
    q = p[ring]
    z = (q[:, 2].max() + q[:, 2].min()) / 2
    radius = _radial(
        np.hypot(q[:, 0], q[:, 2] - z), np.arctan2(q[:, 0], q[:, 2] - z), np.zeros(len(q), int), (1, columns)
    )[0]
    radius = (np.roll(radius, 1) + radius + np.roll(radius, -1)) / 3
    back = smoothstep(-np.cos(turn) * 0.7 + 0.4)
    profile = {  # (outwards, up) in metres, row by row
        "stand": [(0.016, -0.022), (0.012, 0.0), (0.014, 0.028)],
        "shirt": [(0.010, -0.012), (0.008, 0.018), (0.014, 0.026), (0.030, -0.006)],
        "hood": [(0.024, -0.03), (0.014, 0.005), (0.022, 0.035), (0.055, 0.03), (0.08, -0.02), (0.06, -0.075)],
    }[style]
    rows = []
    for out, high in profile:
        if style == "hood":
            out, high = 0.014 + (out - 0.014) * (0.3 + 0.7 * back), high * (0.45 + 0.55 * back)
        r = radius + out * s
        y = neck[1] - 0.02 * s + high * s - 0.42 * (r * np.cos(turn) + z - neck[2])
        rows.append(np.stack([r * np.sin(turn), y, z + r * np.cos(turn)], -1))
    place = np.stack(rows)
    if style == "shirt":  # open at the throat
        place = np.concatenate([place[:, columns // 2 + 2 :], place[:, : columns // 2 - 1]], 1)
    trunk = np.flatnonzero(
        (ref.arm_share < 0.3) & (p[:, 1] > ref.at("chest")[1] + 0.05 * s) & (ref.share[:, JOINT["head"]] < 0.5)
    )
    part = grid_part(ref, place, trunk, closed=style != "shirt")
    part.uvs[:] = [0.5, 0.965] + (part.uvs - [0.5, 0.5]) * [0.9, 0.05]
    return part


def eyes(ref: Reference) -> Part:
    """Both eyeballs, looked at from the front: the iris is the middle of the texture."""
    body = load_body()
    parts = []
    for faces in body.eye_faces:
        ids = np.unique(faces)
        place = ref.vertices[ids]
        local = np.searchsorted(ids, faces)
        half = (place.max(0) - place.min(0)) / 2
        middle = (place.max(0) + place.min(0)) / 2
        uvs = 0.5 + (place - middle)[:, :2] / half[:2] * 0.48
        index = np.stack([ids] * 3, 1)
        weight = np.tile([1.0, 0, 0], (len(ids), 1))
        parts.append(Part(index, weight, place, local, uvs, local))
    return join(parts)
