"""`somacast bench users`: a result for each part, and the page's table of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from somacast.bench.report.reading import Committed
from somacast.bench.report.users import users_lines
from somacast.bench.results import read_result
from somacast.bench.users import drift, measure
from somacast.bench.users.config import PARTS, UsersBench
from somacast.cli import main as cli
from somacast.errors import SomacastError

RATE = {"film_drift_frames": 0.2, "film_stand_still_share": 0.0}


def test_each_part_has_a_file_and_a_row(tmp_path, monkeypatch):
    monkeypatch.setattr(drift, "measure", lambda: {"25.00": RATE, "phone": RATE | {"film_drift_frames": 1.5}})
    lines = []
    made = measure.measure_users(UsersBench(("drift",), tmp_path), lines.append)
    assert list(made) == ["drift"] and lines == [f"drift: {tmp_path / 'drift.json'}"]
    found = read_result(tmp_path / "drift.json")
    assert found.results["rates"]["phone"]["film_drift_frames"] == 1.5
    text = "\n".join(users_lines({"drift": Committed(Path("results/users/drift.json"), found)}))
    assert "| drift after 60 minutes at 2 rates | <= 1 frame | **1.50 frames** | **no** |" in text
    assert "| stand-stills that the source has not | 0 | **0.0 %** | yes |" in text
    assert users_lines({}) == []


def test_a_part_that_cannot_be_measured_is_told_and_the_others_go_on(tmp_path, monkeypatch):
    def refuse() -> dict:
        raise SomacastError("not on this machine")

    monkeypatch.setattr(drift, "measure", refuse)
    lines = []
    assert measure.measure_users(UsersBench(("drift",), tmp_path), lines.append) == {}
    assert lines == ["drift: not measured: not on this machine"] and not list(tmp_path.iterdir())


@pytest.mark.parametrize("parts", [("drift", "drift"), ("noise",), ()])
def test_parts_are_known_and_named_once(parts):
    with pytest.raises(SomacastError, match=f"some of {' '.join(PARTS)}"):
        UsersBench(parts)


def test_kinds_wants_its_folder(capsys, tmp_path):
    assert cli.main(["bench", "users", "--parts", "kinds", "--out", str(tmp_path)]) == 2
    assert "kinds: expected --reports" in capsys.readouterr().err
