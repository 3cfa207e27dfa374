"""Sheets of people: a row for each, from the input camera and from other sides, at one budget after another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from somacast.capture.cropping import SquareBox, square_crop
from somacast.geometry.preview import encode_jpeg, to_bytes_image
from somacast.geometry.rasteriser import MID_GREY, level_camera
from somacast.geometry.reconstruction import Reconstruction
from somacast.metrics.views import INPUT, person_window, sent_camera, zoomed
from somacast.types import Camera, Frame

TILE_PX = (128, 96)  # height and width of a view
VIEWS = {INPUT: "input camera", "45": "45 degrees", "90": "side", "180": "behind"}
MARGIN = 0.06  # around the person, in sides of its box
MAX_BYTES = 560_000
_SUPERSAMPLE = 2
_HEAD_PX, _CAPTION_PX, _GAP_PX, _FONT_PX = 34, 18, 10, 13
_PAPER, _INK = 250, (30, 30, 30)
_MARKS = {"best": (20, 130, 60), "median": (30, 80, 180), "worst": (190, 40, 30)}


@dataclass(frozen=True)
class Stage:
    """From where somebody is seen: window (left, top, side) in pixels of the picture; center [3], extent_m of the level
    views; camera: of the picture, where the person stands in its frame, or None. A view shows the middle of a square
    whose side its height is."""

    window: tuple[float, float, float]
    center: np.ndarray
    extent_m: float
    camera: Camera | None

    @classmethod
    def around(cls, person: Reconstruction, camera: Camera | None, picture_px: float) -> Stage:
        """The person fills every view; without a camera the whole picture is shown."""
        points, (height, width) = person.surface().vertices, TILE_PX
        low, high = points.min(0), points.max(0)
        center = (low + high) / 2
        across = 2 * float(np.hypot(points[:, 0] - center[0], points[:, 2] - center[2]).max())
        extent_m = (1 + 2 * MARGIN) * max(float(high[1] - low[1]), across * height / width)
        if camera is None:
            return cls((0.0, 0.0, picture_px), center, extent_m, camera)
        left, top, side = person_window(person, camera, MARGIN)
        pixels = camera.project(points.astype(np.float64))[:, :2]
        wide, high_px = (1 + 2 * MARGIN) * (pixels.max(0) - pixels.min(0))
        fitted = float(max(high_px, wide * height / width))
        return cls((left + (side - fitted) / 2, top + (side - fitted) / 2, fitted), center, extent_m, camera)

    def picture(self, frame: Frame) -> np.ndarray:
        """What the window shows of the picture, uint8 of TILE_PX."""
        left, top, side = self.window
        box, size = SquareBox(left + side / 2, top + side / 2, side), _SUPERSAMPLE * TILE_PX[0]
        known = square_crop(np.pad(np.ones(frame.image.shape[:2], np.float32), 1), (box.cx + 1, box.cy + 1, side), size)
        return _small(np.where(known[..., None] > 0.5, square_crop(frame.image, box, size), MID_GREY))

    def views(self, person: Reconstruction | None, placed: Reconstruction | None, lens: Camera | None) -> np.ndarray:
        """A person from VIEWS side by side, uint8: as `lens` saw it, if its place was sent, and from level cameras,
        where it stands `placed`; blank if there is nobody."""
        if person is None or placed is None:
            return np.full((TILE_PX[0], len(VIEWS) * TILE_PX[1], 3), _PAPER, np.uint8)
        camera = sent_camera(person, lens) or self.camera
        return np.concatenate([self._view(name, person, placed, camera) for name in VIEWS], 1)

    def _view(self, name: str, person: Reconstruction, placed: Reconstruction, camera: Camera | None) -> np.ndarray:
        size = _SUPERSAMPLE * TILE_PX[0]
        if name == INPUT and camera is not None:
            return _small(person.render(zoomed(camera, *self.window, size), MID_GREY).rgb)
        azimuth = 0.0 if name == INPUT else float(name)
        return _small(placed.render(level_camera(size, self.extent_m, azimuth, self.center), MID_GREY).rgb)


def blank(tiles: np.ndarray) -> np.ndarray:
    """Paper of the size of tiles."""
    return np.full_like(tiles, _PAPER)


def _small(rgb: np.ndarray) -> np.ndarray:
    from PIL import Image

    height, width = TILE_PX
    cut = (rgb.shape[1] - round(rgb.shape[0] * width / height)) // 2
    middle = to_bytes_image(rgb[:, cut : rgb.shape[1] - cut])
    return np.asarray(Image.fromarray(middle).resize((width, height), Image.Resampling.BOX))


@dataclass(frozen=True)
class Row:
    """One person of a sheet. text: stands above it; strip [K H, N W, 3] uint8 of K times N views of TILE_PX; mark: one
    of best, median, worst, or ""."""

    text: str
    strip: np.ndarray
    mark: str = ""


def heads_of(budgets: Sequence[int], picture: bool, truth: bool) -> list[tuple[str, int]]:
    """Headings of the columns of a sheet, and how many tiles each stands over."""
    found = [("picture", 1)] if picture else []
    found += [("truth", len(VIEWS))] if truth else []
    return [*found, *((f"{budget:,} B", len(VIEWS)) for budget in budgets)]


def sheet_bytes(rows: Sequence[Row], heads: Sequence[tuple[str, int]]) -> bytes:
    """A JPEG of at most MAX_BYTES with a row for each person; ValueError without any."""
    from PIL import Image, ImageDraw, ImageFont

    if not rows:
        raise ValueError("expected at least one person for a sheet, got none")
    gap = _GAP_PX
    across = TILE_PX[1]
    steps = np.cumsum([0, *(row.strip.shape[0] + _CAPTION_PX + gap // 2 for row in rows)])
    width = max(row.strip.shape[1] for row in rows) + gap * (len(heads) + 1)
    sheet = Image.new("RGB", (width, _HEAD_PX + int(steps[-1]) + gap), (_PAPER,) * 3)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(_FONT_PX)
    starts = np.cumsum([0, *(count * across + gap for _, count in heads)]) + gap
    for (text, count), x in zip(heads, starts, strict=False):
        views = f": {', '.join(VIEWS.values())}" if count == len(VIEWS) else ""
        draw.text((x, 10), text + views, fill=_INK, font=font)
    for row, step in zip(rows, steps, strict=False):
        y = _HEAD_PX + int(step)
        color = _MARKS.get(row.mark, _INK)
        draw.text((gap, y), f"{row.mark.upper()}  {row.text}" if row.mark else row.text, fill=color, font=font)
        column = 0
        for (_, count), x in zip(heads, starts, strict=False):
            part = row.strip[:, column * across : (column + count) * across]
            sheet.paste(Image.fromarray(np.ascontiguousarray(part)), (int(x), y + _CAPTION_PX))
            column += count
        if row.mark:
            box = (2, y, gap - 4, y + _CAPTION_PX + row.strip.shape[0])
            draw.rectangle(box, fill=color)
    return _within_limit(np.asarray(sheet))


def _within_limit(sheet: np.ndarray) -> bytes:
    found = b""
    for quality in (88, 82, 76, 70, 60, 50):
        found = encode_jpeg(sheet, quality)
        if len(found) <= MAX_BYTES:
            break
    return found


def chosen(values: Mapping[str, float], count: int) -> list[tuple[str, str]]:
    """People by a figure of which less is better, as (name, mark): the best, the median and the worst, and others
    evenly between them, `count` in all."""
    ranked = sorted(values, key=lambda name: values[name])
    if not ranked:
        return []
    marks = {len(ranked) // 2: "median", len(ranked) - 1: "worst", 0: "best"}
    places = dict.fromkeys(np.linspace(0, len(ranked) - 1, min(count, len(ranked))).round().astype(int).tolist())
    middle = len(ranked) // 2
    if middle not in places and len(places) > 2:
        places.pop(min((p for p in places if p not in marks), key=lambda p: abs(p - middle)))
        places[middle] = None
    return [(ranked[place], marks.get(place, "")) for place in sorted(places)]
