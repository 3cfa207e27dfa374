"""Draco meshes of one person at all levels of detail."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from somacast.errors import SomacastError
from somacast.systems.baselines.draco.meshes import MeshSearch, clustered, decode_mesh, encode_mesh
from support.picture_cases import body

needs_draco = pytest.mark.skipif(
    importlib.util.find_spec("DracoPy") is None, reason="DRACO IS NOT TESTED: pip install 'somacast[bench]'"
)


def test_clustering_leaves_fewer_triangles_in_the_same_place():
    mesh = body()
    coarse = clustered(mesh, 0.1)
    assert 8 < len(coarse.faces) < len(mesh.faces) / 4
    assert coarse.colors is not None and len(coarse.colors) == len(coarse.vertices)
    assert set(coarse.faces.ravel()) == set(range(len(coarse.vertices)))
    assert np.abs(coarse.vertices.mean(0) - mesh.vertices.mean(0)).max() < 0.05
    assert clustered(mesh, 0) is mesh


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
def test_meshes_fit_their_budget_or_there_are_none():
    search = MeshSearch(body())
    assert search.best(search.smallest_bytes - 1) is None
    small, large = search.best(search.smallest_bytes), search.best(3000)
    assert small is not None and len(small.data) == search.smallest_bytes
    assert large is not None and len(small.data) < len(large.data) <= 3000
    assert "bits" in large.setting
