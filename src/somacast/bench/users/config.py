"""Settings of `somacast bench users`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from somacast.errors import SomacastError
from somacast.options import Folder, Made

PARTS = ("privacy", "starts", "drift", "memory", "folder", "kinds", "halves")


@dataclass(frozen=True)
class UsersBench:
    """Measure what users run into: what leaves the machine, how soon commands start, whether time is kept, memory over
    long films, folders of pictures, files of all kinds, people who are cut by the picture's edge.

    Each part gives a file of its own in the folder.

    Example: somacast bench users --parts privacy drift --out results/users
    """

    parts: tuple[str, ...] = PARTS
    """which parts: privacy, starts, drift, memory, folder, kinds, halves"""
    out: Annotated[Path, Made()] = Path("results/users")
    """folder for the results"""
    reports: Annotated[Path | None, Folder("files that users had trouble with")] = None
    """folder of files that users had trouble with: needed by kinds"""
    photographs: Annotated[Path | None, Folder("photographs of whole people")] = None
    """folder of photographs of whole people, to be cut: halves does without"""
    seed: int = 0
    """start of all randomness"""

    def __post_init__(self) -> None:
        unknown = [part for part in self.parts if part not in PARTS]
        if unknown or not self.parts or len(set(self.parts)) != len(self.parts):
            raise SomacastError(f"parts: expected each once, some of {' '.join(PARTS)}, got {' '.join(self.parts)}")
        if "kinds" in self.parts and self.parts != PARTS and self.reports is None:
            raise SomacastError("kinds: expected --reports, a folder of files that users had trouble with")
