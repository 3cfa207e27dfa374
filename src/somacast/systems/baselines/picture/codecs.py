"""Picture codecs at their best, as files of a private container: JPEG, WebP, AVIF, x265, SVT-AV1, VVC.

A file is two bytes of settings (side, chroma, quality) and the coded picture without any header that follows from
those settings; `decode_picture` makes such headers again by coding a grey picture with the same settings. If a header
should depend on the picture, the whole stream is kept and counted.
"""

from __future__ import annotations

import io
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from somacast.coding.pictures import headers as strip
from somacast.errors import SomacastError
from somacast.extras import require

SIDES_PX = (32, 48, 64, 96, 128, 160, 192, 256)  # a file names its side by the place in this list
FULL_CHROMA, HALF_CHROMA = "444", "420"
SETTING_BYTES = 2
_WHOLE = 0x10  # flag: nothing could be cut off
_TIMEOUT_S = 600
_MAX_PIXELS = 512 * 512  # of a stream that ffmpeg is given to decode; a little more than there is, for its own padding


@dataclass(frozen=True)
class PictureCodec:
    """steps: qualities 0 .. steps - 1, more bytes with each. chromas: what it has. code: pixels [S, S, 3] uint8,
    chroma, step -> streams (the smallest is taken). split, join: see picture_headers. decode: stream, side, chroma ->
    pixels."""

    name: str
    steps: int
    chromas: tuple[str, ...]
    code: Callable[[np.ndarray, str, int], list[bytes]]
    split: Callable[[bytes], tuple[bytes, bytes]]
    join: Callable[[bytes, bytes], bytes]
    decode: Callable[[bytes, int, str], np.ndarray]


# -- planes -----------------------------------------------------------------------------------------------------------


def to_planes(pixels: np.ndarray, chroma: str, bits: int) -> bytes:
    """[S, S, 3] uint8 sRGB to raw Y, Cb, Cr planes (BT.601, full range; little-endian 16-bit words beyond 8 bits)."""
    red, green, blue = np.moveaxis(pixels.astype(np.float64) / 255, -1, 0)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    planes = [luma, (blue - luma) / 1.772, (red - luma) / 1.402]
    if chroma == HALF_CHROMA:
        planes[1:] = [p.reshape(len(p) // 2, 2, -1, 2).mean((1, 3)) for p in planes[1:]]
    top, middle = 2**bits - 1, 2 ** (bits - 1)
    words = [np.clip(np.round(p * top + (middle if i else 0)), 0, top) for i, p in enumerate(planes)]
    return b"".join(w.astype("<u2" if bits > 8 else np.uint8).tobytes() for w in words)


def from_planes(data: bytes, side: int, chroma: str, bits: int) -> np.ndarray:
    """Inverse of `to_planes`; chroma is enlarged bilinearly. SomacastError for another number of bytes."""
    from PIL import Image

    words = np.frombuffer(data, "<u2" if bits > 8 else np.uint8).astype(np.float32)
    small = side // 2 if chroma == HALF_CHROMA else side
    if len(words) != side**2 + 2 * small**2:
        raise SomacastError(f"expected the planes of a picture of {side} px, got {len(data)} bytes")
    top, middle = 2**bits - 1, 2 ** (bits - 1)
    luma = words[: side**2].reshape(side, side) / top
    blue, red = ((words[side**2 :] - middle) / top).reshape(2, small, small)
    if small != side:
        blue, red = (
            np.asarray(Image.fromarray(p).resize((side, side), Image.Resampling.BILINEAR)) for p in (blue, red)
        )
    r, b = luma + 1.402 * red, luma + 1.772 * blue
    g = (luma - 0.299 * r - 0.114 * b) / 0.587
    return np.round(np.clip(np.stack([r, g, b], -1), 0, 1) * 255).astype(np.uint8)


# -- the codecs -------------------------------------------------------------------------------------------------------


def _ffmpeg(arguments: list[str], data: bytes) -> bytes:
    """Standard output of imageio-ffmpeg's program for `data` on its standard input."""
    require("imageio_ffmpeg", "coding pictures by x265, SVT-AV1 and VVC")
    import imageio_ffmpeg

    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-loglevel", "error", "-threads", "1", *arguments]
    try:
        done = subprocess.run([*command, "pipe:1"], input=data, capture_output=True, timeout=_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as fault:
        raise SomacastError(f"ffmpeg did not come to an end: {fault}") from fault
    if done.returncode or not done.stdout:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        raise SomacastError(f"ffmpeg failed with code {done.returncode}: {lines[-1]}")
    return done.stdout


def _video(codec: list[str], steps: int, option: str) -> Callable[[np.ndarray, str, int], list[bytes]]:
    """One picture through an encoder of ffmpeg, 10 bits deep; `option` holds the place of the quantiser."""

    def code(pixels: np.ndarray, chroma: str, step: int) -> list[bytes]:
        side = len(pixels)
        raw = ["-f", "rawvideo", "-pix_fmt", f"yuv{chroma}p10le", "-s", f"{side}x{side}", "-i", "pipe:0"]
        quantiser = str(steps - 1 - step)
        chosen = [part.replace("{}", quantiser) for part in (*codec, *option.split())]
        return [_ffmpeg([*raw, "-frames:v", "1", *chosen], to_planes(pixels, chroma, 10))]

    return code


def _planes_of(container: str, bits: int) -> Callable[[bytes, int, str], np.ndarray]:
    def decode(stream: bytes, side: int, chroma: str) -> np.ndarray:
        pixel = f"yuv{chroma}p" + ("10le" if bits == 10 else "")
        limit = ["-max_pixels", str(_MAX_PIXELS)]
        raw = _ffmpeg(
            [*limit, "-f", container, "-i", "pipe:0", "-frames:v", "1", "-f", "rawvideo", "-pix_fmt", pixel], stream
        )
        return from_planes(raw, side, chroma, bits)

    return decode


def _saved(pixels: np.ndarray, kind: str, **options: Any) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def _opened(stream: bytes, side: int, chroma: str) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(stream)) as image:
            if image.size != (side, side):  # before anything is decoded
                raise SomacastError(f"expected a picture of {side} px, got {image.width} x {image.height}")
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError) as fault:  # what Pillow's readers raise
        raise fault if isinstance(fault, SomacastError) else SomacastError(f"damaged picture: {fault}") from fault


def _jpeg(pixels: np.ndarray, chroma: str, step: int) -> list[bytes]:
    """With the standard Huffman tables, which need not be sent, and with tables of its own, which must be."""
    options = {"quality": step + 1, "subsampling": 2 if chroma == HALF_CHROMA else 0}
    return [_saved(pixels, "JPEG", **options), _saved(pixels, "JPEG", optimize=True, **options)]


def _jpeg_split(stream: bytes) -> tuple[bytes, bytes]:
    headers, payload = strip.split_jpeg(stream, own_tables=False)
    # What Pillow writes without `optimize` are the tables of the standard's annex K.
    return (headers, payload) if _standard_tables(headers) else strip.split_jpeg(stream, own_tables=True)


@lru_cache(maxsize=1)
def _annex_k() -> frozenset[bytes]:
    plain = strip.split_jpeg(_saved(np.zeros((16, 16, 3), np.uint8), "JPEG"), own_tables=False)[0]
    return frozenset(part for marker, part in strip._segments(plain, 2) if marker == strip._JPEG_TABLES)


def _standard_tables(headers: bytes) -> bool:
    return {p for marker, p in strip._segments(headers, 2) if marker == strip._JPEG_TABLES} <= _annex_k()


def _webp(pixels: np.ndarray, chroma: str, step: int) -> list[bytes]:
    return [_saved(pixels, "WEBP", quality=step, method=6)]


def _avif(pixels: np.ndarray, chroma: str, step: int) -> list[bytes]:
    # 64 quantisers stand behind the qualities 0 to 100; a step is one of them
    options: dict[str, Any] = {"speed": 0, "max_threads": 1, "range": "full", "advanced": {"tune": "psnr"}}
    subsampling = "4:2:0" if chroma == HALF_CHROMA else "4:4:4"
    return [_saved(pixels, "AVIF", quality=round(step * 100 / 63), subsampling=subsampling, **options)]


_BOTH, _HALF = (FULL_CHROMA, HALF_CHROMA), (HALF_CHROMA,)
_X265 = ["-c:v", "libx265", "-preset", "placebo", "-tune", "psnr", "-f", "hevc", "-x265-params"]
_SVT = ["-c:v", "libsvtav1", "-preset", "-1", "-f", "obu"]
_VVC = ["-c:v", "libvvenc", "-preset", "slow", "-qpa", "0", "-f", "vvc", "-qp"]
PICTURE_CODECS = {
    codec.name: codec
    for codec in (
        PictureCodec("jpeg", 95, _BOTH, _jpeg, _jpeg_split, strip.join_jpeg, _opened),
        PictureCodec("webp", 101, _HALF, _webp, strip.split_webp, strip.join_webp, _opened),
        PictureCodec("avif", 64, _BOTH, _avif, strip.split_avif, strip.join_av1, _planes_of("obu", 8)),
        PictureCodec(
            "x265", 52, _BOTH, _video(_X265, 52, "qp={}:keyint=1:info=0:pools=none:frame-threads=1:log-level=error"),
            strip.split_hevc, strip.join_units, _planes_of("hevc", 10),
        ),
        PictureCodec(
            "svt_av1", 64, _HALF, _video(_SVT, 64, "-qp {} -svtav1-params lp=1:tune=1:avif=1"),
            strip.split_av1, strip.join_av1, _planes_of("obu", 10),
        ),
        PictureCodec(
            "vvc", 64, _HALF, _video(_VVC, 64, "{}"), strip.split_vvc, strip.join_units, _planes_of("vvc", 10)
        ),
    )
}  # fmt: skip


def check_codec(name: str) -> None:
    """SomacastError if this installation's Pillow lacks the codec."""
    from PIL import features

    if name in ("avif", "webp") and not features.check(name):
        raise SomacastError(f"{name}: this build of Pillow has no {name.upper()}; expected Pillow 11.3 or newer")


# -- files ------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=2048)
def known_headers(name: str, side: int, chroma: str, step: int) -> bytes:
    """What the receiver puts before a payload: the headers of a grey picture coded with the same settings."""
    codec = PICTURE_CODECS[name]
    grey = np.full((side, side, 3), 128, np.uint8)
    # Only JPEG's headers depend on the quality: its quantiser tables.
    return codec.split(codec.code(grey, chroma, step if name == "jpeg" else codec.steps // 2)[0])[0]


def encode_picture(name: str, pixels: np.ndarray, chroma: str, step: int) -> bytes:
    """The file of a square picture [S, S, 3] uint8 with S in SIDES_PX, at quality `step` (0 is the lowest).

    SomacastError for an unknown codec, side, chroma or step, and if the codec itself fails.
    """
    codec, side = _codec(name), len(pixels)
    if pixels.shape != (side, side, 3) or pixels.dtype != np.uint8 or side not in SIDES_PX:
        raise SomacastError(f"expected a uint8 picture with a side of {SIDES_PX}, got {pixels.shape} {pixels.dtype}")
    if chroma not in codec.chromas or not 0 <= step < codec.steps:
        raise SomacastError(f"{name}: expected chroma {codec.chromas} and step 0 .. {codec.steps - 1}")
    files = []
    for stream in codec.code(pixels, chroma, step):
        flags = SIDES_PX.index(side) | (8 if chroma == FULL_CHROMA else 0)
        headers, payload = codec.split(stream)
        if not _same_picture_headers(name, headers, known_headers(name, side, chroma, step)):
            flags, payload = flags | _WHOLE, codec.join(headers, payload)
        files.append(bytes([flags, step]) + payload)
    return min(files, key=len)


def _same_picture_headers(name: str, headers: bytes, known: bytes) -> bool:
    if name != "jpeg":
        return headers == known
    without = [
        [p for m, p in strip._segments(h, 2) if m != strip._JPEG_TABLES] for h in (headers, known)
    ]  # tables that are not the standard ones stand in the payload
    return without[0] == without[1]


def decode_picture(name: str, data: bytes) -> np.ndarray:
    """The picture [S, S, 3] uint8 in a file of `encode_picture`; SomacastError if it is none."""
    codec = _codec(name)
    if len(data) <= SETTING_BYTES or data[0] >= 0x20 or data[1] >= codec.steps:
        raise SomacastError(f"{name}: expected a picture of this codec, got {len(data)} bytes")
    flags, step = data[0], data[1]
    side, chroma = SIDES_PX[flags & 7], FULL_CHROMA if flags & 8 else HALF_CHROMA
    stream = data[SETTING_BYTES:]
    if not flags & _WHOLE:
        stream = codec.join(known_headers(name, side, chroma, step), stream)
    return codec.decode(stream, side, chroma)


def setting_of(data: bytes) -> str:
    """What the two bytes of settings say, for people."""
    chroma = "4:4:4" if data[0] & 8 else "4:2:0"
    return f"{SIDES_PX[data[0] & 7]} px, {chroma}, step {data[1]}"


def parse_setting(text: str) -> tuple[int, str, int]:
    """Side, chroma ("444", "420") and step out of what `setting_of` said; ValueError for anything else."""
    found = re.fullmatch(r"(\d+) px, (4:4:4|4:2:0), step (\d+)", text)
    if found is None:
        raise ValueError(f"expected a setting such as '96 px, 4:2:0, step 12', got {text!r}")
    return int(found[1]), found[2].replace(":", ""), int(found[3])


def _codec(name: str) -> PictureCodec:
    if name not in PICTURE_CODECS:
        raise SomacastError(f"picture codec {name!r}: expected one of {', '.join(PICTURE_CODECS)}")
    return PICTURE_CODECS[name]
