"""What earlier runs finished in an output folder: .somacast/done.jsonl, a line for each input.

A line counts as long as input, settings and outputs are what they were.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

from somacast.errors import SomacastError
from somacast.pipeline.batch.plan import Job

FOLDER = ".somacast"


@dataclass(frozen=True)
class Print:
    """What tells whether a file is the one it was: size, times in nanoseconds (of writing, and of the last change of
    any kind), and the sha256 of its content."""

    size_bytes: int
    written_ns: int
    changed_ns: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> Print:
        """OSError if it cannot be read."""
        with path.open("rb") as stream:
            status = os.fstat(stream.fileno())
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return cls(status.st_size, status.st_mtime_ns, status.st_ctime_ns, digest)

    def fits(self, path: Path) -> bool:
        """Whether the file is still this one; it is read only where its times have changed."""
        try:
            status = path.stat()
            if status.st_size != self.size_bytes:
                return False
            if (status.st_mtime_ns, status.st_ctime_ns) == (self.written_ns, self.changed_ns):
                return True
            return Print.of(path).sha256 == self.sha256
        except OSError:
            return False


@dataclass(frozen=True)
class Entry:
    """A finished input: its path from the input folder and its whole path, its print and the settings, the target it
    had, prints of its outputs by their paths from the output folder, and what was said."""

    name: str
    path: str
    source: Print
    settings: str
    target: str
    outputs: dict[str, Print]
    notes: list[str] = field(default_factory=list)

    @property
    def output_bytes(self) -> int:
        """Of all outputs together."""
        return sum(one.size_bytes for one in self.outputs.values())


class Journal:
    """Of one output folder; entries by name, the last one of each counts."""

    def __init__(self, out: Path):
        self.out = out
        self._path = out / FOLDER / "done.jsonl"
        self.entries: dict[str, Entry] = {}
        with contextlib.suppress(OSError):
            for line in self._path.read_text(encoding="utf-8").splitlines():
                if (entry := _entry(line)) is not None:
                    self.entries[entry.name] = entry
        self._owners = {output: entry for entry in self.entries.values() for output in entry.outputs}

    def finished(self, job: Job, settings: str) -> Entry | None:
        """The entry of a job that need not be done again."""
        entry = self.entries.get(job.name)
        if entry is None or (entry.settings, entry.target) != (settings, job.target):
            return None
        whole = all(one.fits(self.out / name) for name, one in entry.outputs.items())
        return entry if entry.outputs and whole and entry.source.fits(job.source) else None

    def may_replace(self, output: str, path: str, source: Print) -> bool:
        """Whether a file of the output folder came from a run like this, and from the same input: an earlier state of
        it, the same content elsewhere, or an input that is gone."""
        owner = self._owners.get(output)
        if owner is None:
            return False
        return path == owner.path or source.sha256 == owner.source.sha256 or not os.path.exists(owner.path)

    def add(self, entry: Entry) -> None:
        """Remember a finished input, on the disk too."""
        self.entries[entry.name] = entry
        self._owners |= dict.fromkeys(entry.outputs, entry)
        line = json.dumps(asdict(entry), ensure_ascii=True) + "\n"
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(line)


def _entry(line: str) -> Entry | None:
    """An entry of a line; None for one that was cut short or comes from another version."""
    try:
        found = json.loads(line)
        outputs = {name: Print(**one) for name, one in found.pop("outputs").items()}
        return Entry(source=Print(**found.pop("source")), outputs=outputs, **found)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


@contextlib.contextmanager
def work_folder(out: Path) -> Iterator[Path]:
    """A folder inside of `out` for what is not finished; what a killed run left there is thrown away. The output folder
    is made if it is not there; SomacastError if that fails or another run has it."""
    own = out / FOLDER
    unfinished = own / "unfinished"
    with contextlib.ExitStack() as held:
        try:
            out.mkdir(exist_ok=True)
            own.mkdir(exist_ok=True)
            _hold(held.enter_context((own / "lock").open("a+b")), out)
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(exist_ok=True)
        except OSError as fault:
            reason = (fault.strerror or str(fault)).lower()
            raise SomacastError(f"{out}: {reason}; expected a folder that can be written") from fault
        held.callback(shutil.rmtree, unfinished, ignore_errors=True)
        yield unfinished


def _hold(lock: IO[bytes], out: Path) -> None:
    """Keep the lock file until it is closed, or this process ends however it does. Where a file system knows no locks,
    nothing keeps two runs apart."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(lock.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as fault:
        if fault.errno in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
            raise SomacastError(f"{out}: another run writes into this folder; expected to be the only one") from fault
