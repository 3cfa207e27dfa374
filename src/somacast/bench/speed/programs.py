"""Whole programs for `somacast bench speed`: commands from start to end, peak memory of processes, size on disk."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import somacast
from somacast.bench.speed.config import SpeedConfig
from somacast.bench.speed.memory import ROLES
from somacast.errors import SomacastError

PACKAGE = Path(somacast.__file__).parent
_COMMAND_LIMIT_S = 600


def run_python(*arguments: str | Path) -> tuple[str, float]:
    """Run this Python on its own; returns stdout and seconds. SomacastError with its last line if it fails."""
    start = time.perf_counter()
    try:
        done = subprocess.run(
            [sys.executable, *map(str, arguments)], capture_output=True, text=True, timeout=_COMMAND_LIMIT_S
        )
    except subprocess.TimeoutExpired as fault:
        raise SomacastError(f"{arguments[1]}: took more than {_COMMAND_LIMIT_S} s") from fault
    seconds = time.perf_counter() - start
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise SomacastError(f"{' '.join(map(str, arguments[:3]))}: failed with code {done.returncode}: {last}")
    return done.stdout, seconds


def measure_commands(config: SpeedConfig, picture: Path, folder: Path) -> dict[str, Any]:
    """Wall-clock seconds of `somacast encode` and `somacast decode`, start of Python and imports included."""
    file, mesh = folder / "command.soma", folder / "command.glb"
    verbs = {
        "encode": ("encode", picture, "-o", file, "--system", config.system, "--device", config.device),
        "decode": ("decode", file, "-o", mesh, "--device", config.device),
    }
    out: dict[str, Any] = {}
    for verb, arguments in verbs.items():
        runs = [run_python("-m", "somacast.cli.main", *arguments)[1] for _ in range(max(2, config.command_runs))]
        out[verb] = {"first_s": round(runs[0], 3), "second_s": round(runs[1], 3), "runs_s": [round(s, 3) for s in runs]}
    return out


def measure_memory(config: SpeedConfig, picture: Path, photograph: Path, folder: Path) -> dict[str, int | None]:
    """Peak bytes of fresh processes: sender, receiver, both after one another; and both for the large picture."""
    file = folder / "memory.soma"
    module = ("-m", "somacast.bench.speed.memory", config.system, config.device)
    out = {role: json.loads(run_python(*module, picture, file, role)[0].split()[-1]) for role in ROLES}
    out["chain_photograph"] = json.loads(run_python(*module, photograph, file, "chain")[0].split()[-1])
    return out


def package_size(package: Path = PACKAGE) -> dict[str, int | None]:
    """Bytes of the package's files (compiled caches left out), of the weights among them, and of its wheel.

    The wheel is None outside of a working copy, or where it cannot be built without a network.
    """
    files = [p for p in package.rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    sizes = {p: p.stat().st_size for p in files}
    weights = sum(size for p, size in sizes.items() if p.parent.name == "weights" and p.suffix != ".py")
    return {"installed_bytes": sum(sizes.values()), "weights_bytes": weights, "wheel_bytes": _wheel_bytes(package)}


def _wheel_bytes(package: Path) -> int | None:
    root = package.parents[1]
    if not (root / "pyproject.toml").is_file():
        return None
    with tempfile.TemporaryDirectory() as name:  # a copy, as a build leaves its traces in the working copy
        copy = Path(name) / "project"
        shutil.copytree(package, copy / "src" / package.name, ignore=shutil.ignore_patterns("__pycache__"))
        for file in ("pyproject.toml", "README.md", "LICENSE"):
            if (root / file).is_file():
                shutil.copy(root / file, copy / file)
        options = ("--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--disable-pip-version-check")
        try:
            run_python("-m", "pip", "wheel", *options, "-w", Path(name) / "wheels", copy)
        except SomacastError:
            return None
        wheels = list((Path(name) / "wheels").glob("*.whl"))
        return wheels[0].stat().st_size if wheels else None


@contextmanager
def limited_cores(count: int) -> Iterator[int]:
    """Keep this process, and all it starts meanwhile, on `count` cores; yields how many it really has.

    Only libraries that are loaded inside the block size their thread pools accordingly.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield os.cpu_count() or 1
        return
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, sorted(before)[: max(1, count)])
        yield len(os.sched_getaffinity(0))
    finally:
        os.sched_setaffinity(0, before)
