"""Curves over bytes: means of people, who needs how much for the same quality. Plain numbers, no networks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from somacast.metrics.rate import bd_rate

Point = tuple[float, float]  # bytes, quality (more is better)


@dataclass(frozen=True)
class Quality:
    """A figure that curves are compared by. key: in rows; sign: -1 where less is better; levels: at which bytes are
    asked for; title, factor, digits: for people."""

    key: str
    title: str
    sign: int
    levels: tuple[float, ...]
    factor: float = 1.0
    digits: int = 3


# The first that was measured is the one that systems are told apart by.
QUALITIES = (
    Quality("input_stlpips", "ST-LPIPS, input camera", -1, (0.20, 0.18, 0.16, 0.14, 0.12, 0.10, 0.08)),
    Quality("sides_stlpips", "ST-LPIPS, other sides", -1, (0.30, 0.26, 0.23, 0.20, 0.17)),
    Quality("input_iou", "IoU, input camera", 1, (0.75, 0.80, 0.85, 0.90, 0.95)),
    Quality("ssim_box", "SSIM box", 1, (0.55, 0.60, 0.65, 0.70, 0.75)),
    Quality("centred_chamfer_m", "Chamfer cm", -1, (0.08, 0.06, 0.045, 0.032, 0.02), 100, 2),
    Quality("psnr_db", "PSNR dB", 1, (12.0, 13.0, 14.0, 16.0, 18.0), 1, 1),
)


def measured(tables: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[Quality]:
    """The QUALITIES that any system has at any budget: some need a camera, or a package that is not there."""
    rows = [row for table in tables.values() for row in table.values()]
    return [quality for quality in QUALITIES if any(row.get(quality.key) is not None for row in rows)]


def best_by(rows: Mapping[str, Mapping[str, Any]]) -> tuple[str | None, Quality]:
    """Of rows by name the best one by the first of QUALITIES that all have, None if there are no rows; and that
    quality."""
    shared = [q for q in QUALITIES if all(row.get(q.key) is not None for row in rows.values())]
    quality = (shared or QUALITIES)[0]
    return max(rows, key=lambda name: quality.sign * rows[name].get(quality.key, 0), default=None), quality


def mean_rows(rows: Sequence[Mapping[str, Any] | None]) -> dict[str, Any]:
    """Rows of one system at one budget, one for each person (None: nothing fits; "failed": it went wrong) to means.

    Returns people, too_small, failed and, if anybody came through, the mean of every figure that all of those have.
    """
    fine = [row for row in rows if row is not None and "failed" not in row]
    out: dict[str, Any] = {
        "people": len(fine),
        "too_small": sum(row is None for row in rows),
        "failed": sum(row is not None and "failed" in row for row in rows),
    }
    for key in fine[0] if fine else ():
        values = [row[key] for row in fine if isinstance(row.get(key), (int, float))]
        if len(values) == len(fine):
            out[key] = math.fsum(values) / len(values)
    return out


def points_of(table: Mapping[str, Mapping[str, Any]], quality: Quality) -> list[Point]:
    """A system's points (mean bytes, quality): of the budgets at which everybody came through, since a mean over
    others would compare other people."""
    whole = [row for row in table.values() if row["people"] and not row["too_small"] and not row["failed"]]
    return [(row["bytes"], quality.sign * row[quality.key]) for row in whole if row.get(quality.key) is not None]


def frontier(points: Sequence[Point]) -> list[Point]:
    """Points that no point of as few bytes equals: quality strictly grows with the bytes."""
    out: list[Point] = []
    for size, quality in sorted(points, key=lambda p: (p[0], -p[1])):
        if not out or quality > out[-1][1] + 1e-9:
            out.append((size, quality))
    return out


def best_of(tables: Mapping[str, Mapping[str, Mapping[str, Any]]], quality: Quality) -> list[Point]:
    """The upper envelope of several systems: at each budget the one with the best mean."""
    out = []
    for budget in dict.fromkeys(b for table in tables.values() for b in table):
        found = [p for table in tables.values() if budget in table for p in points_of({budget: table[budget]}, quality)]
        if found:
            out.append(max(found, key=lambda p: p[1]))
    return out


def compare(ours: Sequence[Point], baseline: Sequence[Point], sign: int = 1) -> dict[str, Any]:
    """Bjontegaard delta rate of `ours` against `baseline`, in percent; negative: ours needs fewer bytes.

    Returns bd_rate_percent (None if it cannot be told), overlap (the qualities that both reach, worst and best, or
    None) and note (why it cannot be told, or None). With sign -1 points hold the negative of a figure of which less is
    better; overlap and note give the figure itself.
    """
    a, b = frontier(ours), frontier(baseline)
    note = None
    if not a or not b:
        note = f"no point of {'the baseline' if a else 'ours'} at which everybody came through"
        return {"bd_rate_percent": None, "overlap": None, "note": note}
    low, high = max(a[0][1], b[0][1]), min(a[-1][1], b[-1][1])
    if a[0][1] >= b[-1][1]:
        note = (
            f"no overlap: our worst ({sign * a[0][1]:.4g}) is no worse than the baseline's best ({sign * b[-1][1]:.4g})"
        )
    elif b[0][1] >= a[-1][1]:
        note = (
            f"no overlap: the baseline's worst ({sign * b[0][1]:.4g}) is no worse than our best ({sign * a[-1][1]:.4g})"
        )
    elif len(a) < 2 or len(b) < 2:
        note = (
            f"fewer than two points on {'our' if len(a) < 2 else 'the baseline'} curve where quality grows with bytes"
        )
    if note:
        return {"bd_rate_percent": None, "overlap": None, "note": note}
    anchor, curve = np.array(b), np.array(a)
    rate = bd_rate(anchor[:, 0], anchor[:, 1], curve[:, 0], curve[:, 1])
    return {"bd_rate_percent": rate, "overlap": [sign * low, sign * high], "note": None}


def bytes_needed(points: Sequence[Point], quality: float) -> float | None:
    """The fewest bytes that reach a quality: log bytes interpolated linearly along the frontier. Below its worst point
    the bytes of that point, since nothing smaller was measured; None beyond its best."""
    curve = frontier(points)
    if not curve or quality > curve[-1][1]:
        return None
    if quality <= curve[0][1]:
        return curve[0][0]
    for (size_a, a), (size_b, b) in pairwise(curve):
        if quality <= b:
            return math.exp(math.log(size_a) + (quality - a) / (b - a) * (math.log(size_b) - math.log(size_a)))
    return None


BEST_PICTURE = "best picture codec"
WINDOWS = ((120, 600), (600, 2000))  # bytes of our files between which delta rates are asked for, too


def within(points: Sequence[Point], low: float, high: float) -> list[Point]:
    """Points of sizes low .. high, nearly: a search seldom fills a budget."""
    return [point for point in points if 0.9 * low <= point[0] <= high]


def compare_all(
    tables: Mapping[str, Mapping[str, Mapping[str, Any]]], ours: str, pictures: Sequence[str]
) -> dict[str, Any]:
    """Everything that is said about curves: bd_rate and bytes_for_quality by figure and baseline, at_our_quality, and
    bd_rate_of_sizes: by figure, of our files of some sizes alone against the best picture codec.

    Values of a figure are given as it is measured (Chamfer in metres, less is better), ranges from worst to best.
    """
    found: dict[str, Any] = {"bd_rate": {}, "bytes_for_quality": {}, "at_our_quality": {}, "bd_rate_of_sizes": {}}
    for quality in measured(tables):
        curves = {name: points_of(table, quality) for name, table in tables.items()}
        shown = [name for name in pictures if name in tables]
        if shown:
            curves[BEST_PICTURE] = best_of({name: tables[name] for name in shown}, quality)
        mine = curves.get(ours, [])
        found["bd_rate"][quality.key] = {}
        for name, points in curves.items():
            if name != ours:
                found["bd_rate"][quality.key][name] = compare(mine, points, quality.sign)
        if shown:
            found["bd_rate_of_sizes"][quality.key] = {
                f"{low}-{high}": compare(within(mine, low, high), curves[BEST_PICTURE], quality.sign)
                for low, high in WINDOWS
            }
        found["bytes_for_quality"][quality.key] = {
            name: {f"{level:g}": bytes_needed(points, quality.sign * level) for level in quality.levels}
            for name, points in curves.items()
        }
        found["at_our_quality"][quality.key] = [
            {"bytes": size, "quality": quality.sign * value}
            | {"others_bytes": {n: bytes_needed(p, value) for n, p in curves.items() if n != ours}}
            for size, value in frontier(mine)
        ]
    return found
