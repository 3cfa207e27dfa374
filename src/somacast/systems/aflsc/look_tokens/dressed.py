"""The body where both sides of the person lie: limbs moved along the view, and what stands off the skin.

depths of both sides over those of the posed skin = change
change --least squares--> one move along the view for each joint and each end of a limb --> pose
       --what is left--> how far clothes and hair stand off the skin, on each side
cover beyond the body --> points of both sides: skirts, hair, bags
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from somacast.body.skeleton import JOINT_COUNT, JOINT_PARENT
from somacast.body.table import load_body, vertex_normals
from somacast.geometry.gaussian import gaussian_filter
from somacast.geometry.harmonic import harmonic
from somacast.geometry.projection import grown
from somacast.geometry.rig import body_joint_weights
from somacast.geometry.silhouette import sample
from somacast.systems.aflsc.look_tokens.show import Sides
from somacast.systems.aflsc.look_tokens.surfaces import Surfaces
from somacast.systems.aflsc.picture_layer.aligned import AlignedBody
from somacast.systems.aflsc.picture_layer.canvas import Canvas, grid_places
from somacast.systems.aflsc.picture_layer.limbs import NEXT
from somacast.systems.aflsc.receiver.assemble import PosedSkin
from somacast.types import PointCloud

COVERED = 0.5
LAYER_M = 0.012  # how near to the outermost surface at its pixel skin counts as seen
JUMP_M = 0.04  # between neighbouring pixels: another limb begins
FACING = 0.35  # of normals along the view, from which on depths are believed
DOUBT_M = 0.03  # errors beyond this count ever less
ROUNDS = 4
# What the square of a joint's move costs, and of that beside its parent's, beside mean squares of errors.
HELD, TIED = 1e-4, 3e-3
OFF_M = (-0.05, 0.3)  # how far clothes may lie within the skin, and off it
SMOOTH_PX = 1.0
THINNEST_M = 0.012  # of what lies beyond the body


@lru_cache(maxsize=1)
def _ends() -> np.ndarray:
    """For each joint the number of the move at the other end of its limb, [21]; those beyond the joints are ends."""
    last = np.flatnonzero(NEXT < 0)
    ends = NEXT.copy()
    ends[last] = JOINT_COUNT + np.arange(len(last))
    return ends


def _limb_matrix(skin: PosedSkin) -> np.ndarray:
    """How far each vertex moves with each joint's and end's move, [13380, M] float32: linear along each limb."""
    weights, ends = body_joint_weights(), _ends()
    middles = weights.T @ skin.vertices / weights.sum(0)[:, None]
    limbs = np.where(NEXT[:, None] < 0, 2 * (middles - skin.joints), skin.joints[NEXT] - skin.joints)
    square = np.maximum((limbs**2).sum(1), 1e-6)
    out = np.zeros((len(weights), ends.max() + 1), np.float32)
    for j in range(JOINT_COUNT):
        along = np.clip((skin.vertices - skin.joints[j]) @ limbs[j] / square[j], 0, 1.2)
        out[:, j] += weights[:, j] * (1 - along)
        out[:, ends[j]] += weights[:, j] * along
    return out


def _jumps(surfaces: Surfaces) -> np.ndarray:
    """Where another limb begins near by, [2, H, W] bool."""
    out = np.zeros(surfaces.depth.shape, bool)
    for z, jump in zip(surfaces.depth, out, strict=True):
        for axis in (0, 1):
            both = np.delete(surfaces.on, 0, axis) & np.delete(surfaces.on, -1, axis)
            step = (np.abs(np.diff(z, axis=axis)) > JUMP_M) & both
            for before in (True, False):
                jump |= np.pad(step, [(int(before), int(not before)) if a == axis else (0, 0) for a in (0, 1)])
    return out


def _limb_moves(skin: PosedSkin, matrix: np.ndarray, surfaces: Surfaces, pixels: np.ndarray, change: np.ndarray,
                known: np.ndarray) -> np.ndarray:  # fmt: skip
    """Moves [M] of joints and ends that close a change [2, H, W] of depth where it is known, by least squares of what
    is seen of the skin, doubtful ones counting little."""
    height, width = known.shape[1:]
    at = tuple(np.clip(np.floor(pixels).astype(int), 0, [width - 1, height - 1]).T[::-1])
    rows, wanted = [], []
    for side, sign in enumerate((1, -1)):
        seen = (np.abs(surfaces.depth[side][at] - skin.vertices[:, 2]) < LAYER_M) & known[side][at]
        seen &= sign * skin.normals[:, 2] > FACING
        rows.append(matrix[seen])
        wanted.append(change[side][at][seen])
    a, b = np.concatenate(rows).astype(np.float64), np.concatenate(wanted).astype(np.float64)
    count = a.shape[1]
    held = HELD * np.eye(count)
    ends = _ends()
    above = [*JOINT_PARENT, *(int(np.flatnonzero(ends == k)[0]) for k in range(JOINT_COUNT, count))]
    for k, parent in enumerate(above):
        if parent >= 0:
            held[[k, parent], [k, parent]] += TIED
            held[[k, parent], [parent, k]] -= TIED
    moves, weight = np.zeros(count), np.ones(len(b))
    for _ in range(ROUNDS):
        scaled = a * (weight / max(len(b), 1))[:, None]
        moves = np.linalg.solve(scaled.T @ a + held, scaled.T @ b)
        weight = 1 / (1 + np.square((b - a @ moves) / DOUBT_M))
    return moves


def dressed(aligned: AlignedBody, sides: Sides) -> tuple[PosedSkin, PointCloud]:
    """The skin as both sides show it, and oriented points (without colours) of what lies beyond it; view frame."""
    skin = aligned.skin
    canvas = Canvas(sides.canvas.low, sides.canvas.high, aligned.canvas.pelvis_m)
    height, width = sides.cover.shape
    surfaces = Surfaces.of(skin.vertices, canvas, width, height)
    pixels = canvas.places(skin.vertices) * [width, height]
    change = sides.depth - surfaces.depth
    edge = grown(~(surfaces.on & (sides.cover > COVERED)), 1)
    known = ~edge & ~_jumps(surfaces)

    matrix = _limb_matrix(skin)
    moves = _limb_moves(skin, matrix, surfaces, pixels, change, known)
    by_limbs = matrix @ moves
    limbs = surfaces.values(by_limbs[:, None])[..., 0]
    outwards = np.array([1, -1], np.float32)[:, None, None]
    off = np.clip(outwards * (change - limbs), *OFF_M) * outwards
    for side in (0, 1):
        plane = harmonic(off[side][..., None], known[side])
        off[side] = gaussian_filter(plane, SMOOTH_PX, int(3 * SMOOTH_PX), (0, 1))[..., 0]
    front, back, near, far = sample(np.stack([*surfaces.depth, *off], -1), pixels).T
    share = np.clip((skin.vertices[:, 2] - back) / np.maximum(front - back, 1e-3), 0, 1)
    vertices = _along_rays(skin.vertices, by_limbs + far + share * (near - far), canvas)
    normals = np.empty_like(vertices)
    vertex_normals(vertices, load_body().faces, normals)
    joints = _along_rays(skin.joints, moves[:JOINT_COUNT] - moves[0], canvas)
    return PosedSkin(vertices, normals, joints), _beyond(sides, canvas, surfaces, limbs + off)


def _along_rays(points: np.ndarray, by_m: np.ndarray, canvas: Canvas) -> np.ndarray:
    """Points [N, 3] of the view frame moved by [N] metres along it, each on its pixel."""
    origin = np.array([0, 0, canvas.pelvis_m[2]])  # the camera: the view frame looks along the way to the pelvis
    local = points - origin
    return (origin + local * (1 + by_m / local[:, 2])[:, None]).astype(np.float32)


def _beyond(sides: Sides, canvas: Canvas, surfaces: Surfaces, change: np.ndarray) -> PointCloud:
    """Both sides where there is a person and no body."""
    height, width = sides.cover.shape
    total = np.where(surfaces.on, surfaces.depth + change, sides.depth).astype(np.float32)
    total = gaussian_filter(total.transpose(1, 2, 0), SMOOTH_PX, int(3 * SMOOTH_PX), (0, 1)).transpose(2, 0, 1)
    middle, half = (total[0] + total[1]) / 2, np.maximum((total[0] - total[1]) / 2, THINNEST_M / 2)
    where = (sides.cover > COVERED) & ~surfaces.on
    pixel_m = (canvas.high - canvas.low)[1] / height * canvas.pelvis_m[2]
    tangents = canvas.tangents(grid_places(width, height)) - canvas.pelvis_m[:2] / canvas.pelvis_m[2]
    points, normals = [], []
    for z, sign in ((middle + half, 1), (middle - half, -1)):
        away = canvas.pelvis_m[2] - z
        points.append(np.stack([tangents[..., 0] * away, -tangents[..., 1] * away, z], -1)[where])
        slope = np.stack([-np.gradient(z, axis=1), np.gradient(z, axis=0)], -1) / pixel_m
        normal = sign * np.concatenate([slope, np.ones((height, width, 1))], -1)[where]
        normals.append(normal / np.linalg.norm(normal, axis=1, keepdims=True))
    found, facing = (np.concatenate(part).astype(np.float32) for part in (points, normals))
    return PointCloud(found, facing, np.full(found.shape, 0.5, np.float32))
