"""The command line: help of every verb, one line and exit code 2 for everything the user can get wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import somacast
from somacast.cli import main as cli
from somacast.cli.commands import verbs_of
from somacast.errors import SomacastError
from somacast.formats.gltf_scene import GltfScene
from somacast.formats.meshes import load_mesh
from somacast.weights.manifest import list_weights

TRAINED = any(entry["file"].startswith("aflsc") for entry in list_weights())
needs_weights = pytest.mark.skipif(not TRAINED, reason="no trained weights of aflsc are in the package")
VERBS = [prog.split()[1:] for prog, _ in verbs_of()]
NETWORKS = {  # verbs that load networks
    "demo", "encode", "decode", "send", "receive", "view", "evaluate", "train aflsc", "train aflsc ablations",
    "bench speed", "bench detector", "bench rd", "bench sheet", "bench likeness",
    "bench study aflsc", "bench study aflsc ablations",
    "bench study aflsc allocation", "bench study aflsc chain", "bench study aflsc sides",
}  # fmt: skip


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "grey.png"
    Image.fromarray(np.full((96, 80, 3), 120, np.uint8)).save(path)
    return path


def fails(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 2) -> str:
    """Run, expect the exit code and exactly one line on stderr; returns that line."""
    capsys.readouterr()
    assert cli.main([str(a) for a in arguments]) == code
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("somacast: error: "), captured.err
    assert "Traceback" not in captured.err
    return lines[0]


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_help_of_every_verb_has_an_example_and_a_device_where_networks_run(capsys, verb):
    assert cli.main([*verb, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"Example: somacast {' '.join(verb)}" in text
    assert ("--device" in text) == (" ".join(verb) in NETWORKS)


def test_the_verbs_that_load_networks_exist():
    assert {" ".join(verb) for verb in VERBS} > NETWORKS


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_the_listing_names_every_verb(capsys, arguments):
    assert cli.main(arguments) == 0
    text = capsys.readouterr().out
    assert all(f"  {verb} " in text for verb in cli.VERBS)


def test_train_names_its_systems_and_their_stages(capsys):
    assert cli.main(["train", "--help"]) == 0
    assert "  aflsc " in capsys.readouterr().out
    assert cli.main(["train", "aflsc", "--help"]) == 0
    text = capsys.readouterr().out
    assert "--minutes" in text and "somacast train aflsc motion" in text


def test_data_lists_its_verbs(capsys):
    assert cli.main(["data", "--help"]) == 0
    text = capsys.readouterr().out
    assert "synth" in text and "check-assets" in text and "Example" in text


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == f"somacast {somacast.__version__}"


def test_the_package_runs_as_the_command():
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "somacast", *words], capture_output=True, text=True)

    assert run("--version").stdout.strip() == f"somacast {somacast.__version__}"
    wrong = run("encode", "no.jpg", "-o", "no.soma")
    assert wrong.returncode == 2 and wrong.stderr.startswith("somacast: error: no.jpg")


def test_wrong_verbs_and_arguments(capsys):
    assert "unknown verb 'enocde'" in fails(capsys, "enocde")
    assert "unknown verb 'data x'" in fails(capsys, "data", "x")
    assert "missing: IMAGE, --out PATH (see somacast encode --help)" in fails(capsys, "encode")
    assert "--nonsense" in fails(capsys, "encode", "a.png", "-o", "a.soma", "--nonsense")
    assert "--budget-bytes many: expected INT" in fails(
        capsys, "encode", "a.png", "-o", "a.soma", "--budget-bytes", "many"
    )
    assert "above 0" in fails(capsys, "encode", "a.png", "-o", "a.soma", "--budget-bytes", "0")
    assert "thuman2" in fails(
        capsys, "evaluate", "--system", "aflsc", "--data", ".", "--json", "a.json", "--format", "x"
    )
    assert "'jpeg' cannot be trained; expected one of aflsc" in fails(capsys, "train", "jpeg")
    assert "missing: SYSTEM, one of aflsc" in fails(capsys, "train")
    for stage in ("ablations", "motion"):
        assert f"this is now: somacast train aflsc {stage}" in fails(capsys, "train", stage, "--out", "x")
    assert "--minutes" in fails(capsys, "train", "aflsc", "--minutes", "-1")


@pytest.mark.parametrize(("encoding", "columns"), [("utf-8", "80"), ("ascii", "20")])
def test_argument_errors_are_one_line_on_any_terminal(encoding, columns):
    """The parser frames its complaints in another way where the terminal cannot draw lines, or is narrow."""
    command = [sys.executable, "-m", "somacast.cli.main", "encode"]
    environment = os.environ | {"PYTHONIOENCODING": encoding, "COLUMNS": columns}
    for arguments, expected in (([], "missing: IMAGE, --out PATH ("), (["a", "-o", "b", "--c"], "options: --c (")):
        run = subprocess.run(command + arguments, capture_output=True, text=True, env=environment)
        assert run.returncode == 2
        assert len(run.stderr.splitlines()) == 1 and expected in run.stderr


def test_devices(capsys, tmp_path):
    file = tmp_path / "a.soma"
    file.write_bytes(b"\x9eS")
    decode = ("decode", file, "-o", tmp_path / "a.glb", "--device")
    assert "expected cpu, cuda, cuda:N or auto" in fails(capsys, *decode, "tpu")
    assert "CUDA devices" in fails(capsys, *decode, "cuda:99")
    assert "expected cpu, cuda, cuda:N or auto" in fails(capsys, "train", "aflsc", "--device", "tpu")
    assert "unrecognized options: --device cpu" in fails(capsys, "info", file, "--device", "cpu")


def test_wrong_inputs_of_encode(capsys, tmp_path, picture):
    out = tmp_path / "a.soma"
    assert "no such file" in fails(capsys, "encode", tmp_path / "none.png", "-o", out)
    assert "folder" in fails(capsys, "encode", tmp_path, "-o", out)
    assert "does not exist" in fails(capsys, "encode", picture, "-o", tmp_path / "none" / "a.soma")
    assert "got a folder" in fails(capsys, "encode", picture, "-o", tmp_path)
    assert "does not exist" in fails(capsys, "encode", picture, "-o", out, "--report", tmp_path / "none" / "r.json")
    note = tmp_path / "note.txt"
    note.write_text("no picture")
    assert "not a picture" in fails(capsys, "encode", note, "-o", out)
    assert "no such file" in fails(capsys, "encode", picture, "-o", out, "--mask", tmp_path / "mask.png")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["grey.png", "note.txt"]


@pytest.mark.parametrize("verb", ["info", "decode"])
def test_wrong_soma_files(capsys, tmp_path, verb):
    out = ["-o", tmp_path / "p.glb"] if verb == "decode" else []
    file = tmp_path / "p.soma"
    assert "no such file" in fails(capsys, verb, file, *out)
    assert "folder" in fails(capsys, verb, tmp_path, *out)
    for content in (
        b"",
        b"PK\x03\x04 this is a zip",
        b"SOMA\1" + bytes(40),
        b"\x9eS",
        b"\x9eS\xf1" + bytes(40),
        b"\x9eS\x21" + bytes(9),
        bytes(2**20 + 1),
    ):
        file.write_bytes(content)
        fails(capsys, verb, file, *out)
    assert [p.name for p in tmp_path.iterdir()] == ["p.soma"]


def test_wrong_outputs_of_decode(capsys, tmp_path):
    file = tmp_path / "p.soma"
    file.write_bytes(b"\x9eS")
    assert ".glb, .ply, .obj" in fails(capsys, "decode", file, "-o", tmp_path / "p.stl")
    assert ".png" in fails(capsys, "decode", file, "-o", tmp_path / "p.glb", "--preview", tmp_path / "p.jpg")
    assert "does not exist" in fails(capsys, "decode", file, "-o", tmp_path / "none" / "p.glb")
    assert "--units cm is for" in fails(capsys, "decode", file, "-o", tmp_path / "p.glb", "--units", "cm")
    assert "--origin pelvis is for" in fails(capsys, "decode", file, "-o", tmp_path / "p.vrm", "--origin", "pelvis")
    assert "are for .vrm" in fails(capsys, "decode", file, "-o", tmp_path / "p.glb", "--vrm-author", "me")
    assert "--rig is for" in fails(capsys, "decode", file, "-o", tmp_path / "p.vrm", "--rig")


def test_wrong_folders(capsys, tmp_path):
    none = tmp_path / "none"
    assert "no such folder" in fails(capsys, "data", "check-assets", none)
    assert "no such folder" in fails(capsys, "data", "synth", "--out", tmp_path, "--people", 1, "--assets", none)
    assert "above 0" in fails(capsys, "data", "synth", "--out", tmp_path, "--people", 0)
    assert "no such folder" in fails(capsys, "train", "aflsc", "--assets", none)
    evaluate = ("evaluate", "--system", "aflsc", "--json", tmp_path / "r.json")
    assert "no such folder" in fails(capsys, *evaluate, "--data", none)


def test_every_kind_of_fault_is_one_line(capsys, monkeypatch):
    def raising(fault: BaseException):
        def dispatch(*_):
            raise fault

        monkeypatch.setattr(cli, "dispatch", dispatch)

    raising(SomacastError("two\nlines"))
    assert fails(capsys, "x").endswith("error: two lines")
    raising(OSError(28, "No space left on device", "p.soma"))
    assert fails(capsys, "x").endswith("p.soma: no space left on device")
    raising(MemoryError())
    assert "memory" in fails(capsys, "x")
    raising(ModuleNotFoundError("No module named 'anny'", name="anny"))
    assert "somacast[train]" in fails(capsys, "x")
    raising(IndexError("boom"))
    assert "internal error: IndexError: boom" in fails(capsys, "x", code=1)
    with pytest.raises(IndexError):
        cli.main(["x", "--debug"])
    monkeypatch.setenv("SOMACAST_DEBUG", "1")
    with pytest.raises(IndexError):
        cli.main(["x"])
    raising(KeyboardInterrupt())
    assert cli.main(["x"]) == 130


def test_weights_are_listed_and_whole(capsys):
    assert cli.main(["weights", "--json"]) == 0
    entries = json.loads(capsys.readouterr().out)
    assert {"body.safetensors"} <= {entry["file"] for entry in entries}
    assert cli.main(["weights"]) == 0
    assert "all verified" in capsys.readouterr().out


def test_a_closed_pipe_is_no_fault():
    command = f'"{sys.executable}" -m somacast.cli.main weights --json | head -c 1; echo " ${{PIPESTATUS[0]}}"'
    run = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert run.stderr == ""


# ------------------------------------------------------------------------------------- with trained weights


@pytest.fixture(scope="session")
def person(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the demo's results."""
    out = tmp_path_factory.mktemp("demo")
    assert cli.main(["demo", "--out", str(out)]) == 0
    return out


@needs_weights
def test_demo_writes_everything(person):
    assert {p.name for p in person.iterdir()} == {"input.png", "person.soma", "person.glb", "contact_sheet.png"}
    assert (person / "person.soma").stat().st_size <= 600
    assert (person / "person.glb").read_bytes()[:4] == b"glTF"


@needs_weights
def test_encode_decode_info(person, tmp_path, capsys):
    soma, report = tmp_path / "p.soma", tmp_path / "r.json"
    given = ["encode", str(person / "input.png"), "-o", str(soma), "--report", str(report), "--budget-bytes", "600"]
    assert cli.main(given) == 0
    assert soma.read_bytes() == (person / "person.soma").read_bytes()
    found = json.loads(report.read_text())
    assert found["bytes"] == soma.stat().st_size and found["stage_times_s"]
    for suffix in ("glb", "ply", "obj", "bvh", "vrm"):
        preview = ["--preview", str(tmp_path / "p.png")] if suffix == "glb" else []
        assert cli.main(["decode", str(soma), "-o", str(tmp_path / f"p.{suffix}"), *preview]) == 0
    for suffix in ("glb", "ply", "obj", "vrm"):
        path = tmp_path / f"p.{suffix}"
        mesh = GltfScene(path).mesh(finest=0) if suffix in ("glb", "vrm") else load_mesh(path)
        assert mesh.vertices[:, 1].min() == pytest.approx(0, abs=1e-5), suffix  # on the ground
        assert 1.0 < mesh.vertices[:, 1].max() < 2.2
    assert Image.open(tmp_path / "p.png").width > 0
    capsys.readouterr()
    assert cli.main(["info", str(soma), "--json"]) == 0
    inside = json.loads(capsys.readouterr().out)
    assert inside["header"]["system"] == "aflsc" and inside["header"]["bytes"] == soma.stat().st_size
    labels, *_, warp, picture = (layer["bytes"] for layer in inside["layers"])
    group_bits = sum(group["bits"] for group in inside["groups"])
    assert 0.7 * 8 * labels < group_bits <= 8 * labels + 1
    assert (inside["header"]["warp_bytes"], inside["header"]["picture_bytes"]) == (warp, picture)
    assert cli.main(["info", str(soma)]) == 0


@needs_weights
def test_budget_and_cut_files(person, tmp_path, capsys):
    full = (person / "person.soma").read_bytes()
    soma = tmp_path / "p.soma"
    assert cli.main(["encode", str(person / "input.png"), "-o", str(soma), "--budget-bytes", "200"]) == 0
    assert soma.stat().st_size <= 200
    assert "too small" in fails(capsys, "encode", person / "input.png", "-o", tmp_path / "q.soma", "--budget-bytes", 20)
    assert not (tmp_path / "q.soma").exists()
    soma.write_bytes(full[:-3])
    capsys.readouterr()
    assert cli.main(["decode", str(soma), "-o", str(tmp_path / "p.glb")]) == 0
    assert "cut" in capsys.readouterr().err
    soma.write_bytes(full[:14])
    assert "cut" in fails(capsys, "decode", soma, "-o", tmp_path / "r.glb")
    flipped = bytearray(full)
    flipped[5] ^= 1  # the weights digest
    soma.write_bytes(bytes(flipped))
    fails(capsys, "decode", soma, "-o", tmp_path / "r.glb")
    assert not (tmp_path / "r.glb").exists()


@needs_weights
def test_no_person(capsys, tmp_path, picture):
    assert "person" in fails(capsys, "encode", picture, "-o", tmp_path / "p.soma")
    assert not (tmp_path / "p.soma").exists()


@needs_weights
def test_python_interface(person):
    with Image.open(person / "input.png") as image:
        pixels = np.asarray(image.convert("RGB"))
    data = somacast.encode(pixels, budget_bytes=600)
    whole = somacast.encode(str(person / "input.png"), budget_bytes=600)
    assert data == whole == (person / "person.soma").read_bytes()
    human = somacast.decode(data)
    assert human.mesh is not None and np.isfinite(human.mesh.vertices).all()
