"""How like people look: goals on docs/results.md, tables and sheets of people on docs/likeness/README.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from somacast.bench.likeness.show import table_of
from somacast.bench.report.reading import LIKENESS, LIKENESS_RIGGED, SIDES, SIDES_RIGGED, Committed
from somacast.bench.results import Result

NAMES = {LIKENESS: "synthetic people", LIKENESS_RIGGED: "rigged people"}
SHEETS = {
    "docs/likeness/synthetic.jpg": "Synthetic people that no training has seen",
    "docs/likeness/rigged.jpg": "Rigged people of another maker, likewise",
    "docs/likeness/photographs.jpg": "People rebuilt from photographs, whose truth nobody knows",
}


@dataclass(frozen=True)
class Goal:
    """A figure at a budget: floor and aim as they are shown; less: less is better; only: of one data set."""

    title: str
    budget: int
    key: str
    floor: float
    aim: float
    less: bool = True
    factor: float = 1.0
    digits: int = 3
    unit: str = ""
    only: str = ""

    def shown(self, value: float) -> str:
        """A value with its unit."""
        return f"{self.factor * value:.{self.digits}f}{self.unit}"

    def cell(self, result: Result | None) -> str:
        """What was measured, and whether that is enough."""
        budgets = {} if result is None else result.results["budgets"]
        value = budgets.get(str(self.budget), {}).get("total", {}).get(self.key)
        if value is None:
            return "not measured"
        reached = [value <= bound if self.less else value >= bound for bound in (self.floor, self.aim)]
        return f"**{self.shown(value)}** ({'aim' if reached[1] else 'floor' if reached[0] else '**no**'})"


_INPUT = ((110, 0.18, 0.16), (200, 0.165, 0.14), (300, 0.155, 0.13), (600, 0.14, 0.11), (1500, 0.12, 0.09))
GOALS = (
    *(Goal("ST-LPIPS, input camera", budget, "input_stlpips", floor, aim) for budget, floor, aim in _INPUT),
    Goal("ST-LPIPS, other sides", 600, "sides_stlpips", 0.20, 0.16),
    Goal("IoU of the silhouette, input camera", 600, "input_iou", 0.93, 0.96, less=False),
    Goal("IoU of the silhouette, four sides", 600, "iou", 0.72, 0.80, less=False),
    Goal("same person among 40, from 45 degrees beside", 600, "side_same_person", 0.85, 0.95, less=False, factor=100,
         digits=0, unit=" %"),
    Goal("Chamfer, centred", 600, "centred_chamfer_m", 0.034, 0.025, factor=100, digits=2, unit=" cm"),
    Goal("normals, absolute cosine", 600, "centred_normal_consistency", 0.79, 0.84, less=False),
    Goal("MPJPE", 600, "mpjpe_m", 0.070, 0.055, factor=1000, digits=0, unit=" mm"),
    Goal("PA-MPJPE", 600, "pa_mpjpe_m", 0.043, 0.035, factor=1000, digits=0, unit=" mm"),
    Goal("lean of the spine, standing, mean error", 600, "lean_deg", 6, 3, digits=1, unit=" deg",
         only=LIKENESS_RIGGED),
    Goal("bend of the knees, standing, mean error", 600, "knees_deg", 10, 6, digits=1, unit=" deg",
         only=LIKENESS_RIGGED),
)  # fmt: skip


def goal_lines(results: Mapping[str, Committed]) -> list[str]:
    """The part of docs/results.md; [] if nothing was measured."""
    shown = [name for name in NAMES if name in results]
    if not shown:
        return []
    heads = ["figure", "bytes", "floor", "aim", *(NAMES[name] for name in shown)]
    lines = ["", "## How like people look", "", f"| {' | '.join(heads)} |", f"| {' | '.join(['---'] * len(heads))} |"]
    for goal in GOALS:
        sense = "<=" if goal.less else ">="
        cells = [goal.cell(results[name].result) if goal.only in ("", name) else "" for name in shown]
        bounds = [f"{sense} {goal.shown(bound)}" for bound in (goal.floor, goal.aim)]
        lines.append(f"| {' | '.join([goal.title, str(goal.budget), *bounds, *cells])} |")
    lines += [
        "",
        "In brackets what is reached. People on sheets, all budgets and controls: [likeness](likeness/README.md).",
        "",
    ]
    return lines + [f"* {NAMES[name]}: `{results[name].command}`" for name in shown]


def sides_lines(results: Mapping[str, Committed]) -> list[str]:
    """What the truth about both sides would bring, the part of docs/results.md; [] if nothing was measured."""
    shown = [name for name in (SIDES, SIDES_RIGGED) if name in results]
    if not shown:
        return []
    lines = [
        "",
        "## What both sides of a person would bring",
        "",
        "The truth in place of look tokens, on labels as they travel before a picture: what is to be won, before any "
        "of it has cost a byte.",
    ]
    for name in shown:
        found = results[name].result.results
        columns = found["columns"]
        heads = [f"{found['people']} people, told", *(title for _, title, _, _ in columns)]
        lines += ["", f"| {' | '.join(heads)} |", f"| {' | '.join(['---'] * len(heads))} |"]
        for variant, row in found["variants"].items():
            cells = [f"{row[key] * factor:.{digits}f}" for key, _, digits, factor in columns]
            lines.append(f"| {' | '.join([variant, *cells])} |")
        lines += ["", f"`{results[name].command}`"]
    return lines


def likeness_block(results: Mapping[str, Committed], links: Callable[[Path], str]) -> str:
    """All that stands between the marks of docs/likeness/README.md."""
    lines = [""]
    for name, title in NAMES.items():
        if name not in results:
            continue
        result = results[name].result
        heads, rows = table_of(result)
        failed = len(result.results["failures"])
        lines += [
            f"## {title.capitalize()}",
            "",
            f"Means over the actions of {result.results['people']} people ({failed} failed: the grey mannequin stands "
            f"for them), 95 % intervals in brackets; {result.results['gallery']} people stand in each line-up. "
            f"Command: `{results[name].command}`",
            "",
            f"| {' | '.join(heads)} |",
            f"| {' | '.join(['---'] * len(heads))} |",
            *(f"| {' | '.join(row)} |" for row in rows),
            "",
        ]
    for place, title in SHEETS.items():
        link = links(Path(place))
        if link:
            lines += [f"## {title}", "", f"![{title}]({link})", ""]
    return "\n".join([*lines, ""]) if len(lines) > 1 else "\nNot measured yet.\n\n"
