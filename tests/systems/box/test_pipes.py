"""`-` in the place of a file: results alone on stdout, the same bytes as a file would have."""

from __future__ import annotations

import io
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from somacast.cli.main import main

PNG = "person.png"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> Path:
    """With a picture, and a .soma file and mesh of it."""
    pixels = np.zeros((96, 64, 3), np.uint8)
    pixels[:48], pixels[48:] = (200, 30, 30), (20, 40, 220)
    Image.fromarray(pixels).save(tmp_path / PNG)
    (tmp_path / "temporary").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    assert main(["encode", PNG, "--system", "box", "-o", "person.soma"]) == 0
    assert main(["decode", "person.soma", "-o", "person.ply"]) == 0
    capsys.readouterr()
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, words: str, data: bytes = b"") -> tuple[int, bytes]:
    """Exit code and what came out on stdout."""
    out = io.TextIOWrapper(io.BytesIO(), write_through=True)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        patch.setattr(sys, "stdout", out)
        code = main(shlex.split(words))
        out.flush()
    return code, out.buffer.getvalue()  # type: ignore[attr-defined]


def test_a_picture_goes_through_pipes(folder: Path, monkeypatch, capsys):
    picture, soma, mesh = ((folder / name).read_bytes() for name in (PNG, "person.soma", "person.ply"))
    assert run(monkeypatch, "encode - --system box -o -", picture) == (0, soma)
    assert capsys.readouterr().err.startswith(f"standard output: {len(soma)} bytes")
    assert run(monkeypatch, f"encode {PNG} --system box -o -") == (0, soma)
    assert run(monkeypatch, "encode - --system box -o again.soma", picture) == (0, b"")
    assert (folder / "again.soma").read_bytes() == soma
    assert run(monkeypatch, "decode - -o - --format ply", soma) == (0, mesh)
    assert run(monkeypatch, "decode person.soma -o - --format ply --preview p.png") == (0, mesh)
    assert (folder / "p.png").exists() and not list((folder / "temporary").iterdir())
    code, said = run(monkeypatch, "info - --json", soma)
    assert code == 0 and b'"system": "box"' in said
    assert "tmp" not in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["glb", "obj"])
def test_every_kind_of_file_may_go_out(folder: Path, monkeypatch, kind):
    assert main(["decode", "person.soma", "-o", f"person.{kind}"]) == 0
    assert run(monkeypatch, f"decode - -o - --format {kind}", (folder / "person.soma").read_bytes()) == (
        0, (folder / f"person.{kind}").read_bytes(),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "data", "expected"),
    [
        ("encode - --system box -o -", b"", "standard input: is empty"),
        ("encode - --system box -o -", b"no picture", "standard input: is not a picture"),
        ("encode - --system box -o - --budget-bytes 5", b"\x89PNG", "a budget of 5 bytes is too small"),
        ("decode - -o - --format ply", b"", "the file is empty"),
        ("decode - -o - --format bvh", None, "standard output: people of system box have no joints"),
        ("decode - -o -", None, "-: expected --format beside it, one of glb, ply, obj"),
        ("decode - -o a.ply --format glb", None, "a.ply: expected a file name ending in .glb, as --format says"),
        ("info -", b"\x9eS", "cut .soma file"),
    ],
)
def test_what_cannot_be_leaves_nothing(folder: Path, monkeypatch, capsys, words, data, expected):
    """And names no file of ours, for which nobody has asked."""
    data = (folder / "person.soma").read_bytes() if data is None else data
    before = sorted(folder.rglob("*"))
    assert run(monkeypatch, words, data) == (2, b"")
    said = capsys.readouterr().err
    assert expected in said and "temporary" not in said and len(said.splitlines()) == 1
    assert sorted(folder.rglob("*")) == before


def test_a_terminal_is_no_place_for_bytes(folder: Path, monkeypatch, capsys):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for stream, words in (("stdout", f"encode {PNG} --system box -o -"), ("stdin", "encode - --system box -o a.soma")):
        with monkeypatch.context() as patch:
            patch.setattr(sys, stream, Terminal())
            assert main(words.split()) == 2
        assert "is a terminal; expected a file or a pipe" in capsys.readouterr().err


def test_a_file_called_so_is_meant_by_its_folder(folder: Path):
    os.link(PNG, "-")
    assert main(["encode", str(folder / "-"), "--system", "box", "-o", "dash.soma"]) == 0
    assert (folder / "dash.soma").read_bytes() == (folder / "person.soma").read_bytes()


@pytest.mark.skipif(os.name != "posix", reason="needs pipes with names")
def test_pipes_and_devices_by_name(folder: Path, monkeypatch, capsys):
    """`<(...)` and `>(...)` of shells, /dev/stdout: nothing is replaced, whatever they are called."""
    read, write = os.pipe()
    os.write(write, (folder / PNG).read_bytes())
    os.close(write)
    assert main(["encode", f"/dev/fd/{read}", "--system", "box", "-o", "b.soma"]) == 0
    os.close(read)
    assert (folder / "b.soma").read_bytes() == (folder / "person.soma").read_bytes()
    assert main(["encode", PNG, "--system", "box", "-o", os.devnull]) == 0
    file = os.open("c.soma", os.O_WRONLY | os.O_CREAT)
    os.write(file, b"before")
    capsys.readouterr()
    assert main(["encode", PNG, "--system", "box", "-o", f"/dev/fd/{file}"]) == 0
    os.close(file)
    assert (folder / "c.soma").read_bytes() == b"before" + (folder / "person.soma").read_bytes()
    assert capsys.readouterr().err.startswith(f"/dev/fd/{file}: ")


@pytest.mark.skipif(os.name != "posix", reason="needs a shell")
def test_a_chain_of_processes(folder: Path):
    """As users write it; the picture is not lost where a shell leads the result into it."""
    run = f'"{sys.executable}" -m somacast'
    chain = f"cat {PNG} | {run} encode - --system box -o - | {run} decode - -o - --format ply > chain.ply"
    done = subprocess.run(["bash", "-c", chain], capture_output=True, text=True, timeout=60)
    assert done.stdout == "" and "\x1b" not in done.stderr and "\r" not in done.stderr
    assert (folder / "chain.ply").read_bytes() == (folder / "person.ply").read_bytes()
    picture = (folder / PNG).read_bytes()
    done = subprocess.run(
        ["bash", "-c", f"{run} encode {PNG} --system box -o - >> {PNG}"], capture_output=True, text=True, timeout=60
    )
    assert (
        done.returncode == 2 and "another name of person.png" in done.stderr and (folder / PNG).read_bytes() == picture
    )


def test_a_reader_that_goes_ends_it_quietly(folder: Path):
    command = f'"{sys.executable}" -m somacast decode person.soma -o - --format glb | true; echo ${{PIPESTATUS[0]}}'
    done: Any = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert done.stdout == "141\n" and "Error" not in done.stderr and "error" not in done.stderr
