"""The ablations for people to look at: tables on stdout, and a figure of the bits by label group."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from somacast.extras import require

WIDTH = 110  # the tables' columns are cut in fewer
_STREAMS = (("full", "full quality"), ("smallest", "base layer alone"))
_SENT = (("mpjpe_mm", "MPJPE mm", 1), ("pa_mpjpe_mm", "PA mm", 1), ("label_bits", "label bits", 1))
_CODING = (
    ("people", "people", 0), ("too_small", "too small", 0), ("bytes", "bytes", 1), ("joints_move_mm", "joints mm", 1),
    ("skin_move_mm", "skin mm", 1), ("mpjpe_mm", "MPJPE mm", 1),
)  # fmt: skip
_EXTRACTOR = (
    ("samples", "samples", 0), ("joints_px", "joints px", 2), ("joints_median_px", "median px", 2), ("z_mm", "z mm", 1),
    ("angle_deg", "turn deg", 1), ("pelvis_median_deg", "pelvis deg", 1), ("iou", "IoU", 3),
    ("parts_right", "parts", 3),
)  # fmt: skip
SIDES_COLUMNS = (  # figure, heading, places, factor
    ("input_stlpips", "ST-LPIPS, input camera", 3, 1), ("sides_stlpips", "ST-LPIPS, other sides", 3, 1),
    ("input_iou", "IoU, input camera", 3, 1), ("sides_iou", "IoU, four sides", 3, 1),
    ("centred_chamfer_m", "Chamfer cm", 2, 100), ("mpjpe_m", "MPJPE mm", 0, 1000),
)  # fmt: skip
CHAIN_FIGURES = ("input_stlpips", "sides_stlpips", "iou", "mpjpe_m", "centred_chamfer_m")
_CHAIN = (
    ("bytes", "bytes", 0), ("input_stlpips", "ST-LPIPS", 4), ("sides_stlpips", "other sides", 4), ("iou", "IoU", 4),
    ("mpjpe_mm", "MPJPE mm", 1), ("worse", "worse %", 1), ("sides_worse", "sides worse %", 1),
)  # fmt: skip
_COLORS = ("#1b3a5c", "#2f6690", "#4f9bbd", "#8ec3d6", "#c3dfe6", "#dfe9ec", "#eef3f4")  # coarse to fine


def _table(title: str, first: str, columns: Sequence[tuple[str, str, int]], rows: Mapping[str, Mapping]) -> Any:
    from rich.table import Table

    table = Table(title=title)
    table.add_column(first, no_wrap=True)
    for _, heading, _ in columns:
        table.add_column(heading, justify="right")
    for name, row in rows.items():
        cells = ["" if row.get(k) is None else f"{row[k]:.{places}f}" for k, _, places in columns]
        table.add_row(name, *cells)
    return table


def _console() -> Any:
    """Wide enough for the tables."""
    from rich.console import Console

    console = Console()
    console.width = max(console.width, WIDTH)
    return console


def tables_of(results: Mapping[str, Any]) -> list[Any]:
    """The results of `ablate` as tables of rich."""
    coding = {f"{'none' if r['budget_bytes'] is None else r['budget_bytes']}: {r['variant']}": r for r in
              results["coding"]}  # fmt: skip
    out = [_table("label coding: move against unquantised labels", "budget: variant", _CODING, coding)]
    for key, title in _STREAMS:
        found = results["bits"][key]
        levels = max(len(g["levels"]) for g in found["groups"])
        rows = {g["group"]: g | {f"level {k}": bits for k, bits in enumerate(g["levels"])} for g in found["groups"]}
        columns = [("labels", "labels", 0), ("sent", "sent", 0), ("bits", "bits", 1)]
        columns += [(f"level {k}", f"level {k}", 1) for k in range(levels)]
        out.append(_table(f"bits by group, {title}: {found['bytes']:.1f} bytes", "group", columns, rows))
    if results["discriminator"]:
        rows = {k: v for k, v in results["discriminator"].items() if k not in ("difference", "held_out")}
        rows["difference"] = {k: v["mean"] for k, v in results["discriminator"]["difference"].items()}
        out.append(_table("discriminator of the semantic coder", "sender", _SENT, rows))
    if results["extractor"]:
        out.append(_table("extractor, held-out pictures", "variant", _EXTRACTOR, results["extractor"]))
    return out


def print_tables(results: Mapping[str, Any]) -> None:
    """All tables on stdout, and the smallest stream that still is the person."""
    console = _console()
    for table in tables_of(results):
        console.print(table)
    smallest = ", ".join(f"{name} {size:.1f} B" for name, size in results["smallest_bytes"].items())
    console.print(f"base layer alone: {smallest}", markup=False)
    name = next(k for k in results if k.startswith("smallest_within") and k.endswith("mm"))
    near = results[name]
    console.print(
        f"{name}: {near['bytes']:.1f} B with MPJPE {near['mpjpe_mm']:.1f} mm; full: {near['full_bytes']:.1f} B with "
        f"{near['full_mpjpe_mm']:.1f} mm",
        markup=False,
    )


def print_sides(means: Mapping[str, Mapping[str, float]]) -> None:
    """What each part of the truth brings, on stdout."""
    console = _console()
    shown = {name: {k: row[k] * factor for k, _, _, factor in SIDES_COLUMNS} for name, row in means.items()}
    console.print(_table("truth in place of tokens", "told", [column[:3] for column in SIDES_COLUMNS], shown))


def print_chain(tables: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> None:
    """What is left without each part, by budget, on stdout; worse: of the figures of everything."""
    console = _console()
    for budget, table in tables.items():
        whole = next(iter(table.values()))
        rows = {}
        for name, row in table.items():
            worse = {k: 100 * row["difference"][k][0] / whole[k] for k in ("input_stlpips", "sides_stlpips")}
            more = {
                "mpjpe_mm": 1000 * row["mpjpe_m"],
                "worse": worse["input_stlpips"],
                "sides_worse": worse["sides_stlpips"],
            }
            rows[f"{name} ({row['equations']})" if row["equations"] else name] = {**row, **more}
        console.print(_table(f"{budget} bytes, without", "part", _CHAIN, rows))


def print_allocation(tables: Mapping[str, Mapping[str, Any]]) -> None:
    """Error of both sides by how their tokens were chosen, by budget, on stdout."""
    names = ("rule", "search", "chance", "everything", "nothing")
    columns = [("bytes", "bytes", 1), *((name, name, 4) for name in names)]
    columns += [("rule_worse", "rule above search %", 1), ("chance_worse", "chance %", 1)]
    rows = {
        f"{budget} bytes": {
            **table,
            **{f"{name}_worse": 100 * table[f"{name}_above"][0] for name in ("rule", "chance")},
        }
        for budget, table in tables.items()
    }
    _console().print(_table("perceptual error of both sides", "file", columns, rows))


def draw_bits(bits: Mapping[str, Any]) -> bytes:
    """An SVG with two panels, full quality and base layer: a bar for each label group, its levels one after another."""
    require("matplotlib", "the figure of bits by group")
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.hashsalt": "somacast", "svg.fonttype": "none"}):  # the same figures, the same file
        figure = Figure(figsize=(9.0, 3.2), layout="constrained")
        FigureCanvasSVG(figure)
        for place, (key, title) in enumerate(_STREAMS):
            axes = figure.add_subplot(1, 2, place + 1)
            groups = bits[key]["groups"]
            names = [f"{g['group']} ({g['sent']:.0f}/{g['labels']})" for g in groups]
            left = [0.0] * len(groups)
            for level in range(len(groups[0]["levels"])):
                widths = [g["levels"][level] for g in groups]
                color = _COLORS[min(level, len(_COLORS) - 1)]
                if any(widths):
                    axes.barh(names, widths, left=left, color=color, edgecolor="white", linewidth=0.4,
                              label=f"level {level}")  # fmt: skip
                left = [a + b for a, b in zip(left, widths, strict=True)]
            for row, total in enumerate(left):
                axes.annotate(f"{total:.0f}", (total, row), xytext=(3, 0), textcoords="offset points", va="center",
                              fontsize=7)  # fmt: skip
            axes.invert_yaxis()
            axes.margins(x=0.12)
            axes.set_title(f"{title}: {bits[key]['bytes']:.0f} bytes", fontsize=9)
            axes.set_xlabel("bits; in brackets: labels sent of all", fontsize=8)
            axes.tick_params(labelsize=7)
            axes.spines[["top", "right"]].set_visible(False)
            if place == 0:
                figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=7, fontsize=7)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()
