"""The receiver of AFLSC (Algorithm 2, eq. 19-28): symbols -> mixture -> features -> diffusion -> cloud -> mesh."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from somacast.extras import require
from somacast.geometry.reconstruction import Reconstruction
from somacast.geometry.surface import SurfaceConfig
from somacast.systems.aflsc.config import DecoderConfig
from somacast.systems.aflsc.labels.appearance_basis import COLOR_UNIT, RESIDUAL_UNIT
from somacast.systems.aflsc.labels.chart import OFFSET_UNIT_M, load_chart
from somacast.systems.aflsc.labels.codec import label_inputs
from somacast.systems.aflsc.labels.state import PersonState
from somacast.systems.aflsc.networks.loading import load_fast_receiver, load_receiver, load_tables
from somacast.systems.aflsc.receiver.assemble import PosedSkin, build_human
from somacast.timing import stage
from somacast.types import Payload, PointCloud
from somacast.weights.sessions import onnx_runs_on

if TYPE_CHECKING:
    from somacast.systems.aflsc.receiver.look_layers import LookReceiver


class Decoder:
    """Holds the receiver's networks."""

    def __init__(self, device: str = "cpu", weights: Path | None = None, config: DecoderConfig | None = None):
        self.config = config or DecoderConfig()
        self.weights, self.named_device = weights, device
        tables = load_tables(weights)
        self.space, self.codec = tables.space, tables.codec
        plain = self.config.steps == 1 and not self.config.sample and not self.config.literal
        # The default path runs without torch, whose import takes longer than the decoding.
        self.fast = load_fast_receiver(device) if plain and weights is None and onnx_runs_on(device) else None
        if self.fast is None:
            require("torch", "this choice of device, weights or steps")
            import torch

            self.device = torch.device(device)
            restorer, denoiser = load_receiver(weights)
            self.restorer, self.denoiser = restorer.to(self.device), denoiser.to(self.device)

    def restore(
        self, symbols: np.ndarray, codes: np.ndarray | None = None
    ) -> tuple[PersonState, np.ndarray, np.ndarray]:
        """Symbols [L, levels], and codes [K] of appearance if they are known better, to the person's state and the
        chart: colour [H, W, 3] in [0, 1], offset [H, W] metres."""
        vocabulary = self.space.vocabulary
        values, width, present = vocabulary.dequantise(symbols[None])
        if codes is not None:
            part = self.space.parts["codes"]
            values[0, part.labels], present[0, part.labels] = codes[part.numbers], True
        state = self.space.state(values[0])
        state.width, state.present = width[0], present[0]
        inside = load_chart().inside
        chart = np.zeros((*inside.shape, 4), np.float32)
        chart[inside] = self.space.appearance.rows(state.codes)
        base = np.ascontiguousarray(chart.transpose(2, 0, 1)[None])
        labels = label_inputs(vocabulary, values, width, present)
        change = self._change_fast(labels, base) if self.fast else self._change(labels, base)
        chart = (base + RESIDUAL_UNIT * change)[0].transpose(1, 2, 0)
        return state, np.clip(chart[..., :3] * COLOR_UNIT, 0, 1), chart[..., 3] * OFFSET_UNIT_M

    def _change_fast(self, labels: np.ndarray, base: np.ndarray) -> np.ndarray:
        """X_0 of one step from the mean of X_T, by ONNX Runtime."""
        assert self.fast is not None
        return np.asarray(self.fast.run(["change"], {"labels": labels, "base": base})[0])

    def _change(self, labels: np.ndarray, base: np.ndarray) -> np.ndarray:
        """X_0 [1, 4, 128, 128] from label inputs [1, I] and the linear estimate, by torch (eq. 19-27)."""
        import torch

        from somacast.systems.aflsc.networks.diffuse import literal_steps, reverse

        config = self.config
        half = torch.autocast(self.device.type, torch.float16, enabled=self.device.type == "cuda")
        with torch.inference_mode(), half:
            known, start = torch.from_numpy(labels).to(self.device), torch.from_numpy(base).to(self.device)
            generator = torch.Generator().manual_seed(config.seed)
            maps = self.restorer.sampled(known, generator) if config.sample else self.restorer(known)
            if config.literal:
                change = literal_steps(self.denoiser, maps, start, config.steps)
            else:
                noise = torch.randn(start.shape, generator=generator) if config.sample else None
                change = reverse(self.denoiser, maps, start, config.steps, noise)
            return change.float().cpu().numpy()

    def decode(self, payload: Payload) -> Reconstruction:
        """Layers to a watertight coloured person in the view frame."""
        symbols = self.codec.symbols(payload.layers, payload.announced)
        look = self.codec.look(payload)
        if not look:
            return self.rebuild(symbols)
        from somacast.systems.aflsc.look_tokens.dressed import dressed
        from somacast.systems.aflsc.picture_layer.codes import read_codes

        shown, sides = self.look_receiver.shown(symbols, look)
        with stage("appearance"):
            codes = None if shown.picture is None else read_codes(self.space, shown.body, shown.picture)
        skin, beyond = shown.body.skin, None
        if sides is not None:
            with stage("dress"):
                skin, beyond = dressed(shown.body, sides)
        return shown.on(self.rebuild(symbols, codes, skin, beyond))

    @cached_property
    def look_receiver(self) -> LookReceiver:
        """What reads the layers behind the labels; its code and networks are loaded when first asked for."""
        from somacast.systems.aflsc.receiver.look_layers import LookReceiver

        return LookReceiver(self.space, self.config, self.weights, self.named_device)

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
