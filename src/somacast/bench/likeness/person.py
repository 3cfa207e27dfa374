"""One person at every budget: figures, controls, and a strip for the sheet."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from somacast.bench.likeness.config import GALLERY, SIDE, LikenessConfig
from somacast.bench.likeness.sheet import Stage, blank
from somacast.bench.quality.cast import Cast, Lineup
from somacast.bench.quality.evaluate import StageFault, run_chain
from somacast.errors import SomacastError
from somacast.geometry.reconstruction import Reconstruction
from somacast.metrics.controls import GREY, MANNEQUIN, OTHER, controls_of, in_grey
from somacast.metrics.protocol import Reference, place_result
from somacast.synthetic.datasets.loaders import EvalItem, truth_of

KEPT = ("bytes", "input_stlpips", "input_iou", "input_delta_e", "sides_stlpips", "sides_iou", "unseen_delta_e",
        "ssim_box", "iou", "centred_chamfer_m", "centred_normal_consistency", "mpjpe_m", "pa_mpjpe_m", "lean_deg",
        "knees_deg")  # fmt: skip
SHOWN_CONTROLS = (MANNEQUIN, OTHER)


@dataclass
class Person:
    """rows: figures by budget of those that came through; failure: what went wrong first, or None; controls: figures by
    control, at no budget; strip: picture, truth and results side by side, those of another system below."""

    rows: dict[str, dict[str, Any]]
    failure: dict[str, str] | None
    controls: dict[str, dict[str, float]]
    strip: np.ndarray | None = None


class PersonJudge:
    """The truth about one person, and who else it might be."""

    def __init__(self, item: EvalItem, cast: Cast, config: LikenessConfig):
        self.item, self.config = item, config
        self.reference = Reference(truth_of(item), config.protocol)
        others = item.pose is not None and bool(cast.others(item, GALLERY))
        known = others and self.reference.perceptual
        self.lineup = Lineup(item, self.reference, cast, SIDE, GALLERY) if known else None
        found = controls_of(self.reference.truth, item.yaw_deg, cast.double(item))
        self.controls = {name: found[name] for name in SHOWN_CONTROLS if name in found}

    def row(
        self, person: Reconstruction, in_place: bool, apart: bool, surfaces: Mapping[str, Any] | None = None
    ) -> dict[str, float]:
        """Figures of somebody who is shown; apart: whom they look like, too."""
        row = self.reference.compare(person, in_place, surfaces)
        if apart and self.lineup is not None:
            placed = person if in_place else place_result(person, self.reference.truth.joints)
            rank = self.lineup.rank(placed, self.reference.cameras[SIDE])
            row |= {"side_same_person": float(rank == 1), "side_same_person_top5": float(rank <= 5)}
        return row

    def control_rows(self, result: Reconstruction | None, row: Mapping[str, Any]) -> dict[str, dict[str, float]]:
        """Figures of what could be shown instead, the result in grey among it if there is one."""
        rows = {name: self.row(person, True, True) for name, person in self.controls.items()}
        if OTHER in rows:  # nobody compares the joints of a double
            rows[OTHER].pop("mpjpe_m", None)
        if result is not None:
            rows[GREY] = self.row(in_grey(result), False, True, row)
        return {name: kept(found) for name, found in rows.items()}


def kept(row: Mapping[str, Any]) -> dict[str, Any]:
    """The figures that a file of results holds."""
    return {key: value for key, value in row.items() if key in KEPT or key.startswith("side_")}


def measure_person(
    item: EvalItem, cast: Cast, halves: tuple[Any, Any], config: LikenessConfig, path: Path,
    beside: tuple[Any, Any] | None = None,
) -> Person:  # fmt: skip
    """Picture -> file -> person at every budget, and all figures; path: for the file; beside: halves of the system that
    is only shown."""
    sender, receiver = halves
    judge = PersonJudge(item, cast, config)
    capture = item.capture(sender.system.spec.inputs.mask)
    people: dict[int, Reconstruction] = {}
    found = Person({}, None, {})
    judged: tuple[Reconstruction | None, dict[str, Any]] = (None, {})
    for budget in sorted(config.budgets_bytes):
        about = {"name": item.name, "action": item.action, "budget_bytes": str(budget)}
        try:
            human, row = run_chain(sender, receiver, capture, path, budget)
            row.pop("seen")
            row |= judge.row(human, False, budget == config.judged_bytes)
        except SomacastError as fault:
            stage = fault.stage if isinstance(fault, StageFault) else "comparison"
            found.failure = found.failure or about | {"stage": stage, "message": str(fault)}
            continue
        people[budget] = human
        found.rows[str(budget)] = kept(row)
        if budget == config.judged_bytes:
            judged = human, row
    found.controls = judge.control_rows(*judged)
    if config.sheet is not None:
        shown = [people] if beside is None else [people, _shown(item, beside, config, path)]
        lines = [[line.get(budget) for budget in sorted(config.budgets_bytes)] for line in shown]
        found.strip = strip_of(item, judge.reference, lines)
    return found


def _shown(item: EvalItem, halves: tuple[Any, Any], config: LikenessConfig, path: Path) -> dict[int, Reconstruction]:
    """Who comes through by budget."""
    sender, receiver = halves
    people, capture = {}, item.capture(sender.system.spec.inputs.mask)
    for budget in config.budgets_bytes:
        with contextlib.suppress(SomacastError):  # nobody stands there on the sheet
            people[budget] = run_chain(sender, receiver, capture, path, budget)[0]
    return people


def strip_of(item: EvalItem, reference: Reference, lines: list[list[Reconstruction | None]]) -> np.ndarray:
    """Picture, truth and results side by side, as `sheet.heads_of` names them; results alone on further lines."""
    truth, camera = reference.person, reference.truth.camera
    stage = Stage.around(truth, camera, float(max(item.frame.image.shape[:2])))
    heads, strips = np.concatenate([stage.picture(item.frame), stage.views(truth, truth, None)], 1), []
    for people in lines:
        placed = [None if person is None else place_result(person, reference.truth.joints) for person in people]
        views = [stage.views(*pair, reference.truth.lens) for pair in zip(people, placed, strict=True)]
        strips.append(np.concatenate([blank(heads) if strips else heads, *views], 1))
    return np.concatenate(strips)
