"""What `encode FOLDER` and `decode FOLDER` share: what a folder cannot take, progress, the table at the end."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from somacast.errors import SomacastError

if TYPE_CHECKING:
    from somacast.pipeline.batch.plan import Gives
    from somacast.pipeline.batch.run import Summary

LINES = 20  # of progress where nobody watches
NAMES_OF_FILES = (".soma", ".glb", ".ply", ".obj", ".bvh", ".vrm", ".mp4", ".webm")
EXIT_SOME_REFUSED, EXIT_INTERRUPTED = 3, 130
# Options that change no output.
_OF_THE_RUN = ("out", "report", "workers", "overwrite", "device")


def run_folder(
    arguments: Any,
    folder: Path,
    suffix: str,
    gives: Callable[[Path], Gives | None],
    work: Callable[[Any, Path, Path], list[str]],
    what: str,
) -> int:
    """Every file of a folder through `work(arguments, source, target)`, which gives notes; returns the exit code: 0
    all is there, 3 some files were refused, 130 it was asked to stop, 129 and 143 by SIGHUP and SIGTERM.

    arguments: of the verb, with out, report, workers and overwrite; gives: see `plan_folder`; what: is made something
    of, for messages. Raises SomacastError if there is nothing to do or the output folder cannot be used.
    """
    from somacast.cli.live.common import StatusLine, stopping
    from somacast.files import write_atomically
    from somacast.pipeline.batch.plan import plan_folder
    from somacast.pipeline.batch.run import BatchConfig, check_folders, run_batch

    if arguments.out.suffix.lower() in NAMES_OF_FILES and not arguments.out.is_dir():
        raise SomacastError(
            f"{arguments.out}: {folder} is a folder; expected one for its outputs, got the name of a file"
        )
    check_folders(folder, arguments.out)
    plan = plan_folder(folder, arguments.out, suffix, gives)
    if not plan.jobs:
        raise SomacastError(f"{folder}: expected {what}, found none ({plan.others} files of other kinds)")
    config = BatchConfig(
        partial(work, arguments), _settings(arguments, folder), _line, arguments.workers, arguments.overwrite
    )
    status = StatusLine(every=len(plan.jobs) + 1)

    def progress(done: int, total: int, refused: int, left_s: float | None) -> None:
        status.show(_progress(done, total, refused, left_s), state=done * LINES // total)

    with stopping() as stop:
        summary = run_batch(plan, arguments.out, config, stop, progress)
    status.end()
    if arguments.report:
        write_atomically(arguments.report, (json.dumps(summary.as_dict(), indent=2) + "\n").encode())
    show_summary(summary, arguments.out)
    if summary.stopped:
        return stop.exit_code or EXIT_INTERRUPTED
    return EXIT_SOME_REFUSED if summary.count("refused") else 0


def refuse_options(arguments: Any, names: Iterable[str]) -> None:
    """SomacastError for the first of the options that is given: it is for one file."""
    for name in names:
        if getattr(arguments, name):
            raise SomacastError(f"--{name.replace('_', '-')} is for one file; expected none for a folder")


def _settings(arguments: Any, folder: Path) -> str:
    """Text that changes with every option that changes outputs, with the version and with the weights."""
    from somacast import __version__
    from somacast.weights.manifest import list_weights

    values = dataclasses.asdict(arguments)
    kept = {name: str(value) for name, value in values.items() if name not in _OF_THE_RUN and value != folder}
    weights = [entry["sha256"] for entry in list_weights()]
    text = json.dumps([__version__, weights, kept], sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _line(fault: Exception) -> str:
    from somacast.cli.main import explain

    return explain(fault)[0]


def _progress(done: int, total: int, refused: int, left_s: float | None) -> str:
    text = f"{done} of {total}" + (f", {refused} refused" if refused else "")
    return text if left_s is None or done == total else f"{text}, {duration(left_s)} left"


def duration(seconds: float) -> str:
    """A time of any length, roughly."""
    whole = round(seconds)
    if whole < 90:
        return f"{whole} s"
    return f"{round(whole / 60)} min" if whole < 90 * 60 else f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def show_summary(summary: Summary, out: Path) -> None:
    """A line for each file, its notes and refusals below it, and the sums."""
    names = [_printable(row.name) for row in summary.rows]
    width = max(map(len, names), default=0)
    for name, row in zip(names, summary.rows, strict=True):
        bytes_ = f"{row.bytes:>12,}" if row.error is None else " " * 12
        several = f"  {len(row.outputs)} files" if len(row.outputs) > 1 else ""
        print(f"{name:<{width}}  {bytes_}  {row.state}{several}{_printable(f': {row.error}') if row.error else ''}")
        for note in row.notes:
            print(f"{'':<{width}}  {'':>12}  note: {_printable(note)}")
    counts = [f"{n} {state}" for state in ("made", "kept", "refused") if (n := summary.count(state))]
    if missing := summary.total - len(summary.rows):
        counts.append(f"{missing} not reached")
    if summary.others:
        counts.append(f"{summary.others} of other kinds passed over")
    size = sum(row.bytes for row in summary.rows)
    print(f"{out}: {', '.join(counts)}; {size:,} bytes; {duration(summary.seconds)}")


def _printable(name: str) -> str:
    """Names of files may hold bytes that are no text."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
