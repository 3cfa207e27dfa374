"""What needs an extra says so in one line; what does not, runs without."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import numpy as np
import pytest

import somacast
from somacast import extras
from somacast.bench.report.curves import draw_curves
from somacast.cache import cache_folder
from somacast.cli.common import check_device
from somacast.errors import SomacastError

PROJECT = Path(__file__).parents[1] / "pyproject.toml"
DISTRIBUTION = {  # where it has another name, or who brings it
    "dlib": "dlib-bin", "face_recognition_models": "face-recognition-models", "imageio_ffmpeg": "imageio-ffmpeg",
    "stlpips_pytorch": "stlpips-pytorch", "warp": "anny",
}  # fmt: skip
# anny is large; dlib has wheels for some machines only, and the models of faces have none
NOT_IN_DEV = ("anny", "warp", "dlib", "face_recognition_models")


@pytest.fixture
def bare(monkeypatch):
    """As if no extra were installed."""
    monkeypatch.setattr(extras, "find_spec", lambda package: None)


def test_every_package_is_in_the_extra_that_is_named():
    project = tomllib.loads(PROJECT.read_text())["project"]
    brought = {extra: " ".join(lines) for extra, lines in project["optional-dependencies"].items()}
    for package, extra in extras.EXTRA_OF_PACKAGE.items():
        assert DISTRIBUTION.get(package, package) in brought[extra], f"{package} in {extra}"
        assert DISTRIBUTION.get(package, package) in brought["dev"] or package in NOT_IN_DEV
    plain = " ".join(project["dependencies"])
    assert not [
        name
        for name in ("torch", "scipy", "scikit-image", "anny", "av>", "matplotlib", "onnx>", "dlib")
        if name in plain
    ]


def test_what_is_lacking_is_named(bare):
    with pytest.raises(SomacastError, match=r"^this needs the package av: pip install 'somacast\[video\]'$"):
        extras.require("av", "this")


def test_what_is_there_passes():
    extras.require("torch", "this")
    assert extras.installed("numpy") and not extras.installed("no_such_package")


def test_devices_without_torch(bare):
    assert check_device("cpu") == check_device("auto") == "cpu"
    with pytest.raises(SomacastError, match=r"--device cuda needs the package torch.*somacast\[train\]"):
        check_device("cuda")


def test_figures_without_matplotlib(bare, tmp_path):
    (tmp_path / "a.jsonl").write_text('{"samples": 1, "heat": 2.0, "iou": 0.5}\n{"samples": 2, "iou": 0.6}\n')
    with pytest.raises(SomacastError, match=r"matplotlib: pip install 'somacast\[bench\]'"):
        draw_curves([tmp_path / "a.jsonl"])


def test_python_api_without_torch(bare):
    """Both halves on another device than the CPU."""
    with pytest.raises(SomacastError, match=r"torch: pip install 'somacast\[train\]'"):
        somacast.encode(np.zeros((64, 64, 3), np.uint8), device="cuda")


def test_a_package_that_writes_unasked_writes_into_our_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("SOMACAST_CACHE", str(tmp_path))
    monkeypatch.setenv("MPLCONFIGDIR", "so that it is put back as it was")
    monkeypatch.delenv("MPLCONFIGDIR")
    monkeypatch.setattr(extras, "find_spec", lambda package: package)
    cache_folder.cache_clear()
    try:
        extras.require("torch", "this")
        assert "MPLCONFIGDIR" not in os.environ
        extras.require("matplotlib", "this")
        assert Path(os.environ["MPLCONFIGDIR"]) == cache_folder() / "matplotlib"
        monkeypatch.setenv("MPLCONFIGDIR", "elsewhere")  # the user's own word
        extras.require("matplotlib", "this")
        assert os.environ["MPLCONFIGDIR"] == "elsewhere"
    finally:
        cache_folder.cache_clear()
