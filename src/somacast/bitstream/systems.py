"""System ids of the container's header. Append only: a number once given keeps its meaning for ever."""

from __future__ import annotations

from somacast.errors import BitstreamError, SomacastError

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
}
_NAMES = {number: name for name, number in SYSTEM_IDS.items()}


def system_id(name: str) -> int:
    """Id 1 .. 255 of a system's one spelling; SomacastError for an unknown name."""
    if name not in SYSTEM_IDS:
        raise SomacastError(f"unknown system {name!r}: expected one of {', '.join(SYSTEM_IDS)}")
    return SYSTEM_IDS[name]


def system_name(number: int) -> str:
    """Name of a system id found in a file; BitstreamError for an unknown one."""
    if number not in _NAMES:
        raise BitstreamError(f"system id {number} is not known here (ids 1 to {max(_NAMES)} are): update somacast")
    return _NAMES[number]
