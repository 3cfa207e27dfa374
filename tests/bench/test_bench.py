"""Speed and report: times are charged to the right stage, and the README says what the results say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from somacast.bench.report import curves
from somacast.bench.report import stills as report
from somacast.bench.speed import stages as speed
from somacast.cli import main as cli
from somacast.errors import SomacastError
from somacast.weights.manifest import list_weights

ROOT = Path(__file__).parents[2]
SHIPPED = {entry["file"]: entry["sha256"] for entry in list_weights()}
needs_weights = pytest.mark.skipif("aflsc.safetensors" not in SHIPPED, reason="no trained weights in the package")
needs_results = pytest.mark.skipif(not report.read_results(ROOT), reason="nothing is measured yet: no results/")

# -- speed ------------------------------------------------------------------------------------------------------------


class Sleeper:
    """Something to time."""

    def nap(self, seconds: float) -> float:
        time.sleep(seconds)
        return seconds


def test_probes_time_what_is_called_inside_and_leave_no_trace():
    original = Sleeper.nap
    with speed.probed({"nap": f"{__name__}:Sleeper.nap", "idle": "math:floor"}) as times:
        assert Sleeper().nap(0.02) == 0.02
        Sleeper().nap(0.02)
    assert 0.04 <= times["nap"] < 0.5 and times["idle"] == 0
    assert Sleeper.nap is original


def test_probes_leave_no_trace_after_a_fault():
    original = Sleeper.nap
    with (
        pytest.raises(SomacastError, match="no such function"),
        speed.probed({"nap": f"{__name__}:Sleeper.nap", "gone": "math:no_such_thing"}),
    ):
        pass
    assert Sleeper.nap is original


@pytest.mark.parametrize("system", speed.PROBES)
def test_every_probe_names_a_function_that_exists(system):
    targets = {name: target for inner in speed.PROBES[system].values() for name, target in inner.items()}
    with speed.probed(targets) as times:
        assert set(times) == set(targets)


def run_of(find: float, human: float) -> dict:
    inner = dict.fromkeys((n for stage in speed.PROBES["aflsc"].values() for n in stage), 0.0)
    return {
        "sender": {"read picture": 0.1, "find": find, "extract": 0.2, "bitstream": 0.1, "semantics": find + 0.2},
        "receiver": {"bitstream": 0.05, "human": human},
        "inner": inner | {"cloud": 0.25 * human, "surface": 0.5 * human, "field": 0.4 * human, "networks": 0.15},
        "encode_s": find + 0.45,
        "decode_s": human + 0.05,
        "picture_to_mesh_s": find + human + 0.5,
    }


def test_stage_rows_add_up_and_find_the_rest():
    rows = speed.stage_rows([run_of(0.3, 1.0), run_of(0.3, 1.0), run_of(0.3, 1.0)], "aflsc")
    outer = [row for row in rows if row["part_of"] is None]
    assert sum(row["ms"] for row in outer) == pytest.approx(1800)
    assert sum(row["share"] for row in outer) == pytest.approx(1, abs=1e-3)
    assert "semantics" not in {row["stage"] for row in outer}  # it is find and extract once more
    by_name = {(row["half"], row["stage"]): row for row in rows}
    assert by_name["sender", "sender, rest"]["ms"] == pytest.approx(50 - 300 + 0.3e3)
    assert by_name["receiver", "human, rest"]["ms"] == pytest.approx(250)
    assert by_name["receiver", "surface, rest"]["ms"] == pytest.approx(100)
    assert by_name["receiver", "field"]["part_of"] == "surface"
    assert by_name["sender", "extract, rest"]["ms"] == pytest.approx(50)


def test_stage_rows_take_the_median_of_runs():
    rows = speed.stage_rows([run_of(0.3, 1.0), run_of(0.4, 1.0), run_of(9.0, 1.0)], "aflsc")
    assert next(row["ms"] for row in rows if row["stage"] == "find") == 400
    assert speed.distribution([1.0, 2.0, 9.0]) == {"median": 2.0, "mean": 4.0, "p95": 8.3, "max": 9.0}


@needs_weights
def test_a_real_picture_spends_time_in_every_stage(tmp_path):
    config = speed.SpeedConfig(tmp_path / "x.json", people=1, repeats=1, photograph_px=400)
    results = speed.measure_stages(config, tmp_path)
    assert results["bytes"]["max"] == (tmp_path / "person.soma").stat().st_size
    rows = {row["stage"]: row for row in results["stages"]}
    for stage in ("find", "extract", "label", "appearance", "cloud", "labels to chart", "field", "marching cubes"):
        assert rows[stage]["ms"] > 0, stage
    outer = sum(row["ms"] for row in results["stages"] if row["part_of"] is None)
    assert outer == pytest.approx(1000 * results["picture_to_mesh_s"]["median"], rel=1e-3)
    assert 0 <= rows["human, rest"]["ms"] < rows["human"]["ms"]


def test_peak_memory_of_a_child_does_not_contain_its_parents():
    held = np.ones(30_000_000)  # 240 MB, in this process
    code = "from somacast.bench.speed.memory import peak_bytes; print(peak_bytes())"
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert 1e6 < int(done.stdout) < held.nbytes / 2


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot bind a process to cores")
def test_limited_cores_binds_and_lets_go():
    before = os.sched_getaffinity(0)
    with speed.limited_cores(1) as cores:
        assert cores == 1 == len(os.sched_getaffinity(0))
    assert os.sched_getaffinity(0) == before


def test_package_size_leaves_out_caches(tmp_path):
    package = tmp_path / "src" / "thing"
    for folder in ("weights", "__pycache__"):
        (package / folder).mkdir(parents=True)
    (package / "a.py").write_bytes(b"x" * 100)
    (package / "weights" / "w.safetensors").write_bytes(b"x" * 1000)
    (package / "weights" / "load.py").write_bytes(b"x" * 10)
    (package / "__pycache__" / "a.pyc").write_bytes(b"x" * 5000)
    assert speed.package_size(package) == {"installed_bytes": 1110, "weights_bytes": 1000, "wheel_bytes": None}


def test_a_command_that_fails_is_told_in_one_line():
    with pytest.raises(SomacastError, match=r"failed with code 2: somacast: error: unknown verb 'nonsense'"):
        speed._python("-m", "somacast.cli.main", "nonsense")


# -- report -----------------------------------------------------------------------------------------------------------

TOTAL = {"ssim_whole": 0.91, "ssim_box": 0.62, "mse": 0.03, "centred_chamfer_m": 0.03, "mpjpe_m": 0.1,
         "pa_mpjpe_m": 0.07, "bytes": 150.0, "centred_normal_consistency": 0.7}  # fmt: skip


def evaluation(budget_bytes: int | None, **changes: float) -> dict:
    total = TOTAL | changes
    distribution = {"bytes": {"mean": 150.0, "median": 150.0, "p95": 170.0, "max": 180.0}}
    config = {"system": "aflsc", "data": "synthetic-test", "format": "synthetic", "people": 40, "assets": None,
              "seed": 0, "device": "cpu", "budget_bytes": budget_bytes}  # fmt: skip
    results = {"people": 40, "failed": 1, "actions": {"walking": total}, "counts": {"walking": 39}, "total": total,
               "by_yaw": {"front": {"people": 39, **total}}, "spread": distribution}  # fmt: skip
    about = {"cpu": "some processor", "cores": 2}
    return {"system": "aflsc", "config": config, "commit": "0123456789abcdef", "weights_sha256": dict(SHIPPED),
            "machine": about, "results": results}  # fmt: skip


def speed_result() -> dict:
    timing = {"median": 1.2, "mean": 1.25, "p95": 1.6, "max": 1.75}
    results = {
        "encode_s": {"median": 0.09, "max": 0.2}, "decode_s": timing, "stages": [
            {"half": "sender", "stage": "find", "part_of": None, "ms": 51.0, "share": 0.04},
            {"half": "receiver", "stage": "surface", "part_of": "human", "ms": 400.0, "share": 0.3}],
        "peak_memory_bytes": {"chain": 900_000_000, "chain_photograph": 1_200_000_000},
        "commands": {"encode": {"second_s": 4.0}, "decode": {"second_s": 4.5}},
        "package": {"installed_bytes": 33_000_000, "wheel_bytes": 30_000_000},
    }  # fmt: skip
    config = {"system": "aflsc", "people": 9, "repeats": 3, "command_runs": 4, "cores": 2, "photograph_px": 3000,
              "seed": 0, "device": "cpu"}  # fmt: skip
    return evaluation(None) | {"config": config, "results": results}


@pytest.fixture
def working_copy(tmp_path: Path) -> Path:
    (tmp_path / "results").mkdir()
    (tmp_path / "README.md").write_text(f"# Before\n\n{report.BEGIN}\nold\n{report.END}\n\n## After\n")
    (tmp_path / "results" / report.FULL).write_text(json.dumps(evaluation(None)))
    (tmp_path / "results" / report.SPEED).write_text(json.dumps(speed_result()))
    return tmp_path


def row(text: str, start: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(f"| {start}"))


def test_the_readme_is_renewed_between_its_marks_and_then_agrees(working_copy):
    assert any("does not say what the results say" in fault for fault in report.check(working_copy))
    report.write(working_copy)
    text = (working_copy / "README.md").read_text()
    assert text.startswith(f"# Before\n\n{report.BEGIN}\n") and text.endswith(f"{report.END}\n\n## After\n")
    assert "old" not in text.split()
    assert report.check(working_copy) == []
    report.write(working_copy)
    assert (working_copy / "README.md").read_text() == text


def test_the_table_says_value_floor_verdict_and_command(working_copy):
    report.write(working_copy)
    text = (working_copy / "README.md").read_text()
    assert row(text, "SSIM, box").split(" | ")[1:4] == [">= 0.660", "**0.620**", "**no**"]
    assert row(text, "bytes to mesh").split(" | ")[1:4] == ["<= 300 ms", "**1,200 ms**", "**no**"]
    assert row(text, "picture to bytes").split(" | ")[2:4] == ["**90 ms**", "yes"]
    assert "worst 1.75 s" in row(text, "bytes to mesh")
    assert "worst action: walking, 3.00 cm" in row(text, "Chamfer")
    assert row(text, "MPJPE").split(" | ")[1:3] == ["<= 80 mm", "**100 mm**"]
    assert row(text, "`.soma` files on a budget").split(" | ")[2:4] == ["not measured", "-"]
    assert row(text, "smallest stream within").split(" | ")[2:4] == ["not measured", "-"]
    assert "somacast evaluate --system aflsc --data synthetic-test --people 40 --json results/aflsc.json" in text
    assert "somacast bench speed --people 9 --json results/speed.json" in text
    assert "1 of 40 people failed" in text and "find 51 ms" in text and "surface" not in text
    assert row(text, "walking").split(" | ")[1:4] == ["39", "0.910", "0.620"]


def test_a_floor_is_judged_by_the_value_and_not_by_what_is_shown(working_copy):
    path = working_copy / "results" / report.FULL
    path.write_text(json.dumps(evaluation(None, ssim_whole=0.90996, mpjpe_m=0.0802)))
    report.write(working_copy)
    text = (working_copy / "README.md").read_text()
    assert row(text, "SSIM, whole").split(" | ")[2:4] == ["**0.910**", "**no**"]
    assert row(text, "MPJPE").split(" | ")[2:4] == ["**80 mm**", "**no**"]


def test_other_makers_people_are_set_beside_the_made_ones(working_copy):
    others = evaluation(None, ssim_box=0.60, centred_chamfer_m=0.045)
    others["config"] |= {"data": "others", "format": "meshes"}
    (working_copy / "results" / report.OTHERS).write_text(json.dumps(others))
    report.write(working_copy)
    (line,) = [x for x in (working_copy / "README.md").read_text().splitlines() if "People of other makers" in x]
    assert "-0.020 against synthetic" in line and "times 1.50" in line and "--format meshes" in line


def test_what_a_told_height_gains_is_set_beside_the_rest(working_copy):
    received = evaluation(None, ssim_box=0.64, mpjpe_m=0.061)
    received["config"]["tell_height"] = True
    (working_copy / "results" / report.HEIGHT).write_text(json.dumps(received))
    report.write(working_copy)
    (line,) = [x for x in (working_copy / "README.md").read_text().splitlines() if "Height told" in x]
    assert "box 0.640 (without 0.620)" in line and "MPJPE mm 61 (without 100)" in line and "--tell-height" in line


def test_check_sees_a_changed_readme_and_other_weights(working_copy, capsys):
    report.write(working_copy)
    readme = working_copy / "README.md"
    readme.write_text(readme.read_text().replace("0.620", "0.820"))
    assert cli.main(["bench", "report", "--check", "--root", str(working_copy)]) == 2
    assert "README.md does not say what the results say" in capsys.readouterr().err
    other = evaluation(200)
    other["weights_sha256"]["aflsc.safetensors"] = "00" * 32
    (working_copy / "results" / report.SMALL).write_text(json.dumps(other))
    report.write(working_copy)
    (fault,) = report.check(working_copy)
    assert "aflsc_small.json was made with other weights" in fault and "--budget-bytes 200" in fault


def test_results_may_name_the_checkpoint_that_a_file_was_written_from(working_copy):
    (entry,) = [e for e in list_weights() if e["file"] == "aflsc.safetensors"]
    other = evaluation(200)
    other["weights_sha256"]["aflsc.safetensors"] = entry["checkpoint"]
    (working_copy / "results" / report.SMALL).write_text(json.dumps(other))
    report.write(working_copy)
    assert entry["checkpoint"] != entry["sha256"] and report.check(working_copy) == []


def test_ablations_belong_to_the_variant_with_nothing_taken_away(working_copy):
    own = SHIPPED["aflsc.safetensors"]
    result = {"config": {"people": 8, "budgets": [35, 60]}, "commit": "0123456789", "system": "aflsc",
              "machine": {"cpu": "some processor", "cores": 2}, "weights_sha256": {"full.safetensors": own},
              "results": {"smallest_within_10mm_bytes": 41.0}}  # fmt: skip
    path = working_copy / "results" / report.ABLATIONS
    for digest, faults in ((own, 0), ("00" * 32, 1)):
        path.write_text(json.dumps(result | {"weights_sha256": {"full.safetensors": digest}}))
        report.write(working_copy)
        assert len(report.check(working_copy)) == faults
    text = (working_copy / "README.md").read_text()
    assert row(text, "smallest stream within").split(" | ")[2:4] == ["**41 B**", "yes"]
    assert "bench ablations --run RUN --budgets 35 60 --people 8" in text


def test_a_broken_or_missing_result_is_told(working_copy):
    (working_copy / "results" / report.SPEED).write_text("{}")
    with pytest.raises(SomacastError, match=r"speed\.json: cannot be read"):
        report.write(working_copy)
    for path in (working_copy / "results").iterdir():
        path.unlink()
    with pytest.raises(SomacastError, match="no results there"):
        report.write(working_copy)
    assert report.check(working_copy)


@needs_results
def test_the_readme_of_this_repository_agrees_with_its_results():
    assert report.check(ROOT) == []


# -- curves -----------------------------------------------------------------------------------------------------------


def test_curves_are_drawn_from_lines_with_figures(working_copy):
    folder = working_copy / "results" / "curves"
    folder.mkdir()
    lines = [{"recipe": {"batch": 32}}, {"samples": 100, "joints_px": 9.0, "color_0": 0.1, "color_4": 0.2, "heat": 1.0}]
    lines += [{"samples": 200, "joints_px": None}, {"samples": 300, "joints_px": 5.0, "color_0": 0.05}]
    (folder / "extract.jsonl").write_text("\n".join(map(json.dumps, lines)))
    rows = curves.read_curve(folder / "extract.jsonl")
    assert len(rows) == 3
    assert curves.series(rows, ("joints_px",)) == {"joints_px": ([100.0, 300.0], [9.0, 5.0])}
    assert set(curves.series(rows, ("color_*",))) == {"color_0", "color_4"}
    assert report.CURVES_IMAGE.name == "curves.png"
    (working_copy / report.CURVES_IMAGE).parent.mkdir(parents=True)
    assert report.write(working_copy)[-1] == working_copy / report.CURVES_IMAGE
    assert (working_copy / report.CURVES_IMAGE).read_bytes().startswith(b"\x89PNG")
    (folder / "extract.jsonl").write_text("not json")
    with pytest.raises(SomacastError, match=r"extract\.jsonl: cannot be read"):
        report.write(working_copy)


# -- command line -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["speed", "people", "report"])
def test_help_of_the_benchmarks(capsys, verb):
    assert cli.main(["bench", verb, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"Example: somacast bench {verb}" in text and ("--device" in text) == (verb == "speed")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nonsense"], "unknown verb 'bench nonsense'"),
        (["speed"], "missing: --json"),
        (["speed", "--json", "no_such_folder/x.json"], "no_such_folder"),
        (["speed", "--json", "x.txt"], ".json"),
        (["speed", "--json", "x.json", "--people", "0"], "--people 0"),
        (["speed", "--json", "x.json", "--system", "nobody"], "'nobody'"),
        (["people", "--json", "x.json", "--assets", "no_such_folder"], "no_such_folder"),
        (["report", "--root", "no_such_folder"], "no_such_folder"),
    ],
)
def test_mistakes_are_one_line(capsys, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["bench", *arguments]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and message in lines[0]
    assert list(tmp_path.iterdir()) == []
