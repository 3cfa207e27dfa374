"""What of a budget goes to labels and what to the picture behind them: the one place where that is decided.

Measured by ST-LPIPS and joints on training people (docs/log.md). A picture tells the looks better than labels do, so
that those of appearance and face are not sent with one; of the others importance decides (eq. 14, 17), as if the
network were in a worse state: what coarser labels leave of the outline costs the warp nothing more.
"""

from __future__ import annotations

from typing import NamedTuple

MIN_PICTURED_BYTES = 160  # of a file: below, appearance codes show more than a picture does
MIN_FACED_BYTES, FACE_SHARE = 1200, 0.2  # of a file from which on the face goes once more, and how much of the room
USUAL_WARP_BYTES = 32  # what is left for the picture is not known before its warp
_FINER_WARP_BYTES = (220, 300, 500, 800)  # of a file from which on the warp has the next finer steps
_STATE, _STATE_BYTES = 128, 500  # the network state of a small file, and from which size on labels become finer


def label_state(budget_bytes: int, network_state: int = 0) -> int | None:
    """The state 0 .. 255 for the labels before a picture in a file of at most budget_bytes, not below that of the
    network; None: labels alone show more."""
    if budget_bytes < MIN_PICTURED_BYTES:
        return None
    return max(network_state, min(_STATE, _STATE * _STATE_BYTES // budget_bytes))


class Share(NamedTuple):
    """What of a budget the picture gets: which of `warp.STEPS` the warp has, bytes of the picture, and of the face."""

    fineness: int = 2
    picture_bytes: int = 0
    face_bytes: int = 0


def share_of(budget_bytes: int, room_bytes: int) -> Share:
    """In a file of at most budget_bytes that has room_bytes for picture and face."""
    fineness = sum(budget_bytes >= size for size in _FINER_WARP_BYTES)
    faced = face_room(budget_bytes, room_bytes)
    return Share(fineness, room_bytes - faced, faced)


def face_room(budget_bytes: int, room_bytes: int) -> int:
    """How many of the bytes that a picture may have are for the face alone; 0: none."""
    return round(FACE_SHARE * room_bytes) if budget_bytes >= MIN_FACED_BYTES else 0
