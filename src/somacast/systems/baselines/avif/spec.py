"""The person as a AVIF picture, rebuilt by the default system at the receiver."""

from __future__ import annotations

from somacast.systems.baselines.picture.system import FFMPEG, picture_spec

SPEC = picture_spec("avif", "AVIF", (FFMPEG,), everyday=True)
