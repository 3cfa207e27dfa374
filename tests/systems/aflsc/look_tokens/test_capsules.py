"""Capsules: the body as both ends know it exactly."""

from __future__ import annotations

import numpy as np
import pytest

from somacast.body.rotations import rotvec_to_matrix
from somacast.body.table import load_body
from somacast.systems.aflsc.look_tokens.capsules import (
    DEPTHS,
    GRID,
    HEIGHT_PX,
    MIN_DEPTH,
    PARTS,
    WIDTH_PX,
    Capsules,
    _exp,
    _places,
    _rotation,
    _sine_cosine,
)
from somacast.systems.aflsc.networks.loading import load_tables
from somacast.systems.aflsc.picture_layer.aligned import PosedBody

SPACE = load_tables().space
READ = ("root", "pose", "shape", "pelvis")


def people(count: int, seed: int = 0) -> np.ndarray:
    """Label values [N, L] as a receiver has them, all kinds of poses and places."""
    rng = np.random.default_rng(seed)
    vocabulary = SPACE.vocabulary
    values = np.array([[label.mean if label.kind == "class" else label.mean + 0.6 * label.std * rng.normal()
                        for label in vocabulary.labels] for _ in range(count)])  # fmt: skip
    values[:, SPACE.parts["root"].labels[:1]] = rng.uniform(-np.pi, np.pi, (count, 1))
    values[:, vocabulary.group_indices("camera")] = rng.normal(0, 0.2, (count, 3)) + [0, 0, np.log(3)]
    return vocabulary.dequantise(vocabulary.quantise(values))[0]


def test_no_value_that_can_be_sent_lies_between_two_numbers_of_32_bits():
    vocabulary = SPACE.vocabulary
    starts, _, centres = vocabulary._reconstruction
    for number in np.concatenate([SPACE.parts[name].labels for name in READ]):
        label = vocabulary.labels[number]
        first = starts[number, 1]
        last = starts[number, len(label.alphabets)] + label.fine_bins
        unit = np.asarray(centres[first:last], np.float64)
        sent = label.mean + label.std * unit if label.kind == "scalar" else unit
        near = sent.astype(np.float32)
        off = np.abs(sent - near.astype(np.float64)) / np.spacing(np.abs(near)).astype(np.float64)
        # machines differ by 1e-16 of a number, 1e-9 of the steps of 32 bits
        assert (off < 0.5 - 1e-7).all(), label.name


@pytest.mark.parametrize("angle", [-3.2, -1.0, -1e-7, 0.0, 0.4, 2.9, 3.14159])
def test_own_functions_are_those_of_libraries(angle):
    assert _sine_cosine(angle) == pytest.approx((np.sin(angle), np.cos(angle)), abs=1e-9)
    vector = angle * np.array([0.6, -0.64, 0.48])
    np.testing.assert_allclose(_rotation(vector), rotvec_to_matrix(vector), atol=1e-9)
    assert _exp(angle / 2) == pytest.approx(np.exp(angle / 2), rel=1e-6)


def test_bones_stand_where_the_body_has_them():
    body = load_body()
    for values in people(5):
        state = SPACE.state(values)
        numbers = {name: SPACE.part_of(np.asarray(values, np.float64), name) for name in READ}
        heads = body.joints(body.rest(state.shape)[1], state.rotations)
        places = _places(numbers, SPACE)
        for name in ("head", "wrist.L", "foot.R", "lowerleg01.L"):
            joint = list(body.joint_bone).index(body.bone_names.index(name))
            np.testing.assert_allclose(places[name], heads[joint] - heads[0], atol=2e-5)


def test_the_body_lies_on_the_canvas_and_in_its_parts():
    for values in people(8, 1):
        capsules = Capsules.of(values, SPACE)
        assert capsules.depths.shape == (len(PARTS), *GRID) and capsules.depths.max() <= 2 * DEPTHS
        width, height = capsules.canvas.high - capsules.canvas.low
        assert width / height == pytest.approx(WIDTH_PX / HEIGHT_PX)
        posed = PosedBody.of(SPACE.state(values), SPACE)
        places = capsules.canvas.places(posed.skin.vertices)
        inside = ((places > 0) & (places < 1)).all(1)
        assert inside.mean() > 0.98
        tokens = capsules.depths.max(0) >= MIN_DEPTH
        cells = np.floor(places[inside] * [GRID[1], GRID[0]]).astype(int)
        assert tokens[cells[:, 1], cells[:, 0]].mean() > 0.9
        assert 0.02 < tokens.mean() < 0.8


def test_the_same_labels_give_the_same_cells_and_others_do_not():
    one, other = people(2, 2)
    np.testing.assert_array_equal(Capsules.of(one, SPACE).depths, Capsules.of(one.copy(), SPACE).depths)
    assert (Capsules.of(other, SPACE).depths != Capsules.of(one, SPACE).depths).any()
