"""The semantic vocabulary of AFLSC: what is said about a person, and between what is said and what it means.

    PersonState (rotations, shape, hands, camera, attributes, appearance codes) <-> values [L] <-> symbols

Groups, most protected first: root, pose, attributes, shape, face, appearance, hands, camera. Poses are principal
components of joint turns, appearance is principal components of the surface chart (colour and offset together), the
face has components of its own for what those of the whole chart leave over. How many bits a label has follows from how
much the person changes with it (systems/aflsc/training/labels.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np

from somacast.body.clothing import ATTRIBUTES
from somacast.body.rotations import about_axis, matrix_to_quaternion, matrix_to_rotvec, rotvec_to_matrix
from somacast.body.skeleton import CANONICAL_JOINTS, JOINT_COUNT, local_rotations, mirror_pose, world_rotations
from somacast.body.table import load_body
from somacast.coding.vocabulary import Label, Vocabulary
from somacast.systems.aflsc.labels.chart import OFFSET_UNIT_M, load_chart

GROUPS = ("root", "pose", "attributes", "shape", "face", "appearance", "hands", "camera")
VOCABULARY_VERSION = 2
SHAPE_LABELS = 12
APPEARANCE_LABELS = 128
FACE_LABELS = 24
FLOOR_BITS = 4  # what a label may lose at the strongest compression; labels of no more bits are optional
RESIDUAL_UNIT = 0.3  # X of eq. 26 is the difference to the linear estimate of the chart, divided by this
COLOR_UNIT = 0.25  # colours are stored in this unit, so that they are of order one
CAMERA_BITS = 8
BITTEN = (  # labels whose bits are fitted, in coding order of their groups
    "yaw", "tilt_x", "tilt_z", *(f"pose_{k:02d}" for k in range(3 * (JOINT_COUNT - 1))),
    *(f"shape_{k:02d}" for k in range(SHAPE_LABELS)), *(f"look_{k:03d}" for k in range(APPEARANCE_LABELS)),
    *(f"face_{k:02d}" for k in range(FACE_LABELS)), "curl_left", "curl_right",
)  # fmt: skip


@dataclass
class PersonState:
    """Everything the stream says, in plain units. view frame, metres, radians.

    rotations [21, 3, 3], shape [<=12], curl [2] in [0, 1], pelvis [3]: x/z and y/z of the pelvis in the sender's camera
    (OpenCV axes, tangents) and log depth in metres, attributes {name: class}, codes [152] appearance and face.
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
    quat = matrix_to_quaternion(rotation)
    twist = np.zeros_like(quat)
    twist[:, 1], twist[:, 3] = quat[:, 1], quat[:, 3]
    length = np.linalg.norm(twist, axis=1, keepdims=True)
    twist = np.where(length > 1e-6, twist / np.maximum(length, 1e-6), [0, 0, 0, 1])
    yaw = 2 * np.arctan2(twist[:, 1], twist[:, 3])
    swing = matrix_to_rotvec(about_axis("y", -yaw) @ rotation)
    return np.stack([(yaw + np.pi) % (2 * np.pi) - np.pi, swing[:, 0], swing[:, 2]], 1)


def join_root(values: np.ndarray) -> np.ndarray:
    """Inverse of `split_root`: [N, 3] to rotations [N, 3, 3]."""
    tilt = np.stack([values[:, 1], np.zeros(len(values)), values[:, 2]], 1)
    return about_axis("y", values[:, 0]) @ rotvec_to_matrix(tilt)


def joint_rotvecs(rotations: np.ndarray) -> np.ndarray:
    """World rotations [N, 21, 3, 3] to the turns of the 20 joints below the pelvis, rotation vectors [N, 60]."""
    local = local_rotations(rotations.astype(np.float64))[:, 1:]
    return matrix_to_rotvec(local).reshape(len(rotations), -1)


def pose_from_rotvecs(root: np.ndarray, rotvecs: np.ndarray) -> np.ndarray:
    """Pelvis rotations [N, 3, 3] and joint turns [N, 60] to world rotations [N, 21, 3, 3]."""
    local = rotvec_to_matrix(rotvecs.reshape(len(rotvecs), JOINT_COUNT - 1, 3))
    return world_rotations(np.concatenate([root[:, None], local], 1))


@dataclass(frozen=True)
class LabelSpace:
    """The tables behind the labels.

    pose_mean [60], pose_basis [60, 60] orthonormal rows, pose_std [60]; appearance_mean [T, 4], appearance_basis
    [K, T, 4] over the T texels inside the chart (colour / COLOR_UNIT, offset / OFFSET_UNIT_M), orthonormal rows: 128 of
    the whole chart, then the face's, which are 0 outside `face_texels`; appearance_std [K]; scalars: name -> (mean,
    std) for the other labels; bits [len(BITTEN)]: of each label; 0 for a
    pose component or a code that is not worth sending.
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
    bits: np.ndarray

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary of these tables."""
        bits = dict(zip(BITTEN, (int(b) for b in self.bits), strict=True))
        scalars = dict(zip(self.scalar_names, zip(self.scalar_mean, self.scalar_std, strict=True), strict=True))

        def scalar(name: str, group: str, mean: float, std: float) -> list[Label]:
            size = bits.get(name, CAMERA_BITS)
            mandatory = int(size > FLOOR_BITS and group != "camera")
            return [Label(name, group, "scalar", levels_of(size), mandatory, mean, std)] if size else []

        def plain(name: str, group: str) -> list[Label]:
            mean, std = scalars[name]
            return scalar(name, group, float(mean), float(std))

        labels = [Label("yaw", "root", "circular", levels_of(bits["yaw"]))]
        labels += [x for n in ("tilt_x", "tilt_z") for x in plain(n, "root")]
        labels += [x for k, std in enumerate(self.pose_std) for x in scalar(f"pose_{k:02d}", "pose", 0.0, float(std))]
        labels += [Label(n, "attributes", "class", (len(c),), 1, 0.0, 1.0, c) for n, c in ATTRIBUTES.items()]
        labels += [x for k in range(SHAPE_LABELS) for x in plain(f"shape_{k:02d}", "shape")]
        for k, std in enumerate(self.appearance_std):
            of_face = k >= APPEARANCE_LABELS
            name = f"face_{k - APPEARANCE_LABELS:02d}" if of_face else f"look_{k:03d}"
            labels += scalar(name, "face" if of_face else "appearance", 0.0, float(std))
        labels += [x for n in ("curl_left", "curl_right") for x in plain(n, "hands")]
        labels += [x for n in ("pelvis_x", "pelvis_y", "log_depth") for x in plain(n, "camera")]
        return Vocabulary(tuple(labels), VOCABULARY_VERSION, GROUPS)

    @cached_property
    def pose_kept(self) -> np.ndarray:
        """Numbers of the pose components that have a label."""
        return np.array([int(label.name[5:]) for label in self.vocabulary.labels if label.group == "pose"])

    @cached_property
    def code_labels(self) -> np.ndarray:
        """Vocabulary indices of the labels of appearance and face, in coding order."""
        return np.concatenate([self.vocabulary.group_indices(group) for group in ("appearance", "face")])

    @cached_property
    def codes_kept(self) -> np.ndarray:
        """Numbers of the codes that have a label, in the order of `code_labels`."""
        first = {"look": 0, "face": APPEARANCE_LABELS}
        names = [self.vocabulary.labels[i].name for i in self.code_labels]
        return np.array([first[name[:4]] + int(name[5:]) for name in names])

    def codes_of(self, values: np.ndarray) -> np.ndarray:
        """Label values [N, L] to codes [N, K], 0 where there is no label."""
        codes = np.zeros((len(values), len(self.appearance_std)), np.float32)
        codes[:, self.codes_kept] = values[:, self.code_labels]
        return codes

    def values(self, state: dict[str, np.ndarray]) -> np.ndarray:
        """Truth or estimate in batches to label values [N, L], see `Vocabulary.quantise`.

        state: rotations [N, 21, 3, 3], shape [N, >=12], attributes [N, 5] class numbers, codes [N, K], curl [N, 2],
        pelvis [N, 3].
        """
        rotvecs = joint_rotvecs(state["rotations"])
        pose = (rotvecs - self.pose_mean) @ self.pose_basis.T
        root = split_root(state["rotations"][:, 0].astype(np.float64))
        parts = [root, pose[:, self.pose_kept], state["attributes"], state["shape"][:, :SHAPE_LABELS],
                 state["codes"][:, self.codes_kept], state["curl"], state["pelvis"]]  # fmt: skip
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
        rotations = pose_from_rotvecs(root, (self.pose_mean + pose @ self.pose_basis)[None])[0].astype(np.float32)
        attributes = {
            name: classes[int(np.clip(round(x), 0, len(classes) - 1))]
            for (name, classes), x in zip(ATTRIBUTES.items(), take(len(ATTRIBUTES)), strict=True)
        }
        shape, codes = take(SHAPE_LABELS).astype(np.float32), np.zeros(len(self.appearance_std), np.float32)
        codes[self.codes_kept] = take(len(self.codes_kept))
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
        """Codes [K] to the chart's linear estimate: colour [H, W, 3] in [0, 1], offset [H, W] metres."""
        chart = load_chart()
        flat = self.appearance_mean + np.tensordot(codes, self.appearance_basis, 1)
        color, offset = np.zeros((*chart.face.shape, 3), np.float32), np.zeros(chart.face.shape, np.float32)
        color[chart.inside] = np.clip(flat[:, :3] * COLOR_UNIT, 0, 1)
        offset[chart.inside] = flat[:, 3] * OFFSET_UNIT_M
        return color, offset

    def offset_map(self, codes: np.ndarray) -> np.ndarray:
        """Codes [K] to the offset [H, W] in metres of the chart's linear estimate."""
        inside = load_chart().inside
        offset = np.zeros(inside.shape, np.float32)
        offset[inside] = (self.appearance_mean[:, 3] + codes.astype(np.float32) @ self._offset_basis) * OFFSET_UNIT_M
        return offset

    @cached_property
    def _offset_basis(self) -> np.ndarray:
        return np.ascontiguousarray(self.appearance_basis[..., 3])

    @cached_property
    def texel_basis(self) -> np.ndarray:
        """Colour of every texel by code, each code in its own spread: [T, 3, K] float32, laid out for single texels."""
        scaled = self.appearance_basis[..., :3] * self.appearance_std[:, None, None]
        return np.ascontiguousarray(scaled.transpose(1, 2, 0), np.float32)

    def appearance_rows(self, color: np.ndarray, offset: np.ndarray) -> np.ndarray:
        """Charts (colour [N, H, W, 3] in [0, 1], offset [N, H, W] metres) to rows [N, T, 4] in the basis' units."""
        inside = load_chart().inside
        offset_units = np.clip(offset[:, inside] / OFFSET_UNIT_M, -1, 7.5)
        return np.concatenate([color[:, inside] / COLOR_UNIT, offset_units[..., None]], -1).astype(np.float32)

    @cached_property
    def face_texels(self) -> np.ndarray:
        """Which of the T texels belong to the face [T] bool."""
        return face_texels()

    def codes(self, rows: np.ndarray) -> np.ndarray:
        """Codes [N, K] of full charts [N, T, 4]: of the whole chart first, of the face for what is left."""
        look = self.appearance_basis[:APPEARANCE_LABELS].reshape(APPEARANCE_LABELS, -1)
        centred = (rows - self.appearance_mean).reshape(len(rows), -1)
        codes = centred @ look.T
        at = self.face_texels
        rest = centred.reshape(rows.shape)[:, at] - np.einsum(
            "nk,ktc->ntc", codes, self.appearance_basis[:APPEARANCE_LABELS, at]
        )
        face = self.appearance_basis[APPEARANCE_LABELS:, at].reshape(FACE_LABELS, -1)
        return np.concatenate([codes, rest.reshape(len(rows), -1) @ face.T], 1)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Arrays for a safetensors file; the bases are stored as int8 with one scale per row."""
        look = self.appearance_basis[:APPEARANCE_LABELS].reshape(APPEARANCE_LABELS, -1)
        face = self.appearance_basis[APPEARANCE_LABELS:, self.face_texels].reshape(FACE_LABELS, -1)
        out = {
            "labels.pose_mean": self.pose_mean.astype(np.float32),
            "labels.pose_basis": self.pose_basis.astype(np.float32),
            "labels.pose_std": self.pose_std.astype(np.float32),
            "labels.appearance_mean": self.appearance_mean.astype(np.float32),
            "labels.appearance_std": self.appearance_std.astype(np.float32),
            "labels.scalar_names": np.frombuffer("\n".join(self.scalar_names).encode(), np.uint8).copy(),
            "labels.scalar_mean": self.scalar_mean.astype(np.float32),
            "labels.scalar_std": self.scalar_std.astype(np.float32),
            "labels.bits": self.bits.astype(np.uint8),
        }
        for name, rows in (("appearance", look), ("face", face)):
            scale = np.maximum(np.abs(rows).max(1, keepdims=True), 1e-9) / 127
            out[f"labels.{name}_basis"] = np.rint(rows / scale).astype(np.int8)
            out[f"labels.{name}_scale"] = scale.astype(np.float32)
        return out

    @staticmethod
    def from_arrays(a: dict[str, np.ndarray]) -> LabelSpace:
        """Inverse of `to_arrays`."""
        mean = a["labels.appearance_mean"]
        look = a["labels.appearance_basis"].astype(np.float32) * a["labels.appearance_scale"]
        basis = np.zeros((APPEARANCE_LABELS + FACE_LABELS, *mean.shape), np.float32)
        basis[:APPEARANCE_LABELS] = look.reshape(APPEARANCE_LABELS, *mean.shape)
        face = a["labels.face_basis"].astype(np.float32) * a["labels.face_scale"]
        basis[APPEARANCE_LABELS:, face_texels()] = face.reshape(FACE_LABELS, -1, mean.shape[1])
        return LabelSpace(
            pose_mean=a["labels.pose_mean"].astype(np.float64),
            pose_basis=a["labels.pose_basis"].astype(np.float64),
            pose_std=a["labels.pose_std"].astype(np.float64),
            appearance_mean=mean,
            appearance_basis=basis,
            appearance_std=a["labels.appearance_std"],
            scalar_names=tuple(bytes(a["labels.scalar_names"]).decode().split("\n")),
            scalar_mean=a["labels.scalar_mean"],
            scalar_std=a["labels.scalar_std"],
            bits=a["labels.bits"].astype(np.int64),
        )


SCALAR_NAMES = (
    "tilt_x", "tilt_z", *(f"shape_{k:02d}" for k in range(SHAPE_LABELS)),
    "curl_left", "curl_right", "pelvis_x", "pelvis_y", "log_depth",
)  # fmt: skip


def levels_of(bits: int) -> tuple[int, ...]:
    """Alphabets of a label of 1 to 8 bits: two bits first (three for the longest), then one bit a level."""
    first = min(bits, 2 if bits < 8 else 3)
    return (2**first, *(2 for _ in range(bits - first)))


@lru_cache(maxsize=1)
def face_texels() -> np.ndarray:
    """Texels of the chart [T] bool on the front of the head, from chin to brow, of the mean body."""
    chart, body = load_chart(), load_body()
    corner = body.faces[chart.face[chart.inside]]
    point = np.einsum("nkc,nk->nc", body.shape_mean[corner], chart.bary[chart.inside])
    head = chart.joint[chart.inside] == CANONICAL_JOINTS.index("head")
    low, high = point[head].min(0), point[head].max(0)
    part = (point - low) / (high - low)
    return head & (part[:, 2] > 0.5) & (part[:, 1] < 0.85)


def _principal(flat: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Leading components of centred rows [N, D]: orthonormal rows [count, D] (0 beyond the rank), spreads [count]."""
    w, u = np.linalg.eigh((flat @ flat.T).astype(np.float64))
    top = np.argsort(-w)[:count]
    basis = np.zeros((count, flat.shape[1]), np.float32)
    basis[: len(top)] = (u[:, top] / np.sqrt(np.maximum(w[top], 1e-9))).T.astype(np.float32) @ flat
    std = np.full(count, 1e-3, np.float32)
    std[: len(top)] = np.maximum(np.sqrt(np.maximum(w[top], 0) / len(flat)), 1e-3)
    return basis, std


def build_label_space(
    poses: np.ndarray, rows: np.ndarray, scalars: dict[str, np.ndarray], bits: np.ndarray | None = None
) -> LabelSpace:
    """Fit the tables: poses [N, 21, 3, 3] of training motions, rows [M, T, 4] charts in basis units (see
    `appearance_rows`; pass COLOR_UNIT-scaled values), scalars name -> samples, bits [len(BITTEN)]: 5 each unless given.
    """
    rotvecs = joint_rotvecs(poses)
    mean = rotvecs.mean(0)
    values, vectors = np.linalg.eigh(np.cov((rotvecs - mean).T))
    order = np.argsort(-values)
    flat = rows.reshape(len(rows), -1)
    look_mean = flat.mean(0)
    look, look_std = _principal(flat - look_mean, APPEARANCE_LABELS)
    at = face_texels()
    wide = look.reshape(APPEARANCE_LABELS, *rows.shape[1:])
    codes = (flat - look_mean) @ look.T
    rest = (rows - look_mean.reshape(rows.shape[1:]))[:, at] - np.einsum("nk,ktc->ntc", codes, wide[:, at])
    face, face_std = _principal(rest.reshape(len(rows), -1), FACE_LABELS)
    basis = np.zeros((APPEARANCE_LABELS + FACE_LABELS, *rows.shape[1:]), np.float32)
    basis[:APPEARANCE_LABELS] = wide
    basis[APPEARANCE_LABELS:, at] = face.reshape(FACE_LABELS, -1, rows.shape[2])
    return LabelSpace(
        pose_mean=mean,
        pose_basis=vectors[:, order].T,
        pose_std=np.sqrt(np.maximum(values[order], 1e-12)),
        appearance_mean=look_mean.reshape(rows.shape[1:]),
        appearance_basis=basis,
        appearance_std=np.concatenate([look_std, face_std]),
        scalar_names=SCALAR_NAMES,
        scalar_mean=np.array([scalars[n].mean() for n in SCALAR_NAMES]),
        scalar_std=np.array([max(scalars[n].std(), 1e-3) for n in SCALAR_NAMES]),
        bits=np.full(len(BITTEN), 5) if bits is None else bits,
    )
