"""The person as a WebP picture, rebuilt by the default system at the receiver."""

from __future__ import annotations

from somacast.systems.baselines.picture.system import picture_spec

SPEC = picture_spec("webp", "WebP")
