"""Where the texels of the body's UV square lie on the body: along and around which limb, and opposite which others.

The square at LIMBS_PX, of the mean body in the T-pose: what is found for one person's texels goes for everybody's.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from somacast.body.skeleton import CANONICAL_JOINTS, JOINT_COUNT
from somacast.body.table import TPOSE, Body, load_body, vertex_normals
from somacast.geometry.nearest import PointTree
from somacast.geometry.texturing.islands import body_corners, outer_islands
from somacast.geometry.texturing.texels import texels_of

LIMBS_PX = 256
TRUNK, LEFT_ARM, RIGHT_ARM, LEFT_LEG, RIGHT_LEG, NECK, HEAD, ENDS = range(8)  # ends: hands and feet
LIMBS = 6  # the first ones, which cloth goes around
_STEP_M = 0.02  # rings in which the middle of a limb is looked for
_TWIN_FACING_M = 0.03  # how far apart two points are taken to be whose normals are at right angles
_NEAREST = 4
_DEPTH = 0.25  # what a metre of depth counts beside one across or up: fronts are no mirror images of backs
_TWIN_M = 0.06  # what lies farther from its reflection has no twin
# Where hair usually ends: degrees from the crown, by degrees from the front.
_AZIMUTHS, _HAIRLINE = (0, 38, 58, 74, 100, 128, 180), (54, 55, 73, 92, 90, 117, 119)
_ABOVE_EYES_M = 0.025  # the middle of the skull


@dataclass(frozen=True)
class LimbTexels:
    """Texels [N] on the body. at: number in the flat square; limb: TRUNK to ENDS, int8; along_m: from one end of the
    limb to the other; around: [0, 1) turns about it, 0 in front, growing to the left on trunk and neck, outwards on
    legs; left_right, front_back: number among the N of the texel on the other side, -1 where there is none; scalp:
    degrees inside the usual hairline, negative outside and on other limbs; inside [S, S] bool: the texels at `at`."""

    at: np.ndarray
    limb: np.ndarray
    along_m: np.ndarray
    around: np.ndarray
    left_right: np.ndarray
    front_back: np.ndarray
    scalp: np.ndarray
    inside: np.ndarray


@lru_cache(maxsize=1)
def limb_texels() -> LimbTexels:
    """The table; made at the first use in about a tenth of a second."""
    body = load_body()
    face, bary = texels_of(body_corners(), LIMBS_PX)
    inside = face >= 0
    at = np.flatnonzero(inside)
    face, bary = face.ravel()[at], bary.reshape(-1, 3)[at]
    corner = body.faces[face]

    skin = body.pose(np.zeros(1), TPOSE)[0]
    outward = np.empty_like(skin)
    vertex_normals(skin, body.faces, outward)
    point, normal = (np.einsum("nkc,nk->nc", values[corner], bary) for values in (skin, outward))
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    limb = _limbs(body, corner, bary)
    along, around, depth = _places(point, limb)

    outer = np.flatnonzero(outer_islands()[face])
    flat = point * np.array([1, 1, _DEPTH], np.float32)
    tree = PointTree(flat[outer])

    def twins(who: np.ndarray, reflected: np.ndarray, turn: np.ndarray) -> np.ndarray:
        """Who of the outer ones lies nearest to reflections, and looks the same way."""
        distance, index = tree.query(reflected, _NEAREST)
        found = outer[index]
        away = 1 - np.einsum("nkc,nc->nk", normal[found], normal[who] * turn)
        best = (distance**2 + _TWIN_FACING_M**2 * away).argmin(1)[:, None]
        near = np.take_along_axis(distance, best, 1)[:, 0] < _TWIN_M
        return np.where(near, np.take_along_axis(found, best, 1)[:, 0], -1)

    left_right, front_back = np.full(len(at), -1), np.full(len(at), -1)
    flip = np.array([-1, 1, 1])
    left_right[outer] = twins(outer, flat[outer] * flip, flip)
    whole = outer[limb[outer] < LIMBS]
    through = np.stack([point[whole, 0], point[whole, 1], _DEPTH * (2 * depth[whole] - point[whole, 2])], 1)
    front_back[whole] = twins(whole, through, np.array([1, 1, -1]))
    scalp = _scalp(body, np.einsum("nkc,nk->nc", body.shape_mean[corner], bary), limb)
    numbers = (along, around, scalp)
    along, around, scalp = (values.astype(np.float32) for values in numbers)
    return LimbTexels(at, limb, along, around, left_right, front_back, scalp, inside)


def _limbs(body: Body, corner: np.ndarray, bary: np.ndarray) -> np.ndarray:
    """Limb [N] int8 of points on faces with corners [N, 3]: that of the joint that moves them most."""
    share = np.zeros((len(body.skin_index), JOINT_COUNT), np.float32)
    np.add.at(share, (np.arange(len(share))[:, None], body.bone_joint[body.skin_index]), body.skin_weight)
    joint = np.einsum("nkj,nk->nj", share[corner], bary).argmax(1)
    of = {"neck": NECK, "head": HEAD}
    for side, arm, leg in (("l", LEFT_ARM, LEFT_LEG), ("r", RIGHT_ARM, RIGHT_LEG)):
        of |= {f"{side}_{part}_arm": arm for part in ("upper", "lower")}
        of |= {f"{side}_{part}_leg": leg for part in ("upper", "lower")}
        of |= {f"{side}_{end}": ENDS for end in ("hand", "foot", "toe")}
    return np.array([of.get(name, TRUNK) for name in CANONICAL_JOINTS], np.int8)[joint]


def _places(point: np.ndarray, limb: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of points [N, 3] in the T-pose on limbs: how far along, turns around, and the depth of the limb's middle, [N]
    each; 0 where nothing goes around."""
    along, around, depth = (np.zeros(len(point)) for _ in range(3))
    for number in range(LIMBS):
        on = np.flatnonzero(limb == number)
        arm = number in (LEFT_ARM, RIGHT_ARM)
        x, y, z = point[on].T.astype(np.float64)
        way, across = (np.abs(x), y) if arm else (y, x)
        ring = (way - way.min()) / _STEP_M
        middle = np.zeros(len(on)) if number in (TRUNK, NECK) else _middle(across, ring)
        depth[on], along[on] = _middle(z, ring), way - way.min()
        turn = np.arctan2(across - middle, z - depth[on]) / (2 * np.pi)
        around[on] = (-turn if number == RIGHT_LEG else turn) % 1
    return along, around, depth


def _middle(values: np.ndarray, ring: np.ndarray) -> np.ndarray:
    """Half way between the smallest and the largest of the values [M] of each ring, smooth along them, [M]."""
    which = np.rint(ring).astype(int)
    low, high = np.full(which.max() + 1, np.inf), np.full(which.max() + 1, -np.inf)
    np.minimum.at(low, which, values)
    np.maximum.at(high, which, values)
    has = np.flatnonzero(low <= high)
    middle = np.interp(np.arange(len(low)), has, (low[has] + high[has]) / 2)
    smooth = np.convolve(np.pad(middle, 2, "edge"), np.array([1, 2, 3, 2, 1]) / 9, "valid")
    return np.interp(ring, np.arange(len(low)), smooth)


def _scalp(body: Body, rest: np.ndarray, limb: np.ndarray) -> np.ndarray:
    """Degrees inside the usual hairline of points [N, 3] of the rest pose, -180 on other limbs than the head."""
    eyes = body.shape_mean[np.unique(body.eye_faces[0])].mean(0)
    skull = rest[(limb == HEAD) & (rest[:, 1] > eyes[1] + _ABOVE_EYES_M)]
    middle = np.array([0, eyes[1] + _ABOVE_EYES_M, (skull[:, 2].min() + skull[:, 2].max()) / 2])
    way = rest - middle
    polar = np.degrees(np.arccos(way[:, 1] / np.maximum(np.linalg.norm(way, axis=1), 1e-9)))
    azimuth = np.degrees(np.abs(np.arctan2(way[:, 0], way[:, 2])))
    return np.where(limb == HEAD, np.interp(azimuth, _AZIMUTHS, _HAIRLINE) - polar, -180)
