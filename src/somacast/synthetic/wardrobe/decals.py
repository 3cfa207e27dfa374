"""Letters, logos and patterns on clothes, laid on through the plane before or behind a body at rest.

So they are upright and read from left to right, however a garment's texture is cut.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from somacast.body.clothing import MATERIALS
from somacast.body.table import load_body
from somacast.geometry.rasteriser import rasterize
from somacast.kernels import compiled
from somacast.synthetic.wardrobe.garments import TEXTURE_SIZE_PX as _N
from somacast.synthetic.wardrobe.garments import Garment, Layer, scale_matrix
from somacast.synthetic.wardrobe.shapes import JOINT

WORDS = ("TEAM", "CITY", "RUN", "NORTH", "OCEAN", "COFFEE", "STUDIO", "ATLAS", "RIVER", "LUNA", "CLUB", "WEST", "Nova",
         "bravo", "Tempo", "delta", "GO", "ROMA", "PEAK", "wild", "Sport", "1987", "MUSIC", "FOX", "zebra", "KYOTO",
         "EST. 04", "hello", "JET", "Query", "OPEN", "SALE", "EXIT", "42", "7", "X")  # fmt: skip
_MARGIN = 0.35  # least share of a normal that points forwards or backwards where prints may lie
_PX_PER_M = 400.0  # of a print before it is laid on: a little finer than textures are
_CACHE_SIZE = 150


@dataclass(frozen=True)
class Surface:
    """Where the texels of a garment lie on the mean body at rest, metres, pelvis height not subtracted.

    place [256, 256, 2] float16 (x to the left of the wearer, y up); material [256, 256] uint8, MATERIALS + 1, 0 where
    no cloth is; front and back: flat numbers of the texels of the trunk that face there. Both are empty where halves of
    the garment share texels, on which letters would be mirrored.
    """

    place: np.ndarray
    material: np.ndarray
    front: np.ndarray
    back: np.ndarray


_SURFACES: OrderedDict[int, tuple[np.ndarray, Surface]] = OrderedDict()


def surface_of(garment: Garment) -> Surface:
    """The surface of a garment, kept for its recoloured copies, which share their `index`."""
    key = id(garment.index)
    if key not in _SURFACES:
        if len(_SURFACES) >= _CACHE_SIZE:
            _SURFACES.popitem(last=False)
        _SURFACES[key] = (garment.index, _surface(garment))  # holding the array keeps its id taken
    return _SURFACES[key][1]


def _surface(garment: Garment) -> Surface:
    body = load_body()
    vertices = garment.fit(body.shape_mean)
    corners = garment.uvs[garment.face_uvs].astype(np.float64)
    corners = corners - np.floor(corners.mean(1, keepdims=True))
    texel = np.zeros((3 * len(corners), 3), np.float32)  # texel n of the first row stands at u = n / (_N - 1)
    texel[:, :2] = (np.stack([corners[..., 0], 1 - corners[..., 1]], -1) * (_N - 1) + 0.5).reshape(-1, 2)
    nearness, triangle = np.empty((_N, _N), np.float32), np.empty((_N, _N), np.int32)
    weights = np.empty((_N, _N, 2), np.float32)
    rasterize(texel, np.arange(len(texel), dtype=np.int32).reshape(-1, 3), False, nearness, triangle, weights)
    inside = triangle >= 0
    face = triangle[inside]
    shares = np.concatenate([1 - weights[inside].sum(1, keepdims=True), weights[inside]], 1)
    at = vertices[garment.faces]
    place = np.zeros((_N, _N, 2), np.float16)
    place[inside] = np.einsum("nkc,nk->nc", at[face][..., :2], shares)
    material = np.zeros((_N, _N), np.uint8)
    material[inside] = garment.face_material[face] + 1
    grown = np.asarray(Image.fromarray(material).filter(ImageFilter.MaxFilter(5)))
    material = np.where(inside, material, grown)
    normal = np.cross(at[:, 1] - at[:, 0], at[:, 2] - at[:, 0])
    facing = normal[:, 2] / np.maximum(np.linalg.norm(normal, axis=1), 1e-12)
    middle = at.mean(1)
    low, high = (float(body.bone_mean[body.joint_bone[JOINT[n]], 1]) for n in ("pelvis", "neck"))
    trunk = (np.abs(middle[:, 0]) < 0.22) & (middle[:, 1] > low) & (middle[:, 1] < high + 0.05)
    trunk &= garment.face_material == MATERIALS.index("top")
    empty = np.zeros(0, np.int64)
    if not trunk.any() or _shared(corners[trunk], middle[trunk], place):
        return Surface(place, material, empty, empty)
    flat = np.flatnonzero(inside)
    return Surface(place, material, flat[(trunk & (facing > _MARGIN))[face]], flat[(trunk & (facing < -_MARGIN))[face]])


def _shared(corners: np.ndarray, middle: np.ndarray, place: np.ndarray) -> bool:
    """Whether other parts of the garment use the texels of faces with texture corners [F, 3, 2] too."""
    uv = corners.mean(1) % 1
    texel = np.round(np.stack([1 - uv[:, 1], uv[:, 0]], 1) * (_N - 1)).astype(int)
    found = place[texel[:, 0], texel[:, 1]].astype(np.float32)
    return bool(np.mean(np.abs(found - middle[:, :2]).max(1) > 0.03) > 0.1)


@compiled(fastmath=True, nogil=True)
def _recolor(texture, matrix, out):
    """Colours of texture [N, N, 4] uint8 through matrix [3, 4] into `out`, alpha as it is."""
    for row in range(texture.shape[0]):
        for column in range(texture.shape[1]):
            for k in range(3):
                value = matrix[k, 3]
                for n in range(3):
                    value += matrix[k, n] * texture[row, column, n]
                out[row, column, k] = np.uint8(min(255.0, max(0.0, value)))
            out[row, column, 3] = texture[row, column, 3]


def baked(layer: Layer) -> Layer:
    """The same look with the worn colours in the texture, so that what is painted next keeps its own."""
    texture = layer.garment.texture
    out = np.empty_like(texture)
    _recolor(texture, layer.color_matrix.astype(np.float32), out)
    return Layer(replace(layer.garment, texture=out), scale_matrix(1))


# -- prints -----------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=64)
def typeface(size_px: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    """Pillow's own letters, whose height is about `size_px`."""
    return ImageFont.load_default(size_px)


def lettering(text: str, high_px: int) -> np.ndarray:
    """Coverage [H, W] in [0, 1] of lines of writing, each about `high_px` tall."""
    font = typeface(max(6, high_px))
    ruler = ImageDraw.Draw(Image.new("L", (1, 1)))
    left, top, right, bottom = ruler.multiline_textbbox((0, 0), text, font, align="center", stroke_width=1)
    picture = Image.new("L", (int(right - left) + 3, int(bottom - top) + 3), 0)
    draw = ImageDraw.Draw(picture)
    draw.multiline_text((1 - left, 1 - top), text, 255, font, align="center", stroke_width=1)
    return np.asarray(picture, np.float32) / 255


def _emblem(rng: np.random.Generator, side: int, ink: np.ndarray) -> np.ndarray:
    """A logo [side, side, 4] float32 of one to three shapes in [0, 255] and alpha in [0, 1]."""
    picture = Image.new("RGBA", (side, side), (*(int(c) for c in ink), 0))
    draw = ImageDraw.Draw(picture)
    for k in range(int(rng.integers(1, 4))):
        color = tuple(int(c) for c in (ink if k == 0 else rng.uniform(0, 255, 3))) + (255,)
        r = side / 2 * (1 - 0.28 * k) - 1
        kind, m = rng.integers(5), side / 2
        if kind == 0:
            draw.ellipse((m - r, m - r, m + r, m + r), color)
        elif kind == 1:
            draw.ellipse((m - r, m - r, m + r, m + r), None, color, max(1, int(r * 0.3)))
        elif kind == 2:
            draw.regular_polygon((m, m, r), int(rng.integers(3, 7)), float(rng.uniform(0, 90)), color)
        elif kind == 3:
            turn = np.arange(10) / 10 * 2 * np.pi
            reach = np.where(np.arange(10) % 2, 0.45, 1) * r
            draw.polygon([(m + a * np.sin(t), m - a * np.cos(t)) for a, t in zip(reach, turn, strict=True)], color)
        else:
            for bar in range(3):
                y = m - r + 2 * r * bar / 3
                draw.rectangle((m - r, y, m + r * rng.uniform(0.2, 1), y + r * 0.4), color)
    out = np.asarray(picture, np.float32).copy()
    out[..., 3] /= 255
    return out


def draw_print(rng: np.random.Generator, width_m: float, ink: np.ndarray) -> np.ndarray:
    """Something to wear on the chest, [H, W, 4]: colours in [0, 255] and alpha in [0, 1]; W is `width_m` wide."""
    wide = max(12, int(width_m * _PX_PER_M))
    kind = rng.random()
    if kind < 0.3:
        return _emblem(rng, wide, ink)
    text = str(rng.integers(100)) if kind < 0.45 else str(rng.choice(WORDS))
    if kind > 0.8:
        text += "\n" + str(rng.choice(WORDS))
    cover = lettering(text, 48)
    high = max(6, min(round(wide * cover.shape[0] / cover.shape[1]), int(0.3 * _PX_PER_M)))
    wide = max(8, min(wide, round(high * cover.shape[1] / cover.shape[0])))
    small = Image.fromarray((cover * 255).astype(np.uint8)).resize((wide, high), Image.Resampling.BOX)
    alpha = np.asarray(small, np.float32) / 255
    out = np.empty((*alpha.shape, 4), np.float32)
    out[..., :3], out[..., 3] = ink, alpha
    if rng.random() < 0.2:  # on a label of its own
        label = 255 - ink if rng.random() < 0.5 else rng.uniform(0, 255, 3)
        out = np.pad(out, ((4, 4), (5, 5), (0, 0)))
        share = out[..., 3:].copy()
        out[..., :3] = label * (1 - share) + ink * share
        out[..., 3] = 1
    return out


def lay_on(texture: np.ndarray, surface: Surface, image: np.ndarray, centre: tuple[float, float], back: bool) -> None:
    """Blend a print [H, W, 4] into a texture [256, 256, 4] uint8 of that surface, in place.

    centre: metres (x to the left of the wearer, y up) on the mean body at rest.
    """
    texels = surface.back if back else surface.front
    at = surface.place.reshape(-1, 2)[texels].astype(np.float32)
    across = (centre[0] - at[:, 0]) if back else (at[:, 0] - centre[0])  # from behind, the wearer's right is right
    column = across * _PX_PER_M + image.shape[1] / 2 - 0.5
    row = (centre[1] - at[:, 1]) * _PX_PER_M + image.shape[0] / 2 - 0.5
    hit = (column > -0.5) & (column < image.shape[1] - 0.5) & (row > -0.5) & (row < image.shape[0] - 0.5)
    if not hit.any():
        return
    ink = image[np.round(row[hit]).astype(int), np.round(column[hit]).astype(int)]
    flat = texture.reshape(-1, 4)
    cloth = flat[texels[hit], :3].astype(np.float32)
    shade = cloth.mean(1)
    shade = np.clip(shade / max(float(shade.mean()), 8.0), 0.6, 1.25)[:, None]  # folds go on below the print
    alpha = ink[:, 3:]
    flat[texels[hit], :3] = np.clip(cloth * (1 - alpha) + ink[:, :3] * shade * alpha, 0, 255)
