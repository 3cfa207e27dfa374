"""What the benchmark compares: AFLSC with its ablations, pictures, meshes. A new ablation is one line of VARIANTS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from somacast.errors import SomacastError
from somacast.extras import require
from somacast.pipeline.still.receiver import Receiver
from somacast.pipeline.still.sender import Sender
from somacast.systems.baselines.picture.codecs import PICTURE_CODECS


@dataclass(frozen=True)
class Variant:
    """One way to run AFLSC. system: of the registry; decoder: options of its DecoderConfig that differ."""

    system: str = "aflsc"
    decoder: dict[str, Any] = field(default_factory=dict)

    def receiver(self, device: str) -> Receiver:
        """A loaded receiver with these options."""
        if not self.decoder:
            receiver = Receiver(device)
            receiver.load(self.system)
            return receiver
        require("torch", f"the ablation with {self.decoder}")
        from somacast.systems.aflsc.receiver.decoder import Decoder, DecoderConfig

        return Receiver(device, {self.system: Decoder(device, config=DecoderConfig(**self.decoder))})


OURS, DRACO = "aflsc", "draco"
VARIANTS = {
    OURS: Variant(),
    "aflsc-literal": Variant(decoder={"literal": True, "steps": 8}),  # eq. 26-27 as printed, from X_T = 0
}
SYSTEMS = (*VARIANTS, *PICTURE_CODECS, DRACO)


def check_systems(names: Sequence[str]) -> None:
    """SomacastError for a name that nobody knows, one given twice, or one whose package is not installed."""
    for name in names:
        if name not in SYSTEMS:
            raise SomacastError(f"system {name!r}: expected some of {', '.join(SYSTEMS)}")
    if not names or len(set(names)) != len(names):
        raise SomacastError(f"systems: expected each once and at least one, got {' '.join(names) or 'none'}")
    if {"avif", "x265", "svt-av1", "vvc"} & set(names):
        require("imageio_ffmpeg", "coding pictures by AVIF, x265, SVT-AV1 and VVC")
    if "avif" in names:
        from PIL import features

        if not features.check("avif"):
            raise SomacastError("avif: this build of Pillow has no AVIF; expected Pillow 11.3 or newer from a wheel")
    if DRACO in names:
        require("DracoPy", "coding meshes by Draco")
    if any(VARIANTS[name].decoder for name in names if name in VARIANTS):
        require("torch", "an ablation of the receiver")


class Halves:
    """The loaded networks: one sender, and a receiver for each variant that is asked for."""

    def __init__(self, names: Sequence[str], device: str):
        self.sender = Sender(OURS, device)
        wanted = dict.fromkeys([OURS, *(name for name in names if name in VARIANTS)])
        self.receivers = {name: VARIANTS[name].receiver(device) for name in wanted}
