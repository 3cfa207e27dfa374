"""Work for the processes of a folder's run, by what the input says: "fine", "two", "bad", "die", "wait", "threads"."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from somacast.errors import SomacastError


def work(source: Path, target: Path) -> list[str]:
    """Writes the input in capitals; see above."""
    word = source.read_text()
    if word.startswith("bad"):
        raise SomacastError(f"{source}: expected a good one")
    if word.startswith("fault"):
        raise ZeroDivisionError("a fault of ours")
    if word.startswith("die"):
        target.write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)
    if word.startswith("wait"):
        target.write_text("half")
        time.sleep(60)
    if word.startswith("threads"):
        target.write_text(os.environ["OMP_NUM_THREADS"] + os.environ["OPENBLAS_NUM_THREADS"])
        return []
    if word.startswith("two"):
        for number in (1, 2):
            target.with_stem(f"{target.stem}_{number}").write_text(word.upper())
        return ["two of them", "two of them"]
    target.write_text(word.upper())
    return [f"by {os.getpid()}"]


def explain(fault: Exception) -> str:
    return str(fault)
