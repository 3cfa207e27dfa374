"""How long each stage of the chain takes, by name."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class StageClock:
    """Adds up wall-clock seconds by stage name; `times_s` keeps the order of first use."""

    def __init__(self) -> None:
        self.times_s: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time inside the block for the stage `name`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.times_s[name] = self.times_s.get(name, 0.0) + time.perf_counter() - start
