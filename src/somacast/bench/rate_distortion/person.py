"""One person through every system at every budget: real files, written, read again and rebuilt."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from somacast.bench.quality.evaluate import place_result
from somacast.bench.rate_distortion.systems import DRACO, OURS, Halves
from somacast.capture.pictures import frame_from_array
from somacast.errors import SomacastError
from somacast.files import write_atomically
from somacast.geometry.rasteriser import render_camera
from somacast.geometry.reconstruction import Reconstruction
from somacast.metrics.protocol import ProtocolConfig, evaluate_pair
from somacast.synthetic.datasets.loaders import EvalItem
from somacast.systems.baselines.draco.meshes import MeshSearch, decode_mesh
from somacast.systems.baselines.picture.codecs import PICTURE_CODECS, decode_picture, setting_of
from somacast.systems.baselines.picture.search import REFERENCE_PX, Candidate, PersonCrop, PictureSearch
from somacast.types import Camera, Frame, Mesh

DEFAULT_FOCAL = 1.2  # over the longer side: docs/conventions.md, of a picture without a camera
SURELY_SEEN_BYTES = 200  # pictures of so many bytes are seen at the first attempt
ATTEMPTS = 3  # pictures of one budget, best first, that are offered to the receiver until it sees somebody
SHOWN = ("bytes", "ssim_whole", "ssim_box", "psnr_db", "mse", "iou", "centred_chamfer_m", "centred_normal_consistency",
         "mpjpe_m", "pa_mpjpe_m")  # fmt: skip


@dataclass(frozen=True)
class PersonConfig:
    """What is done with each person. sides_px: of coded pictures; flat: they get a background of one colour;
    keep_at: budgets whose pictures and meshes are kept for the sheet; known: codec -> budget -> (setting, bytes) of
    this person's pictures in an earlier run, see `known_pictures`."""

    budgets_bytes: tuple[int, ...]
    systems: tuple[str, ...]
    sides_px: tuple[int, ...]
    flat: bool
    protocol: ProtocolConfig
    keep_at: tuple[int, ...] = ()
    known: dict[str, dict[int, tuple[str, int]]] = field(default_factory=dict)


@dataclass
class Kept:
    """For the sheet: figures, the picture that was decoded [256, 256, 3] uint8 (None if there is none), the mesh."""

    row: dict[str, Any]
    picture: np.ndarray | None
    mesh: Mesh


@dataclass
class PersonResult:
    """rows: system -> budget -> figures, None (nothing fits) or {"failed": message}; seconds by system; kept: (system,
    budget) -> Kept; fault: why nothing at all could be measured, or None."""

    name: str
    action: str
    yaw_deg: float | None
    rows: dict[str, dict[str, dict[str, Any] | None]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    fault: str | None = None
    kept: dict[tuple[str, int], Kept] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """All but `kept`, ready for JSON."""
        return {"name": self.name, "action": self.action, "yaw_deg": self.yaw_deg, "rows": self.rows,
                "seconds": self.seconds, "fault": self.fault}  # fmt: skip


def silhouette_of(item: EvalItem) -> np.ndarray:
    """Where the person truly is in the picture, [H, W] float32; SomacastError if nobody knows."""
    if item.silhouette is not None:
        return item.silhouette
    if item.frame.camera is None:
        raise SomacastError(f"{item.name}: expected a person whose silhouette or camera is known")
    return render_camera(item.truth, item.frame.camera).mask.astype(np.float32)


def crop_frame(pixels: np.ndarray, crop: PersonCrop, frame: Frame) -> Frame:
    """The decoded picture as a frame, with the camera that the whole picture has (or is taken to have): the receiver
    knows from where in the picture the crop was taken, at no cost in bytes."""
    height, width = frame.image.shape[:2]
    whole = frame.camera
    focal = whole.fx if whole else DEFAULT_FOCAL * max(height, width)
    cx, cy = (whole.cx, whole.cy) if whole else (width / 2, height / 2)
    scale, corner = REFERENCE_PX / crop.box.side, crop.box.corner
    rotation, translation = (whole.rotation, whole.translation) if whole else (np.eye(3), np.zeros(3))
    out = frame_from_array(pixels)
    out.camera = Camera(
        rotation, translation, focal * scale, focal * scale, (cx - corner[0]) * scale, (cy - corner[1]) * scale,
        REFERENCE_PX, REFERENCE_PX,
    )  # fmt: skip
    return out


class PersonBench:
    """Holds one person, the networks and a folder for files; equal files are judged once."""

    def __init__(self, item: EvalItem, halves: Halves, config: PersonConfig, folder: Path):
        self.item, self.halves, self.config = item, halves, config
        self.path = folder / "file.bin"
        self.result = PersonResult(item.name, item.action, item.yaw_deg)
        self._judged: dict[tuple[str, bytes], tuple[dict[str, Any], Mesh]] = {}

    def run(self, tick: Callable[[], None] = lambda: None) -> PersonResult:
        """All systems; `tick` is called after each."""
        config, result = self.config, self.result
        try:
            self.halves.sender.encode(self.item.frame)  # a person whom nobody can send counts for nobody
        except SomacastError as fault:
            result.fault = str(fault)
            return result
        for name in config.systems:
            start = time.perf_counter()
            measure = self._pictures if name in PICTURE_CODECS else self._meshes if name == DRACO else self._labels
            result.rows[name] = {}
            for budget, row in measure(name):
                result.rows[name][str(budget)] = row
            result.seconds[name] = time.perf_counter() - start
            tick()
        return result

    # -- the three kinds of files --------------------------------------------------------------------------------------

    def _labels(self, name: str):
        """AFLSC: Sender.encode with the budget, Receiver.decode of the file."""
        for budget in self.config.budgets_bytes:
            try:
                data = self.halves.sender.encode(self.item.frame, budget).data
            except SomacastError:  # without a budget it went well: this one is too small
                yield budget, None
                continue
            receiver = self.halves.receivers[name]
            yield budget, self._row(name, budget, data, lambda d, r=receiver: r.decode(d).human, None)

    def _pictures(self, name: str):
        """A coded crop, and the product's own sender networks and decoder at the receiver; labels at full precision
        go from one to the other without a file."""
        item = self.item
        crop = PersonCrop.of(item.frame.image, silhouette_of(item), self.config.sides_px, self.config.flat)
        search = PictureSearch(name, crop)
        receiver = self.halves.receivers[OURS].load(OURS)

        def rebuild(data: bytes) -> Reconstruction:
            picture = crop.enlarged(decode_picture(name, data))
            semantics, _ = self.halves.sender.encoder.encode([crop_frame(picture, crop, item.frame)])
            return receiver.decode(semantics)

        def candidates(budget: int) -> Iterator[Candidate]:
            earlier = self.config.known.get(name, {}).get(budget)
            first = search.again(*earlier) if earlier else None
            if first is not None:
                yield first
            yield from (c for c in search.best(budget)[:ATTEMPTS] if first is None or c.data != first.data)

        for budget in sorted(self.config.budgets_bytes):
            row: dict[str, Any] | None = None
            for attempt, candidate in enumerate(candidates(budget)):
                row = self._row(name, budget, candidate.data, rebuild, candidate.picture)
                row |= {"setting": setting_of(candidate.data), "picture_psnr_db": candidate.psnr_db}
                row["attempt"] = attempt
                if "failed" not in row:
                    break
            yield budget, row

    def _meshes(self, name: str):
        """The mesh that the product's decoder makes at the sender, by Draco."""
        semantics, _ = self.halves.sender.encoder.encode([self.item.frame])
        human = self.halves.receivers[OURS].load(OURS).decode(semantics)
        mesh, _ = place_result(human, self.item)
        search = MeshSearch(mesh)
        for budget in self.config.budgets_bytes:
            data = search.best(budget)
            yield (
                budget,
                None if data is None else self._row(name, budget, data, lambda d: Reconstruction(decode_mesh(d)), None),
            )

    # -- judging -------------------------------------------------------------------------------------------------------

    def _row(
        self,
        name: str,
        budget: int,
        data: bytes,
        rebuild: Callable[[bytes], Reconstruction],
        picture: np.ndarray | None,
    ) -> dict[str, Any]:
        """Figures of one file, from what is read back from the disk."""
        if (name, data) not in self._judged:
            write_atomically(self.path, data)
            if self.path.stat().st_size > budget:
                raise AssertionError(f"{name}: a file of {self.path.stat().st_size} bytes for a budget of {budget}")
            try:
                mesh, joints = place_result(rebuild(self.path.read_bytes()), self.item)
                truth_joints = None if joints is None else self.item.truth_joints
                figures = evaluate_pair(self.item.truth, mesh, truth_joints, joints, self.config.protocol)
            except SomacastError as fault:
                return {"bytes": len(data), "failed": str(fault)}
            row: dict[str, Any] = {"bytes": self.path.stat().st_size} | figures
            self._judged[name, data] = {key: row[key] for key in SHOWN if key in row}, mesh
        row, mesh = self._judged[name, data]
        if budget in self.config.keep_at:
            self.result.kept[name, budget] = Kept(row, picture, mesh)
        return dict(row)


def known_pictures(person: dict[str, Any]) -> dict[str, dict[int, tuple[str, int]]]:
    """Of a person of an earlier run, the settings whose search need not be done again: codec -> budget -> (setting,
    bytes). A search depends on no network of ours but for the attempts: what was seen only at a second one, what nobody
    was seen in, and small pictures of runs that did not say so are searched for anew."""
    found: dict[str, dict[int, tuple[str, int]]] = {}
    for name, rows in person["rows"].items():
        if name not in PICTURE_CODECS:
            continue
        best = -1.0
        for budget in sorted(int(b) for b in rows):
            row = rows[str(budget)]
            if row is None:
                continue
            first = row["attempt"] == 0 if "attempt" in row else budget >= SURELY_SEEN_BYTES
            if "failed" not in row and first and row["picture_psnr_db"] >= best:
                found.setdefault(name, {})[budget] = row["setting"], row["bytes"]
            best = max(best, row["picture_psnr_db"])
    return found


def own_budgets(wanted: Sequence[int], budgets: Sequence[int]) -> tuple[int, ...]:
    """Those of `wanted` that were measured, or the smallest, the middle and the largest budget."""
    found = tuple(b for b in wanted if b in budgets)
    ordered = sorted(budgets)
    return found or tuple(dict.fromkeys((ordered[0], ordered[len(ordered) // 2], ordered[-1])))
