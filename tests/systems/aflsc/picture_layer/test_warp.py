"""The warp: its bytes, what its numbers move, and how the sender finds them."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
import pytest

from somacast.bitstream import container
from somacast.body.skeleton import CANONICAL_JOINTS, JOINT_COUNT
from somacast.errors import BitstreamError
from somacast.geometry.rasteriser import render_camera
from somacast.geometry.rig import body_joint_weights
from somacast.metrics.image import iou
from somacast.systems.aflsc.networks.loading import load_tables
from somacast.systems.aflsc.picture_layer.aligned import PosedBody
from somacast.systems.aflsc.picture_layer.canvas import Canvas
from somacast.systems.aflsc.picture_layer.fit import fit_warp, rounded
from somacast.systems.aflsc.picture_layer.limbs import Limbs
from somacast.systems.aflsc.picture_layer.share import share_of
from somacast.systems.aflsc.picture_layer.warp import FARTHEST, NO_WARP, NUMBERS, REACH, STEPS, USUAL, Warp, tables
from somacast.types import Camera, Mesh

COUNT = JOINT_COUNT * NUMBERS
PELVIS = np.array([0.07, -0.03, np.log(3.0)])
KNEE, FOOT = (CANONICAL_JOINTS.index(name) for name in ("l_lower_leg", "l_foot"))
LEGS = [k for k, name in enumerate(CANONICAL_JOINTS) if name[2:] in ("upper_leg", "lower_leg", "foot", "toe")]


@pytest.fixture(scope="module")
def body() -> PosedBody:
    """Somebody of mean build in the pose of the basis' middle."""
    space = load_tables().space
    values = np.array([label.mean for label in space.vocabulary.labels])
    values[space.vocabulary.group_indices("camera")] = PELVIS
    return PosedBody.of(space.state(values), space)


def numbers(**wanted: dict[int, float]) -> np.ndarray:
    """Numbers [105] in heights: joint=dict of number and value."""
    out = np.zeros((JOINT_COUNT, NUMBERS))
    for name, values in wanted.items():
        for number, value in values.items():
            out[CANONICAL_JOINTS.index(name), number] = value
    return out.ravel()


# -- bytes -------------------------------------------------------------------------------------------------------------


def test_a_warp_comes_back_exactly():
    rng = np.random.default_rng(0)
    for fineness, size in itertools.product(range(len(STEPS)), (0.0, 0.6, 4.0)):
        steps = np.clip(np.rint(size * rng.standard_normal(COUNT)), -REACH, REACH).astype(np.int64)
        again = Warp.decode(Warp(fineness, steps).encode())
        assert again.fineness == fineness and np.array_equal(again.steps, steps)
        assert np.allclose(again.heights, steps * STEPS[fineness] / 20000)


def test_warps_are_bytes_that_never_change():
    steps = np.arange(COUNT) % 5 - 2
    golden = "6c74eda2dd85c11b5d4cb9aa8ded3729c666cde08594f22e73cd53c6e002428e5656bfeeb4d61cc6feba73"
    assert Warp(2, steps).encode().hex() == golden
    assert NO_WARP.encode().hex() == "19a2ea5d70053b2cb23c"


def test_tables_have_a_place_for_every_step_and_favour_small_ones():
    for fineness in range(len(STEPS)):
        for table in tables(fineness):
            shares = np.diff(table)
            assert len(shares) == 2 * REACH + 1 and table[-1] == 4096
            assert abs(shares[REACH + 1] - shares[REACH - 1]) <= 1 and shares[REACH] >= shares[REACH + 1]


def test_damaged_warps_are_refused_or_move_within_bounds():
    with pytest.raises(BitstreamError):
        Warp.decode(NO_WARP.encode() + b"\1" * 40)
    with pytest.raises(BitstreamError, match="farther"):
        Warp.decode(Warp(0, np.full(COUNT, REACH)).encode())
    rng = np.random.default_rng(1)
    for _ in range(50):
        try:
            warp = Warp.decode(rng.integers(0, 256, 60, np.uint8).tobytes())
        except BitstreamError:
            continue
        assert np.abs(warp.steps).sum() * STEPS[warp.fineness] <= FARTHEST


def test_the_format_names_the_usual_sizes():
    text = (Path(container.__file__).parent / "FORMAT.md").read_text()
    rows = re.findall(r"^\| ([a-z, ]+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", text, re.M)
    said = {name.replace(" ", "_"): tuple(map(int, sizes)) for names, *sizes in rows for name in names.split(", ")}
    assert said == USUAL


def test_larger_files_have_finer_warps():
    found = [share_of(budget, budget - 100).fineness for budget in (100, 250, 400, 800, 5000)]
    assert found == sorted(found) and found[0] == 0 and found[-1] == len(STEPS) - 1


# -- what it moves -----------------------------------------------------------------------------------------------------


def test_a_shift_of_the_pelvis_moves_everything(body: PosedBody):
    limbs = body.limbs
    for number in (0, 1):
        moves = limbs.moves(numbers(pelvis={number: 0.02}))
        assert np.allclose(moves, moves[0], atol=1e-6) and np.linalg.norm(moves[0]) == pytest.approx(0.02, abs=1e-6)


def test_a_limb_takes_along_what_hangs_on_it_and_nothing_else(body: PosedBody):
    limbs, weights = body.limbs, body_joint_weights()
    for number in range(NUMBERS):
        moves = limbs.moves(numbers(l_lower_leg={number: 0.03}))
        others = weights[:, [j for j in range(JOINT_COUNT) if not KNEE <= j <= KNEE + 2]].sum(1)
        assert np.abs(moves[others > 0.9999]).max() < 1e-5
        foot = moves[weights[:, FOOT] > 0.999]
        ankle = np.array([1.0, *limbs.joints[FOOT]])
        end = ankle @ (limbs.basis @ numbers(l_lower_leg={number: 0.03})).reshape(JOINT_COUNT, 3, 2)[KNEE]
        assert np.allclose(foot, end, atol=1e-5)  # it goes where the shin ends, unturned
        assert np.linalg.norm(end) > 0.02 or number == 4


def test_widening_moves_both_sides_apart(body: PosedBody):
    limbs = body.limbs
    moves = limbs.moves(numbers(l_lower_leg={4: 0.01}))
    skin = body_joint_weights()[:, KNEE] > 0.999
    places = limbs.places[skin] - limbs.joints[KNEE]
    limb = limbs.joints[FOOT] - limbs.joints[KNEE]
    across = np.array([-limb[1], limb[0]]) / np.linalg.norm(limb)
    assert np.corrcoef(places @ across, moves[skin] @ across)[0, 1] > 0.9999
    assert np.abs(moves[skin] @ limb).max() < 1e-6


def test_slopes_are_what_the_numbers_move(body: PosedBody):
    limbs, rng = body.limbs, np.random.default_rng(2)
    corners = rng.integers(0, 13380, (40, 1)).repeat(3, 1)
    shares = rng.dirichlet(np.ones(3), 40)
    normals = rng.standard_normal((40, 2))
    slopes = limbs.slopes(corners, shares, normals)
    for number in (0, 1, 12, 73, 104):
        one = np.zeros(COUNT)
        one[number] = 0.01
        moves = (limbs.moves(one)[corners[:, 0]] * normals).sum(1)
        assert np.allclose(slopes[:, number] * 0.01, moves, atol=1e-6)


def test_a_limb_that_points_at_the_camera_has_some_direction():
    weights = body_joint_weights()
    joints = np.zeros((JOINT_COUNT, 2))
    limbs = Limbs.of(np.zeros((len(weights), 2)), joints)
    assert np.isfinite(limbs.basis).all() and np.abs(limbs.moves(np.full(COUNT, 0.01))).max() < 1


def test_what_the_pelvis_moves_becomes_part_of_its_place(body: PosedBody):
    rng = np.random.default_rng(3)
    warp = Warp(2, rng.integers(-3, 4, COUNT))
    moved = body.aligned(warp.heights)
    wanted = body.limbs.places + body.limbs.moves(warp.heights)
    seen = Canvas(body.canvas.low, body.canvas.high, moved.canvas.pelvis_m).places(moved.skin.vertices)
    assert np.allclose(seen * [body.canvas.aspect, 1], wanted, atol=1e-5)
    assert np.array_equal(moved.skin.vertices[:, 2], body.skin.vertices[:, 2])
    pelvis = Canvas(body.canvas.low, body.canvas.high, moved.canvas.pelvis_m).places(np.zeros((1, 3)))[0]
    before = body.canvas.places(np.zeros((1, 3)))[0]
    move = body.limbs.joint_move(0, warp.heights)
    assert np.allclose((pelvis - before) * [body.canvas.aspect, 1], move, atol=1e-6)
    assert moved.skin.joints is body.skin.joints
    places = moved.canvas.places(moved.skin.vertices)
    assert places.min() > 0.02 and places.max() < 0.98


# -- how it is found ---------------------------------------------------------------------------------------------------


SIZE = 800


def wide_camera(canvas: Canvas, pelvis_m: np.ndarray) -> Camera:
    """Of a canvas and a tenth of it around, for somebody whose pelvis is elsewhere."""
    low, high = canvas.tangents(np.array([[-0.1, -0.1], [1.1, 1.1]]))
    return Canvas(low, high, pelvis_m).camera(SIZE, SIZE)


def changed(body: PosedBody, kind: str) -> np.ndarray:
    vertices = body.skin.vertices.copy()
    if kind == "moved":
        vertices += np.float32([0.04, 0.02, 0])
    elif kind == "wider":
        vertices *= np.float32([1.12, 1, 1])
    elif kind == "taller":
        vertices *= np.float32([1, 1.05, 1])
    elif kind == "arm":  # of all joints from the left shoulder on
        weight = body_joint_weights()[:, 6:9].sum(1)
        shoulder = body.skin.joints[6]
        turn = np.radians(12.0)
        way = vertices - shoulder
        turned = np.stack([np.cos(turn) * way[:, 0] - np.sin(turn) * way[:, 1],
                           np.sin(turn) * way[:, 0] + np.cos(turn) * way[:, 1], way[:, 2]], 1)  # fmt: skip
        vertices += (weight[:, None] * (turned - way)).astype(np.float32)
    return vertices


@pytest.mark.parametrize(("kind", "least"), [("moved", 0.96), ("wider", 0.96), ("taller", 0.97), ("arm", 0.98),
                                             ("none", 0.99)])  # fmt: skip
def test_the_warp_brings_the_body_onto_another_edge(body: PosedBody, kind: str, least: float):
    mesh = body.aligned(NO_WARP.heights).mesh
    other = Mesh(changed(body, kind), mesh.faces)
    camera = wide_camera(body.canvas, body.canvas.pelvis_m)
    wanted = render_camera(other, camera).mask

    def silhouette(places: np.ndarray) -> np.ndarray:
        at = np.clip((places + 0.1) / 1.2 * SIZE, 0, SIZE - 1).astype(int)
        return wanted[at[..., 1], at[..., 0]].astype(np.float32)

    warp = fit_warp(body, silhouette, 2)
    moved = body.aligned(warp.heights)
    before = iou(wanted, render_camera(mesh, camera).mask)
    after = iou(wanted, render_camera(moved.mesh, wide_camera(body.canvas, moved.canvas.pelvis_m)).mask)
    assert after > least and after >= before - 0.01
    assert len(warp.encode()) < 45
    coarse = fit_warp(body, silhouette, 0)
    assert len(coarse.encode()) <= len(warp.encode())


def test_what_the_picture_does_not_show_stays_where_the_labels_say(body: PosedBody):
    """Somebody cut at the hips by the picture's edge, and one behind a table: legs are not made shorter."""
    mesh = body.aligned(NO_WARP.heights).mesh
    camera = wide_camera(body.canvas, body.canvas.pelvis_m)
    wanted = render_camera(Mesh(mesh.vertices + np.float32([0.03, 0, 0]), mesh.faces), camera).mask
    hips = body.canvas.places(body.skin.joints)[LEGS[0], 1]

    def silhouette(places: np.ndarray, beyond: float) -> np.ndarray:
        at = np.clip((places + 0.1) / 1.2 * SIZE, 0, SIZE - 1).astype(int)
        return np.where(places[..., 1] < hips, wanted[at[..., 1], at[..., 0]], beyond).astype(np.float32)

    unseen = np.zeros(JOINT_COUNT, bool)
    unseen[LEGS] = True
    cut = fit_warp(body, lambda places: silhouette(places, np.nan), 2)
    behind = fit_warp(body, lambda places: silhouette(places, 0.0), 2, unseen)
    blind = fit_warp(body, lambda places: silhouette(places, 0.0), 2)
    legs = body_joint_weights()[:, LEGS].sum(1) > 0.99
    shift = 0.03 / body.canvas.pelvis_m[2] / np.diff([body.canvas.low[1], body.canvas.high[1]])[0]
    moved = [np.linalg.norm(body.limbs.moves(warp.heights)[legs] - [shift, 0], axis=1).mean()
             for warp in (cut, behind, blind)]  # fmt: skip
    assert max(moved[:2]) < 0.012 and moved[2] > 2 * max(moved[:2])


def test_nothing_to_fit_to_moves_nothing(body: PosedBody):
    assert fit_warp(body, lambda places: np.zeros(places.shape[:-1], np.float32), 2) is NO_WARP


def test_numbers_are_rounded_one_after_the_other():
    """Against all combinations of a small problem: near the best, nearer than each rounded for itself, and few bits
    where bits cost much."""
    rng = np.random.default_rng(4)
    bits = np.tile(np.abs(np.arange(-REACH, REACH + 1.0)) + 1, (4, 1))
    ratios = []
    for _ in range(20):
        design = rng.standard_normal((9, 4))
        matrix, wanted = design.T @ design, rng.uniform(-2, 2, 4)

        def cost(steps: np.ndarray, bit: float, matrix=matrix, wanted=wanted) -> float:
            off = steps - wanted
            return float(off @ matrix @ off + bit * bits[np.arange(4), steps + REACH].sum())

        found = rounded(matrix, matrix @ wanted, 1.0, bits, 0.01)
        best = min(cost(np.array(c), 0.01) for c in itertools.product(range(-4, 5), repeat=4))
        ratios.append((cost(found, 0.01) / best, cost(np.rint(wanted).astype(int), 0.01) / best))
        assert not rounded(matrix, matrix @ wanted, 1.0, bits, 1e6).any()
    ours, apart = np.mean(ratios, 0)
    assert ours < 1.25 and ours < apart
