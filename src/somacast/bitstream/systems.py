"""System ids of the container's header. Append only: a number once given keeps its meaning for ever.

A system without a number (somebody's own, installed beside the package) travels under id 0 with its name in the header.
"""

from __future__ import annotations

import re

from somacast.errors import BitstreamError, SomacastError

NAMED = 0
MAX_NAME_BYTES = 32
SYSTEM_IDS: dict[str, int] = {
    "aflsc": 1,
    "aflsc_without_sc": 2,
    "gs_scnet": 3,
    "rl_asc": 4,
    "nerf": 5,
    "pifuhd": 6,
    "iss": 7,
    "deepma": 8,
    "jpeg": 9,
    "webp": 10,
    "avif": 11,
    "draco": 12,
    "x265": 13,
    "svt_av1": 14,
    "vvc": 15,
}
_NAMES = {number: name for name, number in SYSTEM_IDS.items()}
_NAME = re.compile(r"[a-z][a-z0-9_]*")


def system_bytes(name: str) -> tuple[int, bytes]:
    """Id of a system, and what stands behind the fixed header: nothing, or for id 0 its name behind its length.

    SomacastError for a name that is no spelling of a system: small letters, digits and _, at most 32 characters.
    """
    if name in SYSTEM_IDS:
        return SYSTEM_IDS[name], b""
    if not _NAME.fullmatch(name) or len(name) > MAX_NAME_BYTES:
        raise SomacastError(
            f"system {name!r}: expected up to {MAX_NAME_BYTES} small letters, digits and _, a letter first"
        )
    return NAMED, bytes([len(name)]) + name.encode()


def read_system(number: int, data: bytes, position: int) -> tuple[str, int]:
    """Inverse of `system_bytes`: the name of id `number`, and the position behind it in `data`, where a name of its own
    would stand at `position`. BitstreamError for an unknown id, a cut or a bad name."""
    if number != NAMED:
        if number not in _NAMES:
            raise BitstreamError(f"system id {number} is not known here (ids 1 to {max(_NAMES)} are): update somacast")
        return _NAMES[number], position
    length = data[position] if position < len(data) else 0
    name = data[position + 1 : position + 1 + length].decode("ascii", "replace")
    if len(name) < max(length, 1):
        raise BitstreamError(f"cut .soma file: {len(data)} bytes, it ends inside the name of the system")
    if not _NAME.fullmatch(name) or length > MAX_NAME_BYTES:
        raise BitstreamError("damaged .soma file: the name of the system is no name")
    return name, position + 1 + length
