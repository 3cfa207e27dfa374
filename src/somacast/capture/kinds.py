"""What a file is, told by its bytes and not by its name: a picture, a picture that moves, a film, or none of them."""

from __future__ import annotations

import mimetypes
import os
from enum import Enum
from pathlib import Path
from typing import Any

# Only raster formats with decoders of their own: no EPS or PDF, which would start another program.
PICTURE_FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "TIFF", "BMP", "GIF", "JPEG2000", "PPM", "TGA")
PICTURES = "JPEG, PNG, WebP, AVIF, HEIC, TIFF, BMP, GIF, JPEG 2000, PPM or TGA"
FILMS = "MP4, MOV, 3GP, WebM, MKV, AVI, MPEG, MTS, OGG, FLV, ASF, WMV or GIF"
FOR_FILMS = "`somacast encode FILM -o FILE.soma`, or somacast.pipeline.video.files.encode_video"
SOMA_MAGIC = b"\x9eS"
_ANIMATED = ("GIF", "PNG", "WEBP", "AVIF")
_HEIF = (b"heic", b"heix", b"heim", b"heis", b"mif1", b"mif2")
_HEIF_SEQUENCES = (b"hevc", b"hevx", b"hevm", b"hevs", b"msf1")
_AVIF = (b"avif", b"avis")
_FILM_STARTS = (
    b"\x1aE\xdf\xa3", b"FLV", b"OggS", b"DKIF", b"YUV4MPEG2", b"\x00\x00\x01\xba", b"\x00\x00\x01\xb3",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", b"\x06\x0e\x2b\x34\x02\x05\x01\x01", b"\x1f\x07\x00",
)  # fmt: skip
_MOV_ATOMS = (b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
_HEAD_BYTES = 1024
_MOTION_JPEG_BYTES = 16_000_000  # in which a second and third picture must follow the first
_JPEG, _NEXT_JPEG = b"\xff\xd8\xff", b"\xff\xd9\xff\xd8\xff"


class Kind(Enum):
    """HEIC: a picture that FFmpeg decodes; ANIMATION: a GIF, PNG, WebP or AVIF of several frames; UNKNOWN: nothing that
    the first bytes tell, which raw video streams and TGA pictures are too."""

    PICTURE = "picture"
    HEIC = "picture of HEIC"
    ANIMATION = "picture that moves"
    FILM = "film"
    UNKNOWN = "unknown"


def kind_of(path: str | Path) -> Kind:
    """What a file is, by its first bytes; UNKNOWN too for what cannot be read, whose reader says why."""
    try:
        if not os.path.isfile(path):
            return Kind.UNKNOWN
        with open(path, "rb") as file:
            head = file.read(_HEAD_BYTES)
    except (OSError, ValueError):
        return Kind.UNKNOWN
    if head[4:8] == b"ftyp":
        return _of_brands(path, head)
    if head.startswith(_JPEG):
        return Kind.FILM if _is_motion_jpeg(path) else Kind.PICTURE
    if head.startswith(_FILM_STARTS) or head[4:8] in _MOV_ATOMS or _is_transport_stream(head):
        return Kind.FILM
    if head[:4] == b"RIFF" and head[8:12] in (b"AVI ", b"AVIX"):
        return Kind.FILM
    return _of_pillow(path)


def holds_film(path: str | Path) -> bool:
    """Whether a file is a film or a picture that moves; False for one that cannot be read."""
    kind = kind_of(path)
    return kind in (Kind.FILM, Kind.ANIMATION) or (kind is Kind.UNKNOWN and os.path.isfile(path) and _opens(path))


def named_so(path: str | Path) -> bool:
    """Whether a file has the name of a picture or a film, whatever is in it."""
    from PIL import Image

    suffix = os.path.splitext(path)[1].lower()
    kind = mimetypes.guess_type(f"name{suffix}")[0] or ""
    return Image.registered_extensions().get(suffix) in PICTURE_FORMATS or kind.startswith("video/")


def _of_brands(path: str | Path, head: bytes) -> Kind:
    """Of a file of the ISO family, by the brands that it names first of all."""
    length = min(int.from_bytes(head[:4], "big"), len(head))
    brand, others = head[8:12], {head[k : k + 4] for k in range(16, length - 3, 4)}
    if brand in _AVIF or (brand in _HEIF + _HEIF_SEQUENCES and others & set(_AVIF)):
        return _of_pillow(path)
    if brand in _HEIF_SEQUENCES:
        return Kind.FILM
    return Kind.HEIC if brand in _HEIF else Kind.FILM


def _is_transport_stream(head: bytes) -> bool:
    """MPEG-TS: a sync byte every 188 bytes, or every 192 after a time of four bytes, as camcorders (.mts) write."""
    return any(all(head[k : k + 1] == b"G" for k in range(start, 800, step)) for start, step in ((0, 188), (4, 192)))


def _is_motion_jpeg(path: str | Path) -> bool:
    """Whether one JPEG follows the other; those that say so themselves (MPF: views, gain maps) are one picture."""
    with open(path, "rb") as file:
        data = file.read(_MOTION_JPEG_BYTES)
    return data.count(_NEXT_JPEG) >= 2 and b"MPF\x00" not in data[:65536]


def _of_pillow(path: str | Path) -> Kind:
    """Of what Pillow knows."""
    from PIL import Image

    try:
        with Image.open(path, formats=PICTURE_FORMATS) as image:
            if image.format == "TGA":  # has no mark of its own: a film may look like one
                return Kind.UNKNOWN
            found: Any = image
            moves = image.format in _ANIMATED and getattr(found, "is_animated", False)
            return Kind.ANIMATION if moves else Kind.PICTURE
    except Image.DecompressionBombError:
        return Kind.PICTURE
    except Exception:  # foreign bytes fail in many ways; whoever reads the picture says how
        return _by_mark(path)


_MARKS = (b"\x89PNG", b"GIF8", b"BM", b"II*\x00", b"MM\x00*", b"\x00\x00\x00\x0cjP", b"\xff\x4f\xff\x51", b"RIFF")


def _by_mark(path: str | Path) -> Kind:
    """A damaged picture is still one."""
    with open(path, "rb") as file:
        return Kind.PICTURE if file.read(16).startswith(_MARKS) else Kind.UNKNOWN


def _opens(path: str | Path) -> bool:
    """Whether FFmpeg finds a film in bytes that have no mark of their own."""
    from somacast.capture.video import open_video
    from somacast.errors import SomacastError

    try:
        open_video(path).close()
    except SomacastError:
        return False
    return True
