"""The manifest and the budgets of docs/weights.md: what each system, the package and its wheel may weigh."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from somacast.errors import SomacastError
from somacast.systems.registry import names
from somacast.weights.manifest import FOLDER, SUFFIXES, list_weights, origins, record, verify

AFLSC_MB, OTHER_MB, ALL_MB = 45, 15, 95


def owner(file: str, systems: list[str]) -> str:
    """The system whose name a file begins with; "" for what all share."""
    return next((name for name in systems if file.startswith((f"{name}.", f"{name}_"))), "")


def sizes_mb(folder: Path, systems: list[str]) -> dict[str, float]:
    out = dict.fromkeys(["", *systems], 0.0)
    for path in folder.iterdir():
        if path.suffix in SUFFIXES:
            out[owner(path.name, systems)] += path.stat().st_size / 1e6
    return out


def test_budgets_are_kept():
    sizes = sizes_mb(FOLDER, names())
    assert sizes["aflsc"] + sizes[""] <= AFLSC_MB  # it uses all that is shared
    assert all(size <= OTHER_MB for name, size in sizes.items() if name not in ("", "aflsc"))
    assert sum(sizes.values()) <= ALL_MB
    assert sizes["aflsc"] > 1 and sizes[""] > 1


def test_budgets_are_those_that_are_written_down():
    text = (Path(__file__).parents[2] / "docs" / "weights.md").read_text(encoding="utf-8")
    for budget in (AFLSC_MB, OTHER_MB, ALL_MB):
        assert f"| {budget} MB |" in text


def test_files_belong_to_the_system_that_they_are_named_after(tmp_path):
    (tmp_path / "box.onnx").write_bytes(bytes(2_000_000))
    (tmp_path / "box_tables.safetensors").write_bytes(bytes(1_000_000))
    (tmp_path / "boxer.onnx").write_bytes(bytes(500_000))
    assert sizes_mb(tmp_path, ["box"]) == {"": 0.5, "box": 3.0}


def test_recipes_name_modules_that_are_there():
    source = FOLDER.parent.parent
    for entry in list_weights():
        for word in entry["recipe"].replace("(", " ").replace(",", " ").split():
            if word.startswith("somacast."):
                parts = word.split(".")
                found = [
                    k for k in range(2, len(parts) + 1) if (source.joinpath(*parts[:k])).with_suffix(".py").is_file()
                ]
                assert found, f"{entry['file']}: {word}"


def test_a_file_written_from_a_checkpoint_answers_to_both_digests(tmp_path, monkeypatch):
    (tmp_path / "net.onnx").write_bytes(b"net")
    (tmp_path / "run.pt").write_bytes(b"run")
    common = {"licence": "x", "recipe": "y", "data": "z", "score": "-"}
    plain = record(tmp_path / "net.onnx", **common)
    assert "checkpoint" not in plain
    entry = record(tmp_path / "net.onnx", **common, checkpoint=tmp_path / "run.pt")
    assert json.loads((tmp_path / "manifest.json").read_text())["weights"] == [entry]
    monkeypatch.setattr("somacast.weights.manifest.FOLDER", tmp_path)
    assert origins("net.onnx") == {entry["sha256"], entry["checkpoint"]} and entry["checkpoint"] != entry["sha256"]
    assert origins("other.onnx") == set()


def test_a_network_that_is_not_in_the_manifest_is_reported(tmp_path):
    (tmp_path / "net.onnx").write_bytes(b"net")
    record(tmp_path / "net.onnx", licence="x", recipe="y", data="z", score="-")
    assert verify(tmp_path) == []
    (tmp_path / "stray.onnx").write_bytes(b"net")
    assert verify(tmp_path) == ["stray.onnx: is not in the manifest"]
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(SomacastError, match="list of weights"):
        verify(tmp_path)
