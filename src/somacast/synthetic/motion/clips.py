"""Motions: labelled clips in the canonical form, their split, and the perturbation of poses.

A motion library draws (rotations [21, 3, 3], action). Clips of an asset folder, the built-in procedural motions and,
for training, the emotes that ship in the package stand behind the same call.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from somacast.body.rotations import quaternion_to_matrix, rotvec_to_matrix
from somacast.body.skeleton import local_rotations, mirror_pose, world_rotations
from somacast.body.table import load_body
from somacast.synthetic.motion.emotes import Emote, load_emotes

ACTIONS = ("standing", "walking", "running", "jumping", "sitting")  # the five of the paper
# Spread of the perturbation per joint in degrees, canonical joint order.
_STD_DEG = np.array([6, 5, 5, 6, 10, 4, 12, 12, 15, 4, 12, 12, 15, 6, 7, 6, 4, 6, 7, 6, 4.0])
# Clips held out for tests: at least one of each action; men's and women's twins of a clip stay together.
TEST_CLIPS = frozenset((
    "mh_standing03", "mh_standing05", "mh_fight02", "mh_fly02", "mh_sit01", "cmu_02_02", "cmu_02_03", "cmu_02_04",
    "cmu_05_04", "cmu_05_09", "cmu_05_16", "cmu_06_04", "cmu_06_11", "cmu_07_04", "cmu_07_08", "quaternius_m_Idle",
    "quaternius_f_Idle", "quaternius_m_Clapping", "quaternius_f_Clapping", "quaternius_m_RunningJump",
    "quaternius_f_RunningJump", "quaternius_m_Punch", "quaternius_f_Punch",
))  # fmt: skip
_CURL_STD = 0.05  # by which the hands of an emote vary
_NOT_MOTION = ("mh_tpose", "mh_benchmark")


@dataclass(frozen=True)
class Clip:
    """One motion: rotations [T, 21, 3, 3] float32 world rotations, fps."""

    name: str
    action: str
    rotations: np.ndarray
    fps: float

    @property
    def split(self) -> str:
        return "test" if self.name in TEST_CLIPS else "train"


def _full_rig_to_canonical(names: list[str], world: np.ndarray) -> np.ndarray:
    """World rotations of the 163-bone rig from its rest pose to the 21 canonical rotations from the T-pose."""
    body = load_body()
    given = dict(zip(names, world, strict=True))
    full = np.zeros((len(body.bone_names), 3, 3))
    for i, name in enumerate(body.bone_names):
        above = full[body.parent[i]] if body.parent[i] >= 0 else np.eye(3)
        full[i] = given.get(name, above)
    at = body.joint_bone
    return full[at] @ np.swapaxes(body.bone_tpose[at], -1, -2)


def read_clips(folder: Path) -> list[Clip]:
    """All clips of an asset folder's `poses`, sorted by name."""
    clips = []
    for entry in json.loads((folder / "poses" / "index.json").read_text()):
        path = folder / "poses" / Path(entry["file"]).name
        if path.stem in _NOT_MOTION:
            continue
        raw = np.load(path, allow_pickle=False)
        if "quat" in raw:
            rotations = quaternion_to_matrix(raw["quat"])
        else:
            rotations = _full_rig_to_canonical(raw["bones"].tolist(), raw["world"])[None]
        clips.append(Clip(path.stem, entry["label"], rotations.astype(np.float32), float(entry.get("fps", 1))))
    return sorted(clips, key=lambda clip: clip.name)


def perturb(rotations: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """Random joint turns around a pose [21, 3, 3]; strength 1 is the spread of _SPREAD_DEG."""
    local = local_rotations(rotations.astype(np.float64))
    turn = rng.normal(0, 1, (21, 3)) * np.radians(_STD_DEG)[:, None] * strength
    return world_rotations(local @ rotvec_to_matrix(turn))


class MotionLibrary:
    """Poses of one split, from the built-in motions and, if given, the clips of an asset folder.

    `emote_share` of the poses of split "train" are those of emotes, whose hands are known.
    """

    def __init__(
        self,
        split: str,
        assets: Path | None = None,
        builtin_share: float = 0.35,
        focus: float = 0.5,
        emote_share: float = 0.08,
    ):
        self.split, self.focus = split, focus
        self.clips = [c for c in read_clips(assets) if c.split == split] if assets else []
        self.builtin_share = builtin_share if self.clips else 1.0
        labels = [c.action for c in self.clips]
        weight = [max(5, min(len(c.rotations), 400)) ** 0.5 / labels.count(c.action) ** 0.4 for c in self.clips]
        self._weight = np.array(weight) / max(sum(weight), 1e-9)
        self.emotes = load_emotes() if split == "train" and emote_share > 0 else ()
        self.emote_share = emote_share

    def _from_clips(self, rng: np.random.Generator, action: str | None) -> tuple[np.ndarray, str]:
        weight = self._weight
        if action is not None:
            weight = weight * [c.action == action for c in self.clips]
            if weight.sum() == 0:
                return self._from_builtin(rng, action)
            weight = weight / weight.sum()
        clip = self.clips[rng.choice(len(self.clips), p=weight)]
        pose = clip.rotations[rng.integers(len(clip.rotations))]
        return (pose if rng.random() < 0.5 else mirror_pose(pose)), clip.action

    def _from_builtin(self, rng: np.random.Generator, action: str | None) -> tuple[np.ndarray, str]:
        from somacast.synthetic.motion.builtin import BUILTIN_ACTIONS, draw_builtin_pose

        action = action or str(rng.choice(BUILTIN_ACTIONS))
        return draw_builtin_pose(rng, action, self.split), action

    def _from_emotes(self, rng: np.random.Generator, emotes: list[Emote]) -> tuple[np.ndarray, str, np.ndarray]:
        weight = np.array([len(e.rotations) for e in emotes]) ** 0.5
        emote = emotes[rng.choice(len(emotes), p=weight / weight.sum())]
        frame = rng.integers(len(emote.rotations))
        pose, curl = emote.rotations[frame], emote.curl[frame]
        if rng.random() < 0.5:
            pose, curl = mirror_pose(pose), curl[::-1]
        pose = perturb(pose, rng, rng.uniform(0, 0.4))  # arms stay where the hands' shape belongs
        return pose.astype(np.float32), emote.action, np.clip(curl + rng.normal(0, _CURL_STD, 2), 0, 1)

    def draw(self, rng: np.random.Generator, action: str | None = None) -> tuple[np.ndarray, str]:
        """A pose [21, 3, 3] of the split, of the given action if any; training poses are mixed and perturbed.

        Without an action, `focus` of the draws are of ACTIONS, evenly: what people do most.
        """
        return self.draw_with_hands(rng, action)[:2]

    def draw_with_hands(
        self, rng: np.random.Generator, action: str | None = None
    ) -> tuple[np.ndarray, str, np.ndarray | None]:
        """`draw` and the curl [2] in [0, 1] of the left and the right hand where the motion has them, else None."""
        if action is None and rng.random() < self.focus:
            action = str(rng.choice(ACTIONS))
        emotes = [e for e in self.emotes if action in (None, e.action)]
        if emotes and rng.random() < self.emote_share:
            return self._from_emotes(rng, emotes)
        return *self._draw_without_hands(rng, action), None

    def _draw_without_hands(self, rng: np.random.Generator, action: str | None) -> tuple[np.ndarray, str]:
        builtin = not self.clips or rng.random() < self.builtin_share
        pose, label = (self._from_builtin if builtin else self._from_clips)(rng, action)
        if self.split == "train":
            if self.clips and rng.random() < 0.3:
                pose = _borrow_arms(pose, self._from_clips(rng, None)[0], rng)
            # half of the poses stay close to what people do, half wander
            pose = perturb(pose, rng, rng.uniform(0, 0.4 if rng.random() < 0.5 else 1.4))
        elif not builtin:
            pose = perturb(pose, rng, 0.3)  # single-frame clips would otherwise repeat themselves
        return np.asarray(pose, np.float32), label


def _borrow_arms(pose: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Arms of another pose on this one: left, right or both."""
    local, donor = local_rotations(pose), local_rotations(other)
    arms = ([5, 6, 7, 8], [9, 10, 11, 12], [5, 6, 7, 8, 9, 10, 11, 12])[rng.integers(3)]
    local[arms] = donor[arms]
    return world_rotations(local)
