"""The simulated stage of both ends, under the name the tests use."""

import numpy as np

from somacast.bench.network.live_stage import Stage, coder, container, moving
from somacast.bitstream.container import packed_bytes, unpack
from somacast.systems import registry
from somacast.systems.aflsc.networks.loading import load_tables
from somacast.systems.aflsc.picture_layer.warp import NO_WARP

SYSTEM = registry.get(registry.DEFAULT)

__all__ = ["SYSTEM", "Stage", "coder", "container", "look_container", "moving"]


def look_container(size_bytes: int = 1500, seed: int = 0) -> bytes:
    """A still of somebody average behind whose labels come a warp and bytes in place of a picture, of that
    size: what a stream carries, and nobody draws."""
    codec = load_tables().codec
    symbols = codec.symbols(unpack(container())[0].layers)
    layers = codec.layers_before_look(symbols)
    warp = NO_WARP.encode()
    rest = next(
        n for n in range(size_bytes) if packed_bytes(SYSTEM.name, [*map(len, layers), len(warp), n]) == size_bytes
    )
    return SYSTEM.pack([*layers, warp, np.random.default_rng(seed).bytes(rest)])
