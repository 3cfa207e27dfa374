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
from somacast.coding.label_coding import CodingTables
from somacast.errors import SomacastError
from somacast.systems.aflsc.labels.codec import LabelCodec
from somacast.systems.aflsc.labels.space import LabelSpace
from somacast.weights.manifest import weights_path
from somacast.weights.sessions import open_session

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

    from somacast.systems.aflsc.networks.adversarial import SemanticCoder
    from somacast.systems.aflsc.networks.diffuse import Denoiser
    from somacast.systems.aflsc.networks.extract import MultiTaskViT
    from somacast.systems.aflsc.networks.restore import Restorer

WEIGHTS = "aflsc"
FAST_SENDER, FAST_RECEIVER = "aflsc_sender.onnx", "aflsc_receiver.onnx"
EXTRACTED = (
    "heat",
    "joints",
    "joint_depth",
    "points",
    "confidence",
    "pose",
    "depth",
    "silhouette",
)  # of MultiTaskViT, as used
CODED = ("mean", "log_scale", "angles", "classes")
_PARTS = ("extract", "semantic", "restorer", "denoiser")
_FOR_TRAINING = ("semantic.from_both.", "semantic.features.")  # q(z | X, y) and mu(z): weights files leave them out
# Wide matrices travel in 8 bits with a scale for each row; the error is under what a minute of training changes.
_MIN_EIGHT_BIT = 16384
_SCALE = ".scale"


@dataclass(frozen=True)
class Tables:
    """Label space and codec of a weights file; needs no torch."""

    space: LabelSpace
    codec: LabelCodec


@lru_cache(maxsize=2)
def _arrays(path: Path) -> tuple[dict[str, np.ndarray], bytes]:
    data = path.read_bytes()
    return load(data), hashlib.sha256(data).digest()[:DIGEST_BYTES]


def load_tables(path: Path | None = None) -> Tables:
    """Tables of the weights in the package, or of another file of the same form."""
    return _tables(path or weights_path(WEIGHTS))


@lru_cache(maxsize=2)
def _tables(path: Path) -> Tables:
    arrays, digest = _arrays(path)
    space = LabelSpace.from_arrays(arrays)
    return Tables(space, LabelCodec(space.vocabulary, CodingTables.from_arrays(arrays, space.vocabulary), digest))


def load_states(path: Path | None) -> dict[str, dict]:
    """States of the networks in a weights file (None: the package's), by part, as float32 tensors."""
    import torch

    arrays, _ = _arrays(path or weights_path(WEIGHTS))
    out: dict[str, dict] = {part: {} for part in _PARTS}
    for name, array in arrays.items():
        part, _, rest = name.partition(".")
        if part in out and not name.endswith(_SCALE):
            if name + _SCALE in arrays:
                array = (array.reshape(len(array), -1) * arrays[name + _SCALE][:, None]).reshape(array.shape)
            tensor = torch.from_numpy(np.array(array))
            out[part][rest] = tensor.float() if tensor.dtype == torch.float16 else tensor
    return out


def load_sender(path: Path | None = None) -> tuple[MultiTaskViT, SemanticCoder]:
    """(MultiTaskViT, SemanticCoder) in evaluation mode."""
    from somacast.body.clothing import ATTRIBUTES
    from somacast.systems.aflsc.labels.layout import LabelLayout
    from somacast.systems.aflsc.labels.schema import SHAPE_LABELS
    from somacast.systems.aflsc.networks.adversarial import SemanticCoder, SemanticConfig
    from somacast.systems.aflsc.networks.extract import ExtractConfig, MultiTaskViT

    states = load_states(path)
    side = 16 * math.isqrt(states["extract"]["position"].shape[1])
    config = ExtractConfig(side, shape_count=SHAPE_LABELS, attribute_logits=sum(len(c) for c in ATTRIBUTES.values()))
    extract = MultiTaskViT(config)
    extract.load_state_dict(states["extract"])
    semantic = states["semantic"]
    coder = SemanticCoder(SemanticConfig(len(semantic["mean"])), LabelLayout.of(load_tables(path).space.vocabulary))
    missing = coder.load_state_dict(semantic, strict=False)
    if missing.unexpected_keys or not all(
        f"semantic.{name}".startswith(_FOR_TRAINING) for name in missing.missing_keys
    ):
        raise SomacastError(f"the weights do not fit the semantic coder: {missing}")
    return extract.eval(), coder.eval()


def load_receiver(path: Path | None = None) -> tuple[Restorer, Denoiser]:
    """(Restorer, Denoiser) in evaluation mode."""
    from somacast.systems.aflsc.labels.codec import label_input_count
    from somacast.systems.aflsc.networks.diffuse import Denoiser
    from somacast.systems.aflsc.networks.restore import RestoreConfig, Restorer

    states = load_states(path)
    restorer = Restorer(RestoreConfig(label_input_count(load_tables(path).space.vocabulary)))
    restorer.load_state_dict(states["restorer"])
    denoiser = Denoiser()
    denoiser.load_state_dict(states["denoiser"])
    return restorer.eval(), denoiser.eval()


def load_fast_sender(device: str = "cpu") -> InferenceSession:
    """The sender's networks as an ONNX Runtime session: image [2, 3, S, S], landmarks [2, 33, 8] -> EXTRACTED and
    CODED. The twin of `MultiTaskViT.forward` and `SemanticCoder.infer`."""
    return open_session(FAST_SENDER, device)


def load_fast_receiver(device: str = "cpu") -> InferenceSession:
    """The receiver's default path as an ONNX Runtime session: labels [1, I], base [1, 4, 128, 128] -> change, shaped
    like base. The twin of `Restorer` and one step of `reverse`."""
    return open_session(FAST_RECEIVER, device)


def save_weights(path: Path, space: LabelSpace, tables: CodingTables, states: dict[str, dict]) -> None:
    """One safetensors file: networks' tensors as float16 under "part.name", wide ones as int8 with a scale for each
    row, label and coding tables as they are."""
    arrays: dict[str, np.ndarray] = {**space.to_arrays(), **tables.to_arrays()}
    for part in _PARTS:
        for name, tensor in states[part].items():
            if f"{part}.{name}".startswith(_FOR_TRAINING):
                continue
            array = tensor.detach().cpu().numpy()
            wide = array.ndim > 1 and array.size >= _MIN_EIGHT_BIT and len(array) >= 16
            if wide:
                rows = array.reshape(len(array), -1)
                scale = np.maximum(np.abs(rows).max(1) / 127, 1e-12).astype(np.float32)
                arrays[f"{part}.{name}"] = np.round(rows / scale[:, None]).astype(np.int8).reshape(array.shape)
                arrays[f"{part}.{name}{_SCALE}"] = scale
                continue
            keep = array.dtype.kind != "f" or "running" in name or name in ("mean", "std")
            arrays[f"{part}.{name}"] = np.ascontiguousarray(array if keep else array.astype(np.float16))
    save_file(arrays, str(path))
