"""The systems by name, found and loaded when they are asked for.

A name is a folder systems/NAME or systems/baselines/NAME with a spec.py, or an entry point of the group
"somacast.systems" of any installed package. NAME:VARIANT is a system with another of its configurations.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from somacast.errors import SomacastError
from somacast.extras import require
from somacast.systems.spec import Decoder, Encoder, LiveSpec, SystemSpec, Tracker

DEFAULT = "aflsc"
ENTRY_POINTS = "somacast.systems"
_FOLDERS = {
    "somacast.systems": Path(__file__).parent,
    "somacast.systems.baselines": Path(__file__).parent / "baselines",
}


@dataclass(frozen=True)
class System:
    """A system as it is to run: its spec and one of its configurations. name: with ":VARIANT" behind it, if any."""

    name: str
    spec: SystemSpec
    config: Any

    def encoder(self, device: str = "cpu") -> Encoder:
        """The sender's half, loaded; SomacastError if a package it needs is not installed."""
        self.check_packages()
        return self.spec.encoder(self.config, device)

    def decoder(self, device: str = "cpu") -> Decoder:
        """The receiver's half, loaded; SomacastError if a package it needs is not installed."""
        self.check_packages()
        return self.spec.decoder(self.config, device)

    def textured(self, texture_px: int | None) -> System:
        """The same with textures of so many texels a side, None: of the size it takes by itself; SomacastError for a
        size that it does not have, and for a system whose people have no textures."""
        if texture_px is None:
            return self
        if self.spec.textured is None:
            raise SomacastError(f"system {self.name}: its people have no texture; expected none of {texture_px} texels")
        return replace(self, config=self.spec.textured(self.config, texture_px))

    @property
    def live(self) -> LiveSpec:
        """The live half of the spec; SomacastError that lists the systems that have one, if it has none."""
        if self.spec.live is None:
            able = ", ".join(name for name in names() if _spec(name).live is not None)
            raise SomacastError(f"system {self.name!r} has no live half; expected one of {able}")
        return self.spec.live

    def tracker(self, device: str = "cpu", careful: bool = False) -> Tracker:
        """What follows a person through pictures; careful: looks longer at each."""
        self.check_packages()
        return self.live.tracker(self.config, device, careful)

    def pack(self, layers: list[bytes]) -> bytes:
        """The .soma file of layers that an encoder of this system made."""
        from somacast.bitstream.container import pack
        from somacast.types import Payload

        return pack(Payload(self.spec.name, self.spec.weights_digest(), layers))

    def check_packages(self) -> None:
        """SomacastError with the remedy if a package this system needs is not installed."""
        for package, purpose in self.spec.requires.items():
            require(package, purpose)


@cache
def _built_in() -> dict[str, str]:
    """Names of the folders with a spec, and their modules."""
    return {
        spec.parent.name: f"{package}.{spec.parent.name}.spec"
        for package, folder in _FOLDERS.items()
        for spec in sorted(folder.glob("*/spec.py"))
    }


def names() -> list[str]:
    """Names of all systems that are there."""
    from importlib.metadata import entry_points

    return sorted({*_built_in(), *(point.name for point in entry_points(group=ENTRY_POINTS))})


def get(name: str) -> System:
    """System by NAME or NAME:VARIANT; SomacastError that lists what is known, for a name that is not there."""
    base, colon, variant = name.partition(":")
    spec = _spec(base)
    if not colon:
        return System(name, spec, spec.config())
    if variant not in spec.variants:
        known = ", ".join(spec.variants) or "none"
        raise SomacastError(f"system {name!r}: {base} has no variant {variant!r}; expected one of {known}")
    return System(name, spec, spec.variants[variant])


@cache
def _spec(name: str) -> SystemSpec:
    if name in _built_in():
        return import_module(_built_in()[name]).SPEC
    from importlib.metadata import entry_points  # takes a while, and built-in systems need none

    for point in entry_points(group=ENTRY_POINTS, name=name):
        return point.load()
    raise SomacastError(f"system {name!r}: expected one of {', '.join(names())}")
