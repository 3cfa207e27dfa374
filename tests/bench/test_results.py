"""Files of results: one form, what they say of how they came about, and one line about everything that is no result."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from somacast.bench import results as form
from somacast.bench.results import Result, command_of, describe_run, read_result, write_result
from somacast.errors import SomacastError
from somacast.weights.manifest import list_weights


@dataclass(frozen=True)
class Inner:
    samples: int = 100
    size_px: int = 256


@dataclass(frozen=True)
class Config:
    system: str
    json_path: Path | None
    people: int = 5
    share: float = 0.1
    flat: bool = False
    sides_px: tuple[int, ...] = (32, 64)
    assets: Path | None = None
    data: str = "synthetic-test"
    seed: int = 3
    device: str = "cpu"
    cache: Path | None = None
    protocol: Inner = field(default_factory=lambda: Inner(samples=20))


CONFIG = Config("toy", Path("results/toy.json"))


@pytest.fixture
def result() -> Result:
    return Result("rd", describe_run("rd", CONFIG), {"mean": 0.12345678, "none": np.nan}, [{"bytes": np.int64(9)}])


def test_a_file_gives_back_what_was_written_rounded(result, tmp_path):
    path = tmp_path / "r.json"
    written = write_result(path, result)
    assert read_result(path) == written and written.rows == [{"bytes": 9}]
    assert written.results == {"mean": 0.123457, "none": None}
    plain = json.loads(path.read_text())
    assert plain["format"] == form.FORMAT and plain["version"] == form.VERSION and plain["benchmark"] == "rd"
    assert write_result(None, result) == written and list(tmp_path.iterdir()) == [path]


def test_lists_of_numbers_stand_in_one_line():
    text = form.to_text({"a": [1, 2.5, None, -1e-9], "b": [{"c": []}], "d": ["[1,\n2]"]})
    assert '"a": [1, 2.5, null, -1e-09]' in text and json.loads(text)["d"] == ["[1,\n2]"]


def test_provenance_says_how_it_was_made(result):
    about = result.provenance
    assert (about.system, about.seed, about.device) == ("toy", 3, "cpu")
    assert about.weights_sha256 == {entry["file"]: entry["sha256"] for entry in list_weights()}
    assert about.machine["cores"] >= 1 and about.versions["numpy"] == np.__version__
    assert about.commit is None or len(about.commit.removesuffix("+changes")) == 40
    assert about.config["protocol"] == {"samples": 20, "size_px": 256} and "json_path" not in about.config
    assert describe_run("people", CONFIG, weights_sha256={}).weights_sha256 == {}
    assert "pytest" not in about.versions and "pytest" in describe_run("rd", CONFIG, packages=["pytest"]).versions


def test_the_command_holds_what_differs_from_the_defaults():
    assert command_of("rd", CONFIG) == "somacast bench rd --system toy --json results/toy.json"
    changed = replace(CONFIG, people=9, share=1e6, flat=True, sides_px=(8, 16), seed=4, protocol=Inner(50))
    assert command_of("evaluate", changed) == (
        "somacast evaluate --system toy --people 9 --share 1e+06 --flat --sides-px 8 16 --seed 4 "
        "--samples 50 --json results/toy.json"
    )
    assert command_of("soak", replace(CONFIG, json_path=None)) == "somacast bench soak --system toy"


def test_folders_of_this_machine_are_nobody_s_business(tmp_path):
    config = replace(
        CONFIG, json_path=tmp_path / "x.json", assets=tmp_path / "assets", data="/home/me/scans", cache=tmp_path
    )
    about = describe_run("rd", config)
    assert about.command == "somacast bench rd --system toy --assets assets --data scans --json x.json"
    assert (about.config["assets"], about.config["data"]) == ("assets", "scans")
    assert str(tmp_path) not in json.dumps(about.config) and "cache" not in about.config


def test_commands_of_the_benchmarks_parse(monkeypatch):
    """The command of a configuration that is changed everywhere gives that configuration again."""
    from somacast.bench.rate_distortion.config import RdConfig
    from somacast.bench.robustness.config import FuzzConfig
    from somacast.bench.speed.config import SpeedConfig
    from somacast.cli.parsing import parse

    for benchmark, config in {
        "speed": SpeedConfig(Path("s.json"), people=2, cores=1),
        "fuzz": FuzzConfig(packets=1000, processes=1),
        "rd": RdConfig(budgets_bytes=(60, 100), people=2, protocol=replace(RdConfig().protocol, samples=1000)),
    }.items():
        words = command_of(benchmark, config).split()
        assert words[:3] == ["somacast", "bench", benchmark]
        assert parse(type(config), words[3:], f"somacast bench {benchmark}") == config


def broken(result: Result, **changes) -> str:
    plain = form.rounded(result.plain())
    about = plain["provenance"]
    for name, value in changes.items():
        where, key = (about, name.removeprefix("about_")) if name.startswith("about_") else (plain, name)
        if value is ...:
            where.pop(key)
        else:
            where[key] = value
    return json.dumps(plain)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "somacast speed"}, "expected the format 'somacast result', got 'somacast speed'"),
        ({"format": ...}, "expected the format 'somacast result', got None"),
        ({"version": 2}, "expected version 1 of the format, got 2"),
        ({"rows": ...}, "got one without rows"),
        ({"people": []}, "got one with people"),
        ({"rows": {}}, "rows: expected list, got dict"),
        ({"rows": [], "results": {}}, "expected results or rows, got neither"),
        ({"about_seed": ...}, "provenance: expected the fields"),
        ({"about_weights": {}}, "got one with weights"),
        ({"about_seed": "1"}, "seed: expected int or null, got str"),
        ({"about_machine": None}, "machine: expected dict, got NoneType"),
    ],
)
def test_what_is_no_result_is_told_in_one_line(result, tmp_path, changes, message):
    path = tmp_path / "r.json"
    path.write_text(broken(result, **changes))
    with pytest.raises(SomacastError) as caught:
        read_result(path)
    assert message in str(caught.value) and str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path):
    for content, message in ((b"{", "expected JSON"), (b"\xff\xfe", "cannot be read"), (b"[]", "got 'list'")):
        (tmp_path / "r.json").write_bytes(content)
        with pytest.raises(SomacastError, match=message):
            read_result(tmp_path / "r.json")
    with pytest.raises(SomacastError, match="cannot be read"):
        read_result(tmp_path / "none.json")


def test_a_result_that_breaks_the_form_is_not_written(result, tmp_path):
    with pytest.raises(SomacastError, match="neither"):
        write_result(tmp_path / "r.json", replace(result, results={}, rows=[]))
    assert list(tmp_path.iterdir()) == []


def test_a_study_is_written_with_its_own_weights(tmp_path):
    config = replace(CONFIG, json_path=tmp_path / "r.json")
    found = form.write_study("toy", "ablations", config, {"results": {"a": 1}, "weights_sha256": {"f": "0"}})
    assert read_result(tmp_path / "r.json") == found
    assert found.provenance.weights_sha256 == {"f": "0"} and found.provenance.system == "toy"


def test_the_commit_outside_of_a_working_copy_is_unknown(tmp_path):
    assert form.git_commit(tmp_path) is None
