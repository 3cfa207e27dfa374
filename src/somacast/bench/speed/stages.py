"""`somacast bench speed`: how long every stage takes, what the commands cost as a whole, memory and size on disk.

All of it on synthetic people, so that nothing but the installed package is needed.
"""

from __future__ import annotations

import functools
import importlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

import somacast
from somacast.bench.quality.evaluate import git_commit, load_halves, machine, versions, weights_digests
from somacast.bench.speed.config import SpeedConfig
from somacast.bench.speed.memory import ROLES
from somacast.errors import SomacastError
from somacast.files import check_output_path, write_atomically

FORMAT = "somacast speed"
PACKAGE = Path(somacast.__file__).parent
_COMMAND_LIMIT_S = 600
_BUSY_LOAD = 0.5  # load average at the start above which somebody else is at work

# Functions inside a stage that are worth their own line: "module:name", looked up where they are called.
PROBES: dict[str, dict[str, dict[str, str]]] = {
    "aflsc": {
        "extract": {"networks": "somacast.systems.aflsc.sender.encoder:Encoder.networks"},
        "human": {
            "labels to chart": "somacast.systems.aflsc.receiver.decoder:Decoder.restore",
            "cloud": "somacast.systems.aflsc.receiver.assemble:point_cloud",
            "surface": "somacast.systems.aflsc.receiver.assemble:reconstruct_surface",
        },
        "surface": {
            "field": "somacast.geometry.surface:indicator_field",
            "marching cubes": "somacast.geometry.surface:march",
            "colours": "somacast.geometry.surface:vertex_colors",
        },
    }
}


# -- stages -----------------------------------------------------------------------------------------------------------


@contextmanager
def probed(targets: Mapping[str, str]) -> Iterator[dict[str, float]]:
    """Seconds spent inside functions while the block runs, by the names in `targets` ("module:name" or
    "module:Class.name"). SomacastError for a function that is not there."""
    times = dict.fromkeys(targets, 0.0)
    undo: list[tuple[Any, str, Any]] = []
    try:
        for name, target in targets.items():
            module, _, path = target.partition(":")
            *outer, last = path.split(".")
            try:
                owner = functools.reduce(getattr, outer, importlib.import_module(module))
                original = getattr(owner, last)
            except (ImportError, AttributeError) as fault:
                raise SomacastError(f"{target}: no such function to time; expected one of this package") from fault
            undo.append((owner, last, original))
            setattr(owner, last, _timed(original, times, name))
        yield times
    finally:
        for owner, last, original in reversed(undo):
            setattr(owner, last, original)


def _timed(function: Any, times: dict[str, float], name: str) -> Any:
    @functools.wraps(function)
    def wrapper(*arguments: Any, **options: Any) -> Any:
        start = time.perf_counter()
        try:
            return function(*arguments, **options)
        finally:
            times[name] += time.perf_counter() - start

    return wrapper


def run_once(sender: Any, receiver: Any, picture: Path, targets: Mapping[str, str]) -> dict[str, Any]:
    """One picture file to a mesh: seconds by stage of both halves, of the probed functions, and of the whole."""
    from somacast.capture.pictures import read_image

    with probed(targets) as inner:
        start = time.perf_counter()
        frame = read_image(picture)
        read = time.perf_counter()
        sent = sender.encode(frame)
        between = time.perf_counter()
        got = receiver.decode(sent.data)
        got.mesh()
        end = time.perf_counter()
    return {
        "sender": {"read picture": read - start, **sent.report["stage_times_s"]},
        "receiver": {k: v for k, v in got.stage_times_s.items() if k != "load"},
        "inner": dict(inner),
        "encode_s": between - start,
        "decode_s": end - between,
        "picture_to_mesh_s": end - start,
        "bytes": len(sent.data),
        "data": sent.data,
    }


def stage_rows(runs: list[dict[str, Any]], system: str) -> list[dict[str, Any]]:
    """Runs to one row per stage: half, stage, part_of (a stage above it, or None), median ms, share of the whole.

    Stages without `part_of` add up to the whole, but for medians being no means.
    """
    whole = float(np.median([r["picture_to_mesh_s"] for r in runs]))
    rows: list[dict[str, Any]] = []

    def add(half: str, stage: str, part_of: str | None, seconds: list[float]) -> None:
        middle = float(np.median(seconds))
        row = {"half": half, "stage": stage, "part_of": part_of, "ms": round(1000 * middle, 3)}
        rows.append(row | {"share": round(middle / whole, 4)})
        known = {name: [r["inner"][name] for r in runs] for name in PROBES.get(system, {}).get(stage, {})}
        for name, inside in known.items():
            add(half, name, stage, inside)
        if known:
            rest = np.subtract(seconds, np.sum(list(known.values()), 0))
            row = {"half": half, "stage": f"{stage}, rest", "part_of": stage, "ms": round(1000 * np.median(rest), 3)}
            rows.append(row | {"share": round(float(np.median(rest)) / whole, 4)})

    for half, total in (("sender", "encode_s"), ("receiver", "decode_s")):
        names = list(dict.fromkeys(name for r in runs for name in r[half]))
        if half == "sender" and len(names) > 3:  # the encoder told its own stages, which "semantics" sums up
            names.remove("semantics")
        values = {name: [r[half].get(name, 0.0) for r in runs] for name in names}
        for name, seconds in values.items():
            add(half, name, None, seconds)
        add(half, f"{half}, rest", None, list(np.subtract([r[total] for r in runs], np.sum(list(values.values()), 0))))
    return rows


def distribution(values: list[float]) -> dict[str, float]:
    """Median, mean, 95th percentile and maximum."""
    a = np.asarray(values, np.float64)
    figures = {"median": np.median(a), "mean": a.mean(), "p95": np.percentile(a, 95), "max": a.max()}
    return {name: round(float(value), 5) for name, value in figures.items()}


def measure_stages(config: SpeedConfig, folder: Path) -> dict[str, Any]:
    """Load, warm up, run every made picture; leaves picture_N.png, photograph.jpg and person.soma in `folder`."""
    pictures, photograph = make_pictures(config, folder)
    start = time.perf_counter()
    sender, receiver = load_halves(config.system, config.device)
    load_s = time.perf_counter() - start
    targets = {k: v for inner in PROBES.get(config.system, {}).values() for k, v in inner.items()}
    first = run_once(sender, receiver, pictures[0], targets)
    (folder / "person.soma").write_bytes(first["data"])
    runs = [run_once(sender, receiver, p, targets) for _ in range(config.repeats) for p in pictures]
    large = [run_once(sender, receiver, photograph, targets) for _ in range(config.repeats)]
    out: dict[str, Any] = {"load_s": round(load_s, 4), "first_person_s": round(first["picture_to_mesh_s"], 4)}
    out |= {k: distribution([r[k] for r in runs]) for k in ("picture_to_mesh_s", "encode_s", "decode_s", "bytes")}
    out["photograph"] = {k: distribution([r[k] for r in large]) for k in ("picture_to_mesh_s", "encode_s", "decode_s")}
    return out | {"stages": stage_rows(runs, config.system)}


def make_pictures(config: SpeedConfig, folder: Path) -> tuple[list[Path], Path]:
    """PNG files of made test people, and the first of them enlarged to a JPEG the size of a photograph."""
    from PIL import Image

    from somacast.geometry.preview import encode_png
    from somacast.synthetic.datasets.loaders import synthetic_test

    pictures = []
    for number, item in enumerate(synthetic_test(config.people, None, config.seed)):
        pictures.append(folder / f"picture_{number}.png")
        pictures[-1].write_bytes(encode_png(item.frame.image))
    photograph = folder / "photograph.jpg"
    with Image.open(pictures[0]) as picture:
        picture.resize((config.photograph_px, config.photograph_px)).save(photograph, quality=90)
    return pictures, photograph


# -- whole programs ---------------------------------------------------------------------------------------------------


def _python(*arguments: str | Path) -> tuple[str, float]:
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
        runs = [_python("-m", "somacast.cli.main", *arguments)[1] for _ in range(max(2, config.command_runs))]
        out[verb] = {"first_s": round(runs[0], 3), "second_s": round(runs[1], 3), "runs_s": [round(s, 3) for s in runs]}
    return out


def measure_memory(config: SpeedConfig, picture: Path, photograph: Path, folder: Path) -> dict[str, int]:
    """Peak bytes of fresh processes: sender, receiver, both after one another; and both for the large picture."""
    file = folder / "memory.soma"
    module = ("-m", "somacast.bench.speed.memory", config.system, config.device)
    out = {role: int(_python(*module, picture, file, role)[0].split()[-1]) for role in ROLES}
    out["chain_photograph"] = int(_python(*module, photograph, file, "chain")[0].split()[-1])
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
            _python("-m", "pip", "wheel", *options, "-w", Path(name) / "wheels", copy)
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


# -- all together -----------------------------------------------------------------------------------------------------


def measure_speed(config: SpeedConfig) -> dict[str, Any]:
    """Measure all, write the JSON, print it; returns what was written."""
    check_output_path(config.json_path)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    with limited_cores(config.cores), tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        results = measure_stages(config, folder)
        picture, photograph = folder / "picture_0.png", folder / "photograph.jpg"
        results["peak_memory_bytes"] = measure_memory(config, picture, photograph, folder)
        results["commands"] = measure_commands(config, picture, folder)
        about = machine()
    results["package"] = package_size()
    result = {
        "format": FORMAT,
        "system": config.system,
        "config": {k: v for k, v in asdict(config).items() if k != "json_path"},
        "seed": config.seed,
        "device": config.device,
        "commit": git_commit(PACKAGE),
        "weights_sha256": weights_digests(),
        "machine": about | {"load_average_before": load},
        "versions": versions(),
        "results": results,
    }
    write_atomically(config.json_path, (json.dumps(result, indent=1, allow_nan=False) + "\n").encode())
    print(summary(result))
    if load is not None and load > _BUSY_LOAD:
        print(f"somacast: note: the load average was {load:.1f} before: expected a quiet machine", file=sys.stderr)
    return result


def summary(result: dict[str, Any]) -> str:
    """The figures as text for a terminal."""
    r, out = result["results"], io.StringIO()
    for row in r["stages"]:
        indent = "    " if row["part_of"] else "  "
        print(f"{row['half']:<9}{indent + row['stage']:<28}{row['ms']:>9.1f} ms {100 * row['share']:>6.1f} %", file=out)
    for name in ("picture_to_mesh_s", "encode_s", "decode_s"):
        print(f"{name:<24} median {r[name]['median']:.3f}, worst {r[name]['max']:.3f}", file=out)
    print(f"photograph to mesh       median {r['photograph']['picture_to_mesh_s']['median']:.3f}", file=out)
    for role, held in r["peak_memory_bytes"].items():
        print(f"peak memory, {role:<17} {held / 1e9:.2f} GB", file=out)
    for verb, times in r["commands"].items():
        print(f"somacast {verb}: first run {times['first_s']:.2f} s, second {times['second_s']:.2f} s", file=out)
    sizes = ", ".join(f"{k} {v / 1e6:.1f} MB" for k, v in r["package"].items() if v is not None)
    print(sizes.replace("_bytes", ""), file=out, end="")
    return out.getvalue()
