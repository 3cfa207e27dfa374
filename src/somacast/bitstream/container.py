"""The .soma container: layers of bytes <-> one file. No I/O, no torch; the layout is written down in FORMAT.md.

magic | version and layer count | system | weights digest | [name] | [count] | lengths | CRC | layer 0
| layer 1 | CRC | layer 2 | CRC ...

Each check covers all that stands before it, so that a layer belongs to the layers that it refines. What layers hold is
the system's business. Files of version 4, whose layers are checked one by one, and of version 2 open too: a byte of the
header of the latter begins layer 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import google_crc32c

from somacast.bitstream.systems import read_system, system_bytes
from somacast.errors import BitstreamError, SomacastError
from somacast.types import Payload

MAGIC = b"\x9eS"  # no text begins so: UTF-8 never has such a first byte, and it is no letter in Latin-1
VERSION = 6  # 3 and 5 are videos, see video.py
NEWEST_VERSION = 6
DIGEST_BYTES = 3
MAX_LAYERS = 255
MAX_LAYER_BYTES = (1 << 24) - 1
_FIXED_BYTES = 7  # from the magic to the weights digest
_MANY = 15  # layer count in the header's low half byte that stands for a byte of its own
_CRC_BYTES = 3
_LAYER_CRC_BYTES = 2
_UNRELEASED = b"SOMA"  # magic of format 1
_LONE_CHECKS = 4  # version whose checks cover one layer each, of empty ones too
_OLD_VERSION = 2  # its header has a byte of the system (network state) behind the digest, and 1 to 8 layers


def pack(payload: Payload) -> bytes:
    """The bytes of a .soma file. Raises SomacastError if a field is out of range."""
    _check(payload)
    count = len(payload.layers)
    number, name = system_bytes(payload.system)
    head = MAGIC + bytes([VERSION << 4 | min(count, _MANY), number]) + payload.weights_digest + name
    head += bytes([count]) if count >= _MANY else b""
    head += b"".join(varint(len(layer)) for layer in payload.layers)
    base = payload.layers[0]
    crc = google_crc32c.value(head + base)
    out = head + _low_bytes(crc, _CRC_BYTES) + base
    for layer in payload.layers[1:]:
        if layer:
            crc = google_crc32c.extend(crc, layer)
            out += layer + _low_bytes(crc, _LAYER_CRC_BYTES)
    return out


def packed_bytes(system: str, layer_lengths: Sequence[int]) -> int:
    """Size in bytes of the file of a system that holds layers of these lengths."""
    count = len(layer_lengths)
    head = _FIXED_BYTES + len(system_bytes(system)[1]) + (count >= _MANY)
    head += sum(len(varint(length)) for length in layer_lengths)
    return head + _CRC_BYTES + sum(layer_lengths) + sum(_check_bytes(VERSION, n) for n in layer_lengths[1:])


def layer_room(system: str, layer_lengths: Sequence[int], budget_bytes: int) -> int:
    """The most bytes that one more layer may have in a file of at most budget_bytes; below 0 if there is no room."""
    room = budget_bytes - packed_bytes(system, [*layer_lengths, 0])
    while room > 0 and packed_bytes(system, [*layer_lengths, room]) > budget_bytes:
        room -= 1
    return room


def unpack(data: bytes) -> tuple[Payload, list[str]]:
    """Read a .soma file: what it holds, and notes for the user.

    A file that is cut inside a refinement layer, or one of whose refinement layers is damaged or belongs to another
    person, gives the layers before that one, and a note. Raises BitstreamError for all else: not our magic, a newer
    version, a cut or damage in header or base layer, trailing bytes, an unknown system.
    """
    data = bytes(data)
    version = _check_start(data)
    position, state = _FIXED_BYTES, b""
    if version == _OLD_VERSION:
        state, position = data[position : position + 1], position + 1
    # the name is needed to find the lengths; whether it is believed is for the check to say
    name_end = position + (1 + data[position] if data[3] == 0 and position < len(data) and not state else 0)
    count, position = _read_count(data, name_end, version)
    lengths = []
    for _ in range(count):
        length, position = _read_varint(data, position)
        lengths.append(length)
    base_start = position + _CRC_BYTES
    base_end = base_start + lengths[0]
    expected = base_end + sum(length + _check_bytes(version, length) for length in lengths[1:])
    if len(data) < base_end:
        raise BitstreamError(f"cut .soma file: {len(data)} of {expected} bytes, the base layer is not whole")
    base = data[base_start:base_end]
    crc = google_crc32c.value(data[:position] + base)
    if _low_bytes(crc, _CRC_BYTES) != data[position:base_start]:
        raise BitstreamError("damaged .soma file: header and base layer do not match their CRC")
    system, _ = read_system(data[3], data, _FIXED_BYTES)
    if len(data) > expected:
        raise BitstreamError(f"damaged .soma file: {len(data)} bytes, expected {expected}: bytes follow the last layer")
    finer, damaged = _read_refinements(data, base_end, lengths, None if version <= _LONE_CHECKS else crc)
    layers, notes = [state + base, *finer], []
    if damaged:
        notes.append(
            f"Layer {len(layers)} of {count - 1} is damaged or belongs to another person: it and what builds on it is "
            "left out, so the person is coarser than the sender made it."
        )
    elif len(layers) < count:
        notes.append(
            f"The file is cut ({len(data)} of {expected} bytes): {len(layers)} of {count} layers are whole, "
            "so the person is coarser than the sender made it."
        )
    return Payload(system, data[4:7], layers, 0 if len(layers) == count else count), notes


def format_version(data: bytes) -> int:
    """Version of a file that `unpack` has read."""
    return data[2] >> 4


def _check(payload: Payload) -> None:
    if len(payload.weights_digest) != DIGEST_BYTES:
        raise SomacastError(f"weights digest: expected {DIGEST_BYTES} bytes, got {len(payload.weights_digest)}")
    if not 1 <= len(payload.layers) <= MAX_LAYERS:
        raise SomacastError(f"layers: expected 1 to {MAX_LAYERS}, got {len(payload.layers)}")
    longest = max(len(layer) for layer in payload.layers)
    if longest > MAX_LAYER_BYTES:
        raise SomacastError(f"layer: expected at most {MAX_LAYER_BYTES} bytes, got {longest}")


def _check_start(data: bytes) -> int:
    """Version of the file; magic, version and the fixed part of the header, before anything else is believed."""
    if not data:
        raise BitstreamError("the file is empty: this is no .soma file")
    if data.startswith(_UNRELEASED):
        raise BitstreamError(
            f"the .soma file has format version 1, which was never released; this reader knows version {VERSION}: "
            "encode the picture again"
        )
    if not MAGIC.startswith(data[:2]):
        raise BitstreamError(f"this is no .soma file: it starts with {data[:4]!r}, expected {MAGIC!r}")
    version = data[2] >> 4 if len(data) > 2 else VERSION
    if version > NEWEST_VERSION:
        raise BitstreamError(
            f"the .soma file has format version {version}, this reader knows version {NEWEST_VERSION}: update somacast"
        )
    if version not in (_OLD_VERSION, _LONE_CHECKS, VERSION):
        raise BitstreamError(
            f"damaged .soma file: format version {version}, expected {_OLD_VERSION}, {_LONE_CHECKS} or {VERSION}"
        )
    if len(data) < _FIXED_BYTES + (version == _OLD_VERSION):
        raise BitstreamError(f"cut .soma file: {len(data)} bytes, the header alone has more than {_FIXED_BYTES}")
    return version


def _read_count(data: bytes, position: int, version: int) -> tuple[int, int]:
    """Number of layers, and the position behind it."""
    count = data[2] & 0x0F
    if version != _OLD_VERSION and count == _MANY:
        if position >= len(data):
            raise BitstreamError(f"cut .soma file: {len(data)} bytes, it ends inside the header")
        count, position = data[position], position + 1
        if count < _MANY:
            raise BitstreamError(f"damaged .soma file: a count of {count} layers is not written so")
    most = 8 if version == _OLD_VERSION else MAX_LAYERS
    if not 1 <= count <= most:
        raise BitstreamError(f"damaged .soma file: it announces {count} layers, expected 1 to {most}")
    return count, position


def _read_refinements(data: bytes, position: int, lengths: list[int], crc: int | None) -> tuple[list[bytes], bool]:
    """Layers 1 .. that are whole and match their checks, and whether one that does not ended that; crc: of all that
    stands before them, None if each is checked alone."""
    layers: list[bytes] = []
    for index, length in enumerate(lengths[1:], 1):
        end = position + length
        check = _check_bytes(_LONE_CHECKS if crc is None else VERSION, length)
        if len(data) < end + check:
            break
        layer = data[position:end]
        if crc is None:  # the index is covered, so that swapped layers are found
            found = google_crc32c.value(bytes([index]) + layer)
        else:
            found = crc = google_crc32c.extend(crc, layer)
        if data[end : end + check] != _low_bytes(found, check):
            return layers, True
        layers.append(layer)
        position = end + check
    return layers, False


def _check_bytes(version: int, length: int) -> int:
    """Size of the check of a refinement layer: an empty one needs none."""
    return _LAYER_CRC_BYTES if length or version <= _LONE_CHECKS else 0


def _low_bytes(crc: int, count: int) -> bytes:
    """The low 8 * count bits of a CRC32C, lowest byte first."""
    return crc.to_bytes(4, "little")[:count]


def varint(value: int) -> bytes:
    """Seven bits a byte, lowest first, top bit set on all but the last (LEB128)."""
    out = bytearray()
    while value > 0x7F:
        out.append(0x80 | (value & 0x7F))
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    """Value (<= MAX_LAYER_BYTES, shortest form) and the position behind it; BitstreamError otherwise."""
    value = 0
    for count in range(4):
        if position >= len(data):
            raise BitstreamError(f"cut .soma file: {len(data)} bytes, it ends inside the layer lengths")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            if value > MAX_LAYER_BYTES or (byte == 0 and count > 0):
                break
            return value, position
    raise BitstreamError(f"damaged .soma file: a layer length is not a number up to {MAX_LAYER_BYTES}")
