"""A trained AFLSC as the files that ship: tables, and networks as ONNX, in one form each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from torch import nn

from somacast.capture.landmarks import LANDMARK_COUNT, LANDMARK_VALUES
from somacast.systems.aflsc.look_tokens.capsules import HEIGHT_PX, WIDTH_PX
from somacast.systems.aflsc.look_tokens.importance import TokenImportance
from somacast.systems.aflsc.look_tokens.priors import IntegerPrior, symbol_tables
from somacast.systems.aflsc.look_tokens.runner import (
    MAPS,
    READER_INPUTS,
    REFINER_INPUTS,
    SHARP,
    SYMBOLS,
    WRITER_INPUTS,
)
from somacast.systems.aflsc.networks.adversarial import SemanticCoder, feature_vector
from somacast.systems.aflsc.networks.extract import MultiTaskViT
from somacast.systems.aflsc.networks.loading import (
    CODED,
    EXTRACTED,
    FAST_SENDER,
    LOOK_PRIORS,
    LOOK_READER,
    LOOK_REFINER,
    LOOK_WRITER,
    WEIGHTS,
    load_sender,
    network_arrays,
    save_tables,
)
from somacast.systems.aflsc.networks.looks import (
    ATTRIBUTES,
    COLORS,
    CONDITION_CHANNELS,
    DIMS,
    GIVEN_CHANNELS,
    GRIDS,
    LEVELS,
    MAP_CHANNELS,
    PICTURE_CHANNELS,
    LookCodec,
    bounded,
)
from somacast.training.onnx_export import write_packed_onnx
from somacast.weights.arrays import pack, unpack
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


def ship(checkpoint: Path, folder: Path) -> float:
    """Write tables and sender's networks of a checkpoint into a folder; returns what `export_sender` does."""
    save_tables(checkpoint, folder / f"{WEIGHTS}.safetensors")
    return export_sender(checkpoint, folder / FAST_SENDER)


def export_sender(checkpoint: Path | None, target: Path) -> float:
    """The sender's networks as ONNX; returns the largest difference to torch. checkpoint as for `load_states`."""
    extract, semantic = load_sender(checkpoint)
    torch.manual_seed(0)
    image = torch.rand(2, 3, extract.config.size_px, extract.config.size_px)
    landmarks = torch.rand(2, LANDMARK_COUNT, LANDMARK_VALUES) - 0.5
    net, feed = _Sender(extract, semantic).eval(), {"image": image, "landmarks": landmarks}
    names = [*EXTRACTED, *CODED]
    write_packed_onnx(net, tuple(feed.values()), list(feed), names, network_arrays(checkpoint), target)
    with torch.inference_mode():
        return _largest_difference(target, feed, names, list(net(*feed.values())))


class _LookWriter(nn.Module):
    """The sender's half of the look codec: what it says on each grid to somebody to whom it has said all before."""

    def __init__(self, codec: LookCodec):
        super().__init__()
        self.codec = codec

    def forward(self, picture, condition, given, attributes, *valid):
        cond, state = self.codec.conditions(condition, given, attributes)
        seen = self.codec.analysis(torch.cat([picture, condition], 1))
        out = []
        for k, mask in enumerate(valid):
            symbols = torch.round(bounded(self.codec.message(k, seen, state))) * mask
            out.append(symbols)
            if k + 1 < len(valid):
                state, _ = self.codec.level(k, state, cond, symbols, mask)
        return tuple(out)


class LookReaderNet(nn.Module):
    """The receiver's half, up to the smooth maps and the features that guide the diffusion."""

    def __init__(self, codec: LookCodec):
        super().__init__()
        self.codec = codec

    def forward(self, condition, given, attributes, *tokens):
        cond, state = self.codec.conditions(condition, given, attributes)
        for k in range(len(tokens) // 2):
            state, _ = self.codec.level(k, state, cond, tokens[2 * k], tokens[2 * k + 1])
        found = self.codec.sides(state, cond, given)
        return found["coarse"], found["features"]


class _LookRefiner(nn.Module):
    """One step of the diffusion (eq. 27)."""

    def __init__(self, codec: LookCodec):
        super().__init__()
        self.codec = codec

    def forward(self, coarse, features, noisy, level):
        return self.codec.refine(coarse, features, noisy, level)


_WRITES, _READS, _REFINES = ("analysis", "post"), ("join", "last", "out"), ("refiner",)  # alone, of the codec's parts


def export_looks(codec: LookCodec, folder: Path, importance: TokenImportance | None = None) -> dict[str, float]:
    """The parts of the look codec as ONNX, and its priors; the codec takes on the weights as they are rounded there.
    Returns the largest difference of each file to torch: of the writer 1 where a symbol was nearly between two."""
    codec = codec.eval()
    torch.manual_seed(0)
    size = (HEIGHT_PX, WIDTH_PX)
    planes = {"picture": PICTURE_CHANNELS, "condition": CONDITION_CHANNELS, "given": GIVEN_CHANNELS,
              "coarse": MAP_CHANNELS, "noisy": COLORS}  # fmt: skip
    feed = {name: torch.rand(1, count, *size) - 0.5 for name, count in planes.items()}
    feed["attributes"], feed["level"] = torch.rand(1, ATTRIBUTES), torch.ones(1, 1, 1, 1)
    feed["features"] = torch.rand(1, codec.config.widths[-1], HEIGHT_PX // 2, WIDTH_PX // 2) - 0.5
    for k, (grid, dims) in enumerate(zip(GRIDS, DIMS, strict=True)):
        feed[f"valid{k}"] = feed[f"kept{k}"] = (torch.rand(1, 1, *grid) > 0.3).float()
        feed[f"sent{k}"] = torch.randint(-LEVELS, LEVELS + 1, (1, dims, *grid)) * feed[f"kept{k}"]
    state = {f"codec.{name}": value.detach().cpu().numpy() for name, value in codec.state_dict().items()}
    of_all = {name.split(".")[1] for name in state} - {*_WRITES, *_READS, *_REFINES, "priors"}
    difference = {}
    for name, net, inputs, outputs, parts in (
        (LOOK_WRITER, _LookWriter(codec), WRITER_INPUTS, SYMBOLS, {*of_all, *_WRITES}),
        (LOOK_READER, LookReaderNet(codec), READER_INPUTS, MAPS, {*of_all, *_READS}),
        (LOOK_REFINER, _LookRefiner(codec), REFINER_INPUTS, SHARP, {*_REFINES}),
    ):
        part = {k: feed[k] for k in inputs}
        arrays = pack({k: v for k, v in state.items() if k.split(".")[1] in parts})
        net.load_state_dict({k: torch.from_numpy(v) for k, v in unpack(arrays).items()}, strict=False)
        write_packed_onnx(net, tuple(part.values()), list(inputs), list(outputs), arrays, folder / name, batched=False)
        with torch.inference_mode():
            expected = net.eval()(*part.values())
        expected = [expected] if isinstance(expected, torch.Tensor) else list(expected)
        difference[name] = _largest_difference(folder / name, part, list(outputs), expected)
    save_priors(codec, importance or TokenImportance.plain(DIMS[0]), folder / LOOK_PRIORS)
    return difference


def save_priors(codec: LookCodec, importance: TokenImportance, path: Path) -> None:
    """The priors of the grids in whole numbers, their tables, and which cells matter."""
    arrays = {"tables": symbol_tables()}
    arrays |= {f"importance.{name}": array for name, array in importance.to_arrays().items()}
    for k, prior in enumerate(codec.priors):
        state = {name: value.detach().cpu().numpy() for name, value in prior.state_dict().items()}
        arrays |= {f"{k}.{name}": value for name, value in IntegerPrior.of(state).to_arrays().items()}
    save_file(arrays, str(path))


def _largest_difference(
    path: Path, feed: dict[str, torch.Tensor], names: list[str], expected: list[torch.Tensor]
) -> float:
    got = session_of(str(path)).run(names, {k: v.numpy() for k, v in feed.items()})
    return max(float(np.abs(np.asarray(g) - e.numpy()).max()) for g, e in zip(got, expected, strict=True))
