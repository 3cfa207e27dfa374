"""Reading a picture of any kind: file -> Frame, within bounded memory, one clear error for each way to fail."""

from __future__ import annotations

import io
import math
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from somacast.errors import SomacastError
from somacast.types import Frame

if TYPE_CHECKING:
    from collections.abc import Iterator

    from PIL import Image

# Only raster formats with decoders of their own: no EPS or PDF, which would start another program.
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "TIFF", "BMP", "GIF", "JPEG2000", "PPM", "TGA")
MIN_SIDE_PX = 64
MAX_SIDE_PX = 65535
MAX_DECODED_PIXELS = 100_000_000  # held at once while decoding: 300 MB of RGB
MAX_WORKING_PIXELS = 16_000_000  # what a frame may have: 192 MB of float32
TRANSPARENT_GREY = 0.5  # stands where a transparent picture shows nothing

# What turns a stored picture upright, by EXIF orientation (values of PIL.Image.Transpose).
_UPRIGHT: dict[int, Any] = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}
_bomb_check_lock = threading.Lock()


@dataclass
class PictureFrame(Frame):
    """A frame read from a file. `source_size_px` (width, height): the upright picture before any reduction."""

    source_size_px: tuple[int, int] = (0, 0)

    @property
    def source_scale(self) -> tuple[float, float]:
        """Pixels of the file's picture for one pixel of `image`, in x and in y."""
        height, width = self.image.shape[:2]
        return self.source_size_px[0] / width, self.source_size_px[1] / height


@dataclass
class _Decoded:
    image: Image.Image  # upright, 8 bit, mode L, RGB or RGBA, at most MAX_WORKING_PIXELS
    size_px: tuple[int, int]  # upright, before reduction
    notes: list[str] = field(default_factory=list)


def read_image(path: str | Path, mask_path: str | Path | None = None) -> PictureFrame:
    """Read a picture and, if given, its mask.

    The picture is turned upright (EXIF), brought to 8-bit sRGB (from grey, CMYK, palette, 16 bit, floats) and, above
    16 megapixels, reduced by averaging; `PictureFrame.source_scale` leads back to pixels of the file. The
    transparency of a picture becomes its mask, and what is transparent becomes mid grey.

    Parameters
    ----------
    path : picture; the shorter side has at least 64 pixels.
    mask_path : picture of the same size as the upright picture, white (or non-zero) where the person is.

    Returns
    -------
    PictureFrame with image [H, W, 3] float32 sRGB in [0, 1] and mask [H, W] float32 in [0, 1] or None.

    Raises
    ------
    SomacastError : no file, no picture, damaged, too small, too large, mask of another size or empty.
    """
    decoded = _decode(Path(path), "picture")
    image, mask = _to_arrays(decoded.image)
    notes = decoded.notes
    if mask is not None:
        if not mask.any():
            raise SomacastError(f"{path}: the picture is fully transparent; expected a visible person")
        notes.append("the transparency of the picture is used as the mask")
    if mask_path is not None:
        mask = _read_mask(Path(mask_path), decoded)
        notes.append("the given mask is used")
    return PictureFrame(image=image, mask=mask, notes=notes, source_size_px=decoded.size_px)


def frame_from_array(image: np.ndarray, mask: np.ndarray | None = None) -> PictureFrame:
    """A frame from an array: uint8 or float in [0, 1]; [H, W], [H, W, 3] or [H, W, 4] (alpha becomes the mask)."""
    array = np.asarray(image)
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise SomacastError(f"image: expected shape [H, W], [H, W, 3] or [H, W, 4], got {list(array.shape)}")
    _check_size("image", (array.shape[1], array.shape[0]), MAX_WORKING_PIXELS, "an array")
    pixels = _unit_floats(array)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.shape[2] == 4:
        alpha = pixels[..., 3]
        pixels = pixels[..., :3] * alpha[..., None] + TRANSPARENT_GREY * (1 - alpha[..., None])
        if mask is None and (alpha < 1).any():
            mask = alpha
    if pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    if mask is not None:
        if np.shape(mask) != array.shape[:2]:
            raise SomacastError(f"mask: expected shape {list(array.shape[:2])}, got {list(np.shape(mask))}")
        mask = _unit_floats(np.asarray(mask))
    size_px = (array.shape[1], array.shape[0])
    return PictureFrame(image=np.ascontiguousarray(pixels), mask=mask, source_size_px=size_px)


def _unit_floats(array: np.ndarray) -> np.ndarray:
    """Booleans, uint8 or floats in [0, 1] to float32 in [0, 1]."""
    if array.dtype == np.uint8:
        return array.astype(np.float32) / 255
    if array.dtype == np.bool_:
        return array.astype(np.float32)
    if array.dtype.kind != "f" or not np.isfinite(array).all() or array.min() < 0 or array.max() > 1:
        raise SomacastError(f"image or mask: expected uint8, or floats in [0, 1], got {array.dtype} outside of that")
    return array.astype(np.float32)


def _check_size(name: str | Path, size_px: tuple[int, int], limit: int, kind: str) -> None:
    width, height = size_px
    if min(width, height) < MIN_SIDE_PX:
        raise SomacastError(
            f"{name}: {width} x {height} pixels are too few; expected at least {MIN_SIDE_PX} on the shorter side"
        )
    if max(width, height) > MAX_SIDE_PX or width * height > limit:
        raise SomacastError(
            f"{name}: {width} x {height} pixels are too many; expected {kind} of at most {limit // 1_000_000} MP"
        )


def _read_mask(path: Path, picture: _Decoded) -> np.ndarray:
    """Mask file to float32 [H, W] in [0, 1] of the size of the decoded picture; the brightest value counts as 1."""
    from PIL import Image

    decoded = _decode(path, "mask")
    if decoded.size_px != picture.size_px:
        raise SomacastError(
            f"{path}: the mask has {decoded.size_px[0]} x {decoded.size_px[1]} pixels; "
            f"expected those of the upright picture, {picture.size_px[0]} x {picture.size_px[1]}"
        )
    image = decoded.image.convert("L")
    if image.size != picture.image.size:
        image = image.resize(picture.image.size, Image.Resampling.BOX)
    mask = np.asarray(image, np.float32)
    if mask.max() == 0:
        raise SomacastError(f"{path}: the mask is empty; expected white where the person is")
    return mask / mask.max()


def _decode(path: Path, what: str) -> _Decoded:
    """Open, check, decode, turn upright and reduce one file."""
    data = _read_bytes(path, what)
    image = _open(path, data, what)
    progressive = bool(image.info.get("progressive") or image.info.get("progression"))
    # Baseline JPEG decodes at 1/8 of its sides for free; everything else must be held whole.
    shrinks = image.format in ("JPEG", "MPO") and not progressive
    limit = MAX_SIDE_PX**2 if shrinks else MAX_DECODED_PIXELS
    _check_size(path, image.size, limit, f"a {image.format} {what}")
    stored_size = image.size
    notes = []
    if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
        notes.append(f"{what} with several frames: the first is used")
    factor = math.ceil(math.sqrt(stored_size[0] * stored_size[1] / MAX_WORKING_PIXELS))
    try:
        if shrinks and factor > 1:
            draft = 2 ** int(math.log2(min(factor, 8)))
            image.draft(image.mode, (stored_size[0] // draft, stored_size[1] // draft))
        image.load()
        upright, orientation = _convert(image)
    except Exception as fault:  # decoders of foreign bytes fail in many ways (OSError, SyntaxError, zlib.error, ...)
        reason = str(fault).splitlines()[0] if str(fault) else type(fault).__name__
        raise SomacastError(f"{path}: the {what} is damaged or cut short ({reason})") from fault
    size_px = (stored_size[1], stored_size[0]) if orientation >= 5 else stored_size
    if orientation > 1:
        notes.append(f"{what} turned upright as its EXIF note says")
    if upright.size != size_px:
        notes.append(
            f"{what} of {size_px[0]} x {size_px[1]} pixels read at {upright.width} x {upright.height} to save memory"
        )
    return _Decoded(upright, size_px, notes)


def _read_bytes(path: Path, what: str) -> bytes:
    """The whole file: small against its decoded pixels, and a file cannot change under the decoder's hands."""
    try:
        if path.is_dir():
            raise SomacastError(f"{path}: is a folder; expected a {what} file")
        if not path.exists():
            raise SomacastError(f"{path}: no such file; expected a {what}")
        if not path.is_file():
            raise SomacastError(f"{path}: is not an ordinary file; expected a {what}")
        if path.stat().st_size > 4 * MAX_DECODED_PIXELS:
            raise SomacastError(
                f"{path}: {path.stat().st_size} bytes are too many for a {what}; expected at most 400 MB"
            )
        data = path.read_bytes()
    except OSError as fault:
        raise SomacastError(f"{path}: cannot be read ({fault.strerror or fault}); expected a {what}") from fault
    if not data:
        raise SomacastError(f"{path}: is empty; expected a {what}")
    return data


@contextmanager
def _own_bomb_check() -> Iterator[None]:
    """Pillow refuses by size before it knows that a JPEG can be reduced; our own check comes right after."""
    from PIL import Image

    with _bomb_check_lock:
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _open(path: Path, data: bytes, what: str) -> Image.Image:
    from PIL import Image, UnidentifiedImageError

    try:
        with _own_bomb_check():
            return Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as fault:
        kinds = "JPEG, PNG, WebP, AVIF, TIFF, BMP, GIF, JPEG 2000, PPM or TGA"
        raise SomacastError(f"{path}: is not a picture that can be read; expected {kinds}") from fault
    except Exception as fault:  # a damaged header, as above
        raise SomacastError(f"{path}: the {what} is damaged or cut short ({fault})") from fault


def _convert(image: Image.Image) -> tuple[Image.Image, int]:
    """Any mode to 8-bit L, RGB or RGBA, reduced and upright; also the EXIF orientation that was followed (1 to 8)."""
    orientation = int(image.getexif().get(0x0112, 1))
    profile = image.info.get("icc_profile")
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        image = _to_8_bit(image)
    elif image.has_transparency_data:
        image = image.convert("RGBA")
    elif image.mode not in ("L", "RGB", "CMYK"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    factor = math.ceil(math.sqrt(image.width * image.height / MAX_WORKING_PIXELS))
    if factor > 1:
        image = image.convert("RGBa").reduce(factor).convert("RGBA") if image.mode == "RGBA" else image.reduce(factor)
    image = _to_srgb(image, profile)
    if orientation not in range(2, 9):
        return image, 1
    return image.transpose(_UPRIGHT[orientation]), orientation


def _to_8_bit(image: Image.Image) -> Image.Image:
    """Grey of 16 or 32 bit integers or floats to 8 bit; floats count as [0, 1] unless they go beyond."""
    from PIL import Image

    values = np.asarray(image)
    if values.dtype.kind == "f":
        if not np.isfinite(values).all():
            raise ValueError("pixels that are not finite numbers")
        top = float(values.max())
        full = next((f for f in (1.0, 255.0, 65535.0) if top <= f), top)
        return Image.fromarray(np.clip(values * (255 / full) + 0.5, 0, 255).astype(np.uint8))
    shift = 8 if values.dtype.itemsize == 2 or values.max() <= 65535 else 23
    return Image.fromarray(np.clip(values >> shift, 0, 255).astype(np.uint8))


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Follow an embedded colour profile; a broken or foreign one is passed over, its colours are close enough."""
    from PIL import ImageCms

    alpha = image.getchannel("A") if image.mode == "RGBA" else None
    flat = image.convert("RGB") if alpha is not None else image
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if "srgb" not in ImageCms.getProfileDescription(source).lower():
                target = ImageCms.createProfile("sRGB")
                flat = cast("Image.Image", ImageCms.profileToProfile(flat, source, target, outputMode="RGB"))
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            pass
    if flat.mode == "CMYK":
        flat = flat.convert("RGB")
    if alpha is not None:
        flat.putalpha(alpha)
    return flat


def _to_arrays(image: Image.Image) -> tuple[np.ndarray, np.ndarray | None]:
    """8-bit L, RGB or RGBA to image [H, W, 3] and mask [H, W] or None, float32 in [0, 1]."""
    pixels = _unit_floats(np.asarray(image))
    if pixels.ndim == 2:
        return np.repeat(pixels[..., None], 3, axis=2), None
    if pixels.shape[2] == 3:
        return pixels, None
    alpha = pixels[..., 3].copy()
    if alpha.min() == 1:
        return np.ascontiguousarray(pixels[..., :3]), None
    grey = np.float32(TRANSPARENT_GREY)
    return (pixels[..., :3] - grey) * alpha[..., None] + grey, alpha
