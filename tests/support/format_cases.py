"""Readers of the files that are written, apart from the package's own."""

import json
import struct

import numpy as np

from somacast.body.rotations import about_axis

WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
DTYPES = {5121: "<u1", 5125: "<u4", 5126: "<f4"}


class Glb:
    """The chunks and accessors of a GLB file."""

    def __init__(self, data: bytes):
        magic, version, size, length, kind = struct.unpack_from("<4sIIII", data)
        assert (magic, version, size, kind) == (b"glTF", 2, len(data), 0x4E4F534A) and length % 4 == 0
        self.document = json.loads(data[20 : 20 + length])
        binary_length, binary_kind = struct.unpack_from("<II", data, 20 + length)
        assert binary_kind == 0x004E4942 and binary_length % 4 == 0 and 28 + length + binary_length == len(data)
        self.binary = data[28 + length :]
        assert self.document["buffers"] == [{"byteLength": binary_length}]

    def array(self, number: int) -> np.ndarray:
        accessor = self.document["accessors"][number]
        view = self.document["bufferViews"][accessor["bufferView"]]
        dtype, width = np.dtype(DTYPES[accessor["componentType"]]), WIDTHS[accessor["type"]]
        assert view["byteLength"] == accessor["count"] * width * dtype.itemsize
        count = accessor["count"] * width
        return np.frombuffer(self.binary, dtype, count, view["byteOffset"]).reshape(-1, width)


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
            assert np.linalg.norm([float(next(words)) for _ in range(3)]) > 0.01
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
