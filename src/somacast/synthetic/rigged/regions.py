"""Which texels of a rigged person's texture are skin and which are clothes, and where on the body a texel lies.

One texture holds both. A texel is cloth if its colour is unlike the skin of the face and hands of the same person and
the part of the body may wear cloth; the trousers begin where the colour turns from that of the chest to that of the
shins, or at the hips if both are alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from somacast.body.skeleton import CANONICAL_JOINTS
from somacast.geometry.rasteriser import interpolate, rasterize
from somacast.kernels import compiled
from somacast.synthetic.rigged.reader import Figure

REGIONS = ("skin", "top", "bottom", "shoes", "hair")
SKIN, TOP, BOTTOM, SHOES, HAIR = range(len(REGIONS))
_CHROMA = 0.06  # distance in (r, g) / (r + g + b) from the skin's
_SHADES = (0.38, 1.9)  # of the skin's brightness
_APART = 40.0  # colours of two garments differ by more, of 255
_RING_M = 0.015


@dataclass(frozen=True)
class Regions:
    """Of a figure's first texture: region [T, T] uint8, numbers of REGIONS; way_mm [T, T, 2] int16 along and
    around the limb or trunk that a texel lies on; brightness [5]: median of each region in [0, 255]."""

    region: np.ndarray
    way_mm: np.ndarray
    brightness: np.ndarray


def find_regions(figure: Figure) -> Regions:
    """See the module."""
    image = figure.textures[0][..., :3].astype(np.float32)
    edge = len(image)
    first = np.flatnonzero(figure.face_layer == 0)
    corners = figure.face_uvs[first]
    points = np.zeros((len(figure.uvs), 3), np.float32)
    points[:, 0] = figure.uvs[:, 0] * (edge - 1) + 0.5
    points[:, 1] = (1 - figure.uvs[:, 1]) * (edge - 1) + 0.5
    near, triangle = np.empty((edge, edge), np.float32), np.empty((edge, edge), np.int32)
    weights = np.zeros((edge, edge, 2))
    rasterize(points, corners, False, near, triangle, weights)
    place_of_uv = np.zeros((len(figure.uvs), 3), np.float32)
    place_of_uv[corners] = figure.vertices[figure.faces[first]]
    place = np.zeros((edge, edge, 3), np.float32)
    interpolate(place_of_uv, corners, triangle, weights, place)
    corner = figure.faces[first, 0]
    bone = figure.skin_index[corner, figure.skin_weight[corner].argmax(1)]
    joint = figure.rig.joint[bone]
    part = np.where(triangle >= 0, joint[np.maximum(triangle, 0)], -1)
    eye = figure.rig.eyes[bone][np.maximum(triangle, 0)] & (triangle >= 0)
    region = _classify(figure, image, part, place)
    region[eye] = SKIN
    way = _way(figure, part, place)
    for sleeve in (_joints("l_upper_arm", "l_lower_arm"), _joints("r_upper_arm", "r_lower_arm"),
                   _joints("l_upper_leg", "l_lower_leg"), _joints("r_upper_leg", "r_lower_leg")):  # fmt: skip
        _whole_rings(region, np.isin(part, sleeve), way[..., 0])
    region = _majority(region)
    _dilate(triangle >= 0, region, way)
    shade = image.mean(2)
    texels = [shade[region == k] for k in range(len(REGIONS))]
    brightness = np.array([float(np.median(t)) if len(t) else 128.0 for t in texels])
    return Regions(region, np.round(1000 * way).astype(np.int16), brightness)


def _joints(*names: str) -> list[int]:
    return [k for k, joint in enumerate(CANONICAL_JOINTS) if any(name in joint for name in names)]


def _classify(figure: Figure, image: np.ndarray, part: np.ndarray, place: np.ndarray) -> np.ndarray:
    head = figure.heads[figure.rig.joint_bone[CANONICAL_JOINTS.index("head")]]
    on_head = np.isin(part, _joints("head"))
    above = place[..., 1] - head[1]
    total = np.maximum(image.sum(2), 1)
    chroma = image[..., :2] / total[..., None]
    # cheeks and nose: in front of the ears, from the mouth to the eyes
    face = on_head & (above > 0.0) & (above < 0.08) & (place[..., 2] > head[2] + 0.03) & (np.abs(place[..., 0]) < 0.06)
    hands = np.isin(part, _joints("hand"))
    alike = np.zeros(part.shape, bool)
    for sample in (face, hands):
        if sample.any():
            tone, shade = np.median(chroma[sample], axis=0), np.median(total[sample])
            near = np.linalg.norm(chroma - tone, axis=2) < _CHROMA
            alike |= near & (total > _SHADES[0] * shade) & (total < _SHADES[1] * shade)
    # arms and legs may be photographs of somebody more sunburnt
    red, green = chroma[..., 0], chroma[..., 1]
    tanned = (red > 0.42) & (red < 0.64) & (green > 0.26) & (green < 0.36) & (red - green > 0.1)
    alike |= tanned & np.isin(part, _joints("arm", "leg"))
    cloth = (part >= 0) & ~alike & ~on_head & ~hands
    region = np.zeros(part.shape, np.uint8)
    region[cloth] = TOP
    legs = np.isin(part, _joints("pelvis", "leg"))
    region[cloth & legs] = BOTTOM
    region[cloth & np.isin(part, _joints("foot", "toe"))] = SHOES
    chest, shins = cloth & np.isin(part, _joints("chest", "clavicle")), cloth & np.isin(part, _joints("lower_leg"))
    if chest.any() and shins.any():
        colors = [np.median(image[x], axis=0) for x in (chest, shins)]
        if np.linalg.norm(colors[0] - colors[1]) > _APART:
            between = cloth & np.isin(part, _joints("pelvis", "spine", "upper_leg"))
            to_top, to_bottom = (np.linalg.norm(image - c, axis=2) for c in colors)
            region[between] = np.where(to_top < to_bottom, TOP, BOTTOM)[between]
    # painted hair: dark or unlike the skin, over or behind the face
    scalp = on_head & ~alike & ((above > 0.13) | (place[..., 2] < head[2] + 0.02))
    region[scalp & (above > 0.02)] = HAIR
    return region


def _way(figure: Figure, part: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Metres along and around [T, T, 2] float32: arms lie along x, all else stands along y."""
    way = np.zeros((*part.shape, 2), np.float32)
    heads = figure.heads[figure.rig.joint_bone]
    for names, along, axis, radius in (
        (("pelvis", "spine", "chest", "neck", "head", "clavicle"), 1, (0, 2), 0.14),
        (("l_upper_leg", "l_lower_leg", "l_foot", "l_toe"), 1, (0, 2), 0.08),
        (("r_upper_leg", "r_lower_leg", "r_foot", "r_toe"), 1, (0, 2), 0.08),
        (("arm", "hand"), 0, (1, 2), 0.05),
    ):
        joints = _joints(*names)
        here = np.isin(part, joints)
        centre = heads[joints].mean(0)
        across = place[here][:, axis] - centre[list(axis)]
        way[here, 0] = place[here][:, along]
        way[here, 1] = radius * np.arctan2(across[:, 0], across[:, 1])
    return way


def _whole_rings(region: np.ndarray, limb: np.ndarray, along_m: np.ndarray) -> None:
    """Sleeves and trouser legs end all around a limb: rings that are mostly skin become skin, others become cloth."""
    ring = (along_m[limb] / _RING_M).astype(np.int64)
    ring -= ring.min(initial=0)
    count = np.bincount(ring)
    covered = np.bincount(ring, region[limb] != SKIN) > 0.5 * count
    cloth = np.bincount(region[limb & (region != SKIN)], minlength=len(REGIONS)).argmax() if covered.any() else SKIN
    old = region[limb]
    region[limb] = np.where(covered[ring], np.where(old == SKIN, cloth, old), SKIN)


@compiled(nogil=True)
def _majority(region):
    """The commonest region among the 5 x 5 texels around each."""
    edge = region.shape[0]
    out = np.empty_like(region)
    for y in range(edge):
        for x in range(edge):
            votes = np.zeros(len(REGIONS), np.int64)
            for b in range(max(y - 2, 0), min(y + 3, edge)):
                for a in range(max(x - 2, 0), min(x + 3, edge)):
                    votes[region[b, a]] += 1
            out[y, x] = votes.argmax()
    return out


@compiled(nogil=True)
def _dilate(known, region, way):
    """Carry the texels of triangles over the next four around them, which filtering touches."""
    edge = known.shape[0]
    for _ in range(4):
        before = known.copy()
        for y in range(edge):
            for x in range(edge):
                if before[y, x]:
                    continue
                for dy, dx in ((0, -1), (0, 1), (-1, 0), (1, 0)):
                    b, a = y + dy, x + dx
                    if 0 <= b < edge and 0 <= a < edge and before[b, a]:
                        known[y, x] = True
                        region[y, x] = region[b, a]
                        way[y, x] = way[b, a]
                        break
