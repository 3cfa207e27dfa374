"""`somacast bench rd`: real files of every system at every budget, honest sizes, one path for all."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from somacast import extras
from somacast.bench.halves import LooksApart, measures_looks
from somacast.bench.rate_distortion import curves as rd_curves
from somacast.bench.rate_distortion import measure as rd
from somacast.bench.rate_distortion.figures import report_lines
from somacast.bench.rate_distortion.person import PersonBench, PersonConfig, known_settings, load_systems
from somacast.bench.rate_distortion.systems import (
    check_systems,
    default_systems,
    sends_pictures,
    title_of,
)
from somacast.bench.results import read_result
from somacast.cli import main as cli
from somacast.errors import SomacastError
from somacast.metrics.protocol import ProtocolConfig
from somacast.synthetic.datasets.loaders import EvalItem
from somacast.systems import registry
from somacast.systems.baselines.picture.search import PictureSearch
from somacast.systems.spec import Inputs
from somacast.types import Camera, Frame
from somacast.weights.manifest import list_weights
from support.picture_cases import body, picture
from support.toy_default import ToyDefault, toy_default

OURS = registry.DEFAULT
needs_ffmpeg = pytest.mark.skipif(
    importlib.util.find_spec("imageio_ffmpeg") is None,
    reason="VIDEO CODECS ARE NOT TESTED: imageio-ffmpeg is missing, pip install 'somacast[bench]'",
)
needs_weights = pytest.mark.skipif(not list_weights(), reason="no trained weights in the package")


def toy_item(number: int = 0) -> EvalItem:
    image = np.full((96, 96, 3), 0.5, np.float32)
    image[8:88, 8:88] = np.asarray(Image.fromarray(picture(64)).resize((80, 80))) / 255
    mask = np.zeros((96, 96), np.float32)
    mask[14:80, 36:60] = 1
    return EvalItem(f"{number:06d}", "standing", Frame(image), body(), np.zeros((21, 3)), 0.0, mask)


def toy_config(tmp_path: Path, **changes) -> rd.RdConfig:
    standard = {"budgets_bytes": (30, 60, 400), "systems": (OURS, "jpeg", "webp"), "people": 2}
    protocol = ProtocolConfig(size_px=64, samples=1000)
    return rd.RdConfig(**({"json_path": tmp_path / "rd.json", "protocol": protocol} | standard | changes))


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Iterator[ToyDefault]:
    with toy_default(monkeypatch) as made:
        yield made


@pytest.fixture
def toys(toy: ToyDefault, monkeypatch: pytest.MonkeyPatch) -> None:
    """A benchmark that meets toy people."""

    def items(data, format, people, assets, seed):
        yield from (toy_item(number) for number in range(people))

    monkeypatch.setattr(rd, "load_items", items)


def test_a_run_writes_honest_rows_curves_and_pictures(toys, tmp_path, capsys):
    result = rd.measure_rd(toy_config(tmp_path))
    assert read_result(tmp_path / "rd.json") == result
    assert (tmp_path / "rd.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "rd_pictures.jpg").read_bytes().startswith(b"\xff\xd8")
    found = result.results["systems"]
    assert found[OURS]["30"] == {"people": 0, "too_small": 2, "failed": 0}  # nothing is invented
    assert (found[OURS]["60"]["bytes"], found[OURS]["400"]["bytes"]) == (60, 120)
    assert found["jpeg"]["400"]["bytes"] <= 400 and found["jpeg"]["400"]["people"] == 2
    assert found["jpeg"]["400"]["picture_psnr_db"] > 20
    assert "48 px" in result.rows[0]["rows"]["jpeg"]["400"]["setting"]
    for row in (found[OURS]["60"], found["webp"]["400"]):
        assert {"ssim_whole", "ssim_box", "psnr_db", "mse", "centred_chamfer_m", "mpjpe_m"} <= set(row)
        assert "centred_normal_consistency" in row
    assert result.provenance.config["protocol"]["samples"] == 1000 and result.provenance.weights_sha256
    assert set(result.results["bd_rate"]["ssim_box"]) == {"jpeg", "webp", rd_curves.BEST_PICTURE}
    shown = capsys.readouterr()
    assert "BD-rate of Toy against JPEG" in shown.out and "person x system" in shown.err


def test_a_stopped_run_goes_on_and_other_settings_start_anew(toys, tmp_path, monkeypatch):
    config = toy_config(tmp_path, cache=tmp_path / "cache", systems=(OURS,))
    done = rd.measure_person

    def stop_at_second(number, *rest):
        if number == 1:
            raise KeyboardInterrupt
        done(number, *rest)

    monkeypatch.setattr(rd, "measure_person", stop_at_second)
    with pytest.raises(KeyboardInterrupt):
        rd.measure_rd(config)
    assert not config.json_path.exists()
    folder = tmp_path / "cache" / rd.cache_key(config)
    assert sorted(p.name for p in folder.iterdir()) == ["000000.json", "000000.png"]
    measured = []
    monkeypatch.setattr(rd, "measure_person", lambda number, *rest: (measured.append(number), done(number, *rest)))
    first = rd.measure_rd(config)
    assert measured == [1]
    assert rd.measure_rd(config).results == first.results and measured == [1]
    (folder / "000001.json").write_text("{ half")
    rd.measure_rd(config)
    assert measured == [1, 1]
    keys = {
        rd.cache_key(toy_config(tmp_path, **c))
        for c in ({}, {"seed": 1}, {"systems": ("jpeg:plain",)}, {"budgets_bytes": (60,)})
    }
    assert len(keys) == 4
    assert rd.cache_key(toy_config(tmp_path, people=7, workers=2)) == rd.cache_key(toy_config(tmp_path))
    monkeypatch.setattr(rd, "weights_digests", lambda: {"aflsc.safetensors": "other"})
    assert rd.cache_key(config) not in keys


def test_who_cannot_be_sent_counts_for_nobody_and_who_is_not_rebuilt_is_counted(toy, tmp_path, monkeypatch):
    config = PersonConfig((60, 150), (OURS, "jpeg"), ProtocolConfig(size_px=64, samples=500))
    halves = load_systems(config.systems, "cpu")
    empty = toy_item()
    empty.frame.image[:] = 0.5
    found = PersonBench(empty, halves, config, tmp_path).run()
    assert found.fault is not None and "no person" in found.fault and not found.rows

    found = PersonBench(toy_item(), halves, config, tmp_path).run()
    ours = found.rows[OURS]["60"]
    assert found.fault is None and ours is not None and ours["bytes"] == 60
    monkeypatch.setattr(toy, "decode", lambda payload: (_ for _ in ()).throw(SomacastError("no such body")))
    found = PersonBench(toy_item(), halves, config, tmp_path).run()
    row = found.rows["jpeg"]["150"]
    assert row is not None and row["failed"] == "no such body" and row["bytes"] <= 150 and "px" in row["setting"]
    assert rd_curves.mean_rows([row])["failed"] == 1


def test_who_chooses_by_looks_is_given_the_measure_of_the_results(toy, monkeypatch):
    names = (OURS, "jpeg", "jpeg:plain")
    for there in (True, False):
        monkeypatch.setattr("somacast.bench.halves.measures_looks", lambda there=there: there)
        given = {n: getattr(h[0].encoder, "criterion", None) for n, h in load_systems(names, "cpu").items()}
        assert given[OURS] is None
        assert isinstance(given["jpeg"], LooksApart) == isinstance(given["jpeg:plain"], LooksApart) == there
        assert given["jpeg"] is not None
    if measures_looks():
        image = np.zeros((64, 64, 3), np.float32)
        image[16:48, 24:40] = 0.8
        looks, moved = LooksApart(), np.roll(image, 8, 1)
        assert looks(image, image) == 0 < looks(image, moved) == pytest.approx(looks(moved, image))


def test_a_silhouette_is_needed_or_follows_from_the_camera():
    item = toy_item()
    item.silhouette = None
    with pytest.raises(SomacastError, match="silhouette or camera"):
        item.true_silhouette()
    item.frame.camera = Camera(np.diag([1.0, -1, -1]), np.array([0, 0, 4.0]), 150, 150, 48, 48, 96, 96)
    assert 0.05 < item.true_silhouette().mean() < 0.5


def test_known_pictures_leave_the_search_out_and_change_nothing(toys, tmp_path, monkeypatch):
    config = toy_config(tmp_path)
    first = rd.measure_rd(config)
    kept = tmp_path / "earlier.json"
    kept.write_text(config.json_path.read_text())
    searched, plain = [], PictureSearch.best
    monkeypatch.setattr(PictureSearch, "best", lambda self, budget: (searched.append(budget), plain(self, budget))[1])
    second = rd.measure_rd(toy_config(tmp_path, known=kept))
    assert second.results["systems"] == first.results["systems"]
    found = [r for p in first.rows for c in ("jpeg", "webp") for r in p["rows"][c].values()]
    assert len(searched) == sum(r is None or "failed" in r or r["attempt"] > 0 for r in found) < len(found)
    # what nobody was seen in, and what was taken only after better settings were of no use, is searched for again
    rows = first.rows[0]["rows"]
    row = rows["jpeg"]["400"]
    assert known_settings({"rows": rows})["jpeg"][400] == (row["setting"], row["bytes"])
    for change in ({"failed": "nobody"}, {"attempt": 1}):
        assert known_settings({"rows": {"jpeg": {"400": row | change, "60": None}}}) == {"jpeg": {}}
    assert known_settings({"rows": {OURS: rows[OURS]}}) == {OURS: {}}


def test_an_earlier_run_of_other_people_is_refused(toys, tmp_path):
    first = toy_config(tmp_path, budgets_bytes=(60,), systems=(OURS,), people=1)
    rd.measure_rd(first)
    for change, message in (({"seed": 7}, "same settings, got seed 0"), ({"data": str(tmp_path)}, "synthetic-test")):
        with pytest.raises(SomacastError, match=message):
            rd.measure_rd(toy_config(tmp_path, json_path=tmp_path / "second.json", known=first.json_path, **change))
    for content in ("{", "{}"):
        (tmp_path / "earlier.json").write_text(content)
        with pytest.raises(SomacastError, match=r"earlier\.json: expected the JSON of an earlier run"):
            rd.measure_rd(toy_config(tmp_path, known=tmp_path / "earlier.json"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"systems": ("nobody",)}, "system 'nobody'"),
        ({"systems": (OURS, OURS)}, "each once"),
        ({"budgets_bytes": (100, 0)}, "budgets"),
        ({"budgets_bytes": (100, 100)}, "budgets"),
        ({"people": 0}, "--people 0"),
        ({"json_path": Path("no_such_folder/rd.json")}, "no_such_folder"),
    ],
)
def test_wrong_settings_are_told_before_any_work(changes, message, tmp_path):
    with pytest.raises(SomacastError, match=message):
        rd.measure_rd(rd.RdConfig(**({"json_path": tmp_path / "rd.json", "systems": (OURS,)} | changes)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("package", "system"), [("imageio_ffmpeg", "vvc"), ("DracoPy", "draco"), ("matplotlib", OURS)])
def test_a_missing_package_is_one_line_with_the_remedy(package, system, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == package else object())
    assert cli.main(["bench", "rd", "--json", str(tmp_path / "rd.json"), "--systems", system]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert package in line and "pip install 'somacast[bench]'" in line


def test_the_systems_that_are_offered_exist():
    names = default_systems()
    assert names[0] == OURS and f"{OURS}:literal" in names and {"jpeg", "avif", "vvc", "svt_av1", "draco"} <= set(names)
    assert "jpeg:plain" not in names
    check_systems([OURS, "jpeg", "webp:plain"])
    assert [title_of(name) for name in ("jpeg:plain", "svt_av1", "what was")] == ["JPEG, plain", "SVT-AV1", "what was"]
    assert sends_pictures("vvc:plain") and not sends_pictures("draco") and not sends_pictures("best picture codec")


def test_a_system_that_needs_more_than_a_picture_is_not_offered(monkeypatch):
    spec = registry.get("jpeg").spec
    with toy_default(monkeypatch, webp=replace(spec, name="webp", inputs=Inputs("stereo", cameras=True))):
        assert "webp" not in default_systems() and "jpeg" in default_systems()
        with pytest.raises(SomacastError, match="'webp' needs more than one picture"):
            check_systems(["webp"])


# -- for people to read -----------------------------------------------------------------------------------------------


def test_lines_of_a_report_name_systems_by_their_titles(toys, tmp_path):
    result = rd.measure_rd(toy_config(tmp_path, budgets_bytes=(60, 100, 400), systems=(OURS, "jpeg", "jpeg:plain")))
    text = "\n".join(report_lines(result, "Against others", "rd.png", "rd_pictures.jpg"))
    assert "## Against others" in text and "![Quality against bytes](rd.png)" in text
    sides = "ST-LPIPS, other sides | " if measures_looks() else ""
    assert f"| bytes for our best | {sides}SSIM box |" in text and "| **Toy** (what it reaches) | " in text
    assert f"| BD-rate of Toy against | {sides}SSIM box |" in text and "| JPEG, plain |" in text
    assert "![Toy beside the best picture codec at the same number of bytes](rd_pictures.jpg)" in text
    assert "rd_pictures" not in "\n".join(report_lines(result, "Against others", "rd.png", None))


# -- command line, and the real thing ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--json", "x.txt"], ".json"),
        (["--json", "x.json", "--people", "0"], "--people 0"),
        (["--json", "x.json", "--systems", "nobody"], "system 'nobody'"),
        (["--json", "x.json", "--budgets-bytes", "0"], "budgets"),
        (["--json", "x.json", "--data", "no_such_folder"], "no_such_folder"),
    ],
)
def test_mistakes_are_one_line(capsys, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["bench", "rd", *arguments]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and message in lines[0]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@needs_weights
@needs_ffmpeg
def test_one_made_person_through_the_real_networks(tmp_path):
    config = rd.RdConfig(tmp_path / "rd.json", (300, 900), (OURS, "jpeg", "x265"), 1,
                         protocol=ProtocolConfig(size_px=128, samples=2000))  # fmt: skip
    result = rd.measure_rd(config)
    found = result.results
    assert found["failed"] == 0
    for table in found["systems"].values():
        for budget, row in table.items():
            assert row["people"] == 1 and 0 < row["bytes"] <= int(budget)
            assert 0.2 < row["ssim_box"] < 1 and 0 < row["centred_chamfer_m"] < 0.4
