"""Meshes of one person at all levels of detail, as Draco and as OBJ files."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from somacast.errors import BitstreamError, SomacastError
from somacast.geometry.rasteriser import level_camera
from somacast.metrics.image import structure_distance
from somacast.systems.baselines.draco.meshes import DracoSearch, decode_mesh, encode_mesh
from somacast.systems.baselines.draco.textured import (
    TexturedSearch,
    TextureFiles,
    decode_textured,
    encode_shape,
    is_textured,
    pack_textured,
)
from somacast.systems.baselines.mesh.clustering import clustered, islands, welded
from somacast.systems.baselines.mesh.place import PLACE_BYTES, pack_place, unpack_place
from somacast.systems.baselines.mesh.search import LOOK_PX, MeshSearch
from somacast.systems.baselines.obj.halves import ObjSearch, decode_text, encode_text
from somacast.types import Mesh, Texture
from support.picture_cases import body

needs_draco = pytest.mark.skipif(
    importlib.util.find_spec("DracoPy") is None, reason="DRACO IS NOT TESTED: pip install 'somacast[bench]'"
)
FRONT = level_camera(LOOK_PX, 2.2, 0.0, np.zeros(3))


def halves_of_a_body(size: int = 64) -> Mesh:
    """The body with its front in the left half of a texture and its back in the right one, red and blue."""
    mesh = body(rings=20, segments=16)
    points, front = mesh.vertices, mesh.vertices[mesh.faces].mean(1)[:, 2] > 0
    image = np.zeros((size, size, 3), np.uint8)
    image[:, : size // 2, 0] = image[:, size // 2 :, 2] = 200
    image[: size // 4, :, 1] = 220
    place = np.stack([0.25 + 0.8 * points[:, 0], 0.5 - 0.55 * points[:, 1]], 1)[mesh.faces]
    place[..., 0] += np.where(front, 0, 0.5)[:, None]
    return Mesh(points, mesh.faces, mesh.colors, Texture(image, place.astype(np.float32)))


def test_clustering_leaves_fewer_triangles_in_the_same_place():
    mesh = body()
    coarse = clustered(mesh, 0.1)
    assert 8 < len(coarse.faces) < len(mesh.faces) / 4
    assert coarse.colors is not None and len(coarse.colors) == len(coarse.vertices)
    assert set(coarse.faces.ravel()) == set(range(len(coarse.vertices)))
    assert np.abs(coarse.vertices.mean(0) - mesh.vertices.mean(0)).max() < 0.05
    assert clustered(mesh, 0) is mesh


def test_a_texture_stays_on_its_island_when_triangles_are_clustered():
    mesh = halves_of_a_body()
    assert mesh.texture is not None and len(set(islands(mesh).tolist())) == 2
    coarse = clustered(mesh, 0.1)
    assert coarse.texture is not None and coarse.texture.corners.shape == (len(coarse.faces), 3, 2)
    across = coarse.texture.corners[..., 0]
    assert ((across < 0.5).all(1) | (across > 0.5).all(1)).all()  # no triangle from one island to the other
    down = 0.5 - 0.55 * coarse.vertices[coarse.faces][..., 1]
    assert np.abs(coarse.texture.corners[..., 1] - down).max() < 0.06
    points, places, faces = welded(coarse)
    assert len(coarse.vertices) < len(points) < 3 * len(coarse.faces)  # vertices on the seam are there twice
    assert np.array_equal(points[faces], coarse.vertices[coarse.faces])
    assert np.allclose(places[faces], coarse.texture.corners, atol=2e-4)


@needs_draco
@pytest.mark.parametrize("colored", [True, False])
def test_a_draco_file_comes_back(colored):
    mesh = clustered(body(), 0.05)
    back = decode_mesh(encode_mesh(mesh, 11, colored))
    assert len(back.faces) == len(mesh.faces) and np.ptp(back.vertices[:, 1]) == pytest.approx(1.7, abs=0.05)
    assert back.colors is not None and mesh.colors is not None
    assert np.allclose(back.colors.mean(0), mesh.colors.mean(0), atol=0.06)
    assert (back.colors.std(0).max() > 0.1) == colored
    with pytest.raises(SomacastError, match="expected a Draco mesh"):
        decode_mesh(b"nonsense")


@needs_draco
def test_a_draco_file_with_a_texture_comes_back():
    mesh = clustered(halves_of_a_body(), 0.05)
    assert mesh.texture is not None
    files = TextureFiles(mesh.texture)
    small, large = files.best(90), files.best(900)
    assert small is not None and large is not None and len(small.frame) <= 90 < len(large.frame) <= 900
    assert large.gap < small.gap and files.best(5) is None
    data = pack_textured(encode_shape(mesh, 10), large.side, large.frame)
    back = decode_textured(data)
    assert is_textured(data) and not is_textured(encode_mesh(mesh, 10, True))
    assert len(back.faces) == len(mesh.faces) and back.texture is not None and back.colors is not None
    front = back.vertices[:, 2] > 0.08
    assert back.colors[front, 0].mean() > 0.6 and back.colors[back.vertices[:, 2] < -0.08, 2].mean() > 0.6
    cut = data[:20]
    for bad in (cut, data[: 4 + len(encode_shape(mesh, 10))], b"\0\0" + data[2:]):
        with pytest.raises(SomacastError):
            decode_textured(bad)


def test_a_place_comes_back_from_six_bytes():
    for place in ([0.1, -0.2, 4.0], [-3.0, 1.0, 0.9], [0.0, 0.0, 60.0]):
        data = pack_place(np.array(place))
        back = unpack_place(data + b"mesh")
        assert len(data) == PLACE_BYTES and back is not None
        assert np.abs(back - place).max() < 5e-4 * np.linalg.norm(place)
    assert unpack_place(pack_place(None)) is None
    assert unpack_place(pack_place(np.array([9.0, 0, 0.01]))) is not None  # beyond all steps, and yet a place


def test_an_obj_file_comes_back():
    mesh = clustered(body(), 0.05)
    text = encode_text(mesh, (3, 2))
    back = decode_text(text)
    assert mesh.colors is not None and back.colors is not None and np.array_equal(back.faces, mesh.faces)
    assert np.abs(back.vertices - mesh.vertices).max() < 6e-4 and np.abs(back.colors - mesh.colors).max() < 6e-3
    assert len(encode_text(mesh, (2, 1))) < len(text)
    points = np.array([[-0.5, 10, 0], [0, -0.0004, 1], [1.25, 2, 3]], np.float32)
    odd = Mesh(points, np.array([[0, 1, 2]], np.int32), np.zeros((3, 3)))
    assert encode_text(odd, (3, 2)) == b"v -.5 10 0 0 0 0\nv 0 0 1 0 0 0\nv 1.25 2 3 0 0 0\nf 1 2 3\n"
    for bad in (b"", b"x 1\n", b"v 1 2 3\nf 1 1 1\n", b"v 0 0 0 1 1 1\nf 1 1 2\n", b"v 0 0 nan 1 1 1\nf 1 1 1\n"):
        with pytest.raises(BitstreamError, match="OBJ file"):
            decode_text(bad)


@pytest.mark.parametrize(
    ("searches", "room"),
    [
        pytest.param(DracoSearch, 1500, marks=needs_draco),
        pytest.param(TexturedSearch, 1500, marks=needs_draco),
        (ObjSearch, 9000),
    ],
)
def test_meshes_fit_their_budget_or_there_are_none(searches, room):
    mesh = halves_of_a_body() if searches is TexturedSearch else body()
    search: MeshSearch = searches(mesh, FRONT, structure_distance)
    assert search.best(search.smallest_bytes - 1) is None
    small, large = search.best(search.smallest_bytes), search.best(room)
    assert small is not None and 0.8 * search.smallest_bytes < len(small.data) <= search.smallest_bytes
    assert large is not None and len(small.data) < len(large.data) <= room
    assert small.error is not None and large.error is not None and large.error < small.error
    assert len(search.whole().data) > len(large.data) and "triangles" in large.setting
