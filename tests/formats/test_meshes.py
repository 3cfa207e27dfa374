"""Files: whole or not at all, and meshes that come back as they went."""

import errno
import json
import os
import struct

import numpy as np
import pytest
import trimesh
from PIL import Image

from somacast import files
from somacast.errors import SomacastError
from somacast.files import check_output_path, write_atomically
from somacast.formats.gltf_writer import encode_glb
from somacast.formats.meshes import WRITERS, load_mesh, save_mesh
from somacast.geometry.rasteriser import srgb_to_linear
from somacast.types import Mesh


@pytest.fixture
def ball() -> Mesh:
    shape = trimesh.creation.icosphere(3, 0.5)
    colors = np.random.default_rng(0).integers(0, 256, (len(shape.vertices), 3)) / 255
    return Mesh(np.array(shape.vertices, np.float32), np.array(shape.faces, np.int32), colors.astype(np.float32))


@pytest.mark.parametrize("suffix", [*WRITERS, ".GLB"])
def test_mesh_comes_back(ball, tmp_path, suffix):
    path = tmp_path / f"person{suffix}"
    assert save_mesh(ball, path) == path.stat().st_size
    again = load_mesh(path)
    assert again.vertices.dtype == np.float32 and again.faces.dtype == np.int32 and again.colors is not None
    np.testing.assert_allclose(again.vertices, ball.vertices, atol=1e-6)
    np.testing.assert_array_equal(again.faces, ball.faces)
    np.testing.assert_array_equal(np.round(again.colors * 255), np.round(ball.colors * 255))
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("suffix", list(WRITERS))
def test_other_programs_can_read_it(ball, tmp_path, suffix):
    path = tmp_path / f"person{suffix}"
    save_mesh(ball, path)
    shape = trimesh.load(path, force="mesh", process=False)
    assert shape.is_watertight and shape.volume == pytest.approx(4 / 3 * np.pi * 0.125, rel=0.03)  # outwards
    if suffix != ".glb":  # trimesh drops the vertex colours of what has a material
        assert shape.visual.kind == "vertex"
        np.testing.assert_allclose(shape.visual.vertex_colors[:, :3] / 255, ball.colors, atol=0.51 / 255)


def test_glb_is_laid_out_as_gltf_demands(ball):
    data = encode_glb(ball)
    magic, version, size, length, kind = struct.unpack_from("<4sIIII", data)
    assert (magic, version, size, kind) == (b"glTF", 2, len(data), 0x4E4F534A) and length % 4 == 0
    document = json.loads(data[20 : 20 + length])
    binary_length, binary_kind = struct.unpack_from("<II", data, 20 + length)
    assert binary_kind == 0x004E4942 and binary_length % 4 == 0 and 20 + length + 8 + binary_length == len(data)
    assert document["buffers"][0]["byteLength"] == binary_length
    end = 0
    for view in document["bufferViews"]:
        assert view["byteOffset"] == end and end % 4 == 0
        end += view["byteLength"]
    assert end == binary_length
    position = document["accessors"][0]
    np.testing.assert_allclose([position["min"], position["max"]], [ball.vertices.min(0), ball.vertices.max(0)])
    colors = document["meshes"][0]["primitives"][0]["attributes"]["COLOR_0"]
    view = document["bufferViews"][document["accessors"][colors]["bufferView"]]
    stored = np.frombuffer(data, "<f4", 3 * len(ball.vertices), 28 + length + view["byteOffset"]).reshape(-1, 3)
    np.testing.assert_allclose(stored, srgb_to_linear(ball.colors), atol=1e-6)  # the glTF rule


def test_glb_with_a_material_keeps_its_colours(ball, tmp_path):
    """As Blender writes it: colours beside a material, and not by our own reader."""
    path = tmp_path / "foreign.glb"
    path.write_bytes(encode_glb(ball).replace(b'"Somacast"', b'"Blender "'))
    np.testing.assert_allclose(load_mesh(path).colors, ball.colors, atol=1e-5)


def test_glb_of_trimesh_is_read_by_its_own_rule(ball, tmp_path):
    path = tmp_path / "theirs.glb"
    bytes_ = np.round(ball.colors * 255).astype(np.uint8)
    trimesh.Trimesh(ball.vertices, ball.faces, vertex_colors=bytes_, process=False).export(path)
    np.testing.assert_allclose(load_mesh(path).colors, ball.colors, atol=1e-6)


def test_mesh_without_colours_becomes_grey(ball, tmp_path):
    ball.colors = None
    save_mesh(ball, tmp_path / "a.ply")
    colors = load_mesh(tmp_path / "a.ply").colors
    assert colors is not None and len(np.unique(colors)) == 1


def test_scene_of_moved_and_mirrored_parts(tmp_path):
    box = trimesh.creation.box((1, 1, 1))
    box.visual.vertex_colors = np.tile([255, 0, 0, 255], (8, 1)).astype(np.uint8)
    scene = trimesh.Scene()
    aside = trimesh.transformations.translation_matrix([2, 0, 0])
    scene.add_geometry(box, node_name="a", geom_name="box", transform=aside)
    scene.graph.update(frame_to="b", matrix=np.diag([-1.0, 2, 1, 1]), geometry="box")
    scene.export(tmp_path / "scene.glb")
    mesh = load_mesh(tmp_path / "scene.glb")
    assert len(mesh.faces) == 24
    np.testing.assert_allclose([mesh.vertices.min(0), mesh.vertices.max(0)], [[-0.5, -1, -0.5], [2.5, 1, 0.5]])
    assert trimesh.Trimesh(mesh.vertices, mesh.faces).volume == pytest.approx(3.0)  # both parts with the outside out
    np.testing.assert_allclose(mesh.colors, np.tile([1, 0, 0], (16, 1)))


def test_textured_obj_gets_colours_from_its_picture(tmp_path):
    """The layout of THuman2.0: NNNN.obj with an mtl and a JPEG or PNG picture."""
    picture = np.zeros((8, 8, 3), np.uint8)
    picture[:4, :4], picture[:4, 4:] = (250, 0, 0), (0, 250, 0)
    picture[4:, :4], picture[4:, 4:] = (0, 0, 250), (250, 250, 250)
    Image.fromarray(picture).save(tmp_path / "material0.png")
    (tmp_path / "material0.mtl").write_text("newmtl m\nKd 0.2 0.2 0.2\nmap_Kd material0.png\n")
    (tmp_path / "0001.obj").write_text(
        "mtllib material0.mtl\nusemtl m\n"
        "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0.1 0.1\nvt 0.9 0.1\nvt 0.9 0.9\nvt 0.1 0.9\n"
        "f 1/1 2/2 3/3\nf 1/1 3/3 4/4\n"
    )
    mesh = load_mesh(tmp_path / "0001.obj")
    assert len(mesh.faces) == 2 and mesh.colors is not None
    expected = {(0, 0): (0, 0, 250), (1, 0): (250, 250, 250), (1, 1): (0, 250, 0), (0, 1): (250, 0, 0)}
    for vertex, color in zip(mesh.vertices, mesh.colors, strict=True):
        np.testing.assert_allclose(color * 255, expected[tuple(np.rint(vertex[:2]).astype(int).tolist())], atol=1)


def test_textured_glb_gets_colours_from_its_picture(tmp_path):
    picture = np.zeros((4, 4, 3), np.uint8)
    picture[:2], picture[2:] = (200, 100, 50), (10, 20, 30)
    uv = np.array([[0.5, 0.1], [0.9, 0.1], [0.5, 0.9]])  # v up
    material = trimesh.visual.material.PBRMaterial(baseColorTexture=Image.fromarray(picture))
    shape = trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, 2]], process=False)
    shape.visual = trimesh.visual.TextureVisuals(uv=uv, material=material)
    shape.export(tmp_path / "textured.glb")
    colors = load_mesh(tmp_path / "textured.glb").colors
    np.testing.assert_allclose(colors * 255, [[10, 20, 30], [10, 20, 30], [200, 100, 50]], atol=1)


def test_wrong_names_and_damaged_files_give_one_line(ball, tmp_path):
    for path in ("a.fbx", "a"):
        with pytest.raises(SomacastError, match=r"expected one of \.glb, \.ply, \.obj, got"):
            save_mesh(ball, tmp_path / path)
    with pytest.raises(SomacastError, match=r"expected one of \.glb"):
        load_mesh(tmp_path / "a.txt")
    with pytest.raises(SomacastError, match="cannot be read"):
        load_mesh(tmp_path / "missing.glb")
    with pytest.raises(SomacastError, match="finite triangles"):
        save_mesh(Mesh(ball.vertices, ball.faces[:0]), tmp_path / "empty.glb")
    data = encode_glb(ball)
    broken = [(".glb", data[: len(data) // 2]), (".glb", b""), (".glb", b"glTF"), (".ply", b"ply\nnonsense")]
    broken += [(".obj", b"v 0 0 0\n"), (".obj", b"\xff\xfe\x00"), (".gltf", b"{}")]
    for suffix, content in broken:
        path = tmp_path / f"broken{suffix}"
        path.write_bytes(content)
        with pytest.raises(SomacastError) as caught:
            load_mesh(path)
        assert "\n" not in str(caught.value)
        path.unlink()
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("cut", range(0, 2000, 97))
def test_cut_glb_is_refused(ball, tmp_path, cut):
    data = encode_glb(ball)
    (tmp_path / "cut.glb").write_bytes(data[: len(data) - 1 - cut])
    with pytest.raises(SomacastError):
        load_mesh(tmp_path / "cut.glb")


def test_write_replaces_and_keeps_ordinary_rights(tmp_path):
    target = tmp_path / "out.bin"
    write_atomically(target, b"one")
    write_atomically(str(target), b"two")
    assert target.read_bytes() == b"two" and os.listdir(tmp_path) == ["out.bin"]
    (tmp_path / "plain").write_bytes(b"")
    assert target.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_missing_folder_and_folder_as_target(tmp_path):
    with pytest.raises(SomacastError, match=r"folder .* does not exist"):
        write_atomically(tmp_path / "no" / "out.bin", b"x")
    with pytest.raises(SomacastError, match="got a folder"):
        check_output_path(tmp_path)
    with pytest.raises(SomacastError, match="cannot be written"):
        write_atomically(tmp_path / ("x" * 300), b"x")
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
@pytest.mark.parametrize("code, words", [(errno.ENOSPC, "disk is full"), (errno.EIO, "cannot be written")])
def test_failure_at_any_step_leaves_the_old_file(tmp_path, monkeypatch, step, code, words):
    target = tmp_path / "out.bin"
    target.write_bytes(b"old")
    real_write, calls = os.write, []

    def fail(*arguments):
        calls.append(arguments)
        if step == "write" and len(calls) == 1:
            return real_write(arguments[0], bytes(arguments[1])[:2])  # half of it gets through
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(files.os, step, fail)
    with pytest.raises(SomacastError, match=words):
        write_atomically(target, b"new content")
    monkeypatch.undo()
    assert calls and target.read_bytes() == b"old" and os.listdir(tmp_path) == ["out.bin"]


def test_interruption_leaves_nothing(tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "fsync", stop)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "out.bin", b"x")
    assert not os.listdir(tmp_path)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs the /dev/full device of Linux")
def test_a_really_full_device_is_told_and_not_replaced():
    with pytest.raises(SomacastError, match="disk is full"):
        write_atomically("/dev/full", b"x")
    assert not os.path.isfile("/dev/full")
