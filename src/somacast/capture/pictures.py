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

from somacast.capture.heif import heif_size, read_heif
from somacast.capture.kinds import FOR_FILMS, PICTURE_FORMATS, PICTURES, SOMA_MAGIC, Kind, kind_of
from somacast.capture.masks import FLAT, NO_CUT_OUT, cut_out, mask_of
from somacast.errors import SomacastError
from somacast.types import Frame

if TYPE_CHECKING:
    from collections.abc import Iterator

    from PIL import Image

MIN_SIDE_PX = 64
MAX_SIDE_PX = 65535
MAX_DECODED_PIXELS = 100_000_000  # held at once while decoding: 300 MB of RGB
MAX_WORKING_PIXELS = 16_000_000  # what a frame may have: 192 MB of float32
TRANSPARENT_GREY = 0.5  # stands where a transparent picture shows nothing
AS_MASK = "the transparency of the picture is used as the mask"
ALPHA_NOTES = (AS_MASK, NO_CUT_OUT)  # which no longer hold once there is a mask

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

    What it is, is told by its bytes. It is turned upright (EXIF), brought to 8-bit sRGB (from grey, CMYK, palette,
    16 bit, floats) and, above 16 megapixels, reduced by averaging; `PictureFrame.source_scale` leads back to pixels of
    the file. What is transparent becomes mid grey, and transparency that looks like somebody cut out becomes the mask.

    Parameters
    ----------
    path : picture; the shorter side has at least 64 pixels.
    mask_path : picture of the same size as the upright picture, white or opaque where the person is, see `mask_of`.

    Returns
    -------
    PictureFrame with image [H, W, 3] float32 sRGB in [0, 1] and mask [H, W] float32 in [0, 1] or None.

    Raises
    ------
    SomacastError : no file, no picture, a film, damaged, too small, too large, mask of another size, empty or a
    photograph.
    """
    decoded = _decode(Path(path), "picture")
    pixels = _unit_floats(np.asarray(decoded.image))
    image, mask, notes = _shown(pixels if pixels.ndim == 3 else pixels[..., None], str(path))
    notes = [*decoded.notes, *notes]
    if mask_path is not None:
        mask, said = _read_mask(Path(mask_path), decoded.size_px, decoded.image.size)
        notes = [*(n for n in notes if n not in ALPHA_NOTES), *said, "the given mask is used"]
    return PictureFrame(image=image, mask=mask, notes=notes, source_size_px=decoded.size_px)


def read_mask(path: str | Path, frame: Frame) -> tuple[np.ndarray, list[str]]:
    """A mask file for a frame that is there, float32 [H, W] in [0, 1], and notes; see `read_image`."""
    height, width = frame.image.shape[:2]
    size_px = frame.source_size_px if isinstance(frame, PictureFrame) else (width, height)
    return _read_mask(Path(path), size_px, (width, height))


def pixels_of(image: Any, what: str = "image") -> np.ndarray:
    """A Pillow image as `frame_from_array` takes it, upright and sRGB like a picture file; what: "image" or "mask"."""
    try:
        return np.asarray(_convert(image, stretched=what == "mask")[0])
    except Exception as fault:  # a file that is read only now may be damaged in many ways
        raise SomacastError(f"{what}: the picture is damaged or cut short ({fault})") from fault


def mask_from_array(mask: np.ndarray, frame: Frame) -> tuple[np.ndarray, list[str]]:
    """A mask [H, W], [H, W, 3] or [H, W, 4] (uint8, bool, floats in [0, 1]) for a frame, and notes; see `mask_of`."""
    height, width = frame.image.shape[:2]
    if mask.shape[:2] != (height, width) or mask.shape[2:] not in ((), (1,), (3,), (4,)):
        raise SomacastError(f"mask: expected shape {[height, width]}, got {list(mask.shape)}")
    return mask_of(_unit_floats(mask), "mask")


def frame_from_array(image: np.ndarray, mask: np.ndarray | None = None) -> PictureFrame:
    """A frame from an array: uint8 or float in [0, 1]; [H, W], [H, W, 3] or [H, W, 4] (alpha that looks like
    somebody cut out becomes the mask); mask: [H, W] or of those shapes, see `mask_of`."""
    array = np.asarray(image)
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise SomacastError(f"image: expected shape [H, W], [H, W, 3] or [H, W, 4], got {list(array.shape)}")
    _check_size("image", (array.shape[1], array.shape[0]), MAX_WORKING_PIXELS, "an array")
    pixels = _unit_floats(array)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    shown, alpha, notes = _shown(pixels, "image")
    frame = PictureFrame(image=shown, mask=alpha, notes=notes, source_size_px=(array.shape[1], array.shape[0]))
    if mask is not None:
        frame.mask, frame.notes = mask_from_array(np.asarray(mask), frame)
    return frame


def _shown(pixels: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray | None, list[str]]:
    """[H, W, 1], [H, W, 3] or [H, W, 4] float32 in [0, 1] to the image [H, W, 3] that is seen, the mask that its
    transparency is or None, and notes."""
    if pixels.shape[2] == 1:
        return np.repeat(pixels, 3, axis=2), None, []
    if pixels.shape[2] == 3:
        return np.ascontiguousarray(pixels), None, []
    alpha = pixels[..., 3]
    top = float(alpha.max())
    if not top:
        raise SomacastError(f"{name}: the picture is fully transparent; expected a visible person")
    if alpha.min() >= FLAT * top:  # as good as opaque
        return np.ascontiguousarray(pixels[..., :3]), None, []
    mask, grey = cut_out(alpha), np.float32(TRANSPARENT_GREY)
    seen = (pixels[..., :3] - grey) * (alpha / np.float32(top))[..., None] + grey
    return seen, mask, [NO_CUT_OUT if mask is None else AS_MASK]


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


def _read_mask(path: Path, size_px: tuple[int, int], read_px: tuple[int, int]) -> tuple[np.ndarray, list[str]]:
    """Mask file to float32 [H, W] in [0, 1] and notes, for a picture of size_px that was read at read_px."""
    from PIL import Image

    decoded = _decode(path, "mask")
    if decoded.size_px != size_px:
        raise SomacastError(
            f"{path}: the mask has {decoded.size_px[0]} x {decoded.size_px[1]} pixels; "
            f"expected those of the upright picture, {size_px[0]} x {size_px[1]}"
        )
    image = decoded.image
    if image.size != read_px:
        image = image.resize(read_px, Image.Resampling.BOX)
    return mask_of(_unit_floats(np.asarray(image)), str(path))


def _decode(path: Path, what: str) -> _Decoded:
    """Open, check, decode, turn upright and reduce one file."""
    data = _read_bytes(path, what)
    kind = kind_of(path)
    if kind is Kind.FILM:
        raise SomacastError(f"{path}: is a film; expected a {what}. For films: {FOR_FILMS}")
    if data.startswith(SOMA_MAGIC):
        raise SomacastError(f"{path}: is a .soma file; expected a {what} (decode takes .soma files)")
    if kind is Kind.HEIC:
        return _decode_heic(path, data, what)
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
        upright, orientation = _convert(image, stretched=what == "mask")
    except Exception as fault:  # decoders of foreign bytes fail in many ways (OSError, SyntaxError, zlib.error, ...)
        reason = str(fault).splitlines()[0] if str(fault) else type(fault).__name__
        raise SomacastError(f"{path}: the {what} is damaged or cut short ({reason})") from fault
    size_px = (stored_size[1], stored_size[0]) if orientation >= 5 else stored_size
    if orientation > 1:
        notes.append(f"{what} turned upright as its EXIF note says")
    return _Decoded(upright, size_px, [*notes, *_reduced_notes(upright, size_px, what)])


def _decode_heic(path: Path, data: bytes, what: str) -> _Decoded:
    """As `_decode`, of what Pillow does not know."""
    from PIL import Image

    _check_size(path, heif_size(data, str(path)), MAX_DECODED_PIXELS, f"a HEIC {what}")
    found = read_heif(data, str(path))
    image = Image.fromarray(found.image)
    if found.alpha is not None:
        image.putalpha(Image.fromarray(found.alpha))
    size_px = image.size
    image = _to_srgb(_less(image), found.profile)
    notes = [f"{what} turned upright as its file says"] if found.turned else []
    return _Decoded(image, size_px, [*notes, *_reduced_notes(image, size_px, what)])


def _reduced_notes(image: Image.Image, size_px: tuple[int, int], what: str) -> list[str]:
    """A line if a picture of size_px was read smaller."""
    if image.size == size_px:
        return []
    return [f"{what} of {size_px[0]} x {size_px[1]} pixels read at {image.width} x {image.height} to save memory"]


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
            return Image.open(io.BytesIO(data), formats=PICTURE_FORMATS)
    except UnidentifiedImageError as fault:
        raise SomacastError(f"{path}: is not a picture that can be read; expected {PICTURES}") from fault
    except Exception as fault:  # a damaged header, as above
        raise SomacastError(f"{path}: the {what} is damaged or cut short ({fault})") from fault


def _less(image: Image.Image) -> Image.Image:
    """Reduced to at most MAX_WORKING_PIXELS; colours of what is transparent count less."""
    factor = math.ceil(math.sqrt(image.width * image.height / MAX_WORKING_PIXELS))
    if factor == 1:
        return image
    return image.convert("RGBa").reduce(factor).convert("RGBA") if image.mode == "RGBA" else image.reduce(factor)


def _convert(image: Image.Image, stretched: bool) -> tuple[Image.Image, int]:
    """Any mode to 8-bit L, RGB or RGBA, reduced and upright; also the EXIF orientation that was followed (1 to 8).
    stretched: the greatest value of a deep grey becomes white, as labels of masks want it."""
    orientation = int(image.getexif().get(0x0112, 1))
    profile = image.info.get("icc_profile")
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        image = _to_8_bit(image, stretched)
    elif image.has_transparency_data:
        image = image.convert("RGBA")
    elif image.mode not in ("L", "RGB", "CMYK"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    image = _to_srgb(_less(image), profile)
    if orientation not in range(2, 9):
        return image, 1
    return image.transpose(_UPRIGHT[orientation]), orientation


def _to_8_bit(image: Image.Image, stretched: bool) -> Image.Image:
    """Grey of 16 or 32 bit integers or floats to 8 bit; floats count as [0, 1] unless they go beyond."""
    from PIL import Image

    values = np.asarray(image)
    if values.dtype.kind == "f":
        if not np.isfinite(values).all():
            raise ValueError("pixels that are not finite numbers")
        top = float(values.max())
        full = next((f for f in (1.0, 255.0, 65535.0) if top <= f), top)
        return Image.fromarray(np.clip(values * (255 / full) + 0.5, 0, 255).astype(np.uint8))
    if stretched and values.max() > 0:
        return Image.fromarray(np.clip(values * (255 / values.max()) + 0.5, 0, 255).astype(np.uint8))
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
