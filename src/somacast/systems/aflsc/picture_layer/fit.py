"""Sender: the warp that brings the edge of the body onto that of the silhouette in the picture.

Rounds: the body is rendered, the gap between its edge and the silhouette's is measured along the edge's normals, and
numbers that close it are found by least squares; in the last rounds they are rounded, few bits weighed against them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from somacast.body.skeleton import JOINT_COUNT
from somacast.body.table import load_body
from somacast.geometry.rasteriser import rasterize
from somacast.geometry.rig import body_joint_weights
from somacast.geometry.silhouette import edge_gaps, edge_points
from somacast.kernels import compiled
from somacast.metrics.image import iou
from somacast.systems.aflsc.picture_layer.aligned import PosedBody
from somacast.systems.aflsc.picture_layer.limbs import Limbs
from somacast.systems.aflsc.picture_layer.warp import NO_WARP, REACH, STEPS, UNIT, Warp, tables

FIT_PX = 176  # height of the canvas in which silhouettes are compared
PAD_PX = 11  # around it: limbs may move beyond the canvas
ROUNDS, ROUNDED = 3, 2
EDGE = 0.1  # how far from the body's edge the silhouette's is looked for, in heights of the canvas
FAR = (0.02, 0.01)  # a gap beyond this counts ever less, as it may be another limb's: in the first round, in the last
HELD = 6e-4  # what the square of a number costs beside that of a gap
# What a bit costs, beside squares of gaps in heights and beside overlap, by fineness.
BIT = (1e-7, 5e-8, 2e-8, 1e-8, 5e-9)
BIT_OVERLAP = 2e-5
MIN_POINTS = 40  # of the edge, within reach of the silhouette's: fewer say nothing


@dataclass(frozen=True)
class _Target:
    """What the body is fitted to: nearness [13380] float32 of its skin, the silhouette [H, W] in [0, 1] over the canvas
    and PAD_PX around it, NaN where nobody knows; shown [13380] bool: skin that nothing hides."""

    limbs: Limbs
    nearness: np.ndarray
    silhouette: np.ndarray
    faces: np.ndarray
    shown: np.ndarray

    @classmethod
    def of(cls, body: PosedBody, silhouette: Callable[[np.ndarray], np.ndarray], unseen: np.ndarray | None) -> _Target:
        """Of what `fit_warp` is given."""
        faces, canvas = load_body().faces[~load_body().inner_faces], body.canvas
        width = max(round(FIT_PX * canvas.aspect), 8)
        x, y = (np.arange(n + 2 * PAD_PX) + 0.5 - PAD_PX for n in (width, FIT_PX))
        seen = silhouette(np.stack(np.meshgrid(x / (FIT_PX * canvas.aspect), y / FIT_PX), -1))
        nearness = (1 / (canvas.pelvis_m[2] - body.skin.vertices[:, 2])).astype(np.float32)
        hidden = np.zeros(JOINT_COUNT, bool) if unseen is None else unseen
        shown = body_joint_weights()[:, hidden].sum(1) < 0.5
        return cls(body.limbs, nearness, seen, np.ascontiguousarray(faces), shown)

    def look(self, numbers: np.ndarray, far: float) -> tuple[np.ndarray, np.ndarray, float] | None:
        """With the body moved by numbers [105]: matrix [105, 105] and right side [105] of the normal equations of those
        that close the gaps, mean over the edge; and how much body and silhouette overlap. None without an edge."""
        shape = self.silhouette.shape
        screen = np.empty((len(self.nearness), 3), np.float32)
        screen[:, :2] = (self.limbs.places + self.limbs.moves(numbers)) * FIT_PX + PAD_PX
        screen[:, 2] = self.nearness
        near, triangle = np.empty(shape, np.float32), np.empty(shape, np.int32)
        weights = np.zeros((*shape, 2), np.float32)
        rasterize(screen, self.faces, True, near, triangle, weights)
        covered = triangle >= 0
        pixels, points, normals = edge_points(covered)
        gaps = edge_gaps(points, normals, self.silhouette, EDGE * FIT_PX, covered) / FIT_PX
        found = ~np.isnan(gaps) & self.shown[self.faces[triangle[tuple(pixels.T)], 0]]
        if found.sum() < MIN_POINTS:
            return None
        at, normal, gap = tuple(pixels[found].T), normals[found], gaps[found]
        shares = np.concatenate([1 - weights[at].sum(1, keepdims=True), weights[at]], 1)
        slopes = self.limbs.slopes(self.faces[triangle[at]], shares, normal)
        weighted = slopes / ((1 + np.square(gap / far)) * len(gap))[:, None]
        matrix = slopes.T @ weighted + HELD * np.eye(slopes.shape[1])
        overlap = iou(covered & ~np.isnan(self.silhouette), self.silhouette > 0.5)
        return matrix, weighted.T @ (gap + slopes @ numbers), overlap


def fit_warp(
    body: PosedBody, silhouette: Callable[[np.ndarray], np.ndarray], fineness: int, unseen: np.ndarray | None = None
) -> Warp:
    """The warp that brings the edge of a body onto that of a silhouette, which gives values [H, W] in [0, 1] for places
    [H, W, 2] on the body's canvas, NaN beyond the picture; unseen [21] bool: joints whose skin is not to be seen."""
    target = _Target.of(body, silhouette, unseen)
    best, _ = _approached(target)
    if best is None:
        return NO_WARP
    found, worth = NO_WARP, -1.0
    step, bits = STEPS[fineness] * UNIT, _bits(fineness)
    for _ in range(ROUNDED):
        steps = rounded(*best[:2], step, bits, BIT[fineness])
        best = target.look(steps * step, FAR[1])
        if best is None:
            break
        spent = bits[np.arange(len(steps)), steps + REACH].sum()
        if best[2] - BIT_OVERLAP * spent > worth:
            found, worth = Warp(fineness, steps), best[2] - BIT_OVERLAP * spent
    return found


def fit_moves(body: PosedBody, silhouette: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The numbers [105] of `fit_warp` before any is rounded, in heights of the canvas: for who need not send them."""
    return _approached(_Target.of(body, silhouette, None))[1]


def _approached(target: _Target) -> tuple[tuple[np.ndarray, np.ndarray, float] | None, np.ndarray]:
    """Where body and silhouette overlap most in a few rounds: what is seen there, see `_Target.look` (None: no edge),
    and the numbers [105]."""
    numbers = np.zeros(len(NO_WARP.steps))
    best, best_numbers, overlap = None, numbers, -1.0
    for far in np.linspace(*FAR, ROUNDS + 1):
        looked = target.look(numbers, far)
        if looked is None:
            break
        if looked[2] > overlap:
            best, best_numbers, overlap = looked, numbers, looked[2]
        numbers = np.linalg.solve(*looked[:2])
    return best, best_numbers


def _bits(fineness: int) -> np.ndarray:
    """What each step of each number costs, [105, 2 * REACH + 1]."""
    return np.log2(4096 / np.diff(np.array(tables(fineness), np.float64), axis=1))


def rounded(matrix: np.ndarray, right: np.ndarray, step: float, bits: np.ndarray, bit: float) -> np.ndarray:
    """Whole steps [105] int64 of numbers n that cost little, n'Mn - 2 n'r and the bits together: one after the other,
    the first first, each at the value that is best if those behind it may still be anything."""
    backwards = np.linalg.cholesky(matrix[::-1, ::-1]).T[::-1, ::-1]
    out = np.zeros(len(right), np.int64)
    _round(np.ascontiguousarray(backwards), np.linalg.solve(matrix, right), step, bits, bit, out)
    return out


@compiled(nogil=True)
def _round(lower, wanted, step, bits, bit, out):
    """lower [N, N], triangular: |lower (n - wanted)|^2 is what numbers n cost beside the least."""
    reach = bits.shape[1] // 2
    off = np.zeros(len(wanted))
    for k in range(len(wanted)):
        middle = wanted[k]
        for j in range(k):
            middle -= lower[k, j] / lower[k, k] * off[j]
        least = np.inf
        first, last = int(np.floor(min(middle / step, 0.0))), int(np.ceil(max(middle / step, 0.0)))
        for steps in range(max(first, -reach), min(last, reach) + 1):
            cost = (lower[k, k] * (steps * step - middle)) ** 2 + bit * bits[k, steps + reach]
            if cost < least:
                least = cost
                out[k] = steps
        off[k] = out[k] * step - wanted[k]
