"""How many threads the processes that are started may use: many processes with many threads each starve one another."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

# Read by the libraries when they are loaded; `weights.sessions.open_session` reads the first.
LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "NUMBA_NUM_THREADS")


@contextlib.contextmanager
def threads_each(count: int = 1) -> Iterator[None]:
    """Processes started inside see so many threads for each library."""
    before = {name: os.environ.get(name) for name in LIMITS}
    os.environ.update(dict.fromkeys(LIMITS, str(count)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
