"""Receiver: what the layers behind the labels show of the person, on the body where it shows it.

without networks     warp, picture: the front
with                 labels, tokens or none: both sides, painted over what the labels say; the body follows the cover
                     that tokens tell
                     warp, picture, tokens or none: the front by the picture and what the networks change of it; by them
                     the side behind, and depths
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from somacast.systems.aflsc.config import DecoderConfig
from somacast.systems.aflsc.labels.space import LabelSpace
from somacast.systems.aflsc.look_tokens.runner import Known, LookReader
from somacast.systems.aflsc.look_tokens.show import Sides, shown_sides
from somacast.systems.aflsc.networks.loading import LOOK_READER, LOOK_REFINER, load_look_part, load_token_coder
from somacast.systems.aflsc.picture_layer.aligned import PosedBody
from somacast.systems.aflsc.picture_layer.show import Shown
from somacast.systems.aflsc.picture_layer.warp import NO_WARP
from somacast.timing import stage

OTHER_TOKENS = (
    "the file's look tokens were made with other weights than those here and are left out: for them, sender and "
    "receiver need the same version of the package"
)


@dataclass(frozen=True)
class LookReceiver:
    """weights, device, config: as of `Decoder`."""

    space: LabelSpace
    config: DecoderConfig
    weights: Path | None
    device: str

    def shown(self, symbols: np.ndarray, look: dict[str, bytes]) -> tuple[Shown, Sides | None]:
        """What the layers of a look, see `LabelCodec.look`, show on the person whom symbols [L, levels] say; and both
        sides, where the networks run. Tokens of other weights are left out, with a note. BitstreamError for layers that
        no sender makes."""
        values = self.space.vocabulary.dequantise(symbols[None])[0][0]
        state, tokens, notes = self.space.state(values), look.get("tokens", b""), ()
        shown = None
        if "warp" in look:
            shown = Shown.of(state, self.space, [look[name] for name in ("warp", "picture", "face") if name in look])
        if not self.config.networks or (shown is not None and shown.picture is None):
            return shown or Shown(PosedBody.of(state, self.space).aligned(NO_WARP.heights), None), None
        if tokens and not self.reader.coder.reads(tokens):
            tokens, notes = b"", (OTHER_TOKENS,)
        known = Known.of(values, self.space, shown)
        sides = self._sides(tokens, known)
        if shown is None:
            found = shown_sides(state, self.space, sides, bool(tokens))
        else:
            found = self._laid(shown, known, sides)
        return replace(found, behind=found.behind if self.config.back else None, notes=notes), sides

    def _laid(self, shown: Shown, known: Known, sides: Sides) -> Shown:
        """A picture with what the networks change of it, and the side behind."""
        assert shown.picture is not None
        canvas, size = shown.body.canvas, shown.picture.shape[1::-1]
        picture = shown.picture
        if self.config.front:
            picture = np.clip(picture + canvas.cut(sides.front - known.front, sides.canvas, *size), 0, 1)
        return replace(shown, picture=picture, behind=canvas.cut(sides.back, sides.canvas, *size))

    @cached_property
    def reader(self) -> LookReader:
        """The receiver's half of the look tokens."""
        reader, refiner = (load_look_part(name, self.weights, self.device) for name in (LOOK_READER, LOOK_REFINER))
        config = self.config
        seed = config.seed if config.sample else None
        coder = load_token_coder(self.weights)
        return LookReader(reader, refiner, coder, self.space, config.steps, seed, config.literal)

    def _sides(self, tokens: bytes, known: Known) -> Sides:
        with stage("tokens"):
            return self.reader.sides(tokens, known)
