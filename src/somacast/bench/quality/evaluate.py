"""`somacast evaluate`: a system on test people by the protocol of docs/protocol.md, results as JSON.

items -> chain -> Reference.compare, controls, lineups -> rows -> tables -> JSON, sheet
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from somacast.bench.halves import load_halves
from somacast.bench.progress import Progress, settings_key
from somacast.bench.quality.cast import GALLERY, Cast, FaceLineup, Lineup
from somacast.bench.quality.config import EvaluateConfig
from somacast.bench.quality.show import caption_of, person_tile, print_table, sheet
from somacast.bench.quality.tables import tables
from somacast.bench.results import Result, describe_run, git_commit, weights_digests, write_result
from somacast.capture.cropping import SquareBox, square_crop
from somacast.errors import SomacastError
from somacast.extras import installed, lacking
from somacast.files import check_output_path, write_atomically
from somacast.geometry.reconstruction import Reconstruction
from somacast.metrics.controls import BLURRED, GREY, OTHER, TRUTH, controls_of, in_grey
from somacast.metrics.image import iou
from somacast.metrics.perceptual import PACKAGE as PERCEPTUAL
from somacast.metrics.protocol import Reference
from somacast.metrics.views import INPUT
from somacast.synthetic.datasets.loaders import EvalItem, count_items, load_items, truth_of
from somacast.types import Capture

BENCHMARK = "evaluate"
PACKAGES = ("stlpips-pytorch", "dlib-bin", "face-recognition-models")  # that figures come from


@dataclass
class Measured:
    """rows: figures of the people that came through, name and action among them; failures: name, action, stage,
    message of those that did not; controls: by control and person the figures of what could be shown instead; numbers:
    place of each person in the set; the rest is of the first that came through."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    failures: list[dict[str, str]] = field(default_factory=list)
    controls: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    warm_up_s: float | None = None
    peak_after_first_bytes: int | None = None


# -- one person -------------------------------------------------------------------------------------------------------


def peak_memory() -> int | None:
    """The most memory this process has ever held, in bytes; None on Windows, which counts it elsewhere."""
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def run_chain(
    sender: Any, receiver: Any, capture: Capture, path: Path, budget_bytes: int | None
) -> tuple[Reconstruction, dict]:
    """Picture -> file -> person; also bytes of the file, seconds by stage, and what the sender saw ("seen": report and
    maps). SomacastError names the stage."""
    start = time.perf_counter()
    try:
        sent = sender.encode(capture, budget_bytes)
        write_atomically(path, sent.data)
    except SomacastError as fault:
        raise StageFault("sender", fault) from fault
    between = time.perf_counter()
    try:
        got = receiver.decode(path.read_bytes())
    except SomacastError as fault:
        raise StageFault("receiver", fault) from fault
    end = time.perf_counter()
    row: dict[str, Any] = {"bytes": path.stat().st_size, "seen": (sent.report, sent.maps)}
    row |= {"encode_s": between - start, "decode_s": end - between, "picture_to_mesh_s": end - start}
    for half, times in (("sender", sent.report.get("stage_times_s", {})), ("receiver", got.stage_times_s)):
        row |= {f"{half}_{name}_s": seconds for name, seconds in times.items()}
    return got.human, row


def silhouette_iou(item: EvalItem, report: Mapping[str, Any], maps: Mapping[str, np.ndarray]) -> float | None:
    """How well a sender saw where the person is: IoU of its silhouette, in the square that it looked at, with the true
    one; None if either is not known."""
    box, seen = report.get("person_box_px"), maps.get("silhouette")
    if box is None or seen is None or item.silhouette is None:
        return None
    square = SquareBox((box[0] + box[2]) / 2, (box[1] + box[3]) / 2, box[2] - box[0])
    return iou(square_crop(item.silhouette, square, len(seen)) > 0.5, np.asarray(seen) > 0.5)


class StageFault(SomacastError):
    """A fault of one stage of the chain: sender, receiver."""

    def __init__(self, stage: str, fault: Exception):
        super().__init__(str(fault))
        self.stage = stage


class Judge:
    """One person: the truth, everybody whom a result is measured beside, and who else it might be."""

    def __init__(self, item: EvalItem, cast: Cast, config: EvaluateConfig):
        self.item, self.reference = item, Reference(truth_of(item), config.protocol)
        self.controls: dict[str, Reconstruction] = {}
        known = item.pose is not None and INPUT in self.reference.cameras and bool(cast.others(item))
        self.lineup = Lineup(item, self.reference, cast) if known and self.reference.perceptual else None
        self.faces = FaceLineup(self.reference) if item.has_face and item.pose is not None else None
        if not config.without_controls:
            self.controls = controls_of(self.reference.truth, item.yaw_deg, cast.double(item))

    def row(
        self, person: Reconstruction, in_place: bool = False, surfaces: Mapping[str, Any] | None = None
    ) -> dict[str, float]:
        """All figures of one person that is shown; surfaces: a row of somebody with the same surface."""
        row = self.reference.compare(person, in_place, surfaces)
        camera = self.reference.cameras.get(INPUT) if in_place else self.reference.input_camera(person)
        if self.lineup is not None and camera is not None:
            rank = self.lineup.rank(person, camera)
            row |= {"same_person": float(rank == 1), "same_person_top5": float(rank <= 5)}
        distance = self.faces.distance(person) if self.faces is not None else None
        return row if distance is None else row | {"face_distance": distance}

    def control_rows(self, result: Reconstruction | None, row: Mapping[str, Any]) -> dict[str, dict[str, float]]:
        """Figures of every control by name; the result in grey is one of them where there is a result, with its row."""
        rows: dict[str, dict[str, float]] = {}
        for name, person in self.controls.items():
            rows[name] = self.row(person, True, rows[TRUTH] if name == BLURRED else None)
        if OTHER in rows:  # nobody compares the joints of a double
            rows[OTHER].pop("mpjpe_m", None)
        if self.controls and result is not None:
            rows[GREY] = self.row(in_grey(result), surfaces=row)
        return rows


@dataclass
class _Run:
    """What an evaluation holds on to."""

    sender: Any
    receiver: Any
    config: EvaluateConfig
    path: Path
    progress: Progress
    out: Measured = field(default_factory=Measured)

    def capture(self, item: EvalItem) -> Capture:
        return item.capture(self.sender.system.spec.inputs.mask, self.config.tell_height)

    def chain(self, item: EvalItem) -> tuple[Reconstruction, dict]:
        return run_chain(self.sender, self.receiver, self.capture(item), self.path, self.config.budget_bytes)

    def warm_up(self, item: EvalItem) -> None:
        """The first person that comes through is run once before, untimed, so that loading counts for nobody."""
        start = time.perf_counter()
        self.chain(item)
        self.out.warm_up_s = time.perf_counter() - start
        self.out.peak_after_first_bytes = peak_memory()

    def person(self, number: int, item: EvalItem, cast: Cast) -> dict[str, Any]:
        """One person's row or failure, and controls, as they are kept."""
        about = {"name": item.name, "action": item.action}
        found: dict[str, Any] = {"row": None, "failure": None}
        human, row = None, {}
        try:
            if self.out.warm_up_s is None:
                self.warm_up(item)
            human, row = self.chain(item)
            overlap = silhouette_iou(item, *row.pop("seen"))
            row |= {} if overlap is None else {"silhouette_iou": overlap}
        except StageFault as fault:
            found["failure"] = about | {"stage": fault.stage, "message": str(fault)}
        judge = Judge(item, cast, self.config)
        if human is not None:
            try:
                found["row"] = about | {"yaw_deg": item.yaw_deg} | row | judge.row(human)
            except SomacastError as fault:
                human = None
                found["failure"] = about | {"stage": "comparison", "message": str(fault)}
        found["controls"] = judge.control_rows(human, found["row"] or {})
        tile = person_tile(item, judge.reference, human, judge.controls) if self.config.sheet else None
        self.progress.store(number, found, tile)
        return found

    def take(self, number: int, name: str, found: dict[str, Any]) -> None:
        """One person's row into what was measured."""
        self.out.numbers[name] = number
        if found["failure"]:
            self.out.failures.append(found["failure"])
        else:
            self.out.rows.append(found["row"])
        for control, row in found["controls"].items():
            self.out.controls.setdefault(control, {})[name] = row


def measure(run: _Run, items: Iterable[EvalItem], total: int | None) -> Measured:
    """Every item through the chain; one that fails becomes a row of `failures` and the rest go on. What an earlier run
    with the same settings had finished is taken as it is."""
    from rich.console import Console
    from rich.progress import track

    items = iter(items)
    first = list(islice(items, GALLERY + 1))
    cast = Cast(first)
    everybody = track(chain(first, items), run.config.system, total, console=Console(stderr=True))
    for number, item in enumerate(everybody):
        if run.config.tell_height and item.height_m is None:
            raise SomacastError(f"{item.name}: expected a person whose height is known, as of synthetic-test")
        run.take(number, item.name, run.progress.load(number) or run.person(number, item, cast))
    return run.out


# -- all together -----------------------------------------------------------------------------------------------------


def left_out() -> list[str]:
    """What cannot be measured here for want of a package, one line each."""
    wanted = (
        ("ST-LPIPS and whom a person looks like", PERCEPTUAL, "bench"),
        ("ST-LPIPS and whom a person looks like", "onnx", "bench"),
        ("the distance of faces", "dlib", "bench"),
        ("the distance of faces", "face_recognition_models", "bench"),
    )
    return [f"left out: {lacking(what, package, extra)}" for what, package, extra in wanted if not installed(package)]


def progress_of(config: EvaluateConfig) -> Progress:
    """Where the people of a run that was killed lie: a hidden folder beside the result."""
    settings = asdict(config) | {"weights": weights_digests(), "sheet": bool(config.sheet), "json_path": None}
    settings |= {"left_out": left_out(), "commit": git_commit(Path(__file__).parent)}
    folder = config.json_path.with_name(f".{config.json_path.stem}.unfinished")
    return Progress(folder, settings_key({k: v for k, v in settings.items() if k != "people"}))


def evaluate_system(config: EvaluateConfig) -> Result:
    """Measure, write the JSON (and the sheet), print the table; returns what was written. A run that was killed goes on
    where it stopped.

    Raises SomacastError for data or an output that cannot be used. A picture that fails is no error of this function:
    it is listed under "failures", and the grey mannequin stands for it in the means.
    """
    for path in (config.json_path, config.sheet):
        if path:
            check_output_path(path)
    total = count_items(config.data, config.format, config.people)
    start = time.perf_counter()
    sender, receiver = load_halves(config.system, config.device)
    load_s = time.perf_counter() - start
    items = load_items(config.data, config.format, config.people, config.assets, config.seed)
    with tempfile.TemporaryDirectory() as folder:
        run = _Run(sender, receiver, config, Path(folder) / "person.soma", progress_of(config))
        measured = measure(run, items, total)
    evaluation_s = time.perf_counter() - start - load_s
    results = tables(measured.rows, measured.failures, measured.controls) | {
        "left_out": left_out(),
        "load_s": load_s,
        "evaluation_s": evaluation_s,  # of this run: less if it went on where another had stopped
        "first_person_s": measured.warm_up_s,
        "peak_memory_after_first_person_bytes": measured.peak_after_first_bytes,
        "peak_memory_bytes": peak_memory(),
        "failures": measured.failures,
    }
    rows = [{k: v for k, v in row.items() if not k.startswith("view_")} for row in measured.rows]
    result = Result(BENCHMARK, describe_run(BENCHMARK, config, packages=PACKAGES), results, rows)
    result = write_result(config.json_path, result)
    if config.sheet and measured.rows:
        columns = caption_of([name for name in measured.controls if name != GREY])
        write_atomically(config.sheet, sheet(measured.rows, measured.numbers, run.progress, columns))
    run.progress.clear()
    print_table(result)
    return result
