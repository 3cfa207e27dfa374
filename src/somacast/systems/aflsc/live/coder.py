"""AFLSC live, between: values of the labels that move <-> packets of motion."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from somacast.bitstream.packets import Motion
from somacast.coding.importance import compression
from somacast.coding.label_coding import importance_of
from somacast.coding.motion_stream import MotionDecoder, MotionEncoder
from somacast.systems.aflsc.labels.codec import SYSTEM
from somacast.systems.aflsc.live.motion import MotionSpace, load_motion, motion_digest
from somacast.systems.aflsc.networks.loading import load_tables
from somacast.systems.spec import ReceivedFrame
from somacast.types import Encoded, Payload


class AflscFrameCoder:
    """A `systems.spec.FrameCoder` on the motion tables of the package."""

    system = SYSTEM

    def __init__(self) -> None:
        self.motion: MotionSpace = load_motion()
        self.digest = motion_digest()
        self.circular = self.motion.model.circular
        labels = self.motion.model.vocabulary.labels
        self.scale = np.array([label.std if label.kind == "scalar" else np.pi / 4 for label in labels])

    def encoder(self) -> _Encoder:
        """A sender's side with nothing sent yet."""
        return _Encoder(self.motion)

    def decoder(self) -> _Decoder:
        """A receiver's side that has nothing yet."""
        return _Decoder(self.motion)

    def values(self, payload: Payload) -> np.ndarray:
        """Values [M] of the labels that move in a still."""
        symbols = load_tables().codec.symbols(payload.layers, payload.announced)
        return self.motion.space.vocabulary.dequantise(symbols[None])[0][0, self.motion.columns]

    def missing(self, payload: Payload | None) -> dict[str, int]:
        """Labels of who it is that have not come, by group; their means stand in for them."""
        vocabulary, codec = self.motion.space.vocabulary, load_tables().codec
        lacking = np.ones(len(vocabulary.labels), bool)
        if payload is not None:
            lacking = codec.symbols(payload.layers, payload.announced)[:, 0] < 0
            if codec.is_seen(payload):  # the look tells them better
                lacking &= ~codec.redundant
        lacking[self.motion.columns] = False  # they come with the motion
        counts = {group: int(lacking[vocabulary.group_indices(group)].sum()) for group in vocabulary.groups}
        return {group: count for group, count in counts.items() if count}

    def compression(self, values: np.ndarray, network_state: int) -> dict[str, float]:
        """rho of eq. 17 at a network state (0 .. 255), mean over the labels of each group, for one frame [M]."""
        vocabulary, tables = self.motion.model.vocabulary, self.motion.model.tables
        omega = importance_of(self.motion.model.symbols(self.motion.indices(values)), vocabulary, tables)
        rho = compression(omega, network_state, tables.importance) / 65536
        return {group: float(rho[vocabulary.group_indices(group)].mean()) for group in vocabulary.groups}

    def rehearse(self, rotations: np.ndarray, pelvis_m: np.ndarray) -> tuple[np.ndarray, Encoded]:
        """Somebody average who moves as told: world rotations [T, 21, 3, 3], pelvis [T, 3] before the camera (x right,
        y up, z to the camera, metres) to values [T, M] and who it is, in the pose of the first frame."""
        space, count = self.motion.space, len(rotations)
        away = -pelvis_m[:, 2]
        full = space.values({
            "rotations": rotations, "shape": np.zeros((count, 64)), "attributes": np.zeros((count, 5)),
            "codes": np.zeros((count, len(space.appearance.std))), "curl": np.full((count, 2), 0.3),
            "pelvis": np.stack([pelvis_m[:, 0] / away, -pelvis_m[:, 1] / away, np.log(away)], 1),
        })  # fmt: skip
        values = full[:, self.motion.columns]
        still = np.array([label.mean for label in space.vocabulary.labels])
        still[self.motion.columns] = values[0]
        return values, Encoded(load_tables().codec.layers(space.vocabulary.quantise(still[None])[0]))


class _Encoder:
    def __init__(self, motion: MotionSpace) -> None:
        self._motion, self._coder = motion, MotionEncoder(motion.model)

    def encode(
        self, ticks: Sequence[int], values: np.ndarray, *, person: int = 0, lowest_state: int = 0,
        budget_bytes: int | None = None, reference: int | None = None, copies: Sequence[int] = (),
    ) -> Motion:  # fmt: skip
        return self._coder.encode(
            ticks, self._motion.indices(values), person=person, lowest_state=lowest_state, budget_bytes=budget_bytes,
            reference=reference, copies=copies,
        )  # fmt: skip


class _Decoder:
    def __init__(self, motion: MotionSpace) -> None:
        self._motion, self._coder = motion, MotionDecoder(motion.model)

    @property
    def unreferenced(self) -> int:
        return self._coder.unreferenced

    def decode(self, motion: Motion, tick: int) -> list[ReceivedFrame]:
        decoded = self._coder.decode(motion, tick)
        return [ReceivedFrame(one.tick, self._motion.values(one.pose), one.own) for one in decoded]
