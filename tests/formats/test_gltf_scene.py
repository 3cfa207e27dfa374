"""glTF people: skins, animations, morph targets, textures and transparency, on files made here."""

import base64
import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from somacast.errors import SomacastError
from somacast.formats.gltf_scene import GltfScene
from somacast.formats.meshes import load_mesh
from somacast.geometry.subdivision import refine
from somacast.synthetic.datasets import loaders
from somacast.types import Mesh

HALF = float(np.sqrt(0.5))


class Writer:
    """The least that writes a GLB: arrays become accessors, one after the other."""

    def __init__(self) -> None:
        self.data, self.views, self.accessors = b"", [], []

    def blob(self, data: bytes) -> int:
        self.views.append({"buffer": 0, "byteOffset": len(self.data), "byteLength": len(data)})
        self.data += data + b"\0" * (-len(data) % 4)
        return len(self.views) - 1

    def add(self, values, kind: str, dtype: str = "<f4", **more) -> int:
        array = np.asarray(values, dtype)
        code = {"<f4": 5126, "<u2": 5123, "<u1": 5121}[dtype]
        count = array.size // {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}[kind]
        view = self.blob(array.tobytes())
        self.accessors.append({"bufferView": view, "componentType": code, "count": count, "type": kind, **more})
        return len(self.accessors) - 1

    def document(self, **parts) -> dict:
        return {"asset": {"version": "2.0"}, "bufferViews": self.views, "accessors": self.accessors, **parts}

    def glb(self, path: Path, **parts) -> Path:
        text = json.dumps(self.document(buffers=[{"byteLength": len(self.data)}], **parts)).encode()
        text += b" " * (-len(text) % 4)
        head = struct.pack("<4sII", b"glTF", 2, 28 + len(text) + len(self.data))
        parts_of = [head, struct.pack("<II", len(text), 0x4E4F534A), text]
        path.write_bytes(b"".join([*parts_of, struct.pack("<II", len(self.data), 0x004E4942), self.data]))
        return path


def png(pixels) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.asarray(pixels, np.uint8)).save(out, "png")
    return out.getvalue()


def arm(writer: Writer) -> dict:
    """An upright strip of two metres: the lower half hangs on a joint at the floor, the upper on one at 1 m, which an
    animation of two seconds turns by 90 degrees around z."""
    points = [[x, y, 0] for y in (0, 0.5, 1.5, 2) for x in (-0.1, 0.1)]
    faces = [[0, 1, 2], [1, 3, 2], [2, 3, 4], [3, 5, 4], [4, 5, 6], [5, 7, 6]]
    inverse = np.tile(np.eye(4), (2, 1, 1))
    inverse[1, 1, 3] = -1
    attributes = {
        "POSITION": writer.add(points, "VEC3"),
        "JOINTS_0": writer.add([[0, 1, 0, 0]] * 8, "VEC4", "<u1"),
        "WEIGHTS_0": writer.add([[255, 0, 0, 0]] * 4 + [[0, 255, 0, 0]] * 4, "VEC4", "<u1", normalized=True),
    }
    indices = writer.add(np.ravel(faces), "SCALAR", "<u2")
    skin = {"joints": [1, 2], "inverseBindMatrices": writer.add(inverse.transpose(0, 2, 1), "MAT4")}
    times = writer.add([0, 2], "SCALAR")
    rotations = writer.add([[0, 0, 0, 1], [0, 0, -HALF, -HALF]], "VEC4")  # the long way round, unless one takes care
    return {
        "scene": 0,
        "scenes": [{"nodes": [0, 1]}],
        # the skinned node's own place does not count
        "nodes": [
            {"mesh": 0, "skin": 0, "translation": [9, 9, 9]},
            {"children": [2]},
            {"translation": [0, 1, 0]},
        ],
        "meshes": [{"primitives": [{"attributes": attributes, "indices": indices}]}],
        "skins": [skin],
        "animations": [
            {
                "name": "bend",
                "samplers": [{"input": times, "output": rotations}],
                "channels": [{"sampler": 0, "target": {"node": 2, "path": "rotation"}}],
            }
        ],
    }


def test_joints_move_the_skin(tmp_path):
    writer = Writer()
    person = GltfScene(writer.glb(tmp_path / "arm.glb", **arm(writer)))
    assert person.animations == ["bend"]
    still = person.mesh().vertices
    np.testing.assert_allclose(still.min(0), [-0.1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(still.max(0), [0.1, 2, 0], atol=1e-6)
    bent = person.mesh(0, 1.0).vertices
    np.testing.assert_allclose(bent[:4], still[:4], atol=1e-6)
    np.testing.assert_allclose(bent[6], [-1, 0.9, 0], atol=1e-6)  # was (-0.1, 2, 0): up has become left
    half = person.mesh(0, 0.5).vertices[6]
    np.testing.assert_allclose(half, [-HALF - 0.1 * HALF, 1 + HALF - 0.1 * HALF, 0], atol=1e-5)


@pytest.mark.parametrize(("how", "keys", "expected"), [
    ("STEP", [[0, 0, 0], [4, 0, 0]], 0.0),
    ("LINEAR", [[0, 0, 0], [4, 0, 0]], 2.0),
    ("CUBICSPLINE", [[0, 0, 0], [0, 0, 0], [1, 0, 0], [1, 0, 0], [4, 0, 0], [0, 0, 0]], 2.0),
])  # fmt: skip
def test_interpolation(tmp_path, how, keys, expected):
    writer = Writer()
    parts = arm(writer)
    sampler = {"input": writer.add([0, 2], "SCALAR"), "output": writer.add(keys, "VEC3"), "interpolation": how}
    target = {"node": 1, "path": "translation"}
    parts["animations"] = [{"samplers": [sampler], "channels": [{"sampler": 0, "target": target}]}]
    person = GltfScene(writer.glb(tmp_path / "a.glb", **parts))
    moved = person.mesh(0, 0.5).vertices - person.mesh().vertices
    np.testing.assert_allclose(moved, np.tile([expected, 0, 0], (8, 1)), atol=1e-5)


def test_nodes_and_morph_targets(tmp_path):
    writer = Writer()
    points = [[0, 0, 0], [1, 0, 0], [0, 1, 0]]
    target = {"POSITION": writer.add([[0, 0, 2]] * 3, "VEC3")}
    primitive = {"attributes": {"POSITION": writer.add(points, "VEC3")}, "targets": [target]}
    nodes = [
        {"children": [1], "scale": [2, 2, -2], "rotation": [0, HALF, 0, HALF]},
        {"mesh": 0, "translation": [1, 0, 0], "weights": [0.5]},
    ]
    meshes = [{"primitives": [primitive], "weights": [0.0]}]
    mesh = GltfScene(writer.glb(tmp_path / "a.glb", nodes=nodes, meshes=meshes)).mesh()
    np.testing.assert_allclose(mesh.vertices, [[-2, 0, -2], [-2, 0, -4], [-2, 2, -2]], atol=1e-6)
    a, b, c = mesh.vertices[mesh.faces[0]]
    assert np.cross(b - a, c - a)[0] < 0  # the front was +z, which a mirroring scale and the turn bring to -x


def quad(writer: Writer, picture: bytes, **material) -> dict:
    """Two triangles, 1.6 m wide and high, with a picture over them; nothing beside it says where vertices should be."""
    points, uv = [[0, 0, 0], [1.6, 0, 0], [1.6, 1.6, 0], [0, 1.6, 0]], [[0, 1], [1, 1], [1, 0], [0, 0]]
    attributes = {"POSITION": writer.add(points, "VEC3"), "TEXCOORD_0": writer.add(uv, "VEC2")}
    indices = writer.add([0, 1, 2, 0, 2, 3], "SCALAR", "<u2")
    look = {"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}, **material}
    return {
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": attributes, "indices": indices, "material": 0}]}],
        "materials": [look],
        "textures": [{"source": 0}],
        "images": [{"bufferView": writer.blob(picture)}],
    }


def test_pictures_become_vertex_colours_finely_enough(tmp_path):
    stripes = np.zeros((16, 16, 3), np.uint8)
    stripes[:, ::2] = (200, 40, 20)
    stripes = stripes.repeat(8, 0).repeat(8, 1)
    writer = Writer()
    path = writer.glb(tmp_path / "a.glb", **quad(writer, png(stripes)))
    mesh = GltfScene(path).mesh()
    assert len(GltfScene(path).mesh(finest=0).faces) == 2
    x = mesh.vertices[:, 0] / 0.1  # a stripe is 10 cm
    clear = np.abs(x - np.round(x)) > 0.2
    lit = np.floor(x[clear]).astype(int) % 2 == 0
    np.testing.assert_allclose(mesh.colors[clear][lit], np.tile([200, 40, 20], (lit.sum(), 1)) / 255, atol=0.02)
    assert mesh.colors[clear][~lit].max() < 0.02
    assert clear.sum() > 5000
    # an OBJ with the same picture is refined alike
    (tmp_path / "q.obj").write_text(
        "mtllib q.mtl\nusemtl m\nv 0 0 0\nv 1.6 0 0\nv 1.6 1.6 0\nv 0 1.6 0\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"
        "f 1/1 2/2 3/3\nf 1/1 3/3 4/4\n"
    )
    (tmp_path / "q.mtl").write_text("newmtl m\nmap_Kd q.png\n")
    (tmp_path / "q.png").write_bytes(png(stripes))
    assert len(load_mesh(tmp_path / "q.obj").faces) == 2
    assert len(load_mesh(tmp_path / "q.obj", 1 / 150).faces) == len(mesh.faces)


def test_what_is_transparent_is_not_there(tmp_path):
    picture = np.full((32, 32, 4), 255, np.uint8)
    picture[16:, :, 3] = 0  # the lower half
    for mode, height in (("MASK", 0.8), ("BLEND", 0.8), ("OPAQUE", 1.6)):
        writer = Writer()
        mesh = GltfScene(writer.glb(tmp_path / "a.glb", **quad(writer, png(picture), alphaMode=mode))).mesh()
        assert np.ptp(mesh.vertices[:, 1]) == pytest.approx(height, abs=0.04)


def test_gltf_beside_its_buffers(tmp_path):
    writer = Writer()
    parts = arm(writer)
    uri = "data:application/octet-stream;base64," + base64.b64encode(writer.data).decode()
    for name, where in (("inside", uri), ("beside", "a%20b.bin"), ("outside", "../a.bin")):
        document = writer.document(buffers=[{"byteLength": len(writer.data), "uri": where}], **parts)
        (tmp_path / f"{name}.gltf").write_text(json.dumps(document))
    (tmp_path / "a b.bin").write_bytes(writer.data)
    inside, beside = (GltfScene(tmp_path / f"{name}.gltf").mesh(0, 1.0) for name in ("inside", "beside"))
    np.testing.assert_array_equal(inside.vertices, beside.vertices)
    with pytest.raises(SomacastError, match="leaves the folder"):
        GltfScene(tmp_path / "outside.gltf")


def test_faults_are_one_line(tmp_path):
    writer = Writer()
    whole = writer.glb(tmp_path / "a.glb", **arm(writer)).read_bytes()
    faults = [
        b"glTF",
        whole[:200],
        whole[: len(whole) - 300],
        b"{}",
        b"[1]",
        b'{"asset": {}, "nodes": [{"children": [0]}]}',
    ]
    for number, data in enumerate(faults):
        path = tmp_path / f"{number}.glb"
        path.write_bytes(data)
        with pytest.raises(SomacastError) as caught:
            GltfScene(path).mesh(0, 0.5)
        assert "\n" not in str(caught.value) and path.name in str(caught.value)
    writer = Writer()
    packed = writer.glb(tmp_path / "b.glb", extensionsRequired=["KHR_draco_mesh_compression"], **arm(writer))
    with pytest.raises(SomacastError, match="KHR_draco_mesh_compression"):
        GltfScene(packed)


def test_strips_and_fans(tmp_path):
    """A square of two triangles, listed, as a strip and as a fan: the same with the same side in front."""
    points = [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [-1, 1, 0]]
    for mode, order in ((4, [0, 1, 2, 0, 2, 3]), (5, [0, 1, 3, 2]), (6, [0, 1, 2, 3])):
        writer = Writer()
        primitive = {"attributes": {"POSITION": writer.add(points, "VEC3")}, "mode": mode}
        primitive["indices"] = writer.add(order, "SCALAR", "<u2")
        path = writer.glb(tmp_path / "a.glb", nodes=[{"mesh": 0}], meshes=[{"primitives": [primitive]}])
        mesh = load_mesh(path)
        a, b, c = mesh.vertices[mesh.faces].transpose(1, 0, 2)
        np.testing.assert_allclose(np.cross(b - a, c - a), [[0, 0, 1]] * 2)
        assert mesh.colors is None and len(mesh.vertices) == 5 and len(GltfScene(path).mesh().vertices) == 4


def test_as_stored_passes_over_skin_morph_and_transparency(tmp_path):
    writer = Writer()
    parts = arm(writer)
    path = writer.glb(tmp_path / "arm.glb", **parts)
    np.testing.assert_allclose(load_mesh(path).vertices.min(0), [8.9, 9, 9], atol=1e-6)  # its node's own place counts
    picture = np.full((32, 32, 4), 255, np.uint8)
    picture[16:, :, 3] = 0
    writer = Writer()
    clear = writer.glb(tmp_path / "a.glb", **quad(writer, png(picture), alphaMode="MASK"))
    assert len(load_mesh(clear).faces) == 2


def one_accessor(tmp_path, **accessor) -> Path:
    """A file whose positions are an accessor like that, over a buffer of 36 bytes."""
    writer = Writer()
    writer.add(np.eye(3), "VEC3")
    writer.accessors = [{"componentType": 5126, "type": "VEC3", "count": 3, **accessor}]
    writer.views[0]["byteStride"] = accessor.pop("stride", 12)
    primitive = {"attributes": {"POSITION": 0}}
    return writer.glb(tmp_path / "a.glb", nodes=[{"mesh": 0}], meshes=[{"primitives": [primitive]}])


@pytest.mark.parametrize(("accessor", "reason"), [
    ({"count": 10**12}, "too large"),
    ({"count": 10**8}, "too large"),  # nothing stored: it costs the file a few digits
    ({"count": 10**10, "bufferView": 0}, "too large"),
    ({"count": 10**7, "bufferView": 0, "stride": 0}, "rows of 12 bytes, but one every 0"),
    ({"count": 4, "bufferView": 0}, "cannot be read"),
    ({"count": -3, "bufferView": 0}, "too large"),
    ({"count": "3", "bufferView": 0}, "cannot be read"),
])  # fmt: skip
def test_counts_are_bounded(tmp_path, accessor, reason):
    assert len(load_mesh(one_accessor(tmp_path, bufferView=0)).faces) == 1
    path = one_accessor(tmp_path, **accessor)
    for read in (load_mesh, lambda p: GltfScene(p).mesh()):
        with pytest.raises(SomacastError, match=reason) as caught:
            read(path)
        assert "\n" not in str(caught.value)


def test_damaged_and_huge_pictures_are_one_line(tmp_path):
    whole = png(np.zeros((64, 64, 3)))
    size = struct.pack(">II", 60_000, 60_000)
    header = whole[12:16] + size + whole[24:29]
    huge = whole[:12] + header + struct.pack(">I", zlib.crc32(header)) + whole[33:]
    for picture in (whole[:60], b"no picture", huge):
        writer = Writer()
        path = writer.glb(tmp_path / "a.glb", **quad(writer, picture))
        with pytest.raises(SomacastError, match="picture of texture 0") as caught:
            load_mesh(path)
        assert "\n" not in str(caught.value)


def test_a_picture_without_coordinates_is_passed_over(tmp_path):
    writer = Writer()
    parts = quad(writer, png(np.zeros((8, 8, 3))))
    del parts["meshes"][0]["primitives"][0]["attributes"]["TEXCOORD_0"]
    np.testing.assert_allclose(load_mesh(writer.glb(tmp_path / "a.glb", **parts)).colors, 1)


def test_refined_triangles_have_no_cracks():
    ball = trimesh.creation.icosphere(subdivisions=1)
    points, faces = refine(np.asarray(ball.vertices) * [1, 3, 0.5], ball.faces, 0.3)
    fine = trimesh.Trimesh(points, faces, process=False)
    assert fine.is_watertight and fine.edges_unique_length.max() <= 0.3
    assert fine.volume == pytest.approx(trimesh.Trimesh(ball.vertices * [1, 3, 0.5], ball.faces).volume, rel=1e-6)


def test_figures_are_seen_from_several_sides_in_several_poses(tmp_path):
    writer = Writer()
    writer.glb(tmp_path / "arm.glb", **arm(writer))
    shape = trimesh.creation.capsule(height=1.3, radius=0.2, count=[8, 8])
    shape.vertices = shape.vertices[:, [1, 2, 0]]
    shape.export(tmp_path / "still.glb")
    items = list(loaders.load_items(str(tmp_path), "meshes", seed=3))
    assert [i.name for i in items] == [f"{n}/{k:02d}" for n in ("arm", "still") for k in range(4)]
    assert loaders.count_items(str(tmp_path), "meshes", None) == 8
    assert loaders.count_items(str(tmp_path), "meshes", 1) == 4
    for item, around in zip(items, loaders.VIEW_YAWS_DEG * 2, strict=True):
        assert item.yaw_deg is not None and abs(abs(item.yaw_deg) - around) <= loaders.VIEW_STD_DEG
    heights = [np.ptp(item.truth.vertices[:, 1]) for item in items[:4]]
    assert min(heights[:2]) > heights[3] + 0.3  # it bends while it is seen from other sides
    again = next(iter(loaders.load_items(str(tmp_path), "meshes", seed=3)))
    np.testing.assert_array_equal(again.frame.image, items[0].frame.image)


def test_a_low_figure_of_gltf_is_not_stood_up():
    low = trimesh.creation.box(extents=[0.6, 0.6, 1.7])
    mesh = Mesh(np.asarray(low.vertices, np.float32), np.asarray(low.faces, np.int32))
    assert np.ptp(loaders.upright_metres(mesh, y_up=True).vertices[:, 1]) == pytest.approx(0.6)
    assert np.ptp(loaders.upright_metres(mesh).vertices[:, 1]) == pytest.approx(1.7)
