"""`somacast bench likeness`: how like people look at several budgets; results as JSON, a sheet of people as JPEG."""

from __future__ import annotations

import multiprocessing
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from somacast.bench.halves import load_halves
from somacast.bench.likeness.config import GALLERY, SIDE, LikenessConfig
from somacast.bench.likeness.person import measure_person
from somacast.bench.likeness.sheet import Row, chosen, heads_of, sheet_bytes
from somacast.bench.progress import Progress, settings_key
from somacast.bench.quality.cast import Cast
from somacast.bench.quality.evaluate import PACKAGES, left_out
from somacast.bench.quality.tables import by_action, intervals, with_failures
from somacast.bench.results import Result, describe_run, git_commit, weights_digests, write_result
from somacast.errors import SomacastError
from somacast.files import check_output_path, write_atomically
from somacast.metrics.controls import MANNEQUIN
from somacast.metrics.protocol import summarise
from somacast.synthetic.datasets.loaders import EvalItem, load_items
from somacast.threads import threads_each

BENCHMARK = "likeness"
RANKED_BY = "input_stlpips"


def progress_of(config: LikenessConfig, folder: Path) -> Progress:
    """Finished people in a folder for files that come and go: runs with other settings have theirs beside it."""
    places = ("json_path", "workers", "cache", "sheet_people")
    settings = {k: v for k, v in asdict(config).items() if k not in places} | {"sheet": bool(config.sheet)}
    settings |= {"weights": weights_digests(), "left_out": left_out(), "commit": git_commit(Path(__file__).parent)}
    key = settings_key(settings)
    return Progress(folder / key, key)


# -- people, here or in other processes -------------------------------------------------------------------------------

_WORKER: dict[str, Any] = {}


def _start(config: LikenessConfig, folder: Path, several: bool) -> None:
    if several:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # ctrl-C is for the parent, which ends its workers
    items: list[EvalItem] = list(load_items(config.data, people=config.people, assets=config.assets, seed=config.seed))
    _WORKER.update(items=items, cast=Cast(items), halves=load_halves(config.system, config.device), config=config,
                   progress=progress_of(config, folder))  # fmt: skip
    shown = config.beside if config.sheet else None
    _WORKER["beside"] = None if shown is None else load_halves(shown, config.device)


def _work(number: int) -> int:
    item, config = _WORKER["items"][number], _WORKER["config"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "person.soma"
        found = measure_person(item, _WORKER["cast"], _WORKER["halves"], config, path, _WORKER["beside"])
    about = {"name": item.name, "action": item.action, "yaw_deg": item.yaw_deg}
    plain = about | {"rows": found.rows, "failure": found.failure, "controls": found.controls}
    _WORKER["progress"].store(number, plain, found.strip)
    return number


def _each(config: LikenessConfig, folder: Path, missing: list[int]) -> Iterator[int]:
    """The numbers of people as they are finished."""
    if config.workers == 1 or len(missing) == 1:
        _start(config, folder, False)
        yield from map(_work, missing)
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy the threads' locks of loaded libraries
    pool_of = (min(config.workers, len(missing)), _start, (config, folder, True))
    with threads_each(), context.Pool(*pool_of) as pool:
        yield from pool.imap_unordered(_work, missing)


def _measured(config: LikenessConfig, folder: Path) -> list[dict[str, Any]]:
    from rich.console import Console
    from rich.progress import track

    progress = progress_of(config, folder)
    missing = [number for number in range(config.people) if progress.load(number) is None]
    if missing:
        shown = track(_each(config, folder, missing), "people", len(missing), console=Console(stderr=True))
        for _ in shown:
            pass
    found = [progress.load(number) for number in range(config.people)]
    people = [person for person in found if person is not None]
    if len(people) != config.people:
        raise SomacastError(f"{progress.folder}: expected {config.people} people, found {len(people)}")
    return people


# -- all together -----------------------------------------------------------------------------------------------------


def results_of(config: LikenessConfig, people: list[dict[str, Any]]) -> dict[str, Any]:
    """Tables by budget, and those of the controls, which need no bytes. Whoever failed leaves the user with the grey
    mannequin, whose figures stand for them; totals are means over the actions."""
    mannequins = {p["name"]: p["controls"][MANNEQUIN] for p in people if MANNEQUIN in p["controls"]}
    names = dict.fromkeys(name for person in people for name in person["controls"])
    return {
        "people": len(people),
        "budgets": {str(b): _table(people, str(b), mannequins) for b in sorted(config.budgets_bytes)},
        "controls": {name: _means([_about(p) | p["controls"][name] for p in people if name in p["controls"]])
                     for name in names},
        "gallery": min(GALLERY, len(people)), "side_deg": float(SIDE),
        "failures": [p["failure"] for p in people if p["failure"]], "left_out": left_out(),
    }  # fmt: skip


def _about(person: dict[str, Any]) -> dict[str, Any]:
    return {key: person[key] for key in ("name", "action", "yaw_deg")}


def _table(people: list[dict[str, Any]], budget: str, mannequins: dict[str, dict[str, Any]]) -> dict[str, Any]:
    rows = [_about(person) | person["rows"][budget] for person in people if budget in person["rows"]]
    failures = [_about(person) for person in people if budget not in person["rows"]]
    if rows:  # people are told apart at one budget only
        known = set().union(*rows)
        mannequins = {name: {k: v for k, v in row.items() if k in known} for name, row in mannequins.items()}
    return {"failed": len(failures), **_means(with_failures(rows, failures, mannequins))}


def _means(rows: list[dict[str, Any]]) -> dict[str, Any]:
    if not rows:
        return {"people": 0, "total": {}, "intervals": {}}
    return {"people": len(rows), "total": summarise(by_action(rows))["total"], "intervals": intervals(rows)}


def _sheet(config: LikenessConfig, people: list[dict[str, Any]], progress: Progress) -> bytes | None:
    """People on a sheet, ranked at the judged budget; None if nobody came through there."""
    judged = str(config.judged_bytes)
    values = {p["name"]: p["rows"][judged].get(RANKED_BY, 0.0) for p in people if judged in p["rows"]}
    numbers = {person["name"]: number for number, person in enumerate(people)}
    rows = []
    for name, mark in chosen(values, config.sheet_people):
        person, strip = people[numbers[name]], progress.picture(numbers[name])
        if strip is not None:
            figures = (
                f"{int(budget):,} B {row[RANKED_BY]:.3f}" for budget, row in person["rows"].items() if RANKED_BY in row
            )
            below = f"; below: {config.beside}" if config.beside else ""
            rows.append(Row(f"{name}, {person['action']}; ST-LPIPS: {', '.join(figures)}{below}", strip, mark))
    return sheet_bytes(rows, heads_of(sorted(config.budgets_bytes), True, True)) if rows else None


def measure_likeness(config: LikenessConfig) -> Result:
    """Measure, write JSON and sheet, print the table; returns what the file says. A run that was killed goes on where
    it stopped, if it has a cache.

    SomacastError for settings, data, outputs or missing packages, before any work is done.
    """
    for path in (config.json_path, config.sheet):
        if path:
            check_output_path(path)
    with tempfile.TemporaryDirectory() as temporary:
        folder = config.cache or Path(temporary)
        people = _measured(config, folder)
        picture = _sheet(config, people, progress_of(config, folder)) if config.sheet else None
    about = describe_run(BENCHMARK, config, packages=PACKAGES)
    result = write_result(config.json_path, Result(BENCHMARK, about, results_of(config, people), people))
    if config.sheet and picture is not None:
        write_atomically(config.sheet, picture)
    from somacast.bench.likeness.show import print_likeness

    print_likeness(result)
    return result
