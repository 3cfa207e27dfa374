"""Sender: what the person looks like, read off the picture through the pose already found.

The posed chart is projected into the picture; texels that the camera sees take its pixels, and where the body's edge
misses the silhouette's, clothes or hair stand off by as much. The appearance codes are the most likely ones given
those texels: a linear-Gaussian model whose prior is the variety of training people, so that the unseen side is
completed by what usually goes with the seen one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from somacast.body.table import load_body
from somacast.systems.aflsc.labels.appearance_basis import COLOR_UNIT
from somacast.systems.aflsc.labels.chart import OFFSET_UNIT_M, load_chart
from somacast.systems.aflsc.labels.space import LabelSpace
from somacast.systems.aflsc.labels.state import PersonState
from somacast.systems.aflsc.receiver.assemble import texel_of_vertex
from somacast.systems.aflsc.sender.rendered_body import RenderedBody, WeakCamera
from somacast.systems.aflsc.sender.silhouette_alignment import silhouette_gaps

MAX_TEXELS = 1500
MIN_TEXELS = 50  # under which the picture says nothing about colours
MIN_FACING = 0.15  # cosine to the line of sight under which a texel is seen too flat to have a colour
HIDDEN_M = 0.03  # what lies farther behind the nearest skin is hidden
# A texel's error in basis units (light, pose, texture the basis lacks) and how much of an independent one it counts
# for, as neighbouring texels err together.
TEXEL_NOISE, TEXEL_SHARE = 0.6, 0.05
OFFSET_NOISE_M = 0.03  # standard deviation of the edge's error: pose and build err too
OFFSET_SHARE = 0.2  # neighbours on the edge err together
MAX_OFFSET_M = 0.1  # what is farther off is another limb or something held
MEAN_SHADE = 0.77  # how much of a surface's colour an average light shows, over the training scenes
SHADE = (0.55, 1.5)  # the least and most light that is taken out, over the average


@dataclass(frozen=True)
class Seen:
    """Texels of the chart that the picture shows: index [M] into the texels inside, colour [M, 3], weight [M],
    normal [M, 3] in the view frame; evenly thinned out. share: of all texels, before that."""

    index: np.ndarray
    color: np.ndarray
    weight: np.ndarray
    normal: np.ndarray
    share: float


def visible_texels(rendered: RenderedBody, image: np.ndarray, silhouette: np.ndarray) -> Seen:
    """Sample image [S, S, 3] in [0, 1] at the chart's texels that face the camera, are not hidden and lie on the
    silhouette [S, S] in [0, 1]."""
    point, normal = chart_surface(rendered.vertices, rendered.normals)
    pixel = rendered.camera.at_size(rendered.size).project(point)
    facing = rendered.camera.facing(point, normal)
    return seen_texels(image, silhouette, (pixel, -point[:, 2]), -rendered.nearness_m, facing, normal)


def chart_surface(vertices: np.ndarray, normals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points and unit normals [T, 3] of the chart's texels on a posed skin [13380, 3] with its normals."""
    chart, body = load_chart(), load_body()
    corner, bary = body.faces[chart.face[chart.inside]], chart.bary[chart.inside]
    point, normal = (np.einsum("nkc,nk->nc", values[corner], bary) for values in (vertices, normals))
    return point, normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-8)


def seen_texels(
    image: np.ndarray,
    silhouette: np.ndarray,
    place: tuple[np.ndarray, np.ndarray],
    depth_m: np.ndarray,
    facing: np.ndarray,
    normal: np.ndarray,
) -> Seen:
    """The texels that an image [H, W, 3] shows within a silhouette [H, W] in [0, 1]: place: pixels [T, 2] and depths
    [T] of all texels, depth_m [H, W]: of the nearest skin; facing [T]: cosine to the line of sight, normal [T, 3]."""
    pixel, depth = place
    column, row = np.floor(pixel[:, 0]).astype(int), np.floor(pixel[:, 1]).astype(int)
    height, width = silhouette.shape
    ok = (facing > MIN_FACING) & (column >= 0) & (row >= 0) & (column < width) & (row < height)
    index = np.flatnonzero(ok)
    at = row[index], column[index]
    keep = index[(depth[index] < depth_m[at] + HIDDEN_M) & (silhouette[at] > 0.5)]
    thin = max(1, len(keep) // MAX_TEXELS)  # neighbours tell the same: each that is left counts for them
    share = len(keep) / len(facing)
    keep = keep[::thin]
    at = row[keep], column[keep]
    # edges of the silhouette mix with the background
    weight = np.clip(facing[keep], 0, 1) * np.clip(2 * silhouette[at] - 1, 0.05, 1)
    return Seen(keep, image[at], (thin * weight).astype(np.float32), normal[keep], share)


@dataclass(frozen=True)
class OffsetEvidence:
    """How far cloth or hair stands off at texels on the body's edge: index [M] into the texels inside, offset_m [M]."""

    index: np.ndarray
    offset_m: np.ndarray


class CodeFit:
    """Most likely codes given colours of the seen texels, their rows [M, 3, K] of `AppearanceBasis.texel_basis`, and
    the offsets that are seen; made once for all colours that are tried."""

    def __init__(self, space: LabelSpace, seen: Seen, rows: np.ndarray, offset_evidence: OffsetEvidence | None = None):
        self.space, self.mean = space, space.appearance.mean[seen.index, :3]
        self.root = np.repeat(np.sqrt(seen.weight * (TEXEL_SHARE / TEXEL_NOISE**2)), 3).astype(np.float32)
        self.weighted = rows.reshape(-1, rows.shape[-1]) * self.root[:, None]
        # a matrix times its own transpose: BLAS makes half of it
        self.precision = (self.weighted.T @ self.weighted).astype(np.float64) + np.eye(rows.shape[-1])
        self.evidence = np.zeros(rows.shape[-1])
        if offset_evidence is not None and len(offset_evidence.index):
            slopes = (space.appearance.basis[:, offset_evidence.index, 3] * space.appearance.std[:, None]).astype(
                np.float64
            )
            gap = offset_evidence.offset_m / OFFSET_UNIT_M - space.appearance.mean[offset_evidence.index, 3]
            # few points on the edge stand for all of a sleeve or a skirt
            weight = OFFSET_SHARE * (OFFSET_UNIT_M / OFFSET_NOISE_M) ** 2
            self.precision += weight * slopes @ slopes.T
            self.evidence = weight * slopes @ gap

    def __call__(self, color: np.ndarray) -> np.ndarray:
        """Colours [M, 3] in [0, 1] of the texels to codes [K]."""
        residual = (color / COLOR_UNIT - self.mean).reshape(-1).astype(np.float32)
        unit = np.linalg.solve(self.precision, self.weighted.T @ (self.root * residual) + self.evidence)
        return (unit * self.space.appearance.std).astype(np.float32)


def read_offset(rendered: RenderedBody, silhouette: np.ndarray) -> OffsetEvidence:
    """The offset that brings the edge of the posed body onto the silhouette [S, S]."""
    vertex, gap_m = silhouette_gaps(rendered, silhouette)
    row, column = texel_of_vertex(vertex)
    inside = load_chart().inside
    number = np.cumsum(inside.ravel()).reshape(inside.shape) - 1
    return OffsetEvidence(
        number[row, column], rendered.offset[row, column] + np.clip(gap_m, -MAX_OFFSET_M, MAX_OFFSET_M)
    )


def without_light(space: LabelSpace, seen: Seen, rows: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Colours [M, 3] of the seen texels with the light taken out: brightness over that of the current estimate, as a
    linear function of the normal, is the light's share. How bright the lamp is cannot be seen in one picture:
    MEAN_SHADE is assumed."""
    flat = space.appearance.mean[seen.index, :3] + rows @ (codes / space.appearance.std)
    albedo = np.clip(flat * COLOR_UNIT, 0.02, 1).mean(1)
    shown = seen.color.mean(1)
    columns = np.concatenate([np.ones((len(shown), 1)), seen.normal], 1)
    weight = seen.weight * albedo  # dark cloth says little about light
    design = columns * (albedo * weight)[:, None]
    fit = np.linalg.solve(design.T @ design + 1e-3 * len(shown) * np.diag([0.0, 1, 1, 1]) + 1e-6 * np.eye(4),
                          design.T @ (shown * weight))  # fmt: skip
    shade = columns @ fit
    shade = np.clip(shade / max(np.average(shade, weights=seen.weight), 1e-3), *SHADE) * MEAN_SHADE
    return np.clip(seen.color / shade[:, None], 0, 1)


def read_appearance(
    space: LabelSpace,
    state: PersonState,
    camera: WeakCamera,
    image: np.ndarray,
    silhouette: np.ndarray,
    align: Callable[[RenderedBody], tuple[PersonState, WeakCamera]] | None = None,
) -> tuple[np.ndarray, float]:
    """Codes [K] of image [S, S, 3] with silhouette [S, S] under a pose, and the share of the chart that was seen;
    camera in crop sides.

    Two rounds, as offsets of the first place the texels of the second; its colours tell the light, twice over. align:
    gives state and camera anew between them, as soon as it is known how far cloth stands off.
    """
    codes, share = np.zeros(len(space.appearance.std), np.float32), 0.0
    for round_number in range(2):
        rendered = RenderedBody.of(state, space.appearance.offset_map(codes), camera, len(image))
        if round_number and align is not None:
            state, camera = align(rendered)
            rendered = RenderedBody.of(state, rendered.offset, camera, len(image))
        shown = visible_texels(rendered, image, silhouette)
        share = shown.share
        if len(shown.index) < MIN_TEXELS:
            return codes, share
        rows = space.appearance.texel_basis[shown.index]
        fit = CodeFit(space, shown, rows, read_offset(rendered, silhouette))
        if round_number == 0:
            codes = fit(np.clip(shown.color / MEAN_SHADE, 0, 1))
        for _ in range(round_number + 1):
            codes = fit(without_light(space, shown, rows, codes))
    return codes, share
