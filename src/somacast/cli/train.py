"""`somacast train SYSTEM [STAGE]`: the trainers of the systems' specs."""

from __future__ import annotations

from functools import partial
from typing import Any

from somacast.cli.dispatch import Group, Verb, load
from somacast.systems import registry
from somacast.systems.spec import Trainer


def systems() -> dict[str, Verb | Group]:
    """Systems that can be trained; the first stage of each is the one that needs no further word."""
    found: dict[str, Verb | Group] = {}
    for name in registry.names():
        spec = registry.get(name).spec
        stages = {stage: _verb(trainer) for stage, trainer in spec.trainers.items()}
        if stages:
            first = next(iter(stages))
            others = {stage: verb for stage, verb in stages.items() if stage != first}
            found[name] = Group(stages[first].summary, others, default=stages[first])
    return found


def _verb(trainer: Trainer) -> Verb:
    return Verb(trainer.summary, trainer.config, partial(_train, trainer))


def _train(trainer: Trainer, config: Any) -> int:
    """Train, say what the trainer gives back: the file or folder it has written."""
    print(load(trainer.run)(config))
    return 0
