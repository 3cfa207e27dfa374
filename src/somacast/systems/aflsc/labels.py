"""The semantic vocabulary of AFLSC: what is said about a person, and between what is said and what it means.

    PersonState (rotations, shape, hands, camera, attributes, appearance codes) <-> values [L] <-> symbols

Groups, most protected first: root, pose, attributes, shape, appearance, hands, camera. Poses are principal components
of joint turns, appearance is principal components of the surface chart (colour and offset together).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from scipy.spatial.transform import Rotation

from somacast.data.wardrobe import ATTRIBUTES
from somacast.human.skeleton import JOINT_COUNT, local_rotations, mirror_pose, world_rotations
from somacast.semantics.vocabulary import Label, Vocabulary
from somacast.systems.aflsc.chart import OFFSET_UNIT_M, load_chart

GROUPS = ("root", "pose", "attributes", "shape", "appearance", "hands", "camera")
VOCABULARY_VERSION = 1
SHAPE_LABELS = 12
APPEARANCE_LABELS = 128
RESIDUAL_UNIT = 0.3  # X of eq. 26 is the difference to the linear estimate of the chart, divided by this
COLOR_UNIT = 0.25  # colours are stored in this unit, so that they are of order one
_POSE_STEPS_RAD = (0.40, 0.10, 0.025)  # bin widths of the three levels
_APPEARANCE_STEP = 12.0  # level-0 bin width of an appearance code, in the units of the basis (see appearance_std)


@dataclass
class PersonState:
    """Everything the stream says, in plain units. view frame, metres, radians.

    rotations [21, 3, 3], shape [<=12], curl [2] in [0, 1], pelvis [3]: x/z and y/z of the pelvis in the sender's camera
    (OpenCV axes, tangents) and log depth in metres, attributes {name: class}, codes [128] appearance.
    width: remaining half bin of every label in standard deviations; present: which labels were sent.
    """

    rotations: np.ndarray
    shape: np.ndarray
    curl: np.ndarray
    pelvis: np.ndarray
    attributes: dict[str, str]
    codes: np.ndarray
    width: np.ndarray = field(default_factory=lambda: np.zeros(0))
    present: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))


def split_root(rotation: np.ndarray) -> np.ndarray:
    """World rotations of the pelvis [N, 3, 3] to yaw and tilt [N, 3]: R = Ry(yaw) * exp(tilt_x, 0, tilt_z).

    The tilt is the turn without twist about y that carries the vertical; yaw is what remains.
    """
    quat = Rotation.from_matrix(rotation).as_quat()
    twist = np.zeros_like(quat)
    twist[:, 1], twist[:, 3] = quat[:, 1], quat[:, 3]
    length = np.linalg.norm(twist, axis=1, keepdims=True)
    twist = np.where(length > 1e-6, twist / np.maximum(length, 1e-6), [0, 0, 0, 1])
    yaw = 2 * np.arctan2(twist[:, 1], twist[:, 3])
    swing = (Rotation.from_quat(twist).inv() * Rotation.from_quat(quat)).as_rotvec()
    return np.stack([(yaw + np.pi) % (2 * np.pi) - np.pi, swing[:, 0], swing[:, 2]], 1)


def join_root(values: np.ndarray) -> np.ndarray:
    """Inverse of `split_root`: [N, 3] to rotations [N, 3, 3]."""
    tilt = np.stack([values[:, 1], np.zeros(len(values)), values[:, 2]], 1)
    return (Rotation.from_euler("y", values[:, :1]) * Rotation.from_rotvec(tilt)).as_matrix()


def joint_turns(rotations: np.ndarray) -> np.ndarray:
    """World rotations [N, 21, 3, 3] to the turns of the 20 joints below the pelvis, rotation vectors [N, 60]."""
    local = local_rotations(rotations.astype(np.float64))[:, 1:]
    return Rotation.from_matrix(local.reshape(-1, 3, 3)).as_rotvec().reshape(len(rotations), -1)


def pose_from_turns(root: np.ndarray, turns: np.ndarray) -> np.ndarray:
    """Pelvis rotations [N, 3, 3] and joint turns [N, 60] to world rotations [N, 21, 3, 3]."""
    local = Rotation.from_rotvec(turns.reshape(-1, 3)).as_matrix().reshape(len(turns), JOINT_COUNT - 1, 3, 3)
    return world_rotations(np.concatenate([root[:, None], local], 1))


@dataclass(frozen=True)
class LabelSpace:
    """The tables behind the labels.

    pose_mean [60], pose_basis [60, 60] orthonormal rows, pose_std [60]; appearance_mean [T, 4], appearance_basis
    [128, T, 4] orthonormal rows over the T texels inside the chart (colour / COLOR_UNIT, offset / OFFSET_UNIT_M),
    appearance_std [128]; scalars: name -> (mean, std) for the other labels.
    """

    pose_mean: np.ndarray
    pose_basis: np.ndarray
    pose_std: np.ndarray
    appearance_mean: np.ndarray
    appearance_basis: np.ndarray
    appearance_std: np.ndarray
    scalar_names: tuple[str, ...]
    scalar_mean: np.ndarray
    scalar_std: np.ndarray

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary of these tables."""
        scalars = dict(zip(self.scalar_names, zip(self.scalar_mean, self.scalar_std, strict=True), strict=True))

        def scalar(name: str, group: str, alphabets: tuple[int, ...], minimum: int = 1) -> Label:
            mean, std = scalars[name]
            return Label(name, group, "scalar", alphabets, minimum, float(mean), float(std))

        labels = [Label("yaw", "root", "circular", (16, 4, 4))]
        labels += [scalar(n, "root", (8, 4, 4)) for n in ("tilt_x", "tilt_z")]
        for k, std in enumerate(self.pose_std):
            alphabets = _alphabets(6.4 * float(std), _POSE_STEPS_RAD)
            if alphabets:
                labels.append(Label(f"pose_{k:02d}", "pose", "scalar", alphabets, 1, 0.0, float(std)))
        labels += [Label(n, "attributes", "class", (len(c),), 1, 0.0, 1.0, c) for n, c in ATTRIBUTES.items()]
        for k in range(SHAPE_LABELS):
            alphabets = (8, 4, 2) if k < 3 else (4, 4)
            labels.append(scalar(f"shape_{k:02d}", "shape", alphabets, int(k < 4)))
        for k, std in enumerate(self.appearance_std):
            steps = (_APPEARANCE_STEP, _APPEARANCE_STEP / 4, _APPEARANCE_STEP / 16)
            alphabets = _alphabets(6.4 * float(std), steps) or (2, 2)
            labels.append(Label(f"look_{k:03d}", "appearance", "scalar", alphabets, int(k < 24), 0.0, float(std)))
        labels += [scalar(n, "hands", (4, 2), 0) for n in ("curl_left", "curl_right")]
        labels += [scalar(n, "camera", (16, 16), 0) for n in ("pelvis_x", "pelvis_y", "log_depth")]
        return Vocabulary(tuple(labels), VOCABULARY_VERSION, GROUPS)

    @cached_property
    def pose_kept(self) -> np.ndarray:
        """Numbers of the pose components that have a label."""
        return np.array([int(label.name[5:]) for label in self.vocabulary.labels if label.group == "pose"])

    def values(self, state: dict[str, np.ndarray]) -> np.ndarray:
        """Truth or estimate in batches to label values [N, L], see `Vocabulary.quantise`.

        state: rotations [N, 21, 3, 3], shape [N, >=12], attributes [N, 5] class numbers, codes [N, 128], curl [N, 2],
        pelvis [N, 3].
        """
        turns = joint_turns(state["rotations"])
        pose = (turns - self.pose_mean) @ self.pose_basis.T
        root = split_root(state["rotations"][:, 0].astype(np.float64))
        parts = [root, pose[:, self.pose_kept], state["attributes"], state["shape"][:, :SHAPE_LABELS],
                 state["codes"], state["curl"], state["pelvis"]]  # fmt: skip
        return np.concatenate([np.asarray(p, np.float64) for p in parts], 1)

    def state(self, values: np.ndarray) -> PersonState:
        """Label values [L] of one person back to plain units."""
        v, at = np.asarray(values, np.float64), 0

        def take(n: int) -> np.ndarray:
            nonlocal at
            at += n
            return v[at - n : at]

        root = join_root(take(3)[None])
        pose = np.zeros(len(self.pose_std))
        pose[self.pose_kept] = take(len(self.pose_kept))
        rotations = pose_from_turns(root, (self.pose_mean + pose @ self.pose_basis)[None])[0].astype(np.float32)
        attributes = {
            name: classes[int(np.clip(round(x), 0, len(classes) - 1))]
            for (name, classes), x in zip(ATTRIBUTES.items(), take(len(ATTRIBUTES)), strict=True)
        }
        shape, codes = take(SHAPE_LABELS).astype(np.float32), take(APPEARANCE_LABELS).astype(np.float32)
        return PersonState(rotations, shape, np.clip(take(2), 0, 1), take(3), attributes, codes)

    def mirrored(self, values: np.ndarray) -> np.ndarray:
        """Label values [L] of the person seen in a mirror. Appearance codes are kept as they are."""
        state, at = self.state(values), self.vocabulary.group_indices
        out = values.copy()
        pose = {
            "rotations": mirror_pose(state.rotations)[None],
            "shape": state.shape[None],
            "attributes": np.zeros((1, len(ATTRIBUTES))),
            "codes": np.zeros((1, len(self.appearance_std))),
            "curl": state.curl[None, ::-1],
            "pelvis": np.zeros((1, 3)),
        }
        turned = self.values(pose)[0]
        for group in ("root", "pose", "hands"):
            out[at(group)] = turned[at(group)]
        out[at("camera")[0]] *= -1
        return out

    def chart_maps(self, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Appearance codes [128] to the chart's linear estimate: colour [H, W, 3] in [0, 1], offset [H, W] metres."""
        chart = load_chart()
        flat = self.appearance_mean + np.tensordot(codes, self.appearance_basis, 1)
        color, offset = np.zeros((*chart.face.shape, 3), np.float32), np.zeros(chart.face.shape, np.float32)
        color[chart.inside] = np.clip(flat[:, :3] * COLOR_UNIT, 0, 1)
        offset[chart.inside] = flat[:, 3] * OFFSET_UNIT_M
        return color, offset

    def appearance_rows(self, color: np.ndarray, offset: np.ndarray) -> np.ndarray:
        """Charts (colour [N, H, W, 3] in [0, 1], offset [N, H, W] metres) to rows [N, T, 4] in the basis' units."""
        inside = load_chart().inside
        offset_units = np.clip(offset[:, inside] / OFFSET_UNIT_M, -1, 7.5)
        return np.concatenate([color[:, inside] / COLOR_UNIT, offset_units[..., None]], -1).astype(np.float32)

    def codes(self, rows: np.ndarray) -> np.ndarray:
        """Appearance codes [N, 128] of full charts [N, T, 4]."""
        flat = self.appearance_basis.reshape(len(self.appearance_basis), -1)
        return (rows - self.appearance_mean).reshape(len(rows), -1) @ flat.T

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Arrays for a safetensors file; the basis is stored as int8 with one scale per row."""
        flat = self.appearance_basis.reshape(len(self.appearance_basis), -1)
        scale = np.abs(flat).max(1, keepdims=True) / 127
        return {
            "labels.pose_mean": self.pose_mean.astype(np.float32),
            "labels.pose_basis": self.pose_basis.astype(np.float32),
            "labels.pose_std": self.pose_std.astype(np.float32),
            "labels.appearance_mean": self.appearance_mean.astype(np.float32),
            "labels.appearance_basis": np.rint(flat / scale).astype(np.int8),
            "labels.appearance_scale": scale.astype(np.float32),
            "labels.appearance_std": self.appearance_std.astype(np.float32),
            "labels.scalar_names": np.frombuffer("\n".join(self.scalar_names).encode(), np.uint8).copy(),
            "labels.scalar_mean": self.scalar_mean.astype(np.float32),
            "labels.scalar_std": self.scalar_std.astype(np.float32),
        }

    @staticmethod
    def from_arrays(a: dict[str, np.ndarray]) -> LabelSpace:
        """Inverse of `to_arrays`."""
        mean = a["labels.appearance_mean"]
        basis = a["labels.appearance_basis"].astype(np.float32) * a["labels.appearance_scale"]
        return LabelSpace(
            pose_mean=a["labels.pose_mean"].astype(np.float64),
            pose_basis=a["labels.pose_basis"].astype(np.float64),
            pose_std=a["labels.pose_std"].astype(np.float64),
            appearance_mean=mean,
            appearance_basis=basis.reshape(len(basis), *mean.shape),
            appearance_std=a["labels.appearance_std"],
            scalar_names=tuple(bytes(a["labels.scalar_names"]).decode().split("\n")),
            scalar_mean=a["labels.scalar_mean"],
            scalar_std=a["labels.scalar_std"],
        )


SCALAR_NAMES = (
    "tilt_x", "tilt_z", *(f"shape_{k:02d}" for k in range(SHAPE_LABELS)),
    "curl_left", "curl_right", "pelvis_x", "pelvis_y", "log_depth",
)  # fmt: skip


def _alphabets(span: float, steps: tuple[float, ...]) -> tuple[int, ...]:
    """Level sizes of a scalar whose range is `span`, for bin widths `steps`; empty if it is not worth a label."""
    sizes: list[int] = []
    bins = 1
    for step in steps:
        wanted = span / step
        ratio = int(np.clip(round(wanted / bins), 1, 16 if not sizes else 4))
        if ratio < 2:
            continue
        sizes.append(ratio)
        bins *= ratio
    return tuple(sizes)


def build_label_space(poses: np.ndarray, rows: np.ndarray, scalars: dict[str, np.ndarray]) -> LabelSpace:
    """Fit the tables: poses [N, 21, 3, 3] of training motions, rows [M, T, 4] charts in basis units (see
    `appearance_rows`; pass COLOR_UNIT-scaled values), scalars name -> samples."""
    turns = joint_turns(poses)
    mean = turns.mean(0)
    values, vectors = np.linalg.eigh(np.cov((turns - mean).T))
    order = np.argsort(-values)
    flat = rows.reshape(len(rows), -1)
    look_mean = flat.mean(0)
    centred = flat - look_mean
    gram = centred @ centred.T
    w, u = np.linalg.eigh(gram.astype(np.float64))
    top = np.argsort(-w)[:APPEARANCE_LABELS]
    basis = (u[:, top] / np.sqrt(np.maximum(w[top], 1e-9))).T.astype(np.float32) @ centred
    return LabelSpace(
        pose_mean=mean,
        pose_basis=vectors[:, order].T,
        pose_std=np.sqrt(np.maximum(values[order], 1e-12)),
        appearance_mean=look_mean.reshape(rows.shape[1:]),
        appearance_basis=basis.reshape(len(top), *rows.shape[1:]),
        appearance_std=np.sqrt(w[top] / len(rows)).astype(np.float32),
        scalar_names=SCALAR_NAMES,
        scalar_mean=np.array([scalars[n].mean() for n in SCALAR_NAMES]),
        scalar_std=np.array([max(scalars[n].std(), 1e-3) for n in SCALAR_NAMES]),
    )
