"""The weights that ship in the package: manifest.json lists every file, and none is used unchecked."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from somacast.errors import SomacastError
from somacast.files import write_atomically

FOLDER = Path(__file__).parent
MANIFEST = "manifest.json"
SUFFIXES = (".safetensors", ".onnx")
FIELDS = ("file", "bytes", "sha256", "licence", "recipe", "data", "score")
CHECKPOINT = "checkpoint"  # a further field: sha256 of the training checkpoint that a file was written from


def list_weights(folder: Path | None = None) -> list[dict[str, Any]]:
    """Entries of the manifest: file, bytes, sha256 (hex), licence, recipe, data, score; checkpoint, if there was one.

    SomacastError if broken.
    """
    path = (folder or FOLDER) / MANIFEST
    try:
        entries = json.loads(path.read_text())["weights"]
    except (OSError, ValueError, KeyError, TypeError) as fault:
        raise SomacastError(
            f"{path.name}: the list of weights cannot be read ({fault}); install somacast again"
        ) from fault
    for entry in entries:
        missing = [name for name in FIELDS if name not in entry]
        if missing:
            raise SomacastError(f"{path.name}: an entry lacks {', '.join(missing)}")
    return entries


def verify(folder: Path | None = None) -> list[str]:
    """Faults of all weights, one line each: missing, changed, or not in the manifest. Empty if all is well."""
    folder = folder or FOLDER
    faults = []
    entries = list_weights(folder)
    for entry in entries:
        try:
            _check(folder / entry["file"], entry)
        except SomacastError as fault:
            faults.append(str(fault))
    listed = {entry["file"] for entry in entries}
    there = [path.name for path in folder.iterdir() if path.suffix in SUFFIXES]
    strangers = sorted(name for name in there if name not in listed)
    return faults + [f"{name}: is not in the manifest" for name in strangers]


def weights_path(name: str) -> Path:
    """Path of a weights file ("body" or "body.safetensors"), checked against its sha256 once in a process."""
    path = FOLDER / _file_name(name)
    status = path.stat() if path.exists() else None
    return _checked_path(path, status and (status.st_size, status.st_mtime_ns))


def digest(name: str) -> bytes:
    """The sha256 of a weights file as the manifest states it, 32 bytes."""
    return bytes.fromhex(_entry(_file_name(name))["sha256"])


def origins(file_name: str) -> set[str]:
    """The sha256 by which results may name a weights file: its own, and that of the checkpoint it was written from.

    Empty for a file that is not in the package.
    """
    for entry in list_weights():
        if entry["file"] == file_name:
            return {entry["sha256"], entry.get(CHECKPOINT, entry["sha256"])}
    return set()


def record(
    path: Path,
    *,
    licence: str,
    recipe: str,
    data: str,
    score: dict[str, float] | str,
    checkpoint: Path | None = None,
) -> dict[str, Any]:
    """Write or renew the manifest entry of a weights file; the manifest lies in the file's folder.

    recipe: the command that made it; data: what it learnt from; score: what it reaches, by metric name; checkpoint: of
    the training that it was written from.
    """
    content = path.read_bytes()
    values = (path.name, len(content), hashlib.sha256(content).hexdigest(), licence, recipe, data, score)
    entry: dict[str, Any] = dict(zip(FIELDS, values, strict=True))
    if checkpoint:
        entry[CHECKPOINT] = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    others = (
        [e for e in list_weights(path.parent) if e["file"] != path.name] if (path.parent / MANIFEST).exists() else []
    )
    entries = sorted([*others, entry], key=lambda e: e["file"])
    text = json.dumps({"weights": entries}, indent=2, ensure_ascii=False) + "\n"
    write_atomically(path.parent / MANIFEST, text.encode())
    return entry


def _file_name(name: str) -> str:
    return name if name.endswith(SUFFIXES) else f"{name}.safetensors"


def _entry(file_name: str) -> dict[str, Any]:
    for entry in list_weights():
        if entry["file"] == file_name:
            return entry
    raise SomacastError(f"{file_name}: no such weights in the package; it has {[e['file'] for e in list_weights()]}")


@lru_cache(maxsize=32)
def _checked_path(path: Path, status: tuple[int, int] | None) -> Path:
    _check(path, _entry(path.name))
    return path


def _check(path: Path, entry: dict[str, Any]) -> None:
    """Raise SomacastError unless the file is there and is the one of the manifest."""
    if not path.is_file():
        raise SomacastError(f"{path.name}: these weights are missing; install somacast again")
    if path.stat().st_size != entry["bytes"]:
        raise SomacastError(f"{path.name}: expected weights of {entry['bytes']} bytes, got {path.stat().st_size}")
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != entry["sha256"]:
        raise SomacastError(f"{path.name}: these weights are damaged: expected sha256 {entry['sha256']}, got {found}")
