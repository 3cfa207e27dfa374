"""The part of docs/results.md about stills: figures against their floors, by action, against other systems."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from somacast.bench.report.chain import chain_lines
from somacast.bench.report.figures import FIGURES
from somacast.bench.report.likeness import goal_lines, sides_lines
from somacast.bench.report.people import people_lines
from somacast.bench.report.reading import COMMANDS, FULL, HEIGHT, OTHERS, SMALL, Committed
from somacast.bench.results import Result

# Results of `bench rd`, and their headings.
CURVES = {
    "rd": "Against other ways to send the person",
    "rd_rigged": "Against other ways to send people of another maker",
}


def table(results: Mapping[str, Committed]) -> list[str]:
    """Lines of the table of figures."""
    lines = ["| figure | floor | measured | reached |  | command |", "| --- | --- | --- | --- | --- | --- |"]
    letters = {name: "ABCDE"[i] for i, name in enumerate((FULL, SMALL, "speed", "people", "ablations"))}
    for figure in FIGURES:
        floor = f"{'>=' if figure.at_least else '<='} {figure.shown(figure.floor)}"
        result = results[figure.source].result if figure.source in results else None
        number = None if result is None else figure.value(result)
        if result is None or number is None:
            cells = [figure.name, floor, "not measured", "-", ""]
        else:
            kept = "yes" if figure.reached(number) else "**no**"
            remark = figure.remark(result) if figure.remark else ""
            cells = [figure.name, floor, f"**{figure.shown(number)}**", kept, remark]
        lines.append(f"| {' | '.join([*cells, letters[figure.source]])} |")
    lines += ["", "Commands:", ""]
    for name, letter in letters.items():
        known = name in results
        lines.append(
            f"* {letter}: `{results[name].command if known else COMMANDS[name]}`{'' if known else ' (to be run)'}"
        )
    return lines


def actions_table(result: Result) -> list[str]:
    """Lines of the table by action and by turn, at full quality."""
    columns = (("SSIM whole", "ssim_whole", 1, 3), ("SSIM box", "ssim_box", 1, 3), ("MSE", "mse", 1, 4),
               ("Chamfer cm", "centred_chamfer_m", 100, 2), ("MPJPE mm", "mpjpe_m", 1000, 0),
               ("PA mm", "pa_mpjpe_m", 1000, 0), ("bytes", "bytes", 1, 0))  # fmt: skip
    measured = result.results
    rows = [(name, measured["counts"].get(name), row) for name, row in measured["actions"].items()]
    rows += [(f"seen from: {name}", row.get("people"), row) for name, row in measured.get("by_yaw", {}).items()]
    heads = ["people", "count", *(c[0] for c in columns)]
    lines = ["", f"| {' | '.join(heads)} |", f"| {' | '.join(['---'] * len(heads))} |"]
    for name, count, row in rows:
        cells = ["-" if row.get(k) is None else f"{row[k] * f:.{d}f}" for _, k, f, d in columns]
        lines.append(f"| {' | '.join([name, str(count), *cells])} |")
    return lines


def stages_line(result: Result) -> str:
    """Where the time goes, in one sentence."""
    rows = [row for row in result.results["stages"] if row["part_of"] is None and row["share"] >= 0.01]
    parts = [f"{row['stage']} {row['ms']:.0f} ms" for row in rows]
    return f"Where the time goes, medians of the stages above 1 %: {', '.join(parts)}."


def detector_line(one: Committed) -> str:
    """How often one person is found, and nobody, in one paragraph."""
    found = one.result.results
    sender, alone = found["sender"], found["detector"]
    return (
        f"**Is there somebody?** Of {found['people']} made scenes of one clear person the sender finds "
        f"{100 * sender['found']:.1f} % where they are (goal 97), of {found['empty']} pictures without a person it "
        f"takes {100 * sender['false']:.1f} % for one (goal 3); the detector alone {100 * alone['found']:.1f} and "
        f"{100 * alone['false']:.1f} %. Command: `{one.command}`"
    )


def others_line(others: Committed, full: Committed) -> str:
    """People of other makers beside the made ones, in one paragraph."""
    there, here = others.result.results["total"], full.result.results["total"]
    count, failed = others.result.results["people"], others.result.results["failed"]
    ratio = there["centred_chamfer_m"] / here["centred_chamfer_m"]
    return (
        f"**People of other makers** ({count} pictures, {failed} refused): SSIM {there['ssim_whole']:.3f} whole, "
        f"{there['ssim_box']:.3f} box ({there['ssim_box'] - here['ssim_box']:+.3f} against synthetic, floor -0.05), "
        f"Chamfer {100 * there['centred_chamfer_m']:.2f} cm (times {ratio:.2f}, floor 1.60). "
        f"Command: `{others.command}`"
    )


def height_line(with_height: Committed, full: Committed) -> str:
    """The same people when the sender knows how tall they are, in one paragraph."""
    there, here = with_height.result.results["total"], full.result.results["total"]
    shown = (("SSIM whole", "ssim_whole", 1, 3), ("box", "ssim_box", 1, 3), ("MSE", "mse", 1, 4),
             ("Chamfer cm", "centred_chamfer_m", 100, 2), ("MPJPE mm", "mpjpe_m", 1000, 0))  # fmt: skip
    parts = [f"{name} {there[key] * f:.{d}f} (without {here[key] * f:.{d}f})" for name, key, f, d in shown]
    return f"**Known height** (`encode --height-m`): {', '.join(parts)}. Command: `{with_height.command}`"


def still_lines(results: Mapping[str, Committed], links: Callable[[Path], str]) -> list[str]:
    """All lines about stills. links: from a path of the working copy to what the page calls it, "" if there is none."""
    lines = [*people_lines(results), "## Stills: floors, times, and the paper's figures", "", *table(results)]
    full = results.get(FULL)
    if full is not None:
        failed, people = full.result.results["failed"], full.result.results["people"]
        lines += actions_table(full.result)
        lines += [
            "",
            f"{failed} of {people} people failed; the grey mannequin stands for them in the means of figures. Totals "
            "are means over the actions.",
        ]
    if "speed" in results:
        lines += ["", stages_line(results["speed"].result)]
    if "detector" in results:
        lines += ["", detector_line(results["detector"])]
    if HEIGHT in results and full is not None:
        lines += ["", height_line(results[HEIGHT], full)]
    if OTHERS in results and full is not None:
        lines += ["", others_line(results[OTHERS], full)]
    lines += [*goal_lines(results), *chain_lines(results), *sides_lines(results)]
    for name, title in CURVES.items():
        if name in results:
            from somacast.bench.rate_distortion.figures import report_lines

            one = results[name]
            figure, sheet = (one.path.with_name(f"{one.path.stem}{end}") for end in (".png", "_pictures.jpg"))
            lines += report_lines(one.result, title, links(figure), links(sheet) or None)
            lines += ["", f"Command: `{one.command}`"]
    return lines
