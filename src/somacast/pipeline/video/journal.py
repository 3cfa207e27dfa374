"""A video that is written as it goes: it grows in a file beside its target, and becomes the target at the end.

    Journal(walk.soma) -> walk.part.soma, record by record -> finish: walk.soma, whole or not there

Whatever ends the program, the journal holds all but the last second, and opens like any .soma video.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from somacast.bitstream.video import best_people, is_video
from somacast.errors import SomacastError
from somacast.files import check_output_path, explain_fault, write_atomically
from somacast.pipeline.video.files import VideoWriter
from somacast.systems.registry import System

_SPARE = 1000  # names that are tried
_WORTH_BYTES = 1000  # less is not worth keeping


@contextmanager
def mapped(path: Path) -> Iterator[bytes]:
    """The bytes of a file without reading it into memory. SomacastError if it cannot be read."""
    try:
        with path.open("rb") as stream:
            if not os.fstat(stream.fileno()).st_size:
                yield b""
                return
            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
                yield data  # pyright: ignore[reportReturnType]: it is sliced like bytes
    except OSError as fault:
        raise SomacastError(f"{path}: cannot be read ({(fault.strerror or str(fault)).lower()})") from fault


@contextmanager
def opened_video(path: Path) -> Iterator[bytes | None]:
    """The bytes of a .soma video, of any length, not in memory; None for a file that is something else or not there."""
    try:
        head = b""
        if path.is_file():  # what is read from a pipe is gone
            with path.open("rb") as stream:
                head = stream.read(3)
    except OSError:
        head = b""
    if not is_video(head):
        yield None
        return
    with mapped(path) as data:
        yield data


class Journal:
    """The file in which the video of `target` grows: NAME.part.soma beside it, or, where that is the journal of another
    session, NAME.part-2.soma, .... `write` raises SomacastError when the place is gone or full; what was written before
    stays.
    """

    def __init__(self, target: Path):
        self.target = check_output_path(target)
        self.size_bytes, self.failed = 0, False
        try:
            self.path, self._descriptor = self._opened()
        except OSError as fault:
            raise explain_fault(self.target, 0, fault) from fault

    def _opened(self) -> tuple[Path, int]:
        if self.target.exists() and not self.target.is_file():  # a pipe, a device
            descriptor, name = tempfile.mkstemp(".part.soma")
            return Path(name), descriptor
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        for number in range(1, _SPARE):
            mark = "" if number == 1 else f"-{number}"
            path = self.target.with_name(f"{self.target.stem[:200]}.part{mark}.soma")
            try:
                return path, os.open(path, flags, 0o666)
            except FileExistsError:
                continue
        raise SomacastError(f"{self.target}: too many journals ({path.name}) stand beside it")

    def write(self, data: bytes) -> None:
        """Append, and hand over to the system at once."""
        view = memoryview(data)
        try:
            while len(view):
                done = os.write(self._descriptor, view)
                self.size_bytes += done
                view = view[done:]
        except OSError as fault:
            self.failed = True
            raise explain_fault(self.path, len(view), fault) from fault

    def close(self) -> None:
        """Nothing more will be written; the file stays. May be called again."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def finish(self) -> int:
        """The target appears, each person told once and best; the journal goes. Bytes of the target.

        A disk without room for both gets the journal's bytes as they are. SomacastError where even that fails: the
        journal stays.
        """
        self.close()
        try:
            with mapped(self.path) as data:
                best = b"".join(best_people(data))
            write_atomically(self.target, best)
        except SomacastError as fault:
            try:
                self.path.replace(self.target)
            except OSError:
                raise SomacastError(f"{fault}; {self.path} holds all of it") from None
            return self.size_bytes
        self.path.unlink()
        return len(best)

    def discard(self) -> None:
        """Nothing stays."""
        self.close()
        self.path.unlink(missing_ok=True)


@contextmanager
def video_file(target: Path, system: System, kbit_s: float | None = None) -> Iterator[tuple[Journal, VideoWriter]]:
    """A journal and the writer that fills it, for work that can be done again: unless it is finished nothing stays, but
    for what a full disk left."""
    journal = Journal(target)
    try:
        yield journal, VideoWriter(journal.write, system, kbit_s)
    except BaseException as fault:
        journal.close()
        if journal.failed and journal.size_bytes > _WORTH_BYTES:
            raise SomacastError(f"{fault}; {journal.path} holds all before") from fault
        journal.discard()
        raise
