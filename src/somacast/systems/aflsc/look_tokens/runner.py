"""The look networks at both ends, by ONNX Runtime, around the token coder.

sender    frame, labels as they are sent --LookWriter--> layer
receiver  layer, labels --LookReader--> both sides of the person
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from somacast.systems.aflsc.labels.space import LabelSpace
from somacast.systems.aflsc.look_tokens.capsules import HEIGHT_PX, WIDTH_PX, Capsules
from somacast.systems.aflsc.look_tokens.diffusion import literal_steps, reversed_steps
from somacast.systems.aflsc.look_tokens.inputs import (
    CHANGE_UNIT_M,
    DEPTH_UNIT_M,
    DEPTHS,
    attribute_row,
    base_maps,
    look_input,
)
from somacast.systems.aflsc.look_tokens.show import Sides
from somacast.systems.aflsc.look_tokens.stream import TokenCoder, TokenGrids
from somacast.systems.aflsc.picture_layer.send import FrameOnCanvas
from somacast.systems.aflsc.picture_layer.show import Shown
from somacast.systems.aflsc.sender.look import Look
from somacast.types import Frame

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

WRITER_INPUTS = ("picture", "condition", "given", "attributes", "valid0", "valid1", "valid2")
READER_INPUTS = ("condition", "given", "attributes", "sent0", "kept0", "sent1", "kept1", "sent2", "kept2")
REFINER_INPUTS = ("coarse", "features", "noisy", "level")
SYMBOLS, MAPS, SHARP = ("symbols0", "symbols1", "symbols2"), ("coarse", "features"), ("sharp",)
COLORS = 6  # of the maps; then cover and how far both sides lie off the body


@dataclass(frozen=True)
class Known:
    """What both ends know before a token: capsules, cells, and what the networks read. Of that symbols hang on capsules
    alone, and on whether there is a picture: the rest may differ by rounding from machine to machine."""

    capsules: Capsules
    grids: TokenGrids
    feed: dict[str, np.ndarray]

    @classmethod
    def of(cls, values: np.ndarray, space: LabelSpace, shown: Shown | None = None, grids: int = 3) -> Known:
        """Of label values [L] as they are received, and what the layers between show."""
        capsules = Capsules.of(values, space)
        canvas, codes, body, picture = capsules.canvas, None, None, None
        if shown is not None:
            codes, body, picture = shown.codes, shown.body, shown.picture
        maps, given = base_maps(space, values, canvas, codes, body)
        if shown is not None and picture is not None:
            given[..., :3] = canvas.cut(picture, shown.body.canvas, WIDTH_PX, HEIGHT_PX)
        flag = np.full((1, *maps.shape[:2]), picture is not None, np.float32)
        planes = np.concatenate([given.transpose(2, 0, 1) - np.float32(0.5), flag])
        feed = {
            "condition": np.ascontiguousarray(maps.transpose(2, 0, 1))[None],
            "given": planes[None],
            "attributes": attribute_row(space, values)[None],
        }
        return cls(capsules, TokenGrids.of(capsules.depths, grids), feed)

    @property
    def front(self) -> np.ndarray:
        """What the front looks like without the networks, [H, W, 3]."""
        return self.feed["given"][0, :3].transpose(1, 2, 0) + np.float32(0.5)

    @property
    def pictured(self) -> bool:
        """Whether there is a picture of the layer above."""
        return bool(self.feed["given"][0, COLORS, 0, 0])


@dataclass(frozen=True)
class LookWriter:
    """The sender's half."""

    session: InferenceSession
    coder: TokenCoder
    space: LabelSpace

    def symbols(self, frame: Frame, look: Look, known: Known) -> list[np.ndarray]:
        """Symbols [D, h, w] of all grids."""
        seen = look_input(FrameOnCanvas(frame, look, known.capsules.canvas))
        feed = known.feed | {"picture": seen.transpose(2, 0, 1)[None] - np.float32(0.5)}
        feed |= {f"valid{k}": cells[None, None].astype(np.float32) for k, cells in enumerate(known.grids.valid)}
        found = self.session.run(list(SYMBOLS), feed)
        return [np.rint(np.asarray(s)[0]).astype(np.int64) for s in found]

    def layer(self, symbols: list[np.ndarray], known: Known, room_bytes: int, network_state: int = 0) -> bytes | None:
        """As many tokens as room_bytes hold and a network in a state 0 .. 255 may bear; None if that is none."""
        return self.coder.largest(symbols, known.grids, room_bytes, known.pictured, network_state)


@dataclass(frozen=True)
class LookReader:
    """The receiver's half; steps, seed: see `diffusion.reversed_steps`; literal: `diffusion.literal_steps` instead."""

    session: InferenceSession
    refiner: InferenceSession
    coder: TokenCoder
    space: LabelSpace
    steps: int = 1
    seed: int | None = None
    literal: bool = False

    def sides(self, layer: bytes, known: Known) -> Sides:
        """Both sides of the person, of an empty layer as they are without tokens; BitstreamError for one that no sender
        makes."""
        symbols, kept = self.coder.decode(layer, known.grids, known.pictured) if layer else known.grids.nothing()
        feed = dict(known.feed)
        for k, (values, there, prior) in enumerate(zip(symbols, kept, self.coder.priors, strict=True)):
            feed[f"sent{k}"] = np.broadcast_to(values[None], (1, prior.dims, *there.shape)).astype(np.float32)
            feed[f"kept{k}"] = there[None, None].astype(np.float32)
        coarse, features = (np.asarray(a) for a in self.session.run(list(MAPS), feed))

        def refine(noisy: np.ndarray, level: float) -> np.ndarray:
            given = (coarse, features, noisy, np.full((1, 1, 1, 1), level, np.float32))
            return np.asarray(self.refiner.run(list(SHARP), dict(zip(REFINER_INPUTS, given, strict=True)))[0])

        start = coarse[:, :COLORS]
        if self.literal:
            colors = literal_steps(refine, start, self.steps)[0]
        else:
            colors = reversed_steps(refine, start, self.steps, self.seed)[0]
        cover, *change = coarse[0, COLORS:]
        depth = feed["condition"][0, DEPTHS] * np.float32(DEPTH_UNIT_M) + np.float32(CHANGE_UNIT_M) * np.stack(change)
        front, back = np.clip(colors + 0.5, 0, 1).reshape(2, 3, *cover.shape).transpose(0, 2, 3, 1)
        return Sides(known.capsules.canvas, front, back, 1 / (1 + np.exp(-cover)), depth)
