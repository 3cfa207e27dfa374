"""Several people of one picture in one file: they stand to each other as they stood before the camera."""

from __future__ import annotations

import numpy as np
import pytest

from somacast.errors import SomacastError
from somacast.formats.export import Export
from somacast.formats.meshes import load_mesh
from somacast.formats.people import joined, save_people
from somacast.geometry.reconstruction import Reconstruction
from support.format_cases import Glb
from support.picture_cases import body

PLACES = {"a": np.array([-1.0, 0.2, 3.0]), "b": np.array([1.0, 0.0, 5.0])}  # right, down, away


@pytest.fixture
def people() -> dict[str, Reconstruction]:
    heights = {"a": 1.2, "b": 1.8}
    return {name: Reconstruction(body(heights[name]), pelvis_m=place) for name, place in PLACES.items()}


def middles(path) -> np.ndarray:
    """Of both people's vertices, the smaller one first: readers have their own order."""
    vertices = load_mesh(path).vertices
    halves = np.split(vertices, 2)
    return np.stack([(part.min(0) + part.max(0)) / 2 for part in sorted(halves, key=lambda part: np.ptp(part[:, 1]))])


@pytest.mark.parametrize("suffix", [".glb", ".ply", ".obj"])
def test_they_stand_as_they_stood(people, tmp_path, suffix):
    path = tmp_path / f"two{suffix}"
    save_people(people, path)
    apart = middles(path)[1] - middles(path)[0]
    assert np.allclose(apart, [2.0, 0.2, -2.0], atol=1e-3)  # right, up, towards the camera
    vertices = load_mesh(path).vertices
    assert vertices[:, 1].min() == pytest.approx(0, abs=1e-4)
    assert np.allclose(middles(path)[:, [0, 2]].mean(0), 0, atol=1e-3)


def test_a_glb_names_them_and_the_camera(people, tmp_path):
    path = tmp_path / "two.glb"
    save_people(people, path, Export(origin="pelvis"))
    nodes = {node["name"]: node.get("translation", [0, 0, 0]) for node in Glb(path.read_bytes()).document["nodes"]}
    assert list(nodes) == ["a", "b", "camera"]
    assert np.allclose(nodes["a"], 0) and np.allclose(nodes["b"], [2.0, 0.2, -2.0])
    assert np.allclose(nodes["camera"], [1.0, 0.2, 3.0])


def test_centimetres(people, tmp_path):
    save_people(people, tmp_path / "two.ply", Export(units="cm"))
    assert np.allclose(np.diff(middles(tmp_path / "two.ply"), axis=0), [[200, 20, -200]], atol=0.1)


def test_who_stands_nowhere_is_refused(people, tmp_path):
    people["b"].pelvis_m = None
    with pytest.raises(SomacastError, match="b: does not say where"):
        save_people(people, tmp_path / "two.glb")
    with pytest.raises(SomacastError, match=r"\.bvh"):
        save_people(people, tmp_path / "two.bvh")
    assert not list(tmp_path.iterdir())


def test_faces_stay_with_their_vertices():
    one = body()
    both = joined([(one, np.zeros(3)), (one, np.ones(3))])
    assert len(both.faces) == 2 * len(one.faces) and both.faces.max() == 2 * len(one.vertices) - 1
    assert np.allclose(both.vertices[both.faces[-1]], one.vertices[one.faces[-1]] + 1, atol=1e-5)
