"""The receiver of AFLSC (Algorithm 2): symbols -> state and chart -> cloud -> mesh (eq. 28), and what the layers behind
the labels show of it (look_layers.py: eq. 19-27)."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from somacast.extras import require
from somacast.geometry.reconstruction import Reconstruction
from somacast.geometry.surface import SurfaceConfig
from somacast.systems.aflsc.config import DecoderConfig
from somacast.systems.aflsc.labels.state import PersonState
from somacast.systems.aflsc.networks.loading import load_tables
from somacast.systems.aflsc.receiver.assemble import PosedSkin, build_human
from somacast.timing import stage
from somacast.types import Payload, PointCloud
from somacast.weights.sessions import onnx_runs_on

if TYPE_CHECKING:
    from somacast.systems.aflsc.receiver.look_layers import LookReceiver


class Decoder:
    """Labels need no network; device: where those of the look tokens run, "cpu", "cuda" or "cuda:N", on the CPU where
    ONNX Runtime has no CUDA (SomacastError without torch either, as there is nothing then that could run there);
    weights: another file than the package's."""

    def __init__(self, device: str = "cpu", weights: Path | None = None, config: DecoderConfig | None = None):
        self.config = config or DecoderConfig()
        if not onnx_runs_on(device):
            require("torch", "this choice of device")
            device = "cpu"
        self.weights, self.device = weights, device
        tables = load_tables(weights)
        self.space, self.codec = tables.space, tables.codec

    def restore(
        self, symbols: np.ndarray, codes: np.ndarray | None = None
    ) -> tuple[PersonState, np.ndarray, np.ndarray]:
        """Symbols [L, levels], and codes [K] of appearance if they are known better, to the person's state and the
        chart, which is linear in the codes: colour [H, W, 3] in [0, 1], offset [H, W] metres."""
        values, _, present = self.space.vocabulary.dequantise(symbols[None])
        if codes is not None:
            part = self.space.parts["codes"]
            values[0, part.labels], present[0, part.labels] = codes[part.numbers], True
        state = self.space.state(values[0])
        state.present = present[0]
        return state, *self.space.appearance.chart_maps(state.codes)

    def decode(self, payload: Payload) -> Reconstruction:
        """Layers to a watertight coloured person in the view frame."""
        symbols = self.codec.symbols(payload.layers, payload.announced)
        look = self.codec.look(payload)
        if not self.config.networks and "warp" not in look:
            return self.rebuild(symbols)
        from somacast.systems.aflsc.look_tokens.dressed import dressed

        shown, sides = self.look_receiver.shown(symbols, look)
        skin, beyond = shown.body.skin, None
        if sides is not None and self.config.depth:
            with stage("dress"):
                skin, beyond = dressed(shown.body, sides)
        human = self.rebuild(symbols, shown.codes, skin, beyond)
        human.info |= {"notes": list(shown.notes)} if shown.notes else {}
        return shown.on(human)

    @cached_property
    def look_receiver(self) -> LookReceiver:
        """What reads the layers behind the labels; its code and networks are loaded when first asked for."""
        from somacast.systems.aflsc.receiver.look_layers import LookReceiver

        return LookReceiver(self.space, self.config, self.weights, self.device)

    def rebuild(
        self, symbols: np.ndarray, codes: np.ndarray | None = None, skin: PosedSkin | None = None,
        beyond: PointCloud | None = None,
    ) -> Reconstruction:  # fmt: skip
        """The person that symbols [L, levels] say; codes [K] of appearance and the posed skin: where they are known
        better; beyond: points of the surface off the skin."""
        with stage("labels to chart"):
            state, color, offset = self.restore(symbols, codes)
        surface = SurfaceConfig(resolution=self.config.resolution)
        human = build_human(state, color, offset, surface, self.config.texture_px, skin, beyond)
        human.info = {"attributes": state.attributes, "missing_labels": int((~state.present).sum())}
        return human
