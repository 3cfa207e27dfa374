"""`somacast bench study SYSTEM [STUDY]`: what the systems measure of their own parts, from their specs."""

from __future__ import annotations

from functools import partial
from typing import Any

from somacast.cli.dispatch import Group, Verb, load
from somacast.systems import registry
from somacast.systems.spec import Study


def systems() -> dict[str, Verb | Group]:
    """Systems that have studies; the first of each is the one that needs no further word."""
    found: dict[str, Verb | Group] = {}
    for name in registry.names():
        studies = registry.get(name).spec.studies
        verbs = {
            word: Verb(one.summary, one.config, partial(_measure, name, word, one)) for word, one in studies.items()
        }
        if verbs:
            first = next(iter(verbs))
            found[name] = Group(verbs[first].summary, verbs, default=verbs[first])
    return found


def _measure(system: str, word: str, study: Study, config: Any) -> int:
    """Measure, write."""
    from somacast.bench.results import write_study

    write_study(system, word, config, load(study.run)(config))
    return 0
