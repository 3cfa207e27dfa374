"""Speed: times are charged to the right stage, memory and sizes to what holds them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from somacast.bench.speed import programs
from somacast.bench.speed import stages as speed
from somacast.errors import SomacastError
from somacast.timing import StageClock
from somacast.weights.manifest import list_weights

ROOT = Path(__file__).parents[2]
SHIPPED = {entry["file"] for entry in list_weights()}
needs_weights = pytest.mark.skipif("aflsc_sender.onnx" not in SHIPPED, reason="no trained weights in the package")


def clock_of(find: float, human: float) -> StageClock:
    clock = StageClock()
    clock.seconds = {
        ("sender",): find + 0.45,
        ("sender", "read picture"): 0.1,
        ("sender", "semantics"): find + 0.2,
        ("sender", "semantics", "find"): find,
        ("sender", "semantics", "extract"): 0.2,
        ("sender", "semantics", "extract", "networks"): 0.15,
        ("sender", "bitstream"): 0.1,
        ("receiver",): human + 0.05,
        ("receiver", "bitstream"): 0.05,
        ("receiver", "load"): 0.0,
        ("receiver", "human"): human,
        ("receiver", "human", "cloud"): 0.25 * human,
        ("receiver", "human", "surface"): 0.5 * human,
        ("receiver", "human", "surface", "field"): 0.4 * human,
    }
    return clock


def test_stage_rows_add_up_and_find_the_rest():
    rows = speed.stage_rows([clock_of(0.3, 1.0)] * 3)
    outer = [row for row in rows if row["part_of"] is None]
    assert [row["stage"] for row in outer] == [
        "read picture", "find", "extract", "bitstream", "sender, rest", "bitstream", "human", "receiver, rest",
    ]  # fmt: skip
    assert sum(row["ms"] for row in outer) == pytest.approx(1800)
    assert sum(row["share"] for row in outer) == pytest.approx(1, abs=1e-3)
    by_name = {(row["half"], row["stage"]): row for row in rows}
    assert by_name["sender", "sender, rest"]["ms"] == pytest.approx(50)
    assert by_name["receiver", "human, rest"]["ms"] == pytest.approx(250)
    assert by_name["receiver", "surface, rest"]["ms"] == pytest.approx(100)
    assert by_name["receiver", "field"]["part_of"] == "surface"
    assert by_name["sender", "extract, rest"]["ms"] == pytest.approx(50)


def test_stage_rows_take_the_median_of_runs():
    rows = speed.stage_rows([clock_of(0.3, 1.0), clock_of(0.4, 1.0), clock_of(9.0, 1.0)])
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
    with programs.limited_cores(1) as cores:
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
    assert programs.package_size(package) == {"installed_bytes": 1110, "weights_bytes": 1000, "wheel_bytes": None}


def test_a_command_that_fails_is_told_in_one_line():
    with pytest.raises(SomacastError, match=r"failed with code 2: somacast: error: unknown verb 'nonsense'"):
        programs.run_python("-m", "somacast.cli.main", "nonsense")
