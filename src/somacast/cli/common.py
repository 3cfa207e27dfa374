"""What the verbs share: parsing with one-line errors, checks of paths and devices, notes and tables."""

from __future__ import annotations

import contextlib
import io
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import tyro

from somacast.errors import SomacastError
from somacast.extras import installed, require
from somacast.files import check_output_path
from somacast.weights.sessions import onnx_runs_on

T = TypeVar("T")

Device = Annotated[str, tyro.conf.arg(metavar="DEVICE", help="where networks run: cpu, cuda, cuda:N or auto")]


def parse(arguments_class: type[T], arguments: Sequence[str], prog: str) -> T:
    """Command line to a dataclass. SystemExit(0) after --help; SomacastError with one line for a wrong argument."""
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(
                arguments_class,
                prog=prog,
                args=list(arguments),
                config=(tyro.conf.FlagCreatePairsOff, tyro.conf.DisallowNone, tyro.conf.PositionalMetavarFromFieldName),
            )
    except SystemExit as leave:
        if leave.code in (0, None):
            raise
        raise SomacastError(f"{_one_line(complaint.getvalue())} (see {prog} --help)") from None


def _one_line(complaint: str) -> str:
    """The first paragraph of tyro's framed complaint, without frame and title; of missing arguments the names only."""
    lines = re.sub(r"\x1b\[[0-9;]*m", "", complaint).splitlines()
    # A frame, or title and rule above and below where the terminal cannot draw lines; the text is two columns in.
    start = 2 if len(lines) > 1 and set(lines[1].strip()) == {"-"} else 1
    paragraph: list[str] = []
    for line in lines[start:]:
        text = line[2:].rstrip("│ ")
        if (paragraph and not text) or (text and set(text) <= {"─", "-"}):
            break
        paragraph.append(text)
    if paragraph and paragraph[0].startswith("Missing from"):  # names stand four spaces in, their help texts eight
        names = [line.strip() for line in paragraph[1:] if line[:4].isspace() and not line[4:8].isspace()]
        return f"missing: {', '.join(names)}"
    line = " ".join(" ".join(paragraph).split()).rstrip(".") or "wrong arguments"
    wrong = re.match(r"Error parsing (\S+): no type matching (\S+) could be instantiated from \['(.*)'\]$", line)
    return f"{wrong[1]} {wrong[3]}: expected {wrong[2]}" if wrong else line


def check_device(device: str, needs_torch: bool = False) -> str:
    """A device that networks can run on; "auto" is a GPU if there is one. "cpu" is answered without loading anything.

    CUDA is reached through ONNX Runtime's GPU package or torch, whichever is installed; needs_torch: through torch
    alone, as training does. Raises SomacastError for a device that is not there, and for any but "cpu" and "auto" where
    neither is installed.
    """
    if device == "cpu":
        return device
    if device != "auto" and not re.fullmatch(r"cuda(:\d+)?", device):
        raise SomacastError(f"--device {device}: expected cpu, cuda, cuda:N or auto")
    wanted = "cuda" if device == "auto" else device
    if not needs_torch and onnx_runs_on(wanted):
        return wanted
    if device == "auto" and not installed("torch"):
        return "cpu"
    require("torch", f"--device {device}")
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "auto":
        return "cuda" if count else "cpu"
    if int(device.partition(":")[2] or 0) >= count:
        raise SomacastError(f"--device {device}: torch sees {count} CUDA devices here; expected cpu or auto")
    return device


def check_output(path: Path, suffixes: Sequence[str] = ()) -> Path:
    """A file that can be written, of one of the kinds named by `suffixes`; told before any work is done."""
    if suffixes and path.suffix.lower() not in suffixes:
        raise SomacastError(f"{path}: expected a file name ending in {', '.join(suffixes)}")
    return check_output_path(path)


def check_positive(**values: float | None) -> None:
    """Raise SomacastError for a number that is given but not above zero; names as in Python, shown as options."""
    for name, value in values.items():
        if value is not None and not value > 0:
            raise SomacastError(f"--{name.replace('_', '-')} {value}: expected a number above 0")


def read_file(path: Path, what: str, limit_bytes: int = 1 << 20) -> bytes:
    """A whole small file; SomacastError if it is not there, no file or larger than any such file can be."""
    if path.is_dir():
        raise SomacastError(f"{path}: is a folder; expected {what}")
    try:
        with path.open("rb") as stream:
            data = stream.read(limit_bytes + 1)
    except OSError as fault:
        raise SomacastError(
            f"{path}: cannot be read ({(fault.strerror or str(fault)).lower()}); expected {what}"
        ) from fault
    if len(data) > limit_bytes:
        raise SomacastError(f"{path}: more than {limit_bytes} bytes; expected {what}")
    return data


def show_notes(notes: Iterable[str]) -> None:
    """Notes for the user on stderr, each once, so that stdout stays clean."""
    for note in dict.fromkeys(notes):
        print(f"somacast: note: {note}", file=sys.stderr)


def milliseconds(seconds: float) -> str:
    """A time for a table."""
    return f"{seconds * 1000:,.0f} ms" if seconds < 10 else f"{seconds:,.1f} s"
