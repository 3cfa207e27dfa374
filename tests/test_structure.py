"""A house in which one finds things: few files in a folder, no long files."""

from __future__ import annotations

from pathlib import Path

import somacast

PACKAGE = Path(somacast.__file__).parent
ROOT = PACKAGE.parents[1]
MAX_FILES, MAX_LINES = 15, 400


def folders() -> list[Path]:
    found = [p for base in (PACKAGE, ROOT / "tests", ROOT / "docs", ROOT / "results") for p in (base, *base.rglob("*"))]
    return [p for p in found if p.is_dir() and p.name not in ("__pycache__", "static", ".hypothesis")]


def files(folder: Path) -> list[Path]:
    return [p for p in folder.iterdir() if p.is_file() and p.suffix != ".pyc"]


def test_folders_are_small():
    assert {str(f.relative_to(ROOT)): len(files(f)) for f in folders() if len(files(f)) > MAX_FILES} == {}


def test_files_are_short():
    sources = [p for f in folders() for p in files(f) if p.suffix == ".py"]
    lengths = {str(p.relative_to(ROOT)): p.read_text().count("\n") for p in sources}
    assert len(lengths) > 300
    assert {name: lines for name, lines in lengths.items() if lines > MAX_LINES} == {}
