"""The systems by name. A system is a pair of halves with one signature, and its codec."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from somacast.errors import SomacastError
from somacast.types import Frame, Human, Semantics


class Encoder(Protocol):
    """Sender's half. The report holds what was found, see pipeline/still/sender.py."""

    def encode(self, frames: list[Frame], budget_bytes: int | None = None) -> tuple[Semantics, dict]: ...


class Decoder(Protocol):
    """Receiver's half."""

    def decode(self, semantics: Semantics, views: Any = None) -> Human: ...


class System(Protocol):
    """What every benchmark, transport, viewer and command relies on."""

    @property
    def name(self) -> str: ...

    def encoder(self, device: str = "cpu") -> Encoder: ...

    def decoder(self, device: str = "cpu") -> Decoder: ...

    def pack(self, semantics: Semantics, budget_bytes: int | None = None) -> bytes: ...

    def unpack(self, data: bytes) -> tuple[Semantics, list[str]]: ...

    def labels(self) -> tuple[Any, Any]: ...


@dataclass(frozen=True)
class Aflsc:
    """The main system; networks are loaded when a half is first asked for."""

    name: str = "aflsc"

    def encoder(self, device: str = "cpu") -> Encoder:
        from somacast.systems.aflsc.sender.encoder import Encoder as AflscEncoder

        return AflscEncoder(device)

    def decoder(self, device: str = "cpu") -> Decoder:
        from somacast.systems.aflsc.receiver.decoder import Decoder as AflscDecoder

        return AflscDecoder(device)

    def pack(self, semantics: Semantics, budget_bytes: int | None = None) -> bytes:
        return self._codec().pack(semantics, budget_bytes)

    def unpack(self, data: bytes) -> tuple[Semantics, list[str]]:
        return self._codec().unpack(data)

    def labels(self) -> tuple[Any, Any]:
        """(Vocabulary, CodingTables) of the installed weights."""
        codec = self._codec()
        return codec.vocabulary, codec.tables

    @staticmethod
    def _codec():
        from somacast.systems.aflsc.networks.loading import load_tables

        return load_tables().codec


_SYSTEMS: dict[str, System] = {"aflsc": Aflsc()}


def names() -> list[str]:
    """Names of the systems that are there."""
    return sorted(_SYSTEMS)


def get(name: str) -> System:
    """System by name; SomacastError for a name that is not there."""
    if name not in _SYSTEMS:
        raise SomacastError(f"system {name!r}: expected one of {', '.join(names())}")
    return _SYSTEMS[name]
