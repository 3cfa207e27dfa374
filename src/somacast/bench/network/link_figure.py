"""What `somacast bench link` shows: time series drawn from the JSON alone, and a table for the terminal."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from somacast.bench.results import Result
from somacast.extras import require

_STYLE = {  # colours that are told apart by people who see red and green alike; ours is black
    "ours": ("ours", {"color": "black", "linewidth": 1.8, "zorder": 5}),
    "aimd": ("AIMD", {"color": "#D55E00", "linewidth": 1.0}),
    "fixed_50k": ("fixed 50 kbit/s", {"color": "#0072B2", "linewidth": 1.0, "linestyle": "--"}),
    "fixed_200k": ("fixed 200 kbit/s", {"color": "#009E73", "linewidth": 1.0, "linestyle": ":"}),
}
_GROUPS = {"root": "#0072B2", "pose": "#D55E00", "hands": "#009E73"}


def _values(row: list[float | None]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in row], float)


def draw_link(result: Result) -> bytes:
    """A PNG of a result of `link.run_link_bench`: for the first and the last loss what was on the wire and how long
    datagrams waited; then f, the state that labels were coded with, and rho of their groups, of ours.

    SomacastError without matplotlib.
    """
    require("matplotlib", "drawing the time series")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    losses = list(result.results["runs"])
    shown = [losses[0], *losses[-1:]] if len(losses) > 1 else losses
    figure = Figure(figsize=(13, 11), layout="constrained", dpi=110)
    FigureCanvasAgg(figure)
    grid = figure.subplots(4, len(shown), sharex=True, squeeze=False)
    for column, loss in enumerate(shown):
        runs = result.results["runs"][loss]
        _draw_runs(grid[0][column], grid[1][column], runs, result)
        grid[0][column].set_title(f"{100 * float(loss):g} % random loss", fontsize=10)
        _draw_labels(grid[2][column], grid[3][column], runs[next(iter(runs))])
        grid[3][column].set_xlabel("seconds", fontsize=9)
    for axes in grid.flat:
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.3)
    grid[0][0].legend(fontsize=8, loc="lower left", framealpha=0.6)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _draw_runs(rate: Any, wait: Any, runs: dict[str, Any], result: Result) -> None:
    step, capacities = result.provenance.config["step_s"], result.provenance.config["steps_bps"]
    rate.stairs(
        capacities, np.arange(len(capacities) + 1) * step, color="0.75", linewidth=5, label="capacity", baseline=None
    )
    for name, run in runs.items():
        title, style = _STYLE[name]
        series = run["series"]
        times = (np.arange(len(series["wire_bps"])) + 0.5) * series["bin_s"]
        rate.plot(times, np.maximum(_values(series["wire_bps"]), 1), label=title, **style)
        wait.plot(times, _values(series["delay_to_idle_max"]), label=title, **style)
    wait.axhline(result.results["rules"]["max_idle"], color="0.4", linewidth=0.8, linestyle="-.")
    rate.set(yscale="log", ylim=(2e3, 2e6))
    rate.set_ylabel("on the wire, bit/s", fontsize=9)
    wait.set(yscale="log", ylim=(0.9, 300))
    wait.set_ylabel("one-way delay / idle link's", fontsize=9)


def _draw_labels(state: Any, size: Any, run: dict[str, Any]) -> None:
    series = run["labels"]
    times = (np.arange(len(series["f"])) + 0.5) * series["bin_s"]
    state.plot(times, _values(series["f"]), color="black", linewidth=1.8, label="f (eq. 18)")
    state.plot(
        times, _values(series["f_used"]), color="0.5", linewidth=1, label="f that meets the budget", linestyle="--"
    )
    for group, row in series["rho"].items():
        state.plot(times, _values(row), color=_GROUPS.get(group), linewidth=1, label=f"rho of {group} (eq. 17)")
    state.set_ylim(-0.03, 1.03)
    state.set_ylabel("network state, compression", fontsize=9)
    state.legend(fontsize=7, loc="upper center")
    size.plot(times, _values(series["bytes_per_frame"]), color="black", linewidth=1.2)
    size.set_ylabel("label bytes of a frame", fontsize=9)
    size.set_ylim(0, None)


def print_link(result: Result) -> None:
    """Totals of each run, then the steps of ours."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table(title="mean (least) over the steps; the right half after the time allowed for settling")
    for heading in ("loss", "control", "used %", "no queue %", "used %", "no queue %", "delay p95 ms", "dropped"):
        table.add_column(heading, justify="left" if heading in ("loss", "control") else "right")
    for loss, runs in result.results["runs"].items():
        for name, run in runs.items():
            total, cells = run["total"], []
            for part in ("whole", "settled"):
                for figure in ("utilisation", "time_share_without_queue"):
                    mean, worst = total[part][f"mean_{figure}"], total[part][f"min_{figure}"]
                    cells.append(f"{100 * mean:.0f} ({100 * worst:.0f})")
            cells += [f"{1000 * total['delay_s']['p95']:.0f}", str(total["dropped_by_queue"])]
            table.add_row(loss, _STYLE[name][0], *cells)
    console.print(table)
    loss, runs = next(iter(result.results["runs"].items()))
    name, run = next(iter(runs.items()))
    table = Table(title=f"{_STYLE[name][0]}, loss {loss}, step by step: whole / settled")
    for heading in ("kbit/s", "used %", "no queue %", "delay to idle p95", "settles s", "must drain s"):
        table.add_column(heading, justify="right")
    for step in run["steps"]:
        whole, late = step["whole"], step["settled"]
        settle = "never" if step["settle_s"] is None else f"{step['settle_s']:.2f}"
        table.add_row(
            f"{step['capacity_bps'] / 1000:g}",
            f"{100 * whole['utilisation']:.1f} / {100 * late['utilisation']:.1f}",
            f"{100 * whole['time_share_without_queue']:.1f} / {100 * late['time_share_without_queue']:.1f}",
            f"{whole['delay_to_idle']['p95']:.2f} / {late['delay_to_idle']['p95']:.2f}", settle,
            f"{step['must_drain_s']:.2f}",
        )  # fmt: skip
    console.print(table)
