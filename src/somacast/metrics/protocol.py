"""The evaluation protocol that every system is measured by; docs/protocol.md says the same in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from somacast.errors import SomacastError
from somacast.geometry.rasteriser import level_camera, render_camera
from somacast.geometry.reconstruction import Reconstruction
from somacast.metrics.config import ProtocolConfig
from somacast.metrics.image import iou, mask_box, mse, psnr_of, ssim_map
from somacast.metrics.shape import compare_surfaces, mpjpe, pa_mpjpe
from somacast.types import Mesh


def place_result(result: Reconstruction, truth_joints: np.ndarray | None) -> Reconstruction:
    """The result where the truth stands: its pelvis at the origin, or the middle of its bounding box if the truth has
    no joints [21, 3]. A result without joints, or without a surface to be boxed, is taken as it comes."""
    if truth_joints is not None:
        return result if result.joints is None else result.translated(-np.asarray(result.joints[0], np.float64))
    points = result.mesh.vertices if result.mesh is not None else result.cloud.points if result.cloud else None
    if points is None or not len(points):
        return result
    return result.translated(-(points.min(0) + points.max(0)) / 2)


def compare_views(truth: Mesh, result: Reconstruction, config: ProtocolConfig) -> dict[str, float]:
    """Picture figures, mean over the views: mse, psnr_db, ssim_box, ssim_whole, iou. SomacastError if there is nothing
    of the result to be seen."""
    center = (truth.vertices.min(0) + truth.vertices.max(0)) / 2
    rows = []
    for azimuth in config.azimuths_deg:
        camera = level_camera(config.size_px, config.extent_m, azimuth, center)
        a = render_camera(truth, camera, background=config.background)
        b = result.render(camera, config.background)
        union = a.mask | b.mask
        error = mse(a.rgb, b.rgb, union)
        similarity = ssim_map(a.rgb, b.rgb)
        box = mask_box(union)
        whole = float(similarity.mean())
        inside = whole if box is None else float(similarity[box].mean())
        rows.append((error, psnr_of(error), inside, whole, iou(a.mask, b.mask)))
    names = ("mse", "psnr_db", "ssim_box", "ssim_whole", "iou")
    return dict(zip(names, np.mean(rows, 0).tolist(), strict=True))


def evaluate_pair(
    truth: Mesh, result: Reconstruction, truth_joints: np.ndarray | None = None, config: ProtocolConfig | None = None
) -> dict[str, float]:
    """All figures of one person, one flat row; the result as `place_result` gives it. View frame, metres.

    Picture figures always; surface figures, with the prefix `raw_` or `centred_`, if the result has a mesh; joint
    errors if both sides have joints [21, 3]. Raises SomacastError for a result that cannot be seen or has no surface in
    its mesh.
    """
    config = config or ProtocolConfig()
    row = compare_views(truth, result, config)
    if result.mesh is not None:
        for kind, figures in compare_surfaces(truth, result.mesh, config.samples, config.seed).items():
            row |= {f"{kind}_{name}": value for name, value in figures.items()}
    if truth_joints is not None and result.joints is not None:
        row["mpjpe_m"] = float(mpjpe(truth_joints, result.joints))
        row["pa_mpjpe_m"] = float(pa_mpjpe(truth_joints, result.joints))
    return row


def _mean_row(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean of every number over the rows that have it; rows need not have the same names."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    values = {name: [float(row[name]) for row in rows if row.get(name) is not None] for name in names}
    return {name: math.fsum(numbers) / len(numbers) for name, numbers in values.items() if numbers}


def summarise(rows: Mapping[str, Sequence[Mapping[str, float]]]) -> dict:
    """Rows of numbers by action to {"actions": {action: means}, "total": means, "counts": {action: people}}.

    The total is the mean over the actions, not over the people, so that a common action does not outweigh a rare one.
    Besides the figures of `evaluate_pair` a row may hold any numbers (bytes, stage times); None is left out.
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
