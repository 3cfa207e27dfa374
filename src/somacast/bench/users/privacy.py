"""Whether anything leaves the machine: sockets, look-ups and files of commands that need no network, each as its users
start it, with an empty home."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from somacast.bench.users.watch import unavailable, watch
from somacast.cache import VARIABLE
from somacast.errors import SomacastError

COMMANDS = {
    "demo": ("demo", "--out", "demo"),
    "encode": ("encode", "demo/input.png", "-o", "person.soma"),
    "decode": ("decode", "person.soma", "-o", "person.glb"),
    "info": ("info", "person.soma"),
}
_SILENCERS = ("ORT_", "XDG_", "DO_NOT_TRACK")  # of the environment: what might switch something off for us


def measure() -> dict[str, Any]:
    """sockets, look_ups, files_elsewhere (neither named in the command nor in the cache): of all commands together;
    commands: the same for each. SomacastError where programs cannot be watched, or a command fails."""
    reason = unavailable()
    if reason:
        raise SomacastError(reason)
    with tempfile.TemporaryDirectory() as name:
        work, home = Path(name, "work"), Path(name, "home")
        work.mkdir()
        home.mkdir()
        rows = {verb: _row(verb, words, work, home) for verb, words in COMMANDS.items()}
    total = {key: sum(row[key] for row in rows.values()) for key in ("sockets", "look_ups", "files_elsewhere")}
    return {**total, "commands": rows}


def _row(verb: str, words: tuple[str, ...], work: Path, home: Path) -> dict[str, int]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith((*_SILENCERS, VARIABLE))}
    environment = {**kept, "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
    seen = watch([sys.executable, "-m", "somacast", *words], environment=environment, folder=work)
    if seen.code:
        raise SomacastError(f"somacast {verb}: failed with code {seen.code}: {seen.output.strip()[-200:]}")
    ours = (work, home / ".cache")
    elsewhere = [p for p in seen.written if not any(p.is_relative_to(folder) for folder in ours)]
    strangers = [p for p in (home / ".cache").iterdir() if p.name != "somacast"]
    return {
        "sockets": len(seen.sockets),
        "look_ups": seen.look_ups,
        "files_elsewhere": len(elsewhere) + len(strangers),
    }
