"""The evaluation protocol that every system is measured by; docs/protocol.md says the same in words.

Truth -> Reference (rendered and sampled once) -> compare(result) -> one flat row of figures
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from somacast.errors import SomacastError
from somacast.extras import installed
from somacast.geometry.rasteriser import Rendering, level_camera
from somacast.geometry.reconstruction import Reconstruction
from somacast.metrics.color import srgb_to_lab
from somacast.metrics.config import ProtocolConfig
from somacast.metrics.image import iou, mask_box, mse, normal_error_deg, psnr_of, ssim_map
from somacast.metrics.parts import PartColor, part_colors, part_delta_e
from somacast.metrics.perceptual import PACKAGE, distances, features, union_square
from somacast.metrics.posture import posture_errors
from somacast.metrics.shape import SurfaceReference, mpjpe, pa_mpjpe
from somacast.metrics.views import (
    INPUT,
    Truth,
    level_cameras,
    person_window,
    sent_camera,
    side_name,
    zoomed,
)
from somacast.types import Camera, Mesh

PICTURE_FIGURES = ("mse", "psnr_db", "ssim_box", "ssim_whole", "iou")
BEHIND = 180.0  # the side that the input camera does not see


def place_result(result: Reconstruction, truth_joints: np.ndarray | None) -> Reconstruction:
    """The result where the truth stands: its pelvis at the origin, or the middle of its bounding box if the truth has
    no joints [21, 3]. A result without joints, or without a surface to be boxed, is taken as it comes."""
    if truth_joints is not None:
        return result if result.joints is None else result.translated(-np.asarray(result.joints[0], np.float64))
    points = result.mesh.vertices if result.mesh is not None else result.cloud.points if result.cloud else None
    if points is None or not len(points):
        return result
    return result.translated(-(points.min(0) + points.max(0)) / 2)


def compare_renderings(truth: Rendering, result: Rendering) -> dict[str, float]:
    """PICTURE_FIGURES of one view, and normal_deg where both show somebody."""
    union = truth.mask | result.mask
    error = mse(truth.rgb, result.rgb, union)
    similarity = ssim_map(truth.rgb, result.rgb)
    box = mask_box(union)
    whole = float(similarity.mean())
    inside = whole if box is None else float(similarity[box].mean())
    row = {"mse": error, "psnr_db": psnr_of(error), "ssim_box": inside, "ssim_whole": whole}
    row["iou"] = iou(truth.mask, result.mask)
    turned = normal_error_deg(truth, result)
    return row if turned is None else row | {"normal_deg": turned}


def compare_views(truth: Mesh, result: Reconstruction, config: ProtocolConfig) -> dict[str, float]:
    """PICTURE_FIGURES, mean over the level views of the papers' figures. SomacastError if there is nothing of the
    result to be seen."""
    center = (truth.vertices.min(0) + truth.vertices.max(0)) / 2
    rows = []
    for azimuth in config.azimuths_deg:
        camera = level_camera(config.size_px, config.extent_m, azimuth, center)
        seen = (one.render(camera, config.background) for one in (Reconstruction(truth), result))
        rows.append(compare_renderings(*seen))
    return {name: float(np.mean([row[name] for row in rows])) for name in PICTURE_FIGURES}


class Reference:
    """One person's truth, rendered and sampled once, that any number of results are compared with.

    perceptual: figures by ST-LPIPS too; SomacastError without the package if they are asked for, left out (None) if the
    package is not installed.
    """

    def __init__(self, truth: Truth, config: ProtocolConfig | None = None, perceptual: bool | None = None):
        self.truth, self.config = truth, config or ProtocolConfig()
        self.perceptual = installed(PACKAGE) and installed("onnx") if perceptual is None else perceptual
        self.person = Reconstruction(truth.mesh, joints=truth.joints)
        self.center = (truth.mesh.vertices.min(0) + truth.mesh.vertices.max(0)) / 2
        self.window = None
        self.cameras: dict[str, Camera] = {}
        self._true_features: dict[tuple[str, str], np.ndarray] = {}
        if truth.camera is not None:
            self.window = person_window(self.person, truth.camera, self.config.input_margin)
            self.cameras[INPUT] = zoomed(truth.camera, *self.window, self.config.size_px)
        self.cameras |= level_cameras(self.config, self.center)
        self.renderings = {name: self._render(self.person, camera) for name, camera in self.cameras.items()}
        self.colors = {
            name: part_colors(self.renderings[name], camera, truth.joints)
            for name, camera in self.cameras.items()
            if truth.joints is not None
        }

    @cached_property
    def surface(self) -> SurfaceReference:
        return SurfaceReference(self.truth.mesh, self.config.samples, self.config.seed)

    def _render(self, person: Reconstruction, camera: Camera) -> Rendering:
        return person.render(camera, self.config.background)

    def input_camera(self, result: Reconstruction) -> Camera | None:
        """The camera through which a result is seen as the sender's picture shows it: the sender's, where the place of
        the pelvis was sent; else the true one, as if the pelvis stood where it truly does."""
        if self.window is None:
            return None
        sent = sent_camera(result, self.truth.lens)
        return self.cameras[INPUT] if sent is None else zoomed(sent, *self.window, self.config.size_px)

    def compare(
        self, result: Reconstruction, in_place: bool = False, surfaces: Mapping[str, Any] | None = None
    ) -> dict[str, float]:
        """All figures of one result, one flat row. View frame, metres. SomacastError for a result that cannot be seen
        or has no surface in its mesh.

        in_place: the result stands where the truth stands already, and is seen through the true camera (controls);
        surfaces: a row of somebody with the same surface, which need not be compared again.

        Figures without prefix: PICTURE_FIGURES over the papers' level views. `input_` and `sides_`: PICTURE_FIGURES,
        stlpips, delta_e, normal_deg from the input camera, if it is known, and mean over the other sides;
        `unseen_delta_e`: from behind; `view_NAME_`: the same of each view. Surface figures, with the prefix `raw_` or
        `centred_`, if the result has a mesh; joint errors if both sides have joints [21, 3], and of somebody who stands
        `lean_deg`, `knees_deg`.
        """
        placed = result if in_place else place_result(result, self.truth.joints)
        views = self.compare_sides(placed) | self._compare_input(result, in_place)
        row = self._summary(views)
        if surfaces is not None:
            row |= {k: v for k, v in surfaces.items() if k.startswith(("raw_", "centred_"))}
        elif placed.mesh is not None:
            for kind, figures in self.surface.compare(placed.mesh).items():
                row |= {f"{kind}_{name}": value for name, value in figures.items()}
        if self.truth.joints is not None and placed.joints is not None:
            row["mpjpe_m"] = float(mpjpe(self.truth.joints, placed.joints))
            row["pa_mpjpe_m"] = float(pa_mpjpe(self.truth.joints, placed.joints))
            row |= posture_errors(self.truth.joints, placed.joints)
        return row

    def compare_sides(self, placed: Reconstruction) -> dict[str, dict[str, float]]:
        """Figures of the level views by name."""
        names = [name for name in self.cameras if name != INPUT]
        return self._figures(placed, {name: self.cameras[name] for name in names})

    def _compare_input(self, result: Reconstruction, in_place: bool) -> dict[str, dict[str, float]]:
        camera = self.cameras.get(INPUT) if in_place else self.input_camera(result)
        return {} if camera is None else self._figures(result, {INPUT: camera})

    def _figures(self, result: Reconstruction, cameras: Mapping[str, Camera]) -> dict[str, dict[str, float]]:
        rows = {}
        sides = {side_name(a) for a in self.config.sides_deg} | {INPUT}
        for name, camera in cameras.items():
            truth, seen = self.renderings[name], self._render(result, camera)
            row = compare_renderings(truth, seen)
            joints = result.joints if result.joints is not None else self.truth.joints
            if name in self.colors and joints is not None:
                shown = part_colors(seen, camera, joints) or self._ground()
                row["delta_e"] = part_delta_e(self.colors[name], shown)
            if self.perceptual and name in sides:
                row["stlpips"] = self._perceptual(name, seen)
            rows[name] = row
        return rows

    def _ground(self) -> dict[str, PartColor]:
        """What is seen where a result shows nobody: the grey behind."""
        return {"": PartColor(srgb_to_lab(np.full(3, self.config.background)), 1)}

    def _perceptual(self, view: str, seen: Rendering) -> float:
        """ST-LPIPS of one view. The truth's side is kept for each box: several results share one."""
        truth = self.renderings[view]
        union = truth.mask | seen.mask
        if not union.any() or np.array_equal(truth.rgb, seen.rgb):
            return 0.0
        background = self.config.background
        pair = union_square(truth.rgb, seen.rgb, union, background=background)
        key = (view, str(mask_box(union)))
        if key not in self._true_features:
            self._true_features[key] = features(pair[0][None])[0]
        return float(distances(self._true_features[key], features(pair[1][None]))[0])

    def _summary(self, views: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
        level = [views[side_name(a)] for a in self.config.azimuths_deg]
        row = {name: float(np.mean([view[name] for view in level])) for name in PICTURE_FIGURES}
        sides = [side_name(a) for a in self.config.sides_deg]
        row |= {f"sides_{k}": v for k, v in _mean_row([views[name] for name in sides]).items()}
        if INPUT in views:
            row |= {f"input_{k}": v for k, v in views[INPUT].items()}
        behind = views.get(side_name(BEHIND), {}).get("delta_e")
        if behind is not None:
            row["unseen_delta_e"] = behind
        for name in sides:
            row |= {f"view_{name}_{k}": v for k, v in views[name].items()}
        return row


def evaluate_pair(
    truth: Mesh, result: Reconstruction, truth_joints: np.ndarray | None = None, config: ProtocolConfig | None = None
) -> dict[str, float]:
    """`Reference.compare` of one result, as `place_result` gives it, with a truth of which no picture is known."""
    return Reference(Truth(truth, truth_joints), config).compare(result, in_place=True)


def _mean_row(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean of every number over the rows that have it; rows need not have the same names."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    values = {name: [float(row[name]) for row in rows if row.get(name) is not None] for name in names}
    return {name: math.fsum(numbers) / len(numbers) for name, numbers in values.items() if numbers}


def summarise(rows: Mapping[str, Sequence[Mapping[str, float]]]) -> dict:
    """Rows of numbers by action to {"actions": {action: means}, "total": means, "counts": {action: people}}.

    The total is the mean over the actions, not over the people, so that a common action does not outweigh a rare one.
    Besides the figures of `Reference.compare` a row may hold any numbers (bytes, stage times); None is left out.
    """
    filled = {action: list(people) for action, people in rows.items() if len(people)}
    if not filled:
        raise SomacastError("expected at least one evaluated person, got none")
    actions = {action: _mean_row(people) for action, people in filled.items()}
    return {
        "actions": actions,
        "total": _mean_row(list(actions.values())),
        "counts": {action: len(people) for action, people in filled.items()},
    }
