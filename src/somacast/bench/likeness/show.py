"""What `somacast bench likeness` shows: its table, on the terminal and on pages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from somacast.bench.results import Result
from somacast.metrics.controls import GREY, MANNEQUIN, OTHER, TITLES

COLUMNS = (  # figure, heading, factor, digits
    ("bytes", "bytes", 1, 0), ("input_stlpips", "ST-LPIPS, input camera", 1, 3),
    ("sides_stlpips", "ST-LPIPS, other sides", 1, 3), ("input_iou", "IoU, input camera", 1, 3),
    ("side_same_person", "same person from 45 degrees, %", 100, 0), ("side_same_person_top5", "top 5, %", 100, 0),
    ("lean_deg", "lean, degrees", 1, 1), ("knees_deg", "knees, degrees", 1, 1),
    ("unseen_delta_e", "colour, unseen", 1, 1), ("iou", "IoU, four sides", 1, 3), ("mpjpe_m", "MPJPE mm", 1000, 0),
    ("pa_mpjpe_m", "PA-MPJPE mm", 1000, 0), ("centred_chamfer_m", "Chamfer cm", 100, 2),
    ("centred_normal_consistency", "normals", 1, 3),
)  # fmt: skip
_CONTROLS = (OTHER, GREY, MANNEQUIN)


def _cells(row: Mapping[str, Any], intervals: Mapping[str, Any], columns: tuple) -> list[str]:
    cells = []
    for key, _, factor, digits in columns:
        if row.get(key) is None:
            cells.append("")
            continue
        text = f"{factor * row[key]:.{digits}f}"
        if key in intervals and key != "bytes":
            low, high = (f"{factor * value:.{digits}f}" for value in intervals[key])
            text += f" ({low} to {high})"
        cells.append(text)
    return cells


def table_of(result: Result) -> tuple[list[str], list[list[str]]]:
    """Headings and rows: what is shown, then the figures; budgets first, controls behind them."""
    found = result.results
    budgets, controls = found["budgets"], found["controls"]
    shown = [*budgets.values(), *controls.values()]
    columns = tuple(c for c in COLUMNS if any(one.get("total", {}).get(c[0]) is not None for one in shown))
    rows = []
    for budget, one in budgets.items():
        lost = f", {one['failed']} of {found['people']} failed" if one["failed"] else ""
        rows.append([f"{int(budget):,} B{lost}", *_cells(one["total"], one.get("intervals", {}), columns)])
    for name in _CONTROLS:
        if name in controls:
            title = TITLES[name]
            if name == GREY:
                title += f", {result.provenance.config['judged_bytes']:,} B"
            rows.append([title, *_cells(controls[name]["total"], {}, columns)])
    return ["what is shown", *(c[1] for c in columns)], rows


def print_likeness(result: Result) -> None:
    """The table on stdout, and what failed."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    heads, rows = table_of(result)
    title = f"{result.provenance.system} on {result.results['people']} people"
    table = Table(title=title, box=SIMPLE, padding=(0, 1))
    for head in heads:
        table.add_column(head, justify="left" if head == heads[0] else "right")
    for row in rows:
        table.add_row(*(cell.split(" (")[0] for cell in row))
    console = Console(width=None if Console().is_terminal else 200)
    console.print(table)
    for line in _lines(result):
        console.print(line, markup=False)


def _lines(result: Result) -> Iterator[str]:
    yield from result.results["left_out"]
    for row in result.results["failures"]:
        yield (
            f"failed: {row['name']} ({row['action']}) at {row['budget_bytes']} B in the {row['stage']}: "
            f"{row['message']}"
        )
