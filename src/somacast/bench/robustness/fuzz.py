"""`somacast bench fuzz`: a million changed packets for everything that reads bytes of others; as JSON.

noise     packets changed on the way, and replays, between the real ones of a session: the person must be shown as
          if they were not there
forged    packets with a right check, in storms with pauses: they may show a wrong person, not crash, grow or stall
single    a few forged packets made for one purpose each: how long until the person is right again
readers   reports, stills, videos, arrivals at the inbox, and messages of the page, changed

The check of a packet is against damage, not against attackers: who knows the weights can make it right. Against those
stands the transport, which is authenticated. This measures what is left to do for somebody who gets past that.
"""

from __future__ import annotations

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from somacast.bench.results import Result, describe_run, write_result
from somacast.bench.robustness.config import FuzzConfig
from somacast.bench.robustness.fuzz_readers import Readers, attack_readers
from somacast.bench.robustness.fuzz_session import attack_forged, attack_noise, attack_single
from somacast.errors import SomacastError
from somacast.files import check_output_path
from somacast.systems import registry
from somacast.threads import threads_each

SHARES = {"noise": 0.5, "forged": 0.2, "readers": 0.3}
PARTS = {"noise": attack_noise, "forged": attack_forged, "single": attack_single}


def _run(name: str, packets: int, seed: int, readers: Readers) -> dict[str, Any]:
    began_s = time.process_time()
    found = attack_readers(packets, seed, readers) if name == "readers" else PARTS[name](packets, seed)
    return found | {"cpu_s": time.process_time() - began_s}


def run_fuzz(config: FuzzConfig, readers: Readers | None = None) -> Result:
    """Run it; the figures, written to config.json_path if that is given. readers: decoders of rooms that this one does
    not know, with real messages. SomacastError for settings out of range, and if something escaped."""
    readers = dict(readers or {})
    if config.json_path is not None:
        check_output_path(config.json_path)
    began_s = time.perf_counter()
    jobs = [("single", 0), *((name, round(share * config.packets)) for name, share in SHARES.items())]
    jobs.sort(key=lambda job: ("forged", "noise", "readers", "single").index(job[0]))  # the longest first
    if config.processes == 1:
        parts = {name: _run(name, count, config.seed, readers) for name, count in jobs}
    else:
        context = multiprocessing.get_context("spawn")
        with threads_each(), ProcessPoolExecutor(config.processes, context) as pool:
            running = {name: pool.submit(_run, name, count, config.seed, readers) for name, count in jobs}
            parts = {name: future.result() for name, future in running.items()}
    total = {
        "packets": sum(part["packets"] for part in parts.values()),
        "escaped": sum(part["escaped"] for part in parts.values()),
        "longest_s": max(part["longest_s"] for part in parts.values()),
        "largest_allocation_bytes": max(part["largest_allocation_bytes"] for part in parts.values()),
        "longest_stall_s": max(part.get("longest_stall_s", 0.0) for part in parts.values()),
        "grown_bytes": max(part.get("grown_bytes", 0) for part in parts.values()),
        "wall_s": time.perf_counter() - began_s,
    }
    about = describe_run("fuzz", config, system=registry.DEFAULT)
    result = write_result(config.json_path, Result("fuzz", about, {"total": total, **parts}))
    if total["escaped"]:
        raise SomacastError(f"fuzz: {total['escaped']} packets raised what they must not: {parts}")
    return result
