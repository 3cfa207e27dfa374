"""The process around a verb: standard streams that may be files, pipes, closed or gone, and signals that end it.

What a verb says of its work goes to stderr, and never stops it. stdout has answers that were asked for (`info`,
`weights`, help) and, with `-o -`, the result alone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

from somacast.errors import SomacastError
from somacast.options import STREAM, Existing, Written, declared, is_stream, open_descriptor

C = TypeVar("C")
MAX_INPUT_BYTES = 1 << 30  # of what comes in on standard input
_CHUNK_BYTES = 1 << 20
_REPEAT_S = 1.0  # a terminal that closes tells it twice
_stand_ins: dict[str, str] = {}  # files that stand for streams, and what those are called


class Ended(KeyboardInterrupt):
    """SIGTERM or a closed terminal: ends the work as Ctrl-C does, with nothing half-written. code: to leave with."""

    def __init__(self, number: int):
        super().__init__(f"ended by {signal.Signals(number).name}")
        self.code = 128 + number


def asking_to_end(*more: str) -> list[signal.Signals]:
    """Signals that ask a process to end, `more` among them: SIGTERM, and those of a closed terminal, where a system has
    them. Those that whoever started the process has turned off (nohup) are left so."""
    names = [name for name in (*more, "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)]
    known = [getattr(signal, name) for name in names]
    return [number for number in known if signal.getsignal(number) is not signal.SIG_IGN]


@contextlib.contextmanager
def ending() -> Iterator[None]:
    """While it lasts, SIGTERM and SIGHUP raise Ended. Signals reach the main thread alone: in another one nothing is
    changed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    owner, last_s = os.getpid(), -_REPEAT_S  # time.monotonic is above 0

    def end(number: int, frame: Any) -> None:
        nonlocal last_s
        if os.getpid() != owner:  # a forked child ends in its own way
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        elif time.monotonic() - last_s >= _REPEAT_S:
            last_s = time.monotonic()
            raise Ended(number)

    before = {number: signal.signal(number, end) for number in asking_to_end()}
    try:
        yield
    finally:
        ended = last_s > 0  # the process is on its way out: a signal that comes again would cut it off
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if ended and handler is signal.SIG_DFL else handler)


class Status:
    """stderr for a verb: a reader that has gone, a closed terminal or a full disk behind it do not stop the work, and
    files that stand for streams are called by those."""

    def __init__(self, stream: Any):
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(named(text))
            return len(text)
        silence(self._stream)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()
            return
        silence(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def standard_streams() -> Iterator[None]:
    """While it lasts, all three streams are there and stderr is a Status."""
    absent = [name for name in ("stdin", "stdout", "stderr") if getattr(sys, name) is None]
    if absent:
        _fill_numbers()
    for name in absent:
        setattr(sys, name, Path(os.devnull).open("r" if name == "stdin" else "w"))  # noqa: SIM115
    before = sys.stderr
    sys.stderr = cast(Any, Status(before))
    try:
        yield
    finally:
        sys.stderr = before


def _fill_numbers() -> None:
    """Numbers of streams that were closed (`>&-`) lead nowhere: the next file that is opened would get them."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)


def silence(stream: Any) -> None:
    """Let a stream that cannot be written to lead nowhere: else the interpreter complains when it ends."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def named(text: str) -> str:
    """Text with the names of streams in the place of files that stand for them."""
    for path, name in _stand_ins.items():
        text = text.replace(path, name)
    return text


# -- streams in the place of files -------------------------------------------------------------------------------------


@contextlib.contextmanager
def standing_in(config: C) -> Iterator[C]:
    """A configuration with files in the place of streams (`-`, pipes, devices) where its fields allow for them: what
    comes in is there from the start, what is written goes out at the end, if all went well."""
    changes: dict[str, Path] = {}
    going_out: list[tuple[Path, BinaryIO]] = []
    places = [(name, value, one) for name, value, one in declared(config) if isinstance(one, Existing | Written)]
    wanted = [one for one in places if one[2].stream not in (None, False) and is_stream(one[1] or "")]
    wanted.sort(key=lambda one: isinstance(one[2], Existing))  # a fault of the output is told before the input is read
    with contextlib.ExitStack() as stack:
        for name, value, place in wanted:
            suffix = _suffix_of(config, place, value) if isinstance(place, Written) else ""
            stream = _outgoing(stack, value) if isinstance(place, Written) else _incoming(stack, value)
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="somacast-", ignore_cleanup_errors=True))
            path = changes[name] = Path(folder) / f"{'output' if isinstance(place, Written) else 'input'}{suffix}"
            label = str(value) if str(value) != STREAM else f"standard {path.stem}"
            _stand_ins[str(path)] = label
            stack.callback(_stand_ins.pop, str(path))
            if isinstance(place, Written):
                going_out.append((path, stream))
            else:
                _take(stream, path, label)
        try:
            yield dataclasses.replace(config, **changes) if changes else config  # pyright: ignore[reportArgumentType]
        except SomacastError as fault:
            if not changes:
                raise
            raise type(fault)(named(str(fault))) from fault
        for path, stream in going_out:
            _give(path, stream)


def stands_for_stream(path: Path) -> bool:
    """Whether a path is that of a file which stands for a stream."""
    return str(path) in _stand_ins


def _suffix_of(config: Any, place: Written, value: Path) -> str:
    """Of the file that is to be written to a stream."""
    if not place.stream:
        return place.suffixes[0]
    kind = getattr(config, place.stream)
    if kind is None:
        kinds = ", ".join(one.removeprefix(".") for one in place.suffixes)
        raise SomacastError(f"{value}: expected --{place.stream} beside it, one of {kinds}")
    return f".{kind}"


def _incoming(stack: contextlib.ExitStack, value: Path) -> BinaryIO:
    if str(value) != STREAM:
        return stack.enter_context(Path(value).open("rb"))
    return _standard(sys.stdin, "standard input")


def _outgoing(stack: contextlib.ExitStack, value: Path) -> BinaryIO:
    if str(value) == STREAM:
        return _standard(sys.stdout, "standard output")
    number = open_descriptor(value)  # opened anew by its name, a file behind it would begin again
    return stack.enter_context(Path(value).open("wb", 0) if number is None else os.fdopen(os.dup(number), "wb", 0))


def _standard(stream: Any, what: str) -> BinaryIO:
    closed = getattr(stream, "name", "") == os.devnull
    if closed or stream.isatty():
        raise SomacastError(f"{what} is {'closed' if closed else 'a terminal'}; expected a file or a pipe")
    return stream.buffer


def _take(stream: BinaryIO, path: Path, label: str) -> None:
    size = 0
    with path.open("wb") as file:
        while part := stream.read(_CHUNK_BYTES):
            size += len(part)
            if size > MAX_INPUT_BYTES:
                raise SomacastError(f"{label}: more than {MAX_INPUT_BYTES} bytes; expected a file for that much")
            file.write(part)


def _give(path: Path, stream: BinaryIO) -> None:
    with path.open("rb") as file:
        while part := file.read(_CHUNK_BYTES):
            view = memoryview(part)
            while len(view):
                view = view[stream.write(view) or 0 :]
    stream.flush()
