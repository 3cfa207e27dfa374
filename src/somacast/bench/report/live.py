"""The README's part about live: goals and what results/{video,link,live,soak,hostile}.json say of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FILES = ("video.json", "link.json", "live.json", "soak.json", "fuzz.json")
COMMANDS = {
    "video.json": "somacast bench video", "link.json": "somacast bench link", "live.json": "somacast bench live",
    "soak.json": "somacast bench soak", "fuzz.json": "somacast bench fuzz",
}  # fmt: skip
LINK_IMAGE = "results/link.png"
Row = tuple[str, str, str, bool, str]  # figure, goal, measured, reached, file


def read_live(root: Path) -> dict[str, dict[str, Any]]:
    """The results that are there, by file name."""
    found = {}
    for name in FILES:
        path = root / "results" / name
        if path.is_file():
            found[name] = json.loads(path.read_text())
    return found


def _video(result: dict[str, Any]) -> Iterator[Row]:
    rates = {(row["action"], row["quality"]): row for row in result["rates"]}
    full, protected, small = (rates["walking", name] for name in ("full", "full, protected", "smallest"))
    payload, wire = full["payload_kbit_s"], protected["wire_kbit_s"]
    least = small["payload_kbit_s"]
    yield (
        "walking at 30 fps, payload at full quality",
        "<= 10 kbit/s",
        f"{payload:.1f} kbit/s",
        payload <= 10,
        "video.json",
    )
    yield "the same at the smallest quality", "<= 3 kbit/s", f"{least:.1f} kbit/s", least <= 3, "video.json"
    text = f"{wire:.1f} kbit/s, {1000 * protected['delay_s']:.0f} ms of delay"
    yield "on the wire, headers and protection counted", "<= 20 kbit/s", text, wire <= 20, "video.json"
    lost = max(
        row[f"{kind}_lost"]
        for row in result["losses"]
        if row["link"].startswith("30 %")
        for kind in ("ssim_whole", "ssim_box")
    )
    yield (
        "SSIM lost at 30 % loss, at random or in bursts",
        "<= 0.03",
        f"{max(lost, 0.0):.3f}",
        lost <= 0.03,
        "video.json",
    )


def _link(result: dict[str, Any]) -> Iterator[Row]:
    ours = {run["loss"]: run["ours"]["total"] for run in _runs(result)}
    for loss, total in ours.items():
        used, free = total["settled"]["least_utilisation"], total["settled"]["least_time_share_without_queue"]
        text = f"{100 * used:.0f} %; without queue {100 * free:.0f} % of the time"
        name = f"least use of any step of the link, settled, {100 * loss:.0f} % loss"
        yield name, ">= 90 %, delay <= 1.5 idle", text, used >= 0.9 and free >= 0.9, "link.json"


def _runs(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows with their loss, whichever way the file keeps them."""
    runs = result["results"]
    if isinstance(runs, dict):
        return [{"loss": float(loss)} | run for loss, run in runs.items()]
    return [{"loss": loss} | run for loss, run in zip(result["config"]["losses"], runs, strict=True)]


def _live(result: dict[str, Any]) -> Iterator[Row]:
    delay = result["delay"]["camera_to_drawn_ms"]
    fps = result["delay"]["received_fps"]
    text = f"{delay['p50']:.0f} / {delay['p95']:.0f} ms at {fps:.1f} fps"
    reached = delay["p50"] <= 120 and delay["p95"] <= 200 and fps >= 15
    yield "camera to drawn person, two cores, p50 / p95", "<= 120 / 200 ms at >= 15 fps", text, reached, "live.json"
    for name, row in result["starts"].items():
        seen = row["first_seen_s"]
        text = f"{seen['p50']:.2f} s (p95 {seen['p95']:.2f} s, {row['starts']} starts)"
        figure = f"person on screen over 50 kbit/s, 100 ms, 10 % loss: {name}"
        yield figure, "<= 1.5 s", text, seen["p50"] <= 1.5, "live.json"


def _soak(result: dict[str, Any]) -> Iterator[Row]:
    found = result["results"]
    growth = found["memory"].get("growth_bytes_per_hour")
    text = f"{found['crashes']} crashes"
    if growth is not None:
        text += f", memory {growth / 1e6:+.2f} MB an hour"
    minutes = result["config"]["minutes"]
    yield f"{minutes:g} simulated minutes of trouble", "no crash, no growth", text, found["crashes"] == 0, "soak.json"


def _fuzz(result: dict[str, Any]) -> Iterator[Row]:
    total = result["results"]["total"]
    text = (
        f"{total['escaped']} crashes; longest {1000 * total['longest_s']:.0f} ms, largest allocation "
        f"{total['largest_allocation_bytes'] / 1e6:.1f} MB, longest stall {total['longest_stall_s']:.1f} s"
    )
    figure = f"{total['packets']:,} changed packets"
    yield figure, "no crash, no hang, no large allocation", text, total["escaped"] == 0, "fuzz.json"


_ROWS = {"video.json": _video, "link.json": _link, "live.json": _live, "soak.json": _soak, "fuzz.json": _fuzz}


def live_lines(root: Path) -> list[str]:
    """Lines of the README about live; none without results."""
    results = read_live(root)
    if not results:
        return []
    lines = ["", "### Live", "", "| figure | goal | measured | reached | command |", "| --- | --- | --- | --- | --- |"]
    for name, result in results.items():
        for figure, goal, measured, reached, file in _ROWS[name](result):
            mark = "yes" if reached else "**no**"
            lines.append(f"| {figure} | {goal} | **{measured}** | {mark} | `{COMMANDS[file]}` |")
    if "video.json" in results:
        lines += ["", *_actions(results["video.json"])]
    if "link.json" in results and (root / LINK_IMAGE).is_file():
        lines += ["", f"![How rate controls hold a link whose capacity steps]({LINK_IMAGE})"]
    made = [f"`results/{name}`: commit {str(result.get('commit'))[:10]}" for name, result in results.items()]
    return [*lines, "", f"Made by: {'; '.join(made)}."]


def _actions(result: dict[str, Any]) -> list[str]:
    """Rates and errors by action and quality."""
    lines = [
        "| moving person | quality | payload kbit/s | wire kbit/s | joints off by mm |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in result["rates"]:
        if row["quality"] in ("full", "smallest"):
            numbers = [row[key] for key in ("payload_kbit_s", "wire_kbit_s", "joint_error_mm")]
            lines.append(f"| {' | '.join([row['action'], row['quality'], *(f'{n:.1f}' for n in numbers)])} |")
    return lines
