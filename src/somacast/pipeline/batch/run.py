"""A whole folder through one piece of work, file by file, on several processes.

    plan_folder -> jobs -> what the journal knows is kept
                        -> Workers -> .somacast/unfinished/ -> moved into place -> journal

Only the parent touches the output folder, so that nothing half-written ever stands there.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from somacast.errors import SomacastError
from somacast.files import write_atomically
from somacast.pipeline.batch.journal import FOLDER, Entry, Journal, Print, work_folder
from somacast.pipeline.batch.plan import Job, Plan
from somacast.pipeline.batch.workers import Died, Workers
from somacast.threads import usable_cores

State = Literal["made", "kept", "refused"]
# From a source file to the place of its output (or outputs, NAME_1 and so on): what the user should be told.
Work = Callable[[Path, Path], list[str]]


@dataclass(frozen=True)
class Row:
    """What became of one file. name: its path from the input folder; outputs: paths from the output folder; bytes: of
    all of them; error: of a file that was refused, a line."""

    name: str
    state: State
    outputs: list[str] = field(default_factory=list)
    bytes: int = 0
    notes: list[str] = field(default_factory=list)
    error: str | None = None


@dataclass
class Summary:
    """Of a run: a row for each file that was dealt with, by name; files there are (`total`), others: of other kinds,
    passed over; seconds; stopped: it was asked to end before all was done."""

    rows: list[Row]
    total: int
    others: int
    seconds: float
    stopped: bool

    def count(self, state: State) -> int:
        """Files in a state."""
        return sum(row.state == state for row in self.rows)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        counts = {state: self.count(state) for state in ("made", "kept", "refused")}
        return {
            "files": [vars(row) for row in self.rows],
            **counts,
            "not_reached": self.total - len(self.rows),
            "other_kinds": self.others,
            "output_bytes": sum(row.bytes for row in self.rows),
            "seconds": self.seconds,
            "stopped": self.stopped,
        }


@dataclass(frozen=True)
class BatchConfig:
    """settings: text that changes with whatever changes outputs; overwrite: files of the output folder that no run
    made; workers: processes, None for one on each core; explain: a line for an exception. `work` and `explain` are sent
    to other processes."""

    work: Work
    settings: str
    explain: Callable[[Exception], str]
    workers: int | None = None
    overwrite: bool = False


@dataclass(frozen=True)
class _Outcome:
    """folder: of the unfinished outputs, by names; error: why there are none."""

    source: Print | None = None
    folder: Path | None = None
    names: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    error: str | None = None


@dataclass(frozen=True)
class _Step:
    """What a worker does with a job; picklable."""

    work: Work
    explain: Callable[[Exception], str]
    unfinished: Path

    def __call__(self, job: Job) -> _Outcome:
        folder = Path(tempfile.mkdtemp(dir=self.unfinished))
        target = folder / PurePosixPath(job.target).name
        try:
            source = Print.of(job.source)
            notes = self.work(job.source, target)
            names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
            return _Outcome(source, folder, names, list(dict.fromkeys(notes)))
        except Exception as fault:  # one bad file never ends the run
            shutil.rmtree(folder, ignore_errors=True)
            line = self.explain(fault).replace(str(target), job.target).replace(str(job.source), job.name)
            return _Outcome(error=line.removeprefix(f"{job.name}: "))


def run_batch(
    plan: Plan,
    out: Path,
    config: BatchConfig,
    stop: threading.Event | None = None,
    progress: Callable[[int, int, int, float | None], None] = lambda done, total, refused, left_s: None,
) -> Summary:
    """Do all jobs of a plan whose outputs are not there yet, into a folder that is made if need be.

    progress(done, total, refused, seconds left or None) is called after each file. Once `stop` is set the run ends with
    what is finished. SomacastError only for an output folder that cannot be used.
    """
    began_s = time.monotonic()
    stop = stop or threading.Event()
    rows = {name: Row(name, "refused", error=f"cannot be read ({reason})") for name, reason in plan.unread}
    with work_folder(out) as unfinished:
        journal = Journal(out)
        todo: list[Job] = []
        for job in plan.jobs:
            entry = journal.finished(job, config.settings)
            if entry is None:
                todo.append(job)
            else:
                rows[job.name] = Row(job.name, "kept", sorted(entry.outputs), entry.output_bytes, entry.notes)
        total, kept = len(plan.jobs) + len(plan.unread), len(rows)
        cores = usable_cores()
        count = max(1, min(config.workers or cores, len(todo)))
        workers = Workers(_Step(config.work, config.explain, unfinished), count, max(1, cores // count))
        inputs = {_identity(job.source) for job in plan.jobs}
        progress(kept, total, len(plan.unread), None)
        with contextlib.closing(workers.run(todo, stop)) as results:
            for job, result in results:
                outcome = _Outcome(error=result.reason) if isinstance(result, Died) else result
                rows[job.name] = _finish(job, outcome, out, journal, config, inputs)
                done = len(rows) - kept
                left_s = (time.monotonic() - began_s) / done * (len(todo) - done)
                progress(len(rows), total, sum(row.state == "refused" for row in rows.values()), left_s)
    ordered = [rows[name] for name in sorted(rows)]
    return Summary(ordered, total, plan.others, time.monotonic() - began_s, stop.is_set() and len(rows) < total)


def _finish(
    job: Job,
    outcome: _Outcome,
    out: Path,
    journal: Journal,
    config: BatchConfig,
    inputs: set[tuple[int, int] | None],
) -> Row:
    """Move what a worker made into its place, all of it or nothing."""
    if outcome.error is not None or outcome.folder is None or outcome.source is None:
        return Row(job.name, "refused", error=outcome.error)
    place = PurePosixPath(job.target).parent
    targets = {str(place / name): outcome.folder / name for name in outcome.names}
    path, before = str(job.source.absolute()), journal.entries.get(job.name)
    try:
        for target in targets:
            there = _identity(out / target)
            if there in inputs and there is not None:
                raise SomacastError(f"{out / target}: is an input itself; expected another output folder")
            if there is not None and not config.overwrite and not journal.may_replace(target, path, outcome.source):
                raise SomacastError(
                    f"{out / target}: is there and was not made of this file; expected a free name, or --overwrite"
                )
        (out / place).mkdir(parents=True, exist_ok=True)
        for target, unfinished in targets.items():
            _move(unfinished, out / target)
        outputs = {target: Print.of(out / target) for target in targets}
        entry = Entry(job.name, path, outcome.source, config.settings, job.target, outputs, outcome.notes)
        journal.add(entry)
    except (SomacastError, OSError) as fault:
        return Row(job.name, "refused", error=config.explain(fault))
    older = sorted(name for name in (before.outputs if before else ()) if name not in outputs and (out / name).exists())
    notes = [*outcome.notes, *(f"{name} of an earlier run is still there" for name in older)]
    return Row(job.name, "made", sorted(outputs), entry.output_bytes, notes)


def _identity(path: Path) -> tuple[int, int] | None:
    """Equal for names of one file; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _move(source: Path, target: Path) -> None:
    try:
        os.replace(source, target)
    except OSError as fault:
        if fault.errno != errno.EXDEV:  # a subfolder may be a link to another disk
            raise
        write_atomically(target, source.read_bytes())


def check_folders(folder: Path, out: Path) -> None:
    """SomacastError before any work if `out` cannot be an output folder for `folder`."""
    if out.exists() and not out.is_dir():
        raise SomacastError(f"{out}: is a file; {folder} is a folder and expects one for its outputs")
    if not out.absolute().parent.is_dir():
        raise SomacastError(f"{out}: the folder {out.absolute().parent} does not exist")
    if out.name == FOLDER:
        raise SomacastError(f"{out}: expected a folder of another name, this one is for what a run remembers")
