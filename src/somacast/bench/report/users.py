"""The part of docs/results.md about what users run into, beside the goals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from somacast.bench.report.reading import Committed

Rows = list[tuple[str, str, str, bool]]  # figure, goal, measured, reached


def _privacy(found: Mapping[str, Any]) -> Rows:
    count = found["sockets"] + found["look_ups"]
    names = ", ".join(found["commands"])
    return [
        (f"sockets opened, host names looked up by {names}", "0", str(count), not count),
        ("files written elsewhere than named", "0", str(found["files_elsewhere"]), not found["files_elsewhere"]),
    ]


def _starts(found: Mapping[str, Any]) -> Rows:
    one = found["encode"]
    return [
        ("first `encode` where no cache can be written", "<= 25 s", f"{one['uncached_s']:.1f} s",
         one["uncached_s"] <= 25),
        ("second `encode` with a cache", "<= 2 s", f"{one['warm_s']:.1f} s; first {one['cold_s']:.1f} s",
         one["warm_s"] <= 2),
    ]  # fmt: skip


def _drift(found: Mapping[str, Any]) -> Rows:
    rates = found["rates"]
    worst = max(max(v for k, v in row.items() if k.endswith("_frames")) for row in rates.values())
    still = max(row["film_stand_still_share"] for row in rates.values())
    return [
        (f"drift after 60 minutes at {len(rates)} rates", "<= 1 frame", f"{worst:.2f} frames", worst <= 1),
        ("stand-stills that the source has not", "0", f"{100 * still:.1f} %", not still),
    ]


def _memory(found: Mapping[str, Any]) -> Rows:
    films = found["films"]
    most = max(row["peak_bytes"] for row in films.values()) / 1e9
    longest = max(films.values(), key=lambda row: row["frames"])
    shown = f"{most:.2f} GB; {longest['frames']:,} frames {longest['peak_bytes'] / 1e9:.2f} GB"
    figure = "memory of `encode`: film with networks on all frames, 60 minutes with networks on the first"
    return [(figure, "<= 0.7 GB, flat", shown, most <= 0.7)]


def _folder(found: Mapping[str, Any]) -> Rows:
    shown = f"{found['times']:.2f} times ({found['pictures']} pictures)"
    figure = f"a folder of pictures on {found['workers']} cores against one process"
    return [(figure, ">= 1.6 times", shown, found["times"] >= 1.6)]


def _kinds(found: Mapping[str, Any]) -> Rows:
    shown, all_of_them = f"{found['reached']} of {found['cases']}", found["reached"] == found["cases"]
    return [("files that users had trouble with, as expected", "all", shown, all_of_them)]


def _halves(found: Mapping[str, Any]) -> Rows:
    rows: Rows = []
    for kind, row in found["cut"].items():
        shown = f"{row['right']} of {row['cases']}"
        rows.append((f"people cut by the picture's edge, {kind}: whole or refused", "all", shown,
                     row["right"] == row["cases"]))  # fmt: skip
    return rows


_SHOWN: dict[str, Callable[[Mapping[str, Any]], Rows]] = {
    "privacy": _privacy, "starts": _starts, "drift": _drift, "memory": _memory, "folder": _folder, "kinds": _kinds,
    "halves": _halves,
}  # fmt: skip


def users_lines(results: Mapping[str, Committed]) -> list[str]:
    """Lines of the section; [] if none of its parts was measured."""
    measured = {name: results[name] for name in _SHOWN if name in results and results[name].result.benchmark == "users"}
    if not measured:
        return []
    lines = ["", "## What users run into", "", "| figure | goal | measured | reached | command |",
             "| --- | --- | --- | --- | --- |"]  # fmt: skip
    for name, one in measured.items():
        for figure, goal, shown, reached in _SHOWN[name](one.result.results):
            kept = "yes" if reached else "**no**"
            lines.append(f"| {figure} | {goal} | **{shown}** | {kept} | `{one.command}` |")
    return lines
