"""The VMC protocol: what a receiving OSC server gets, and that it leads back to the joints that were sent."""

import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest

from somacast.body.rotations import about_axis, quaternion_to_matrix
from somacast.body.skeleton import CANONICAL_JOINTS, JOINT_PARENT, joint_places, rest_offsets
from somacast.body.table import load_body
from somacast.errors import SomacastError
from somacast.formats.vmc import MAX_BUNDLE_BYTES, UNITY_BONES, VmcSender, encode_pose, standing_pelvis_m
from somacast.synthetic.motion.builtin import builtin_clip

osc_server = pytest.importorskip("pythonosc.osc_server")
from pythonosc.dispatcher import Dispatcher  # noqa: E402
from pythonosc.osc_bundle import OscBundle  # noqa: E402
from pythonosc.osc_message import OscMessage  # noqa: E402

EYES = np.tile(np.eye(3), (21, 1, 1))
# Unity's HumanBodyBones, the parent of each as a humanoid avatar has it
PARENT = {
    "Hips": None, "Spine": "Hips", "Chest": "Spine", "Neck": "Chest", "Head": "Neck",
    **{f"{s}{bone}": parent and parent.replace("*", s) for s in ("Left", "Right") for bone, parent in {
        "Shoulder": "Chest", "UpperArm": "*Shoulder", "LowerArm": "*UpperArm", "Hand": "*LowerArm",
        "UpperLeg": "Hips", "LowerLeg": "*UpperLeg", "Foot": "*LowerLeg", "Toes": "*Foot"}.items()},
}  # fmt: skip


def offsets() -> np.ndarray:
    body = load_body()
    return rest_offsets(body.joints(body.bone_mean, EYES.astype(np.float32)), EYES)


@contextmanager
def marionette():
    """A receiving application on a free port: (port, messages as (address, arguments), what waits for a count)."""
    got: list[tuple] = []
    enough = threading.Condition()

    def take(address, *values):
        with enough:
            got.append((address, *values))
            enough.notify_all()

    dispatcher = Dispatcher()
    dispatcher.set_default_handler(take)
    server = osc_server.BlockingOSCUDPServer(("127.0.0.1", 0), dispatcher)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()

    def wait(count):
        with enough:
            assert enough.wait_for(lambda: len(got) >= count, 5), f"{len(got)} of {count} messages came"
        return list(got)

    try:
        yield server.server_address[1], wait
    finally:
        server.shutdown()
        server.server_close()
        thread.join(2)


def messages(datagrams: list[bytes]) -> list[tuple]:
    out = []
    for datagram in datagrams:
        for message in OscBundle(datagram):
            assert isinstance(message, OscMessage)
            out.append((message.address, *message.params))
    return out


def unity_joints(got: list[tuple]) -> np.ndarray:
    """Joints [21, 3] by Unity's own rules (left-handed, parents first), brought back by mirroring x alone."""
    local = {m[1]: (np.array(m[2:5]), quaternion_to_matrix(np.array(m[5:9]))) for m in got if m[0].endswith("Bone/Pos")}
    world: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for name, parent in PARENT.items():
        place, turn = local[name]
        if parent is None:
            world[name] = place, turn
        else:
            above, turned = world[parent]
            world[name] = above + turned @ place, turned @ turn
    return np.stack([world[name][0] * [-1, 1, 1] for name in UNITY_BONES])


def test_names_and_order():
    assert set(UNITY_BONES) == set(PARENT) and len(UNITY_BONES) == 21
    for joint, name in enumerate(UNITY_BONES):
        parent = PARENT[name]
        assert (JOINT_PARENT[joint] < 0) if parent is None else UNITY_BONES[JOINT_PARENT[joint]] == parent
        side = {"l": "Left", "r": "Right"}.get(CANONICAL_JOINTS[joint].split("_")[0], "")
        assert name.startswith(side)
    datagrams = encode_pose(EYES, np.zeros(3), offsets(), 1.5)
    assert len(datagrams) == 2 and max(map(len, datagrams)) < MAX_BUNDLE_BYTES
    addresses = [message[0] for message in messages(datagrams)]
    root, bone = "/VMC/Ext/Root/Pos", "/VMC/Ext/Bone/Pos"
    assert addresses == [root, *[bone] * 21, "/VMC/Ext/OK", "/VMC/Ext/T"]


def test_tpose_is_the_identity_and_right_is_right():
    got = messages(encode_pose(EYES, standing_pelvis_m(offsets()), offsets(), 0.0))
    bones = {m[1]: m[2:] for m in got if m[0] == "/VMC/Ext/Bone/Pos"}
    for place_and_turn in bones.values():
        np.testing.assert_array_equal(place_and_turn[3:], [0, 0, 0, 1])
    assert got[0][1:] == ("root", 0, 0, 0, 0, 0, 0, 1)
    # in Unity a person who faces +z has the right hand at +x
    assert bones["RightUpperArm"][0] > 0.05 and bones["LeftUpperArm"][0] < -0.05
    assert 0.7 < bones["Hips"][1] < 1.1
    joints = unity_joints(got)
    feet = [k for k, name in enumerate(CANONICAL_JOINTS) if name.endswith(("foot", "toe"))]
    assert joints[feet, 1].min() == pytest.approx(0, abs=1e-6) and joints[:, 1].min() > -1e-6


def test_a_known_turn_in_unity():
    """A quarter turn to the person's left: in a left-handed frame seen from above that is -90 degrees about y."""
    got = messages(encode_pose(about_axis("y", np.pi / 2) @ EYES, np.zeros(3), offsets(), 0.0))
    hips = next(m for m in got if m[1:2] == ("Hips",))
    np.testing.assert_allclose(hips[5:], [0, -np.sqrt(0.5), 0, np.sqrt(0.5)], atol=1e-6)


def test_a_receiver_gets_the_joints_back():
    clip, path = builtin_clip(np.random.default_rng(2), "running", 0.7, 30.0)
    turned = about_axis("y", 2.0) @ clip
    with marionette() as (port, wait), VmcSender("127.0.0.1", port) as sender:
        for frame in range(6):
            sender.send(turned[3 * frame], path[3 * frame] + [0.3, 0.9, -0.2], offsets())
            got = wait(24 * (frame + 1))[24 * frame :]
            assert got[22] == ("/VMC/Ext/OK", 1) and got[23][0] == "/VMC/Ext/T"
            expected = joint_places(offsets(), turned[3 * frame], path[3 * frame] + [0.3, 0.9, -0.2])
            assert np.abs(unity_joints(got) - expected).max() < 1e-3
        times = [m[1] for m in wait(144) if m[0] == "/VMC/Ext/T"]
        assert times == sorted(times) and 0 <= times[0] < times[-1] < 30
        assert (sender.sent, sender.failed) == (12, 0)


def test_nobody_listens():
    with marionette() as (port, _):
        pass
    with VmcSender("127.0.0.1", port) as sender:
        for _ in range(4):
            sender.send(EYES, np.zeros(3), offsets())
            time.sleep(0.01)
        assert sender.sent + sender.failed == 8


@pytest.mark.parametrize(("act", "reason"), [
    (lambda: VmcSender("no.such.host.invalid"), "has no address"),
    (lambda: VmcSender("a" * 80), "has no address"),
    (lambda: VmcSender(port=0), "1 to 65535, got 0"),
    (lambda: VmcSender().send(EYES * 2, np.zeros(3), np.zeros((21, 3))), "rotation matrices"),
    (lambda: VmcSender().send(EYES, np.zeros(2), np.zeros((21, 3))), "pelvis: expected shape"),
    (lambda: VmcSender().send(EYES, np.zeros(3), np.full((21, 3), np.nan)), "finite"),
    (lambda: encode_pose(EYES, np.zeros(3), np.zeros((21, 3)), float("inf")), "finite seconds"),
])  # fmt: skip
def test_what_does_not_fit_is_one_line(act, reason):
    with pytest.raises(SomacastError if "shape" not in reason else ValueError, match=reason) as caught:
        act()
    assert "\n" not in str(caught.value)
