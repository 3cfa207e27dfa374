"""Learning curves as one picture, from the lines that trainings write."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from somacast.errors import SomacastError
from somacast.extras import require

# One panel each: title, keys, logarithmic or not.
PANELS = (
    ("extract, held out: joints, px of 128", ("joints_px", "joints_median_px"), False),
    ("extract, held out: joint depth, mm", ("z_mm",), False),
    ("extract, held out: joint turn, degrees", ("angle_deg", "pelvis_median_deg"), False),
    ("extract, held out: silhouette IoU", ("iou",), False),
    ("semantic coder, held out: joints, mm", ("mpjpe_mm", "pa_mm"), False),
)


def read_curve(path: Path) -> list[dict[str, Any]]:
    """Rows of a learning curve; lines without samples, steps or minutes (a recipe) are left out."""
    try:
        rows = [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as fault:
        raise SomacastError(f"{path}: cannot be read ({fault}); expected one JSON object per line") from fault
    return [row for row in rows if isinstance(row, dict) and _x_of(row)]


def _x_of(row: dict[str, Any]) -> tuple[str, float] | None:
    for name, label in (("samples", "samples seen"), ("step", "steps"), ("min", "minutes")):
        if isinstance(row.get(name), (int, float)):
            return label, float(row[name])
    return None


def series(rows: list[dict[str, Any]], keys: Sequence[str]) -> dict[str, tuple[list[float], list[float]]]:
    """Curves of the keys that the rows have: name -> (x, y)."""
    out = {}
    for name in keys:
        points = []
        for row in rows:
            x, y = _x_of(row), row.get(name)
            if x and isinstance(y, (int, float)) and math.isfinite(y):
                points.append((x[1], float(y)))
        if points:
            out[name] = ([p[0] for p in points], [p[1] for p in points])
    return out


def draw_curves(paths: Sequence[Path]) -> bytes:
    """A PNG with one panel for each kind of figure, runs side by side in it. SomacastError if no file has any."""
    runs = {path.stem: read_curve(path) for path in paths}
    panels = []
    for title, keys, logarithmic in PANELS:
        found = {run: series(rows, keys) for run, rows in runs.items()}
        found = {run: curves for run, curves in found.items() if curves}
        if found:
            panels.append((title, found, logarithmic, next(_x_of(runs[run][0]) for run in found)))
    if not panels:
        raise SomacastError(f"{paths[0].parent}: no learning curve there; expected lines with samples and figures")
    require("matplotlib", "a figure of learning curves")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(3, len(panels))
    lines = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(4.6 * columns, 3.0 * lines), layout="constrained", dpi=110)
    FigureCanvasAgg(figure)
    for i, (title, found, logarithmic, x) in enumerate(panels):
        axes = figure.add_subplot(lines, columns, i + 1)
        for run, curves in found.items():
            for name, (xs, ys) in curves.items():
                axes.plot(xs, ys, marker="." if len(xs) < 40 else None, label=f"{run}: {name}", linewidth=1.2)
        axes.set_title(title, fontsize=9)
        axes.set_xlabel(x[0] if x else "", fontsize=8)
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.3)
        if logarithmic:
            axes.set_yscale("log")
        axes.legend(fontsize=6)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
