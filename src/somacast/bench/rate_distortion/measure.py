"""`somacast bench rd`: quality against bytes, systems side by side on the same people; results as JSON and figures."""

from __future__ import annotations

import multiprocessing
import signal
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from somacast.bench.halves import measures_looks
from somacast.bench.progress import Progress, settings_key
from somacast.bench.rate_distortion.config import RdConfig
from somacast.bench.rate_distortion.curves import compare_all, mean_rows
from somacast.bench.rate_distortion.person import (
    Halves,
    PersonBench,
    PersonConfig,
    known_settings,
    load_systems,
    own_budgets,
)
from somacast.bench.rate_distortion.systems import check_systems, default_systems, sends_pictures
from somacast.bench.results import Result, describe_run, read_result, rounded, weights_digests, write_result
from somacast.errors import SomacastError
from somacast.extras import require
from somacast.files import check_output_path, write_atomically
from somacast.geometry.preview import encode_jpeg
from somacast.synthetic.datasets.loaders import EvalItem, count_items, load_items
from somacast.systems import registry
from somacast.threads import threads_each

CODERS = ("imageio-ffmpeg", "DracoPy")  # packages that code the baselines' files
CACHE_VERSION = 5  # to be raised when rows of the same config would come out otherwise
SHEET_BUDGETS_BYTES = (100, 350, 1500)


def of_person(config: RdConfig, number: int) -> PersonConfig:
    """What is done with one person; pictures are kept of the first."""
    keep = own_budgets(SHEET_BUDGETS_BYTES, config.budgets_bytes) if number == 0 else ()
    people = earlier_people(config)
    known = known_settings(people[number]) if number < len(people) else {}
    return PersonConfig(config.budgets_bytes, config.systems, config.protocol, keep, known)


def check_config(config: RdConfig) -> None:
    """SomacastError for a setting that cannot work, before any work is done."""
    check_systems(config.systems)
    require("matplotlib", "drawing the curves")
    earlier_people(config)
    for path in (config.json_path, config.figure_path, config.sheet_path):
        check_output_path(path)


def earlier_people(config: RdConfig) -> list[dict[str, Any]]:
    """People of the earlier run that `known` names, [] without one; SomacastError if its people are others."""
    if config.known is None:
        return []
    try:
        earlier = read_result(config.known)
        settings, people = earlier.provenance.config, earlier.rows
        assets = config.assets.name if config.assets else None
        same = [("data", Path(config.data).name), ("format", config.format), ("seed", config.seed), ("assets", assets)]
        other = [f"{name} {settings[name]}" for name, value in same if settings[name] != value]
    except (SomacastError, KeyError) as fault:
        raise SomacastError(f"{config.known}: expected the JSON of an earlier run ({fault})") from fault
    if other:
        raise SomacastError(f"{config.known}: expected a run with the same settings, got {', '.join(other)}")
    return people


# -- cache ------------------------------------------------------------------------------------------------------------


def cache_key(config: RdConfig) -> str:
    """Twelve digits that change with the weights and with every setting that a person's figures depend on."""
    settings = {
        k: v for k, v in asdict(config).items() if k not in ("json_path", "workers", "cache", "people", "known")
    }
    settings |= {"weights": weights_digests(), "version": CACHE_VERSION, "looks": measures_looks()}
    return settings_key(settings)


def _progress(config: RdConfig, folder: Path) -> Progress:
    """Finished people in a folder for files that come and go: runs with other settings have theirs beside it."""
    key = cache_key(config)
    return Progress(folder / key, key)


def _stored(progress: Progress, number: int) -> dict[str, Any] | None:
    """A finished person, or None. The first person comes with its sheet."""
    found = progress.load(number)
    if found and number == 0 and not found.get("fault") and progress.picture(number) is None:
        return None
    return found


# -- people, here or in other processes -------------------------------------------------------------------------------

_WORKER: dict[str, Any] = {}


def _start_worker(systems: tuple[str, ...], device: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ctrl-C is for the parent, which ends its workers
    _WORKER["halves"] = load_systems(systems, device)


def _work(task: tuple[int, EvalItem, RdConfig, Path]) -> int:
    number, item, config, folder = task
    measure_person(number, item, _WORKER["halves"], config, _progress(config, folder))
    return number


def measure_person(
    number: int,
    item: EvalItem,
    halves: Halves,
    config: RdConfig,
    progress: Progress,
    tick: Callable[[], None] = lambda: None,
) -> None:
    """All systems on one person; its rows go to `progress`, with the sheet if it is the first."""
    from somacast.bench.rate_distortion.figures import draw_sheet

    with tempfile.TemporaryDirectory() as place:
        result = PersonBench(item, halves, of_person(config, number), Path(place)).run(tick)
    sheet = draw_sheet(item, result) if number == 0 and not result.fault else None
    progress.store(number, rounded(result.plain()), sheet)


def _measure_missing(config: RdConfig, folder: Path, total: int) -> None:
    """folder: see `_progress`."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    progress = _progress(config, folder)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("person x system", total=total * len(config.systems))

        def missing() -> Iterator[tuple[int, EvalItem, RdConfig, Path]]:
            items = load_items(config.data, config.format, config.people, config.assets, config.seed)
            for number, item in enumerate(items):
                if _stored(progress, number) is None:
                    yield number, item, config, folder

        def finished() -> int:
            return sum(_stored(progress, number) is not None for number in range(total))

        bar.update(task, completed=finished() * len(config.systems))
        if finished() == total:
            return
        if config.workers == 1:
            halves = load_systems(config.systems, config.device)
            for number, item, _, _ in missing():
                measure_person(number, item, halves, config, progress, lambda: bar.advance(task))
                bar.update(task, completed=finished() * len(config.systems))  # one that failed had no system's tick
            return
        context = multiprocessing.get_context("spawn")  # a fork would copy the threads' locks of loaded libraries
        pool_of = (config.workers, _start_worker, (config.systems, config.device))
        with threads_each(), context.Pool(*pool_of) as pool:
            for _ in pool.imap_unordered(_work, missing()):
                bar.advance(task, len(config.systems))


# -- all together -----------------------------------------------------------------------------------------------------


def tables(config: RdConfig, people: list[dict[str, Any]]) -> dict[str, dict[str, dict[str, Any]]]:
    """Means over the people by system and budget; people whom the default system could not send at all are left out."""
    counted = [person for person in people if not person["fault"]]
    return {
        name: {
            str(budget): mean_rows([person["rows"][name][str(budget)] for person in counted])
            for budget in sorted(config.budgets_bytes)
        }
        for name in config.systems
    }


def measure_rd(config: RdConfig) -> Result:
    """Measure, write JSON, curves and pictures, print the table; returns what the file says.

    SomacastError for settings, data, outputs or missing packages, before any work is done.
    """
    config = replace(config, systems=config.systems or default_systems())
    check_config(config)
    total = count_items(config.data, config.format, config.people)
    with tempfile.TemporaryDirectory() as temporary:
        folder = config.cache or Path(temporary)
        progress = _progress(config, folder)
        try:
            progress.folder.mkdir(parents=True, exist_ok=True)
        except OSError as fault:
            raise SomacastError(f"{progress.folder}: the cache cannot be made ({fault.strerror})") from fault
        _measure_missing(config, folder, total)
        found = [_stored(progress, number) for number in range(total)]
        people = [person for person in found if person is not None]
        if len(people) != total:
            raise SomacastError(
                f"{progress.folder}: expected {total} people, found {len(people)}; somebody else deletes there"
            )
        sheet = progress.picture(0)
    result = write_result(config.json_path, _result(config, people))
    from somacast.bench.rate_distortion.figures import draw_rd, print_rd

    if any(not person["fault"] for person in people):
        write_atomically(config.figure_path, draw_rd(result))
    if sheet is not None:
        write_atomically(config.sheet_path, encode_jpeg(sheet))
    print_rd(result)
    return result


def _result(config: RdConfig, people: list[dict[str, Any]]) -> Result:
    means = tables(config, people)
    pictures = [name for name in config.systems if sends_pictures(name)]
    counted = [person for person in people if not person["fault"]]
    results = {
        "controls": {
            name: mean_rows([person["controls"].get(name) for person in counted])
            for name in dict.fromkeys(name for person in counted for name in person["controls"])
        },
        "people": len(people),
        "failed": sum(bool(p["fault"]) for p in people),
        "systems": means,
        **(compare_all(means, registry.DEFAULT, pictures) if registry.DEFAULT in means else {}),
        "seconds_per_person": {
            name: sum(p["seconds"].get(name, 0.0) for p in people) / max(sum(not p["fault"] for p in people), 1)
            for name in config.systems
        },
    }
    return Result("rd", describe_run("rd", config, system=registry.DEFAULT, packages=CODERS), results, people)
