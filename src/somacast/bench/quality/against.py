"""`somacast bench against`: this checkout beside another one, on the same pictures, in one run.

Both are run as commands with their own sources, so that nothing of one reaches the other. Figures are compared person
by person; times are medians of runs that take turns, and stand as ratios: below 1, this checkout is the quicker one.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import somacast
from somacast.bench.quality.config import AgainstConfig
from somacast.bench.results import Result, describe_run, git_commit, write_result
from somacast.errors import SomacastError

FIGURES = (
    "ssim_whole",
    "ssim_box",
    "mse",
    "iou",
    "centred_chamfer_m",
    "raw_chamfer_m",
    "mpjpe_m",
    "pa_mpjpe_m",
    "lean_deg",
    "knees_deg",
    "bytes",
)
LOADED = ("encode_s", "decode_s")
HERE, THERE = "here", "there"


class Checkout:
    """Sources that are run as `python -m somacast.cli.main` by this interpreter."""

    def __init__(self, sources: Path) -> None:
        if not (sources / "somacast" / "__init__.py").is_file():
            raise SomacastError(f"{sources}: expected the folder src/ of a checkout, with somacast/ in it")
        self.sources = sources

    def run(self, *arguments: str) -> float:
        """Seconds that a command took; SomacastError with its last line if it fails."""
        environment = {**os.environ, "PYTHONPATH": str(self.sources)}
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "somacast.cli.main", *arguments], env=environment, capture_output=True, text=True
        )
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise SomacastError(f"{self.sources}: somacast {arguments[0]} failed: {last}")
        return time.perf_counter() - start

    def evaluate(self, config: AgainstConfig, people: int, folder: Path) -> list[dict[str, Any]]:
        """Rows of `somacast evaluate`, one for each person that came through."""
        out = folder / "evaluation.json"
        self.run(
            "evaluate", "--system", config.system, "--data", "synthetic-test", "--people", str(people),
            "--seed", str(config.seed), "--json", str(out),
        )  # fmt: skip
        found = json.loads(out.read_text())
        return found["rows"] if "rows" in found else found["people"]  # the name before results had one form


def compare_people(here: list[dict[str, Any]], there: list[dict[str, Any]]) -> dict[str, Any]:
    """By figure: both means over the people whom both measured, their difference, and the largest of one person."""
    ours, theirs = ({row["name"]: row for row in rows} for rows in (here, there))
    names = [name for name in ours if name in theirs]
    if not names:
        raise SomacastError("no person came through both checkouts; expected at least one")
    figures = {}
    for figure in FIGURES:
        pairs = [(ours[n][figure], theirs[n][figure]) for n in names if figure in ours[n] and figure in theirs[n]]
        if pairs:
            means = [sum(column) / len(pairs) for column in zip(*pairs, strict=True)]
            largest = max(abs(a - b) for a, b in pairs)
            figures[figure] = {HERE: means[0], THERE: means[1], "difference": means[0] - means[1], "largest": largest}
    return {"people": len(names), "only_here": len(ours) - len(names), "only_there": len(theirs) - len(names),
            "figures": figures}  # fmt: skip


def _ratio(times: dict[str, list[float]]) -> dict[str, float]:
    medians = {side: statistics.median(values) for side, values in times.items()}
    return {**{f"{side}_s": value for side, value in medians.items()}, "ratio": medians[HERE] / medians[THERE]}


def measure_against(config: AgainstConfig) -> Result:
    """Compare, write the JSON, return it."""
    sides = {HERE: Checkout(Path(somacast.__file__).parents[1]), THERE: Checkout(config.other / "src")}
    times: dict[str, dict[str, list[float]]] = {
        name: {HERE: [], THERE: []}
        for name in ("encode command", "decode command", "picture to bytes", "bytes to mesh")
    }
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        rows = {side: checkout.evaluate(config, config.people, folder) for side, checkout in sides.items()}
        sides[HERE].run("demo", "--out", str(folder / "demo"))
        picture = str(folder / "demo" / "input.png")
        for number in range(-1, config.repeats):  # the first round fills caches and is not counted
            for side in (HERE, THERE) if number % 2 else (THERE, HERE):
                file, mesh = str(folder / f"{side}.soma"), str(folder / f"{side}.glb")
                encode_s = sides[side].run("encode", picture, "-o", file, "--system", config.system)
                decode_s = sides[side].run("decode", file, "-o", mesh)
                loaded = sides[side].evaluate(config, config.timed_people, folder) if number >= 0 else []
                if number >= 0:
                    times["encode command"][side].append(encode_s)
                    times["decode command"][side].append(decode_s)
                    times["picture to bytes"][side] += [row[LOADED[0]] for row in loaded]
                    times["bytes to mesh"][side] += [row[LOADED[1]] for row in loaded]
    results = {
        "other_commit": git_commit(config.other),
        "same_people": compare_people(rows[HERE], rows[THERE]),
        "times": {name: _ratio(both) for name, both in times.items()},
    }
    return write_result(config.json_path, Result("against", describe_run("against", config), results))
