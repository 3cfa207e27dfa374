"""BVH against a reader written apart from it."""

import numpy as np
import pytest

from somacast.body.rotations import about_axis
from somacast.body.skeleton import CANONICAL_JOINTS, JOINT_PARENT
from somacast.body.table import BODY_VERTICES, load_body
from somacast.formats.bvh import encode_bvh, euler_zxy_deg
from somacast.geometry.rig import Motion
from support.rig_cases import SHAPE, bare_rig, motion


def read_bvh(text: str) -> tuple[list[tuple[str, int, np.ndarray, list[str]]], float, np.ndarray]:
    """Strictly: joints in order (name, parent, offset, channels), seconds of a frame, table [T, channels]."""
    head, _, tail = text.partition("MOTION\n")
    words = iter(head.split())
    joints: list[tuple[str, int, np.ndarray, list[str]]] = []
    open_joints: list[int] = []
    assert next(words) == "HIERARCHY"
    for word in words:
        if word in ("ROOT", "JOINT"):
            assert (word == "ROOT") == (not joints)
            joints.append((next(words), open_joints[-1] if open_joints else -1, np.zeros(3), []))
            open_joints.append(len(joints) - 1)
            assert next(words) == "{"
        elif word == "End":
            assert [next(words) for _ in range(3)] == ["Site", "{", "OFFSET"]
            assert np.linalg.norm([float(next(words)) for _ in range(3)]) > 1
            assert next(words) == "}"
        elif word == "OFFSET":
            joints[open_joints[-1]][2][:] = [float(next(words)) for _ in range(3)]
        elif word == "CHANNELS":
            joints[open_joints[-1]][3].extend([next(words) for _ in range(int(next(words)))])
        else:
            assert word == "}"
            open_joints.pop()
    assert not open_joints
    lines = tail.splitlines()
    assert lines[0].startswith("Frames: ") and lines[1].startswith("Frame Time: ")
    table = np.array([[float(x) for x in line.split()] for line in lines[2:]])
    assert table.shape == (int(lines[0].split()[1]), sum(len(j[3]) for j in joints))
    return joints, float(lines[1].split()[2]), table


def bvh_world(joints, row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places [J, 3] and world rotations [J, 3, 3] of a frame: channels act in the order in which they are named."""
    worlds, at = [], 0
    for _, parent, offset, channels in joints:
        local = np.eye(4)
        local[:3, 3] = offset
        for channel in channels:
            step, axis = np.eye(4), channel[0].lower()
            if channel.endswith("position"):
                step["xyz".index(axis), 3] = row[at]
            else:
                step[:3, :3] = about_axis(axis, np.radians(row[at]))
            local, at = local @ step, at + 1
        worlds.append(local if parent < 0 else worlds[parent] @ local)
    world = np.array(worlds)
    return world[:, :3, 3], world[:, :3, :3]


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
        places_cm, quaternions = bvh_world(joints, table[frame])
        np.testing.assert_allclose(quaternions, rotations, atol=1e-6)
        np.testing.assert_allclose(places_cm / 100, expected - expected[0] + motion().pelvis_m[frame], atol=1e-5)


def test_bvh_of_one_frame():
    rig = bare_rig()
    still = Motion(rig.rotations[None], rig.joints[:1])
    joints, _, table = read_bvh(encode_bvh(rig.joints, rig.rotations, still))
    np.testing.assert_allclose(bvh_world(joints, table[0])[0] / 100, rig.joints, atol=1e-6)


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
