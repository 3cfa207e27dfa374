"""Rigs: kinematics, joint weights and posing."""

from dataclasses import replace

import numpy as np
import pytest

from somacast.body.rotations import about_axis, continuous_quaternions, quaternion_to_matrix
from somacast.body.skeleton import (
    CANONICAL_JOINTS,
    JOINT_COUNT,
    joint_places,
    local_rotations,
    rest_offsets,
    world_rotations,
)
from somacast.body.table import TPOSE
from somacast.errors import SomacastError
from somacast.geometry.reconstruction import Reconstruction
from somacast.geometry.rig import Motion, Rig, matching_body, posed, rig_human, skin_weights
from somacast.types import Mesh
from support.rig_cases import bare_rig, motion

L_ELBOW = CANONICAL_JOINTS.index("l_lower_arm")


def test_signs_of_quaternions_are_continuous():
    spin = about_axis("y", np.linspace(0, 6 * np.pi, 90))[:, None]
    quaternions = continuous_quaternions(spin)
    np.testing.assert_allclose(quaternion_to_matrix(quaternions), spin, atol=1e-12)
    assert ((quaternions[1:] * quaternions[:-1]).sum(-1) > 0.9).all()
    assert quaternions[30, 0, 3] < 0  # one turn on, the other sign: that it may stay near to the last


def test_weights_of_the_body_table_come_back():
    rig = bare_rig(True)
    weights = skin_weights(rig.mesh, rig.mesh.vertices)
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-5)
    # smoothing moves the borders between joints by a vertex or two and nothing else
    assert np.abs(weights - rig.weights).mean() < 0.01
    assert (weights.argmax(1) == rig.weights.argmax(1)).mean() > 0.96
    assert np.abs(matching_body(rig.joints, rig.rotations) - rig.mesh.vertices).mean() < 0.01


def test_an_elbow_bends_without_tearing():
    rotations = np.array(TPOSE, np.float64)
    rotations[L_ELBOW : L_ELBOW + 2] = about_axis("y", np.radians(-110))
    rig = bare_rig(True)
    hung = Rig(rig.mesh, rig.joints, rig.rotations, skin_weights(rig.mesh, rig.mesh.vertices))
    bent = posed(hung, rotations, rig.joints[0])
    edges = rig.mesh.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    before, after = (np.linalg.norm(np.subtract(*m.vertices[edges.T]), axis=1) for m in (rig.mesh, bent))
    assert after.max() < 2 * before.max()
    assert ((after - before) < 0.015).all()
    wrist = bent.vertices[rig.weights[:, L_ELBOW + 1] > 0.9].mean(0)
    assert wrist[2] > rig.joints[L_ELBOW, 2] + 0.2  # in front of the elbow now


def test_rig_of_a_received_person():
    rig = bare_rig()
    human = Reconstruction(rig.mesh, joints=rig.joints, rotations=rig.rotations)
    own, fitted = rig_human(human, rig.mesh.vertices), rig_human(human)
    assert (own.weights.argmax(1) == fitted.weights.argmax(1)).mean() > 0.9
    with pytest.raises(SomacastError, match="mesh, joints and rotations"):
        rig_human(Reconstruction(rig.mesh))


def test_kinematics_and_their_inverse():
    local = local_rotations(motion().rotations)
    np.testing.assert_allclose(world_rotations(local), motion().rotations, atol=1e-6)
    offsets = bare_rig().offsets_m
    places = joint_places(offsets, motion().rotations, motion().pelvis_m)
    assert places.shape == (len(local), JOINT_COUNT, 3)
    np.testing.assert_allclose(rest_offsets(places[2], motion().rotations[2]), offsets, atol=1e-6)


# -- what does not fit -------------------------------------------------------------------------------------------------

EYES = np.tile(np.eye(3), (JOINT_COUNT, 1, 1))
TRIANGLE = Mesh(np.eye(3, dtype=np.float32), np.array([[0, 1, 2]], np.int32))
PLACES = np.zeros((JOINT_COUNT, 3))
EVEN = np.ones((3, JOINT_COUNT))


@pytest.mark.parametrize(("make", "reason"), [
    (lambda: Motion(EYES, PLACES[:1]), "motion rotations: expected shape"),
    (lambda: Motion(EYES[None], PLACES[:2]), "motion pelvis: expected shape"),
    (lambda: Motion(EYES[None][:0], PLACES[:0]), "at least one frame"),
    (lambda: Motion(EYES[None], PLACES[:1], 0.0), "frames per second, got 0"),
    (lambda: Motion(EYES[None], PLACES[:1], float("nan")), "frames per second, got nan"),
    (lambda: Motion(EYES[None] * 1.1, PLACES[:1]), "rotation matrices"),
    (lambda: Motion(-EYES[None], PLACES[:1]), "rotation matrices"),
    (lambda: Motion(EYES[None] * np.nan, PLACES[:1]), "rotation matrices"),
    (lambda: Motion(EYES[None], PLACES[:1] + np.inf), "motion pelvis: expected finite"),
    (lambda: Rig(TRIANGLE, PLACES[:20], EYES, EVEN), "joints: expected shape"),
    (lambda: Rig(TRIANGLE, PLACES, EYES[:20], EVEN), "rotations: expected shape"),
    (lambda: Rig(TRIANGLE, PLACES, EYES, EVEN[:2]), "weights: expected shape"),
    (lambda: Rig(TRIANGLE, PLACES, EYES, EVEN * 0), "weights: expected finite numbers from 0"),
    (lambda: Rig(TRIANGLE, PLACES, EYES, -EVEN), "weights: expected finite numbers from 0"),
    (lambda: Rig(replace(TRIANGLE, faces=TRIANGLE.faces + 1), PLACES, EYES, EVEN), "vertices 0 to 2, got vertices 1"),
    (lambda: Rig(replace(TRIANGLE, faces=TRIANGLE.faces[:0]), PLACES, EYES, EVEN), "got no faces"),
    (lambda: Rig(replace(TRIANGLE, colors=PLACES), PLACES, EYES, EVEN), "mesh colors: expected shape"),
    (lambda: skin_weights(TRIANGLE, PLACES), "body vertices: expected shape"),
    (lambda: posed(Rig(TRIANGLE, PLACES, EYES, EVEN), EYES[:3], PLACES[0]), "rotations: expected shape"),
    (lambda: matching_body(PLACES, EYES[0]), "rotations: expected shape"),
])  # fmt: skip
def test_what_does_not_fit_is_one_line(make, reason):
    with pytest.raises(ValueError, match=reason) as caught:
        make()
    assert "\n" not in str(caught.value)
