"""`somacast bench detector`: is the one person found, and is nobody taken for somebody?"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from somacast.bench.detection.config import DetectorBench
from somacast.bench.detection.scenes import Scene, empty, people
from somacast.bench.results import Result, describe_run, write_result
from somacast.capture.cropping import SquareBox
from somacast.capture.detector import find_people
from somacast.capture.pictures import frame_from_array
from somacast.errors import SomacastError
from somacast.files import check_output_path
from somacast.types import Capture

MIN_OVERLAP = 0.5  # of two squares, from which on they are of the same person
MIN_INSIDE = 0.9  # share of the joints that must lie in the square that is sent


def overlap(a: SquareBox, b: SquareBox) -> float:
    """Intersection over union of two squares."""
    low, high = np.maximum(a.corner, b.corner), np.minimum(a.corner + a.side, b.corner + b.side)
    common = float(np.clip(high - low, 0, None).prod())
    return common / (a.side**2 + b.side**2 - common)


def measure_scene(sender: Any, scene: Scene) -> dict[str, Any]:
    """One picture: who is detected and what is sent; of empty ones, whether anything is."""
    frame = frame_from_array(scene.image)
    start = time.perf_counter()
    found = find_people(frame.image)
    between = time.perf_counter()
    row: dict[str, Any] = {
        "action": scene.action,
        "width_px": scene.image.shape[1],
        "height_px": scene.image.shape[0],
        "detected": len(found),
        "detector_score": found[0].score if found else 0.0,
        "detect_s": between - start,
    }
    try:
        left, top, right, bottom = sender.encode(Capture([frame])).report["person_box_px"]
        sent: SquareBox | None = SquareBox((left + right) / 2, (top + bottom) / 2, right - left)
        row |= {"sent": True, "message": None}
    except SomacastError as fault:
        sent = None
        row |= {"sent": False, "message": str(fault)}
    if scene.box is not None and scene.joints_px is not None:
        row["height_share"] = scene.box.side / 1.2 / scene.image.shape[0]
        row["detected_right"] = bool(found) and overlap(found[0].box, scene.box) >= MIN_OVERLAP
        row["sent_right"] = sent is not None and overlap(sent, scene.box) >= MIN_OVERLAP and _holds(sent, scene)
    return row


def _holds(box: SquareBox, scene: Scene) -> bool:
    assert scene.joints_px is not None
    inside = (np.abs(scene.joints_px - [box.cx, box.cy]) <= box.side / 2).all(1)
    return bool(inside.mean() >= MIN_INSIDE)


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Shares of the pictures: found (by the detector alone, by the sender), false (of the empty ones), and times."""
    full = [row for row in rows if "sent_right" in row]
    bare = [row for row in rows if "sent_right" not in row]
    by_format = sorted({(row["width_px"], row["height_px"]) for row in full})

    def share(some: list[dict[str, Any]], name: str) -> float:
        return float(np.mean([bool(row[name]) for row in some])) if some else float("nan")

    return {
        "people": len(full),
        "empty": len(bare),
        "detector": {"found": share(full, "detected_right"), "false": share(bare, "detected")},
        "sender": {"found": share(full, "sent_right"), "sent": share(full, "sent"), "false": share(bare, "sent")},
        "found_by_format": {
            f"{w}x{h}": share([r for r in full if (r["width_px"], r["height_px"]) == (w, h)], "sent_right")
            for w, h in by_format
        },
        "detect_s": {
            name: {"median": float(np.median(times)), "p95": float(np.percentile(times, 95))}
            for name, some in (("people", full), ("empty", bare))
            if (times := [row["detect_s"] for row in some])
        },
    }


def measure_detector(config: DetectorBench) -> Result:
    """Draw, find, decide, write the JSON; SomacastError for an output that cannot be written."""
    from rich.console import Console
    from rich.progress import track

    from somacast.pipeline.still.sender import Sender

    check_output_path(config.json_path)
    sender = Sender(config.system, config.device)
    heights = (config.low, config.high)
    scenes = [
        ("people", people(config.people, config.seed, config.assets, heights), config.people),
        ("empty", empty(config.empty, config.seed, config.assets), config.empty),
    ]
    rows: list[dict[str, Any]] = []
    for name, some, count in scenes:
        rows += [measure_scene(sender, scene) for scene in track(some, name, count, console=Console(stderr=True))]
    about = describe_run("detector", config, system=config.system)
    return write_result(config.json_path, Result("detector", about, summary(rows), rows))
