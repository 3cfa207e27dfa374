"""The measurement of folders: what it draws, and what a user's own loop over the pictures gives."""

from __future__ import annotations

import pytest
from PIL import Image

from somacast.bench.users import folder
from somacast.errors import SomacastError


def test_pictures_are_small_and_differ(tmp_path):
    folder.draw(tmp_path, 2, 128, 0)
    paths = sorted(tmp_path.iterdir())
    assert [path.name for path in paths] == ["000.png", "001.png"]
    assert all(Image.open(path).size == (128, 128) for path in paths)
    assert paths[0].read_bytes() != paths[1].read_bytes()


def test_both_ways_are_timed_in_turn(monkeypatch):
    """With a clock in the place of processes: one alone takes three times as long."""
    runs = []

    def timed(words, allowed=(0,)):
        runs.append("alone" if words[0] == "-c" else "folder")
        return (6.0, 7.0) if words[0] == "-c" else (2.0, 8.0)

    monkeypatch.setattr(folder, "_timed", timed)
    found = folder.measure(pictures=2, workers=2, rounds=2, size_px=64)
    assert runs == ["alone", "folder"] * 2
    assert found["times"] == 3.0 and found["one_process_s"] == 12.0 and found["folder_cpu_s"] == 16.0
    assert found["pictures"] == 4 and found["made"] == 0


def test_too_few_pictures():
    with pytest.raises(SomacastError, match="pictures: expected a whole number from 2"):
        folder.measure(pictures=1)


def test_a_process_that_fails_is_said():
    with pytest.raises(SomacastError, match="failed with code 3: no luck"):
        folder._timed(["-c", "import sys; print('no luck', file=sys.stderr); sys.exit(3)"])
    wall_s, cpu_s = folder._timed(["-c", "sum(range(10 ** 6))"])
    assert wall_s > 0 and cpu_s > 0
