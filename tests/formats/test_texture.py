"""Textures in every form: colours within JPEG's error, one surface at the seams, sizes bounded, whole or not at all."""

import io
import os
from dataclasses import replace

import numpy as np
import pytest
import trimesh
from PIL import Image

from somacast import files
from somacast.errors import SomacastError
from somacast.formats import texture as textures
from somacast.formats.export import VrmTerms
from somacast.formats.gltf_scene import GltfScene
from somacast.formats.gltf_writer import encode_glb, encode_people_glb, encode_rigged_glb
from somacast.formats.meshes import load_mesh, save_mesh
from somacast.formats.people import joined
from somacast.formats.texture import dense_colors, encode_image, split_at_seams, texture_colors
from somacast.formats.vrm import encode_vrm
from somacast.types import Mesh, Texture
from support.format_cases import Glb
from support.rig_cases import bare_rig, motion
from support.texture_cases import body_texture, checkered_picture, smooth_picture, textured_rig, textured_square

JPEG_ERROR = 6 / 255  # of colours that run evenly


def picture_in(glb: Glb, number: int = 0) -> Image.Image:
    view = glb.document["bufferViews"][glb.document["images"][number]["bufferView"]]
    return Image.open(io.BytesIO(glb.binary[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]))


def seen(mesh: Mesh, faces: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Colours of a textured mesh at places in some of its triangles."""
    assert mesh.texture is not None
    return texture_colors(mesh.texture, np.einsum("fk,fkc->fc", weights, mesh.texture.corners[faces]))


# -- vertices at seams -------------------------------------------------------------------------------------------------


def test_vertices_stand_twice_only_where_their_places_differ():
    mesh = textured_square()
    split = split_at_seams(mesh)
    assert split.uv is not None and split.source[:4].tolist() == [0, 1, 2, 3]
    assert sorted(split.source[4:].tolist()) == [0, 2]  # the common edge
    np.testing.assert_array_equal(split.source[split.faces], mesh.faces)
    np.testing.assert_array_equal(split.uv[split.faces], mesh.texture.corners)
    whole = replace(mesh, texture=Texture(mesh.texture.image, mesh.vertices[mesh.faces][..., :2].copy()))
    assert len(split_at_seams(whole).source) == 4
    plain = split_at_seams(replace(mesh, texture=None))
    assert plain.uv is None and plain.source.tolist() == [0, 1, 2, 3]


def test_places_that_differ_by_a_rounding_are_one():
    mesh = textured_square()
    corners = mesh.vertices[mesh.faces][..., :2] * 0.5 + 0.25
    corners = (corners + np.random.default_rng(0).uniform(-1e-8, 1e-8, corners.shape)).astype(np.float32)
    assert len(split_at_seams(replace(mesh, texture=Texture(smooth_picture(), corners))).source) == 4


def test_the_surface_of_a_glb_is_one_at_the_seams():
    """Places, normals and skin of split vertices coincide, so that no seam shows in the shading or opens in a pose."""
    rig = textured_rig()
    glb = Glb(encode_rigged_glb(rig))
    (primitive,) = glb.document["meshes"][0]["primitives"]
    attributes = primitive["attributes"]
    assert "COLOR_0" not in attributes  # readers would multiply it with the texture
    values = {name: glb.array(number) for name, number in attributes.items()}
    count, source = len(rig.mesh.vertices), split_at_seams(rig.mesh).source
    assert count < len(source) < 1.2 * count
    np.testing.assert_array_equal(values["POSITION"], rig.mesh.vertices[source])
    for name in ("NORMAL", "JOINTS_0", "WEIGHTS_0"):
        np.testing.assert_array_equal(values[name][count:], values[name][source[count:]])
    plain = Glb(encode_rigged_glb(replace(rig, mesh=replace(rig.mesh, texture=None))))
    plain_attributes = plain.document["meshes"][0]["primitives"][0]["attributes"]
    np.testing.assert_array_equal(values["NORMAL"][:count], plain.array(plain_attributes["NORMAL"]))
    faces = glb.array(primitive["indices"]).reshape(-1, 3)
    np.testing.assert_array_equal(source[faces], rig.mesh.faces)
    np.testing.assert_allclose(values["TEXCOORD_0"][faces], rig.mesh.texture.corners, atol=2e-6)


@pytest.mark.parametrize("image", ["jpeg", "png"])
def test_the_picture_is_inside_and_the_material_matt(image):
    for data in (
        encode_glb(textured_rig().mesh, image=image),
        encode_rigged_glb(textured_rig(), motion(), image=image),
    ):
        glb = Glb(data)
        surface = glb.document["materials"][0]["pbrMetallicRoughness"]
        assert surface["metallicFactor"] == 0 and surface["roughnessFactor"] == 0.9
        texture = glb.document["textures"][surface["baseColorTexture"]["index"]]
        assert glb.document["images"][texture["source"]]["mimeType"] == f"image/{image}"
        assert glb.document["samplers"][texture["sampler"]]["minFilter"] == 9987  # smaller sizes, smoothly
        picture = picture_in(glb)
        assert picture.format == image.upper() and picture.size == (128, 128)
        error = np.abs(np.asarray(picture).astype(int) - smooth_picture().astype(int))
        assert error.max() <= (0 if image == "png" else 255 * JPEG_ERROR)


def test_avatars_wear_the_texture_of_the_person():
    for version in ("1.0", "0.x"):
        glb = Glb(encode_vrm(textured_rig(), "Jo", VrmTerms(version=version)))
        document = glb.document
        assert [i["mimeType"] for i in document["images"]] == ["image/jpeg", "image/png"]  # and a thumbnail
        assert picture_in(glb).size == (128, 128)
        assert document["materials"][0]["pbrMetallicRoughness"]["baseColorTexture"] == {"index": 0}
        assert document["samplers"][0]["minFilter"] == 9987
        attributes = document["meshes"][0]["primitives"][0]["attributes"]
        assert len(glb.array(attributes["POSITION"])) == len(split_at_seams(textured_rig().mesh).source)
    assert picture_in(Glb(encode_vrm(textured_rig(), "Jo", image="png"))).format == "PNG"


# -- there and back ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("image", ["jpeg", "png"])
@pytest.mark.parametrize("name", ["person.glb", "person.obj", "two words.obj"])
def test_what_is_written_comes_back_with_its_texture(tmp_path, name, image):
    mesh, path = textured_rig().mesh, tmp_path / name
    size = save_mesh(mesh, path, image)
    assert size == sum(p.stat().st_size for p in tmp_path.iterdir())
    again = load_mesh(path)
    assert again.texture is not None and again.texture.image.dtype == np.uint8
    np.testing.assert_array_equal(again.faces, mesh.faces)  # joined again at the seams
    np.testing.assert_allclose(again.vertices, mesh.vertices, atol=1e-6)
    rng = np.random.default_rng(0)
    faces, weights = rng.integers(0, len(mesh.faces), 2000), rng.dirichlet(np.ones(3), 2000)
    error = np.abs(seen(again, faces, weights) - seen(mesh, faces, weights))
    assert error.max() < (JPEG_ERROR if image == "jpeg" else 1e-3)
    source = split_at_seams(mesh).source
    inside = ~np.isin(mesh.faces[:, 0], source[len(mesh.vertices) :])
    at_vertices = texture_colors(mesh.texture, mesh.texture.corners[inside, 0])
    np.testing.assert_allclose(again.colors[mesh.faces[inside, 0]], at_vertices, atol=JPEG_ERROR)  # without texture


def test_animated_people_come_back_with_their_texture(tmp_path):
    rig, path = textured_rig(), tmp_path / "walk.glb"
    path.write_bytes(encode_rigged_glb(rig, motion()))
    for mesh in (GltfScene(path).mesh(0, 0.5), GltfScene(path).mesh()):
        assert mesh.texture is not None and len(mesh.faces) == len(rig.mesh.faces)
        assert len(mesh.vertices) == len(np.unique(rig.mesh.faces))


def test_trimesh_reads_the_texture_of_every_form(tmp_path):
    mesh = textured_rig().mesh
    for name in ("a.glb", "a.obj"):
        save_mesh(mesh, tmp_path / name, "png")
        shape = trimesh.load(tmp_path / name, force="mesh", process=False)
        material = shape.visual.material
        picture = getattr(material, "image", None) or material.baseColorTexture
        np.testing.assert_array_equal(np.asarray(picture.convert("RGB")), mesh.texture.image)
        corners = np.asarray(shape.visual.uv)[shape.faces] * [1, -1] + [0, 1]
        np.testing.assert_allclose(corners, mesh.texture.corners, atol=2e-6)
        assert shape.is_winding_consistent


def test_several_people_share_a_file(tmp_path):
    """A picture each in a .glb, side by side in an .obj; each keeps its own colours."""
    first = textured_rig().mesh
    second = replace(first, texture=replace(first.texture, image=255 - smooth_picture(64)))
    people = {"a": (first, np.zeros(3)), "b": (second, np.array([1.0, 0, 0]))}
    (tmp_path / "party.glb").write_bytes(encode_people_glb(people, image="png"))
    assert len(Glb((tmp_path / "party.glb").read_bytes()).document["images"]) == 2
    save_mesh(joined(people.values()), tmp_path / "party.obj", "png")
    rng = np.random.default_rng(1)
    faces, weights = rng.integers(0, len(first.faces), 500), rng.dirichlet(np.ones(3), 500)
    for name in ("party.glb", "party.obj"):
        both = load_mesh(tmp_path / name)
        assert both.texture is not None and both.texture.image.shape == (128, 256, 3)
        stands = [both.vertices[half].mean() for half in np.split(both.faces, 2)]
        assert abs(stands[0] - stands[1]) > 0.3  # a third of a metre, over three axes
        for number, mesh in zip(np.argsort(stands), (first, second), strict=True):
            found = seen(both, faces + number * len(first.faces), weights)
            np.testing.assert_allclose(found, seen(mesh, faces, weights), atol=0.06)
    crowd = [(first, np.zeros(3)), (replace(first, texture=None), np.zeros(3))]
    plain = joined(crowd)
    assert plain.texture is None and plain.colors is not None and np.ptp(plain.colors) > 0.3


def test_a_crowd_stays_in_bounds(monkeypatch):
    monkeypatch.setattr(textures, "MAX_SIDE_PX", 200)
    both = joined([(textured_rig().mesh, np.zeros(3))] * 5)
    assert both.texture is not None and max(both.texture.image.shape) <= 200


# -- colours at vertices -----------------------------------------------------------------------------------------------


def sheet(cells: int) -> Mesh:
    """A square of 2 x cells^2 triangles that lies in the picture as it stands."""
    x, y = np.meshgrid(np.arange(cells + 1), np.arange(cells + 1))
    vertices = np.stack([x, y, 0 * x], 2).reshape(-1, 3).astype(np.float32) / cells
    first = (np.arange(cells)[:, None] * (cells + 1) + np.arange(cells)).reshape(-1, 1)
    faces = np.concatenate([first + [0, 1, cells + 2], first + [0, cells + 2, cells + 1]]).astype(np.int32)
    return Mesh(vertices, faces, None, Texture(checkered_picture(200, 10), vertices[faces][..., :2] * 0.9 + 0.05))


def test_dense_colours_show_what_the_texture_shows():
    mesh = sheet(12)
    dense = dense_colors(mesh)
    assert dense.texture is None and dense.colors is not None and dense.colors.dtype == np.float32
    coarse = Mesh(mesh.vertices, mesh.faces, texture_colors(mesh.texture, mesh.vertices[:, :2] * 0.9 + 0.05))
    rng = np.random.default_rng(0)
    errors = []
    for shown in (dense, coarse):
        faces, weights = rng.integers(0, len(shown.faces), 3000), rng.dirichlet(np.ones(3), 3000)
        points = np.einsum("fk,fkc->fc", weights, shown.vertices[shown.faces[faces]])
        wanted = texture_colors(mesh.texture, points[:, :2] * 0.9 + 0.05)
        errors.append(np.abs(np.einsum("fk,fkc->fc", weights, shown.colors[shown.faces[faces]]) - wanted).mean())
    assert errors[0] < 0.015 < 0.1 < errors[1]


def test_dense_colours_split_only_where_the_picture_changes_and_leave_no_cracks():
    ball = trimesh.creation.icosphere(3, 0.5)
    vertices, faces = np.array(ball.vertices, np.float32), np.array(ball.faces, np.int32)
    around = np.arctan2(vertices[:, 0], vertices[:, 2])[faces] / (2 * np.pi) + 0.5
    around = np.where(np.ptp(around, axis=1, keepdims=True) > 0.5, around + (around < 0.5), around) / 1.2
    corners = np.stack([around, 0.5 - vertices[:, 1][faces]], 2).astype(np.float32)
    image = np.full((256, 256, 3), 90, np.uint8)
    image[100:110] = 220  # one stripe around the middle
    dense = dense_colors(Mesh(vertices, faces, None, Texture(image, corners)))
    shape = trimesh.Trimesh(dense.vertices, dense.faces, process=False)
    assert shape.is_watertight and len(faces) < len(dense.faces) < 20 * len(faces)
    far = np.abs(vertices[:, 1]) > 0.3
    same = (dense.vertices[: len(vertices)] == vertices).all()
    assert same and far.any() and (np.abs(dense.vertices[len(vertices) :, 1]) < 0.3).all()


def test_dense_colours_are_bounded(monkeypatch):
    mesh = replace(bare_rig(True).mesh, texture=body_texture(checkered_picture(1024, 256)))
    monkeypatch.setattr(textures, "MAX_DENSE_FACES", 60_000)
    assert len(mesh.faces) < len(dense_colors(mesh).faces) <= 60_000
    monkeypatch.setattr(textures, "MAX_DENSE_FACES", 1000)
    assert len(dense_colors(mesh).faces) == len(mesh.faces)
    plain = bare_rig(True).mesh
    assert dense_colors(plain) is plain


# -- what does not fit, and what breaks --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "corners", "words"),
    [
        (np.zeros((4, 4, 3), np.float32), np.zeros((2, 3, 2)), r"expected an image \[H, W, 3\] uint8"),
        (np.zeros((4, 4, 4), np.uint8), np.zeros((2, 3, 2)), r"expected an image \[H, W, 3\] uint8"),
        (np.zeros((0, 4, 3), np.uint8), np.zeros((2, 3, 2)), r"expected an image \[H, W, 3\] uint8"),
        (np.zeros((1, 8193, 3), np.uint8), np.zeros((2, 3, 2)), "at most 8192 texels a side, got 8193"),
        (np.zeros((4, 4, 3), np.uint8), np.zeros((1, 3, 2)), r"expected finite corners \(2, 3, 2\)"),
        (np.zeros((4, 4, 3), np.uint8), np.full((2, 3, 2), np.nan), "expected finite corners"),
    ],
)
@pytest.mark.parametrize("name", ["a.glb", "a.obj", "a.ply"])
def test_textures_that_do_not_fit_are_one_line(tmp_path, name, image, corners, words):
    with pytest.raises(SomacastError, match=words) as caught:
        save_mesh(replace(textured_square(), texture=Texture(image, corners)), tmp_path / name)
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())


def test_damaged_pictures_are_one_line(tmp_path):
    data = encode_glb(textured_square())
    start = data.index(b"\xff\xd8\xff")
    (tmp_path / "a.glb").write_bytes(data[:start] + bytes(len(data) - start))
    with pytest.raises(SomacastError, match="cannot be read as glTF"):
        load_mesh(tmp_path / "a.glb")
    save_mesh(textured_square(), tmp_path / "b.obj")
    (tmp_path / "b_texture.jpg").unlink()
    assert load_mesh(tmp_path / "b.obj").texture is None  # what is left of it


@pytest.mark.parametrize("name", ["a.glb", "a.obj"])
def test_changed_bytes_give_a_mesh_or_one_line(tmp_path, name):
    save_mesh(textured_square(), tmp_path / name)
    rng = np.random.default_rng(0)
    written = {path: path.read_bytes() for path in tmp_path.iterdir()}
    refused = 0
    for path, data in written.items():
        for place in [*rng.integers(0, len(data), 40), *range(-len(data), 0, max(len(data) // 20, 1))]:
            changed = bytearray(data)
            if place < 0:
                del changed[place:]
            else:
                changed[place] ^= 1 << rng.integers(8)
            path.write_bytes(changed)
            try:
                load_mesh(tmp_path / name)
            except SomacastError as fault:
                assert "\n" not in str(fault)
                refused += 1
        path.write_bytes(data)
    assert refused > 10


def test_an_obj_has_its_material_and_picture_beside(tmp_path):
    """Under a name of its own: the photograph that the person was made of may lie there as person.jpg."""
    (tmp_path / "person.jpg").write_bytes(b"the photograph")
    save_mesh(textured_square(), tmp_path / "person.obj")
    assert sorted(os.listdir(tmp_path)) == ["person.jpg", "person.mtl", "person.obj", "person_texture.jpg"]
    assert (tmp_path / "person.jpg").read_bytes() == b"the photograph"
    assert "map_Kd person_texture.jpg\n" in (tmp_path / "person.mtl").read_text()
    lines = (tmp_path / "person.obj").read_text().splitlines()
    assert "mtllib person.mtl" in lines and sum(line.startswith("v ") for line in lines) == 4
    assert all(len(line.split()) == 4 for line in lines if line.startswith("v "))  # no colours beside a texture
    save_mesh(replace(textured_square(), texture=None), tmp_path / "plain.obj")
    assert not list(tmp_path.glob("plain*.mtl"))


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("failing", range(6))
def test_an_obj_is_written_with_all_that_belongs_to_it_or_not_at_all(tmp_path, monkeypatch, failing, there):
    names = ["p.obj", "p.mtl", "p_texture.jpg"]
    for name in names if there else []:
        (tmp_path / name).write_bytes(b"old " + name.encode())
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    calls, real = [], {"fsync": os.fsync, "replace": os.replace}

    def failed(step, *arguments):
        calls.append(step)
        if len(calls) == failing + 1:
            raise OSError(28, "No space left on device")
        return real[step](*arguments)

    for step in real:
        monkeypatch.setattr(files.os, step, lambda *arguments, step=step: failed(step, *arguments))
    with pytest.raises(SomacastError, match="the disk is full"):
        save_mesh(textured_square(), tmp_path / "p.obj")
    monkeypatch.undo()
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_what_was_there_is_replaced_and_links_are_followed(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "map.jpg").write_bytes(b"old")
    (tmp_path / "p_texture.jpg").symlink_to(tmp_path / "elsewhere" / "map.jpg")
    (tmp_path / "p.mtl").write_bytes(b"old")
    save_mesh(textured_square(), tmp_path / "p.obj")
    assert (tmp_path / "p_texture.jpg").is_symlink()
    assert (tmp_path / "elsewhere" / "map.jpg").read_bytes()[:2] == b"\xff\xd8"
    assert sorted(os.listdir(tmp_path)) == ["elsewhere", "p.mtl", "p.obj", "p_texture.jpg"]
    assert os.listdir(tmp_path / "elsewhere") == ["map.jpg"]
    (tmp_path / "q.mtl").mkdir()
    with pytest.raises(SomacastError, match=r"q\.mtl: expected a file name, got a folder"):
        save_mesh(textured_square(), tmp_path / "q.obj")
    assert not (tmp_path / "q.obj").exists()


def test_jpeg_keeps_colours_at_the_edges_of_islands():
    image = np.zeros((64, 64, 3), np.uint8)
    image[:, :31], image[:, 31:] = (200, 30, 40), (40, 60, 210)  # not on the edge of a block
    back = np.asarray(Image.open(io.BytesIO(encode_image(image)))).astype(int)
    assert np.abs(back - image).mean() < 3
    assert len(encode_image(checkered_picture())) < 300_000
