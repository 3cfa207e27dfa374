"""Sender: what the networks' maps say about the joints, for the refinement."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from somacast.body.skeleton import JOINT_COUNT

POINTS_STD_M = 0.1  # how far the joint tokens are trusted; chosen on people of the training split (docs/log.md)
PEAK_WINDOW = 2  # cells of a heat map on each side of its peak that count as the peak
MIN_JOINT_STD = 0.008  # crop sides: no joint is seen more exactly
MIN_PEAK_MASS = 0.05  # share of a map in its peak below which the joint is not trusted even less


class Evidence(NamedTuple):
    """What the maps say: joints [21, 2] in crop sides from the centre (y down) with standard deviation [21], points
    [21, 3] in metres from the pelvis (view frame) with standard deviation [21, 3]; camera [3]: pelvis x, y and log
    scale (crop sides per metre) from the pose head."""

    joints: np.ndarray
    std: np.ndarray
    points: np.ndarray
    points_std: np.ndarray
    camera: np.ndarray


class SilhouetteAlignment(NamedTuple):
    """Skin points that must lie on the silhouette's edge: the joint each hangs on [M] int64, its place in that joint's
    frame [M, 3] in metres, and the line it must meet [M, 3]: unit normal and offset, in crop sides."""

    joint: np.ndarray
    place: np.ndarray
    line: np.ndarray

    @staticmethod
    def empty() -> SilhouetteAlignment:
        """No points."""
        return SilhouetteAlignment(np.zeros(0, np.int64), np.zeros((0, 3)), np.zeros((0, 3)))


def evidence_of(out: dict[str, np.ndarray]) -> Evidence:
    """Evidence of merged maps (see `merge_mirrored`): the mean around each map's peak (a second, wrong peak elsewhere
    does not pull it), with the standard deviation there, larger the more of the map lies elsewhere."""
    share, window = out["share"], PEAK_WINDOW
    cells = share.shape[-1]
    joints, value_std = np.zeros((JOINT_COUNT, 2)), np.zeros(JOINT_COUNT)
    for j, plane in enumerate(share):
        row, column = divmod(int(plane.argmax()), cells)
        y0, y1 = max(0, row - window), min(cells, row + window + 1)
        x0, x1 = max(0, column - window), min(cells, column + window + 1)
        part = plane[y0:y1, x0:x1]
        mass = float(part.sum())
        x, y = (np.arange(x0, x1) + 0.5) / cells - 0.5, (np.arange(y0, y1) + 0.5) / cells - 0.5
        px, py = part.sum(0) / mass, part.sum(1) / mass
        joints[j] = (px * x).sum(), (py * y).sum()
        variance = ((px * (x - joints[j, 0]) ** 2).sum() + (py * (y - joints[j, 1]) ** 2).sum()) / 2
        value_std[j] = np.sqrt(variance + MIN_JOINT_STD**2) / np.sqrt(max(mass, MIN_PEAK_MASS))
    return Evidence(joints, value_std, out["points"], np.full((JOINT_COUNT, 3), POINTS_STD_M), out["camera"])
