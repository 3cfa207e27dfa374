"""The .soma container: layers of bytes <-> one file. No I/O, no torch; the layout is written down in FORMAT.md.

magic | version and layer count | system | weights digest | network state | lengths | CRC | layer 0
| layer 1 | CRC | layer 2 | CRC ...
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import google_crc32c

from somacast.bitstream.systems import system_id, system_name
from somacast.errors import BitstreamError, SomacastError

MAGIC = b"\x9eS"  # no text begins so: UTF-8 never has such a first byte, and it is no letter in Latin-1
VERSION = 2
DIGEST_BYTES = 3
MAX_LAYERS = 8
MAX_LAYER_BYTES = 65535
_FIXED_BYTES = 8  # from the magic to the network state
_CRC_BYTES = 3
_LAYER_CRC_BYTES = 2
_OLD_MAGIC = b"SOMA"  # of format 1, which was never released


@dataclass(frozen=True)
class Container:
    """What a .soma file holds. layers[0] is the base layer, each further one refines the person.

    weights_digest: first three bytes of the sha256 over the weights that made the symbols; network_state: f of eq.
    18 in 1/255 (0 .. 255); layers: 1 to 8 byte strings of at most 65535 bytes each.
    """

    system: str
    weights_digest: bytes
    network_state: int
    layers: list[bytes]


def pack(container: Container) -> bytes:
    """The bytes of a .soma file. Raises SomacastError if a field is out of range."""
    _check(container)
    head = MAGIC + bytes([VERSION << 4 | len(container.layers), system_id(container.system)])
    head += container.weights_digest + bytes([container.network_state])
    head += b"".join(_varint(len(layer)) for layer in container.layers)
    base = container.layers[0]
    out = head + _crc(head + base, _CRC_BYTES) + base
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
    count = data[2] & 0x0F
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
    if _crc(data[:position] + base, _CRC_BYTES) != data[position:base_start]:
        raise BitstreamError("damaged .soma file: header and base layer do not match their CRC")
    system = system_name(data[3])
    if len(data) > expected:
        raise BitstreamError(f"damaged .soma file: {len(data)} bytes, expected {expected}: bytes follow the last layer")
    layers = [base, *_read_refinements(data, base_start + lengths[0], lengths)]
    notes = []
    if len(layers) < count:
        notes.append(
            f"The file is cut ({len(data)} of {expected} bytes): {len(layers)} of {count} layers are whole, "
            "so the person is coarser than the sender made it."
        )
    return Container(system, data[4:7], data[7], layers), notes


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
    if data.startswith(_OLD_MAGIC):
        raise BitstreamError(
            f"the .soma file has format version 1, which was never released; this reader knows version {VERSION}: "
            "encode the picture again"
        )
    if not MAGIC.startswith(data[:2]):
        raise BitstreamError(f"this is no .soma file: it starts with {data[:4]!r}, expected {MAGIC!r}")
    version = data[2] >> 4 if len(data) > 2 else VERSION
    if version > VERSION:
        raise BitstreamError(
            f"the .soma file has format version {version}, this reader knows version {VERSION}: update somacast"
        )
    if version < VERSION:
        raise BitstreamError(f"damaged .soma file: format version {version}, expected {VERSION}")
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
    """The check of layer 1 ..; the index is covered too, so that swapped layers are found."""
    return _crc(bytes([index]) + layer, _LAYER_CRC_BYTES)


def _crc(data: bytes, count: int) -> bytes:
    """The low 8 * count bits of the CRC32C, lowest byte first."""
    return google_crc32c.value(data).to_bytes(4, "little")[:count]


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
