"""Which labels AFLSC may send about a person: `LABELS`, in coding order. All else about them follows from this list.

A label is one number of a part of the person. Parts are those of the truth that `LabelSpace.values` takes: root (yaw,
tilt_x, tilt_z), pose (components of the pose basis), attributes, shape, codes (components of the appearance basis: of
the whole chart, then of the face), curl, pelvis.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from somacast.body.clothing import ATTRIBUTES
from somacast.body.skeleton import JOINT_COUNT

GROUPS = ("root", "pose", "attributes", "shape", "face", "appearance", "hands", "camera")  # most protected first
VOCABULARY_VERSION = 2
POSE_LABELS = 3 * (JOINT_COUNT - 1)
SHAPE_LABELS = 12
APPEARANCE_LABELS = 128
FACE_LABELS = 24
FLOOR_BITS = 4  # what a label may lose at the strongest compression; labels of no more bits are optional
CAMERA_BITS = 8
BASES = ("pose", "codes")  # parts that are components of a basis: mean 0, and those not worth a bit have no label
MIRRORED = ("root", "pose", "curl", "pelvis")  # parts that are others in a mirror; appearance codes stay as they are


@dataclass(frozen=True)
class LabelEntry:
    """A label that may be sent: number `number` of part `part`. kind and classes as in `coding.vocabulary.Label`;
    bits: None where training fits them; a label of fixed bits is optional."""

    name: str
    group: str
    part: str
    number: int
    kind: str = "scalar"
    classes: tuple[str, ...] | None = None
    bits: int | None = None


def _scalars(
    group: str, part: str, names: Iterable[str], first: int = 0, bits: int | None = None
) -> tuple[LabelEntry, ...]:
    return tuple(LabelEntry(name, group, part, first + k, bits=bits) for k, name in enumerate(names))


LABELS: tuple[LabelEntry, ...] = (
    LabelEntry("yaw", "root", "root", 0, "circular"),
    *_scalars("root", "root", ("tilt_x", "tilt_z"), first=1),
    *_scalars("pose", "pose", (f"pose_{k:02d}" for k in range(POSE_LABELS))),
    *(LabelEntry(n, "attributes", "attributes", k, "class", c) for k, (n, c) in enumerate(ATTRIBUTES.items())),
    *_scalars("shape", "shape", (f"shape_{k:02d}" for k in range(SHAPE_LABELS))),
    *_scalars("appearance", "codes", (f"look_{k:03d}" for k in range(APPEARANCE_LABELS))),
    *_scalars("face", "codes", (f"face_{k:02d}" for k in range(FACE_LABELS)), first=APPEARANCE_LABELS),
    *_scalars("hands", "curl", ("curl_left", "curl_right")),
    *_scalars("camera", "pelvis", ("pelvis_x", "pelvis_y", "log_depth"), bits=CAMERA_BITS),
)
PART_SIZES = Counter(entry.part for entry in LABELS)
FITTED_LABELS = tuple(entry for entry in LABELS if entry.kind != "class" and entry.bits is None)  # training gives bits
SCALAR_NAMES = tuple(entry.name for entry in LABELS if entry.kind == "scalar" and entry.part not in BASES)


def levels_of(bits: int) -> tuple[int, ...]:
    """Alphabets of a label of 1 to 8 bits: two bits first (three for the longest), then one bit a level."""
    first = min(bits, 2 if bits < 8 else 3)
    return (2**first, *(2 for _ in range(bits - first)))
