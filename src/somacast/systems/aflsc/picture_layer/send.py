"""Sender: the layers that show the sender's picture on the person, behind those of the labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from somacast.bitstream.container import layer_room
from somacast.capture.cropping import rectangle_crop
from somacast.geometry.harmonic import harmonic
from somacast.geometry.projection import carried_on, grown
from somacast.geometry.rasteriser import render_camera
from somacast.geometry.silhouette import sample
from somacast.geometry.unlit import sure_gain
from somacast.metrics.image import iou
from somacast.systems.aflsc.labels.codec import SYSTEM
from somacast.systems.aflsc.labels.layout import DEPTH_OFFSET_M
from somacast.systems.aflsc.labels.space import LabelSpace
from somacast.systems.aflsc.labels.state import PersonState
from somacast.systems.aflsc.picture_layer.aligned import PosedBody
from somacast.systems.aflsc.picture_layer.canvas import CANVAS_PX, Canvas, grid_places
from somacast.systems.aflsc.picture_layer.coding import best_picture, canvas_side, sizes_tried
from somacast.systems.aflsc.picture_layer.cutout import surely_person
from somacast.systems.aflsc.picture_layer.face import aspect_of, face_box, shows_face
from somacast.systems.aflsc.picture_layer.fit import fit_warp
from somacast.systems.aflsc.picture_layer.share import Share
from somacast.systems.aflsc.picture_layer.warp import Warp
from somacast.systems.aflsc.receiver.assemble import skin_colors
from somacast.systems.aflsc.sender.look import Look
from somacast.types import Frame

BESIDE = 0.003  # how far the mean of near colours reaches along the silhouette, in sides of the canvas
HIDDEN = 0.04  # as far from the person that is seen, likewise, the body has the colours that labels say
BODY_EDGE = 0.006  # how far around the body the picture is seen, likewise
BORDER = 1.5  # pixels of the mask along the frame's border in which it ends without an edge of the person
FULL_BPP = 2.0  # bits a pixel beyond which a face gains nothing
FACE_PX = 16  # of a face: fewer show none
FACE_FINER = 1.3  # how much finer than in the picture the source must show the face for it to be sent once more


@dataclass(frozen=True)
class CanvasPicture:
    """picture [H, W, 3] float32: the person without light on the canvas, colours carried on beyond the edges; counts
    [H, W] bool: where the person is shown; warp: what brings the body onto it; face [h, w, 3] float32: of its part
    of the canvas alone, finer, if that is worth anything; overlap: of the body so moved with the silhouette."""

    canvas: Canvas
    picture: np.ndarray
    counts: np.ndarray
    warp: Warp
    overlap: float
    face: np.ndarray | None = None


def picture_on_canvas(
    frame: Frame, look: Look, space: LabelSpace, values: np.ndarray, sent: PersonState, share: Share | None = None,
    strict: bool = False,
) -> CanvasPicture:  # fmt: skip
    """The person of a frame on the canvas of what is sent of them, as fine as the share of a budget for it can hold,
    and the face alone if there is room for it too; values [L]: all that the sender knows; strict: rather less of the
    person than anything of what is around."""
    fineness, room_bytes, face_bytes = share or Share()
    posed = PosedBody.of(sent, space)
    silhouette = FrameOnCanvas(frame, look, posed.canvas).known_silhouette
    warp = fit_warp(posed, silhouette, fineness, look.unseen.joints)
    body = posed.aligned(warp.heights)
    canvas = body.canvas
    source = FrameOnCanvas(frame, look, canvas)

    side = canvas_side(canvas.aspect, room_bytes, source.px)
    places = grid_places(*canvas.size(side))
    picture, inside = source.colors(canvas.size(side)), source.silhouette(places)
    known = space.state(values)
    colored = replace(body.mesh, colors=skin_colors(space.appearance.chart_maps(known.codes)[0]))
    base = render_camera(colored, canvas.camera(*canvas.size(side)))
    sure = surely_person(picture, inside, side / CANVAS_PX, strict)
    gain = sure_gain(picture, (inside > 0.5) & base.mask, base)
    hidden = base.mask & ~_around(inside > 0.5, round(HIDDEN * side))
    picture[hidden], sure[hidden] = (base.rgb * gain[..., None])[hidden], True
    counts = grown(base.mask, round(BODY_EDGE * side))
    overlap = iou(base.mask, inside > 0.5)
    shown = CanvasPicture(canvas, _continued(picture, gain, sure, BESIDE * side), counts, warp, overlap)
    if not face_bytes or not shows_face(sent):
        return shown

    box = face_box(body.skin.vertices, canvas)
    tall = float(box[1, 1] - box[0, 1])
    aspect = aspect_of(box, canvas)
    largest, usual = sizes_tried(aspect, face_bytes), sizes_tried(canvas.aspect, room_bytes)
    high = min(max(height for _, height in largest), source.px_high * tall)
    if high < max(FACE_PX, FACE_FINER * tall * usual[0][1]):
        return shown
    size, scale = (max(round(high * aspect), 1), round(high)), np.array(canvas.size(side))
    plane = np.stack([gain, sure], -1).astype(np.float32)
    near = rectangle_crop(plane, box[0] * scale, (box[1] - box[0]) * scale, *size)
    face = _continued(source.colors(size, box), near[..., 0], near[..., 1] > 0.5, BESIDE * high / tall)
    return replace(shown, face=face)


def picture_layers(
    shown: CanvasPicture, before: Sequence[int], budget_bytes: int, face_bytes: int = 0
) -> list[bytes] | None:
    """The layers of warp, picture and face, behind others of given lengths in a file of at most budget_bytes; None if
    there is no room for a picture."""
    layers, more = [shown.warp.encode()], []
    if shown.face is not None:
        everywhere = np.ones(shown.face.shape[:2], bool)
        face = best_picture(shown.face, everywhere, min(face_bytes, round(FULL_BPP / 8 * everywhere.size)))
        more = [] if face is None else [face]
    room = layer_room(SYSTEM, [*before, *map(len, layers + more)], budget_bytes)
    picture = best_picture(shown.picture, shown.counts, room)
    return None if picture is None else [*layers, picture, *more]


def _around(mask: np.ndarray, pixels: int) -> np.ndarray:
    """A mask [H, W] bool widened by about so many pixels."""
    step = max(pixels // 4, 1)
    wide = grown(mask[step // 2 :: step, step // 2 :: step], 4)
    rows, columns = (np.minimum(np.arange(n) // step, m - 1) for n, m in zip(mask.shape, wide.shape, strict=True))
    return wide[rows[:, None], columns] | mask


def _continued(picture: np.ndarray, gain: np.ndarray, sure: np.ndarray, beside_px: float) -> np.ndarray:
    """A picture [H, W, 3] without the light that brightens it by a gain [H, W], continued beyond what is `sure`, [H, W]
    bool."""
    unlit = np.clip(picture / gain[..., None], 0, 1).astype(np.float32)
    # Beside the silhouette the mean of near colours, as single pixels there are doubtful; beyond, the smoothest.
    near, known = carried_on(unlit, sure, beside_px, (1.0,))
    return harmonic(near, known)


@dataclass(frozen=True)
class FrameOnCanvas:
    """What a frame shows at places of a canvas."""

    frame: Frame
    look: Look
    canvas: Canvas

    @property
    def px_high(self) -> float:
        """Height of the canvas in pixels of the frame."""
        return float((self.canvas.high - self.canvas.low)[1] * self.frame.lens.fy)

    @property
    def px(self) -> float:
        """Longer side of the canvas in pixels of the frame."""
        return self.px_high * max(1.0, self.canvas.aspect)

    def _pixels(self, places: np.ndarray) -> np.ndarray:
        lens = self.frame.lens
        return self.canvas.tangents(places) * [lens.fx, lens.fy] + [lens.cx, lens.cy]

    def silhouette(self, places: np.ndarray) -> np.ndarray:
        """The mask [H, W] float32 in [0, 1] at places [H, W, 2]."""
        mask = self.look.mask
        return sample(mask, self.look.box.to_crop(self._pixels(places), len(mask)))

    def depth(self, places: np.ndarray) -> np.ndarray:
        """What the depth branch says (eq. 4, 5) at places [H, W, 2], metres behind the pelvis [H, W] float32."""
        depth = self.look.out["depth"]
        return sample(depth, self.look.box.to_crop(self._pixels(places), len(depth))) - np.float32(DEPTH_OFFSET_M)

    def known_silhouette(self, places: np.ndarray) -> np.ndarray:
        """The mask at places [H, W, 2], NaN beyond the frame and along its border: the person goes on there."""
        pixels, (height, width) = self._pixels(places), self.frame.image.shape[:2]
        edge = BORDER * self.look.box.side / len(self.look.mask)
        inside = ((pixels > edge) & (pixels < [width - edge, height - edge])).all(-1)
        return np.where(inside, self.silhouette(places), np.float32(np.nan))

    def colors(self, size: tuple[int, int], box: np.ndarray | None = None) -> np.ndarray:
        """Colours [H, W, 3] of a picture of a size, width and height, of the canvas or of a box [2, 2] of it; means of
        areas where the frame is finer."""
        low, high = self._pixels(np.array([[0.0, 0.0], [1.0, 1.0]]) if box is None else box)
        return rectangle_crop(self.frame.image, low, high - low, *size)
