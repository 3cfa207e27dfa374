"""Video in a .soma file: packets of a live stream one after the other; the layout stands in FORMAT.md.

magic | version 3 | system | digest | records: length, packet | ...
"""

from __future__ import annotations

from collections.abc import Iterator

from somacast.bitstream.container import DIGEST_BYTES, MAGIC
from somacast.bitstream.packets import MAX_PERSON_BYTES
from somacast.bitstream.systems import read_system, system_bytes
from somacast.errors import BitstreamError

VIDEO_VERSION = 3
HEAD_BYTES = len(MAGIC) + 2 + DIGEST_BYTES


def is_video(data: bytes) -> bool:
    """Whether these first bytes (three are enough) are of a .soma file that holds video."""
    return data[:2] == MAGIC and len(data) > 2 and data[2] == VIDEO_VERSION << 4


def video_head(system: str, digest: bytes) -> bytes:
    """The start of a file; digest: three bytes that name the weights of the motion."""
    number, name = system_bytes(system)
    return MAGIC + bytes([VIDEO_VERSION << 4, number]) + digest + name


def record(packet: bytes) -> bytes:
    """A packet as it stands in a file: length in two bytes, lowest first, then the packet."""
    return len(packet).to_bytes(2, "little") + packet


def read_head(data: bytes) -> tuple[str, bytes]:
    """System and digest of a file that holds video; BitstreamError if it does not."""
    return _read_head(data)[:2]


def _read_head(data: bytes) -> tuple[str, bytes, int]:
    """`read_head`, and where the records begin."""
    if not is_video(data):
        raise BitstreamError("this is no .soma video: expected one that `somacast encode` made of a video")
    if len(data) < HEAD_BYTES:
        raise BitstreamError(f"cut .soma video: {len(data)} bytes, the header alone has {HEAD_BYTES}")
    name, end = read_system(data[3], data, HEAD_BYTES)
    return name, data[4:HEAD_BYTES], end


def read_records(data: bytes) -> Iterator[bytes]:
    """The packets of a file in order; ends before one that is cut. BitstreamError for a length that none can have."""
    at = _read_head(data)[2]
    while at + 2 <= len(data):
        length = int.from_bytes(data[at : at + 2], "little")
        if not 1 <= length <= MAX_PERSON_BYTES:
            raise BitstreamError(f"damaged .soma video: a packet of {length} bytes at byte {at}")
        if at + 2 + length > len(data):
            return
        yield data[at + 2 : at + 2 + length]
        at += 2 + length
