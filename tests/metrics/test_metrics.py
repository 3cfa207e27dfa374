"""Figures against closed forms and against other people's code."""

import numpy as np
import pytest
import trimesh
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import correlate1d
from scipy.spatial.transform import Rotation
from skimage.metrics import structural_similarity

from somacast.errors import SomacastError
from somacast.geometry.rasteriser import Rendering, render_camera
from somacast.geometry.reconstruction import Reconstruction
from somacast.metrics import image, shape
from somacast.metrics.protocol import ProtocolConfig, evaluate_pair, place_result, summarise
from somacast.metrics.rate import MonotoneCurve, bd_rate
from somacast.types import Camera, Mesh


def picture(seed: int = 0, size: tuple[int, int] = (48, 40)) -> np.ndarray:
    return np.random.default_rng(seed).random((*size, 3)).astype(np.float32)


def ball(radius: float, center=(0, 0, 0), subdivisions: int = 5, color=(0.8, 0.3, 0.1)) -> Mesh:
    shape_ = trimesh.creation.icosphere(subdivisions, radius)
    vertices = (np.array(shape_.vertices) + center).astype(np.float32)
    return Mesh(vertices, np.array(shape_.faces, np.int32), np.tile(np.float32(color), (len(vertices), 1)))


def sheet(z: float, half: float = 0.5) -> Mesh:
    vertices = np.array([[-half, -half, z], [half, -half, z], [half, half, z], [-half, half, z]], np.float32)
    return Mesh(vertices, np.array([[0, 1, 2], [0, 2, 3]], np.int32))


def test_mse_and_psnr_count_only_the_mask():
    truth, result = np.zeros((4, 5, 3)), np.zeros((4, 5, 3))
    mask = np.zeros((4, 5), bool)
    mask[1, 2] = mask[3, 3] = True
    result[1, 2] = 0.5
    result[0, 0] = 1.0  # outside
    assert image.mse(truth, result, mask) == pytest.approx(0.125)
    assert image.mse(truth, result) == pytest.approx((3 * 0.25 + 3) / 60)
    assert image.psnr(truth, result, mask) == pytest.approx(10 * np.log10(8))
    assert image.psnr(truth, truth) == image.PSNR_CAP_DB
    assert image.mse(truth, result, np.zeros((4, 5), bool)) == 0
    with pytest.raises(ValueError, match="one shape"):
        image.mse(truth, result[:3])


def test_window_mean_is_the_correlation_of_scipy():
    kernel = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    kernel /= kernel.sum()
    for size in ((37, 29), (4, 3)):  # the second is smaller than the window: mirrored more than once
        values = np.random.default_rng(0).random((*size, 3))
        expected = correlate1d(correlate1d(values, kernel, 0, mode="reflect"), kernel, 1, mode="reflect")
        np.testing.assert_allclose(image._window_mean(values), expected, atol=1e-12)


def test_ssim_is_that_of_skimage():
    a, b = picture(0), np.clip(picture(0) * 0.7 + 0.3 * picture(1), 0, 1)
    expected, full = structural_similarity(
        a, b, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, channel_axis=2, data_range=1.0, full=True
    )
    np.testing.assert_allclose(image.ssim_map(a, b), full.mean(2), atol=1e-5)
    assert image.ssim_map(a, b)[5:-5, 5:-5].mean() == pytest.approx(expected, abs=1e-5)
    assert image.ssim(a, a) == pytest.approx(1.0, abs=1e-12)
    assert image.ssim(a, a[::-1]) < 0.2


def test_ssim_of_flat_pictures_is_its_closed_form():
    a, b = np.full((30, 30, 3), 0.2), np.full((30, 30, 3), 0.6)
    c1 = 0.01**2
    assert image.ssim(a, b) == pytest.approx((2 * 0.12 + c1) / (0.04 + 0.36 + c1), abs=1e-9)


def test_box_and_iou():
    a, b = np.zeros((20, 20), bool), np.zeros((20, 20), bool)
    a[3:7, 5:9], b[5:9, 5:9] = True, True
    assert image.iou(a, b) == pytest.approx(8 / 24) and image.iou(a & b & ~a, np.zeros_like(a)) == 1
    rows, columns = image.mask_box(a | b)
    assert (rows.start, rows.stop, columns.start, columns.stop) == (3, 9, 5, 9)
    assert image.mask_box(np.zeros((3, 3), bool)) is None
    truth, result = picture(0, (20, 20)), picture(1, (20, 20))
    assert image.ssim(truth, result, (rows, columns)) == pytest.approx(image.ssim_map(truth, result)[3:9, 5:9].mean())


def test_triangle_distance_is_the_least_over_the_triangle():
    """Against a dense grid over each triangle; the points lie in all seven regions around it."""
    rng = np.random.default_rng(0)
    corners = rng.normal(size=(20, 3, 3))
    points = rng.normal(size=(200, 3)) * 1.5
    candidates = rng.integers(0, 20, (200, 2))
    out = np.empty(200)
    shape.triangle_distances(points, corners, candidates, out)
    u, v = np.meshgrid(np.linspace(0, 1, 81), np.linspace(0, 1, 81))
    weights = np.stack([1 - u - v, u, v], -1)[u + v <= 1 + 1e-9]
    dense = weights @ corners  # [20, G, 3]
    distance = np.linalg.norm(dense[candidates] - points[:, None, None], axis=-1).min((1, 2))
    assert (out <= distance + 1e-9).all()
    np.testing.assert_allclose(out, distance, atol=0.03)


def test_concentric_balls():
    """Every distance is the gap between the radii, up to the sampling; normals agree."""
    figures = shape.compare_surfaces(ball(0.50), ball(0.53), 50_000)
    raw = figures["raw"]
    assert raw["chamfer_m"] == pytest.approx(0.03, abs=0.0005)
    assert raw["p2s_m"] == pytest.approx(0.03, abs=0.0003)
    assert raw["normal_consistency"] > 0.999
    assert raw["fscore_1cm"] == 0
    inverted = ball(0.53)
    inverted.faces = np.ascontiguousarray(inverted.faces[:, ::-1])
    turned = shape.compare_surfaces(ball(0.50), inverted, 20_000)["raw"]
    assert turned["normal_consistency"] > 0.999
    assert turned["normal_consistency_signed"] < -0.999


def test_shifted_sheets_and_centring():
    figures = shape.compare_surfaces(sheet(0.0), sheet(0.04), 50_000)
    assert figures["raw"]["p2s_m"] == pytest.approx(0.04, abs=1e-6)
    assert figures["raw"]["chamfer_m"] == pytest.approx(0.04, abs=0.0005)
    floor = 0.5 * np.sqrt(1 / 50_000)  # mean distance to the nearest of random points
    assert figures["centred"]["chamfer_m"] == pytest.approx(floor, rel=0.15)
    assert figures["centred"]["p2s_m"] < 1e-4
    assert figures["centred"]["fscore_1cm"] == 1
    assert shape.chamfer(sheet(0.0), sheet(0.04), 50_000) == pytest.approx(figures["raw"]["chamfer_m"])


def test_fscore_counts_both_ways():
    """The result is half of the truth: all of it is right, half of the truth is found."""
    half = sheet(0.0)
    half.vertices[:, 0] = half.vertices[:, 0] * 0.5 - 0.25
    raw = shape.compare_surfaces(sheet(0.0), half, 50_000)["raw"]
    recall = 0.5 + shape.FSCORE_M
    assert raw["fscore_1cm"] == pytest.approx(2 * recall / (1 + recall), abs=0.005)
    # Truth to result: half of it at 0, half at 0 to 0.5 m away; result to truth: 0.
    assert raw["chamfer_m"] == pytest.approx((0.5 * 0.25 + 0) / 2, abs=0.003)
    assert raw["p2s_m"] < 1e-6


def test_joint_errors_after_known_motions():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(4, 21, 3))
    rotations = Rotation.random(4, rng=rng).as_matrix()
    moved = 1.3 * truth @ np.swapaxes(rotations, 1, 2) + rng.normal(size=(4, 1, 3))
    np.testing.assert_allclose(shape.pa_mpjpe(truth, moved), 0, atol=1e-9)
    assert (shape.mpjpe(truth, moved) > 0.3).all()
    np.testing.assert_allclose(shape.mpjpe(truth, truth + [1, 2, 3]), 0, atol=1e-12)
    np.testing.assert_allclose(shape.mpjpe(truth, truth + [3, 4, 0], root=None), 5)
    off = truth.copy()
    off[:, 5] += [0, 0.21, 0]
    np.testing.assert_allclose(shape.mpjpe(truth, off), 0.01)
    # The alignment is the best one: its squares are no more than those of the known motions around it.
    left = ((truth - shape.procrustes(truth, off)) ** 2).sum((1, 2))
    assert (left < 0.21**2 * (1 - 1 / 21)).all() and (left > 0.5 * 0.21**2).all()
    # A mirror image is no turn: it must not be taken for a match.
    assert (shape.pa_mpjpe(truth, truth * [-1, 1, 1]) > 0.2).all()
    # The batch equals its members.
    np.testing.assert_allclose(shape.pa_mpjpe(truth, off)[2], shape.pa_mpjpe(truth[2], off[2]))
    with pytest.raises(ValueError, match="one shape"):
        shape.mpjpe(truth, truth[:, :20])


FAST = ProtocolConfig(size_px=96, samples=5000)


def test_equal_people_have_perfect_figures():
    joints = np.random.default_rng(0).normal(size=(21, 3))
    joints -= joints[0]
    person = ball(0.5)
    result = Reconstruction(person, joints=joints)
    row = evaluate_pair(person, result, joints, FAST)
    assert row["mse"] == 0 and row["psnr_db"] == 100 and row["iou"] == 1
    assert row["ssim_box"] == pytest.approx(1) and row["ssim_whole"] == pytest.approx(1)
    assert row["raw_p2s_m"] < 1e-3 and row["mpjpe_m"] == 0 and row["pa_mpjpe_m"] < 1e-9
    assert row == evaluate_pair(person, result, joints, FAST)
    assert "mpjpe_m" not in evaluate_pair(person, result, config=FAST)
    assert "mpjpe_m" not in evaluate_pair(person, Reconstruction(person), joints, FAST)


def test_protocol_figures_of_known_pictures():
    truth, recoloured = ball(0.5, color=(0.8, 0.3, 0.1)), ball(0.5, color=(0.6, 0.3, 0.1))
    row = evaluate_pair(truth, Reconstruction(recoloured), config=FAST)
    assert row["mse"] == pytest.approx(0.04 / 3, rel=1e-5) and row["iou"] == 1
    assert row["psnr_db"] == pytest.approx(-10 * np.log10(0.04 / 3), rel=1e-5)
    # The window hangs on the truth: a result moved by 10 cm sideways is moved in two of the four views.
    moved = evaluate_pair(
        truth, Reconstruction(ball(0.5, (0.1, 0, 0))), config=ProtocolConfig(size_px=256, samples=5000)
    )
    overlap = 2 * np.arccos(0.1) - 0.1 * np.sqrt(4 - 0.04)  # of two unit circles 0.2 apart
    iou = overlap / (2 * np.pi - overlap)
    assert moved["iou"] == pytest.approx((2 + 2 * iou) / 4, abs=0.01)
    # Where only one of the two is, its colour stands against the grey.
    only = 1 - iou
    assert moved["mse"] == pytest.approx(only * (0.09 + 0.04 + 0.16) / 3 / 2, rel=0.05)
    assert moved["raw_chamfer_m"] > 2 * moved["centred_chamfer_m"]


def test_vertical_shift_and_scale_show_up_in_all_views():
    truth = ball(0.5)
    for result in (ball(0.5, (0, 0.2, 0)), ball(0.4)):
        row = evaluate_pair(truth, Reconstruction(result), config=FAST)
        assert row["iou"] < 0.75 and row["ssim_box"] < row["ssim_whole"] < 1


class Painted(Reconstruction):
    """Somebody who can be seen and has no surface."""

    def render(self, camera: Camera, background: float = 0.5) -> Rendering:
        return render_camera(ball(0.5), camera, background=background)


def test_somebody_without_a_surface_is_judged_by_how_they_look():
    truth, joints = ball(0.5), np.random.default_rng(0).normal(size=(21, 3))
    row = evaluate_pair(truth, Painted(joints=joints), joints, FAST)
    assert row["iou"] == 1 and row["mse"] == 0 and row["mpjpe_m"] == 0
    assert not any(name.startswith(("raw_", "centred_")) for name in row)
    with pytest.raises(SomacastError, match="no mesh"):
        evaluate_pair(truth, Reconstruction(), joints, FAST)


def test_a_result_is_placed_where_the_truth_stands():
    joints = np.random.default_rng(0).normal(0, 0.3, (21, 3))
    joints -= joints[0]
    away = Reconstruction(ball(0.5, (1, 2, 3)), joints=joints + [3, 2, 1])
    by_pelvis = place_result(away, joints)
    assert by_pelvis.joints is not None and by_pelvis.mesh is not None
    np.testing.assert_allclose(by_pelvis.joints, joints, atol=1e-6)
    np.testing.assert_allclose(by_pelvis.mesh.vertices, ball(0.5, (-2, 0, 2)).vertices, atol=1e-6)
    by_box = place_result(away, None).mesh
    assert by_box is not None
    np.testing.assert_allclose(by_box.vertices.min(0) + by_box.vertices.max(0), 0, atol=1e-6)
    as_it_comes = place_result(Reconstruction(ball(0.5, (1, 2, 3))), joints).mesh
    assert as_it_comes is not None
    np.testing.assert_array_equal(as_it_comes.vertices, ball(0.5, (1, 2, 3)).vertices)
    bare = Painted()
    assert place_result(bare, None) is bare and place_result(bare, joints) is bare


def test_total_is_the_mean_over_actions():
    rows = {
        "standing": [{"mse": 1.0, "bytes": 100}, {"mse": 2.0, "bytes": 200}, {"mse": 3.0, "bytes": 300}],
        "sitting": [{"mse": 10.0, "bytes": 500, "mpjpe_m": 0.1}],
        "jumping": [],
    }
    summary = summarise(rows)
    assert summary["actions"]["standing"] == {"mse": 2.0, "bytes": 200.0}
    assert summary["total"] == {"mse": 6.0, "bytes": 350.0, "mpjpe_m": 0.1}
    assert summary["counts"] == {"standing": 3, "sitting": 1}
    with pytest.raises(SomacastError, match="at least one"):
        summarise({"jumping": []})


def test_bd_rate_closed_forms():
    rates, quality = np.array([100, 200, 400, 800.0]), np.array([20, 25, 28, 30.0])
    assert bd_rate(rates, quality, rates, quality) == pytest.approx(0, abs=1e-9)
    assert bd_rate(rates, quality, 0.6 * rates, quality) == pytest.approx(-40)
    assert bd_rate(rates, quality, 1.5 * rates[::-1], quality[::-1]) == pytest.approx(50)
    # Straight lines in log rate: log r = q / 10 against log r = q / 8, common qualities 20 to 30.
    q = np.linspace(10, 30, 6)
    p = np.linspace(20, 40, 5)
    expected = np.exp(25 / 8 - 25 / 10) - 1
    assert bd_rate(np.exp(q / 10), q, np.exp(p / 8), p) == pytest.approx(100 * expected)
    with pytest.raises(SomacastError, match="do not overlap"):
        bd_rate(rates, quality, rates, quality + 50)
    with pytest.raises(SomacastError, match="grows with the rate"):
        bd_rate(rates, quality, rates, quality[[0, 2, 1, 3]])
    with pytest.raises(SomacastError, match="at least two"):
        bd_rate(rates[:1], quality[:1], rates, quality)


def test_monotone_curve_is_the_pchip_of_scipy():
    """Points that rise, fall, turn and stay; integrals over part of the range."""
    rng = np.random.default_rng(0)
    for count in (2, 3, 4, 9):
        for draw in range(60):
            x = np.sort(rng.random(count))
            y = rng.normal(size=count) if draw % 2 else np.sort(rng.normal(size=count)).round(1)
            low, high = np.sort(rng.uniform(x[0], x[-1], 2))
            expected = float(PchipInterpolator(x, y).integrate(low, high))
            assert MonotoneCurve(x, y).integral(low, high) == pytest.approx(expected, abs=1e-12)
