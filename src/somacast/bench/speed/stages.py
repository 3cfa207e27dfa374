"""`somacast bench speed`: how long every stage takes, what the commands cost as a whole, memory and size on disk.

All of it on synthetic people, so that nothing but the installed package is needed.
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from somacast.bench.halves import load_halves
from somacast.bench.results import Result, describe_run, write_result
from somacast.bench.speed.config import SpeedConfig
from somacast.bench.speed.programs import limited_cores, measure_commands, measure_memory, package_size
from somacast.files import check_output_path
from somacast.timing import StageClock, stage
from somacast.types import Capture

_BUSY_LOAD = 0.5  # load average at the start above which somebody else is at work


def run_once(sender: Any, receiver: Any, picture: Path, budget_bytes: int | None = None) -> dict[str, Any]:
    """One picture file to a mesh, in a file of at most budget_bytes: the clock that heard all stages of both halves,
    seconds of the whole, the file."""
    from somacast.capture.pictures import read_image

    clock = StageClock()
    with clock.recording():
        with stage("sender"):
            with stage("read picture"):
                frame = read_image(picture)
            sent = sender.encode(Capture([frame]), budget_bytes)
        with stage("receiver"):
            receiver.decode(sent.data).mesh()
    encode_s, decode_s = clock.times_s["sender"], clock.times_s["receiver"]
    return {"clock": clock, "encode_s": encode_s, "decode_s": decode_s, "picture_to_mesh_s": encode_s + decode_s,
            "bytes": len(sent.data), "data": sent.data}  # fmt: skip


def stage_rows(clocks: Sequence[StageClock]) -> list[dict[str, Any]]:
    """Runs to one row per stage: half, stage, part_of (a stage above it, or None), median ms, share of the whole.

    Stages without `part_of` add up to the whole, but for medians being no means. "..., rest" is what no stage inside
    another tells of it.
    """
    whole = float(np.median([sum(clock.times_s.values()) for clock in clocks]))
    rows: list[dict[str, Any]] = []

    def seconds_of(path: tuple[str, ...]) -> np.ndarray:
        return np.array([clock.seconds.get(path, 0.0) for clock in clocks])

    def add(half: str, name: str, part_of: str | None, seconds: np.ndarray) -> None:
        middle = float(np.median(seconds))
        row = {"half": half, "stage": name, "part_of": part_of, "ms": round(1000 * middle, 3)}
        rows.append(row | {"share": round(middle / whole, 4)})

    def add_inside(half: str, path: tuple[str, ...], part_of: str | None) -> None:
        inner = _inside(clocks, path)
        for one in inner:
            add(half, one[-1], part_of, seconds_of(one))
            add_inside(half, one, one[-1])
        if inner:
            add(half, f"{path[-1]}, rest", part_of, seconds_of(path) - sum(seconds_of(one) for one in inner))

    for half in ("sender", "receiver"):
        add_inside(half, (half,), None)
    return rows


def _inside(clocks: Sequence[StageClock], path: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Paths of the stages right inside one; "semantics" gives its own in its place, where it has any, and loading,
    which is over before, is part of the rest."""
    found: list[tuple[str, ...]] = []
    for one in dict.fromkeys((*path, name) for clock in clocks for name in clock.inside(*path)):
        if one[-1] != "load":
            found += (one[-1] == "semantics" and _inside(clocks, one)) or [one]
    return found


def distribution(values: list[float]) -> dict[str, float]:
    """Median, mean, 95th percentile and maximum."""
    a = np.asarray(values, np.float64)
    figures = {"median": np.median(a), "mean": a.mean(), "p95": np.percentile(a, 95), "max": a.max()}
    return {name: round(float(value), 5) for name, value in figures.items()}


def measure_stages(config: SpeedConfig, folder: Path) -> dict[str, Any]:
    """Load, warm up, run every made picture; leaves picture_N.png, photograph.jpg and person.soma in `folder`."""
    pictures, photograph = make_pictures(config, folder)
    start = time.perf_counter()
    sender, receiver = load_halves(config.system, config.device, by_looks=False)
    load_s = time.perf_counter() - start
    first = run_once(sender, receiver, pictures[0])
    (folder / "person.soma").write_bytes(first["data"])
    runs = [run_once(sender, receiver, p) for _ in range(config.repeats) for p in pictures]
    large = [run_once(sender, receiver, photograph) for _ in range(config.repeats)]
    out: dict[str, Any] = {"load_s": round(load_s, 4), "first_person_s": round(first["picture_to_mesh_s"], 4)}
    out |= {k: distribution([r[k] for r in runs]) for k in ("picture_to_mesh_s", "encode_s", "decode_s", "bytes")}
    out["photograph"] = {k: distribution([r[k] for r in large]) for k in ("picture_to_mesh_s", "encode_s", "decode_s")}
    out["budgets"] = {str(b): _on_a_budget(sender, receiver, pictures, b, config.repeats) for b in config.budgets_bytes}
    return out | {"stages": stage_rows([r["clock"] for r in runs])}


def _on_a_budget(sender: Any, receiver: Any, pictures: Sequence[Path], budget: int, repeats: int) -> dict[str, Any]:
    """Times and stages of files of at most so many bytes, which hold more than those without a budget; what is run for
    the first time is not counted."""
    run_once(sender, receiver, pictures[0], budget)
    runs = [run_once(sender, receiver, p, budget) for _ in range(repeats) for p in pictures]
    found: dict[str, Any] = {k: distribution([r[k] for r in runs]) for k in ("encode_s", "decode_s", "bytes")}
    return found | {"stages": stage_rows([r["clock"] for r in runs])}


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


def measure_speed(config: SpeedConfig) -> Result:
    """Measure all, write the JSON, print it; returns what was written."""
    check_output_path(config.json_path)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    with limited_cores(config.cores), tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        results = measure_stages(config, folder)
        picture, photograph = folder / "picture_0.png", folder / "photograph.jpg"
        results["peak_memory_bytes"] = measure_memory(config, picture, photograph, folder)
        results["commands"] = measure_commands(config, picture, folder)
        about = describe_run("speed", config)
    about.machine["load_average_before"] = load
    results["package"] = package_size()
    result = write_result(config.json_path, Result("speed", about, results))
    print(summary(result))
    if load is not None and load > _BUSY_LOAD:
        print(f"somacast: note: the load average was {load:.1f} before: expected a quiet machine", file=sys.stderr)
    return result


def summary(result: Result) -> str:
    """The figures as text for a terminal."""
    r, out = result.results, io.StringIO()
    for row in r["stages"]:
        indent = "    " if row["part_of"] else "  "
        print(f"{row['half']:<9}{indent + row['stage']:<28}{row['ms']:>9.1f} ms {100 * row['share']:>6.1f} %", file=out)
    for name in ("picture_to_mesh_s", "encode_s", "decode_s"):
        print(f"{name:<24} median {r[name]['median']:.3f}, worst {r[name]['max']:.3f}", file=out)
    for budget, found in r["budgets"].items():
        medians = [f"{1000 * found[k]['median']:.0f} ms" for k in ("encode_s", "decode_s")]
        print(f"at {budget} B".ljust(24), f"picture to bytes {medians[0]}, bytes to mesh {medians[1]}", file=out)
    print(f"photograph to mesh       median {r['photograph']['picture_to_mesh_s']['median']:.3f}", file=out)
    for role, held in r["peak_memory_bytes"].items():
        print(f"peak memory, {role:<17} {f'{held / 1e9:.2f} GB' if held else 'not known here'}", file=out)
    for verb, times in r["commands"].items():
        print(f"somacast {verb}: first run {times['first_s']:.2f} s, second {times['second_s']:.2f} s", file=out)
    sizes = ", ".join(f"{k} {v / 1e6:.1f} MB" for k, v in r["package"].items() if v is not None)
    print(sizes.replace("_bytes", ""), file=out, end="")
    return out.getvalue()
