"""What a folder holds for us, and the name of every output: no two inputs share one."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

from somacast.errors import SomacastError

# What becomes of an input: one file NAME.soma, or several, NAME_1.soma and so on.
Gives = Literal["one", "several"]
_NUMBERED = re.compile(r"(.+)_\d+")


@dataclass(frozen=True)
class Job:
    """source: the input file; name: its path from the input folder; target: path of the output from the output folder;
    both with slashes. Of several outputs, `target` is the name before _1, _2, ... are put in."""

    source: Path
    name: str
    target: str


@dataclass(frozen=True)
class Plan:
    """jobs by name; others: how many files of other kinds were passed over; unread: folders that could not be listed,
    with the reason."""

    jobs: list[Job]
    others: int = 0
    unread: list[tuple[str, str]] = field(default_factory=list)


def plan_folder(folder: Path, out: Path, suffix: str, gives: Callable[[Path], Gives | None]) -> Plan:
    """All files in `folder` and below of which something is to be made, in the order of their names.

    Subfolders are kept. Names that begin with a dot are passed over, and so are links to folders and, where it lies
    inside `folder`, the output folder. gives: what becomes of a file, None if it is of another kind.
    """
    found: list[tuple[Path, str, Gives]] = []
    unread: list[tuple[str, str]] = []
    others = 0

    def complain(fault: OSError) -> None:
        unread.append((_relative(Path(fault.filename), folder), (fault.strerror or str(fault)).lower()))

    own = out.resolve()
    for place, folders, files in os.walk(folder, onerror=complain):
        here = Path(place)
        folders[:] = sorted(n for n in folders if not n.startswith(".") and (here / n).resolve() != own)
        for name in sorted(files):
            path = here / name
            kind = gives(path) if not name.startswith(".") and path.is_file() else None
            if kind is None:
                others += 1
            else:
                found.append((path, _relative(path, folder), kind))
    if not found and unread:
        raise SomacastError(f"{folder}: cannot be read ({unread[0][1]}); expected a folder with files")
    targets = name_outputs([(name, kind) for _, name, kind in found], suffix)
    jobs = [Job(path, name, target) for (path, name, _), target in zip(found, targets, strict=True)]
    return Plan(jobs, others, unread)


def _relative(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def name_outputs(inputs: list[tuple[str, Gives]], suffix: str) -> list[str]:
    """The path of every output for paths of inputs, both from their folders: a.jpg becomes a.soma, but a.jpg.soma
    where there is also an a.png. No two are equal on any file system, and none is a folder of another."""
    kept = Counter(_key(str(PurePosixPath(name).with_suffix(""))) for name, _ in inputs)
    names = _Names()
    for name, _ in inputs:
        for folder in PurePosixPath(name).parents:
            names.add(str(folder), suffix="")
    targets = []
    for name, gives in inputs:
        path = PurePosixPath(name)
        short = str(path.with_suffix(""))
        tries = [short] if kept[_key(short)] == 1 else []
        tries += [name, *(f"{name}~{number}" for number in range(2, len(inputs) + 2))]
        stem = next(one for one in tries if names.free(one, suffix, gives))
        names.add(stem, suffix, gives)
        targets.append(stem + suffix)
    return targets


class _Names:
    """Names that are taken, and families NAME_1, NAME_2, ... of which nobody knows how many there will be."""

    def __init__(self) -> None:
        self._single: set[str] = set()
        self._numbered: set[str] = set()  # what single names that end in a number have before it
        self._families: set[str] = set()

    def free(self, stem: str, suffix: str, gives: Gives) -> bool:
        key = _key(stem)
        if gives == "several":
            return key not in self._families and key not in self._numbered
        numbered = _NUMBERED.fullmatch(key)
        return _key(stem + suffix) not in self._single and not (numbered and numbered[1] in self._families)

    def add(self, stem: str, suffix: str, gives: Gives = "one") -> None:
        key = _key(stem)
        if gives == "several":
            self._families.add(key)
            return
        self._single.add(_key(stem + suffix))
        if suffix and (numbered := _NUMBERED.fullmatch(key)):
            self._numbered.add(numbered[1])


def _key(name: str) -> str:
    """Equal for names that some file systems take for one."""
    return unicodedata.normalize("NFC", name).casefold()
