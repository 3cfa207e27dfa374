"""BVH against a reader written apart from it."""

import numpy as np
import pytest

from somacast.body.rotations import about_axis
from somacast.body.skeleton import CANONICAL_JOINTS, JOINT_PARENT
from somacast.body.table import BODY_VERTICES, load_body
from somacast.formats.bvh import encode_bvh, euler_zxy_deg
from somacast.geometry.rig import Motion
from support.format_cases import bvh_world, read_bvh
from support.rig_cases import SHAPE, bare_rig, motion


def test_bvh_gives_joints_and_rotations_back():
    rig = bare_rig()
    joints, frame_s, table = read_bvh(encode_bvh(rig.joints, rig.rotations, motion()))
    assert [name for name, *_ in joints] == list(CANONICAL_JOINTS)
    assert [parent for _, parent, *_ in joints] == JOINT_PARENT.tolist()
    assert all(channels[-3:] == ["Zrotation", "Xrotation", "Yrotation"] for *_, channels in joints)
    assert frame_s == pytest.approx(0.05) and len(table) == len(motion().rotations)
    for frame in range(0, len(table), 3):
        rotations = motion().rotations[frame]
        body, expected = load_body().pose(SHAPE, rotations)
        assert len(body) == BODY_VERTICES
        places, quaternions = bvh_world(joints, table[frame])
        np.testing.assert_allclose(quaternions, rotations, atol=1e-6)
        np.testing.assert_allclose(places, expected - expected[0] + motion().pelvis_m[frame], atol=1e-5)


def test_bvh_of_one_frame():
    rig = bare_rig()
    still = Motion(rig.rotations[None], rig.joints[:1])
    joints, _, table = read_bvh(encode_bvh(rig.joints, rig.rotations, still))
    np.testing.assert_allclose(bvh_world(joints, table[0])[0], rig.joints, atol=1e-6)


def test_centimetres_are_metres_times_a_hundred_and_angles_stay():
    rig = bare_rig()
    metres, hundredths = (encode_bvh(rig.joints, rig.rotations, motion(), per_m) for per_m in (1.0, 100.0))
    (joints, _, table), (joints_cm, _, table_cm) = read_bvh(metres), read_bvh(hundredths)
    np.testing.assert_allclose(table_cm[:, 3:], table[:, 3:])
    np.testing.assert_allclose(table_cm[:, :3], 100 * table[:, :3], atol=1e-4)
    for (_, _, offset, _), (_, _, offset_cm, _) in zip(joints, joints_cm, strict=True):
        np.testing.assert_allclose(offset_cm, 100 * offset, atol=1e-4)
    ends = [[float(x) for x in line.split()[1:]] for text in (metres, hundredths) for line in text.splitlines()
            if "OFFSET" in line]  # fmt: skip
    np.testing.assert_allclose(ends[len(ends) // 2 :], 100 * np.array(ends[: len(ends) // 2]), atol=1e-4)


def test_angles_are_continuous_through_the_lock():
    swing = np.linspace(-2.5, 2.5, 101)[:, None]  # the middle angle goes through -90 and 90 degrees
    quaternions = about_axis("z", 0.3) @ about_axis("x", swing) @ about_axis("y", -0.4)
    angles = euler_zxy_deg(quaternions)
    z, x, y = (np.radians(angles[..., k]) for k in range(3))
    np.testing.assert_allclose(about_axis("z", z) @ about_axis("x", x) @ about_axis("y", y), quaternions, atol=1e-9)
    assert np.abs(np.diff(angles, axis=0)).max() < 4
    locked = about_axis("x", np.full((2, 1), np.pi / 2)) @ about_axis("y", 0.7)
    z, x, y = (np.radians(euler_zxy_deg(locked)[..., k]) for k in range(3))
    np.testing.assert_allclose(about_axis("z", z) @ about_axis("x", x) @ about_axis("y", y), locked, atol=1e-9)
    spin = euler_zxy_deg(about_axis("y", np.linspace(0, 4 * np.pi, 60))[:, None])
    assert spin[-1, 0, 2] == pytest.approx(720)


def test_what_does_not_fit_is_one_line():
    rig = bare_rig()
    with pytest.raises(ValueError, match="joints: expected shape"):
        encode_bvh(rig.joints[:2], rig.rotations, motion())
