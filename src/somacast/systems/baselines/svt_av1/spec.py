"""The person as a SVT-AV1 picture, rebuilt by the default system at the receiver."""

from __future__ import annotations

from somacast.systems.baselines.picture.system import FFMPEG, picture_spec

SPEC = picture_spec("svt_av1", "SVT-AV1", (FFMPEG,))
