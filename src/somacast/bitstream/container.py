"""The .soma container: layers of bytes <-> one file. No I/O, no torch; the layout is written down in FORMAT.md.

magic | version | system | flags | weights digest | network state | layer count | lengths | CRC32C | layer 0
| layer 1 | CRC | layer 2 | CRC ...
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import google_crc32c

from somacast.bitstream.systems import system_id, system_name
from somacast.types import BitstreamError, SomacastError

MAGIC = b"SOMA"
VERSION = 1
DIGEST_BYTES = 4
MAX_LAYERS = 8
MAX_LAYER_BYTES = 65535
_FIXED_BYTES = 13  # from the magic to the layer count
_CRC_BYTES = 4
_LAYER_CRC_BYTES = 2


@dataclass(frozen=True)
class Container:
    """What a .soma file holds. layers[0] is the base layer, each further one refines the person.

    weights_digest: first four bytes of the sha256 over the weights that made the symbols; network_state: f of eq. 18
    in 1/255 (0 .. 255); layers: 1 to 8 byte strings of at most 65535 bytes each.
    """

    system: str
    weights_digest: bytes
    network_state: int
    layers: list[bytes]


def pack(container: Container) -> bytes:
    """The bytes of a .soma file. Raises SomacastError if a field is out of range."""
    _check(container)
    head = MAGIC + bytes([VERSION, system_id(container.system), 0]) + container.weights_digest
    head += bytes([container.network_state, len(container.layers)])
    head += b"".join(_varint(len(layer)) for layer in container.layers)
    base = container.layers[0]
    out = head + google_crc32c.value(head + base).to_bytes(_CRC_BYTES, "little") + base
    for index, layer in enumerate(container.layers[1:], 1):
        out += layer + _layer_crc(index, layer)
    return out


def packed_bytes(layer_lengths: Sequence[int]) -> int:
    """Size in bytes of the file that holds layers of these lengths."""
    lengths = sum(len(_varint(length)) for length in layer_lengths)
    return _FIXED_BYTES + lengths + _CRC_BYTES + sum(layer_lengths) + _LAYER_CRC_BYTES * (len(layer_lengths) - 1)


def unpack(data: bytes) -> tuple[Container, list[str]]:
    """Read a .soma file: the container and notes for the user.

    A file cut inside a refinement layer gives the layers that are whole, and a note. Raises BitstreamError for all
    else: not our magic, a newer version, a cut in header or base layer, damage, trailing bytes, an unknown system.
    """
    data = bytes(data)
    _check_start(data)
    count = data[12]
    if not 1 <= count <= MAX_LAYERS:
        raise BitstreamError(f"damaged .soma file: it announces {count} layers, expected 1 to {MAX_LAYERS}")
    lengths, position = [], _FIXED_BYTES
    for _ in range(count):
        length, position = _read_varint(data, position)
        lengths.append(length)
    expected = packed_bytes(lengths)
    base_start = position + _CRC_BYTES
    if len(data) < base_start + lengths[0]:
        raise BitstreamError(f"cut .soma file: {len(data)} of {expected} bytes, the base layer is not whole")
    base = data[base_start : base_start + lengths[0]]
    if google_crc32c.value(data[:position] + base) != int.from_bytes(data[position:base_start], "little"):
        raise BitstreamError("damaged .soma file: header and base layer do not match their CRC32C")
    if data[6] != 0:
        raise BitstreamError(f"the .soma file sets flags {data[6]:#04x}, this reader knows none: update somacast")
    if len(data) > expected:
        raise BitstreamError(f"damaged .soma file: {len(data)} bytes, expected {expected}: bytes follow the last layer")
    layers = [base, *_read_refinements(data, base_start + lengths[0], lengths)]
    notes = []
    if len(layers) < count:
        notes.append(
            f"The file is cut ({len(data)} of {expected} bytes): {len(layers)} of {count} layers are whole, "
            "so the person is coarser than the sender made it."
        )
    return Container(system_name(data[5]), data[7:11], data[11], layers), notes


def _check(container: Container) -> None:
    if len(container.weights_digest) != DIGEST_BYTES:
        raise SomacastError(f"weights digest: expected {DIGEST_BYTES} bytes, got {len(container.weights_digest)}")
    if not 0 <= container.network_state <= 255:
        raise SomacastError(f"network state: expected 0 to 255, got {container.network_state}")
    if not 1 <= len(container.layers) <= MAX_LAYERS:
        raise SomacastError(f"layers: expected 1 to {MAX_LAYERS}, got {len(container.layers)}")
    longest = max(len(layer) for layer in container.layers)
    if longest > MAX_LAYER_BYTES:
        raise SomacastError(f"layer: expected at most {MAX_LAYER_BYTES} bytes, got {longest}")


def _check_start(data: bytes) -> None:
    """Magic, version and the fixed part of the header, before anything else is believed."""
    if not data:
        raise BitstreamError("the file is empty: this is no .soma file")
    if not MAGIC.startswith(data[:4]):
        raise BitstreamError(f"this is no .soma file: it starts with {data[:4]!r}, expected {MAGIC!r}")
    if len(data) > 4 and data[4] > VERSION:
        raise BitstreamError(
            f"the .soma file has format version {data[4]}, this reader knows up to version {VERSION}: update somacast"
        )
    if len(data) > 4 and data[4] < 1:
        raise BitstreamError(f"damaged .soma file: format version {data[4]}, expected 1 to {VERSION}")
    if len(data) < _FIXED_BYTES:
        raise BitstreamError(f"cut .soma file: {len(data)} bytes, the header alone has more than {_FIXED_BYTES}")


def _read_refinements(data: bytes, position: int, lengths: list[int]) -> list[bytes]:
    """Layers 1 .. that are whole; BitstreamError if one of them does not match its CRC."""
    layers = []
    for index, length in enumerate(lengths[1:], 1):
        end = position + length
        if len(data) < end + _LAYER_CRC_BYTES:
            break
        layer = data[position:end]
        if data[end : end + _LAYER_CRC_BYTES] != _layer_crc(index, layer):
            raise BitstreamError(f"damaged .soma file: layer {index} of {len(lengths) - 1} does not match its CRC")
        layers.append(layer)
        position = end + _LAYER_CRC_BYTES
    return layers


def _layer_crc(index: int, layer: bytes) -> bytes:
    """Low 16 bits of the CRC32C; the index is covered too, so that swapped layers are found."""
    return (google_crc32c.value(bytes([index]) + layer) & 0xFFFF).to_bytes(_LAYER_CRC_BYTES, "little")


def _varint(value: int) -> bytes:
    """Seven bits a byte, lowest first, top bit set on all but the last (LEB128)."""
    out = bytearray()
    while value > 0x7F:
        out.append(0x80 | (value & 0x7F))
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    """Value (<= 65535, shortest form) and the position behind it; BitstreamError otherwise."""
    value = 0
    for count in range(3):
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
