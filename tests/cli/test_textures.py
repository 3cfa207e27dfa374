"""`--texture` and `--texture-format`: down to the decoder, into every form that holds a texture, one line elsewhere."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from somacast.bitstream.container import pack
from somacast.cli import decode as verb
from somacast.cli import main as cli
from somacast.errors import SomacastError
from somacast.formats.gltf_scene import GltfScene
from somacast.formats.meshes import load_mesh
from somacast.geometry.reconstruction import Reconstruction
from somacast.pipeline.still.receiver import Receiver, ReceiverResult
from somacast.systems import registry
from somacast.types import Payload
from support.texture_cases import body_texture, smooth_picture, textured_rig


class Painter:
    """A receiver whose people have textures of the side that is asked for."""

    def __init__(self, device: str = "cpu", texture_px: int | None = None):
        self.side_px = texture_px or 1024

    def decode(self, data: bytes) -> ReceiverResult:
        rig = textured_rig()
        mesh = replace(rig.mesh, texture=body_texture(smooth_picture(self.side_px)))
        human = Reconstruction(mesh, None, rig.joints, rig.rotations, np.array([0.1, 0.2, 3.0]))
        return ReceiverResult(human, [], {}, Payload("aflsc", b"abc", [data]))

    def rig(self, result: ReceiverResult):
        return replace(textured_rig(), mesh=result.mesh()), []


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(verb, "_receiver", Painter)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "me.soma").write_bytes(pack(Payload("aflsc", b"abc", [b"x"])))
    return tmp_path


def run(*words: str) -> int:
    return cli.main(["decode", "me.soma", *words])


def texture_of(path: Path) -> np.ndarray:
    found = GltfScene(path).mesh() if path.suffix == ".vrm" else load_mesh(path)
    assert found.texture is not None
    return found.texture.image


@pytest.mark.parametrize("words", [[], ["--texture", "512"], ["--texture", "2048", "--texture-format", "png"]])
@pytest.mark.parametrize("name", ["a.glb", "a.obj", "a.vrm", "r.glb"])
def test_every_form_has_the_texture_that_was_asked_for(folder, capsys, name, words):
    assert run("-o", name, *words, *(["--rig"] if name == "r.glb" else [])) == 0
    side = int(words[1]) if words else 1024
    image = texture_of(folder / name)
    assert image.shape == (side, side, 3)
    exact = np.abs(image.astype(int) - smooth_picture(side)).max() == 0
    assert exact == ("png" in words)
    assert f"texture of {side} x {side}" in capsys.readouterr().err


def test_a_ply_has_colours_and_a_bvh_has_neither(folder, capsys):
    assert run("-o", "a.ply", "--texture", "512") == 0
    assert load_mesh("a.ply").texture is None and np.ptp(load_mesh("a.ply").colors) > 0.5
    capsys.readouterr()
    for words, line in [
        (["-o", "a.bvh", "--texture", "512"], "a.bvh: --texture 512 is for files with a surface; .bvh has none"),
        (["-o", "b.ply", "--texture-format", "png"], "b.ply: --texture-format png is for those that hold a picture"),
        (["-o", "b.mp4", "--texture-format", "jpeg"], "b.mp4: --texture-format jpeg is for those that hold a picture"),
        (["-o", "b.glb", "--texture", "700"], "--texture 700: expected one of 512, 1024, 2048 (see"),
        (["-o", "b.glb", "--texture", "-1"], "--texture -1: expected one of 512, 1024, 2048 (see"),
        (["-o", "b.glb", "--texture", str(10**30)], "expected one of 512, 1024, 2048 (see"),
        (["-o", "b.glb", "--texture", "1024.0"], "--texture 1024.0: expected one of 512, 1024, 2048 (see"),
        (["-o", "b.glb", "--texture-format", "gif"], "--texture-format gif: expected one of jpeg, png (see"),
    ]:
        assert run(*words) == 2
        captured = capsys.readouterr()
        assert line in captured.err and len(captured.err.splitlines()) == 1
    assert sorted(p.name for p in folder.iterdir()) == ["a.ply", "me.soma"]


def test_the_photograph_beside_an_obj_stays(folder, capsys):
    """me.jpg became me.soma, and that me.obj: the picture of the texture must not be called me.jpg."""
    (folder / "me.jpg").write_bytes(b"the photograph")
    assert run("-o", "me.obj") == 0
    assert (folder / "me.jpg").read_bytes() == b"the photograph" and (folder / "me_texture.jpg").stat().st_size > 1000
    (folder / "b.mtl").mkdir()
    (folder / "c_texture.png").symlink_to("me.soma")
    (folder / "d_texture.jpg").symlink_to("me.soma")
    for words, line in [
        (["-o", "b.obj"], "b.mtl: expected a file name, got a folder"),
        (["-o", "c.obj", "--texture-format", "png"], "c_texture.png: is another name of me.soma, which is read"),
        (
            ["-o", "e.obj", "--texture-format", "png", "--preview", "e_texture.png"],
            "e_texture.png: is to be written twice",
        ),
    ]:
        assert run(*words) == 2
        assert line in capsys.readouterr().err
    before = (folder / "me.soma").read_bytes()
    assert run("-o", "c.obj") == 0  # another name for the picture
    assert run("-o", "d.glb") == 0
    assert run("-o", "d.obj") == 2 and (folder / "me.soma").read_bytes() == before


def test_an_obj_on_a_stream_has_colours_at_its_vertices(folder):
    """Nothing can lie beside it there. In a process of its own, whose standard output is a pipe."""
    script = (
        "import sys; sys.path[:0] = sys.argv[1:3]; from cli.test_textures import Painter\n"
        "from somacast.cli import decode, main; decode._receiver = Painter\n"
        "sys.exit(main.main(['decode', 'me.soma', '-o', '-', '--format', 'obj']))"
    )
    tests = Path(__file__).parents[1]
    command = [sys.executable, "-c", script, str(tests), str(tests.parent / "src")]
    ran = subprocess.run(command, capture_output=True, check=True, env=os.environ | {"PYTHONPATH": str(tests)})
    assert b"standard output takes one file" in ran.stderr and b"mtllib" not in ran.stdout
    (folder / "out.obj").write_bytes(ran.stdout)
    mesh = load_mesh(folder / "out.obj")
    assert mesh.texture is None and mesh.colors is not None and np.ptp(mesh.colors) > 0.5
    assert sorted(p.name for p in folder.iterdir()) == ["me.soma", "out.obj"]


def test_several_people_share_one_obj(folder, capsys):
    (folder / "you.soma").write_bytes((folder / "me.soma").read_bytes())
    assert cli.main(["decode", "me.soma", "you.soma", "-o", "party.obj", "--texture", "512"]) == 0
    assert texture_of(folder / "party.obj").shape == (512, 1024, 3)
    assert cli.main(["decode", "me.soma", "you.soma", "-o", "party.glb", "--texture", "512"]) == 0
    assert texture_of(folder / "party.glb").shape == (512, 1024, 3)


def test_the_size_goes_down_to_the_decoder():
    system = registry.get("aflsc")
    assert system.textured(None) is system and system.textured(2048).config.decoder.texture_px == 2048
    assert system.textured(512).config.encoder == system.config.encoder
    with pytest.raises(SomacastError, match="512, 1024, 2048"):
        system.textured(700)
    with pytest.raises(SomacastError, match="system webp: its people have no texture; expected none of 512 texels"):
        registry.get("webp").textured(512)
    loaded = Receiver(texture_px=512).load("aflsc")
    assert loaded.config.texture_px == 512 and Receiver().load("aflsc").config.texture_px == 1024


def test_a_mesh_has_a_texture_of_its_own(folder, capsys):
    assert run("-o", "a.glb") == 0
    capsys.readouterr()
    assert cli.main(["view", "a.glb", "--texture", "512"]) == 2
    assert "a.glb: --texture 512 is for people who are decoded; a mesh has its own" in capsys.readouterr().err


def test_the_preview_is_drawn_from_the_texture(folder):
    assert run("-o", "a.glb", "--preview", "a.png") == 0
    picture = np.asarray(Image.open(io.BytesIO((folder / "a.png").read_bytes()))).astype(int)
    assert (np.ptp(picture, axis=2) > 60).mean() > 0.05  # the mesh itself has no colours
