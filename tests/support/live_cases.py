"""The simulated stage of both ends, under the name the tests use."""

from somacast.bench.network.live_stage import Stage, container, moving

__all__ = ["Stage", "container", "moving"]
