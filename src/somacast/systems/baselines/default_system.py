"""The package's own reconstruction, for systems that send something simpler and rebuild the person with it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from somacast.geometry.reconstruction import Reconstruction
from somacast.systems import registry
from somacast.systems.registry import System
from somacast.systems.spec import Decoder, Encoder
from somacast.types import Capture, Encoded, Payload


@dataclass(frozen=True)
class DefaultSystem:
    """Both loaded halves of the default system; nothing travels between them in a file."""

    system: System
    encoder: Encoder
    decoder: Decoder

    def rebuild(self, capture: Capture, budget_bytes: int | None = None) -> tuple[Reconstruction, Encoded]:
        """The person of a capture at full precision, or at what a budget allows, and what the encoder found.
        SomacastError if nobody is seen."""
        encoded = self.encoder.encode(capture, budget_bytes)
        payload = Payload(self.system.spec.name, self.system.spec.weights_digest(), encoded.layers)
        return self.decoder.decode(payload), encoded


@lru_cache(maxsize=2)
def default_system(device: str) -> DefaultSystem:
    """Loaded once for all that ask."""
    system = registry.get(registry.DEFAULT)
    return DefaultSystem(system, system.encoder(device), system.decoder(device))
