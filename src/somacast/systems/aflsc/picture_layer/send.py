"""Sender: the layers that show the sender's picture on the person, behind those of the labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from somacast.capture.cropping import square_crop
from somacast.geometry.harmonic import harmonic
from somacast.geometry.projection import carried_on, grown
from somacast.geometry.rasteriser import render_camera
from somacast.geometry.unlit import without_light
from somacast.systems.aflsc.labels.space import LabelSpace
from somacast.systems.aflsc.labels.state import PersonState
from somacast.systems.aflsc.picture_layer.canvas import CANVAS_PX, Canvas, body_mesh, grid_places, sample
from somacast.systems.aflsc.picture_layer.cutout import surely_person
from somacast.systems.aflsc.picture_layer.fit import FIT_PX, fit_warp
from somacast.systems.aflsc.picture_layer.warp import Warp
from somacast.systems.aflsc.receiver.assemble import pelvis_place, skinned_mesh
from somacast.systems.aflsc.sender.look import Look
from somacast.types import Frame, Mesh

CROP_PX = 512  # side of the crop that it is cut from: a finer one than the canvas
BESIDE = 0.003  # how far the mean of near colours reaches along the silhouette, in heights of the canvas


@dataclass(frozen=True)
class CanvasPicture:
    """picture [H, W, 3] float32: the person without light on the canvas, colours carried on beyond the edges; counts
    [H, W] bool: where the person is shown; warp: what brings the body onto it."""

    picture: np.ndarray
    counts: np.ndarray
    warp: Warp


def picture_on_canvas(
    frame: Frame, look: Look, space: LabelSpace, values: np.ndarray, sent: PersonState
) -> CanvasPicture:
    """The person of a frame on the canvas of what is sent of them; values [L]: all that the sender knows."""
    mesh = body_mesh(sent, space)
    canvas = Canvas.of(mesh.vertices, pelvis_place(sent))
    crop = square_crop(frame.image, look.box, CROP_PX)
    mask = look.silhouette_at(CROP_PX)
    lens = frame.lens

    def in_crop(places: np.ndarray) -> np.ndarray:
        tangents = canvas.tangents(places)
        return look.box.to_crop(tangents * [lens.fx, lens.fy] + [lens.cx, lens.cy], CROP_PX)

    small = grid_places(max(round(FIT_PX * canvas.aspect), 8), FIT_PX)
    warp = Warp.nearest(fit_warp(mesh, canvas, sample(mask, in_crop(small))))

    width = max(round(CANVAS_PX * canvas.aspect), 16)
    places = grid_places(width, CANVAS_PX)
    pixels = in_crop(places + warp.moves(places, canvas.aspect))
    picture, inside = sample(crop, pixels), sample(mask, pixels)
    known = space.state(values)
    colored = skinned_mesh(sent, *space.appearance.chart_maps(known.codes))
    base = render_camera(Mesh(mesh.vertices, mesh.faces, colored.colors), canvas.camera(width, CANVAS_PX))
    sure = surely_person(picture, inside)
    unlit = without_light(picture, (inside > 0.5) & base.mask, base)
    # Beside the silhouette the mean of near colours, as single pixels there are doubtful; beyond, the smoothest.
    beside = carried_on(unlit, sure, BESIDE * CANVAS_PX, (1.0,))
    return CanvasPicture(harmonic(*beside), grown(base.mask, 2), warp)
