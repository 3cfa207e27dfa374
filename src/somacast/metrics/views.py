"""Where a person is looked at from: the picture's own camera, and level views around the vertical axis."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from somacast.geometry.rasteriser import level_camera
from somacast.geometry.reconstruction import Reconstruction
from somacast.metrics.config import ProtocolConfig
from somacast.metrics.image import mask_box
from somacast.types import Camera, Mesh

INPUT = "input"  # the view from the picture's own camera
VIEW_AXES = np.diag([1.0, -1.0, -1.0])  # between the view frame (y up, z to the camera) and OpenCV's axes
# What the input camera's view shows is looked for at this size; its box needs no more.
_SEARCH_PX = 256


@dataclass(frozen=True)
class Truth:
    """What is true about a person, in the view frame, metres. mesh: with colours; joints [21, 3] or None; camera: of
    the picture, or None (then nobody knows what the picture showed); lens: the camera that the sender takes the
    picture to be from, in pixels of the same picture (`types.Frame.lens`), at the origin; None: as `camera`;
    rotations [21, 3, 3]: world rotations of the joints, or None."""

    mesh: Mesh
    joints: np.ndarray | None = None
    camera: Camera | None = None
    lens: Camera | None = None
    rotations: np.ndarray | None = None


def side_name(azimuth_deg: float) -> str:
    """Name of a level view."""
    return f"{azimuth_deg:g}"


def level_cameras(config: ProtocolConfig, center: np.ndarray) -> dict[str, Camera]:
    """Parallel cameras around center [3] by name, those of the papers' figures and the other sides."""
    azimuths = dict.fromkeys((*config.azimuths_deg, *config.sides_deg))
    return {side_name(a): level_camera(config.size_px, config.extent_m, a, center) for a in azimuths}


def zoomed(camera: Camera, left: float, top: float, side: float, size_px: int) -> Camera:
    """The part of a camera's picture from (left, top), `side` pixels wide and high, at size_px x size_px."""
    scale = size_px / side
    return replace(
        camera, fx=camera.fx * scale, fy=camera.fy * scale, cx=(camera.cx - left) * scale,
        cy=(camera.cy - top) * scale, width=size_px, height=size_px,
    )  # fmt: skip


def person_window(truth: Reconstruction, camera: Camera, margin: float) -> tuple[float, float, float]:
    """Left, top and side of the square of a camera's picture around a person, `margin` sides of its box on each side;
    the whole picture if the person is not in it."""
    side = float(max(camera.width, camera.height))
    mask = truth.render(zoomed(camera, 0, 0, side, _SEARCH_PX)).mask
    box = mask_box(mask)
    if box is None:
        return 0.0, 0.0, side
    rows, columns = box
    pixel = side / _SEARCH_PX
    longer = max(rows.stop - rows.start, columns.stop - columns.start) * pixel * (1 + 2 * margin)
    cx, cy = (columns.start + columns.stop) / 2 * pixel, (rows.start + rows.stop) / 2 * pixel
    return cx - longer / 2, cy - longer / 2, longer


def view_camera(lens: Camera, pelvis_m: np.ndarray) -> Camera:
    """A lens that stands at the origin, in the view frame of somebody whose pelvis it sees at pelvis_m [3] (OpenCV
    axes): the view frame's z is the way from the pelvis to the camera wherever in the picture the person is, as in a
    crop around them. So its middle is the pelvis' place in the picture."""
    x, y, z = (float(v) for v in pelvis_m)
    return replace(
        lens, rotation=VIEW_AXES, translation=np.array([0, 0, z]), cx=lens.cx + lens.fx * x / z,
        cy=lens.cy + lens.fy * y / z,
    )  # fmt: skip


def sent_camera(result: Reconstruction, lens: Camera | None) -> Camera | None:
    """The sender's camera in the frame of a result whose pelvis is at the origin, by the place that was sent; None if
    none was."""
    return None if lens is None or result.pelvis_m is None else view_camera(lens, result.pelvis_m)
