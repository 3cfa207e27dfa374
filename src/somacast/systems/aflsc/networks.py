"""The trained parts of AFLSC in memory: one file of weights, its label tables, and the thin runner of its networks."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors.numpy import load, save_file

from somacast.bitstream.container import DIGEST_BYTES
from somacast.semantics.label_coding import CodingTables
from somacast.systems.aflsc.codec import LabelCodec
from somacast.systems.aflsc.labels import LabelSpace
from somacast.weights.manifest import weights_path

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

    from somacast.systems.aflsc.adversarial import SemanticCoder
    from somacast.systems.aflsc.diffuse import Denoiser
    from somacast.systems.aflsc.extract import MultiTaskViT
    from somacast.systems.aflsc.restore import Restorer

WEIGHTS = "aflsc"
FAST_SENDER, FAST_RECEIVER = "aflsc_sender.onnx", "aflsc_receiver.onnx"
EXTRACTED = ("heat", "joints", "joint_depth", "confidence", "pose", "depth", "silhouette")  # of MultiTaskViT, as used
CODED = ("mean", "log_scale", "angles", "classes")  # of SemanticCoder.infer, as used
_PARTS = ("extract", "semantic", "restorer", "denoiser")


@dataclass(frozen=True)
class Tables:
    """Label space and codec of a weights file; needs no torch."""

    space: LabelSpace
    codec: LabelCodec


@lru_cache(maxsize=2)
def _arrays(path: Path) -> tuple[dict[str, np.ndarray], bytes]:
    data = path.read_bytes()
    return load(data), hashlib.sha256(data).digest()[:DIGEST_BYTES]


@lru_cache(maxsize=2)
def load_tables(path: Path | None = None) -> Tables:
    """Tables of the weights in the package, or of another file of the same form."""
    arrays, digest = _arrays(path or weights_path(WEIGHTS))
    space = LabelSpace.from_arrays(arrays)
    return Tables(space, LabelCodec(space.vocabulary, CodingTables.from_arrays(arrays, space.vocabulary), digest))


def _states(path: Path | None) -> dict[str, dict]:
    import torch

    arrays, _ = _arrays(path or weights_path(WEIGHTS))
    out: dict[str, dict] = {part: {} for part in _PARTS}
    for name, array in arrays.items():
        part, _, rest = name.partition(".")
        if part in out:
            tensor = torch.from_numpy(np.array(array))
            out[part][rest] = tensor.float() if tensor.dtype == torch.float16 else tensor
    return out


def load_sender(path: Path | None = None) -> tuple[MultiTaskViT, SemanticCoder]:
    """(MultiTaskViT, SemanticCoder) in evaluation mode."""
    from somacast.data.wardrobe import ATTRIBUTES
    from somacast.systems.aflsc.adversarial import SemanticCoder, SemanticConfig
    from somacast.systems.aflsc.extract import ExtractConfig, MultiTaskViT
    from somacast.systems.aflsc.labels import SHAPE_LABELS
    from somacast.systems.aflsc.layout import LabelLayout

    states = _states(path)
    side = 16 * math.isqrt(states["extract"]["position"].shape[1])
    config = ExtractConfig(side, shape_count=SHAPE_LABELS, attribute_logits=sum(len(c) for c in ATTRIBUTES.values()))
    extract = MultiTaskViT(config)
    extract.load_state_dict(states["extract"])
    semantic = states["semantic"]
    coder = SemanticCoder(SemanticConfig(len(semantic["mean"])), LabelLayout.of(load_tables(path).space.vocabulary))
    coder.load_state_dict(semantic)
    return extract.eval(), coder.eval()


def load_receiver(path: Path | None = None) -> tuple[Restorer, Denoiser]:
    """(Restorer, Denoiser) in evaluation mode."""
    from somacast.systems.aflsc.codec import label_input_count
    from somacast.systems.aflsc.diffuse import Denoiser
    from somacast.systems.aflsc.restore import RestoreConfig, Restorer

    states = _states(path)
    restorer = Restorer(RestoreConfig(label_input_count(load_tables(path).space.vocabulary)))
    restorer.load_state_dict(states["restorer"])
    denoiser = Denoiser()
    denoiser.load_state_dict(states["denoiser"])
    return restorer.eval(), denoiser.eval()


def load_fast_sender() -> InferenceSession:
    """The sender's networks as an ONNX Runtime session: image [2, 3, S, S] -> EXTRACTED and CODED. The twin of
    `MultiTaskViT.forward` and `SemanticCoder.infer`."""
    return _session(FAST_SENDER)


def load_fast_receiver() -> InferenceSession:
    """The receiver's default path as an ONNX Runtime session: labels [1, I], base [1, 4, 128, 128] -> change, shaped
    like base. The twin of `Restorer` and one step of `reverse`."""
    return _session(FAST_RECEIVER)


def _session(name: str) -> InferenceSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(weights_path(name)), options, providers=["CPUExecutionProvider"])


def save_weights(path: Path, space: LabelSpace, tables: CodingTables, states: dict[str, dict]) -> None:
    """One safetensors file: networks' tensors as float16 under "part.name", label and coding tables as they are."""
    arrays: dict[str, np.ndarray] = {**space.to_arrays(), **tables.to_arrays()}
    for part in _PARTS:
        for name, tensor in states[part].items():
            array = tensor.detach().cpu().numpy()
            keep = array.dtype.kind != "f" or "running" in name or name in ("mean", "std")
            arrays[f"{part}.{name}"] = np.ascontiguousarray(array if keep else array.astype(np.float16))
    save_file(arrays, str(path))
