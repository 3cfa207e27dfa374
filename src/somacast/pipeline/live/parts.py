"""What is too long for a datagram, in parts behind the motion: looks, and the sender's own picture.

Behind.next(...) -> the part that is to go next, while there is room;   Assembly.take(part) -> the whole, at last
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Collection
from dataclasses import dataclass, field

from somacast.bitstream.packets import MAX_LOOK_BYTES, MAX_PARTS, Look, Picture
from somacast.errors import SomacastError

PART_S, MIN_PART_BYTES = 0.02, 200  # time on the link that a part takes; the least that is worth its headers
NEWS_S = 0.15  # beside round trips, until a report has told of a part
NOBODY_TRIP_S = 0.1  # taken for a round trip before there is one
TRIES = 6  # of a part that nobody reports: then somebody is there who cannot
LOOK_BYTES, LOOK_S = (450, 1600, 5400), 4.0  # of looks, coarse first; how long a finer one may take
AGAIN_S = 60.0  # a part that all are known to have, once more: for receivers whose reports do not count
_REMEMBERED = 256  # packets
_OPEN = 2  # things in parts that a receiver collects at a time


def part_bytes(total_bytes: int, rate_bps: float | None, most_bytes: int) -> int | None:
    """Size of the parts of something on a link of a rate (None: of any); None if it would take more than MAX_PARTS."""
    size = most_bytes if rate_bps is None else int(min(max(rate_bps * PART_S / 8, MIN_PART_BYTES), most_bytes))
    size = max(size, -(-total_bytes // MAX_PARTS))
    return size if size <= most_bytes else None


def next_look_bytes(before_bytes: int, left_bps: float) -> int:
    """How large the look behind one of before_bytes (0: the first) should be: one step finer, as far as what the motion
    leaves of the link carries that in LOOK_S."""
    finest = next((size for size in LOOK_BYTES if size > before_bytes), LOOK_BYTES[-1])
    return max((size for size in LOOK_BYTES if size <= finest and 8 * size <= LOOK_S * left_bps), default=LOOK_BYTES[0])


@dataclass
class _LookOut:
    """A look on its way: every part goes out until all receivers have reported it.

    has: of a receiver, the numbers of the parts it has reported, as kept by the sender for each of them.
    """

    parts: list[Look]
    size_bytes: int
    sequences: dict[int, int] = field(default_factory=dict)  # of the packets that parts went in: which part
    _sent_s: list[float] = field(init=False)
    _wait_s: list[float] = field(init=False)
    _tries: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.again()

    def again(self) -> None:
        """Somebody new is there: all parts that they have not reported are due at once."""
        count = len(self.parts)
        self._sent_s, self._wait_s, self._tries = [-math.inf] * count, [0.0] * count, [0] * count

    def due(self, time_s: float, has: Collection[set[int]]) -> Look | None:
        """The first part that is to go."""
        for number, part in enumerate(self.parts):
            if time_s >= self._sent_s[number] + (AGAIN_S if _all_have(has, number) else self._wait_s[number]):
                return part
        return None

    def sent(self, time_s: float, part: int, sequence: int, round_trip_s: float | None) -> None:
        """A part has gone out; it is due again if nobody reports it for a while, which grows."""
        self.sequences[sequence] = part
        while len(self.sequences) > _REMEMBERED:  # the numbers come again
            del self.sequences[next(iter(self.sequences))]
        wait_s = (NEWS_S + 1.5 * (round_trip_s or NOBODY_TRIP_S)) * 2 ** self._tries[part]
        self._sent_s[part], self._wait_s[part] = time_s, min(wait_s, AGAIN_S)
        self._tries[part] = min(self._tries[part] + 1, TRIES)

    def through(self, has: Collection[set[int]]) -> bool:
        """Whether nothing more can be done for it but to repeat it."""
        numbers = range(len(self.parts))
        return all(self._tries[n] >= TRIES or (self._tries[n] and has and _all_have(has, n)) for n in numbers)


def _all_have(has: Collection[set[int]], part: int) -> bool:
    return bool(has) and all(part in one for one in has)


class Behind:
    """What goes behind the motion: a look before the sender's picture. A newer look takes the place of the one before,
    a newer picture waits until the one before is through."""

    def __init__(self) -> None:
        self._look: _LookOut | None = None
        self._look_number = self._picture_number = -1
        self._pictures: deque[Picture] = deque()

    def put_look(self, container: bytes, size: int) -> None:
        """size: of a part. SomacastError for one that is too large for a receiver."""
        if not 0 < len(container) <= MAX_LOOK_BYTES:
            raise SomacastError(f"look: expected 1 to {MAX_LOOK_BYTES} bytes, got {len(container)}")
        self._look_number = (self._look_number + 1) % 256
        pieces = _pieces(container, size)
        parts = [Look(self._look_number, k, len(pieces), piece) for k, piece in enumerate(pieces)]
        self._look = _LookOut(parts, len(container))

    def put_picture(self, jpeg: bytes, size: int) -> bool:
        """False if the one before is not through; size: of a part."""
        if self._pictures:
            return False
        self._picture_number = (self._picture_number + 1) % 256
        pieces = _pieces(jpeg, size)
        self._pictures.extend(Picture(self._picture_number, k, len(pieces), piece) for k, piece in enumerate(pieces))
        return True

    def next(self, time_s: float, has: Collection[set[int]]) -> Look | Picture | None:
        """What is to go next; has: parts of the look, by receiver."""
        look = self._look.due(time_s, has) if self._look else None
        return look or (self._pictures[0] if self._pictures else None)

    def sent(self, time_s: float, part: Look | Picture, sequence: int, round_trip_s: float | None) -> None:
        """What `next` gave goes out in the packet of that sequence number."""
        if isinstance(part, Picture):
            self._pictures.popleft()
        elif self._look is not None:
            self._look.sent(time_s, part.part, sequence, round_trip_s)

    def arrived(self, sequence: int) -> set[int]:
        """Which part of the look was in a packet, if any was."""
        number = self._look.sequences.get(sequence) if self._look else None
        return set() if number is None else {number}

    def again(self) -> None:
        """Somebody new is there."""
        if self._look is not None:
            self._look.again()

    def through(self, has: Collection[set[int]]) -> bool:
        """Whether there is room for another look."""
        return self._look is None or self._look.through(has)

    @property
    def look_bytes(self) -> int:
        """Size of the newest look, 0 without any."""
        return self._look.size_bytes if self._look else 0


def _pieces(data: bytes, size: int) -> list[bytes]:
    return [data[k : k + size] for k in range(0, len(data), size)]


class Assembly:
    """Parts to what they are of; whatever comes, no more than `max_bytes` and a few numbers are held."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._open: OrderedDict[int, dict[int, bytes]] = OrderedDict()  # by number, the newest last
        self._counts: dict[int, int] = {}

    def take(self, number: int, part: int, parts: int, data: bytes) -> bytes | None:
        """A part of `number`; the whole, if it is the last one that lacked. Parts of more than one number may be
        mixed; a number that comes with another count begins anew."""
        if self._counts.get(number) != parts:
            self._open.pop(number, None)
        held = self._open.setdefault(number, {})
        self._counts[number] = parts
        held[part] = data
        while len(self._open) > _OPEN:
            self._counts.pop(self._open.popitem(last=False)[0])
        if sum(map(len, held.values())) > self.max_bytes:
            self._forget(number)
        elif len(held) == parts:
            self._forget(number)
            return b"".join(held[k] for k in range(parts))
        return None

    def _forget(self, number: int) -> None:
        self._open.pop(number, None)
        self._counts.pop(number, None)
