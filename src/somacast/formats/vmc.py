"""The VMC protocol (Virtual Motion Capture): joint rotations to Unity, Unreal and Blender, as OSC messages over UDP.

Receivers (EVMC4U, VMC4UE, VRM4U, VMC4B) listen on port 39539. Of https://protocol.vmc.info (version 2) are sent:
/VMC/Ext/Root/Pos "root", the identity; /VMC/Ext/Bone/Pos for 21 bones under the names of Unity's humanoid, each with
place and turn relative to its parent; then, last, because some receivers show the pose on them, /VMC/Ext/OK and
/VMC/Ext/T. Bundles stay under 1400 bytes, so that none is split on its way. Of OSC 1.0 so little is needed that it is
written here: a plain install can send, in a fifth of the time that python-osc took.

Ours is right-handed with the person's left along +x; Unity's is left-handed with the person's right along +x, and both
have y up and a T-pose that faces +z. So x is mirrored: a place (x, y, z) becomes (-x, y, z), a turn by the quaternion
(x, y, z, w) becomes (x, -y, -z, w), and the T-pose is the identity on both sides.
"""

from __future__ import annotations

import math
import socket
import struct
import time
from functools import lru_cache

import numpy as np

from somacast.body.rotations import matrix_to_quaternion
from somacast.body.skeleton import CANONICAL_JOINTS, JOINT_COUNT, local_rotations
from somacast.checks import check_places, check_rotations
from somacast.errors import SomacastError

PORT = 39539
MAX_BUNDLE_BYTES = 1400
_CENTRAL = {"pelvis": "Hips", "spine": "Spine", "chest": "Chest", "neck": "Neck", "head": "Head"}
_SIDED = {"clavicle": "Shoulder", "upper_arm": "UpperArm", "lower_arm": "LowerArm", "hand": "Hand",
          "upper_leg": "UpperLeg", "lower_leg": "LowerLeg", "foot": "Foot", "toe": "Toes"}  # fmt: skip
_LEG = ("upper_leg", "lower_leg", "foot", "toe")
UNITY_BONES = tuple(
    _CENTRAL.get(joint) or {"l": "Left", "r": "Right"}[joint[0]] + _SIDED[joint[2:]] for joint in CANONICAL_JOINTS
)
_MIRROR_PLACE = np.array([-1.0, 1.0, 1.0])
_MIRROR_TURN = np.array([1.0, -1.0, -1.0, 1.0])
_BUNDLE_HEAD = b"#bundle\0" + (1).to_bytes(8, "big")  # time tag 1: at once
_SEVEN = struct.Struct(">7f")
_T_MODULUS_S = 86_400.0  # T is a float32: after a day it would no longer tell frames apart


def unity_bones(rotations: np.ndarray, pelvis_m: np.ndarray, offsets_m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """World rotations [21, 3, 3], pelvis [3], offsets in the T-pose [21, 3] to what Unity's bones have relative to
    their parents: places [21, 3] in metres and quaternions [21, 4] (x, y, z, w) with w >= 0, left-handed."""
    places = np.array(offsets_m, np.float64)
    places[0] = pelvis_m
    quaternions = matrix_to_quaternion(local_rotations(rotations)) * _MIRROR_TURN
    return places * _MIRROR_PLACE, quaternions * np.where(quaternions[:, 3:] < 0, -1.0, 1.0)


def standing_pelvis_m(offsets_m: np.ndarray) -> np.ndarray:
    """Where the pelvis [3] of a person in the T-pose is if the lower foot joint (ankle or ball) is at y = 0; offsets
    [21, 3] in metres. Add it to a pelvis that moves around the origin, else avatars sink into the floor."""
    rows = [[CANONICAL_JOINTS.index(f"{side}_{part}") for part in _LEG] for side in "lr"]
    lowest_m = np.asarray(offsets_m, np.float64)[rows, 1].cumsum(1).min()
    return np.array([0.0, -lowest_m, 0.0])


class VmcSender:
    """Sends poses to one receiver. Nobody need listen: datagrams to nobody are lost without a word.

    Raises SomacastError for a host that has no address and a port outside 1 to 65535.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = PORT):
        if not 1 <= port <= 65535:
            raise SomacastError(f"VMC port: expected 1 to 65535, got {port}")
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        except (OSError, UnicodeError) as fault:
            raise SomacastError(f"VMC host {host!r}: has no address ({fault})") from fault
        self._address = found[4]
        self._socket = socket.socket(found[0], socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._start_s = time.monotonic()
        self.sent = self.failed = 0  # datagrams

    def send(self, rotations: np.ndarray, pelvis_m: np.ndarray, offsets_m: np.ndarray) -> None:
        """One pose: world rotations [21, 3, 3] relative to the T-pose, the pelvis [3] in metres with y = 0 on the floor
        (see `standing_pelvis_m`), offsets of the joints from their parents in the T-pose [21, 3] in metres.

        What the network refuses is counted in `failed`. Raises ValueError for other shapes and what is not finite.
        """
        rotations = check_rotations("rotations", rotations, (JOINT_COUNT, 3, 3))
        offsets = check_places("offsets", offsets_m, (JOINT_COUNT, 3))
        elapsed_s = (time.monotonic() - self._start_s) % _T_MODULUS_S
        for datagram in encode_pose(rotations, check_places("pelvis", pelvis_m, (3,)), offsets, elapsed_s):
            try:
                self._socket.sendto(datagram, self._address)
                self.sent += 1
            except OSError:  # nobody there, no route, buffer full: the next pose makes up for it
                self.failed += 1

    def close(self) -> None:
        """Close the socket; may be called again."""
        self._socket.close()

    def __enter__(self) -> VmcSender:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def encode_pose(rotations: np.ndarray, pelvis_m: np.ndarray, offsets_m: np.ndarray, time_s: float) -> list[bytes]:
    """The datagrams of one pose, arguments as for `VmcSender.send`; time_s: the sender's clock, finite seconds."""
    if not math.isfinite(time_s):
        raise SomacastError(f"VMC time: expected finite seconds, got {time_s}")
    places, quaternions = unity_bones(rotations, pelvis_m, offsets_m)
    messages = [_transform("/VMC/Ext/Root/Pos", "root") + _SEVEN.pack(0, 0, 0, 0, 0, 0, 1)]
    for name, place, turn in zip(UNITY_BONES, places.tolist(), quaternions.tolist(), strict=True):
        messages.append(_transform("/VMC/Ext/Bone/Pos", name) + _SEVEN.pack(*place, *turn))
    messages.append(_text("/VMC/Ext/OK") + _text(",i") + struct.pack(">i", 1))
    messages.append(_text("/VMC/Ext/T") + _text(",f") + struct.pack(">f", time_s))
    return _bundles(messages)


def _text(text: str) -> bytes:
    """An OSC string: ASCII, ended by zeros up to a multiple of four bytes."""
    return text.encode("ascii") + bytes(4 - len(text) % 4)


@lru_cache(maxsize=64)
def _transform(address: str, name: str) -> bytes:
    """An OSC message of a name, a place and a quaternion, without the seven floats at its end."""
    return _text(address) + _text(",sfffffff") + _text(name)


def _bundles(messages: list[bytes]) -> list[bytes]:
    """Messages in order, in as few OSC bundles of at most MAX_BUNDLE_BYTES as that order allows."""
    bundles, bundle = [], _BUNDLE_HEAD
    for message in messages:
        element = struct.pack(">i", len(message)) + message
        if len(bundle) + len(element) > MAX_BUNDLE_BYTES:
            bundles.append(bundle)
            bundle = _BUNDLE_HEAD
        bundle += element
    return [*bundles, bundle]
