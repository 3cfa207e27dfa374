"""Worker processes of which each has one file in hand: one that dies costs that file and nothing else."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Generic, TypeVar

from somacast.threads import threads_each

J = TypeVar("J")
R = TypeVar("R")
_POLL_S = 0.2
GRACE_S = 3.0  # that files in hand have left once the run is to stop
_ASKED_TO_STOP = [number for name in ("SIGINT", "SIGTERM", "SIGHUP") if (number := getattr(signal, name, None))]


@dataclass(frozen=True)
class Died:
    """In the place of a result: how the worker ended."""

    reason: str


@dataclass
class _Worker:
    process: Any
    connection: Connection
    job: Any = None


class Workers(Generic[J, R]):
    """count processes that do `work(job)` for one job at a time, with `threads` threads each. `work` is sent to them
    once, jobs and results pass through pipes: all of it must be picklable, and `work` should raise nothing."""

    def __init__(self, work: Callable[[J], R], count: int, threads: int = 1):
        self._work, self._count, self._threads = work, count, threads
        self._context = multiprocessing.get_context("spawn")  # threads of numba and BLAS do not survive a fork

    def run(self, jobs: Iterable[J], stop: threading.Event) -> Generator[tuple[J, R | Died], None, None]:
        """Jobs with their results as they come. Once `stop` is set no more are begun, and those in hand have GRACE_S
        seconds; whoever leaves the iteration ends all processes."""
        waiting = iter(jobs)
        workers: list[_Worker] = []
        try:
            for job in waiting:
                workers.append(self._given(self._start(), job))
                if len(workers) == self._count:
                    break
            until_s: float | None = None
            while any(worker.job is not None for worker in workers):
                if stop.is_set():
                    until_s = until_s or time.monotonic() + GRACE_S
                    if time.monotonic() > until_s:
                        return
                for answered in wait([worker.connection for worker in workers if worker.job is not None], _POLL_S):
                    worker = next(one for one in workers if one.connection is answered)
                    job, result = worker.job, self._answer(worker)
                    worker.job = None
                    following = None if stop.is_set() else next(waiting, None)
                    if following is not None:
                        if isinstance(result, Died):
                            workers[workers.index(worker)] = worker = self._start()
                        self._given(worker, following)
                    yield job, result
        finally:
            for worker in workers:
                worker.connection.close()  # who has nothing in hand ends at this
                if worker.job is not None:
                    worker.process.kill()
            for worker in workers:
                worker.process.join(GRACE_S)
                worker.process.kill()

    def _start(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(theirs, self._work), daemon=True)
        with threads_each(self._threads), _signals_wait():
            process.start()
        theirs.close()  # or the end of the process would not be seen
        return _Worker(process, ours)

    @staticmethod
    def _given(worker: _Worker, job: Any) -> _Worker:
        worker.job = job
        with contextlib.suppress(OSError):  # it has died: its answer says so
            worker.connection.send(job)
        return worker

    @staticmethod
    def _answer(worker: _Worker) -> Any:
        try:
            return worker.connection.recv()
        except (EOFError, OSError):
            worker.process.join(GRACE_S)
            return Died(_how(worker.process.exitcode))


def _how(code: int | None) -> str:
    if code is None or code >= 0:
        return f"the process that worked on it ended (code {code})"
    name = signal.Signals(-code).name if -code in {one.value for one in signal.Signals} else f"signal {-code}"
    want = ", perhaps for want of memory" if name == "SIGKILL" else ""
    return f"the process that worked on it was ended by {name}{want}"


@contextlib.contextmanager
def _signals_wait() -> Iterator[None]:
    """Processes started inside are deaf to what asks the whole group to stop; the parent decides when they end."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ASKED_TO_STOP)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(connection: Connection, work: Callable[[Any], Any]) -> None:
    """A worker's life: ends when the parent closes the pipe, or at once when the parent has died."""
    for number in _ASKED_TO_STOP:
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with (  # the terminal is the parent's: progress of single files would write over its line
        Path(os.devnull).open("w") as silent,
        contextlib.redirect_stdout(silent),
        contextlib.redirect_stderr(silent),
        contextlib.suppress(EOFError, OSError),
    ):
        while True:
            connection.send(work(connection.recv()))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
