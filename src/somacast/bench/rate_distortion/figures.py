"""What `somacast bench rd` shows: curves, a sheet of pictures, tables for the terminal and for docs/results.md."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from somacast.bench.rate_distortion.curves import BEST_PICTURE, QUALITIES, Quality, best_by, measured, points_of
from somacast.bench.rate_distortion.person import PersonResult
from somacast.bench.rate_distortion.systems import sends_pictures, title_of
from somacast.bench.results import Result
from somacast.extras import require
from somacast.geometry.reconstruction import Reconstruction
from somacast.metrics.controls import MANNEQUIN, TITLES
from somacast.synthetic.datasets.loaders import EvalItem
from somacast.systems import registry

VIEW_PX = 256
CROP_MARGIN = 0.05  # of the true picture on the sheet, around the person, each side
# Colours that are told apart by people who see red and green alike (after Okabe and Ito); ours is black.
_COLORS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#8C6D31")
_CONTROL_LINES = (MANNEQUIN,)  # drawn as a level line
SHOWN_BUDGETS = 12  # of a run, at most, in the table of the page


def _style(name: str, ours: str, number: int) -> dict[str, Any]:
    base, _, variant = name.partition(":")
    if base == ours:
        return {"color": "black", "linewidth": 1.2 if variant else 2.4, "zorder": 5,
                "linestyle": ":" if variant else "-", "marker": "." if variant else "o"}  # fmt: skip
    picture = sends_pictures(name)
    return {"color": _COLORS[number % len(_COLORS)], "linewidth": 1.3, "marker": "." if picture else "s",
            "linestyle": "-" if picture else "--"}  # fmt: skip


def draw_rd(result: Result) -> bytes:
    """A PNG of the curves in a result of `rd.measure_rd`: one panel for each figure, bytes on a logarithmic axis.

    SomacastError without matplotlib.
    """
    require("matplotlib", "drawing the curves")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    found, ours = result.results["systems"], str(result.provenance.system)
    figure = Figure(figsize=(14, 8), layout="constrained", dpi=110)
    FigureCanvasAgg(figure)
    baselines = [name for name in found if name.partition(":")[0] != ours]
    for panel, quality in enumerate(measured(found)):
        axes = figure.add_subplot(2, 3, panel + 1)
        for name, table in found.items():
            points = points_of(table, quality)
            if points:
                sizes, values = zip(*sorted(points), strict=True)
                shown = [quality.factor * quality.sign * value for value in values]
                style = _style(name, ours, baselines.index(name) if name in baselines else 0)
                axes.plot(sizes, shown, label=title_of(name), markersize=4, **style)
        for name in _CONTROL_LINES:
            value = result.results.get("controls", {}).get(name, {}).get(quality.key)
            if value is not None:
                axes.axhline(quality.factor * value, color="0.5", linewidth=1, linestyle="-.", label=TITLES[name])
        axes.set_xscale("log")
        axes.set_title(quality.title + (" (less is better)" if quality.sign < 0 else ""), fontsize=10)
        axes.set_xlabel("bytes of the file", fontsize=9)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.3, which="both")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=5, fontsize=8)  # over no curve
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def draw_sheet(item: EvalItem, result: PersonResult) -> np.ndarray:
    """A picture [H, W, 3]: the truth, then for each budget kept the default system's result beside that of the best
    picture codec (by the first of `curves.QUALITIES` that all have), each with the picture that was sent and four views
    of the person."""
    from somacast.capture.cropping import box_of_mask, square_crop
    from somacast.geometry.preview import contact_sheet, person_views, to_bytes_image

    box = box_of_mask(item.true_silhouette(), CROP_MARGIN)
    reference = to_bytes_image(square_crop(item.frame.image, box, VIEW_PX))
    blank = np.full((VIEW_PX, VIEW_PX, 3), 250, np.uint8)

    def strip(picture: np.ndarray | None, human: Reconstruction) -> np.ndarray:
        views = to_bytes_image(person_views(human, VIEW_PX))
        return np.concatenate([blank if picture is None else picture, views], 1)

    tiles = [("truth: picture (crop) and mesh", strip(reference, Reconstruction(item.truth))),
             ("", np.concatenate([blank] * 5, 1))]  # fmt: skip
    for budget in sorted({budget for _, budget in result.kept}):
        pictures = [name for name, at in result.kept if at == budget and sends_pictures(name)]
        best, quality = best_by({name: result.kept[name, budget].row for name in pictures})
        ours = registry.DEFAULT
        for name, caption in ((ours, title_of(ours)), (best, f"{BEST_PICTURE}, {title_of(best or 'none')}")):
            kept = result.kept.get((name, budget)) if name else None
            if kept is None:
                tiles.append((f"{budget} B, {caption}: nothing fits", np.concatenate([blank] * 5, 1)))
                continue
            figure = f"{quality.title} {quality.factor * kept.row.get(quality.key, 0):.{quality.digits}f}"
            caption_text = f"{budget} B, {caption}: {kept.row['bytes']} B, {figure}"
            tiles.append((caption_text, strip(kept.human.image, kept.human)))
    return contact_sheet(tiles, columns=2)


# -- tables -----------------------------------------------------------------------------------------------------------


def _value(row: dict[str, Any] | None, quality: Quality) -> str:
    """A mean for a table; "-" where nothing fits, with the share of people who came through if it is not everybody."""
    if not row or not row["people"] or row.get(quality.key) is None:
        return "-"
    lost = row["too_small"] + row["failed"]
    share = f" ({row['people']} of {row['people'] + lost})" if lost else ""
    return f"{quality.factor * row[quality.key]:.{quality.digits}f}{share}"


def _rate(row: dict[str, Any]) -> str:
    return f"{row['bd_rate_percent']:+.0f} %" if row["bd_rate_percent"] is not None else "none"


def print_rd(result: Result) -> None:
    """Means and delta rates on stdout."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    found, console = result.results, Console()
    for quality in measured(found["systems"])[:3]:
        table = Table(title=f"{quality.title}, {found['people'] - found['failed']} people", box=SIMPLE, padding=0)
        budgets = [str(b) for b in sorted(result.provenance.config["budgets_bytes"])]
        for heading in ("bytes", *map(title_of, found["systems"])):
            table.add_column(heading, justify="right")
        for b in budgets:
            table.add_row(b, *(_value(rows.get(b), quality).replace(" of ", "/") for rows in found["systems"].values()))
        console.print(table)
    for key, baselines in found.get("bd_rate", {}).items():
        for name, row in baselines.items():
            note = f" ({row['note']})" if row["note"] else ""
            against = f"BD-rate of {title_of(str(result.provenance.system))} against {title_of(name)}"
            console.print(f"{against}, {key}: {_rate(row)}{note}", markup=False)
    for person in result.rows:
        if person["fault"]:
            console.print(f"failed: {person['name']} ({person['action']}): {person['fault']}", markup=False)


def controls_line(controls: dict[str, dict[str, Any]], quality: Quality) -> list[str]:
    """What controls reach at no bytes at all, in one paragraph; [] if none was measured."""
    values = [(TITLES[name], row) for name, row in controls.items() if row.get(quality.key) is not None]
    text = ", ".join(f"{title} {_value(row, quality)}" for title, row in values)
    return ["", f"Controls, in place of any file: {text}."] if values else []


def needed_lines(found: dict[str, Any], ours: str) -> list[str]:
    """Table of the bytes that the others need for the best that `ours` reaches, by figure; [] without figures."""
    best = {key: rows[-1] for key, rows in found.get("at_our_quality", {}).items() if rows}
    shown = [quality for quality in QUALITIES if quality.key in best]
    if not shown:
        return []
    heads = ["bytes for our best", *(q.title.split(" cm")[0].split(" dB")[0] for q in shown)]
    values = [f"{best[q.key]['bytes']:.0f} ({q.factor * best[q.key]['quality']:.{q.digits}f})" for q in shown]
    lines = ["", f"| {' | '.join(heads)} |", f"| {' | '.join(['---'] * len(heads))} |",
             f"| **{ours}** (what it reaches) | {' | '.join(values)} |"]  # fmt: skip
    for name in best[shown[0].key]["others_bytes"]:
        needed = [best[q.key]["others_bytes"].get(name) for q in shown]
        cells = ["never" if size is None else f"{size:,.0f}" for size in needed]
        lines.append(f"| {title_of(name)} | {' | '.join(cells)} |")
    lines += ["", "`never`: at no number of bytes that was measured."]
    return lines


def _sizes_lines(found: dict[str, Any], ours: str) -> list[str]:
    """Delta rates of our files of some sizes against the best picture codec, a paragraph; [] if there are none."""
    by_sizes = found.get("bd_rate_of_sizes", {}).get(QUALITIES[0].key)
    if not by_sizes:
        return []
    rates = ", ".join(f"{sizes.replace('-', ' to ')} B {_rate(row)}" for sizes, row in by_sizes.items())
    return ["", f"BD-rate of {ours} against the {BEST_PICTURE} by {QUALITIES[0].title}, of our files of {rates}."]


def report_lines(result: Result, title: str, figure: str, sheet: str | None) -> list[str]:
    """Markdown of a result: means at some budgets, what the others need for the same, delta rates, the curves; paths of
    the pictures as links."""
    found, config, ours = result.results, result.provenance.config, title_of(str(result.provenance.system))
    budgets = sorted(config["budgets_bytes"])
    budgets = budgets[:: -(-len(budgets) // SHOWN_BUDGETS)]
    shown = measured(found["systems"]) or list(QUALITIES)
    lines = ["", f"## {title}", ""]
    lines.append(
        f"Means of {found['people'] - found['failed']} people at some budgets. Coded pictures have their background "
        "flattened, are rebuilt by our own networks at the receiver and laid over the person there, their files chosen "
        f"by the first figure; `-`: nothing fits; {config['protocol']['samples']:,} samples on each surface."
    )
    for quality in shown[:2]:
        sense = " (less is better)" if quality.sign < 0 else ""
        heads = [f"{quality.title}{sense}", *(f"{b} B" for b in budgets)]
        lines += ["", f"| {' | '.join(heads)} |", f"| {' | '.join(['---'] * len(heads))} |"]
        for name, rows in found["systems"].items():
            lines.append(f"| {' | '.join([title_of(name), *(_value(rows.get(str(b)), quality) for b in budgets)])} |")
        lines += controls_line(found.get("controls", {}), quality)
    lines += needed_lines(found, ours)
    rates = found.get("bd_rate", {})
    if rates:
        shown = [q for q in shown if q.key in rates]
        heads = [f"BD-rate of {ours} against", *(q.title.split(" cm")[0].split(" dB")[0] for q in shown)]
        lines += ["", f"| {' | '.join(heads)} |", f"| {' | '.join(['---'] * len(heads))} |"]
        notes: list[str] = []
        for name in rates[shown[0].key]:
            cells = []
            for q in shown:
                row = rates[q.key][name]
                cells.append(_rate(row))
                if row["note"] and name == BEST_PICTURE:
                    notes.append(f"{q.title}: {row['note']}")
            lines.append(f"| {' | '.join([title_of(name), *cells])} |")
        lines += ["", "`none`: it cannot be told, for the reason given in the file." if not notes else
                  f"`none`: it cannot be told. Against the best picture codec: {'; '.join(notes)}."]  # fmt: skip
    lines += _sizes_lines(found, ours)
    lines += ["", f"![Quality against bytes]({figure})"]
    if sheet:
        lines += ["", f"![{ours} beside the best picture codec at the same number of bytes]({sheet})"]
    return lines
