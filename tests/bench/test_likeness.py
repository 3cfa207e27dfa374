"""`somacast bench likeness` and `bench sheet` on a toy system, and what pages say of their results."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from somacast.bench.halves import measures_looks
from somacast.bench.likeness import measure as likeness
from somacast.bench.likeness.config import LikenessConfig
from somacast.bench.likeness.sheet import MAX_BYTES, TILE_PX, VIEWS, Row, Stage, chosen, heads_of, sheet_bytes
from somacast.bench.likeness.show import table_of
from somacast.bench.quality.cast import Cast, Lineup
from somacast.bench.report.likeness import GOALS, goal_lines, likeness_block
from somacast.bench.report.reading import LIKENESS, LIKENESS_RIGGED, Committed
from somacast.bench.results import Result, describe_run
from somacast.cli import main as cli
from somacast.errors import SomacastError
from somacast.geometry.reconstruction import Reconstruction
from somacast.metrics.protocol import ProtocolConfig, Reference
from somacast.metrics.views import VIEW_AXES
from somacast.synthetic.datasets.loaders import EvalItem, TruePose, truth_of
from somacast.types import Camera, Frame, Mesh
from support.picture_cases import body, picture
from support.toy_default import ToyDefault, toy_default

FAST = ProtocolConfig(azimuths_deg=(0.0,), sides_deg=(45.0,), size_px=64, samples=500)


@dataclass
class ToySubject:
    color: float

    def posed_mesh(self, pose: TruePose) -> Mesh:
        return body(color=self.color)


def toy_item(number: int, blank: bool = False) -> EvalItem:
    image = np.full((96, 96, 3), 0.5, np.float32)
    if not blank:
        image[8:88, 8:88] = np.asarray(Image.fromarray(picture(64)).resize((80, 80))) / 255
    camera = Camera(VIEW_AXES, np.array([0.0, 0, 4]), 150, 150, 48, 48, 96, 96)
    frame = Frame(image, camera=replace(camera, rotation=np.eye(3), translation=np.zeros(3)))
    joints, pose = np.zeros((21, 3)), TruePose(np.tile(np.eye(3), (21, 1, 1)), np.zeros(2))
    subject = ToySubject(0.2 + 0.2 * number)
    return EvalItem(
        f"{number:06d}", ("standing", "walking")[number % 2], frame, subject.posed_mesh(pose), joints, 0.0,
        camera=camera, pose=pose, subject=subject,
    )  # fmt: skip


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Iterator[ToyDefault]:
    people = [toy_item(0), toy_item(1), toy_item(2, blank=True)]
    monkeypatch.setattr(likeness, "load_items", lambda *_, people, **__: iter(people_of(people)))

    def people_of(count: int) -> list[EvalItem]:
        return people[:count]

    with toy_default(monkeypatch) as made:
        yield made


def config(tmp_path: Path, **changes) -> LikenessConfig:
    standard = {"people": 3, "budgets_bytes": (50, 100), "judged_bytes": 100, "protocol": FAST}
    return LikenessConfig(**({"json_path": tmp_path / "likeness.json"} | standard | changes))


def test_people_are_measured_at_every_budget_beside_controls(toy, tmp_path, capsys):
    sheet = tmp_path / "people.jpg"
    result = likeness.measure_likeness(config(tmp_path, sheet=sheet, cache=tmp_path / "cache"))
    written = json.loads((tmp_path / "likeness.json").read_text())
    assert written["benchmark"] == "likeness" and written["results"] == result.results
    small, large = (result.results["budgets"][budget] for budget in ("50", "100"))
    # The third person is refused: the mannequin stands for them in the means, and nothing in the bytes.
    assert (small["people"], small["failed"]) == (3, 1) and small["total"]["bytes"] == 50
    assert large["total"]["centred_chamfer_m"] < small["total"]["centred_chamfer_m"]
    assert result.results["failures"][0]["stage"] == "sender" and "no person" in capsys.readouterr().out
    controls = result.results["controls"]
    assert set(controls) == {"mannequin", "other", "grey"} and controls["mannequin"]["people"] == 3
    assert controls["grey"]["people"] == 2 and "mpjpe_m" not in controls["other"]["total"]
    if measures_looks():
        assert "side_same_person" in large["total"] and "side_same_person" not in small["total"]
        assert controls["other"]["total"]["side_same_person"] == 0
        assert controls["grey"]["total"]["input_stlpips"] > large["total"]["input_stlpips"]
    with Image.open(sheet) as picture:
        assert picture.format == "JPEG" and picture.width > 13 * TILE_PX[1] and picture.height > 2 * TILE_PX[0]
    heads, rows = table_of(result)
    assert heads[:2] == ["what is shown", "bytes"] and rows[0][:2] == ["50 B, 1 of 3 failed", "50"]
    assert [row[0] for row in rows[2:]] == [
        "another person in the true pose", "our result in flat grey, 100 B", "one grey mannequin, right yaw",
    ]  # fmt: skip


@pytest.mark.skipif(not measures_looks(), reason="STLPIPS-PYTORCH IS NOT INSTALLED: line-ups were not looked at")
def test_who_comes_into_the_set_twice_does_not_stand_beside_themselves():
    people = [toy_item(0), toy_item(1), replace(toy_item(0), name="000005"), toy_item(3)]
    reference = Reference(truth_of(people[0]), FAST)
    lineup = Lineup(people[0], reference, Cast(people), "45", 40)
    assert len(lineup.gallery) == 3
    camera = reference.cameras["45"]
    assert lineup.rank(Reconstruction(body(color=0.25)), camera) == 1
    assert lineup.rank(Reconstruction(body(color=0.75)), camera) > 1


def test_a_run_goes_on_where_it_stopped(toy, tmp_path, monkeypatch):
    wanted = config(tmp_path, cache=tmp_path / "cache")
    first = likeness.measure_likeness(wanted)
    monkeypatch.setattr(likeness, "measure_person", lambda *_: pytest.fail("measured again"))
    assert likeness.measure_likeness(wanted).results == first.results
    with pytest.raises(pytest.fail.Exception, match="measured again"):
        likeness.measure_likeness(replace(wanted, seed=1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"judged_bytes": 70}, "--judged-bytes: expected one of"),
        ({"budgets_bytes": (50, 50)}, "--budgets-bytes: expected different numbers"),
        ({"people": 0}, "--people 0"),
        ({"data": "rigged-test"}, "assets"),
    ],
)
def test_settings_that_cannot_work_are_told(tmp_path, changes, message):
    with pytest.raises(SomacastError, match=message):
        config(tmp_path, **changes)


# -- sheets -----------------------------------------------------------------------------------------------------------


def test_best_median_and_worst_are_on_a_sheet_of_any_size():
    values = {f"{k:02d}": (7 * k) % 40 / 40 for k in range(40)}
    found = chosen(values, 10)
    marks = {mark: values[name] for name, mark in found if mark}
    assert len(found) == 10 and marks == {"best": 0.0, "median": 0.5, "worst": 39 / 40}
    assert [values[name] for name, _ in found] == sorted(values[name] for name, _ in found)
    assert [mark for _, mark in chosen(dict(list(values.items())[:2]), 10)] == ["best", "worst"]
    assert chosen({}, 10) == []


def test_a_stage_shows_the_whole_person_in_every_view():
    person = Reconstruction(body(), joints=np.zeros((21, 3)), pelvis_m=np.array([0.0, 0.0, 4.0]))
    lens = Camera(np.eye(3), np.zeros(3), 150, 150, 48, 48, 96, 96)
    camera = replace(lens, rotation=VIEW_AXES, translation=np.array([0.0, 0, 4]))
    views = Stage.around(person, camera, 96).views(person, person, lens)
    assert views.shape == (TILE_PX[0], len(VIEWS) * TILE_PX[1], 3)
    shown = np.abs(views.astype(int) - 128).max(2) > 8
    for number in range(len(VIEWS)):
        tile = shown[:, number * TILE_PX[1] : (number + 1) * TILE_PX[1]]
        rows = np.flatnonzero(tile.any(1))
        assert 0.75 < np.ptp(rows) / TILE_PX[0] < 1 and not tile[:, [0, -1]].any()
    assert (Stage.around(person, camera, 96).views(None, None, lens) == 250).all()


def test_a_sheet_is_no_larger_than_a_repository_bears():
    strip = np.random.default_rng(0).integers(0, 256, (TILE_PX[0], 25 * TILE_PX[1], 3), np.uint8)
    heads = heads_of((100, 350, 600, 1500, 5000), True, True)
    assert sum(count for _, count in heads) == 25
    plain = sheet_bytes([Row("a", np.full_like(strip, 90), "best")] * 3, heads)
    assert len(plain) <= MAX_BYTES and Image.open(io.BytesIO(plain)).height > 3 * TILE_PX[0]
    with pytest.raises(ValueError, match="at least one person"):
        sheet_bytes([], heads)


def test_photographs_become_a_sheet_and_those_without_a_person_a_line(toy, tmp_path, capsys):
    folder = tmp_path / "photographs"
    folder.mkdir()
    Image.fromarray(picture(96)).save(folder / "person.png")
    Image.fromarray(np.full((96, 96, 3), 90, np.uint8)).save(folder / "wall.png")
    (folder / "notes.txt").write_text("nothing")
    command = ["bench", "sheet", "--pictures", str(folder), "--sheet", str(tmp_path / "sheet.jpg")]
    assert cli.main([*command, "--budgets-bytes", "50", "100"]) == 0
    assert "wall.png, 50 B: no person" in capsys.readouterr().err
    with_input = Image.open(tmp_path / "sheet.jpg").width
    assert cli.main([*command, "--budgets-bytes", "50", "100", "--without-input"]) == 0
    assert Image.open(tmp_path / "sheet.jpg").width < with_input
    alone = Image.open(tmp_path / "sheet.jpg").height
    assert cli.main([*command, "--budgets-bytes", "50", "100", "--beside", "aflsc"]) == 0
    assert Image.open(tmp_path / "sheet.jpg").height == alone + TILE_PX[0]
    assert "wall.png, aflsc, 50 B: no person" in capsys.readouterr().err
    assert cli.main([*command, "--beside", "nobody"]) == 2 and "nobody" in capsys.readouterr().err
    for path in folder.glob("*.png"):
        path.unlink()
    assert cli.main(command) == 2 and "expected photographs" in capsys.readouterr().err


def test_people_of_another_system_stand_below(toy, tmp_path):
    sheet = tmp_path / "people.jpg"
    heights = []
    for beside in (None, "aflsc"):
        result = likeness.measure_likeness(config(tmp_path, people=2, sheet=sheet, beside=beside))
        heights.append(Image.open(sheet).height)
    assert heights[1] == heights[0] + 2 * TILE_PX[0]
    assert set(result.results["budgets"]) == {"50", "100"}


# -- pages ------------------------------------------------------------------------------------------------------------


def test_pages_hold_goals_against_what_was_measured(tmp_path):
    total = {"input_stlpips": 0.13, "input_iou": 0.97, "lean_deg": 7.0, "sides_stlpips": 0.19, "bytes": 590.0}
    found = {"people": 3, "gallery": 3, "failures": [], "controls": {},
             "budgets": {"600": {"failed": 0, "people": 3, "total": total, "intervals": {}}}}  # fmt: skip
    result = Result("likeness", describe_run("likeness", config(tmp_path)), found)
    one = Committed(Path("results/likeness/likeness.json"), result)
    lines = goal_lines({LIKENESS: one, LIKENESS_RIGGED: one})
    rows = {tuple(line.split(" | ")[:2]): line.split(" | ")[2:] for line in lines if line.startswith("| ")}
    assert rows["| ST-LPIPS, input camera", "600"][:3] == ["<= 0.140", "<= 0.110", "**0.130** (floor)"]
    assert rows["| IoU of the silhouette, input camera", "600"][2] == "**0.970** (aim)"
    assert rows["| lean of the spine, standing, mean error", "600"][2:] == ["", "**7.0 deg** (**no**) |"]
    assert rows["| ST-LPIPS, input camera", "300"][2] == "not measured"
    assert {goal.budget for goal in GOALS} <= set(LikenessConfig(tmp_path / "x.json").budgets_bytes)
    assert goal_lines({}) == []
    block = likeness_block({LIKENESS: one}, lambda path: path.name)
    assert "| 600 B |" in block and "![Synthetic people that no training has seen](synthetic.jpg)" in block
    assert "Command: `somacast bench likeness" in block
    assert "Not measured yet" in likeness_block({}, lambda path: "")
