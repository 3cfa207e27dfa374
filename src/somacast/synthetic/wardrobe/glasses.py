"""Glasses on the built-in bodies' heads: two rims, a bridge, temples to the ears, dark lenses at times."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from somacast.body.clothing import MATERIALS
from somacast.body.table import BODY_VERTICES, load_body
from somacast.synthetic.wardrobe.garments import TEXTURE_SIZE_PX, Garment
from somacast.synthetic.wardrobe.shapes import JOINT, Part, Reference, finish, join, reference
from somacast.synthetic.wardrobe.volumes import bind, grid

_RIM_POINTS, _TUBE = 22, 5
_CLEAR_M = 0.004  # between skin and frame
_DEPTH = 65  # above clothes, below hair


@dataclass(frozen=True)
class GlassesStyle:
    """half_m: half width and half height of a rim; square: 0 an ellipse, 1 nearly a rectangle; wire_m: radius of the
    frame; dark: lenses that hide the eyes."""

    half_m: tuple[float, float]
    square: float
    wire_m: float
    dark: bool = False


GLASSES: dict[str, GlassesStyle] = {
    "round": GlassesStyle((0.022, 0.021), 0.0, 0.0013),
    "oval": GlassesStyle((0.025, 0.017), 0.15, 0.0015),
    "square": GlassesStyle((0.026, 0.018), 0.8, 0.0022),
    "thick": GlassesStyle((0.027, 0.020), 0.7, 0.0030),
    "sun": GlassesStyle((0.028, 0.021), 0.45, 0.0018, dark=True),
    "sun_round": GlassesStyle((0.024, 0.024), 0.0, 0.0015, dark=True),
}


def _contour(style: GlassesStyle) -> np.ndarray:
    """Rim around its middle: [points, (x away from the nose, y up)], a superellipse."""
    turn = np.arange(_RIM_POINTS) / _RIM_POINTS * 2 * np.pi
    power = 1 - 0.6 * style.square
    c, s = np.cos(turn), np.sin(turn)
    shape = np.stack([np.sign(c) * np.abs(c) ** power, np.sign(s) * np.abs(s) ** power], 1)
    return shape * style.half_m


def _front(head: np.ndarray, places: np.ndarray, reach_m: float = 0.007) -> np.ndarray:
    """Depth z of the face at places [N, 2] in (x, y): the foremost vertex nearby."""
    near = np.hypot(*np.moveaxis(places[:, None] - head[None, :, :2], -1, 0)) < reach_m
    return np.where(near, head[None, :, 2], -1.0).max(1)


def _wire(path: np.ndarray, away: np.ndarray, radius: float) -> np.ndarray:
    """Rings [rows, tube, 3] around a path [rows, 3]; away [rows, 3] points off the wire, at right angles to it."""
    ahead = np.gradient(path, axis=0)
    other = np.cross(ahead, away)
    other /= np.linalg.norm(other, axis=1, keepdims=True)
    turn = np.arange(_TUBE) / _TUBE * 2 * np.pi
    ring = away[:, None] * np.cos(turn)[:, None] + other[:, None] * np.sin(turn)[:, None]
    return path[:, None] + radius * ring


def _solid(ref: Reference, place: np.ndarray, candidates: np.ndarray, anchors: np.ndarray) -> Part:
    """A wire of rings as a part that faces outwards; bound to the three head vertices nearest to `anchors`."""
    faces, uvs, face_uvs = grid(place)
    flat = place.reshape(-1, 3)
    corner = flat[faces] - flat.mean(0)
    ring = flat[faces].mean(1) - place.mean(1)[np.minimum(faces.min(1) // _TUBE, len(place) - 1)]
    normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    if (normal * ring).sum() < 0:
        faces, face_uvs = faces[:, ::-1], face_uvs[:, ::-1]
    index, weight = bind(ref, np.repeat(anchors, _TUBE, 0), candidates)
    return Part(index, weight, flat, faces, uvs * [0.4, 1] + [0.02, 0], face_uvs)


def _lens(ref: Reference, rim: np.ndarray, candidates: np.ndarray, anchor: np.ndarray) -> Part:
    """A fan that fills a rim [points, 3] and faces forwards."""
    place = np.concatenate([rim, rim.mean(0, keepdims=True)])
    n = len(rim)
    faces = np.stack([np.arange(n), (np.arange(n) + 1) % n, np.full(n, n)], 1)
    first = place[faces[0]]
    if np.cross(first[1] - first[0], first[2] - first[0])[2] < 0:
        faces = faces[:, ::-1]
    low, high = place.min(0), place.max(0)
    uvs = np.stack([np.full(n + 1, 0.75), 0.05 + 0.9 * (place[:, 1] - low[1]) / (high[1] - low[1])], 1)
    index, weight = bind(ref, np.repeat(anchor[None], n + 1, 0), candidates)
    return Part(index, weight, place, faces, uvs, faces)


def _parts(ref: Reference, style: GlassesStyle) -> list[Part]:
    body, skin = load_body(), ref.vertices[:BODY_VERTICES]
    ids = np.flatnonzero(ref.share[:, JOINT["head"]] > 0.8)
    head, scale = skin[ids], ref.size**0.4  # heads differ less than bodies
    eyes = [ref.vertices[np.unique(f)] for f in body.eye_faces]
    middle = np.mean([np.abs(e.mean(0)) * [1, 1, 0] for e in eyes], 0)[:2]
    eye_front = max(float(e[:, 2].max()) for e in eyes)
    contour = _contour(style) * scale
    contour[:, 0] *= min(1.0, (middle[0] - 0.007 * scale) / contour[:, 0].max())  # rims do not meet on the nose
    parts, rims = [], []
    for side in (1.0, -1.0):
        flat = contour + [middle[0], middle[1]]
        flat[:, 1] -= 0.002 * scale
        z = eye_front + 0.009 * scale - 0.14 * contour[:, 0]  # frames follow the face around
        lack = (_front(head, flat * [side, 1]) + _CLEAR_M - z).max()
        rim = np.stack([flat[:, 0] * side, flat[:, 1], z + max(0.0, min(float(lack), 0.008))], 1)
        rims.append(rim)
        anchor = np.array([middle[0] * side, middle[1], eye_front])
        out = np.append(contour / np.linalg.norm(contour, axis=1, keepdims=True), np.zeros((_RIM_POINTS, 1)), 1)
        place = _wire(rim, out * [side, 1, 1], style.wire_m * scale)[np.r_[0:_RIM_POINTS, 0]]
        parts.append(_solid(ref, place, ids, np.repeat(anchor[None], _RIM_POINTS + 1, 0)))
        if style.dark:
            parts.append(_lens(ref, rim, ids, anchor))
        parts.append(_temple(ref, rim[0], side, ids, style.wire_m * scale))
    parts.append(_bridge(ref, rims, ids, style.wire_m * scale))
    return parts


def _temple(ref: Reference, start: np.ndarray, side: float, ids: np.ndarray, wire: float) -> Part:
    """From the outer end of a rim along the temple to the top of the ear."""
    head = ref.vertices[ids]
    near = (np.abs(head[:, 1] - start[1]) < 0.02) & (head[:, 0] * side > 0)
    ear = head[near][np.abs(head[near, 0]).argmax()]
    t = np.linspace(0, 1, 9)
    path = start + t[:, None] * (np.array([0, 0, ear[2] + 0.012]) - start) * [0, 0, 1]
    path[:, 1] = start[1] + 0.006 * t
    wide = np.empty(len(t))
    for k, (_, y, z) in enumerate(path):
        # Ears stand out; what ends behind them takes its place from the temple in front of them.
        close = near & (np.hypot(head[:, 1] - y, head[:, 2] - max(z, ear[2] + 0.035)) < 0.012)
        wide[k] = np.abs(head[close, 0]).max() if close.any() else 0
    path[:, 0] = side * np.maximum.accumulate(np.maximum(np.abs(start[0]), wide + _CLEAR_M))
    path[0] = start
    away = np.tile([0.0, 1, 0], (len(t), 1))
    return _solid(ref, _wire(path, away, wire), ids, path)


def _bridge(ref: Reference, rims: list[np.ndarray], ids: np.ndarray, wire: float) -> Part:
    inner = [rim[np.abs(rim[:, 0]).argmin()] for rim in rims]
    t = np.linspace(0, 1, 7)[:, None]
    path = inner[0] * (1 - t) + inner[1] * t
    path[:, 1] += 0.005 + 0.003 * np.sin(np.pi * t[:, 0])
    face = _front(ref.vertices[ids], path[:, :2], 0.005) + 0.002
    path[:, 2] = np.maximum(path[:, 2], np.minimum(face, path[:, 2] + 0.012))
    return _solid(ref, _wire(path, np.tile([0.0, 1, 0], (len(t), 1)), wire), ids, path)


@lru_cache(maxsize=64)
def _shape(kind: str, name: str) -> Garment:
    ref = reference(kind)
    # What lies on the eyes counts as them: no attribute speaks of glasses, and a hat would be one.
    none = np.zeros(0, np.int64)
    garment = finish(ref, join(_parts(ref, GLASSES[name])), f"builtin/glasses_{name}", MATERIALS.index("eyes"),
                     none, _DEPTH, False)  # fmt: skip
    return replace(garment, scale_distance_m=np.zeros(3, np.float32))  # heads do not grow with shoulders


def glasses(rng: np.random.Generator, kind: str) -> Garment:
    """Glasses of a drawn style and colour for the reference body of that kind (`shapes.KINDS`)."""
    garment = _shape(kind, str(rng.choice(list(GLASSES))))
    frame = rng.uniform(8, 70) * np.ones(3) if rng.random() < 0.6 else rng.uniform(20, 220, 3)
    texture = np.full((TEXTURE_SIZE_PX, TEXTURE_SIZE_PX, 4), 255, np.uint8)
    texture[..., :3] = frame
    half = TEXTURE_SIZE_PX // 2
    lens = rng.uniform(5, 60) * rng.uniform(0.6, 1.4, 3)
    light = np.linspace(0.6, rng.uniform(0.6, 2.5), TEXTURE_SIZE_PX)[:, None, None]
    texture[:, half:, :3] = np.clip(lens * light, 0, 255)
    return replace(garment, texture=texture)
