"""`somacast evaluate` on a toy system whose figures are known beforehand."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

from somacast.bench.quality import evaluate
from somacast.bench.quality.evaluate import EvaluateConfig, evaluate_system
from somacast.bench.quality.show import TILE_PX
from somacast.bench.quality.tables import yaw_bin
from somacast.errors import BitstreamError, SomacastError
from somacast.geometry.reconstruction import Reconstruction
from somacast.metrics.controls import mannequin
from somacast.metrics.protocol import ProtocolConfig, Reference
from somacast.metrics.views import Truth
from somacast.synthetic.datasets.loaders import EvalItem
from somacast.systems import registry
from somacast.systems.registry import System
from somacast.systems.spec import Inputs
from somacast.types import Capture, Frame, Mesh

FAST = ProtocolConfig(size_px=64, samples=2000)


def box(center: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Mesh:
    corners = np.array([[x, y, z] for x in (-0.2, 0.2) for y in (-0.8, 0.8) for z in (-0.1, 0.1)], np.float32)
    faces = [[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1],
             [2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3]]  # fmt: skip
    colors = np.full((8, 3), 0.7, np.float32)
    return Mesh(corners + np.float32(center), np.array(faces, np.int32), colors)


JOINTS = np.random.default_rng(0).normal(0, 0.3, (21, 3)).astype(np.float32)
JOINTS -= JOINTS[0]


@dataclass
class Sent:
    data: bytes
    report: dict = field(default_factory=lambda: {"stage_times_s": {"semantics": 0.25}})
    maps: dict = field(default_factory=dict)


@dataclass
class Got:
    human: Reconstruction
    stage_times_s: dict = field(default_factory=lambda: {"human": 0.5})


@dataclass
class ToyHalves:
    """Sends as many bytes as the first pixel says; rebuilds the truth, but 3 m off as a whole."""

    system: ClassVar[System] = System("toy", replace(registry.get("jpeg").spec, inputs=Inputs("mono")), None)
    joints: np.ndarray | None = None
    calls: int = 0

    def encode(self, capture: Capture, budget_bytes: int | None) -> Sent:
        self.calls += 1
        value = round(float(capture.frame.image[0, 0, 0]) * 255)
        if value == 0:
            raise SomacastError("no person in the picture")
        return Sent(bytes([value]) * min(value, budget_bytes or 255))

    def decode(self, data: bytes) -> Got:
        if data[0] == 13:
            raise BitstreamError("made for other weights")
        if data[0] == 14:
            return Got(Reconstruction())
        joints = None if self.joints is None else self.joints + np.float32([3, 0, 0])
        return Got(Reconstruction(mesh=box((3, 0, 0)), joints=joints))


def item(name: str, action: str, size: int, joints: np.ndarray | None = JOINTS, yaw: float | None = 0.0) -> EvalItem:
    return EvalItem(name, action, Frame(np.full((64, 64, 3), size / 255, np.float32)), box(), joints, yaw)


ITEMS = [item("a", "standing", 0), item("b", "standing", 100, yaw=10), item("c", "standing", 200, yaw=-170),
         item("d", "walking", 60, yaw=90), item("e", "walking", 13), item("f", "running", 14)]  # fmt: skip


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EvaluateConfig:
    halves = ToyHalves(JOINTS)
    monkeypatch.setattr(evaluate, "load_halves", lambda system, device: (halves, halves))
    monkeypatch.setattr(evaluate, "load_items", lambda *arguments: iter(ITEMS))
    monkeypatch.setattr(evaluate, "count_items", lambda *arguments: len(ITEMS))
    return EvaluateConfig("toy", "synthetic-test", tmp_path / "r.json", seed=5, without_controls=True, protocol=FAST)


def test_heights_are_told_only_when_asked_and_only_where_they_are_known(config, monkeypatch):
    heard = []
    known = [replace(item("b", "standing", 100), height_m=1.8), replace(item("d", "walking", 60), height_m=1.6)]
    monkeypatch.setattr(
        evaluate, "load_items", lambda *arguments: iter([replace(x, frame=replace(x.frame)) for x in known])
    )
    plain = ToyHalves.encode
    monkeypatch.setattr(ToyHalves, "encode", lambda self, f, b: (heard.append(f.height_m), plain(self, f, b))[1])
    assert evaluate_system(config).provenance.config["tell_height"] is False and set(heard) == {None}
    heard.clear()
    assert evaluate_system(replace(config, tell_height=True)).provenance.config["tell_height"] is True
    assert heard == [1.8, 1.8, 1.6]  # the first person is run once more before
    monkeypatch.setattr(evaluate, "load_items", lambda *arguments: iter([item("b", "standing", 100)]))
    with pytest.raises(SomacastError, match="b: expected a person whose height is known"):
        evaluate_system(replace(config, tell_height=True))


def test_figures_failures_and_tables(config, capsys):
    returned = evaluate_system(config)
    written = json.loads(config.json_path.read_text())
    assert written["results"] == returned.results
    found = written["results"]
    assert found["people"] == 6 and found["failed"] == 3
    assert found["failed_by_action"] == {"standing": 1, "walking": 1, "running": 1}
    assert [(f["name"], f["stage"]) for f in found["failures"]] == [
        ("a", "sender"),
        ("e", "receiver"),
        ("f", "comparison"),
    ]
    assert "no person" in found["failures"][0]["message"]
    assert found["counts"] == {"standing": 2, "walking": 1} and set(found["actions"]) == {"standing", "walking"}
    # bytes of the files as they lie on the disk; the total is the mean of the actions, not of the people
    assert found["actions"]["standing"]["bytes"] == 150 and found["total"]["bytes"] == (150 + 60) / 2
    assert found["distribution"]["bytes"]["max"] == 200 and found["distribution"]["bytes"]["mean"] == 120
    # three metres off as a whole, but placed by its pelvis: nothing is wrong with it
    assert found["total"]["mpjpe_m"] < 1e-6 and found["total"]["ssim_whole"] > 0.9999 and found["total"]["mse"] < 1e-6
    assert found["by_yaw"]["front"]["people"] == found["by_yaw"]["back"]["people"] == 1
    assert found["by_yaw"]["back"]["bytes"] == 200 and found["by_yaw"]["side"]["bytes"] == 60
    row = written["rows"][0]
    assert row["sender_semantics_s"] == 0.25 and row["receiver_human_s"] == 0.5
    assert row["picture_to_mesh_s"] >= row["decode_s"] > 0
    shown = capsys.readouterr().out
    assert "walking" in shown and "failed: a (standing) in the sender: no person in the picture" in shown


def test_json_says_how_it_was_made(config):
    written = evaluate_system(replace(config, assets=Path("/somewhere/private/assets")))
    about = written.provenance
    assert about.system == "toy" and about.seed == 5 and about.device == "cpu"
    assert about.config["protocol"]["samples"] == 2000
    assert "private" not in config.json_path.read_text()
    assert about.command is not None and about.command.startswith("somacast evaluate --system toy --data")
    assert about.weights_sha256 and len(about.weights_sha256["body.safetensors"]) == 64
    found = written.results
    assert 10e6 < found["peak_memory_after_first_person_bytes"] <= found["peak_memory_bytes"] < 1e12


def test_the_first_person_is_warmed_up(config):
    halves = ToyHalves()
    run = evaluate._Run(halves, halves, config, config.json_path.with_suffix(".soma"), evaluate.progress_of(config))
    measured = evaluate.measure(run, ITEMS[:3], 3)
    assert halves.calls == 1 + 2 + 1  # a fails at once; b once more; c
    assert measured.warm_up_s is not None and len(measured.rows) == 2


def test_a_budget_reaches_the_sender(config):
    found = evaluate_system(replace(config, budget_bytes=50)).results
    assert found["distribution"]["bytes"]["max"] == 50


def test_all_failing_is_still_written(config, monkeypatch):
    monkeypatch.setattr(evaluate, "load_items", lambda *arguments: iter(ITEMS[:1]))
    result = evaluate_system(config)
    assert result.results["failed"] == 1 and result.results["total"] == {}
    assert json.loads(config.json_path.read_text())["rows"] == []


def test_the_mannequin_stands_for_those_who_failed(config):
    found = evaluate_system(replace(config, without_controls=False)).results
    dummy = found["controls"]["mannequin"]
    assert dummy["people"] == 6 and found["counts"] == {"standing": 3, "walking": 2, "running": 1}
    assert found["actions"]["running"]["mpjpe_m"] == pytest.approx(dummy_of(found, "f")["mpjpe_m"], rel=1e-4)
    assert found["actions"]["running"]["mpjpe_m"] > 0.1 and "bytes" not in found["actions"]["running"]
    # two of three stand exactly, the third is the mannequin
    assert found["actions"]["standing"]["mpjpe_m"] == pytest.approx(dummy_of(found, "a")["mpjpe_m"] / 3, rel=1e-4)
    assert found["by_yaw"]["front"]["people"] == 1 and found["distribution"]["bytes"]["max"] == 200
    low, high = found["intervals"]["mpjpe_m"]
    assert low <= found["total"]["mpjpe_m"] <= high and low < high


def dummy_of(found: dict, name: str) -> dict:
    """Figures of the mannequin in the place of an item."""
    shown = next(i for i in ITEMS if i.name == name)
    reference = Reference(Truth(shown.truth, shown.truth_joints), FAST)
    return reference.compare(mannequin(shown.yaw_deg), in_place=True)


def test_a_run_that_was_killed_goes_on(config, monkeypatch):
    halves = ToyHalves(JOINTS)
    monkeypatch.setattr(evaluate, "load_halves", lambda system, device: (halves, halves))
    whole = evaluate_system(config)
    assert [p.name for p in config.json_path.parent.iterdir()] == ["r.json"]  # nothing is left behind
    calls, plain = [], ToyHalves.decode

    def dies(self, data):
        calls.append(len(data))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return plain(self, data)

    monkeypatch.setattr(ToyHalves, "decode", dies)
    config.json_path.unlink()
    with pytest.raises(KeyboardInterrupt):
        evaluate_system(config)
    assert not config.json_path.exists() and (config.json_path.parent / ".r.unfinished").is_dir()
    (config.json_path.parent / ".r.unfinished" / "000001.json").write_text("{")  # damaged: done again
    again = evaluate_system(config)
    assert again.results["total"]["mpjpe_m"] == whole.results["total"]["mpjpe_m"]
    assert [row["name"] for row in again.rows] == [row["name"] for row in whole.rows]
    assert not (config.json_path.parent / ".r.unfinished").exists()


def test_other_settings_do_not_go_on_with_what_is_there(config, monkeypatch):
    progress = evaluate.progress_of(config)
    progress.store(0, {"row": None})
    assert progress.load(0) == {"row": None} and progress.load(1) is None
    assert evaluate.progress_of(replace(config, people=3)).load(0) is not None
    for other in (replace(config, seed=6), replace(config, without_controls=False), replace(config, budget_bytes=50)):
        assert evaluate.progress_of(other).load(0) is None


def test_sheet(config):
    sheet = config.json_path.with_name("sheet.png")
    evaluate_system(replace(config, sheet=sheet))
    with Image.open(io.BytesIO(sheet.read_bytes())) as picture:
        assert picture.height > 3 * 2 * TILE_PX and picture.width > 4 * TILE_PX


def test_nothing_is_run_for_an_output_that_cannot_be(config, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate, "load_halves", lambda *arguments: pytest.fail("loaded before the check"))
    with pytest.raises(SomacastError, match="does not exist"):
        evaluate_system(replace(config, json_path=tmp_path / "none" / "r.json"))


def test_systems_that_send_pictures_are_given_the_true_silhouette(config, monkeypatch):
    masks = []
    plain = ToyHalves.encode
    monkeypatch.setattr(ToyHalves, "encode", lambda self, c, b: (masks.append(c.frame.mask), plain(self, c, b))[1])
    silhouette = np.zeros((64, 64), np.float32)
    shown = [replace(item("b", "standing", 100), silhouette=silhouette)]
    monkeypatch.setattr(evaluate, "load_items", lambda *arguments: iter(shown))
    evaluate_system(config)
    assert masks == [None, None] and shown[0].frame.mask is None
    spec = replace(ToyHalves.system.spec, inputs=Inputs("mono", mask=True))
    monkeypatch.setattr(ToyHalves, "system", replace(ToyHalves.system, spec=spec))
    evaluate_system(config)
    assert all(mask is silhouette for mask in masks[2:]) and len(masks) == 4 and shown[0].frame.mask is None


def test_the_senders_silhouette_is_compared_with_the_true_one():
    silhouette = np.zeros((64, 64), np.float32)
    silhouette[16:48, 24:40] = 1
    shown = replace(item("b", "standing", 100), silhouette=silhouette)
    report = {"person_box_px": [8.0, 8.0, 56.0, 56.0]}
    seen = np.zeros((96, 96), np.float32)
    seen[16:80, 32:64] = 0.9  # the same, in a square of 48 px at twice its size
    assert evaluate.silhouette_iou(shown, report, {"silhouette": seen}) == 1
    seen[16:80, 48:64] = 0.1
    assert evaluate.silhouette_iou(shown, report, {"silhouette": seen}) == pytest.approx(0.5)
    for lacking in ({}, {"silhouette": None}):
        assert evaluate.silhouette_iou(shown, report, lacking) is None
    assert evaluate.silhouette_iou(item("b", "standing", 100), report, {"silhouette": seen}) is None


def test_yaw_bins():
    rotations = [yaw_bin(y) for y in (0, 59, -59, 60, 120, -120, 121, 180, -181, 301)]
    assert rotations == ["front", "front", "front", "side", "side", "side", "back", "back", "back", "front"]
