"""The person as a JPEG picture, rebuilt by the default system at the receiver."""

from __future__ import annotations

from somacast.systems.baselines.picture.system import picture_spec

SPEC = picture_spec("jpeg", "JPEG", everyday=True)
