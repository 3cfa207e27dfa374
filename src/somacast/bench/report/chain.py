"""What each part of a system's chain is worth, the part of docs/results.md about its study."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from somacast.bench.report.reading import ALLOCATION, CHAIN, CHAIN_RIGGED, Committed

_HEADS = ("without", "eq.", "bytes", "ST-LPIPS, input camera", "other sides", "IoU, four sides", "MPJPE mm", "verdict")


def chain_lines(results: Mapping[str, Committed]) -> list[str]:
    """Tables of people without each part, and how tokens are chosen; [] if nothing was measured."""
    shown = [name for name in (CHAIN, CHAIN_RIGGED) if name in results]
    lines = []
    if shown:
        lines = [
            "",
            "## What each part of the chain is worth",
            "",
            "People from files of the same bytes, one part taken away at a time; look tokens are sent to everybody. "
            "How much worse that is in % of the first row's figure, over the same people, with 95 % intervals. A part "
            "carries weight if its interval lies above 0 from the input camera or from the other sides.",
        ]
    for name in shown:
        found = results[name].result.results
        for budget, table in found["tables"].items():
            lines += ["", f"{found['people']} people, {budget} bytes:", ""]
            lines += [f"| {' | '.join(_HEADS)} |", f"| {' | '.join(['---'] * len(_HEADS))} |"]
            whole = next(iter(table.values()))
            lines += [f"| {' | '.join(_cells(part, row, whole))} |" for part, row in table.items()]
        lines += ["", f"`{results[name].command}`"]
    if ALLOCATION in results:
        lines += _allocation(results[ALLOCATION])
    return lines


def _cells(part: str, row: Mapping[str, Any], whole: Mapping[str, Any]) -> list[str]:
    """One row of the table; the first, `whole`, is compared with nothing."""
    cells = [part, row["equations"], f"{row['bytes']:.0f}"]
    worse = []
    for key in ("input_stlpips", "sides_stlpips"):
        mean, low, high = (100 * value / whole[key] for value in row["difference"][key])
        worse.append((low, high))
        change = "" if row is whole else f" ({mean:+.1f} %, {low:+.1f} to {high:+.1f})"
        cells.append(f"{row[key]:.4f}{change}")
    cells += [f"{row['iou']:.3f}", f"{1000 * row['mpjpe_m']:.1f}"]
    return [*cells, "" if row is whole else _verdict(worse)]


def _verdict(worse: list[tuple[float, float]]) -> str:
    if any(low > 0 for low, _ in worse):
        return "carries" if all(high > 0 for _, high in worse) else "carries one view, costs the other"
    return "costs" if any(high < 0 for _, high in worse) else "carries nothing measurable"


def _allocation(one: Committed) -> list[str]:
    """How far the rule of importance is from the best choice of tokens."""
    lines = [
        "",
        "**Which tokens are sent** (eq. 14 and 17), perceptual error of both sides against a search that knows the "
        "truth:",
        "",
        "| bytes | rule | search | by chance | all | none | rule above search |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for budget, table in one.result.results["tables"].items():
        errors = [f"{table[name]:.4f}" for name in ("rule", "search", "chance", "everything", "nothing")]
        mean, low, high = (100 * value for value in table["rule_above"])
        lines.append(f"| {' | '.join([budget, *errors, f'{mean:+.1f} % ({low:+.1f} to {high:+.1f})'])} |")
    return [*lines, "", f"`{one.command}`"]
