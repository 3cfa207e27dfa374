"""The first part of docs/results.md: what a viewer gets, beside the truth and all that could be shown instead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from somacast.bench.report.reading import FULL, LIKENESS, LIKENESS_RIGGED, RIGGED, Committed
from somacast.bench.results import Result
from somacast.metrics.controls import BLURRED, GREY, HEADLINES, MANNEQUIN, MIRRORED, OTHER, TITLES, TRUTH

# figure, heading, factor, places; the first ones are the headlines
_COLUMNS = (
    ("input_stlpips", "ST-LPIPS", 1, 3), ("input_iou", "IoU", 1, 3), ("same_person", "same person, top 1", 100, 0),
    ("centred_chamfer_m", "Chamfer cm", 100, 2), ("mpjpe_m", "MPJPE mm", 1000, 0), ("bytes", "bytes", 1, 0),
    ("sides_stlpips", "ST-LPIPS, other sides", 1, 3), ("same_person_top5", "top 5", 100, 0),
    ("face_distance", "face distance", 1, 2), ("input_delta_e", "colour, seen", 1, 1),
    ("unseen_delta_e", "colour, unseen", 1, 1), ("input_normal_deg", "normals deg", 1, 0),
    ("silhouette_iou", "IoU of the sender's silhouette", 1, 3), ("lean_deg", "lean, degrees", 1, 1),
    ("knees_deg", "knees, degrees", 1, 1),
)  # fmt: skip
_ORDER = (TRUTH, BLURRED, "", OTHER, GREY, MIRRORED, MANNEQUIN)  # "": the system
_PAPERS = (("ssim_whole", "SSIM whole", 1, 3), ("ssim_box", "SSIM box", 1, 3), ("mse", "MSE", 1, 4),
           ("psnr_db", "PSNR dB", 1, 1))  # fmt: skip
_VIEWS = (("stlpips", "ST-LPIPS", 3), ("iou", "IoU", 3), ("delta_e", "colour", 1), ("normal_deg", "normals deg", 0),
          ("ssim_box", "SSIM box", 3), ("ssim_whole", "SSIM whole", 3), ("mse", "MSE", 4))  # fmt: skip
_PERCENT = ("same_person", "same_person_top5")
FRONT_BYTES = "600"  # the budget that the front page shows
LIKENESS_OF = {FULL: LIKENESS, RIGGED: LIKENESS_RIGGED}
TITLE = {FULL: "Synthetic people", RIGGED: "Rigged people of another maker, with real faces and cloth"}


def _value(row: Mapping[str, Any], key: str, factor: float, places: int) -> str:
    if row.get(key) is None:
        return ""
    return f"{row[key] * factor:.{places}f}{' %' if key in _PERCENT else ''}"


def _with_interval(found: Mapping[str, Any], key: str, factor: float, places: int) -> str:
    text = _value(found["total"], key, factor, places)
    interval = found.get("intervals", {}).get(key)
    if not text or interval is None or key == "bytes":
        return text
    low, high = (f"{v * factor:.{places}f}" for v in interval)
    return f"**{text}** ({low} to {high})"


def _rows(result: Result) -> list[tuple[str, Mapping[str, Any], bool]]:
    """Title, what was found, and whether it is the system, in the order of the table."""
    found, controls = result.results, result.results["controls"]
    rows = []
    for name in _ORDER:
        if not name:
            rows.append((f"**{result.provenance.system}**", found, True))
        elif name in controls:
            rows.append((TITLES[name], controls[name], False))
    return rows


def _table(result: Result, columns: tuple[tuple[str, str, float, int], ...]) -> list[str]:
    rows = _rows(result)
    shown = [c for c in columns if any(found["total"].get(c[0]) is not None for _, found, _ in rows)]
    heads = ["what is shown", *(c[1] for c in shown)]
    lines = ["", f"| {' | '.join(heads)} |", f"| {' | '.join(['---'] * len(heads))} |"]
    for title, found, own in rows:
        cells = [_with_interval(found, k, f, d) if own else _value(found["total"], k, f, d) for k, _, f, d in shown]
        lines.append(f"| {' | '.join([title, *cells])} |")
    return lines


def order_line(result: Result) -> str:
    """Which headline figures put truth, result and controls in the order in which a person would, in one paragraph."""
    faults = result.results["order_faults"]
    blind = [f"{h.title} does not judge {TITLES[name]} ({why})" for h in HEADLINES for name, why in h.blind.items()]
    held = (
        "Every headline figure puts the truth before the result, and the result before each control that lacks what it "
        "judges."
        if not faults
        else f"**Out of order**: {'; '.join(faults)}."
    )
    return f"{held} {'; '.join(blind)}."


def people_lines(results: Mapping[str, Committed]) -> list[str]:
    """Lines of every evaluation that was measured beside controls."""
    lines: list[str] = []
    for name in (FULL, RIGGED):
        if name not in results or not results[name].result.results.get("controls"):
            continue
        one = results[name]
        found = one.result.results
        failed = found["failed"]
        lines += ["", f"### {TITLE[name]}", ""]
        lines.append(
            f"{found['people']} people, {failed} of whom failed: for them the grey mannequin stands in every mean. In "
            f"brackets 95 % intervals of the mean (bootstrap over people). Command: `{one.command}`"
        )
        lines += _table(one.result, _COLUMNS)
        lines += ["", order_line(one.result), "", "From each side, ours:"]
        heads = ["view", *(c[1] for c in _VIEWS)]
        lines += ["", f"| {' | '.join(heads)} |", f"| {' | '.join(['---'] * len(heads))} |"]
        inputs = {k.removeprefix("input_"): v for k, v in found["total"].items() if k.startswith("input_")}
        views = {"input camera": inputs, **{f"{k} degrees": v for k, v in found["views"].items()}}
        for view, row in views.items():
            lines.append(f"| {' | '.join([view, *(_value(row, k, 1, d) for k, _, d in _VIEWS)])} |")
        lines += ["", "The paper's figures, over the level views, with what the controls reach under them:"]
        lines += _table(one.result, _PAPERS)
    return ["## What a viewer gets", *lines, ""] if lines else []


def front_block(results: Mapping[str, Committed]) -> str:
    """What the front page says: truth, result and mannequin under the headline figures."""
    shown = [name for name in (FULL, RIGGED) if name in results and results[name].result.results.get("controls")]
    heads = ["", *(h.title for h in HEADLINES), "bytes"]
    lines = ["", f"| {' | '.join(heads)} |", f"| {' | '.join(['---'] * len(heads))} |"]
    for name in shown:
        found = results[name].result.results
        controls = found["controls"]
        rows = [("the truth", controls[TRUTH]["total"]), ("**Somacast**", found["total"])]
        pictured = results.get(LIKENESS_OF[name])
        if pictured is not None:
            rows.append(("**Somacast** with the picture", pictured.result.results["budgets"][FRONT_BYTES]["total"]))
        rows += [("another person, same pose", controls[OTHER]["total"])] if OTHER in controls else []
        rows += [("a grey mannequin", controls[MANNEQUIN]["total"])]
        for title, row in rows:
            cells = [
                "" if row.get(h.key) is None else f"{row[h.key] * h.factor:.{h.digits}f}{h.unit}" for h in HEADLINES
            ]
            size = "" if row.get("bytes") is None else f"{row['bytes']:.0f}"
            lines.append(f"| {title}{', real faces' if name == RIGGED else ''} | {' | '.join([*cells, size])} |")
    return "\n".join([*lines, "", ""]) if shown else "\n"
