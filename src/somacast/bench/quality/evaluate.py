"""`somacast evaluate`: a system on test people by the protocol of docs/protocol.md, results as JSON."""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from somacast.bench.quality.config import EvaluateConfig
from somacast.bench.results import Result, describe_run, write_result
from somacast.errors import SomacastError
from somacast.files import check_output_path, write_atomically
from somacast.geometry.reconstruction import Reconstruction
from somacast.metrics.protocol import evaluate_pair, place_result, summarise
from somacast.synthetic.datasets.loaders import EvalItem, count_items, load_items
from somacast.types import Capture

BENCHMARK = "evaluate"
TILE_PX = 192
SHEET_SCORE = "ssim_box"  # by which the sheet's worst, median and best people are chosen
_NOT_AVERAGED = ("name", "action", "yaw_deg")


@dataclass
class Measured:
    """rows: figures of the people that came through, name and action among them; failures: name, action, stage,
    message of those that did not; tiles: name to pictures for the sheet; the rest is of the first that came through."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    failures: list[dict[str, str]] = field(default_factory=list)
    tiles: dict[str, np.ndarray] = field(default_factory=dict)
    warm_up_s: float | None = None
    peak_after_first_bytes: int | None = None


# -- one person -------------------------------------------------------------------------------------------------------


def peak_memory() -> int:
    """The most memory this process has ever held, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def run_chain(
    sender: Any, receiver: Any, capture: Capture, path: Path, budget_bytes: int | None
) -> tuple[Reconstruction, dict]:
    """Picture -> file -> person; also bytes of the file and seconds by stage. SomacastError names the stage."""
    start = time.perf_counter()
    try:
        sent = sender.encode(capture, budget_bytes)
        write_atomically(path, sent.data)
    except SomacastError as fault:
        raise _StageFault("sender", fault) from fault
    between = time.perf_counter()
    try:
        got = receiver.decode(path.read_bytes())
    except SomacastError as fault:
        raise _StageFault("receiver", fault) from fault
    end = time.perf_counter()
    row: dict[str, float] = {"bytes": path.stat().st_size}
    row |= {"encode_s": between - start, "decode_s": end - between, "picture_to_mesh_s": end - start}
    for half, times in (("sender", sent.report.get("stage_times_s", {})), ("receiver", got.stage_times_s)):
        row |= {f"{half}_{name}_s": seconds for name, seconds in times.items()}
    return got.human, row


class _StageFault(SomacastError):
    def __init__(self, stage: str, fault: Exception):
        super().__init__(str(fault))
        self.stage = stage


def measure_item(
    sender: Any, receiver: Any, item: EvalItem, path: Path, config: EvaluateConfig
) -> tuple[dict, Reconstruction]:
    """All figures of one person, and the result as it was compared."""
    capture = item.capture(sender.system.spec.inputs.mask, config.tell_height)
    human, row = run_chain(sender, receiver, capture, path, config.budget_bytes)
    try:
        result = place_result(human, item.truth_joints)
        row |= evaluate_pair(item.truth, result, item.truth_joints, config.protocol)
    except SomacastError as fault:
        raise _StageFault("comparison", fault) from fault
    return {"name": item.name, "action": item.action, "yaw_deg": item.yaw_deg, **row}, result


def measure(
    sender: Any, receiver: Any, items: Iterable[EvalItem], total: int | None, config: EvaluateConfig
) -> Measured:
    """Every item through the chain; one that fails becomes a row of `failures` and the rest go on.

    The first person that comes through is run once more before, untimed, so that loading counts for nobody.
    """
    from rich.console import Console
    from rich.progress import track

    out = Measured()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "person.soma"
        for item in track(items, config.system, total, console=Console(stderr=True)):
            if config.tell_height and item.height_m is None:
                raise SomacastError(f"{item.name}: expected a person whose height is known, as of synthetic-test")
            try:
                if out.warm_up_s is None:
                    start = time.perf_counter()
                    capture = item.capture(sender.system.spec.inputs.mask, config.tell_height)
                    run_chain(sender, receiver, capture, path, config.budget_bytes)
                    out.warm_up_s = time.perf_counter() - start
                    out.peak_after_first_bytes = peak_memory()
                row, result = measure_item(sender, receiver, item, path, config)
            except _StageFault as fault:
                out.failures.append(
                    {"name": item.name, "action": item.action, "stage": fault.stage, "message": str(fault)}
                )
                continue
            out.rows.append(row)
            if config.sheet:
                out.tiles[item.name] = _tile(item, result)
    return out


# -- all together -----------------------------------------------------------------------------------------------------


def _numbers(row: dict[str, Any]) -> dict[str, float]:
    return {k: v for k, v in row.items() if k not in _NOT_AVERAGED}


def yaw_bin(yaw_deg: float) -> str:
    """front (within 60 degrees of facing the camera), side, or back (beyond 120)."""
    turn = abs((yaw_deg + 180) % 360 - 180)
    return "front" if turn < 60 else "side" if turn <= 120 else "back"


def tables(measured: Measured) -> dict[str, Any]:
    """Means by action, in total and by yaw; distributions of bytes and times. Failures are counted beside, never
    averaged."""
    rows = measured.rows
    actions: dict[str, list[dict[str, float]]] = {}
    by_facing: dict[str, list[dict[str, float]]] = {"front": [], "side": [], "back": []}
    for row in rows:
        actions.setdefault(row["action"], []).append(_numbers(row))
        if row["yaw_deg"] is not None:
            by_facing[yaw_bin(row["yaw_deg"])].append(_numbers(row))
    failed: dict[str, int] = {}
    for row in measured.failures:
        failed[row["action"]] = failed.get(row["action"], 0) + 1
    out: dict[str, Any] = {"people": len(rows) + len(measured.failures), "failed": len(measured.failures)}
    out |= {"failed_by_action": failed, "actions": {}, "total": {}, "counts": {}, "by_yaw": {}, "distribution": {}}
    if rows:
        out |= summarise(actions)
        by_yaw = summarise(by_facing) if any(by_facing.values()) else {"actions": {}, "counts": {}}
        out["by_yaw"] = {k: {"people": by_yaw["counts"][k], **v} for k, v in by_yaw["actions"].items()}
        for name in ("bytes", "encode_s", "decode_s", "picture_to_mesh_s"):
            values = np.array([row[name] for row in rows], np.float64)
            out["distribution"][name] = {
                "mean": float(values.mean()),
                "median": float(np.median(values)),
                "p95": float(np.percentile(values, 95)),
                "max": float(values.max()),
            }
    return out


def load_halves(system: str, device: str) -> tuple[Any, Any]:
    """Sender and receiver of a system, loaded."""
    from somacast.pipeline.still.receiver import Receiver
    from somacast.pipeline.still.sender import Sender

    sender = Sender(system, device)
    base = sender.system.spec.name
    receiver = Receiver(device, {base: system})
    receiver.load(base)
    return sender, receiver


def evaluate_system(config: EvaluateConfig) -> Result:
    """Measure, write the JSON (and the sheet), print the table; returns what was written.

    Raises SomacastError for data or an output that cannot be used. A picture that fails is no error of this function:
    it is listed under "failures".
    """
    for path in (config.json_path, config.sheet):
        if path:
            check_output_path(path)
    total = count_items(config.data, config.format, config.people)
    start = time.perf_counter()
    sender, receiver = load_halves(config.system, config.device)
    load_s = time.perf_counter() - start
    items = load_items(config.data, config.format, config.people, config.assets, config.seed)
    measured = measure(sender, receiver, items, total, config)
    results = tables(measured) | {
        "load_s": load_s,
        "first_person_s": measured.warm_up_s,
        "peak_memory_after_first_person_bytes": measured.peak_after_first_bytes,
        "peak_memory_bytes": peak_memory(),
        "failures": measured.failures,
    }
    result = Result(BENCHMARK, describe_run(BENCHMARK, config), results, measured.rows)
    result = write_result(config.json_path, result)
    if config.sheet and measured.tiles:
        write_atomically(config.sheet, _sheet(measured))
    print_table(result)
    return result


# -- for people to look at --------------------------------------------------------------------------------------------

_COLUMNS = (  # figure, heading, factor, places
    ("bytes", "bytes", 1, 0), ("ssim_whole", "SSIM", 1, 3), ("ssim_box", "SSIM box", 1, 3), ("mse", "MSE", 1, 4),
    ("centred_chamfer_m", "Chamfer cm", 100, 2), ("mpjpe_m", "MPJPE mm", 1000, 0), ("pa_mpjpe_m", "PA mm", 1000, 0),
    ("picture_to_mesh_s", "ms", 1000, 0),
)  # fmt: skip


def print_table(result: Result) -> None:
    """Means by action and in total on stdout, failures below."""
    from rich.console import Console
    from rich.table import Table

    found = result.results
    table = Table(title=f"{result.provenance.system} on {found['people']} people")
    for heading in ("action", "people", *(column[1] for column in _COLUMNS)):
        table.add_column(heading, justify="left" if heading == "action" else "right")
    for action, row in [*found["actions"].items(), ("total", found["total"])]:
        count = found["counts"].get(action, sum(found["counts"].values()))
        cells = [f"{row[n] * factor:.{places}f}" if n in row else "" for n, _, factor, places in _COLUMNS]
        table.add_row(action, str(count), *cells)
    console = Console()
    console.print(table)
    for row in found["failures"]:
        console.print(f"failed: {row['name']} ({row['action']}) in the {row['stage']}: {row['message']}", markup=False)


def _tile(item: EvalItem, result: Reconstruction) -> np.ndarray:
    """Input beside four views of the truth, above four views of the result: uint8."""
    from PIL import Image

    from somacast.geometry.preview import person_views, to_bytes_image

    views = [to_bytes_image(person_views(one, TILE_PX)) for one in (Reconstruction(item.truth), result)]
    picture = Image.fromarray(to_bytes_image(item.frame.image))
    picture.thumbnail((2 * TILE_PX, 2 * TILE_PX))
    left = np.full((2 * TILE_PX, 2 * TILE_PX, 3), 250, np.uint8)
    left[: picture.height, : picture.width] = np.asarray(picture)
    return np.concatenate([left, np.concatenate(views, 0)], 1)


def _sheet(measured: Measured) -> bytes:
    from somacast.geometry.preview import contact_sheet, encode_png

    ranked = sorted(measured.rows, key=lambda row: row[SHEET_SCORE])
    chosen = {"worst": ranked[0], "median": ranked[len(ranked) // 2], "best": ranked[-1]}
    tiles = [
        (f"{rank}: {row['name']} {row['action']}, SSIM box {row[SHEET_SCORE]:.3f}, {row['bytes']} B",
         measured.tiles[row["name"]])
        for rank, row in chosen.items()
    ]  # fmt: skip
    return encode_png(contact_sheet(tiles, columns=1))
