"""What configurations declare about their fields, for the command line that is made from them.

A field's docstring is its help, its type says which paths are read or written; `check_paths` looks at them
before any work is done. Numbers are checked when a configuration is made, in `__post_init__`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import tyro

from somacast.errors import SomacastError
from somacast.files import check_output_path

SYNTHETIC_TEST = "synthetic-test"  # words that stand for test people who are drawn
RIGGED_TEST = "rigged-test"


@dataclass(frozen=True)
class Written:
    """A file to be written, its name ending in one of the suffixes, if any are given."""

    suffixes: tuple[str, ...] = ()

    def check(self, path: Path) -> None:
        check_output(path, self.suffixes)


@dataclass(frozen=True)
class Folder:
    """A folder to be read. content: what is expected in it; words: may stand in the place of a folder."""

    content: str = ""
    words: tuple[str, ...] = ()

    def check(self, path: Path | str) -> None:
        if str(path) not in self.words and not Path(path).is_dir():
            expected = f"; expected one with {self.content}" if self.content else ""
            raise SomacastError(f"{path}: no such folder{expected}{''.join(f', or {word}' for word in self.words)}")


@dataclass(frozen=True)
class Existing:
    """A file to be read. content: what is expected in it."""

    content: str

    def check(self, path: Path) -> None:
        if not path.is_file():
            raise SomacastError(f"{path}: no such file; expected {self.content}")


@dataclass(frozen=True)
class RunsOn:
    """A device that networks run on; torch: through torch alone, as training does."""

    torch: bool = False


_DEVICE = tyro.conf.arg(metavar="DEVICE", help="where networks run: cpu, cuda, cuda:N or auto")
Device = Annotated[str, _DEVICE, RunsOn()]
TrainingDevice = Annotated[str, _DEVICE, RunsOn(torch=True)]
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
    """Raise SomacastError for the first path of a configuration that cannot be read or written as its field says."""
    for _, value, declaration in declared(config):
        if value is not None and isinstance(declaration, Written | Folder | Existing):
            declaration.check(value)


def check_people(data: str, assets: Path | None) -> None:
    """Raise SomacastError where the people asked for need an asset folder and none is given."""
    if data == RIGGED_TEST and assets is None:
        raise SomacastError(f"--data {RIGGED_TEST}: expected --assets, a folder with rigged/ in it")


def check_output(path: Path, suffixes: Sequence[str] = ()) -> Path:
    """A file that can be written, of one of the kinds named by `suffixes`; SomacastError before any work is done."""
    if suffixes and path.suffix.lower() not in suffixes:
        raise SomacastError(f"{path}: expected a file name ending in {', '.join(suffixes)}")
    return check_output_path(path)


def check_positive(**values: float | None) -> None:
    """Raise SomacastError for a number that is given but not above zero; names as in Python, shown as options."""
    for name, value in values.items():
        if value is not None and not value > 0:
            raise SomacastError(f"--{name.replace('_', '-')} {value}: expected a number above 0")
