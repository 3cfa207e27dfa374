"""How fast people are drawn: samples per second on one and on several processes, as JSON.

Run it on a quiet machine: every process counts what it draws in the same stretch of time.
"""

from __future__ import annotations

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from threading import BrokenBarrierError
from typing import Any

from somacast.bench.results import Result, describe_run, write_result
from somacast.bench.speed.config import PeopleBench
from somacast.errors import SomacastError
from somacast.files import check_output_path
from somacast.threads import threads_each

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
            threads_each(),
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


def run(config: PeopleBench) -> Result:
    """Measure, write the JSON, return it: a row for each number of processes."""
    check_output_path(config.json)
    rows = [measure(config, processes) for processes in config.processes]
    best = max(rows, key=lambda row: row["samples_per_s"])
    results = {key: best[key] for key in ("processes", "samples_per_s")}
    return write_result(config.json, Result("people", describe_run("people", config, weights_sha256={}), results, rows))
