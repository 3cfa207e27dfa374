"""What the verbs share: checks of paths and devices, notes and tables."""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from somacast.errors import SomacastError
from somacast.extras import installed, require
from somacast.options import IsSystem, RunsOn, check_paths, declared
from somacast.weights.sessions import onnx_runs_on

C = TypeVar("C")


def checked(config: C) -> C:
    """A configuration whose paths can be read and written, whose systems are there with the packages that they need,
    and with its device named: "auto" is a GPU if there is one.

    Raises SomacastError for the first path, system or device that cannot be used.
    """
    check_paths(config)
    fields = list(declared(config))
    for _, value, declaration in fields:
        if isinstance(declaration, IsSystem):
            from somacast.systems import registry

            for system in (value,) if isinstance(value, str) else value or ():
                registry.get(system).check_packages()
    for name, value, declaration in fields:
        if isinstance(declaration, RunsOn):
            config = dataclasses.replace(config, **{name: check_device(value, declaration.torch)})  # pyright: ignore
    return config


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


def check_budget(system: str, budget_bytes: int | None) -> None:
    """Raise SomacastError for a budget that holds no file of a system, whatever is in the picture."""
    if budget_bytes is None:
        return
    from somacast.bitstream.container import packed_bytes
    from somacast.systems import registry

    smallest = packed_bytes(registry.get(system).spec.name, [1])
    if budget_bytes < smallest:
        raise SomacastError(f"a budget of {budget_bytes} bytes is too small: a file has at least {smallest}")


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
