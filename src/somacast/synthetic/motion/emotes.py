"""Motions with fingers: emotes of an avatar rig, converted to the canonical form, and how they are read.

They come from the npm package @dcl/wearable-preview 1.28.1 (Decentraland, Apache-2.0), whose sixteen GLB files animate
the 21 joints and all fingers of one rig without a mesh. `emotes.npz` beside this file holds those that are drawn for
training; it is made by

    npm pack @dcl/wearable-preview@1.28.1
    python -m somacast.synthetic.motion.emotes dcl-wearable-preview-1.28.1.tgz

The rig has no T-pose on file: what lies in it are the axes of its bones, the y axis along the bone.
"""

from __future__ import annotations

import sys
import tarfile
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from somacast.body.rotations import continuous_quaternions, quaternion_to_matrix
from somacast.body.skeleton import CANONICAL_JOINTS
from somacast.errors import SomacastError

EMOTES = Path(__file__).parent / "emotes.npz"
EMOTE_ACTIONS = {
    "clap": "gesturing", "dab": "dancing", "dance": "dancing", "fashion": "gesturing", "fashion-2": "gesturing",
    "fashion-3": "gesturing", "fashion-4": "gesturing", "fist-pump": "gesturing", "head-explode": "gesturing",
    "idle": "standing", "jump": "jumping", "love": "gesturing", "money": "gesturing", "run": "running",
    "walk": "walking", "wave": "gesturing",
}  # fmt: skip
FPS = 30
_FIST_RAD = 1.25  # flexion of each of a finger's three joints at curl 1: body.table.hand_and_jaw_rotations
_BONES = {
    "pelvis": "Hips", "spine": "Spine", "chest": "Spine2", "neck": "Neck", "head": "Head",
    "clavicle": "Shoulder", "upper_arm": "Arm", "lower_arm": "ForeArm", "hand": "Hand",
    "upper_leg": "UpLeg", "lower_leg": "Leg", "foot": "Foot", "toe": "ToeBase",
}  # fmt: skip
_FINGERS = ("Index", "Middle", "Ring", "Pinky")


@dataclass(frozen=True)
class Emote:
    """One motion with hands: rotations [T, 21, 3, 3] float32 world rotations, curl [T, 2] float32 of the left and the
    right hand (0 flat, 1 a fist), FPS frames per second."""

    name: str
    action: str
    rotations: np.ndarray
    curl: np.ndarray


def _bone_name(joint: str) -> str:
    """Node of the rig that moves a canonical joint."""
    side, stem = {"l_": "Left", "r_": "Right"}.get(joint[:2], ""), joint.removeprefix("l_").removeprefix("r_")
    return f"Avatar_{side}{_BONES[stem]}"


def _axes_at_rest(joint: str) -> np.ndarray:
    """World axes [3, 3] (columns) of a bone of the rig in the T-pose that faces +z.

    The y axis runs along the bone. The x axis is up in the arms (fingers bend about z, thumbs lie at -x), the z axis
    forward in trunk and legs. Feet slope as they do where the rig stands flat on the ground.
    """
    if joint == "pelvis" or "leg" in joint:
        return np.diag([-1.0, -1.0, 1.0])
    if joint.endswith(("foot", "toe")):
        slope = np.radians(-26.0 if joint.endswith("foot") else 6.0)
        along = np.array([0, np.sin(slope), np.cos(slope)])
        return np.stack([[1, 0, 0], along, np.cross([1, 0, 0], along)], 1)
    if joint.startswith(("l_", "r_")):
        side = 1.0 if joint.startswith("l_") else -1.0
        return np.array([[0, side, 0], [1, 0, 0], [0, 0, -side]])
    return np.eye(3)


def _axes(place: np.ndarray) -> np.ndarray:
    """Rotation [3, 3] of a node's transform [4, 4], without its scale."""
    return place[:3, :3] / np.linalg.norm(place[:3, :3], axis=0)


def _curl(places: dict[str, np.ndarray], side: str) -> float:
    """How far four fingers are bent: mean flexion of their twelve joints, 0 straight, 1 as in our fist."""
    flexion = []
    for finger in _FINGERS:
        above = _axes(places[f"Avatar_{side}Hand"])
        for number in (1, 2, 3):
            own = _axes(places[f"Avatar_{side}Hand{finger}{number}"])
            along = above.T @ own[:, 1]  # the palm lies at -x
            flexion.append(np.arctan2(-along[0], along[1]))
            above = own
    return float(np.clip(np.mean(flexion) / _FIST_RAD, 0, 1))


def convert_emote(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """A GLB file of the package to canonical rotations [T, 21, 3, 3] and curl [T, 2], FPS frames per second.

    Raises SomacastError for a file that is not glTF, has no animation or lacks a bone of the rig.
    """
    from somacast.formats.gltf_scene import GltfScene

    scene = GltfScene(path)
    if not scene.animations:
        raise SomacastError(f"{path}: expected an animation, found none")
    duration = scene.duration_s(0)
    shares = np.clip(np.arange(round(duration * FPS) + 1) / (FPS * max(duration, 1e-9)), 0, 1)
    rest = {joint: _axes_at_rest(joint) for joint in CANONICAL_JOINTS}
    rotations, curl = [], []
    for share in shares:
        places = scene.node_places(0, float(share))
        try:
            rotations.append([_axes(places[_bone_name(joint)]) @ axes.T for joint, axes in rest.items()])
            curl.append([_curl(places, side) for side in ("Left", "Right")])
        except KeyError as missing:
            raise SomacastError(f"{path}: expected a bone {missing} of the avatar rig, found none") from missing
    return np.array(rotations), np.array(curl)


def write_emotes(archive: Path, out: Path = EMOTES) -> None:
    """The package's archive (.tgz) to a table of all clips of EMOTE_ACTIONS, one after another.

    names, actions [C] text; starts [C + 1] int32, clip c being frames starts[c] to starts[c + 1]; quat [N, 21, 4]
    float16, x y z w; curl [N, 2] float16. Raises SomacastError if a clip is missing or cannot be read.
    """
    quats, curls = [], []
    with TemporaryDirectory() as folder, tarfile.open(archive) as files:
        for name in EMOTE_ACTIONS:
            try:
                content = files.extractfile(f"package/emotes/{name}.glb")
            except KeyError:
                content = None
            if content is None:
                raise SomacastError(f"{archive}: expected package/emotes/{name}.glb, found none")
            path = Path(folder) / f"{name}.glb"
            path.write_bytes(content.read())
            rotations, curl = convert_emote(path)
            quats.append(continuous_quaternions(rotations).astype(np.float16))
            curls.append(curl.astype(np.float16))
    starts = np.cumsum([0] + [len(quat) for quat in quats]).astype(np.int32)
    np.savez_compressed(out, names=np.array(list(EMOTE_ACTIONS)), actions=np.array(list(EMOTE_ACTIONS.values())),
                        starts=starts, quat=np.concatenate(quats), curl=np.concatenate(curls))  # fmt: skip


@lru_cache(maxsize=1)
def load_emotes() -> tuple[Emote, ...]:
    """The clips that ship in the package, all of split "train", loaded once."""
    with np.load(EMOTES, allow_pickle=False) as table:
        rotations = quaternion_to_matrix(table["quat"].astype(np.float32)).astype(np.float32)
        curl, starts = table["curl"].astype(np.float32), table["starts"]
        names, actions = table["names"].tolist(), table["actions"].tolist()
    frames = [slice(int(a), int(b)) for a, b in pairwise(starts)]
    return tuple(Emote(n, a, rotations[f], curl[f]) for n, a, f in zip(names, actions, frames, strict=True))


if __name__ == "__main__":
    write_emotes(Path(sys.argv[1]))
