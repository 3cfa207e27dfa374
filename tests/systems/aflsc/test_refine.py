"""AFLSC's sender: labels pulled towards the maps and the silhouette."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from somacast.body.rotations import rotvec_to_matrix
from somacast.body.table import load_body
from somacast.coding.vocabulary import Vocabulary
from somacast.systems.aflsc.labels.chart import load_chart
from somacast.systems.aflsc.networks.loading import load_tables
from somacast.systems.aflsc.sender.appearance import CodeFit, OffsetEvidence, Seen, read_offset
from somacast.systems.aflsc.sender.evidence import Evidence, SilhouetteAlignment
from somacast.systems.aflsc.sender.kinematics import (
    Problem,
    jacobian,
    jacobian_reference,
    left_jacobian_reference,
    pose_joints_reference,
    residuals,
    residuals_reference,
    rotation_and_jacobian,
)
from somacast.systems.aflsc.sender.refine import Prior, Refiner, RefinerConfig, minimise
from somacast.systems.aflsc.sender.rendered_body import RenderedBody, WeakCamera
from somacast.systems.aflsc.sender.rounding import round_together
from somacast.systems.aflsc.sender.silhouette_alignment import align_silhouette
from support import aflsc_cases as cases


@lru_cache(maxsize=1)
def refiner() -> Refiner:
    return Refiner(cases.space())


def refined_indices() -> np.ndarray:
    vocabulary = cases.space().vocabulary
    return np.concatenate([vocabulary.group_indices(g) for g in ("root", "pose", "shape")])


CAMERA = np.array([0.03, -0.05, np.log(0.42)])
FOCAL = 1.26


def project(joints: np.ndarray, camera: np.ndarray = CAMERA) -> np.ndarray:
    scale = FOCAL / (FOCAL / np.exp(camera[2]) - joints[:, 2])
    return np.stack([camera[0] + joints[:, 0] * scale, camera[1] - joints[:, 1] * scale], 1)


def test_refiner_has_the_joints_and_rotations_of_the_body() -> None:
    space, body = cases.space(), load_body()
    for values in cases.random_values(4):
        state = space.state(values)
        joints = body.joints(body.rest(state.shape)[1], state.rotations)
        got, rotations = refiner().joints(np.concatenate([values[refined_indices()], CAMERA]))
        np.testing.assert_allclose(got, joints - joints[0], atol=2e-4)
        np.testing.assert_allclose(rotations, state.rotations, atol=1e-3)


def test_refiner_pulls_a_wrong_pose_onto_exact_evidence() -> None:
    vocabulary = cases.space().vocabulary
    rng = np.random.default_rng(0)
    at = refined_indices()
    std = np.array([label.std for label in vocabulary.labels])
    std[vocabulary.group_indices("root")] = 0.35
    for truth in cases.random_values(3, seed=1):
        joints, _ = refiner().joints(np.concatenate([truth[at], CAMERA]))
        depth_alone = np.tile([1e6, 1e6, 0.02], (21, 1))
        evidence = Evidence(project(joints), np.full(21, 0.004), joints, depth_alone, CAMERA + rng.normal(0, 0.03, 3))
        wrong = truth.copy()
        wrong[at] += 0.5 * std[at] * rng.standard_normal(len(at))
        start, _ = refiner().joints(np.concatenate([wrong[at], CAMERA]))
        result = refiner()(wrong, std, evidence, FOCAL)
        refined = result.values
        end, _ = refiner().joints(np.concatenate([refined[at], CAMERA]))
        np.testing.assert_allclose(refiner().joints(result.parameters)[0], end, atol=1e-6)
        seen = np.linalg.norm(result.camera.project(end) - evidence.joints, axis=1).mean()
        before = np.linalg.norm(project(start, evidence.camera) - evidence.joints, axis=1).mean()
        assert seen < 0.2 * before
        assert np.linalg.norm(end - joints, axis=1).mean() < 0.5 * np.linalg.norm(start - joints, axis=1).mean()
        assert result.joint_residual < 2  # in units of the maps' spread
        others = np.setdiff1d(np.arange(len(truth)), at)
        np.testing.assert_array_equal(refined[others], wrong[others])
        assert -np.pi <= refined[0] < np.pi


def test_refiner_trusts_the_coder_where_the_maps_say_nothing() -> None:
    values = cases.random_values(1, seed=2)[0]
    std = np.array([label.std for label in cases.space().vocabulary.labels])
    blind = Evidence(np.zeros((21, 2)), np.full(21, 1e6), np.zeros((21, 3)), np.full((21, 3), 1e6), CAMERA)
    result = refiner()(values, std, blind, FOCAL)
    camera = result.camera
    np.testing.assert_allclose(result.values[1:], values[1:], atol=1e-3)
    np.testing.assert_allclose([*camera.place_px, np.log(camera.scale_px_per_m)], CAMERA, atol=1e-3)


def test_refiner_follows_places_in_metres() -> None:
    """Depth and size, which the picture's plane does not tell."""
    vocabulary, at = cases.space().vocabulary, refined_indices()
    std = np.array([label.std for label in vocabulary.labels])
    truth, other = cases.random_values(2, seed=5)
    joints, _ = refiner().joints(np.concatenate([truth[at], CAMERA]))
    known = Evidence(np.zeros((21, 2)), np.full(21, 1e6), joints, np.full((21, 3), 0.01), CAMERA)
    refined = refiner()(other, std, known, FOCAL).values
    before, _ = refiner().joints(np.concatenate([other[at], CAMERA]))
    after, _ = refiner().joints(np.concatenate([refined[at], CAMERA]))
    assert np.linalg.norm(after - joints, axis=1).mean() < 0.3 * np.linalg.norm(before - joints, axis=1).mean()


# --- derivatives ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("angle", [0.0, 1e-9, 5e-4, 9.99e-4, 1.001e-3, 0.02, 1.0, 3.1, 6.0])
def test_rotation_and_its_derivative_are_those_of_the_exponential_map(angle: float) -> None:
    axis = np.array([0.48, -0.6, 0.64])
    rotation, left = np.empty((3, 3)), np.empty((3, 3))
    rotation_and_jacobian(angle * axis, rotation, left)
    np.testing.assert_allclose(rotation, rotvec_to_matrix(angle * axis), atol=1e-12)
    np.testing.assert_allclose(left, left_jacobian_reference(angle * axis), atol=1e-9)
    step = 1e-6 * np.array([0.3, 0.8, -0.5])
    near = rotvec_to_matrix(left @ step) @ rotvec_to_matrix(angle * axis)
    np.testing.assert_allclose(rotvec_to_matrix(angle * axis + step), near, atol=1e-10)


def random_problem(seed: int, edge_points: int = 9) -> tuple[np.ndarray, Problem]:
    """Parameters of a random pose, and evidence that lies anywhere."""
    values, rng = cases.random_values(1, seed=seed)[0], np.random.default_rng(seed)
    p = np.concatenate([values[refined_indices()], CAMERA])
    evidence = Evidence(
        rng.normal(0, 0.2, (21, 2)), rng.uniform(0.01, 0.05, 21),
        rng.normal(0, 0.2, (21, 3)), rng.uniform(0.05, 0.2, (21, 3)), CAMERA,
    )  # fmt: skip
    alignment = SilhouetteAlignment(
        rng.integers(0, 21, edge_points), rng.normal(0, 0.1, (edge_points, 3)), rng.normal(0, 1, (edge_points, 3))
    )
    return p, Problem(refiner().tables, evidence, alignment, FOCAL, 0.03)


@pytest.mark.parametrize(("seed", "edge_points"), [(3, 9), (4, 0), (5, 40)])
def test_kernels_agree_with_their_readable_twins(seed: int, edge_points: int) -> None:
    p, problem = random_problem(seed, edge_points)
    posed, expected = refiner().joints(p), pose_joints_reference(p, problem.body)
    np.testing.assert_allclose(posed.joints, expected.joints, atol=1e-12)
    np.testing.assert_allclose(posed.rotations, expected.rotations, atol=1e-12)
    rest = np.full(problem.residual_count, np.nan)
    residuals(p, problem, rest)
    np.testing.assert_allclose(rest, residuals_reference(p, problem), rtol=1e-10, atol=1e-10)
    slopes = np.full((len(rest), len(p)), np.nan)
    jacobian(p, problem, slopes)
    np.testing.assert_allclose(slopes, jacobian_reference(p, problem), rtol=1e-6, atol=2e-6)
    assert (np.abs(slopes).max(0) > 1e-3).all()  # every parameter is seen in some residual


def test_steps_lower_the_cost_until_nothing_is_left_to_gain() -> None:
    """At the minimum the gradient of the cost, by differences of the readable twin, is 0."""
    p, problem = random_problem(6)
    posed = refiner().joints(p)
    evidence = problem.evidence._replace(joints=project(posed.joints), points=posed.joints)
    problem = problem._replace(evidence=evidence, alignment=SilhouetteAlignment.empty())
    config = RefinerConfig(iterations=200, min_gain=1e-14)
    prior = Prior(p + 0.05, np.full(len(p), 0.05))
    free = np.arange(len(p) - 1)  # but for the scale

    def cost(q: np.ndarray) -> float:
        rest = residuals_reference(q, problem)
        robust = config.robust_scale**2 * np.log1p(np.square(rest / config.robust_scale)).sum()
        return float(robust + np.square((q - prior.mean) / prior.std).sum())

    found, rest = minimise(problem, prior, prior.mean, free, config)
    np.testing.assert_allclose(rest, residuals_reference(found, problem), atol=1e-9)
    assert found[-1] == prior.mean[-1] and cost(found) < 0.3 * cost(prior.mean)
    slope = [(cost(found + e) - cost(found - e)) / 2e-6 for e in 1e-6 * np.eye(len(p))[free]]
    assert np.abs(slope).max() < 1e-3


# --- silhouette -------------------------------------------------------------------------------------------------------


def test_the_silhouette_leads_a_turned_arm_back() -> None:
    """The silhouette of a posed body, an arm turned away from it: points on the edge pull it back."""
    space = cases.space()
    values = cases.random_values(1, seed=7)[0]
    camera = WeakCamera(CAMERA[:2], float(np.exp(CAMERA[2])), FOCAL)
    offset = np.zeros((128, 128), np.float32)
    state = space.state(values)
    silhouette = RenderedBody.of(state, offset, camera, 128).covered.astype(np.float32)
    std = np.array([label.std for label in space.vocabulary.labels])
    wrong = values.copy()
    wrong[space.vocabulary.group_indices("pose")] += 0.15 * std[space.vocabulary.group_indices("pose")]
    blind = Evidence(np.zeros((21, 2)), np.full(21, 1e6), np.zeros((21, 3)), np.full((21, 3), 1e6), CAMERA)

    def overlap(v: np.ndarray, seen_by: WeakCamera) -> float:
        own = RenderedBody.of(space.state(v), offset, seen_by, 128).covered
        return float((own & (silhouette > 0.5)).sum() / (own | (silhouette > 0.5)).sum())

    parameters = np.concatenate([wrong[refined_indices()], CAMERA])
    alignment = align_silhouette(
        RenderedBody.of(space.state(wrong), offset, camera, 128), silhouette, refiner().joints(parameters)
    )
    assert len(alignment.joint) > 50
    np.testing.assert_allclose(np.linalg.norm(alignment.line[:, :2], axis=1), 1, atol=1e-5)
    result = refiner()(wrong, std, blind, FOCAL, alignment, parameters)
    refined = result.values
    assert overlap(refined, result.camera) > overlap(wrong, camera) + 0.3 * (1 - overlap(wrong, camera))
    shape = space.vocabulary.group_indices("shape")
    np.testing.assert_array_equal(refined[shape], wrong[shape])
    # where the body is right already there is nothing to pull
    posed = refiner().joints(np.concatenate([values[refined_indices()], CAMERA]))
    right = align_silhouette(RenderedBody.of(state, offset, camera, 128), silhouette, posed)
    hung = np.einsum("mij,mj->mi", posed.rotations[right.joint], right.place)
    skin = camera.project(posed.joints[right.joint] + hung)
    assert np.abs((skin * right.line[:, :2]).sum(1) - right.line[:, 2]).mean() < 1 / 128


def test_on_the_silhouette_joints_keep_their_distance_from_the_camera() -> None:
    """With the evidence of `Encoder.align` a turned body comes back across the view, and no joint moves in depth."""
    space = cases.space()
    values = cases.random_values(1, seed=7)[0]
    camera = WeakCamera(CAMERA[:2], float(np.exp(CAMERA[2])), FOCAL)
    offset = np.zeros((128, 128), np.float32)
    silhouette = RenderedBody.of(space.state(values), offset, camera, 192).covered.astype(np.float32)
    wrong, pose = values.copy(), space.vocabulary.group_indices("pose")
    std = np.array([label.std for label in space.vocabulary.labels])
    wrong[pose] += 0.15 * std[pose]
    parameters = np.concatenate([wrong[refined_indices()], CAMERA])
    posed, rendered = refiner().joints(parameters), RenderedBody.of(space.state(wrong), offset, camera, 192)
    alignment = align_silhouette(rendered, silhouette, posed)
    overlaps, depths = [], []
    for kept_m in (0.005, 10.0):
        kept = np.tile([0.1, 0.1, kept_m], (21, 1))
        evidence = Evidence(np.zeros((21, 2)), np.full(21, 1e6), posed.joints, kept, CAMERA)
        found = refiner()(wrong, std, evidence, FOCAL, alignment, parameters, 0.01)
        own = RenderedBody.of(space.state(found.values), offset, found.camera, 192).covered
        overlaps.append((own & (silhouette > 0.5)).sum() / (own | (silhouette > 0.5)).sum())
        depths.append(np.abs(refiner().joints(found.parameters).joints - posed.joints)[:, 2].mean())
    before = rendered.covered
    assert overlaps[0] > (before & (silhouette > 0.5)).sum() / (before | (silhouette > 0.5)).sum() + 0.05
    assert depths[0] < 0.006 and depths[0] < 0.5 * depths[1]


def test_silhouette_tells_how_far_clothes_stand_off() -> None:
    """Somebody in wide clothes, seen by the silhouette alone: the codes move towards them."""
    space = load_tables().space
    state = space.state(np.array([label.mean for label in space.vocabulary.labels]))
    inside, std = load_chart().inside, space.appearance.std
    camera = WeakCamera(np.zeros(2), 0.45, FOCAL)
    wide = std * space.appearance.basis[:, :, 3].mean(1) * std
    wide *= 3 / np.linalg.norm(wide / std)
    offset_map = space.appearance.offset_map
    usual, coat = offset_map(np.zeros(len(std), np.float32)), offset_map(wide.astype(np.float32))
    silhouette = RenderedBody.of(state, coat, camera, 192).covered.astype(np.float32)
    offset_evidence = read_offset(RenderedBody.of(state, usual, camera, 192), silhouette)
    assert len(offset_evidence.index) > 50
    truth, before = coat[inside][offset_evidence.index], usual[inside][offset_evidence.index]
    assert np.abs(truth - before).mean() > 0.01
    assert np.median(np.abs(offset_evidence.offset_m - truth)) < 0.006  # half a pixel
    seen = Seen(np.zeros(0, np.int64), np.zeros((0, 3)), np.zeros(0, np.float32), np.zeros((0, 3)), 0.0)
    rows, color = np.zeros((0, 3, len(std)), np.float32), np.zeros((0, 3))
    assert not CodeFit(space, seen, rows)(color).any()
    after = offset_map(CodeFit(space, seen, rows, offset_evidence)(color))[inside][offset_evidence.index]
    assert np.abs(after - truth).mean() < 0.7 * np.abs(before - truth).mean()
    nothing = CodeFit(space, seen, rows, OffsetEvidence(offset_evidence.index, before))(color)
    assert np.abs(offset_map(nothing) - usual).max() < 1e-4  # nobody stands off more than usual


# --- rounding ---------------------------------------------------------------------------------------------------------


SIDE_PX = 300.0


def test_joints_move_less_than_when_each_label_is_rounded_for_itself() -> None:
    space = load_tables().space
    vocabulary, refiner, rng = space.vocabulary, Refiner(space), np.random.default_rng(3)
    at, place = refiner.labels, vocabulary.group_indices("camera")
    std, mean = (np.array([getattr(label, name) for label in vocabulary.labels]) for name in ("std", "mean"))
    moved: dict[str, list[float]] = {"together": [], "alone": []}
    for _ in range(6):
        values = mean.copy()
        values[at] += 0.7 * std[at] * rng.standard_normal(len(at))
        values[place] = [0.1, -0.05, np.log(3.2)]
        camera = WeakCamera(values[place][:2] * FOCAL, FOCAL / 3.2, FOCAL)
        lens, levels = (FOCAL * SIDE_PX, FOCAL * SIDE_PX), np.minimum(vocabulary.level_counts, 4)
        levels[place] = vocabulary.level_counts[place]
        together = round_together(refiner, values, levels, camera, lens, SIDE_PX)
        rounded = {"together": together, "alone": _rebuilt(vocabulary, values, levels)}
        # what was rounded is at values that the levels can say, and all else as it was
        np.testing.assert_allclose(_rebuilt(vocabulary, together, levels)[at], together[at], atol=1e-5)
        others = np.setdiff1d(np.arange(len(values)), np.concatenate([at, place]))
        np.testing.assert_array_equal(together[others], values[others])
        before = _in_picture(refiner, values, place)
        for how, found in rounded.items():
            moved[how].append(float(np.linalg.norm(_in_picture(refiner, found, place) - before, axis=1).mean()))
    assert np.mean(moved["together"]) < 0.7 * np.mean(moved["alone"])


def _rebuilt(vocabulary: Vocabulary, values: np.ndarray, levels: np.ndarray) -> np.ndarray:
    symbols = vocabulary.quantise(values[None])[0]
    return vocabulary.dequantise(np.where(np.arange(symbols.shape[1]) < levels[:, None], symbols, -1)[None])[0][0]


def _in_picture(refiner: Refiner, values: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Joints [21, 2] in crop sides."""
    x, y, log_depth = values[place]
    camera = WeakCamera(np.array([x, y]) * FOCAL, FOCAL / np.exp(log_depth), FOCAL)
    return camera.project(refiner.joints(np.concatenate([values[refiner.labels], np.zeros(3)])).joints)
