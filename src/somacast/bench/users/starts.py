"""How long a user waits for one picture: the first time, the second time, and without a cache that can be written."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from somacast.cache import NONE, VARIABLE
from somacast.errors import SomacastError


def measure(runs: int = 3) -> dict[str, Any]:
    """Wall-clock seconds of `somacast encode` and `somacast decode`, each in a process of its own: cold_s (the cache is
    empty), warm_s (the median of `runs` after that), uncached_s (none can be written); as many of the processor's
    seconds (cold_cpu_s, ...), which other work on the machine does not lengthen; cache_bytes."""
    from somacast.geometry.preview import encode_png
    from somacast.pipeline.still.demo import built_in_person

    with tempfile.TemporaryDirectory() as name:
        work, cache = Path(name), Path(name, "cache")
        (work / "person.png").write_bytes(encode_png(built_in_person()))
        out: dict[str, Any] = {}
        for verb, words in (("encode", "person.png -o person.soma"), ("decode", "person.soma -o person.glb")):
            command = [sys.executable, "-m", "somacast", verb, *words.split()]
            cold = _seconds(command, work, {VARIABLE: str(cache / verb)})
            warm = [_seconds(command, work, {VARIABLE: str(cache / verb)}) for _ in range(runs)]
            row = {
                "cold": cold,
                "warm": tuple(np.median(warm, 0)),
                "uncached": _seconds(command, work, {VARIABLE: NONE}),
            }
            out[verb] = {f"{k}_s": round(float(s[0]), 2) for k, s in row.items()}
            out[verb] |= {f"{k}_cpu_s": round(float(s[1]), 2) for k, s in row.items()}
        out["cache_bytes"] = sum(p.stat().st_size for p in cache.rglob("*") if p.is_file())
    return out


def _seconds(command: list[str], folder: Path, more: Mapping[str, str]) -> tuple[float, float]:
    """Wall-clock and processor's seconds of a command."""
    before, start = os.times(), time.perf_counter()
    done = subprocess.run(command, cwd=folder, env={**os.environ, **more}, capture_output=True, text=True)
    wall_s, after = time.perf_counter() - start, os.times()
    if done.returncode:
        raise SomacastError(
            f"{' '.join(command[2:4])}: failed with code {done.returncode}: {done.stderr.strip()[-200:]}"
        )
    children = after.children_user + after.children_system - before.children_user - before.children_system
    return wall_s, children
