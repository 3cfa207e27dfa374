"""`somacast bench detector`: its pictures are what they say, and its figures follow from what was found."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from somacast.bench.detection import measure as bench
from somacast.bench.detection import scenes
from somacast.bench.detection.config import DetectorBench
from somacast.bench.results import read_result
from somacast.capture.cropping import SquareBox
from somacast.errors import SomacastError
from somacast.pipeline.still import sender as still


def test_people_stand_whole_in_their_pictures() -> None:
    for number, scene in enumerate(scenes.people(3, 5, None, (0.4, 0.8))):
        height, width = scene.image.shape[:2]
        assert (width, height) == scenes.FORMATS[number] and scene.image.dtype == np.uint8
        assert scene.box is not None and scene.joints_px is not None
        assert (scene.joints_px > 0).all() and (scene.joints_px < [width, height]).all()
        low, high = scene.joints_px.min(0), scene.joints_px.max(0)
        assert (low > scene.box.corner).all() and (high < scene.box.corner + scene.box.side).all()
        assert (high - low).max() > 0.6 * scene.box.side / 1.2
        assert scene.box.side / 1.2 <= max(0.8 * height, 0.95 * width) + 2


def test_empty_pictures_are_of_all_kinds_and_the_same_again() -> None:
    first, again = ([*scenes.empty(5, 2, None)] for _ in range(2))
    assert [scene.action for scene in first] == list(scenes.KINDS)
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a.image, b.image)
        assert a.box is None and a.joints_px is None


class Fake:
    """A sender that sends every other picture, at a place of its own."""

    def __init__(self, *_: Any) -> None:
        self.calls = 0

    def encode(self, capture: Any) -> Any:
        self.calls += 1
        if self.calls % 2 == 0:
            raise SomacastError("no person")
        side = float(max(capture.frame.image.shape))
        return SimpleNamespace(report={"person_box_px": [0.0, 0.0, side, side]})


def test_figures_follow_from_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(still, "Sender", Fake)
    monkeypatch.setattr(bench, "find_people", lambda image: [])
    path = tmp_path / "detector.json"
    bench.measure_detector(DetectorBench(path, people=2, empty=5))
    found = read_result(path)
    assert found.benchmark == "detector" and len(found.rows) == 7
    assert found.results["detector"] == {"found": 0.0, "false": 0.0}
    assert found.results["sender"]["sent"] == 0.5 and found.results["sender"]["false"] == pytest.approx(3 / 5)
    refused = [row for row in found.rows if not row["sent"]]
    assert refused and all(row["message"] == "no person" for row in refused)


def test_a_place_is_right_if_it_overlaps_and_holds_the_joints() -> None:
    assert bench.overlap(SquareBox(5, 5, 10), SquareBox(5, 5, 10)) == 1
    assert bench.overlap(SquareBox(5, 5, 10), SquareBox(10, 5, 10)) == pytest.approx(1 / 3)
    assert bench.overlap(SquareBox(5, 5, 10), SquareBox(50, 5, 10)) == 0
    scene = scenes.Scene(np.zeros((9, 9, 3), np.uint8), "", SquareBox(5, 5, 10), np.full((21, 2), 5.0))
    assert bench._holds(SquareBox(5, 5, 10), scene) and not bench._holds(SquareBox(20, 5, 10), scene)
