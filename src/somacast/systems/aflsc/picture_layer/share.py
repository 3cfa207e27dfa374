"""What of a budget goes to labels, look tokens and picture: the one place where that is decided.

Measured by ST-LPIPS and joints on training people (docs/log.md). A picture tells the looks better than labels do, so
that those of appearance and face are not sent with it; of the others importance decides (eq. 14, 17), as if the network
were in a worse state: what coarser labels leave of the outline costs the layers behind nothing more. Tokens alone come
on top of all labels.
"""

from __future__ import annotations

from typing import NamedTuple

MIN_PICTURED_BYTES = 125  # of a file: below, labels alone show more
MIN_TOKEN_BYTES = 120  # where no picture may be sent: below, labels show more than what is left for tokens
MIN_BESIDE_BYTES = 250  # of a file from which on there is room for tokens beside a picture
TOKEN_BYTES, TOKEN_SHARE = 40, 0.06  # that they have then, and of what a file has beyond
TOKEN_OVERLAP = 0.925  # of body and silhouette, up to which they are sent: beyond, they say nothing that is not seen
TOKEN_BYTES_ALONE = 24  # that are kept for tokens behind all labels
TOKEN_COST_BYTES = 3  # what a layer costs beside what it holds
MIN_FACED_BYTES, FACE_SHARE = 1200, 0.2  # of a file from which on the face goes once more, and how much of the room
USUAL_WARP_BYTES = 32  # what is left for the picture is not known before its warp
_FINER_WARP_BYTES = (220, 300, 500, 800)  # of a file from which on the warp has the next finer steps
_STATE, _STATE_BYTES = 128, 500  # the network state of a small file, and from which size on labels become finer


class Plan(NamedTuple):
    """state: 0 .. 255, for the labels; network_state: the network's own; token_bytes: that tokens may have at least;
    pictured: whether there is one."""

    state: int
    network_state: int
    token_bytes: int
    pictured: bool


def plan_of(budget_bytes: int, network_state: int = 0, picture: bool = True, tokens: bool = True) -> Plan | None:
    """What is sent in a file of at most budget_bytes; the labels' state is not below that of the network. picture,
    tokens: whether those may be sent. None: labels alone show more."""
    least = least_bytes(picture, tokens)
    if least is None or budget_bytes < least:
        return None
    beyond = budget_bytes - MIN_BESIDE_BYTES
    wanted = TOKEN_BYTES_ALONE if not picture else round(TOKEN_BYTES + TOKEN_SHARE * beyond) if beyond >= 0 else 0
    return Plan(label_state(budget_bytes, network_state), network_state, wanted if tokens else 0, picture)


def least_bytes(picture: bool = True, tokens: bool = True) -> int | None:
    """The smallest file in which more than labels is sent; None if never."""
    return MIN_PICTURED_BYTES if picture else MIN_TOKEN_BYTES if tokens else None


def label_state(budget_bytes: int, network_state: int = 0) -> int:
    """The state 0 .. 255 for labels before a look in a file of at most budget_bytes, not below the network's."""
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
