"""`somacast bench users`: one result for each part."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from somacast.bench.results import Result, describe_run, write_result
from somacast.bench.users.config import UsersBench
from somacast.errors import SomacastError


def measure_users(config: UsersBench, say: Callable[[str], None] = lambda line: None) -> dict[str, Result]:
    """Measure the parts and write a file of each; a part that cannot be measured here is told and left out. say: gets
    a line for each part."""
    made = {}
    for part in config.parts:
        try:
            found = _part(part, config)
        except SomacastError as fault:
            say(f"{part}: not measured: {fault}")
            continue
        about = describe_run("users", replace(config, parts=(part,)))
        path = config.out / f"{part}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        made[part] = write_result(path, Result("users", about, {"part": part, **found}, []))
        say(f"{part}: {path}")
    return made


def _part(part: str, config: UsersBench) -> dict[str, Any]:
    if part == "privacy":
        from somacast.bench.users import privacy

        return privacy.measure()
    if part == "starts":
        from somacast.bench.users import starts

        return starts.measure()
    if part == "drift":
        from somacast.bench.users import drift

        return {"rates": drift.measure()}
    if part == "memory":
        from somacast.bench.users import memory

        return {"films": memory.measure()}
    if part == "folder":
        from somacast.bench.users import folder

        return folder.measure(seed=config.seed)
    if part == "kinds":
        from somacast.bench.users import kinds

        if config.reports is None:
            raise SomacastError("expected --reports, a folder of files that users had trouble with")
        return kinds.measure(config.reports)
    from somacast.bench.users import halves

    return {"cut": halves.measure(config.photographs)}
