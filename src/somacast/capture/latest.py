"""The newest item of a source that does not wait: a thread reads on, and what nobody took in time is dropped."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Generic, NamedTuple, TypeVar

from somacast.errors import SomacastError

T = TypeVar("T")


class Taken(NamedTuple, Generic[T]):
    """An item and the time in seconds of the reader's clock at which it came."""

    came_s: float
    item: T


class LatestReader(Generic[T]):
    """Reads `items` in a thread of its own and keeps the newest only, so that a slow taker never builds a queue.

    close: called at the end by the reading thread (a device is not closed under a read that is going on); clock: in
    seconds, time.monotonic unless given. `dropped` counts items that were replaced before anybody took them.
    """

    def __init__(
        self,
        items: Iterable[T],
        close: Callable[[], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        name: str = "source",
    ):
        self._items, self._close, self._clock, self.name = items, close, clock, name
        self._change = threading.Condition()
        self._newest: Taken[T] | None = None
        self._fault: BaseException | None = None
        self._over = self._stopped = False
        self.dropped = 0
        self._thread = threading.Thread(target=self._read, name=f"somacast-{name}", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            for item in self._items:
                with self._change:
                    if self._stopped:
                        break
                    self.dropped += self._newest is not None
                    self._newest = Taken(self._clock(), item)
                    self._change.notify_all()
        except BaseException as fault:  # handed to whoever takes
            self._fault = fault
        finally:
            try:
                if self._close is not None:
                    self._close()
            finally:
                with self._change:
                    self._over = True
                    self._change.notify_all()

    def take(self, timeout_s: float | None = 5.0) -> Taken[T] | None:
        """The newest item that has not been taken, waited for; None once the source has ended.

        Raises what the source raised after its last item was taken, and SomacastError if nothing comes for timeout_s.
        """
        with self._change:
            ready = self._change.wait_for(lambda: self._newest is not None or self._over or self._stopped, timeout_s)
            if not ready:
                raise SomacastError(f"{self.name}: no picture for {timeout_s:g} s")
            taken, self._newest = self._newest, None
            if taken is None and self._fault is not None:
                raise self._fault
            return taken

    def close(self, timeout_s: float = 2.0) -> None:
        """Stop reading; waits for the thread at most timeout_s, then leaves it to end with the process."""
        with self._change:
            self._stopped = True
            self._newest = None
            self._change.notify_all()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout_s)
