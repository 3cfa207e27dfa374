"""Coded pictures without what a private container would not send: what sender and receiver both know is cut off.

Every pair `split_*`, `join_*` works on whole streams: `split(stream)` gives (headers, payload), and
`join(headers, payload)` a stream that decodes to the same picture. Headers that depend on the settings alone can be
made again by the receiver, from any picture that is coded with the same settings. SomacastError for a stream of another
make.
"""

from __future__ import annotations

import re

from somacast.errors import SomacastError

START_CODE = b"\0\0\1"
_RIFF_BYTES, _CHUNK_BYTES = 12, 8
_AV1_SEQUENCE, _AV1_FRAME = 1, 6
_AV1_IDLE = (2, 5, 15)  # temporal delimiter, metadata, padding
_JPEG_TABLES, _JPEG_SCAN = 0xC4, 0xDA
# Types of NAL units: parameter sets, and what no decoder needs (access unit delimiter, SEI).
_HEVC_SETS, _HEVC_IDLE = (32, 33, 34), (35, 39, 40)
_VVC_SETS, _VVC_IDLE = (14, 15, 16), (12, 13, 20, 23, 24)


# -- JPEG -------------------------------------------------------------------------------------------------------------


def _segments(data: bytes, start: int) -> list[tuple[int, bytes]]:
    """Marker segments from `start` up to the scan's own, as (marker, bytes with marker and length)."""
    found = []
    while start + 4 <= len(data) and data[start] == 0xFF:
        marker, length = data[start + 1], int.from_bytes(data[start + 2 : start + 4], "big")
        found.append((marker, data[start : start + 2 + length]))
        start += 2 + length
        if marker == _JPEG_SCAN:
            break
    return found


def split_jpeg(data: bytes, own_tables: bool) -> tuple[bytes, bytes]:
    """Headers are all segments but APPn and comments; the payload is the scan, after the file's own Huffman tables if
    they are not the standard ones (a scan never begins with the mark of a table)."""
    if data[:2] != b"\xff\xd8" or data[-2:] != b"\xff\xd9":
        raise SomacastError("expected a JPEG file")
    segments = _segments(data, 2)
    if not segments or segments[-1][0] != _JPEG_SCAN:
        raise SomacastError("expected a JPEG file of one scan")
    scan = data[2 + sum(len(part) for _, part in segments) : -2]
    kept = [(marker, part) for marker, part in segments if not (0xE0 <= marker <= 0xEF or marker == 0xFE)]
    tables = b"".join(part for marker, part in kept if marker == _JPEG_TABLES) if own_tables else b""
    return b"\xff\xd8" + b"".join(part for _, part in kept), tables + scan


def join_jpeg(headers: bytes, payload: bytes) -> bytes:
    """Headers of a file with standard tables; tables at the start of the payload take their place."""
    own = b""
    while payload[:2] == bytes((0xFF, _JPEG_TABLES)):
        length = 2 + int.from_bytes(payload[2:4], "big")
        own, payload = own + payload[:length], payload[length:]
    if own:
        segments = _segments(headers, 2)
        kept = [part for marker, part in segments if marker != _JPEG_TABLES]
        headers = b"\xff\xd8" + b"".join([*kept[:-1], own, kept[-1]])
    return headers + payload + b"\xff\xd9"


# -- WebP -------------------------------------------------------------------------------------------------------------


def split_webp(data: bytes) -> tuple[bytes, bytes]:
    """The payload is the VP8 frame; headers are its start code and its two lengths. RIFF is left out altogether."""
    start = _RIFF_BYTES
    while start + _CHUNK_BYTES <= len(data):
        length = int.from_bytes(data[start + 4 : start + 8], "little")
        body = data[start + _CHUNK_BYTES : start + _CHUNK_BYTES + length]
        if data[start : start + 4] == b"VP8 " and body[3:6] == b"\x9d\x01\x2a":
            return body[3:10], body[:3] + body[10:]
        start += _CHUNK_BYTES + length + length % 2
    raise SomacastError("expected a lossy WebP file")


def join_webp(headers: bytes, payload: bytes) -> bytes:
    """Inverse of `split_webp`."""
    body = payload[:3] + headers + payload[3:]
    chunk = b"VP8 " + len(body).to_bytes(4, "little") + body + b"\0" * (len(body) % 2)
    return b"RIFF" + (4 + len(chunk)).to_bytes(4, "little") + b"WEBP" + chunk


# -- AV1 --------------------------------------------------------------------------------------------------------------


def _leb128(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _obus(data: bytes) -> list[tuple[int, bytes]]:
    """Type and content of every OBU of a low-overhead stream."""
    found, place = [], 0
    while place < len(data):
        head = data[place]
        place += 1 + (head >> 2 & 1)
        if not head & 2:
            raise SomacastError("expected AV1 units that state their size")
        size = shift = 0
        while True:
            if place >= len(data):
                raise SomacastError("expected whole AV1 units")
            byte = data[place]
            size |= (byte & 0x7F) << shift
            place, shift = place + 1, shift + 7
            if not byte & 0x80:
                break
        found.append((head >> 3 & 15, data[place : place + size]))
        place += size
    return found


def split_av1(data: bytes) -> tuple[bytes, bytes]:
    """Headers are the sequence header's content; the payload is the content of the only frame unit."""
    units = [(kind, body) for kind, body in _obus(data) if kind not in _AV1_IDLE]
    if [kind for kind, _ in units] != [_AV1_SEQUENCE, _AV1_FRAME]:
        raise SomacastError(f"expected one AV1 sequence header and one frame, got units {[k for k, _ in units]}")
    return units[0][1], units[1][1]


def join_av1(headers: bytes, payload: bytes) -> bytes:
    """A low-overhead stream of temporal delimiter, sequence header and frame."""
    return obu(2, b"") + obu(_AV1_SEQUENCE, headers) + obu(_AV1_FRAME, payload)


def obu(kind: int, body: bytes) -> bytes:
    """An AV1 unit of a type that states its size."""
    return bytes([kind << 3 | 2]) + _leb128(len(body)) + body


def split_avif(data: bytes) -> tuple[bytes, bytes]:
    """`split_av1` of what stands in the media data box of an AVIF file."""
    start = 0
    while start + 8 <= len(data):
        length = int.from_bytes(data[start : start + 4], "big") or len(data) - start
        if data[start + 4 : start + 8] == b"mdat":
            return split_av1(data[start + 8 : start + length])
        if length < 8:
            break
        start += length
    raise SomacastError("expected an AVIF file with media data")


# -- HEVC and VVC -----------------------------------------------------------------------------------------------------


def _units(data: bytes) -> list[bytes]:
    """NAL units of an Annex B stream."""
    return [unit for unit in re.split(rb"\x00\x00\x00?\x01", data) if unit]


def _split_units(data: bytes, sets: tuple[int, ...], kinds: list[int], idle: tuple[int, ...]) -> tuple[bytes, bytes]:
    units = list(zip(kinds, _units(data), strict=True))
    headers = [unit for kind, unit in units if kind in sets]
    rest = [unit for kind, unit in units if kind not in sets and kind not in idle]
    if not headers or not rest or len(rest[-1]) < 3:
        raise SomacastError("expected parameter sets and a coded picture")
    # The two bytes that open the last unit, the picture itself, are known too; units before it keep theirs.
    return START_CODE.join([*headers, rest[-1][:2]]), START_CODE.join([*rest[:-1], rest[-1][2:]])


def split_hevc(data: bytes) -> tuple[bytes, bytes]:
    """Headers are VPS, SPS and PPS; the payload is the slice. SEI and delimiters are left out."""
    return _split_units(data, _HEVC_SETS, [unit[0] >> 1 & 63 for unit in _units(data)], _HEVC_IDLE)


def split_vvc(data: bytes) -> tuple[bytes, bytes]:
    """Headers are VPS, SPS and PPS; the payload is the slice, after its adaptation sets if there are any."""
    return _split_units(data, _VVC_SETS, [unit[1] >> 3 for unit in _units(data)], _VVC_IDLE)


def join_units(headers: bytes, payload: bytes) -> bytes:
    """Inverse of `split_hevc` and `split_vvc`: an Annex B stream."""
    *sets, opening = headers.split(START_CODE)
    *before, picture = payload.split(START_CODE)
    return b"".join(b"\0" + START_CODE + unit for unit in [*sets, *before, opening + picture])
