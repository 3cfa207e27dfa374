"""Rows of people to means, intervals, controls and their order. Plain numbers, no networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from somacast.metrics.controls import GREY, HEADLINES, MANNEQUIN, order_faults
from somacast.metrics.protocol import summarise
from somacast.metrics.statistics import bootstrap_interval

NOT_AVERAGED = ("name", "action", "yaw_deg")
# Beside the headlines, means that get an interval.
WITH_INTERVAL = ("sides_stlpips", "sides_iou", "same_person_top5", "face_distance", "input_delta_e", "unseen_delta_e",
                 "input_normal_deg", "ssim_whole", "ssim_box", "mse", "centred_normal_consistency", "pa_mpjpe_m",
                 "lean_deg", "knees_deg", "silhouette_iou", "bytes", "side_same_person")  # fmt: skip
Row = Mapping[str, Any]


def yaw_bin(yaw_deg: float) -> str:
    """front (within 60 degrees of facing the camera), side, or back (beyond 120)."""
    turn = abs((yaw_deg + 180) % 360 - 180)
    return "front" if turn < 60 else "side" if turn <= 120 else "back"


def _numbers(row: Row) -> dict[str, float]:
    return {k: v for k, v in row.items() if k not in NOT_AVERAGED}


def with_failures(rows: Sequence[Row], failures: Sequence[Row], mannequins: Mapping[str, Row]) -> list[dict[str, Any]]:
    """Rows of everybody: somebody who failed leaves the user with the grey mannequin, whose figures stand for them
    (without bytes and times); left out where no mannequin was measured."""
    lost = [
        {"name": f["name"], "action": f["action"], "yaw_deg": None, **mannequins[f["name"]]}
        for f in failures
        if f["name"] in mannequins
    ]
    return [*map(dict, rows), *lost]


def by_action(rows: Sequence[Row]) -> dict[str, list[dict[str, float]]]:
    """Numbers of the rows by action."""
    actions: dict[str, list[dict[str, float]]] = {}
    for row in rows:
        actions.setdefault(row["action"], []).append(_numbers(row))
    return actions


def intervals(rows: Sequence[Row]) -> dict[str, tuple[float, float]]:
    """Bootstrap intervals of the totals by figure."""
    actions, found = by_action(rows), {}
    for key in (*(h.key for h in HEADLINES), *WITH_INTERVAL):
        groups = [[row[key] for row in people if row.get(key) is not None] for people in actions.values()]
        if any(groups):
            found[key] = bootstrap_interval(groups)
    return found


def views_of(total: Row) -> dict[str, dict[str, float]]:
    """Means of each view by its name, taken out of the total (`view_NAME_FIGURE`)."""
    views: dict[str, dict[str, float]] = {}
    for key in [k for k in total if k.startswith("view_")]:
        name, figure = key.removeprefix("view_").split("_", 1)
        views.setdefault(name, {})[figure] = total[key]
    return views


def _without_views(row: Row) -> dict[str, Any]:
    return {k: v for k, v in row.items() if not k.startswith("view_")}


def control_tables(controls: Mapping[str, Mapping[str, Row]], actions: Mapping[str, str]) -> dict[str, Any]:
    """Totals, intervals and views of every control, over the same people and by the same means as the system's.
    actions: of the people by name."""
    found = {}
    for control, people in controls.items():
        rows = [{"name": name, "action": actions[name], **row} for name, row in people.items()]
        total = summarise(by_action(rows))["total"]
        found[control] = {
            "people": len(rows), "total": _without_views(total), "intervals": intervals(rows), "views": views_of(total),
        }  # fmt: skip
    return found


def _distribution(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    found = {}
    for name in () if not rows else ("bytes", "encode_s", "decode_s", "picture_to_mesh_s"):
        values = np.array([row[name] for row in rows], np.float64)
        found[name] = {
            "mean": float(values.mean()), "median": float(np.median(values)),
            "p95": float(np.percentile(values, 95)), "max": float(values.max()),
        }  # fmt: skip
    return found


def tables(rows: Sequence[Row], failures: Sequence[Row], controls: Mapping[str, Mapping[str, Row]]) -> dict[str, Any]:
    """Means by action, in total, by yaw and by view; intervals; controls, and what they contradict; distributions of
    bytes and times. Failures are counted, and the grey mannequin stands for them in every mean of figures."""
    failed: dict[str, int] = {}
    for row in failures:
        failed[row["action"]] = failed.get(row["action"], 0) + 1
    out: dict[str, Any] = {"people": len(rows) + len(failures), "failed": len(failures), "failed_by_action": failed}
    out |= {"actions": {}, "total": {}, "counts": {}, "by_yaw": {}, "distribution": {}}
    everybody = with_failures(rows, failures, controls.get(MANNEQUIN, {}))
    if not everybody:
        return out
    out |= summarise(by_action(everybody))
    views = views_of(out["total"])
    out["views"] = views
    out["total"] = _without_views(out["total"])
    out["actions"] = {name: _without_views(row) for name, row in out["actions"].items()}
    facing: dict[str, list[dict[str, float]]] = {"front": [], "side": [], "back": []}
    for row in rows:
        if row["yaw_deg"] is not None:
            facing[yaw_bin(row["yaw_deg"])].append(_numbers(row))
    if any(facing.values()):
        by_yaw = summarise(facing)
        out["by_yaw"] = {k: {"people": by_yaw["counts"][k], **_without_views(v)} for k, v in by_yaw["actions"].items()}
    out["distribution"] = _distribution(rows)
    out["intervals"] = intervals(everybody)
    if controls:
        actions = {row["name"]: row["action"] for row in (*rows, *failures)}
        grey = dict(controls.get(GREY, {}))
        grey |= {f["name"]: controls[MANNEQUIN][f["name"]] for f in failures if f["name"] in controls[MANNEQUIN]}
        shown = {**controls, GREY: grey} if grey else controls
        out["controls"] = control_tables(shown, actions)
        out["order_faults"] = order_faults(out["total"], {k: v["total"] for k, v in out["controls"].items()})
    return out
