"""`encode FOLDER`, `decode FOLDER` and `--people`: what the command line takes, and one run of the real networks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from somacast.cli import main as cli
from somacast.cli.folders import duration
from support.folders.group_cases import group_picture


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "in"
    path.mkdir()
    (path / "note.txt").write_text("no picture")
    (path / "bad.jpg").write_text("no picture either")
    return path


def fails(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """Exit code 2 and one line, before any work."""
    capsys.readouterr()
    assert cli.main([str(word) for word in words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_what_a_folder_cannot_take(capsys, folder, tmp_path):
    out, picture = tmp_path / "out", tmp_path / "p.png"
    Image.fromarray(np.full((80, 80, 3), 99, np.uint8)).save(picture)
    assert "--mask is for one file" in fails(capsys, "encode", folder, "-o", out, "--mask", picture)
    assert "--preview is for one file" in fails(capsys, "decode", folder, "-o", out, "--preview", tmp_path / "a.png")
    assert "got the name of a file" in fails(capsys, "encode", folder, "-o", tmp_path / "a.soma")
    assert "is a file" in fails(capsys, "encode", folder, "-o", picture)
    assert "does not exist" in fails(capsys, "encode", folder, "-o", tmp_path / "none" / "out")
    assert "expected .soma files, found none (2 files" in fails(capsys, "decode", folder, "-o", out)
    assert "above 0" in fails(capsys, "encode", folder, "-o", out, "--workers", "0")
    assert "--rig is for" in fails(capsys, "decode", folder, "-o", out, "--format", "ply", "--rig")
    assert "are for folders" in fails(capsys, "encode", picture, "-o", tmp_path / "a.soma", "--workers", "2")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "p.png"]


def test_words_of_people(capsys, folder, tmp_path):
    out = tmp_path / "a.soma"
    for word in ("0", "-1", "two", "1.5", "999"):
        assert "--people" in fails(capsys, "encode", folder / "bad.jpg", "-o", out, "--people", word)
    assert "no stream" in fails(capsys, "encode", folder / "bad.jpg", "-o", "-", "--people", "all")
    assert "for pictures" in fails(capsys, "encode", "synthetic:walking", "-o", out, "--people", "2")


def test_a_folder_there_and_back(capsys, folder, tmp_path):
    """Takes seconds: workers load the networks."""
    (folder / "sub").mkdir()
    Image.fromarray(group_picture(np.array([[-0.75, 0.0, 3.4], [0.9, 0.1, 4.6]]))).save(folder / "sub" / "two.png")
    out, models, report = tmp_path / "out", tmp_path / "models", tmp_path / "r.json"
    encode = ["encode", str(folder), "-o", str(out), "--people", "all", "--report", str(report), "--workers", "1"]
    assert cli.main(encode) == 3
    assert sorted(p.relative_to(out).as_posix() for p in out.rglob("*.soma")) == ["sub/two_1.soma", "sub/two_2.soma"]
    text = capsys.readouterr().err
    assert "2 of 2" in text and "bad.jpg" in text and "1 made, 1 refused, 1 of other kinds passed over" in text
    found = json.loads(report.read_text())
    rows = {row["name"]: row for row in found["files"]}
    assert rows["bad.jpg"]["error"] and rows["sub/two.png"]["outputs"] == ["sub/two_1.soma", "sub/two_2.soma"]
    assert rows["sub/two.png"]["bytes"] == sum(p.stat().st_size for p in out.rglob("*.soma"))
    (folder / "bad.jpg").unlink()
    assert cli.main(encode) == 0
    assert "1 kept" in capsys.readouterr().err
    assert cli.main(["decode", str(out), "-o", str(models), "--format", "ply", "--workers", "1"]) == 0
    assert sorted(p.relative_to(models).as_posix() for p in models.rglob("*.ply")) == ["sub/two_1.ply", "sub/two_2.ply"]
    files = [str(path) for path in sorted(out.rglob("*.soma"))]
    assert cli.main(["decode", *files, "-o", str(tmp_path / "two.glb")]) == 0
    assert "2 people" in capsys.readouterr().err and (tmp_path / "two.glb").read_bytes()[:4] == b"glTF"


def test_several_files_go_into_one_model(capsys, folder, tmp_path):
    file = folder / "bad.jpg"
    assert "expected a file name ending in .glb" in fails(capsys, "decode", file, file, "-o", tmp_path / "a.bvh")
    assert "--rig is for one file" in fails(capsys, "decode", file, file, "-o", tmp_path / "a.glb", "--rig")
    assert "bad.jpg: this is no .soma file" in fails(capsys, "decode", file, file, "-o", tmp_path / "a.glb")
    assert "one folder alone" in fails(capsys, "decode", folder, file, "-o", tmp_path / "out")


def test_times_are_rough():
    assert [duration(s) for s in (0.4, 89, 91, 3600, 2 * 3600 + 90)] == ["0 s", "89 s", "2 min", "60 min", "2 h 01 min"]
