"""AFLSC's label space: bits and levels, codes of chart and face, what a label costs, and what follows from it."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest

from somacast.body.skeleton import CANONICAL_JOINTS
from somacast.coding.importance import compression, importance, kept_levels
from somacast.coding.vocabulary import MAX_LEVELS
from somacast.systems.aflsc.labels.appearance_basis import COLOR_UNIT, AppearanceBasis
from somacast.systems.aflsc.labels.chart import OFFSET_UNIT_M, face_texels, load_chart
from somacast.systems.aflsc.labels.pose_basis import PoseBasis
from somacast.systems.aflsc.labels.schema import (
    APPEARANCE_LABELS,
    FACE_LABELS,
    FITTED_LABELS,
    FLOOR_BITS,
    GROUPS,
    levels_of,
)
from somacast.systems.aflsc.labels.space import LabelSpace
from somacast.systems.aflsc.training import labels as aflsc_labels
from support import aflsc_cases as cases

FITTED_NAMES = [entry.name for entry in FITTED_LABELS]


@lru_cache(maxsize=1)
def true_rows() -> np.ndarray:
    """The people's charts as rows [N, T, 4]."""
    return aflsc_labels.chart_rows(cases.charts())


# --- vocabulary ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", range(1, 9))
def test_levels_hold_the_bits_coarse_first(bits: int) -> None:
    levels = levels_of(bits)
    assert math.prod(levels) == 2**bits
    assert levels[0] == {1: 2, 8: 8}.get(bits, 4) and set(levels[1:]) <= {2}
    assert len(levels) <= MAX_LEVELS


def test_vocabulary_follows_from_the_bits() -> None:
    space = cases.space()
    by_name = {label.name: label for label in space.vocabulary.labels}
    for name, bits in zip(FITTED_NAMES, cases.bits(), strict=True):
        assert (name in by_name) == (bits > 0), name
        if bits:
            assert by_name[name].alphabets == levels_of(int(bits))
            assert by_name[name].minimum_levels == int(bits > FLOOR_BITS)
    optional = {label.group for label in space.vocabulary.labels if not label.minimum_levels}
    assert optional == {"pose", "shape", "face", "appearance", "hands", "camera"}
    assert space.vocabulary.groups == GROUPS and space.vocabulary.version == 2
    assert all(by_name[n].minimum_levels == 0 for n in ("pelvis_x", "pelvis_y", "log_depth"))
    assert len(space.parts["codes"].numbers) == len(space.parts["codes"].labels) < APPEARANCE_LABELS + FACE_LABELS


# --- codes of chart and face ---------------------------------------------------------------------------------------


def test_face_texels_are_the_front_of_the_head() -> None:
    chart, at = load_chart(), face_texels()
    assert 0.01 < at.mean() < 0.3
    assert np.all(chart.joint[chart.inside][at] == CANONICAL_JOINTS.index("head"))
    basis = cases.space().appearance.basis[APPEARANCE_LABELS:]
    assert np.all(basis[:, ~at] == 0)
    flat = basis[:, at].reshape(FACE_LABELS, -1)
    np.testing.assert_allclose(flat @ flat.T, np.eye(FACE_LABELS), atol=0.02)  # the last ones hold hardly anything
    np.testing.assert_allclose(flat[:8] @ flat[:8].T, np.eye(8), atol=1e-4)


def test_face_codes_say_what_the_codes_of_the_whole_chart_leave_over() -> None:
    space, at = cases.space(), face_texels()
    rng = np.random.default_rng(0)
    rows = true_rows() + 0.3 * rng.standard_normal(true_rows().shape, np.float32)
    codes = space.appearance.codes(rows)
    assert codes.shape == (len(rows), APPEARANCE_LABELS + FACE_LABELS)
    centred = rows - space.appearance.mean
    look, face = np.split(space.appearance.basis, [APPEARANCE_LABELS])
    by_hand = np.einsum("ntc,ktc->nk", centred, look)
    np.testing.assert_allclose(codes[:, :APPEARANCE_LABELS], by_hand, rtol=1e-3, atol=1e-2)
    rest = centred - np.einsum("nk,ktc->ntc", by_hand, look)
    np.testing.assert_allclose(codes[:, APPEARANCE_LABELS:], np.einsum("ntc,ktc->nk", rest, face), rtol=1e-3, atol=1e-2)
    last = rest - np.einsum("nk,ktc->ntc", codes[:, APPEARANCE_LABELS:], face)
    np.testing.assert_array_equal(last[:, ~at], rest[:, ~at])
    assert np.square(last[:, at]).sum() < np.square(rest[:, at]).sum()
    np.testing.assert_allclose(np.einsum("ntc,ktc->nk", last, face), 0, atol=1e-2)  # nothing is left for a second go


def test_codes_and_chart_maps_agree() -> None:
    """A chart that the components can say comes back: colours and offsets, face included."""
    space, inside = cases.space(), load_chart().inside
    rng = np.random.default_rng(1)
    wanted = 0.3 * space.appearance.std * rng.standard_normal(len(space.appearance.std))
    row = space.appearance.mean + np.tensordot(wanted, space.appearance.basis, 1)
    codes = space.appearance.codes(row[None])[0]
    color, offset = space.appearance.chart_maps(codes)
    np.testing.assert_allclose(color[inside], np.clip(row[:, :3] * COLOR_UNIT, 0, 1), atol=1e-3)
    np.testing.assert_allclose(offset[inside], row[:, 3] * OFFSET_UNIT_M, atol=1e-4)


def test_part_of_is_the_inverse_of_writing_codes_into_values() -> None:
    space = cases.space()
    part = space.parts["codes"]
    values = cases.random_values(4)
    codes = space.part_of(values, "codes")
    assert codes.shape == (4, APPEARANCE_LABELS + FACE_LABELS)
    dropped = np.setdiff1d(np.arange(codes.shape[1]), part.numbers)
    assert len(dropped) and np.all(codes[:, dropped] == 0)
    for row, values_row in zip(codes, values, strict=True):
        np.testing.assert_allclose(space.state(values_row).codes, row, atol=1e-6)
    again = values.copy()
    again[:, part.labels] = codes[:, part.numbers]
    np.testing.assert_allclose(again, values, rtol=1e-5, atol=1e-6)
    names = [space.vocabulary.labels[i].name for i in part.labels]
    assert names == [
        f"look_{k:03d}" if k < APPEARANCE_LABELS else f"face_{k - APPEARANCE_LABELS:02d}" for k in part.numbers
    ]


# --- costs, bits, importance ---------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def joint_space() -> LabelSpace:
    """The label space with one pose label for each axis of each joint, all of the same spread, and two codes that
    move one texel each: one in the face, one elsewhere."""
    space = cases.space()
    basis = np.zeros_like(space.appearance.basis)
    basis[0, np.flatnonzero(face_texels())[0], 0] = 1
    basis[1, np.flatnonzero(~face_texels())[0], 0] = 1
    basis[2, np.flatnonzero(face_texels())[0], 0] = 1
    std = np.ones_like(space.appearance.std)
    std[2] = 2
    everything = np.full(len(FITTED_NAMES), 5)
    pose = PoseBasis(space.pose.mean, np.eye(60), np.full(60, 0.2))
    return replace(space, pose=pose, appearance=AppearanceBasis(space.appearance.mean, basis, std), bits=everything)


@lru_cache(maxsize=1)
def joint_costs() -> dict[str, float]:
    return aflsc_labels.label_costs(joint_space(), cases.poses(), people=4)


def test_a_label_that_moves_more_of_the_body_costs_more() -> None:
    costs = joint_costs()

    def of_joint(name: str) -> float:
        first = 3 * (CANONICAL_JOINTS.index(name) - 1)
        return max(costs[f"pose_{first + axis:02d}"] for axis in range(3))

    assert set(costs) >= {label.name for label in joint_space().vocabulary.labels if label.group in ("root", "pose")}
    assert all(math.isfinite(cost) and cost >= 0 for cost in costs.values())
    assert costs["yaw"] > 10 * of_joint("l_toe")
    for chain in (("l_upper_leg", "l_lower_leg", "l_foot", "l_toe"), ("spine", "neck"), ("r_upper_arm", "r_lower_arm")):
        along = [of_joint(name) for name in chain]
        assert along == sorted(along, reverse=True) and along[0] > 1.3 * along[-1]
    assert costs["shape_00"] > costs["curl_left"]
    # the sides of the body count alike
    assert of_joint("l_toe") == pytest.approx(of_joint("r_toe"), rel=0.5)


def test_a_code_costs_what_it_changes_and_faces_count_more() -> None:
    costs = joint_costs()
    assert costs["look_002"] == pytest.approx(2 * costs["look_000"], rel=1e-4)
    assert costs["look_000"] == pytest.approx(costs["look_001"] * math.sqrt(aflsc_labels.FACE_WEIGHT), rel=1e-4)
    assert costs["look_003"] == 0
    # one texel of a face, with a change of one COLOR_UNIT in one of three channels
    weight = np.where(face_texels(), aflsc_labels.FACE_WEIGHT, 1.0)
    square = aflsc_labels.FACE_WEIGHT / weight.sum() / 3 * (COLOR_UNIT / 0.15) ** 2
    assert costs["look_000"] == pytest.approx(math.sqrt(square), rel=1e-4)


def test_bits_grow_with_the_cost() -> None:
    scales = np.geomspace(1e-4, 1e3, 60)
    bits = np.array([aflsc_labels.fit_bits({name: float(scale) for name in FITTED_NAMES}) for scale in scales])
    assert np.all(np.diff(bits, axis=0) >= 0) and bits.min() == 0 and bits.max() == 8
    may_vanish = np.array([name.startswith(("pose_", "look_", "face_")) for name in FITTED_NAMES])
    assert np.all(bits[:, ~may_vanish] >= 1) and np.all(bits[0, may_vanish] == 0)
    # a label that changes the person twice as much gets one bit more
    one, two = (aflsc_labels.fit_bits({name: cost for name in FITTED_NAMES}) for cost in (0.1, 0.2))
    assert np.all(two == one + 1)
    assert np.all(aflsc_labels.fit_bits({}) == np.where(may_vanish, 0, 1))


def test_at_the_strongest_compression_a_label_lacks_the_floor_bits() -> None:
    """With equal embeddings everywhere tau alone decides: kept levels are all but FLOOR_BITS, or the minimum."""
    vocabulary = cases.space().vocabulary
    model = aflsc_labels.fit_importance(cases.space().vocabulary)
    model.check(vocabulary)
    omega = importance(np.zeros(len(vocabulary.labels), np.int64), vocabulary, model)
    kept = kept_levels(compression(omega, 255, model), vocabulary)
    for label, count, tau in zip(vocabulary.labels, kept, model.tau, strict=True):
        levels = len(label.alphabets)
        if label.name == "yaw" or label.kind == "class":
            assert count == levels and tau == model.tau.max()
        elif label.group == "camera":
            assert count == 0 and tau == 1
        else:
            assert count == max(levels - FLOOR_BITS, label.minimum_levels), label.name
    assert np.all(kept_levels(compression(omega, 0, model), vocabulary) == vocabulary.level_counts)


def test_alike_labels_differ_in_nothing_but_the_first() -> None:
    vocabulary = cases.space().vocabulary
    plain, alike = (aflsc_labels.fit_importance(cases.space().vocabulary, alike=a) for a in (False, True))
    alike.check(vocabulary)
    classes = [i for i, label in enumerate(vocabulary.labels) if label.kind == "class"]
    others = np.setdiff1d(np.arange(len(alike.tau)), [vocabulary.positions["yaw"], *classes])
    assert len(set(alike.tau[others].tolist())) == 1
    assert len(set(plain.tau[others].tolist())) > 1
    assert alike.tau[vocabulary.positions["yaw"]] == plain.tau[vocabulary.positions["yaw"]] > alike.tau[others[0]]
    for a, b in zip(plain.embeddings, alike.embeddings, strict=True):
        np.testing.assert_array_equal(a, b)


def test_tables_of_the_label_space_look_at_other_labels_or_not() -> None:
    space, values = cases.space(), cases.random_values(1500)
    model = aflsc_labels.fit_importance(space.vocabulary)
    assert np.any(aflsc_labels.build_tables(space, values, model).parents >= 0)
    assert np.all(aflsc_labels.build_tables(space, values, model, conditional=False).parents == -1)
