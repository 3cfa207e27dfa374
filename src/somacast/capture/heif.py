"""HEIC pictures, as phones write them: the boxes of ISO 23008-12 are read here, the tiles decoded by FFmpeg (PyAV).

    read_heif(data, name) -> HeifPicture

A picture is one item, or a grid of tiles; it may be turned, mirrored and cut, name its colours and have its
transparency beside it. Thumbnails, depth and gain maps are passed over.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from somacast.capture.frames import ColorSpace, Upright, to_srgb
from somacast.errors import SomacastError
from somacast.extras import require

_CODECS = {b"hvc1": ("hevc", b"hvcC"), b"av01": ("av1", b"av1C")}
_ALPHA = (b"urn:mpeg:hevc:2015:auxid:1", b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha")
MAX_TILES = 1024


class HeifPicture(NamedTuple):
    """image [H, W, 3] uint8, upright: sRGB, or as `profile` (ICC) says; alpha [H, W] uint8 or None; turned: whether the
    stored picture lay otherwise."""

    image: np.ndarray
    alpha: np.ndarray | None
    profile: bytes | None
    turned: bool


class _Bad(ValueError):
    """What is in the file cannot be, or is not known here."""


class _Box(NamedTuple):
    kind: bytes
    body: memoryview


def _boxes(data: memoryview) -> Iterator[_Box]:
    at = 0
    while at + 8 <= len(data):
        length, kind = int.from_bytes(data[at : at + 4], "big"), bytes(data[at + 4 : at + 8])
        head = 8
        if length == 1:
            length, head = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        length = length or len(data) - at
        if length < head or at + length > len(data):
            raise _Bad(f"box {kind!r} goes beyond the end")
        yield _Box(kind, data[at + head : at + length])
        at += length


class _Reader:
    """Big-endian numbers one after the other."""

    def __init__(self, data: memoryview):
        self.data, self.at = data, 0

    def number(self, size: int) -> int:
        if self.at + size > len(self.data):
            raise _Bad("a box is too short")
        self.at += size
        return int.from_bytes(self.data[self.at - size : self.at], "big")

    def full(self) -> tuple[int, int]:
        """Version and flags of a box."""
        return self.number(1), self.number(3)


@dataclass
class _Item:
    kind: bytes = b""
    extents: list[tuple[int, int]] = field(default_factory=list)
    in_idat: bool = False
    properties: list[_Box] = field(default_factory=list)

    def all(self, kind: bytes) -> list[memoryview]:
        """Properties of one kind."""
        return [box.body for box in self.properties if box.kind == kind]


class _File:
    """What the boxes say: items by number, references by kind, and the number of the picture itself."""

    def __init__(self, data: bytes):
        self.data = memoryview(data)
        self.items: dict[int, _Item] = {}
        self.references: dict[bytes, list[tuple[int, list[int]]]] = {}
        self.idat = memoryview(b"")
        self.primary = 0
        meta = next((box.body for box in _boxes(self.data) if box.kind == b"meta"), None)
        if meta is None:
            raise _Bad("no index of pictures")
        for kind, body in _boxes(meta[4:]):
            reader = getattr(self, f"_read_{kind.decode('latin-1')}", None)
            if reader is not None:
                reader(body)
        if self.primary not in self.items:
            raise _Bad("no main picture")

    def _item(self, number: int) -> _Item:
        return self.items.setdefault(number, _Item())

    def _read_pitm(self, body: memoryview) -> None:
        reader = _Reader(body)
        self.primary = reader.number(4 if reader.full()[0] else 2)

    def _read_idat(self, body: memoryview) -> None:
        self.idat = body

    def _read_iinf(self, body: memoryview) -> None:
        reader = _Reader(body)
        reader.number(4 if reader.full()[0] else 2)
        for kind, entry in _boxes(body[reader.at :]):
            if kind == b"infe" and entry[0] >= 2:
                inner = _Reader(entry)
                number = inner.number(2 if inner.full()[0] == 2 else 4)
                inner.number(2)
                self._item(number).kind = inner.number(4).to_bytes(4, "big")

    def _read_iref(self, body: memoryview) -> None:
        size = 4 if body[0] else 2
        for kind, entry in _boxes(body[4:]):
            reader = _Reader(entry)
            source = reader.number(size)
            targets = [reader.number(size) for _ in range(reader.number(2))]
            self.references.setdefault(kind, []).append((source, targets))

    def _read_iloc(self, body: memoryview) -> None:
        reader = _Reader(body)
        version, _ = reader.full()
        sizes = reader.number(2)
        offset_size, length_size, base_size, index_size = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
        for _ in range(reader.number(4 if version == 2 else 2)):
            item = self._item(reader.number(4 if version == 2 else 2))
            method = reader.number(2) & 15 if version else 0
            if method > 1:
                raise _Bad("a picture that is stored in another one")
            item.in_idat = method == 1
            reader.number(2)
            base = reader.number(base_size)
            for _ in range(reader.number(2)):
                if version:
                    reader.number(index_size)
                offset = base + reader.number(offset_size)
                item.extents.append((offset, reader.number(length_size)))

    def _read_iprp(self, body: memoryview) -> None:
        boxes = list(_boxes(body))
        known = [one for kind, inner in boxes if kind == b"ipco" for one in _boxes(inner)]
        for kind, inner in boxes:
            if kind != b"ipma":
                continue
            reader = _Reader(inner)
            version, flags = reader.full()
            wide = 2 if flags & 1 else 1
            for _ in range(reader.number(4)):
                item = self._item(reader.number(4 if version else 2))
                for _ in range(reader.number(1)):
                    index = reader.number(wide) & (1 << 8 * wide - 1) - 1
                    if index > len(known):
                        raise _Bad("a property that is not there")
                    if index:
                        item.properties.append(known[index - 1])

    def bytes_of(self, number: int) -> bytes:
        """What an item holds."""
        item = self._item(number)
        store = self.idat if item.in_idat else self.data
        parts = []
        for offset, length in item.extents:
            length = length or len(store) - offset
            if offset + length > len(store):
                raise _Bad("the file ends before its pictures do")
            parts.append(bytes(store[offset : offset + length]))
        return b"".join(parts)

    def parts_of(self, number: int) -> list[int]:
        """Items that an item is made of."""
        return next((targets for source, targets in self.references.get(b"dimg", []) if source == number), [])

    def alpha_of(self, number: int) -> int | None:
        """The item that holds the transparency of another."""
        for source, targets in self.references.get(b"auxl", []):
            says = [bytes(body[4:]).split(b"\0")[0] for body in self._item(source).all(b"auxC")]
            if number in targets and any(one in _ALPHA for one in says):
                return source
        return None


def heif_size(data: bytes, name: str) -> tuple[int, int]:
    """Width and height as stored, before anything is decoded; SomacastError for a damaged file."""
    try:
        file = _File(data)
        return _size(file.items[file.primary])
    except (_Bad, struct.error, IndexError) as fault:
        raise SomacastError(f"{name}: the picture is damaged or cut short ({fault})") from fault


def read_heif(data: bytes, name: str) -> HeifPicture:
    """The main picture of a HEIC file. SomacastError for a damaged one, for kinds that are not known here, and without
    PyAV; `heif_size` first says how much it will be."""
    require("av", "HEIC pictures")
    from av.error import FFmpegError

    try:
        file = _File(data)
        item = file.items[file.primary]
        profile = next((bytes(b[4:]) for b in item.all(b"colr") if bytes(b[:4]) in (b"prof", b"rICC")), None)
        image = _pixels(file, file.primary, _color_space(item))
        alpha_item = file.alpha_of(file.primary)
        alpha = None if alpha_item is None else _pixels(file, alpha_item, ColorSpace())[..., 0]
        image, turned = _transformed(item, image)
        alpha = None if alpha is None else _transformed(item, alpha)[0]
        if alpha is not None and alpha.shape != image.shape[:2]:
            alpha = None
        return HeifPicture(image, alpha, profile, turned)
    except (_Bad, struct.error, IndexError, ValueError, FFmpegError) as fault:
        raise SomacastError(f"{name}: the HEIC picture is damaged, cut short or of a rare kind ({fault})") from fault


def _size(item: _Item) -> tuple[int, int]:
    sizes = item.all(b"ispe")
    if not sizes:
        raise _Bad("a picture without a size")
    return struct.unpack(">II", sizes[0][4:12])


def _color_space(item: _Item) -> ColorSpace:
    for body in item.all(b"colr"):
        if bytes(body[:4]) == b"nclx":
            return ColorSpace(*struct.unpack(">HHH", body[4:10]))
    return ColorSpace()


def _pixels(file: _File, number: int, space: ColorSpace) -> np.ndarray:
    """An item's picture as it is stored, [H, W, 3] uint8."""
    item = file.items[number]
    width, height = _size(item)
    if item.kind == b"iden":
        return _pixels(file, file.parts_of(number)[0], space)
    if item.kind != b"grid":
        return _tiles(file, [number], space)[0][:height, :width]
    reader = _Reader(memoryview(file.bytes_of(number)))
    _, flags = reader.number(1), reader.number(1)
    rows, columns = reader.number(1) + 1, reader.number(1) + 1
    wide = 4 if flags & 1 else 2
    width, height = reader.number(wide), reader.number(wide)
    parts = file.parts_of(number)
    if len(parts) != rows * columns or len(parts) > MAX_TILES:
        raise _Bad(f"{len(parts)} tiles for {columns} x {rows}")
    tiles = _tiles(file, parts, space)
    if any(tile.shape != tiles[0].shape for tile in tiles):
        raise _Bad("tiles of several sizes")
    whole = np.concatenate([np.concatenate(tiles[k * columns : (k + 1) * columns], 1) for k in range(rows)])
    if whole.shape[0] < height or whole.shape[1] < width:
        raise _Bad("tiles that do not fill the picture")
    return whole[:height, :width]


def _tiles(file: _File, numbers: list[int], space: ColorSpace) -> list[np.ndarray]:
    """Decoded items, one after the other by one decoder where they share its settings."""
    import av

    out: list[np.ndarray] = []
    codec: Any = None
    settings = b""
    for number in numbers:
        item = file._item(number)
        if item.kind not in _CODECS:
            raise _Bad(f"a picture of kind {item.kind.decode('latin-1')!r}")
        name, box = _CODECS[item.kind]
        own = bytes(next(iter(item.all(box)), b""))
        if codec is None or own != settings:
            codec, settings = av.CodecContext.create(name, "r"), own
            codec.extradata = own
            codec.thread_type = "SLICE"  # a frame comes out for each that goes in
        frames = codec.decode(av.Packet(file.bytes_of(number)))
        if not frames:
            frames, codec = codec.decode(None), None
        if not frames:
            raise _Bad("a tile that cannot be decoded")
        frame = frames[0]
        out.append(to_srgb(frame, (frame.width, frame.height), _or_of_stream(space, codec)))
    return out


def _or_of_stream(space: ColorSpace, codec: Any) -> ColorSpace:
    """What the file says, or else the stream inside it."""
    if space != ColorSpace() or codec is None:
        return space
    return ColorSpace(codec.color_primaries, codec.color_trc, codec.colorspace)


def _transformed(item: _Item, image: np.ndarray) -> tuple[np.ndarray, bool]:
    """Cut, turned and mirrored, in the order of the file; and whether it was turned."""
    upright = Upright()
    for kind, body in item.properties:
        if kind == b"clap":
            image = _cut(image, body)
        elif kind == b"irot":
            upright = upright.then(Upright(body[0] & 3))
        elif kind == b"imir":  # axis 1: left and right change places; 0: above and below
            upright = upright.then(Upright(0, True) if body[0] & 1 else Upright(2, True))
    return upright(image), upright != Upright()


def _cut(image: np.ndarray, body: memoryview) -> np.ndarray:
    """The clean aperture: width, height and offsets of the centre, as fractions."""
    values = struct.unpack(">IIIIiIiI", body[:32])
    if 0 in values[1::2]:
        raise _Bad("a cut without a size")
    width, height, x, y = (values[k] / values[k + 1] for k in (0, 2, 4, 6))
    left, top = round((image.shape[1] - width) / 2 + x), round((image.shape[0] - height) / 2 + y)
    part = image[max(0, top) : top + round(height), max(0, left) : left + round(width)]
    if not part.size:
        raise _Bad("a cut beside the picture")
    return part
