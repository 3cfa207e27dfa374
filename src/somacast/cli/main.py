"""`somacast VERB ...`: loads only what the verb needs; every user error is one line and exit code 2."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

from somacast.errors import SomacastError
from somacast.extras import EXTRA_OF_PACKAGE, lacking

VERBS = {
    "demo": "one person through the whole chain, with sizes, times and pictures",
    "encode": "a picture or video of a person becomes a .soma file of a few hundred bytes (a second)",
    "decode": "a .soma file becomes a coloured person in 3D (.glb, .ply, .obj), or one who moves (.glb, .bvh, .mp4)",
    "send": "live: a camera, video, picture or synthetic person to a receiver",
    "receive": "live: a person from a sender into a browser, a file, other programs",
    "view": "show a .soma file, a mesh or a live stream in the browser",
    "relay": "live: hand one sender on to many receivers",
    "keys": "make the keys that let machines trust each other",
    "emulate": "a narrow, late and lossy link in front of a real UDP service, to try things on",
    "info": "what is inside a .soma file: header, layers, bits of every label group",
    "train": "train the networks of a system",
    "evaluate": "measure a system on test people, as docs/protocol.md says",
    "bench": "the figures of the README, each by one command, and its tables from the results (report)",
    "data": "make synthetic people (synth), check an asset folder (check-assets)",
    "weights": "list and verify the weights inside the package",
}
# Where a verb lives below cli/, if not in a module of its name.
_MODULES = {verb: f"live.{verb}" for verb in ("send", "receive", "view", "relay", "keys", "emulate")} | {
    "bench": "bench.verbs"
}
EXIT_USER_ERROR, EXIT_OWN_ERROR, EXIT_INTERRUPTED, EXIT_PIPE = 2, 1, 130, 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code: 0 fine, 2 the user's input is wrong, 1 a fault of ours, 130 interrupted."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = os.environ.get("SOMACAST_DEBUG", "") not in ("", "0")
    if "--debug" in arguments:
        arguments.remove("--debug")
        debug = True
    try:
        return dispatch(VERBS, "somacast", "somacast.cli.", arguments)
    except SystemExit as leave:  # --help
        return leave.code if isinstance(leave.code, int) else (EXIT_OWN_ERROR if leave.code else 0)
    except KeyboardInterrupt:
        print("somacast: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader (head, less) has gone; without this the interpreter complains again when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_PIPE
    except Exception as fault:
        if debug:
            raise
        message, code = explain(fault)
        print(f"somacast: error: {message}", file=sys.stderr)
        return code


def dispatch(verbs: dict[str, str], prog: str, module_prefix: str, arguments: list[str]) -> int:
    """Call `run(arguments)` of the verb's module; the listing for no verb and --help."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(listing(verbs, prog))
        return 0
    verb, *rest = arguments
    if verb in ("-V", "--version") and prog == "somacast":
        from somacast import __version__

        print(f"somacast {__version__}")
        return 0
    if verb not in verbs:
        raise SomacastError(f"unknown verb {verb!r}: expected one of {', '.join(verbs)} (see {prog} --help)")
    return importlib.import_module(module_prefix + _MODULES.get(verb, verb)).run(rest)


def listing(verbs: dict[str, str], prog: str) -> str:
    """Help text: every verb with one line."""
    width = max(map(len, verbs))
    lines = [f"usage: {prog} VERB ...", ""]
    if prog == "somacast":
        lines += ["Send a person, not pixels: a picture becomes a few hundred bytes, and those a person in 3D.", ""]
    lines += [f"  {verb:<{width}}  {text}" for verb, text in verbs.items()]
    lines += ["", f"{prog} VERB --help shows the arguments of a verb and an example."]
    if prog == "somacast":
        lines += ["--debug, or SOMACAST_DEBUG=1, shows where an error comes from; --version shows the version."]
    return "\n".join(lines)


def explain(fault: Exception) -> tuple[str, int]:
    """One line for an exception, and the exit code that goes with it."""
    if isinstance(fault, SomacastError):
        return " ".join(str(fault).split()), EXIT_USER_ERROR
    if isinstance(fault, OSError):
        place = f"{fault.filename}: " if fault.filename is not None else ""
        return f"{place}{(fault.strerror or str(fault) or type(fault).__name__).lower()}", EXIT_USER_ERROR
    if isinstance(fault, MemoryError):
        return "not enough memory for this", EXIT_USER_ERROR
    package = (fault.name or "").partition(".")[0] if isinstance(fault, ModuleNotFoundError) else ""
    if package in EXTRA_OF_PACKAGE:
        return lacking("this", package), EXIT_USER_ERROR
    reason = " ".join(str(fault).split())
    return f"internal error: {type(fault).__name__}: {reason} (--debug shows where)", EXIT_OWN_ERROR


if __name__ == "__main__":
    sys.exit(main())
