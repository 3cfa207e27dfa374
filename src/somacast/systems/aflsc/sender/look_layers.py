"""Sender: the layers behind the labels, which tell how the person looks.

small files    labels | tokens                          tokens tell what the labels do not
larger ones    labels | warp, picture, tokens, face     ... what the picture does not: depth, the other side
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from somacast.bitstream.container import layer_room
from somacast.systems.aflsc.labels.codec import SYSTEM, LabelCodec
from somacast.systems.aflsc.labels.space import LabelSpace
from somacast.systems.aflsc.look_tokens.runner import Known, LookWriter
from somacast.systems.aflsc.networks.loading import LOOK_WRITER, load_look_part, load_token_coder
from somacast.systems.aflsc.picture_layer.send import CanvasPicture, picture_layers, picture_on_canvas
from somacast.systems.aflsc.picture_layer.share import TOKEN_COST_BYTES, USUAL_WARP_BYTES, Plan, share_of
from somacast.systems.aflsc.picture_layer.show import Shown
from somacast.systems.aflsc.sender.look import Look
from somacast.timing import stage
from somacast.types import Frame


@dataclass(frozen=True)
class LookSender:
    """weights, device: as of `Encoder`; token_overlap: as of its config."""

    space: LabelSpace
    codec: LabelCodec
    weights: Path | None
    device: str
    token_overlap: float

    def behind(
        self, frame: Frame, look: Look, values: np.ndarray, labels: list[bytes], plan: Plan, budget_bytes: int,
        strict: bool = False,
    ) -> list[bytes] | None:  # fmt: skip
        """What follows the layers of the labels in a file of at most budget_bytes, see `labels.codec.LOOK_LAYERS`; None
        if there is no room for it. values [L]: all that the sender knows; strict: see `picture_on_canvas`."""
        before = [*map(len, labels)]
        if not plan.pictured:
            sent = self.space.vocabulary.dequantise(self.codec.symbols(labels)[None])[0][0]
            room = layer_room(SYSTEM, before, budget_bytes)
            tokens = self._tokens(frame, look, Known.of(sent, self.space), room, plan)
            return None if tokens is None else [tokens]
        sent = self.space.vocabulary.dequantise(self.codec.symbols_before_look(labels)[None])[0][0]
        found = self.pictured(frame, look, values, sent, before, budget_bytes, strict, plan.token_bytes)
        if found is None:
            return None
        warp, picture, *face = found[1]
        tokens = b""
        if self._kept(found[0], plan.token_bytes):
            known = Known.of(sent, self.space, Shown.of(self.space.state(sent), self.space, [warp, picture, *face]))
            room = layer_room(SYSTEM, [*before, *map(len, (warp, picture, *face))], budget_bytes)
            tokens = self._tokens(frame, look, known, room, plan) or b""
        return [warp, picture, *([tokens] if tokens or face else []), *face]

    def pictured(
        self, frame: Frame, look: Look, values: np.ndarray, sent: np.ndarray, before: Sequence[int], budget_bytes: int,
        strict: bool = False, token_bytes: int = 0,
    ) -> tuple[CanvasPicture, list[bytes]] | None:  # fmt: skip
        """The picture, and its layers warp, picture and maybe face, behind others of lengths `before` that say label
        values `sent` [L], in a file of at most budget_bytes less what tokens need; None if there is no room for a
        picture."""
        share = share_of(budget_bytes, layer_room(SYSTEM, [*before, USUAL_WARP_BYTES], budget_bytes))
        with stage("canvas"):
            shown = picture_on_canvas(frame, look, self.space, values, self.space.state(sent), share, strict)
        with stage("picture"):
            room = budget_bytes - self._kept(shown, token_bytes)
            layers = picture_layers(shown, before, room, share.face_bytes)
        return None if layers is None else (shown, layers)

    def _kept(self, shown: CanvasPicture, token_bytes: int) -> int:
        """Bytes of a file that are kept for tokens beside a picture, if so many are wanted."""
        return token_bytes + TOKEN_COST_BYTES if token_bytes and shown.overlap <= self.token_overlap else 0

    @cached_property
    def writer(self) -> LookWriter:
        """The sender's half of the look tokens."""
        session = load_look_part(LOOK_WRITER, self.weights, self.device)
        return LookWriter(session, load_token_coder(self.weights), self.space)

    def _tokens(self, frame: Frame, look: Look, known: Known, room_bytes: int, plan: Plan) -> bytes | None:
        """As many look tokens as there is room for; None if there is none for any."""
        with stage("tokens"):
            return self.writer.layer(self.writer.symbols(frame, look, known), known, room_bytes, plan.network_state)
