"""What configurations declare about their fields, for the command line that is made from them.

A field's docstring is its help, its type says which paths are read or written. Before any verb runs, `check_paths`
looks at them all: inputs are there, outputs can be written, and no output is an input or another output. Numbers are
checked when a configuration is made, in `__post_init__`.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import tyro

from somacast.errors import SomacastError
from somacast.files import check_apart, check_output_folder, check_output_path

SYNTHETIC_TEST = "synthetic-test"  # words that stand for test people who are drawn
RIGGED_TEST = "rigged-test"
SOURCES = r"webcam(:.*)?|synthetic:.*"  # words that stand for a camera, and for a synthetic person who moves
STREAM = "-"  # standard input or output in the place of a file


class Place:
    """What a field says of a path: `check` raises SomacastError before any work is done; `reads` and `writes` tell
    which file or folder is meant, or None. config: of which it is a field."""

    def check(self, value: Any, config: Any) -> None:
        pass

    def reads(self, value: Any, config: Any) -> Path | None:
        return None

    def writes(self, value: Any, config: Any) -> Path | None:
        return None


@dataclass(frozen=True)
class Written(Place):
    """A file to be written, its name ending in one of the suffixes, if any are given. stream: `-` and devices are
    standard output and the like; the name of the field that tells the kind of file there, "" where there is one.
    beside: name of the field that makes this one a folder where it is one: whoever works on folders sees to that."""

    suffixes: tuple[str, ...] = ()
    stream: str | None = None
    beside: str = ""

    def check(self, value: Path, config: Any) -> None:
        if not self._is_folder(config) and (self.stream is None or not is_stream(value)):
            check_output(value, self.suffixes)

    def writes(self, value: Path, config: Any) -> Path | None:
        if self._is_folder(config):
            return None
        return Path("/dev/stdout") if str(value) == STREAM else value

    def _is_folder(self, config: Any) -> bool:
        return bool(self.beside) and os.path.isdir(getattr(config, self.beside) or "")


@dataclass(frozen=True)
class Made(Place):
    """A folder to be written into, made if needed."""

    def check(self, value: Path, config: Any) -> None:
        check_output_folder(value)

    def writes(self, value: Path, config: Any) -> Path:
        return value


@dataclass(frozen=True)
class Folder(Place):
    """A folder to be read. content: what is expected in it; words: may stand in the place of a folder."""

    content: str = ""
    words: tuple[str, ...] = ()

    def check(self, value: Path | str, config: Any) -> None:
        if str(value) not in self.words and not os.path.isdir(value):
            expected = f"; expected one with {self.content}" if self.content else ""
            raise SomacastError(f"{value}: no such folder{expected}{''.join(f', or {word}' for word in self.words)}")

    def reads(self, value: Path | str, config: Any) -> Path | None:
        return None if str(value) in self.words else Path(value)


@dataclass(frozen=True)
class Existing(Place):
    """A file to be read. content: what is expected in it; stream: `-` and pipes may stand in its place; folder: a
    folder may, too; words: expression of what may, which is no path."""

    content: str
    stream: bool = False
    folder: bool = False
    words: str = ""

    def check(self, value: Path, config: Any) -> None:
        if (self.stream and is_stream(value)) or self._is_word(value):
            return
        if os.path.isdir(value):
            if self.folder:
                return
            raise SomacastError(f"{value}: is a folder; expected {self.content}")
        if not os.path.exists(value):
            raise SomacastError(f"{value}: no such file; expected {self.content}")
        if not os.path.isfile(value):
            raise SomacastError(f"{value}: is not an ordinary file; expected {self.content}")
        if not os.access(value, os.R_OK):
            raise SomacastError(f"{value}: cannot be read (permission denied); expected {self.content}")

    def reads(self, value: Path, config: Any) -> Path | None:
        if self._is_word(value) or os.path.isdir(value):
            return None
        return Path("/dev/stdin") if str(value) == STREAM else value

    def _is_word(self, value: Path) -> bool:
        return bool(self.words and re.fullmatch(self.words, str(value)) and not os.path.exists(value))


@dataclass(frozen=True)
class Maybe(Place):
    """Text that may name a file: one that is there is read, one that ends in a suffix of `written` is written."""

    written: tuple[str, ...] = ()

    def check(self, value: str, config: Any) -> None:
        if self.writes(value, config) is not None:
            check_output_path(value)

    def reads(self, value: str, config: Any) -> Path | None:
        return Path(value) if not self.written and os.path.exists(value) else None

    def writes(self, value: str, config: Any) -> Path | None:
        return Path(value) if self.written and value.lower().endswith(self.written) else None


def open_descriptor(value: Path | str) -> int | None:
    """N of /dev/fd/N and its like: what this process has open under that number, be it a file."""
    standard = ("/dev/stdin", "/dev/stdout", "/dev/stderr")
    if str(value) in standard:
        return standard.index(str(value))
    found = re.fullmatch(r"/(?:dev|proc/self)/fd/(\d+)", str(value))
    return int(found[1]) if found else None


def is_stream(value: Path | str) -> bool:
    """Whether a path stands for a stream of bytes: `-`, a pipe or a device."""
    if str(value) == STREAM or open_descriptor(value) is not None:
        return True
    return os.path.exists(value) and not os.path.isfile(value) and not os.path.isdir(value)


@dataclass(frozen=True)
class RunsOn:
    """A device that networks run on; torch: through torch alone, as training does."""

    torch: bool = False


@dataclass(frozen=True)
class IsSystem:
    """NAME or NAME:VARIANT of a system, or several, or None."""


_DEVICE = tyro.conf.arg(metavar="DEVICE", help="where networks run: cpu, cuda, cuda:N or auto")
Device = Annotated[str, _DEVICE, RunsOn()]
TrainingDevice = Annotated[str, _DEVICE, RunsOn(torch=True)]
SystemName = Annotated[str, IsSystem()]
Keys = Annotated[Path | None, Folder("this machine's keys (somacast keys)")]
Json = Annotated[Path, tyro.conf.arg(name="json"), Written((".json",))]
Assets = Annotated[Path | None, Folder("assets")]
People = Annotated[str, Folder("people", (SYNTHETIC_TEST, RIGGED_TEST))]
PeopleFormat = Literal["thuman2", "meshes", "synthetic"]


def declared(config: Any) -> Iterator[tuple[str, Any, Any]]:
    """Name, value and each declaration of the fields of a configuration (a dataclass or an instance of one)."""
    hints = get_type_hints(config if isinstance(config, type) else type(config), include_extras=True)
    for field in dataclasses.fields(config):
        for declaration in getattr(hints[field.name], "__metadata__", ()):
            yield field.name, getattr(config, field.name, None), declaration


def check_paths(config: Any) -> None:
    """Raise SomacastError for the first path of a configuration that cannot be read or written as its field says, and
    where a file would be written that is read, or written twice.

    A configuration that writes more than its fields name has `more_written`: a sequence of files.
    """
    fields = [(value, place) for _, value, place in declared(config) if isinstance(place, Place) and value is not None]
    places = [(one, place) for value, place in fields for one in (value if isinstance(value, tuple) else (value,))]
    more = list(getattr(config, "more_written", ()))
    for value, place in places:
        place.check(value, config)
    for path in more:
        if os.path.isdir(path.parent):  # a folder that will be made has nothing in it
            check_output_path(path)
    read = [path for value, place in places if (path := place.reads(value, config)) is not None]
    written = [path for value, place in places if (path := place.writes(value, config)) is not None]
    check_apart(read, [*written, *more])


def check_people(data: str, assets: Path | None) -> None:
    """Raise SomacastError where the people asked for need an asset folder and none is given."""
    if data == RIGGED_TEST and assets is None:
        raise SomacastError(f"--data {RIGGED_TEST}: expected --assets, a folder with rigged/ in it")


def check_output(path: Path, suffixes: Sequence[str] = ()) -> Path:
    """A file that can be written, of one of the kinds named by `suffixes`; SomacastError before any work is done."""
    if suffixes and path.suffix.lower() not in suffixes and not os.path.isdir(path):
        raise SomacastError(f"{path}: expected a file name ending in {', '.join(suffixes)}")
    return check_output_path(path)


def check_positive(**values: float | None) -> None:
    """Raise SomacastError for a number that is given but not above zero; names as in Python, shown as options."""
    for name, value in values.items():
        if value is not None and not value > 0:
            raise SomacastError(f"--{name.replace('_', '-')} {value}: expected a number above 0")
