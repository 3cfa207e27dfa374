"""`somacast evaluate`: a system on test people, as docs/protocol.md says."""

from __future__ import annotations

from somacast.bench.quality.config import EvaluateConfig
from somacast.cli.common import checked


def run(config: EvaluateConfig) -> int:
    """Look at paths and device, evaluate."""
    config = checked(config)
    from somacast.bench.quality.evaluate import evaluate_system

    evaluate_system(config)
    return 0
