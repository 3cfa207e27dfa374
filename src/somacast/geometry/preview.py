"""Pictures for people to look at: a lit turntable of a mesh and a sheet of captioned pictures."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from somacast.geometry.rasteriser import MID_GREY, level_camera, light, render_orthographic
from somacast.geometry.reconstruction import Reconstruction
from somacast.types import Mesh

TURNTABLE_DEG = (0.0, 90.0, 180.0, 270.0)
SUPERSAMPLE = 2
VIEW_EXTENT_M = 2.2  # of people without a surface whose size could be asked


def _shrink(image: np.ndarray, factor: int) -> np.ndarray:
    """Mean over blocks of factor x factor pixels."""
    height, width, channels = image.shape
    return image.reshape(height // factor, factor, width // factor, factor, channels).mean((1, 3))


def turntable(mesh: Mesh, azimuths: Sequence[float] = TURNTABLE_DEG, size: int = 384) -> np.ndarray:
    """Lit views side by side on mid grey, all at one scale that fits the mesh: [size, size n, 3] float32.

    azimuths in degrees: 0 from the front (+z), 90 from +x, which is the person's left if it faces the camera.
    """
    low, high = mesh.vertices.min(0), mesh.vertices.max(0)
    center = (low + high) / 2
    # The circle around the vertical axis, so that no turn cuts an arm.
    radius = float(np.hypot(mesh.vertices[:, 0] - center[0], mesh.vertices[:, 2] - center[2]).max())
    extent_m = 1.06 * max(float(high[1] - low[1]), 2 * radius, 1e-3)
    views = []
    for azimuth in azimuths:
        rendering = render_orthographic(mesh, size * SUPERSAMPLE, extent_m, azimuth, center, background=MID_GREY)
        views.append(_shrink(light(rendering), SUPERSAMPLE))
    return np.concatenate(views, 1).astype(np.float32)


def person_views(person: Reconstruction, size: int = 384) -> np.ndarray:
    """Four views side by side of a person made of anything, [size, 4 size, 3] float32: the turntable of a mesh, else as
    the person renders itself from level cameras around the pelvis."""
    if person.mesh is not None:
        return turntable(person.surface(), size=size)
    cameras = [level_camera(size, VIEW_EXTENT_M, azimuth, np.zeros(3)) for azimuth in TURNTABLE_DEG]
    return np.concatenate([person.render(camera).rgb for camera in cameras], 1).astype(np.float32)


def to_bytes_image(image: np.ndarray) -> np.ndarray:
    """Any of [H, W], [H, W, 1], [H, W, 3], bool, uint8 or float in [0, 1], to [H, W, 3] uint8."""
    if image.ndim == 2:
        image = image[..., None]
    if image.dtype != np.uint8:
        image = np.round(np.clip(np.nan_to_num(image.astype(np.float32)), 0, 1) * 255).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(image, (*image.shape[:2], 3)))


@dataclass(frozen=True)
class SheetStyle:
    """Lengths in pixels; height_px: of every picture (None: the tallest); colours 0 to 255."""

    height_px: int | None = None
    gap_px: int = 8
    caption_px: int = 16
    paper: int = 250
    ink: int = 30


def contact_sheet(
    tiles: Sequence[tuple[str, np.ndarray]], columns: int = 4, style: SheetStyle | None = None
) -> np.ndarray:
    """Captioned pictures in rows of `columns`: tiles of (caption, image as for `to_bytes_image`) -> [H, W, 3] float32.

    Pictures are brought to one height and keep their shape; every column is as wide as its widest picture.
    """
    from PIL import Image, ImageDraw, ImageFont

    style = style or SheetStyle()
    if not tiles or columns < 1:
        raise ValueError(f"expected at least one tile and one column, got {len(tiles)} and {columns}")
    height = style.height_px or max(image.shape[0] for _, image in tiles)
    font = ImageFont.load_default(style.caption_px)
    pictures = []
    for _, image in tiles:
        picture = Image.fromarray(to_bytes_image(image))
        width = max(1, round(picture.width * height / picture.height))
        if picture.size != (width, height):
            picture = picture.resize((width, height), Image.Resampling.LANCZOS)
        pictures.append(picture)
    widths = [
        max(max(p.width, round(font.getlength(tiles[column + columns * row][0])))
            for row, p in enumerate(pictures[column::columns]))
        for column in range(min(columns, len(pictures)))
    ]  # fmt: skip
    caption_height = round(style.caption_px * 1.5)
    step = height + caption_height + style.gap_px
    rows = -(-len(pictures) // columns)
    paper = (style.paper,) * 3
    sheet = Image.new("RGB", (sum(widths) + style.gap_px * (len(widths) + 1), rows * step + style.gap_px), paper)
    draw = ImageDraw.Draw(sheet)
    for number, (picture, (caption, _)) in enumerate(zip(pictures, tiles, strict=True)):
        row, column = divmod(number, columns)
        x = style.gap_px + sum(widths[:column]) + style.gap_px * column
        y = style.gap_px + row * step
        draw.text((x, y), caption, fill=(style.ink,) * 3, font=font)
        sheet.paste(picture, (x, y + caption_height))
    return np.asarray(sheet, np.float32) / 255


def encode_png(image: np.ndarray) -> bytes:
    """The bytes of a PNG file of an image as for `to_bytes_image`; write them with `files.write_atomically`."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(to_bytes_image(image)).save(buffer, "PNG", optimize=False)
    return buffer.getvalue()


def encode_jpeg(image: np.ndarray, quality: int = 85) -> bytes:
    """The bytes of a JPEG file likewise: a tenth of a PNG's where many pictures stand side by side."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(to_bytes_image(image)).save(buffer, "JPEG", quality=quality, optimize=True)
    return buffer.getvalue()
