"""AFLSC's sender: labels pulled towards the maps and the silhouette."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from somacast.body.skeleton import JOINT_COUNT
from somacast.body.table import load_body
from somacast.systems.aflsc.labels.chart import load_chart
from somacast.systems.aflsc.networks.loading import load_tables
from somacast.systems.aflsc.sender.appearance import CodeFit, OffsetEvidence, Seen, read_offset
from somacast.systems.aflsc.sender.refine import Evidence, Refiner, _jacobian, _residuals
from somacast.systems.aflsc.sender.rendered_body import RenderedBody, WeakCamera
from somacast.systems.aflsc.sender.silhouette_alignment import align_silhouette
from support import aflsc_cases as cases


@lru_cache(maxsize=1)
def refiner() -> Refiner:
    return Refiner(cases.space())


def refined_indices() -> np.ndarray:
    vocabulary = cases.space().vocabulary
    return np.concatenate([vocabulary.group_indices(g) for g in ("root", "pose", "shape")])


CAMERA = np.array([0.03, -0.05, np.log(0.42)])
DISTANCE_M = 3.0


def project(joints: np.ndarray, camera: np.ndarray = CAMERA) -> np.ndarray:
    scale = np.exp(camera[2]) / (1 - joints[:, 2] / DISTANCE_M)
    return np.stack([camera[0] + joints[:, 0] * scale, camera[1] - joints[:, 1] * scale], 1)


def test_refiner_has_the_joints_and_turns_of_the_body() -> None:
    space, body = cases.space(), load_body()
    for values in cases.random_values(4):
        state = space.state(values)
        joints = body.joints(body.rest(state.shape)[1], state.rotations)
        got, rotvecs = refiner().joints(np.concatenate([values[refined_indices()], CAMERA]))
        np.testing.assert_allclose(got, joints - joints[0], atol=2e-4)
        np.testing.assert_allclose(rotvecs, state.rotations, atol=1e-3)


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
        refined, camera, residual, parameters = refiner()(wrong, std, evidence, DISTANCE_M)
        end, _ = refiner().joints(np.concatenate([refined[at], CAMERA]))
        np.testing.assert_allclose(refiner().joints(parameters)[0], end, atol=1e-6)
        seen = np.linalg.norm(camera.project(end) - evidence.joints, axis=1).mean()
        before = np.linalg.norm(project(start, evidence.camera) - evidence.joints, axis=1).mean()
        assert seen < 0.2 * before
        assert np.linalg.norm(end - joints, axis=1).mean() < 0.5 * np.linalg.norm(start - joints, axis=1).mean()
        assert residual < 2  # in units of the maps' spread
        others = np.setdiff1d(np.arange(len(truth)), at)
        np.testing.assert_array_equal(refined[others], wrong[others])
        assert -np.pi <= refined[0] < np.pi


def test_refiner_trusts_the_coder_where_the_maps_say_nothing() -> None:
    values = cases.random_values(1, seed=2)[0]
    std = np.array([label.std for label in cases.space().vocabulary.labels])
    blind = Evidence(np.zeros((21, 2)), np.full(21, 1e6), np.zeros((21, 3)), np.full((21, 3), 1e6), CAMERA)
    refined, camera, _, _ = refiner()(values, std, blind, DISTANCE_M)
    np.testing.assert_allclose(refined[1:], values[1:], atol=1e-3)
    np.testing.assert_allclose([*camera.place_px, np.log(camera.scale_px_per_m)], CAMERA, atol=1e-3)


def test_refiner_follows_places_in_metres() -> None:
    """Depth and size, which the picture's plane does not tell."""
    vocabulary, at = cases.space().vocabulary, refined_indices()
    std = np.array([label.std for label in vocabulary.labels])
    truth, other = cases.random_values(2, seed=5)
    joints, _ = refiner().joints(np.concatenate([truth[at], CAMERA]))
    known = Evidence(np.zeros((21, 2)), np.full(21, 1e6), joints, np.full((21, 3), 0.01), CAMERA)
    refined, *_ = refiner()(other, std, known, DISTANCE_M)
    before, _ = refiner().joints(np.concatenate([other[at], CAMERA]))
    after, _ = refiner().joints(np.concatenate([refined[at], CAMERA]))
    assert np.linalg.norm(after - joints, axis=1).mean() < 0.3 * np.linalg.norm(before - joints, axis=1).mean()


def test_jacobian_agrees_with_central_differences() -> None:
    values = cases.random_values(1, seed=3)[0]
    p = np.concatenate([values[refined_indices()], CAMERA])
    rng = np.random.default_rng(0)
    tables, prior, prior_std = refiner()._tables, p + 0.1, rng.uniform(0.5, 2, len(p))
    seen, std = rng.normal(0, 0.2, (21, 2)), rng.uniform(0.01, 0.05, 21)
    points, doubt = rng.normal(0, 0.2, (21, 3)), rng.uniform(0.05, 0.2, (21, 3))
    hung, place, line = rng.integers(0, 21, 9), rng.normal(0, 0.1, (9, 3)), rng.normal(0, 1, (9, 3))
    joints, world = np.zeros((JOINT_COUNT, 3)), np.zeros((JOINT_COUNT, 3, 3))
    arguments = (
        *tables,
        DISTANCE_M,
        prior,
        prior_std,
        seen,
        std,
        points,
        doubt,
        hung,
        place,
        line,
        0.03,
        joints,
        world,
    )

    def residuals(q: np.ndarray) -> np.ndarray:
        """Straight from the text: places over their spread, in the picture and in metres, distances of the outline's
        points from their lines, distance from the prior."""
        joints, rotvecs = refiner().joints(q)
        flat = (project(joints, q[-3:]) - seen) / std[:, None]
        skin = project(joints[hung] + np.einsum("mij,mj->mi", rotvecs[hung], place), q[-3:])
        edge = ((skin * line[:, :2]).sum(1) - line[:, 2]) / 0.03
        return np.concatenate([flat.ravel(), ((joints - points) / doubt).ravel(), edge, (q - prior) / prior_std])

    n = 5 * JOINT_COUNT + len(hung) + len(p)
    base, jacobian = np.zeros(n), np.zeros((n, len(p)))
    _residuals(p, *arguments, base)
    np.testing.assert_allclose(base, residuals(p), atol=1e-6)
    _jacobian(p, *arguments, base, jacobian)
    step = 1e-5
    for i in range(len(p)):
        up, down = p.copy(), p.copy()
        up[i] += step
        down[i] -= step
        expected = (residuals(up) - residuals(down)) / (2 * step)
        np.testing.assert_allclose(jacobian[:, i], expected, atol=0.05, rtol=0.01, err_msg=str(i))


# --- outline -------------------------------------------------------------------------------------------------------


def test_outline_leads_a_turned_arm_back_to_the_silhouette() -> None:
    """The silhouette of a posed body, an arm turned away from it: the outline's points pull it back."""
    space = cases.space()
    values = cases.random_values(1, seed=7)[0]
    camera = WeakCamera(CAMERA[:2], float(np.exp(CAMERA[2])), DISTANCE_M)
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
    refined, moved, _, _ = refiner()(wrong, std, blind, DISTANCE_M, alignment, parameters)
    assert overlap(refined, moved) > overlap(wrong, camera) + 0.3 * (1 - overlap(wrong, camera))
    shape = space.vocabulary.group_indices("shape")
    np.testing.assert_array_equal(refined[shape], wrong[shape])
    # where the body is right already there is nothing to pull
    joints, rotvecs = refiner().joints(np.concatenate([values[refined_indices()], CAMERA]))
    right = align_silhouette(RenderedBody.of(state, offset, camera, 128), silhouette, (joints, rotvecs))
    skin = camera.project(joints[right.joint] + np.einsum("mij,mj->mi", rotvecs[right.joint], right.place))
    assert np.abs((skin * right.line[:, :2]).sum(1) - right.line[:, 2]).mean() < 1 / 128


def test_silhouette_tells_how_far_clothes_stand_off() -> None:
    """Somebody in wide clothes, seen by the silhouette alone: the codes move towards them."""
    space = load_tables().space
    state = space.state(np.array([label.mean for label in space.vocabulary.labels]))
    inside, std = load_chart().inside, space.appearance.std
    camera = WeakCamera(np.zeros(2), 0.45, DISTANCE_M)
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
