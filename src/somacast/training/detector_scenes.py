"""Made photographs for the detector: cut-out people of the pool pasted over rooms, furniture and clutter.

Clutter is cut from the very textures of the people (cloth, skin, hair), so that a texture alone is no person.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from scipy.ndimage import binary_erosion, uniform_filter

from somacast.synthetic.scenes import draw_background

SIZE_PX = 128
MASK_PX = 64
BAR_GREY = 128  # what the detector puts around a picture that is not square
BANK_PX = 160
SMALLEST_PX = 9  # people lower than this are neither asked for nor punished


@dataclass(frozen=True)
class DetectorScene:
    """image [128, 128, 3] uint8, silhouette [64, 64] float32 in [0, 1], boxes [N, 4] and doubtful [M, 4] as left, top,
    right, bottom in pixels of the image: the visible part of each person, and places that count neither way."""

    image: np.ndarray
    silhouette: np.ndarray
    boxes: np.ndarray
    doubtful: np.ndarray


def _defringe(rgb: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Give the rim of a cut-out the colour of its inside, or the old background would tell people from clutter."""
    inner = np.asarray(binary_erosion(mask), bool)
    if not inner.any():
        return rgb
    weight = uniform_filter(inner.astype(np.float32), 5, mode="constant")
    seen = rgb * inner[..., None].astype(np.float32)
    inside = np.stack([uniform_filter(seen[..., c], 5, mode="constant") for c in range(3)], 2)
    rim = mask & np.logical_not(inner) & (weight > 0.01)
    out = rgb.copy()
    out[rim] = np.clip(inside[rim] / weight[rim, None], 0, 255).astype(np.uint8)
    return out


def cut_out(image: np.ndarray, silhouette: np.ndarray) -> np.ndarray | None:
    """One person as [h, w, 4] uint8, cut to its bounding box; None if it is too small or runs out of its picture.

    image [S, S, 3] uint8, silhouette [S, S] bool.
    """
    rows, columns = np.flatnonzero(silhouette.any(1)), np.flatnonzero(silhouette.any(0))
    if len(rows) < 30 or min(rows[0], columns[0]) < 1 or max(rows[-1], columns[-1]) > len(image) - 2:
        return None
    part = slice(rows[0] - 1, rows[-1] + 2), slice(columns[0] - 1, columns[-1] + 2)
    mask = silhouette[part]
    return np.dstack([_defringe(image[part], mask), mask.astype(np.uint8) * 255])


def cut_outs(paths: list[Path], every: int = 1) -> list[np.ndarray]:
    """All people of pool shards, every so many pictures."""
    out = []
    for path in paths:
        with np.load(path, allow_pickle=False) as file:
            images, masks = file["image"][::every], np.unpackbits(file["silhouette"][::every], axis=2) > 0
        found = (cut_out(image, mask) for image, mask in zip(images, masks, strict=True))
        out += [person for person in found if person is not None]
    return out


class SceneMaker:
    """Draws scenes; the same generator gives the same scenes."""

    def __init__(
        self,
        people: list[np.ndarray],
        rng: np.random.Generator,
        backgrounds: int = 1500,
        pictures: list[Path] | None = None,
    ):
        """people: cut_outs(); pictures: photographs without people that stand in for a tenth of the backgrounds."""
        self.people = people
        textures = [self._texture(rng, 128) for _ in range(60)]
        stack = np.stack([np.tile(t, (2, 2, 1)) for t in textures])
        real = pictures if pictures else None
        self.bank = [
            draw_background(rng, BANK_PX, stack, real if i % 5 == 0 else None).astype(np.uint8)
            for i in range(backgrounds)
        ]

    def _texture(self, rng: np.random.Generator, size: int) -> np.ndarray:
        """Cloth or skin from inside a person, blown up to [size, size, 3]."""
        person = self.people[rng.integers(len(self.people))]
        h, w = person.shape[:2]
        side = int(rng.uniform(0.08, 0.4) * min(h, w)) + 3
        y, x = np.argwhere(person[..., 3] > 0)[rng.integers((person[..., 3] > 0).sum())]
        y, x = min(max(0, y - side // 2), h - side), min(max(0, x - side // 2), w - side)
        patch = person[y : y + side, x : x + side]
        flat = np.where(patch[..., 3:] > 0, patch[..., :3], patch[patch[..., 3] > 0].mean(0)[:3].astype(np.uint8))
        return np.asarray(Image.fromarray(flat).resize((size, size), Image.Resampling.BILINEAR))

    def draw(self, rng: np.random.Generator) -> DetectorScene:
        """One scene with 0 to 4 people."""
        frame = _draw_frame(rng)
        canvas = self._background(rng)
        silhouette = np.zeros((SIZE_PX, SIZE_PX), np.float32)
        for _ in range(rng.poisson(2.5)):
            self._paste_clutter(rng, canvas, frame, None)
        boxes, doubtful = [], []
        for _ in range(rng.choice(5, p=[0.2, 0.42, 0.18, 0.12, 0.08])):
            self._paste_person(rng, canvas, frame, silhouette, boxes, doubtful)
        if rng.random() < 0.3:
            self._paste_clutter(rng, canvas, frame, silhouette)
        out = _photograph(rng, canvas)
        left, top, right, bottom = frame
        bars = np.ones((SIZE_PX, SIZE_PX), bool)
        bars[top:bottom, left:right] = False
        out[bars], silhouette[bars] = BAR_GREY, 0
        small = silhouette.reshape(MASK_PX, SIZE_PX // MASK_PX, MASK_PX, SIZE_PX // MASK_PX).mean((1, 3))
        boxes, doubtful = _judge(np.array(boxes, np.float32).reshape(-1, 5), doubtful, silhouette)
        return DetectorScene(out, small, boxes, np.array(doubtful, np.float32).reshape(-1, 4))

    def _background(self, rng: np.random.Generator) -> np.ndarray:
        picture = Image.fromarray(self.bank[rng.integers(len(self.bank))])
        side = rng.uniform(0.35, 1) * BANK_PX
        x, y = rng.uniform(0, BANK_PX - side, 2)
        out = np.asarray(picture.resize((SIZE_PX, SIZE_PX), Image.Resampling.BILINEAR, (x, y, x + side, y + side)))
        return (out[:, ::-1] if rng.random() < 0.5 else out).copy()

    def _paste_person(self, rng, canvas, frame, silhouette, boxes: list, doubtful: list) -> None:
        """Paste one person; adds its visible box and area to `boxes`, or its place to `doubtful`."""
        person = self.people[rng.integers(len(self.people))]
        high = frame[3] - frame[1]
        share = _draw_height(rng)
        zoom = share * high / person.shape[0]
        h, w = max(3, round(person.shape[0] * zoom)), max(3, round(person.shape[1] * zoom * rng.uniform(0.9, 1.1)))
        piece = np.asarray(Image.fromarray(person).resize((w, h), Image.Resampling.BILINEAR))
        if rng.random() < 0.5:
            piece = piece[:, ::-1]
        out_x, out_y = (0.0, 0.0) if rng.random() < 0.7 else (0.6 * w, 0.6 * h)
        x, y = _place(rng, frame[0], frame[2], w, out_x), _place(rng, frame[1], frame[3], h, out_y)
        light = rng.uniform(0.6, 1.35) * rng.uniform(0.9, 1.1, 3)
        shown = (max(x, frame[0]), max(y, frame[1]), min(x + w, frame[2]), min(y + h, frame[3]))
        if shown[2] - shown[0] < 2 or shown[3] - shown[1] < 2:
            return
        part = slice(shown[1], shown[3]), slice(shown[0], shown[2])
        own = piece[shown[1] - y : shown[3] - y, shown[0] - x : shown[2] - x]
        alpha = own[..., 3].astype(np.float32) / 255
        _blend(canvas[part], own[..., :3] * light, alpha)
        rows, columns = np.flatnonzero((alpha > 0.5).any(1)), np.flatnonzero((alpha > 0.5).any(0))
        if len(rows) == 0:
            return
        silhouette[part] = np.maximum(silhouette[part], alpha)
        box = (shown[0] + columns[0], shown[1] + rows[0], shown[0] + columns[-1] + 1, shown[1] + rows[-1] + 1)
        share_seen = alpha.sum() * 255 / max(1.0, float(piece[..., 3].sum()))
        if share_seen < 0.3 or box[3] - box[1] < SMALLEST_PX:
            doubtful.append(box)
        else:
            boxes.append((*box, alpha.sum()))

    def _paste_clutter(self, rng, canvas, frame, silhouette: np.ndarray | None) -> None:
        """A thing that is no person; it covers what of the silhouette lies behind it."""
        w, h = (np.exp(rng.uniform(np.log(0.06), np.log(0.7), 2)) * SIZE_PX).astype(int) + 2
        if silhouette is not None:
            w, h = w // 2 + 2, h // 2 + 2
        x, y = (int(rng.uniform(frame[i] - n / 2, frame[i + 2] - n / 2)) for i, n in enumerate((w, h)))
        mask = _shape(rng, w, h)
        color = self._texture(rng, max(w, h))[:h, :w] if rng.random() < 0.65 else _shaded(rng, w, h)
        x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + w, SIZE_PX), min(y + h, SIZE_PX)
        if x1 <= x0 or y1 <= y0:
            return
        own = slice(y0 - y, y1 - y), slice(x0 - x, x1 - x)
        _blend(canvas[y0:y1, x0:x1], color[own] * rng.uniform(0.5, 1.4), mask[own])
        if silhouette is not None:
            silhouette[y0:y1, x0:x1] *= 1 - mask[own]


def _draw_frame(rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Where the picture lies in the square: whole, between bars, or off one side as a zoomed crop may be."""
    kind = rng.random()
    if kind < 0.3:
        return 0, 0, SIZE_PX, SIZE_PX
    short = int(SIZE_PX * rng.uniform(0.4, 0.95))
    start = (SIZE_PX - short) // 2 if kind < 0.75 else (0, SIZE_PX - short)[rng.integers(2)]
    if rng.random() < 0.6:
        return 0, start, SIZE_PX, start + short
    return start, 0, start + short, SIZE_PX


def _draw_height(rng: np.random.Generator) -> float:
    """Height of a person over that of the picture: small ones, those most pictures show, and some cut by the edges."""
    kind = rng.random()
    if kind < 0.5:
        return float(np.exp(rng.uniform(np.log(0.12), np.log(1.1))))
    return rng.uniform(0.45, 1.1) if kind < 0.9 else rng.uniform(1.1, 2.2)


def _place(rng: np.random.Generator, low: int, high: int, length: int, out: float) -> int:
    """Start of a piece of `length` in low..high; what does not fit may be shifted within reason."""
    a, b = low - out, high - length + out
    return int(rng.uniform(min(a, b), max(a, b)))


def _blend(canvas: np.ndarray, color: np.ndarray, alpha: np.ndarray) -> None:
    a = alpha[..., None]
    canvas[:] = np.clip(canvas * (1 - a) + color * a, 0, 255).astype(np.uint8)


def _shaded(rng: np.random.Generator, w: int, h: int) -> np.ndarray:
    """One colour under soft light [h, w, 3]."""
    fall = np.linspace(rng.uniform(0.5, 1.2), rng.uniform(0.5, 1.2), w if rng.random() < 0.5 else h)
    fall = fall[None, :, None] if len(fall) == w else fall[:, None, None]
    return np.broadcast_to(rng.uniform(10, 245, 3) * fall, (h, w, 3))


def _shape(rng: np.random.Generator, w: int, h: int) -> np.ndarray:
    """Outline of a thing [h, w] float32: box, ellipse, polygon, furniture on thin legs, or a statue of blobs."""
    picture = Image.new("L", (2 * w, 2 * h))
    pen, kind = ImageDraw.Draw(picture), rng.integers(0, 6)

    def at(x: float, y: float) -> tuple[int, int]:
        return int(x * 2 * w), int(y * 2 * h)

    if kind == 0:
        pen.rectangle((0, 0, 2 * w, 2 * h), fill=255)
    elif kind == 1:
        pen.ellipse((0, 0, 2 * w - 1, 2 * h - 1), fill=255)
    elif kind == 2:
        pen.polygon([at(*rng.random(2)) for _ in range(rng.integers(3, 8))], fill=255)
    elif kind == 3:  # table, chair or lamp: a slab and legs
        slab, thick = rng.uniform(0, 0.5), rng.uniform(0.03, 0.3)
        pen.rectangle((*at(0, slab), *at(1, min(1, slab + thick))), fill=255)
        for x in rng.choice([0.05, 0.5, 0.95], rng.integers(1, 4), replace=False):
            pen.line((*at(x, slab), *at(float(np.clip(x + rng.normal(0, 0.1), 0, 1)), 1)), 255, int(rng.integers(2, 9)))
        if rng.random() < 0.5:
            pen.line((*at(0.05, slab), *at(0.05, 0)), 255, int(rng.integers(2, 9)))
    elif kind == 4:  # wire work, plants, cables
        for _ in range(rng.integers(3, 14)):
            pen.line([at(*rng.random(2)) for _ in range(rng.integers(2, 4))], 255, int(rng.integers(1, 6)))
    else:  # statue: blobs one above the other, wide below
        y, width = 0.0, rng.uniform(0.2, 0.6)
        for _ in range(rng.integers(2, 6)):
            tall = rng.uniform(0.15, 0.5)
            pen.ellipse((*at(0.5 - width / 2, y), *at(0.5 + width / 2, min(1, y + tall))), fill=255)
            y, width = min(0.9, y + tall * 0.75), min(1.0, width * rng.uniform(0.7, 2))
    return np.asarray(picture.resize((w, h), Image.Resampling.BOX), np.float32) / 255


def _photograph(rng: np.random.Generator, canvas: np.ndarray) -> np.ndarray:
    """What a camera does: exposure, colour cast, contrast, blur, noise, JPEG."""
    levels = np.arange(256, dtype=np.float32) / 255
    gain = rng.uniform(0.15, 0.5) if rng.random() < 0.12 else rng.uniform(0.75, 1.2)
    table = 255 * gain * levels[:, None] ** rng.uniform(0.7, 1.4, 1) * rng.uniform(0.88, 1.12, 3)
    contrast = rng.uniform(0.6, 1.15)
    table = np.clip(table * contrast + 128 * min(1.0, gain) * (1 - contrast), 0, 255).astype(np.uint8)
    out = np.stack([table[canvas[..., c], c] for c in range(3)], 2)
    if rng.random() < 0.08:
        out = np.repeat(out.mean(2, keepdims=True), 3, 2).astype(np.uint8)
    if rng.random() < 0.35:
        blur = ImageFilter.GaussianBlur(float(rng.uniform(0.3, 1.3)))
        out = np.asarray(Image.fromarray(out).filter(blur))
    if rng.random() < 0.5:
        noise = rng.standard_normal((SIZE_PX, SIZE_PX, 3), np.float32) * rng.uniform(1, 14)
        out = np.clip(out + noise, 0, 255).astype(np.uint8)
    if rng.random() < 0.35:
        stream = io.BytesIO()
        Image.fromarray(out).save(stream, "JPEG", quality=int(rng.integers(15, 85)))
        out = np.asarray(Image.open(stream))
    return out.copy()


def vary(rng: np.random.Generator, scene: DetectorScene) -> DetectorScene:
    """The same scene, perhaps mirrored, with other exposure and colour cast."""
    image, silhouette, boxes, doubtful = scene.image, scene.silhouette, scene.boxes, scene.doubtful
    if rng.random() < 0.5:
        image, silhouette = image[:, ::-1], silhouette[:, ::-1]
        boxes, doubtful = (
            np.stack([SIZE_PX - b[:, 2], b[:, 1], SIZE_PX - b[:, 0], b[:, 3]], 1) for b in (boxes, doubtful)
        )
    bars = (image == BAR_GREY).all(2)
    table = np.arange(256)[:, None] * rng.uniform(0.8, 1.2) * rng.uniform(0.93, 1.07, 3)
    table = np.clip(table, 0, 255).astype(np.uint8)
    image = np.stack([table[image[..., c], c] for c in range(3)], 2)
    image[bars] = BAR_GREY
    return DetectorScene(image, silhouette, boxes, doubtful)


def _judge(boxes: np.ndarray, doubtful: list, silhouette: np.ndarray) -> tuple[np.ndarray, list]:
    """People of whom less than a third is left uncovered move to the doubtful. boxes [N, 5]: box and area."""
    keep = []
    for i, (left, top, right, bottom, area) in enumerate(boxes):
        seen = silhouette[int(top) : int(bottom), int(left) : int(right)].sum()
        # People pasted later cover earlier ones; boxes that nearly coincide cannot both be asked for.
        hidden = any(overlap(boxes[i, :4], other[:4]) > 0.6 for other in boxes[i + 1 :])
        (doubtful if seen < 0.35 * area or hidden else keep).append(boxes[i, :4])
    return np.array(keep, np.float32).reshape(-1, 4), doubtful


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boxes (left, top, right, bottom)."""
    w = min(a[2], b[2]) - max(a[0], b[0])
    h = min(a[3], b[3]) - max(a[1], b[1])
    common = max(w, 0) * max(h, 0)
    whole = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common
    return float(common / max(whole, 1e-6))
