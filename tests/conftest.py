"""What holds for all tests."""

from __future__ import annotations

import signal

if hasattr(signal, "SIGHUP"):
    # Under nohup a closed terminal is ignored, and by all that is started: tests that send the signal want it heard.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
