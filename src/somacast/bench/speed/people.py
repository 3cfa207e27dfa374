"""How fast people are drawn: samples per second on one and on several processes, as JSON.

Run it on a quiet machine: every process counts what it draws in the same stretch of time.
"""

from __future__ import annotations

import json
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from threading import BrokenBarrierError
from typing import Any

from somacast.bench.speed.config import PeopleBench
from somacast.errors import SomacastError
from somacast.files import check_output_path, write_atomically
from somacast.synthetic.datasets.writer import one_thread_each

FORMAT = "somacast speed of drawing people"


_barrier: Any = None


def _start(barrier: Any) -> None:
    global _barrier
    _barrier = barrier


def _draw(config: PeopleBench, worker: int) -> tuple[int, float]:
    """Samples drawn and seconds taken by one process, after all have warmed up."""
    from somacast.synthetic.samples import SceneConfig, SyntheticPeople

    scene = SceneConfig(size_px=config.size_px, views_per_person=config.views)
    people = SyntheticPeople("train", config.seed, config.assets, scene)
    index = worker * 1_000_000
    for _ in range(config.warm_up_people):
        index += 1
        for _sample in people.samples(index):
            pass
    _barrier.wait(timeout=1800)
    start, count = time.perf_counter(), 0
    while (spent := time.perf_counter() - start) < config.seconds:
        index += 1
        count += sum(1 for _ in people.samples(index))
    return count, spent


def measure(config: PeopleBench, processes: int) -> dict[str, Any]:
    """Samples per second of that many processes together and of each."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(processes)
    try:
        with (
            one_thread_each(),
            ProcessPoolExecutor(processes, context, initializer=_start, initargs=(barrier,)) as pool,
        ):
            done = [future.result() for future in [pool.submit(_draw, config, n) for n in range(processes)]]
    except BrokenBarrierError as fault:
        raise SomacastError(
            f"{processes} processes did not start together; expected a machine that is not busy"
        ) from fault
    each = [count / spent for count, spent in done]
    return {"processes": processes, "samples_per_s": sum(each), "each_samples_per_s": each,
            "samples": sum(count for count, _ in done)}  # fmt: skip


def run(config: PeopleBench) -> dict[str, Any]:
    """Measure, write the JSON, return it."""
    from somacast.bench.quality.evaluate import git_commit, machine, versions

    check_output_path(config.json)
    rows = [measure(config, processes) for processes in config.processes]
    result = {
        "format": FORMAT,
        "config": {k: (v.name if isinstance(v, Path) else v) for k, v in vars(config).items() if k != "json"},
        "commit": git_commit(Path(__file__).parent),
        "machine": machine(),
        "versions": versions(),
        "results": rows,
    }
    write_atomically(config.json, (json.dumps(result, indent=1) + "\n").encode())
    return result
