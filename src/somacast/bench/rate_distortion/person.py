"""One person through every system at every budget: real files, written, read again and rebuilt."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from somacast.bench.halves import load_halves
from somacast.errors import SomacastError
from somacast.files import write_atomically
from somacast.geometry.reconstruction import Reconstruction
from somacast.metrics.config import ProtocolConfig
from somacast.metrics.controls import controls_of
from somacast.metrics.protocol import Reference, place_result
from somacast.synthetic.datasets.loaders import EvalItem, truth_of
from somacast.systems import registry
from somacast.systems.spec import SearchingEncoder
from somacast.weights.sessions import one_blas_thread

SHOWN = ("bytes", "input_stlpips", "input_iou", "input_ssim_box", "input_psnr_db", "input_delta_e", "input_normal_deg",
         "sides_stlpips", "sides_iou", "unseen_delta_e",
         "ssim_whole", "ssim_box", "psnr_db", "mse", "iou", "centred_chamfer_m", "centred_normal_consistency",
         "mpjpe_m", "pa_mpjpe_m", "lean_deg", "knees_deg")  # fmt: skip
Halves = Mapping[str, tuple[Any, Any]]  # sender and receiver of every system by name, that of the default among them
Known = dict[str, dict[int, tuple[str, int]]]  # system -> budget -> setting that an earlier search took, bytes


def load_systems(names: Sequence[str], device: str) -> Halves:
    """Both halves of every system, and of the default system."""
    return {name: load_halves(name, device) for name in dict.fromkeys([registry.DEFAULT, *names])}


@dataclass(frozen=True)
class PersonConfig:
    """What is done with one person. keep_at: budgets whose results are kept for the sheet; known: settings of this
    person's files in an earlier run, see `known_settings`."""

    budgets_bytes: tuple[int, ...]
    systems: tuple[str, ...]
    protocol: ProtocolConfig
    keep_at: tuple[int, ...] = ()
    known: Known = field(default_factory=dict)


@dataclass
class Kept:
    """For the sheet: figures, and the person as it was compared."""

    row: dict[str, Any]
    human: Reconstruction


@dataclass
class PersonResult:
    """rows: system -> budget -> figures, None (nothing fits) or {"failed": message}; controls: figures of what could be
    shown instead, by control; seconds by system; kept: (system, budget) -> Kept; fault: why nothing at all could be
    measured, or None."""

    name: str
    action: str
    yaw_deg: float | None
    rows: dict[str, dict[str, dict[str, Any] | None]] = field(default_factory=dict)
    controls: dict[str, dict[str, float]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    fault: str | None = None
    kept: dict[tuple[str, int], Kept] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """All but `kept`, ready for JSON."""
        return {"name": self.name, "action": self.action, "yaw_deg": self.yaw_deg, "rows": self.rows,
                "controls": self.controls, "seconds": self.seconds, "fault": self.fault}  # fmt: skip


class PersonBench:
    """Holds one person, the systems and a folder for files; equal files are judged once."""

    def __init__(self, item: EvalItem, halves: Halves, config: PersonConfig, folder: Path):
        self.item, self.halves, self.config = item, halves, config
        self.path = folder / "person.soma"
        self.result = PersonResult(item.name, item.action, item.yaw_deg)
        self.reference = Reference(truth_of(item), config.protocol)
        self._judged: dict[tuple[str, bytes], Kept] = {}

    def run(self, tick: Callable[[], None] = lambda: None) -> PersonResult:
        """All systems; `tick` is called after each."""
        result = self.result
        try:
            self.halves[registry.DEFAULT][0].encode(self.item.capture())
        except SomacastError as fault:  # a person whom the default system cannot send counts for nobody
            result.fault = str(fault)
            return result
        for name, person in controls_of(self.reference.truth, self.item.yaw_deg).items():
            result.controls[name] = _shown(self.reference.compare(person, in_place=True))
        for name in self.config.systems:
            start = time.perf_counter()
            # From small to large, as searches share their trials.
            result.rows[name] = {str(b): self._measure(name, b) for b in sorted(self.config.budgets_bytes)}
            result.seconds[name] = time.perf_counter() - start
            tick()
        return result

    def _measure(self, name: str, budget: int) -> dict[str, Any] | None:
        sent = self._send(name, budget)
        if sent is None:
            return None
        data, report = sent
        if len(data) > budget:
            raise AssertionError(f"{name}: a file of {len(data)} bytes for a budget of {budget}")
        searched = {"setting": report["setting"]} if "setting" in report else {}
        searched |= report.get("search", {})
        try:
            judged = self._judge(name, data)
        except SomacastError as fault:
            return {"bytes": len(data), "failed": str(fault)} | searched
        if budget in self.config.keep_at:
            self.result.kept[name, budget] = judged
        return judged.row | searched

    def _send(self, name: str, budget: int) -> tuple[bytes, dict[str, Any]] | None:
        """File and report of a budget; None if nothing fits."""
        sender, _ = self.halves[name]
        capture = self.item.capture(sender.system.spec.inputs.mask)
        setting, size = self.config.known.get(name, {}).get(budget, ("", 0))
        if setting and isinstance(sender.encoder, SearchingEncoder):
            with one_blas_thread():
                again = sender.encoder.encode_again(capture, setting, budget)
            data = b"" if again is None else sender.system.pack(again.layers)
            if again is not None and len(data) == size:
                return data, again.report
        try:
            sent = sender.encode(capture, budget)
        except SomacastError:
            return None
        return sent.data, sent.report

    def _judge(self, name: str, data: bytes) -> Kept:
        """Figures of one file, from what is read back from the disk."""
        if (name, data) not in self._judged:
            write_atomically(self.path, data)
            human = self.halves[name][1].decode(self.path.read_bytes()).human
            row: dict[str, Any] = {"bytes": self.path.stat().st_size} | self.reference.compare(human)
            self._judged[name, data] = Kept(_shown(row), place_result(human, self.item.truth_joints))
        return self._judged[name, data]


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: row[key] for key in SHOWN if key in row}


def known_settings(person: dict[str, Any]) -> Known:
    """Of a person of an earlier run, the settings whose search need not be done again. What was of use only after
    better settings were not, and what nobody was seen in, is searched for anew: the networks may be others."""
    return {
        name: {
            int(budget): (row["setting"], row["bytes"])
            for budget, row in rows.items()
            if row is not None and "setting" in row and "failed" not in row and row.get("attempt") == 0
        }
        for name, rows in person["rows"].items()
    }


def own_budgets(wanted: Sequence[int], budgets: Sequence[int]) -> tuple[int, ...]:
    """Those of `wanted` that were measured, or the smallest, the middle and the largest budget."""
    found = tuple(b for b in wanted if b in budgets)
    ordered = sorted(budgets)
    return found or tuple(dict.fromkeys((ordered[0], ordered[len(ordered) // 2], ordered[-1])))
