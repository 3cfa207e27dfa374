"""A trained AFLSC as the three files that ship: tables, and the networks of each half as ONNX, in one form each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from somacast.capture.landmarks import LANDMARK_COUNT, LANDMARK_VALUES
from somacast.systems.aflsc.networks.adversarial import SemanticCoder, feature_vector
from somacast.systems.aflsc.networks.diffuse import Denoiser
from somacast.systems.aflsc.networks.extract import MultiTaskViT
from somacast.systems.aflsc.networks.loading import (
    CODED,
    EXTRACTED,
    FAST_RECEIVER,
    FAST_SENDER,
    RECEIVER_PARTS,
    SENDER_PARTS,
    WEIGHTS,
    load_receiver,
    load_sender,
    network_arrays,
    save_tables,
)
from somacast.systems.aflsc.networks.restore import Restorer
from somacast.training.onnx_export import write_packed_onnx
from somacast.weights.sessions import session_of


class _Sender(nn.Module):
    """Both networks of the sender; their names are those of the parts."""

    def __init__(self, extract: MultiTaskViT, semantic: SemanticCoder):
        super().__init__()
        self.extract, self.semantic = extract, semantic

    def forward(self, image, landmarks):
        out = self.extract(image, landmarks)
        coded = self.semantic.infer(feature_vector(out))
        return (*(out[k] for k in EXTRACTED), *(coded[k] for k in CODED))


class _Receiver(nn.Module):
    """The receiver's default path: mode of z', one step from the mean of X_T."""

    def __init__(self, restorer: Restorer, denoiser: Denoiser):
        super().__init__()
        self.restorer, self.denoiser = restorer, denoiser

    def forward(self, labels, base):
        guide = self.denoiser.guide(self.restorer(labels))
        return self.denoiser(torch.zeros_like(base), torch.ones(1), base, guide)


def ship(checkpoint: Path, folder: Path) -> dict[str, float]:
    """Write the three files of a checkpoint into a folder; returns the largest difference of each ONNX file to torch.

    In basis units for the receiver, whatever each output is in for the sender.
    """
    save_tables(checkpoint, folder / f"{WEIGHTS}.safetensors")
    exports = {FAST_SENDER: export_sender, FAST_RECEIVER: export_receiver}
    return {name: export(checkpoint, folder / name) for name, export in exports.items()}


def export_sender(checkpoint: Path | None, target: Path) -> float:
    """The sender's networks as ONNX; returns the largest difference to torch. checkpoint as for `load_states`."""
    extract, semantic = load_sender(checkpoint)
    torch.manual_seed(0)
    image = torch.rand(2, 3, extract.config.size_px, extract.config.size_px)
    landmarks = torch.rand(2, LANDMARK_COUNT, LANDMARK_VALUES) - 0.5
    net, feed = _Sender(extract, semantic).eval(), {"image": image, "landmarks": landmarks}
    names = [*EXTRACTED, *CODED]
    write_packed_onnx(net, tuple(feed.values()), list(feed), names, network_arrays(checkpoint, SENDER_PARTS), target)
    with torch.inference_mode():
        return _largest_difference(target, feed, names, list(net(*feed.values())))


def export_receiver(checkpoint: Path | None, target: Path) -> float:
    """The receiver's networks as ONNX, of which the default path runs; returns the largest difference to torch."""
    restorer, denoiser = load_receiver(checkpoint)
    torch.manual_seed(0)
    feed = {"labels": torch.randn(1, restorer.config.label_inputs) * 0.5, "base": torch.randn(1, 4, 128, 128)}
    net, arrays = _Receiver(restorer, denoiser).eval(), network_arrays(checkpoint, RECEIVER_PARTS)
    write_packed_onnx(net, tuple(feed.values()), list(feed), ["change"], arrays, target, batched=False)
    with torch.inference_mode():
        return _largest_difference(target, feed, ["change"], [net(*feed.values())])


def _largest_difference(
    path: Path, feed: dict[str, torch.Tensor], names: list[str], expected: list[torch.Tensor]
) -> float:
    got = session_of(str(path)).run(names, {k: v.numpy() for k, v in feed.items()})
    return max(float(np.abs(np.asarray(g) - e.numpy()).max()) for g, e in zip(got, expected, strict=True))
