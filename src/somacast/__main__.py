"""`python -m somacast VERB ...` is the command `somacast VERB ...`."""

from __future__ import annotations

import sys

from somacast.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
