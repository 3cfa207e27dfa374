"""The part of docs/results.md about live: goals and what results of moving people, links, delays and trouble say."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from somacast.bench.report.reading import Committed
from somacast.bench.results import Result

Row = tuple[str, str, str, bool]  # figure, goal, measured, reached
_USE = ("utilisation", "time_share_without_queue")


def _video(result: Result) -> Iterator[Row]:
    rates = {(row["action"], row["quality"]): row for row in result.results["rates"]}
    full, protected, small = (rates["walking", name] for name in ("full", "full, protected", "smallest"))
    payload, wire = full["payload_kbit_s"], protected["wire_kbit_s"]
    least = small["payload_kbit_s"]
    yield ("walking at 30 fps, payload at full quality", "<= 10 kbit/s", f"{payload:.1f} kbit/s", payload <= 10)
    yield "the same at the smallest quality", "<= 3 kbit/s", f"{least:.1f} kbit/s", least <= 3
    text = f"{wire:.1f} kbit/s, {1000 * protected['delay_s']:.0f} ms of delay"
    yield "on the wire, headers and protection counted", "<= 20 kbit/s", text, wire <= 20
    lost = max(
        row[f"{kind}_lost"]
        for row in result.results["losses"]
        if row["link"].startswith("30 %")
        for kind in ("ssim_whole", "ssim_box")
    )
    yield ("SSIM lost at 30 % loss, at random or in bursts", "<= 0.03", f"{max(lost, 0.0):.3f}", lost <= 0.03)


def _link(result: Result) -> Iterator[Row]:
    for loss, runs in result.results["runs"].items():
        total = next(iter(runs.values()))["total"]
        used, free = (total["settled"][f"min_{name}"] for name in _USE)
        text = f"{100 * used:.0f} %; without queue {100 * free:.0f} % of the time"
        name = f"least use of any step of the link, settled, {100 * float(loss):.0f} % loss"
        yield name, ">= 90 %, delay <= 1.5 idle", text, used >= 0.9 and free >= 0.9


def _live(result: Result) -> Iterator[Row]:
    delay = result.results["delay"]["camera_to_rendered_ms"]
    fps = result.results["delay"]["received_fps"]
    text = f"{delay['p50']:.0f} / {delay['p95']:.0f} ms at {fps:.1f} fps"
    reached = delay["p50"] <= 120 and delay["p95"] <= 200 and fps >= 15
    yield "camera to rendered person, two cores, p50 / p95", "<= 120 / 200 ms at >= 15 fps", text, reached
    for name, row in result.results["starts"].items():
        seen = row["first_seen_s"]
        text = f"{seen['p50']:.2f} s (p95 {seen['p95']:.2f} s, {row['starts']} starts)"
        figure = f"person on screen over 50 kbit/s, 100 ms, 10 % loss: {name}"
        yield figure, "<= 1.5 s", text, seen["p50"] <= 1.5
        worn = row.get("first_textured_s")
        if worn is not None:
            text = f"{worn['p50']:.2f} s (p95 {worn['p95']:.2f} s, {row['textured']} of {row['starts']} starts)"
            yield f"the same with their picture on them: {name}", "<= 4 s, aim 2 s", text, worn["p50"] <= 4
    plain = result.results.get("delay_without_looks")
    if plain is not None:
        less = plain["camera_to_rendered_ms"]
        text = f"{less['p50']:.0f} / {less['p95']:.0f} ms at {plain['received_fps']:.1f} fps; longest gap while looks "
        gaps = [one["between_rendered_early_ms"]["max"] for one in (result.results["delay"], plain)]
        text += f"come {gaps[0]:.0f} ms, without {gaps[1]:.0f} ms"
        reached = delay["p50"] <= less["p50"] + 10 and gaps[0] <= gaps[1] + 50
        yield "delay without looks, p50 / p95", "looks cost <= 10 ms, no stutter", text, reached


def _soak(result: Result) -> Iterator[Row]:
    found = result.results
    growth = found["memory"].get("growth_bytes_per_hour")
    text = f"{found['crashes']} crashes"
    if growth is not None:
        text += f", memory {growth / 1e6:+.2f} MB an hour"
    minutes = result.provenance.config["minutes"]
    yield f"{minutes:g} simulated minutes of trouble", "no crash, no growth", text, found["crashes"] == 0


def _fuzz(result: Result) -> Iterator[Row]:
    total = result.results["total"]
    text = (
        f"{total['escaped']} crashes; longest {1000 * total['longest_s']:.0f} ms, largest allocation "
        f"{total['largest_allocation_bytes'] / 1e6:.1f} MB, longest stall {total['longest_stall_s']:.1f} s"
    )
    figure = f"{total['packets']:,} changed packets"
    yield figure, "no crash, no hang, no large allocation", text, total["escaped"] == 0


_ROWS = {"video": _video, "link": _link, "live": _live, "soak": _soak, "fuzz": _fuzz}


def live_lines(results: Mapping[str, Committed], links: Callable[[Path], str]) -> list[str]:
    """All lines about live, none without results. links: as of `stills.still_lines`."""
    found = {name: results[name] for name in _ROWS if name in results}
    if not found:
        return []
    lines = ["", "## Live", "", *_head("figure", "goal", "measured", "reached", "command")]
    for name, one in found.items():
        for figure, goal, measured, reached in _ROWS[name](one.result):
            mark = "yes" if reached else "**no**"
            lines.append(f"| {figure} | {goal} | **{measured}** | {mark} | `{one.command}` |")
    if "video" in found:
        lines += ["", *_actions(found["video"].result)]
    if "link" in found:
        one = found["link"]
        lines += [*_link_lines(one.result)]
        figure = links(one.path.with_suffix(".png"))
        if figure:
            lines += ["", f"![How rate controls hold a link whose capacity steps]({figure})"]
    return lines


def _head(*names: str) -> list[str]:
    return [f"| {' | '.join(names)} |", f"| {' | '.join(['---'] * len(names))} |"]


def _actions(result: Result) -> list[str]:
    """Rates and errors by action and quality."""
    lines = _head("moving person", "quality", "payload kbit/s", "wire kbit/s", "joints off by mm")
    for row in result.results["rates"]:
        if row["quality"] in ("full", "smallest"):
            numbers = [row[key] for key in ("payload_kbit_s", "wire_kbit_s", "joint_error_mm")]
            lines.append(f"| {' | '.join([row['action'], row['quality'], *(f'{n:.1f}' for n in numbers)])} |")
    return lines


def _link_lines(result: Result) -> list[str]:
    """The link step by step under our control without loss, then all controls; docs/network_rate.md says what the words
    mean."""
    runs = result.results["runs"]
    lines = [
        "",
        "The link that steps, by our rate control without random loss (whole step / after the time allowed for "
        "settling; words as in [network_rate.md](network_rate.md)):",
        "",
    ]
    lines += _head("kbit/s", "used %", "no queue %", "delay to idle p50, p95 after", "settles in s", "must drain s")
    for step in next(iter(next(iter(runs.values())).values()))["steps"]:
        whole, after = step["whole"], step["settled"]
        pairs = [f"{100 * whole[name]:.1f} / {100 * after[name]:.1f}" for name in _USE]
        delay = f"{after['delay_to_idle']['p50']:.2f}, {after['delay_to_idle']['p95']:.2f}"
        settle = "never" if step["settle_s"] is None else f"{step['settle_s']:.2f}"
        drain = f"{step['must_drain_s']:.2f}" if step["must_drain_s"] else ""
        capacity = f"{step['capacity_bps'] / 1000:g}"
        lines.append(f"| {' | '.join([capacity, *pairs, delay, settle, drain])} |")
    lines += ["", "All controls on the same link, means over the steps and, in brackets, the worst step:", ""]
    lines += _head("loss", "control", "used % whole", "no queue % whole", "used % after", "no queue % after",
                   "delay p95 s", "dropped by the queue", "labels late p95 s")  # fmt: skip
    for loss, by_control in runs.items():
        for name, run in by_control.items():
            total = run["total"]
            shares = [f"{100 * total[part][f'mean_{figure}']:.0f} ({100 * total[part][f'min_{figure}']:.0f})"
                      for part in ("whole", "settled") for figure in _USE]  # fmt: skip
            late = [f"{total['delay_s']['p95']:.2f}", str(total["dropped_by_queue"]), f"{total['labels_late_s']:.2f}"]
            lines.append(f"| {' | '.join([f'{100 * float(loss):g} %', name.replace('_', ' '), *shares, *late])} |")
    return lines
