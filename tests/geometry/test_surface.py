"""Points to a closed surface (eq. 28), and surfaces to points."""

import numpy as np
import pytest
import trimesh
from scipy.fft import next_fast_len
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from somacast.body.skeleton import CANONICAL_JOINTS
from somacast.body.table import load_body
from somacast.errors import SomacastError
from somacast.geometry import sampling as sample
from somacast.geometry import surface
from somacast.geometry.sampling import sample_surface
from somacast.geometry.surface import SurfaceConfig, reconstruct_surface
from somacast.metrics.shape import compare_surfaces
from somacast.types import Mesh, PointCloud


def turn_z(degrees: float) -> np.ndarray:
    s, c = np.sin(np.deg2rad(degrees)), np.cos(np.deg2rad(degrees))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]], np.float32)


@pytest.fixture(scope="module")
def person() -> Mesh:
    """The mean body with its arms half down; red on its left side, blue on its right."""
    rotations = np.tile(np.eye(3, dtype=np.float32), (21, 1, 1))
    for number, name in enumerate(CANONICAL_JOINTS):
        if name.endswith(("upper_arm", "lower_arm", "hand")):
            rotations[number] = turn_z(-50 if name.startswith("l_") else 50)
    vertices, _ = load_body().pose(np.zeros(4), rotations)
    colors = np.where(vertices[:, :1] > 0, [[0.9, 0.1, 0.1]], [[0.1, 0.1, 0.9]]).astype(np.float32)
    return Mesh(vertices, load_body().faces, colors)


def ball(radius: float = 0.5, subdivisions: int = 4) -> Mesh:
    shape = trimesh.creation.icosphere(subdivisions, radius)
    vertices = np.ascontiguousarray(shape.vertices, np.float32)
    return Mesh(vertices, np.ascontiguousarray(shape.faces, np.int32), np.abs(vertices) / radius)


def solid(mesh: Mesh) -> trimesh.Trimesh:
    return trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)


def cloud_of(mesh: Mesh, count: int = 20000, seed: int = 0) -> PointCloud:
    return sample_surface(mesh, count, np.random.default_rng(seed), smooth_normals=True)


def test_body_survives_the_way_through_points(person):
    result = reconstruct_surface(cloud_of(person))
    assert result.vertices.dtype == np.float32 and result.faces.dtype == np.int32
    assert result.colors is not None and result.colors.dtype == np.float32
    shape = solid(result)
    assert shape.is_watertight and shape.is_winding_consistent and shape.body_count == 1
    assert shape.volume == pytest.approx(solid(person).volume, rel=0.02)  # positive: the outside is outside
    figures = compare_surfaces(person, result, 50_000)["raw"]
    assert figures["chamfer_m"] < 0.0035  # 2.8 mm of it is the distance between samples
    assert figures["p2s_m"] < 0.001
    left = result.vertices[:, 0] > 0.03
    right = result.vertices[:, 0] < -0.03
    assert (result.colors[left, 0] > 0.8).all() and (result.colors[right, 2] > 0.8).all()


def test_hands_are_there(person):
    """The cells are as wide as a finger; the local level must bring the fingers back all the same."""
    cloud = cloud_of(person)
    tips = person.vertices[np.abs(person.vertices[:, 0]) > np.abs(person.vertices[:, 0]).max() - 0.08]
    distance = {}
    for steps in (0, SurfaceConfig().level_steps):
        result = reconstruct_surface(cloud, SurfaceConfig(level_steps=steps))
        surface_points = sample_surface(result, 200_000, np.random.default_rng(1)).points
        distance[steps] = KDTree(surface_points).query(tips)[0].mean()
    assert distance[SurfaceConfig().level_steps] < 0.0045  # 1.5 mm of it is the distance between samples
    assert distance[SurfaceConfig().level_steps] < 0.8 * distance[0], distance


def test_noise_and_uneven_density_leave_one_body(person):
    cloud = cloud_of(person)
    rng = np.random.default_rng(3)
    kept = (cloud.points[:, 1] > 0) | (rng.random(len(cloud.points)) < 0.25)
    noisy = PointCloud(
        (cloud.points + rng.normal(0, 0.005, cloud.points.shape)).astype(np.float32)[kept],
        (cloud.normals + rng.normal(0, 0.2, cloud.normals.shape)).astype(np.float32)[kept],
        cloud.colors[kept],
    )
    result = reconstruct_surface(noisy)
    assert solid(result).is_watertight and solid(result).body_count == 1
    assert compare_surfaces(person, result, 50_000)["raw"]["chamfer_m"] < 0.005
    plain = reconstruct_surface(noisy, SurfaceConfig(density_sigma=0, level_steps=0))
    assert compare_surfaces(person, plain, 50_000)["raw"]["chamfer_m"] > 0.01  # what the weights are for


def test_thin_rod_keeps_its_thickness():
    """An arm of 5 cm beside a body of 1.6 m: 3.6 cells across."""
    rod = trimesh.creation.capsule(1.5, 0.025, count=[24, 24])
    mesh = Mesh(np.array(rod.vertices, np.float32), np.array(rod.faces, np.int32))
    result = solid(reconstruct_surface(cloud_of(mesh, 8000)))
    assert result.is_watertight and result.body_count == 1
    assert result.volume == pytest.approx(rod.volume, rel=0.05)


def test_islands_go_and_parts_stay():
    big, small, tiny = ball(0.4), ball(0.15), ball(0.025, 3)
    parts = [(big, (0, 0, 0), 8000), (small, (0.8, 0, 0), 2000), (tiny, (0, 0.6, 0), 150)]
    clouds = [cloud_of(mesh, count) for mesh, _, count in parts]
    points = np.concatenate([c.points + np.float32(at) for c, (_, at, _) in zip(clouds, parts, strict=True)])
    whole = PointCloud(points, np.concatenate([c.normals for c in clouds]), np.concatenate([c.colors for c in clouds]))
    assert solid(reconstruct_surface(whole, SurfaceConfig(smallest_part=0))).body_count == 3
    kept = reconstruct_surface(whole)
    assert solid(kept).body_count == 2 and kept.vertices[:, 1].max() < 0.5
    assert np.unique(kept.faces).size == len(kept.vertices)


def test_bad_clouds_are_refused():
    cloud = cloud_of(ball(), 500)
    with pytest.raises(SomacastError, match="at least 16 points for a surface, got 3"):
        reconstruct_surface(PointCloud(cloud.points[:3], cloud.normals[:3], cloud.colors[:3]))
    broken = cloud.points.copy()
    broken[7, 1] = np.nan
    with pytest.raises(SomacastError, match="NaN"):
        reconstruct_surface(PointCloud(broken, cloud.normals, cloud.colors))
    with pytest.raises(SomacastError, match="all the same"):
        reconstruct_surface(PointCloud(np.zeros_like(cloud.points), cloud.normals, cloud.colors))


def test_grid_follows_the_person():
    points = np.array([[-0.3, -0.9, -0.15], [0.3, 0.9, 0.15]])
    grid = surface.fit_grid(points, 128, 5)
    assert 128 <= grid.shape[1] <= 135 and grid.shape[0] < 60 and grid.shape[2] < 40
    places = grid.locate(points)
    assert (places >= 4).all() and (places <= np.array(grid.shape) - 5).all()
    np.testing.assert_allclose(places.mean(0), (np.array(grid.shape) - 1) / 2, atol=1e-4)


def test_sides_are_lengths_that_the_fft_likes():
    for least in range(1, 400):
        assert surface._fast_length(least) == next_fast_len(least, real=True)


def test_connected_parts_are_those_of_scipy():
    """Sparse random triangles: parts of all sizes, long chains and lone vertices."""
    rng = np.random.default_rng(0)
    for count in (20, 150, 400):
        faces = rng.integers(0, 400, (count, 3)).astype(np.int32)
        links = coo_matrix((np.ones(2 * count), (faces[:, :2].ravel(), faces[:, 1:].ravel())), shape=(400, 400))
        expected = connected_components(links, directed=False)[1]
        part = np.arange(400)
        surface.connected_parts(faces, part)
        first = [np.flatnonzero(expected == label)[0] for label in expected]
        np.testing.assert_array_equal(part, first)


def test_splat_and_gather_are_the_matrix_of_the_reference():
    rng = np.random.default_rng(0)
    shape = (7, 9, 8)
    places = (rng.random((50, 3)) * (np.array(shape) - 2)).astype(np.float32)
    values = rng.normal(size=(50, 2)).astype(np.float32)
    nodes, weights = surface.trilinear_reference(places, shape)
    expected = np.zeros((2, np.prod(shape)))
    for m in range(2):
        np.add.at(expected[m], nodes, weights * values[:, m : m + 1])
    grid = np.zeros((2, *shape), np.float32)
    surface.splat(places, values, grid)
    np.testing.assert_allclose(grid.reshape(2, -1), expected, atol=1e-5)
    out = np.empty((50, 2), np.float32)
    surface.gather(places, grid, out)
    np.testing.assert_allclose(out, (expected[:, nodes] * weights).sum(2).T, atol=1e-5)


def test_poisson_gives_back_a_known_indicator():
    """The normals of a smooth blob are minus its gradient; the solution is the blob, up to a constant."""
    axis = [np.arange(n) - n / 2 for n in (40, 48, 36)]
    x, y, z = np.meshgrid(*axis, indexing="ij")
    blob = np.exp(-(x**2 + 2 * y**2 + z**2) / 40)
    density = np.stack([x, 2 * y, z]) * blob / 20
    found = surface.solve_poisson(density.astype(np.float32), 0.0)
    np.testing.assert_allclose(found - found[0, 0, 0], blob, atol=2e-3)


def test_points_of_a_sheet_stand_for_equal_areas():
    """Two sheets face to face, one 4 times denser: each point's area is that of its own sheet."""
    rng = np.random.default_rng(0)
    dense, sparse = rng.random((40000, 2)) * 56 + 4, rng.random((10000, 2)) * 56 + 4
    places = np.concatenate([np.c_[dense, np.full(40000, 20.3)], np.c_[sparse, np.full(10000, 21.3)]])
    normals = np.repeat([[0, 0, -1.0], [0, 0, 1.0]], [40000, 10000], 0)
    areas = surface.point_areas(places.astype(np.float32), normals.astype(np.float32), (64, 64, 42), 2.0)
    inner = ((places[:, :2] > 12) & (places[:, :2] < 52)).all(1)
    first = np.arange(50000) < 40000
    assert np.median(areas[inner & first]) == pytest.approx(56**2 / 40000, rel=0.1)
    assert np.median(areas[inner & ~first]) == pytest.approx(56**2 / 10000, rel=0.1)


def test_samples_are_uniform_by_area_and_on_the_surface():
    # One triangle has 9 times the area of the other, one has none.
    vertices = np.array([[0, 0, 0], [3, 0, 0], [0, 3, 0], [0, 0, 1], [1, 0, 1], [0, 1, 1]], np.float32)
    faces = np.array([[0, 1, 2], [0, 0, 1], [3, 4, 5], [1, 1, 1]], np.int32)
    mesh = Mesh(vertices, faces, vertices / 3)
    cloud = sample_surface(mesh, 10000, np.random.default_rng(0))
    upper = cloud.points[:, 2] > 0.5
    assert np.count_nonzero(upper) == pytest.approx(1000, abs=1)
    np.testing.assert_allclose(cloud.normals, np.broadcast_to([0, 0, 1], (10000, 3)), atol=1e-6)
    np.testing.assert_allclose(cloud.colors, cloud.points / 3, atol=1e-5)
    np.testing.assert_allclose(cloud.points[~upper].mean(0), [1, 1, 0], atol=0.03)  # the centroid
    again = sample_surface(mesh, 10000, np.random.default_rng(0))
    np.testing.assert_array_equal(cloud.points, again.points)
    assert not np.array_equal(cloud.points, sample_surface(mesh, 10000, np.random.default_rng(1)).points)
    with pytest.raises(SomacastError, match="mesh with a surface"):
        sample_surface(Mesh(vertices, faces[[1, 3]]), 10, np.random.default_rng(0))


def test_sampling_kernels_match_their_twins():
    mesh = ball(0.4, 2)
    areas, normals = np.empty(len(mesh.faces)), np.empty((len(mesh.faces), 3))
    sample.face_areas(mesh.vertices, mesh.faces, areas, normals)
    expected_areas, expected_normals = sample.face_areas_reference(mesh.vertices, mesh.faces)
    np.testing.assert_allclose(areas, expected_areas, rtol=1e-9)
    np.testing.assert_allclose(normals, expected_normals, atol=1e-9)
    chosen, weights, _ = sample.draw_on_faces(mesh, 500, np.random.default_rng(2))
    assert (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)
    place = (np.arange(500) + np.random.default_rng(2).random((500, 3))[:, 0]) / 500 * areas.sum()
    np.testing.assert_array_equal(chosen, np.searchsorted(areas.cumsum(), place, "right"))
    points = sample_surface(mesh, 500, np.random.default_rng(2)).points
    np.testing.assert_allclose(points, sample.blend_reference(mesh.vertices, mesh.faces, chosen, weights), atol=1e-6)


def test_smooth_normals_of_a_ball_point_outwards():
    cloud = cloud_of(ball(), 2000)
    outward = cloud.points / np.linalg.norm(cloud.points, axis=1, keepdims=True)
    assert ((cloud.normals * outward).sum(1) > 0.999).all()
