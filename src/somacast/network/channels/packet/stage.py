"""What every model of a packet channel offers, so that a `Link` can chain any of them in any order.

(time_s, wire_bytes) -> stage.pass_on -> exit times: none = gone, one = passed, several = copied
"""

from __future__ import annotations

from typing import ClassVar, Literal, Protocol

Removal = Literal["lost", "dropped"]


class Stage(Protocol):
    """One impairment. It sees datagrams in order of time and may keep state between them.

    removes_as: under which count a datagram goes that has no exit: "lost" on the way, or "dropped" by a queue.
    """

    removes_as: ClassVar[Removal]

    def pass_on(self, time_s: float, wire_bytes: int) -> tuple[float, ...]:
        """Exit times in seconds, none before `time_s`, of a datagram of `wire_bytes` that enters at `time_s`."""
        ...
