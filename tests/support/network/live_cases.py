"""The simulated stage of both ends, under the name the tests use."""

from somacast.bench.network.live_stage import Stage, coder, container, moving
from somacast.systems import registry

SYSTEM = registry.get(registry.DEFAULT)

__all__ = ["SYSTEM", "Stage", "coder", "container", "moving"]
