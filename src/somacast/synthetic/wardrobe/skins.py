"""Skins of the built-in people: tone, face, beard, brows and nails, painted on the body's own chart."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from somacast.body.table import BODY_VERTICES, load_body
from somacast.synthetic.wardrobe.garments import TEXTURE_SIZE_PX as _N
from somacast.synthetic.wardrobe.shapes import reference
from somacast.synthetic.wardrobe.textures import noise, opaque, random_color


@lru_cache(maxsize=1)
def skin_places() -> np.ndarray:
    """Where on the reference body each texel of the skin lies: [256, 256, 3] metres."""
    from somacast.geometry.nearest import PointTree
    from somacast.geometry.rasteriser import rasterize

    body, ref = load_body(), reference("m_slim")
    uv_vertex = np.zeros(len(body.uvs), np.int64)
    uv_vertex[body.face_uvs.ravel()] = body.faces.ravel()
    used = np.unique(body.face_uvs)
    place = ref.vertices[:BODY_VERTICES][uv_vertex]
    texel = np.zeros((len(body.uvs), 3), np.float32)  # texel n of the first row stands at u = n / (_N - 1)
    texel[:, :2] = np.stack([body.uvs[:, 0], 1 - body.uvs[:, 1]], 1) * (_N - 1) + 0.5
    nearness, triangle = np.empty((_N, _N), np.float32), np.empty((_N, _N), np.int32)
    weights = np.empty((_N, _N, 2), np.float32)
    rasterize(texel, body.face_uvs, False, nearness, triangle, weights)
    inside = triangle >= 0
    shares = np.concatenate([1 - weights[inside].sum(1, keepdims=True), weights[inside]], 1)
    out = np.empty((_N, _N, 3), np.float32)
    out[inside] = np.einsum("nkc,nk->nc", place[body.face_uvs[triangle[inside]]], shares)
    around = np.argwhere(~inside)[:, ::-1] + 0.5  # between the islands: the nearest vertex
    out[~inside] = place[used[PointTree(texel[used, :2]).query(around)[1]]]
    return out


@lru_cache(maxsize=1)
def _skin_masks() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Soft masks as flat texel numbers and shares: lips, brows, lids, cheeks, scalp, hands, underwear; found in 3D."""
    body, ref = load_body(), reference("m_slim")
    p = skin_places()
    bones = dict(zip(body.bone_names, range(len(body.bone_names)), strict=True))
    count = int(len(body.anchor_shape) * 0.9)
    table = body.anchor_phenotype[:count]
    group = (table[:, 1] >= 14) & (table[:, 0] <= 0.5) & (table[:, 6] <= 0.55)
    _, heads = body.rest(body.anchor_shape[:count][group].mean(0))
    eye = np.stack([ref.vertices[np.unique(f)].mean(0) for f in body.eye_faces])
    mouth = np.mean([heads[bones[b]] for b in ("oris04.L", "oris04.R", "oris06.L", "oris06.R")], 0)
    ids = np.arange(BODY_VERTICES)
    near = ids[(np.abs(ref.vertices[ids, 0]) < 0.004) & (np.abs(ref.vertices[ids, 1] - mouth[1]) < 0.03)]
    mouth_z = ref.vertices[near, 2].max()
    x, y, z = np.abs(p[..., 0]), p[..., 1], p[..., 2]
    ex, ey, ez = abs(eye[0, 0]), eye[:, 1].mean(), eye[:, 2].mean()

    def soft(v: np.ndarray) -> np.ndarray:
        return np.clip(v, 0, 1).astype(np.float32)

    face = soft((z - ez + 0.03) / 0.01) * (y > mouth[1] - 0.08)
    lips = soft(1.6 - 1.6 * ((x / 0.027) ** 2 + ((y - mouth[1]) / 0.0125) ** 2)) * (z > mouth_z - 0.028)
    line = soft(1 - np.abs(y - mouth[1]) / 0.0022) * (x < 0.026) * (z > mouth_z - 0.028)
    arc = ey + 0.021 + 0.004 * np.cos((x - ex - 0.004) / 0.016) - 0.003
    brow = soft(1.4 - np.abs(y - arc) / 0.0045) * soft((x - ex + 0.020) / 0.005) * soft((ex + 0.026 - x) / 0.006) * face
    lid = soft(1.7 - 1.7 * np.hypot((x - ex) / 0.021, (y - ey) / 0.0115)) * (z > ez - 0.005)
    socket = soft(1.3 - np.hypot((x - ex) / 0.026, (y - ey) / 0.018)) * face
    cheek = soft(1.1 - np.hypot((x - ex - 0.008) / 0.025, (y - ey + 0.04) / 0.022)) * face
    nose = soft(1.1 - np.hypot(x / 0.016, (y - mouth[1] - 0.03) / 0.014)) * face
    crown = ref.vertices[:BODY_VERTICES, 1].max()
    scalp = soft((y - (ey + 0.062 - 0.55 * np.clip(ez - 0.03 - z, 0, 0.09)) - 0.004 * np.sin(x * 150)) / 0.012) * (
        y < crown + 1
    )
    beard = soft(1.25 - np.hypot(x / 0.062, (y - mouth[1] + 0.012) / 0.045)) * face * (1 - soft(lips))
    joints = ref.joints
    knee = sum(soft(1 - np.linalg.norm(p - joints[j], axis=-1) / 0.08) for j in (7, 11, 14, 18))
    hands = soft(1 - np.minimum(np.linalg.norm(p - joints[8], axis=-1), np.linalg.norm(p - joints[12], axis=-1)) / 0.19)
    hip = joints[13][1]
    pants = (
        soft((hip + 0.06 - y) / 0.006) * soft((y - (hip - 0.10 + 0.5 * np.clip(x - 0.05, 0, 1))) / 0.006) * (x < 0.24)
    )
    masks = {"lips": lips, "line": line, "brow": brow, "lid": lid, "socket": socket, "cheek": cheek, "nose": nose,
            "scalp": scalp, "beard": beard, "knee": knee, "hands": hands, "pants": pants}  # fmt: skip
    texels = {name: np.flatnonzero(mask > 0.01) for name, mask in masks.items()}
    return {name: (texel, np.clip(masks[name].ravel()[texel], 0, 1)[:]) for name, texel in texels.items()}


_TONES = {"african": (96, 62, 44), "asian": (218, 172, 136), "caucasian": (232, 186, 162)}


def skin_texture(rng: np.random.Generator, person: dict[str, float], hair: np.ndarray) -> np.ndarray:
    """Skin in the body's UVs: tone from the person's origins, painted lips, brows, lids, redness, stubble, noise.

    `hair` [3] in [0, 255] colours brows, the scalp's shadow and beards.
    """
    masks = _skin_masks()
    share = np.array([max(person.get(k, 0.0), 1e-6) for k in _TONES])
    share = share / share.sum()
    logs = np.log([_TONES[k] for k in _TONES])
    tone = np.exp(share @ logs) * rng.uniform(0.82, 1.1) * rng.uniform(0.97, 1.03, 3)
    image = np.empty((_N, _N, 3), np.float32)
    image[:] = tone
    image *= (1 + 0.035 * noise(rng, 12, 12) + 0.03 * noise(rng, 64, 64))[..., None]

    flat = image.reshape(-1, 3)

    def blend(name: str, strength: float, color: np.ndarray, grain: np.ndarray | None = None) -> None:
        texel, share = masks[name]
        share = np.minimum(share * np.float32(strength), 1)
        if grain is not None:
            share = share * grain.reshape(-1)[texel]
        flat[texel] += share[:, None] * (np.asarray(color, np.float32) - flat[texel])

    red = tone * [1.04, 0.78, 0.76]
    for name, strength in (("cheek", rng.uniform(0.1, 0.6)), ("nose", 0.35), ("knee", 0.3), ("hands", 0.15)):
        blend(name, strength, red)
    blend("socket", rng.uniform(0.1, 0.4), tone * [0.78, 0.7, 0.7])
    adult_man = person["gender"] < 0.5 and person["age_years"] > 17
    hair = np.clip(hair, 8, 200)
    if adult_man and rng.random() < 0.55:
        grain = 0.75 + 0.25 * noise(rng, 100, 100)
        blend("beard", rng.choice([0.25, 0.4, 0.85]), hair * 0.7, grain)
    painted = person["gender"] > 0.5 and person["age_years"] > 15 and rng.random() < 0.4
    lips = (
        np.array([rng.uniform(150, 210), rng.uniform(30, 90), rng.uniform(50, 100)])
        if painted
        else tone * [0.95, 0.62, 0.62]
    )
    blend("lips", 0.9, lips)
    blend("line", 0.6, tone * 0.4)
    blend("brow", rng.uniform(0.55, 0.95), hair * 0.6)
    blend("lid", 0.55, tone * 0.35)
    blend("scalp", 0.35, hair * 0.7)
    blend("pants", 1.0, random_color(rng))
    return opaque(image)


def shade_beard(rng: np.random.Generator, skin: np.ndarray, hair: np.ndarray) -> np.ndarray:
    """A copy of any skin [256, 256, 4] uint8 with stubble, moustache or beard in the colour `hair` [3] in [0, 255]."""
    texel, share = _skin_masks()["beard"]
    place = skin_places().reshape(-1, 3)[texel]
    if rng.random() < 0.2:  # chin or upper lip alone
        upper = place[:, 1] > np.average(place[:, 1], weights=share)
        share = share * (upper if rng.random() < 0.5 else ~upper) * (np.abs(place[:, 0]) < 0.035)
    grain = np.clip(0.75 + 0.35 * noise(rng, 100, 100).reshape(-1)[texel], 0, 1)
    blend = (np.clip(1.3 * share, 0, 1) * grain * np.float32(rng.choice([0.2, 0.35, 0.6, 0.9])))[:, None]
    out = skin.copy()
    flat = out.reshape(-1, 4)
    flat[texel, :3] = flat[texel, :3] * (1 - blend) + np.asarray(hair, np.float32) * 0.7 * blend
    return out


def tattoo(rng: np.random.Generator, skin: np.ndarray) -> np.ndarray:
    """A copy of any skin with dark figures on one or both arms."""
    place = skin_places()
    arm = np.abs(place[..., 0]) > rng.uniform(0.24, 0.36)
    if rng.random() < 0.6:
        arm &= (place[..., 0] > 0) == bool(rng.random() < 0.5)
    lines = np.abs(noise(rng, 22, 22)) < rng.uniform(0.06, 0.2)
    where = arm & lines & (noise(rng, 7, 7) > rng.uniform(-0.3, 0.2))
    out = skin.copy()
    ink = np.array([35, 45, 60]) if rng.random() < 0.8 else rng.uniform(20, 160, 3)
    out[where, :3] = out[where, :3] * 0.35 + ink * 0.65
    return out
