"""A system in a folder of its own goes through every verb, the Python API, live and the viewer."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import somacast
from somacast.bitstream import container
from somacast.cli.main import main
from somacast.errors import SomacastError
from somacast.formats.meshes import load_mesh
from somacast.network.transport.memory import MemoryNetwork
from somacast.pipeline.live.outputs import VmcOutput
from somacast.pipeline.live.recording import FileOutput
from somacast.pipeline.live.sender import LiveConfig
from somacast.pipeline.live.sessions import ReceiveSession, SendOptions, SendSession
from somacast.pipeline.sources import SourceOptions, open_source
from somacast.systems import registry
from somacast.viewer.output import ViewerOutput

DOCS = Path(__file__).parents[3] / "docs"


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    pixels = np.zeros((96, 64, 3), np.uint8)
    pixels[:48], pixels[48:] = (200, 30, 30), (20, 40, 220)
    path = tmp_path / "person.png"
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def still(picture: Path, tmp_path: Path) -> Path:
    path = tmp_path / "person.soma"
    assert main(["encode", str(picture), "--system", "box", "-o", str(path), "--height-m", "1.8"]) == 0
    return path


@pytest.fixture
def walk(tmp_path: Path) -> Path:
    pytest.importorskip("av")
    path = tmp_path / "walk.soma"
    assert main(["encode", "synthetic:walking", "--system", "box", "-o", str(path), "--seconds", "0.5"]) == 0
    return path


def test_it_is_found_and_named():
    assert "box" in registry.names() and registry.get("box").spec.title == "Box"
    assert registry.get("box:grey").config.grey
    with pytest.raises(SomacastError, match="box has no variant 'blue'; expected one of grey"):
        registry.get("box:blue")
    with pytest.raises(SomacastError, match=r"system 'bix': expected one of .*box"):
        registry.get("bix")


def test_a_picture_there_and_back(still: Path, tmp_path: Path, capsys):
    assert main(["info", str(still), "--json"]) == 0
    inside = json.loads(capsys.readouterr().out.partition("{")[1] and _json_of(still))
    assert inside["header"]["system"] == "box" and inside["header"]["height_cm"] == 180
    assert [layer["bytes"] for layer in inside["layers"]] == [4, 6]
    for suffix in (".glb", ".ply", ".obj"):
        out = tmp_path / f"person{suffix}"
        assert main(["decode", str(still), "-o", str(out), "--preview", str(tmp_path / "p.png")]) == 0
        mesh = load_mesh(out)
        assert np.ptp(mesh.vertices[:, 1]) == pytest.approx(1.8, abs=0.01) and len(mesh.faces) == 12
    upper = mesh.colors[mesh.vertices[:, 1] > mesh.vertices[:, 1].mean()].mean(0)
    assert upper[0] > 2 * upper[2]
    assert main(["decode", str(still), "-o", str(tmp_path / "p.bvh")]) == 2
    assert "box have no joints" in capsys.readouterr().err


def _json_of(path: Path) -> str:
    from somacast.pipeline.still.inspect import describe

    return json.dumps(describe(path.read_bytes()))


def test_a_budget_leaves_out_layers_and_every_cut_decodes(picture: Path, still: Path, tmp_path: Path, capsys):
    small = somacast.encode(picture, system="box", budget_bytes=25)
    assert len(container.unpack(small)[0].layers) == 1 and somacast.decode(small).mesh is not None
    data = still.read_bytes()
    assert somacast.decode(data[:-3]).mesh is not None
    assert main(["encode", str(picture), "--system", "box", "-o", str(tmp_path / "a.soma"), "--budget-bytes", "5"]) == 2
    assert "budget of 5 bytes is too small" in capsys.readouterr().err and not (tmp_path / "a.soma").exists()
    foreign = bytearray(data)
    foreign[4:7] = b"bux"
    with pytest.raises(SomacastError):
        somacast.decode(bytes(foreign))


def test_layers_that_no_encoder_makes_are_described_in_a_note(still: Path, capsys):
    whole = container.unpack(still.read_bytes())[0]
    still.write_bytes(container.pack(type(whole)("box", b"box", [b"ab"])))
    assert main(["info", str(still)]) == 0 and "cannot read these layers" in capsys.readouterr().err
    assert main(["decode", str(still), "-o", str(still.with_suffix(".glb"))]) == 2


def test_variants_share_the_file_and_not_the_look(picture: Path):
    from somacast.pipeline.still.receiver import Receiver

    data = somacast.encode(picture, system="box:grey")
    assert data == somacast.encode(picture, system="box")
    grey = Receiver(variants={"box": "box:grey"}).decode(data).mesh().colors
    assert grey is not None and np.ptp(grey) == 0 and np.ptp(somacast.decode(data).mesh.colors) > 0.3


def test_demo_and_train(picture: Path, tmp_path: Path, capsys):
    assert main(["demo", "--image", str(picture), "--out", str(tmp_path / "demo"), "--system", "box"]) == 0
    assert {"person.soma", "person.glb", "contact_sheet.png"} <= {p.name for p in (tmp_path / "demo").iterdir()}
    assert main(["train", "box", "--out", str(tmp_path / "trained")]) == 0
    assert (tmp_path / "trained" / "box.txt").exists()
    assert main(["train", "box", "nonsense"]) == 2


def test_evaluate_and_bench(tmp_path: Path):
    out = tmp_path / "box.json"
    assert main(["evaluate", "--system", "box", "--data", "synthetic-test", "--people", "1", "--json", str(out)]) == 0
    result = json.loads(out.read_text())
    assert len(result["rows"]) == 1 and result["rows"][0]["bytes"] == 28
    found = result["results"]
    assert "mpjpe_m" not in {**result["rows"][0], **found["total"]}, "no joints, no figures of joints"
    assert found["controls"]["mannequin"]["total"]["mpjpe_m"] > 0.05 and "input_iou" in found["total"]


def test_a_video_in_every_form_it_can_have(walk: Path, tmp_path: Path, capsys):
    for name in ("walk.mp4", "walk.ply"):
        assert main(["decode", str(walk), "-o", str(tmp_path / name)]) == 0
        assert (tmp_path / name).stat().st_size > 300
    for name in ("walk.glb", "walk.bvh"):
        assert main(["decode", str(walk), "-o", str(tmp_path / name)]) == 2
        assert "box have no joints" in capsys.readouterr().err


def test_live_into_a_file_and_the_viewers_feed(tmp_path: Path):
    system, network = registry.get("box"), MemoryNetwork()
    sending, receiving = network.sender(), network.receiver("me")
    shown, kept = ViewerOutput("box"), FileOutput(tmp_path / "kept.soma", system)
    session = ReceiveSession(receiving, system, system.decoder(), [shown, kept])
    stop = threading.Event()
    running = threading.Thread(target=session.run, args=(stop,), daemon=True)
    running.start()
    source = open_source("synthetic:walking", SourceOptions(seconds=1.5, size_px=96))
    options = SendOptions(LiveConfig(batch_s=0.05, adapt=False))
    SendSession(source, sending, system, system.tracker(), options, 1).run(threading.Event())
    deadline = time.monotonic() + 10
    while kept.frames < 10 and time.monotonic() < deadline:
        time.sleep(0.05)
    stop.set()
    running.join(10)
    assert not session.faults and session.receiver.person is not None and session.receiver.missing() == {}
    assert {"person", "pose"} <= set(shown.feed._latest) and shown.snapshot()[:4] == b"glTF"
    assert "frames" in kept.finish()
    assert main(["info", str(tmp_path / "kept.soma")]) == 0


def test_what_wants_joints_says_so(tmp_path: Path):
    system = registry.get("box")
    with pytest.raises(SomacastError, match="box has no rig"):
        FileOutput(tmp_path / "kept.glb", system)
    with pytest.raises(SomacastError, match="box has no rig"):
        VmcOutput("127.0.0.1", 39539, system)


def test_send_receive_and_view_as_commands(walk: Path, tmp_path: Path):
    pytest.importorskip("starlette")
    command = [sys.executable, "-u", "-m", "somacast.cli.main"]
    kept = tmp_path / "kept.soma"
    send = subprocess.run(
        [*command, "send", "synthetic:walking", "--system", "box", "--to", str(kept), "--seconds", "0.5"],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert send.returncode == 0, send.stderr
    receive = subprocess.run(
        [*command, "receive", "--system", "box", "--connect", str(kept), "--record", str(tmp_path / "again.soma")],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert receive.returncode == 0 and (tmp_path / "again.soma").exists(), receive.stderr
    view = subprocess.run(
        [*command, "view", str(walk), "--seconds", "0.5"], capture_output=True, text=True, timeout=120
    )
    assert view.returncode == 0 and "open http" in view.stderr, view.stderr


def test_the_page_about_it_shows_it_as_it_is():
    page = (DOCS / "adding_a_system.md").read_text()
    here = Path(__file__).parent
    source = (here / "box_system" / "spec.py").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.S)
    assert blocks and all(block.strip() in source for block in blocks)
    assert (here / "box_system-1.0.dist-info" / "entry_points.txt").read_text().strip() in page
