"""The trained parts of AFLSC in memory: the file of its tables, and its networks for ONNX Runtime and for torch.

Shipped are `aflsc.safetensors` (label space, coding tables, importance) and, beside it, the sender's networks as ONNX,
and those of the look tokens with their priors. A training also keeps a checkpoint: one safetensors file with the tables
and the sender's networks.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from somacast.bitstream.container import DIGEST_BYTES
from somacast.coding.label_coding import CodingTables
from somacast.errors import SomacastError
from somacast.systems.aflsc.labels.codec import LabelCodec
from somacast.systems.aflsc.labels.space import LabelSpace
from somacast.weights.arrays import content_digest, pack, read_onnx, unpack
from somacast.weights.manifest import weights_path
from somacast.weights.sessions import open_session, session_of

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

    from somacast.systems.aflsc.look_tokens.stream import TokenCoder
    from somacast.systems.aflsc.networks.adversarial import SemanticCoder
    from somacast.systems.aflsc.networks.extract import MultiTaskViT

WEIGHTS = "aflsc"
FAST_SENDER = "aflsc_sender.onnx"
LOOK_WRITER, LOOK_READER, LOOK_REFINER = "aflsc_look_writer.onnx", "aflsc_look_reader.onnx", "aflsc_look_refiner.onnx"
LOOK_PRIORS = "aflsc_looks.safetensors"
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
PARTS = ("extract", "semantic")
_DROPPED = ("restorer", "denoiser")  # networks that checkpoints of earlier versions hold beside them
STREAM_DIGEST = "stream_digest"  # metadata of a file with tables, in hexadecimal digits
_FOR_TRAINING = ("semantic.from_both.", "semantic.features.")  # q(z | X, y) and mu(z): weights files leave them out
_EXACT = ("running_", "semantic.mean", "semantic.std")  # statistics keep all of their bits


@dataclass(frozen=True)
class Tables:
    """Label space and codec of a weights file; needs no torch."""

    space: LabelSpace
    codec: LabelCodec


def load_tables(path: Path | None = None) -> Tables:
    """Tables of the weights in the package, or of another file of the same form or a checkpoint."""
    return _tables(path or weights_path(WEIGHTS))


@lru_cache(maxsize=2)
def _tables(path: Path) -> Tables:
    arrays, digest = _read_tables(path)
    space = LabelSpace.from_arrays(arrays)
    return Tables(space, LabelCodec(space.vocabulary, CodingTables.from_arrays(arrays, space.vocabulary), digest))


def network_arrays(path: Path | None, parts: tuple[str, ...] = PARTS) -> dict[str, np.ndarray]:
    """Arrays of networks as they are stored (see `pack`), named "part.name"; path as for `load_states`."""
    arrays = {}
    if path is not None:
        with safe_open(path, "numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys() if _part(name) in parts}  # noqa: SIM118
    if not arrays:
        arrays = read_onnx(weights_path(FAST_SENDER) if path is None else path.with_name(FAST_SENDER))
    return current_names({name: array for name, array in arrays.items() if _part(name) in parts})


def current_names(state: dict[str, Any], prefix: str = "extract.") -> dict[str, Any]:
    """Tensors by name, of the extractor or with its prefix, under the names that its modules have today."""
    old = f"{prefix}joint_tokens.turns."
    return {name.replace(old, f"{prefix}joint_tokens.rotations."): tensor for name, tensor in state.items()}


def load_states(path: Path | None, parts: tuple[str, ...] = PARTS) -> dict[str, dict]:
    """States of networks by part, as float32 tensors.

    path: a checkpoint, which holds them itself, or a file of tables, whose networks lie beside it as ONNX; None: the
    package's. SomacastError without the `onnx` package where it is needed, and for files that lack a part.
    """
    import torch

    out: dict[str, dict] = {part: {} for part in parts}
    for full_name, array in unpack(network_arrays(path, parts)).items():
        part, _, name = full_name.partition(".")
        if part in out:
            out[part][name] = torch.from_numpy(np.array(array))
    missing = [part for part, state in out.items() if not state]
    if missing:
        raise SomacastError(f"{(path or weights_path(WEIGHTS)).name}: expected networks, found no {', '.join(missing)}")
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


def load_fast_sender(device: str = "cpu") -> InferenceSession:
    """The sender's networks as an ONNX Runtime session: image [2, 3, S, S], landmarks [2, 33, 8] -> EXTRACTED and
    CODED. The twin of `MultiTaskViT.forward` and `SemanticCoder.infer`."""
    return open_session(FAST_SENDER, device)


def load_token_coder(path: Path | None = None) -> TokenCoder:
    """What look tokens are coded with; path as for `load_tables`: the file beside it, else the package's."""
    own = None if path is None else path.with_name(LOOK_PRIORS)
    return _token_coder(own if own is not None and own.exists() else weights_path(LOOK_PRIORS))


@lru_cache(maxsize=2)
def _token_coder(path: Path) -> TokenCoder:
    from somacast.systems.aflsc.look_tokens.stream import TokenCoder

    with safe_open(path, "numpy") as file:
        return TokenCoder.from_arrays({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118


def load_look_part(name: str, path: Path | None = None, device: str = "cpu") -> InferenceSession:
    """LOOK_WRITER, LOOK_READER or LOOK_REFINER as an ONNX Runtime session; path as for `load_token_coder`."""
    own = None if path is None else path.with_name(name)
    return session_of(str(own), device) if own is not None and own.exists() else open_session(name, device)


def save_checkpoint(path: Path, space: LabelSpace, tables: CodingTables, states: dict[str, dict]) -> None:
    """One safetensors file: all that ships (see `pack`) under "part.name", and label and coding tables as they are."""
    tensors = {
        f"{part}.{name}": tensor.detach().cpu().numpy() for part in PARTS for name, tensor in states[part].items()
    }
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith(_FOR_TRAINING)}
    held = {**space.to_arrays(), **tables.to_arrays()}
    save_file({**held, **pack(kept, _EXACT)}, str(path), {STREAM_DIGEST: content_digest(held, DIGEST_BYTES).hex()})


def save_tables(checkpoint: Path, target: Path) -> None:
    """The tables of a checkpoint as the file that ships; it goes on naming the streams that the checkpoint named."""
    arrays, digest = _read_tables(checkpoint)
    save_file(arrays, str(target), {STREAM_DIGEST: digest.hex()})


def _read_tables(path: Path) -> tuple[dict[str, np.ndarray], bytes]:
    """Arrays of the tables in a file, and what streams call them: as the file says, or, of a checkpoint from before
    files said it, the first bytes of its sha256."""
    with safe_open(path, "numpy") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys() if _part(name) not in (*PARTS, *_DROPPED)}  # noqa: SIM118
        stated = (file.metadata() or {}).get(STREAM_DIGEST)
    if stated is None:
        with path.open("rb") as content:
            return arrays, hashlib.file_digest(content, "sha256").digest()[:DIGEST_BYTES]
    try:
        digest = bytes.fromhex(stated)
    except ValueError:
        digest = b""
    if len(digest) != DIGEST_BYTES:
        raise SomacastError(f"{path.name}: {STREAM_DIGEST}: expected {2 * DIGEST_BYTES} hex digits, got {stated!r}")
    return arrays, digest


def _part(name: str) -> str:
    return name.partition(".")[0]
