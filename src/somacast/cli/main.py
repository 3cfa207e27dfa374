"""`somacast VERB ...`: loads only what the verb needs; every user error is one line and exit code 2."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from somacast.cli.dispatch import Group, Verb, dispatch, module_verb
from somacast.cli.streams import Ended, ending, silence, standard_streams
from somacast.errors import SomacastError
from somacast.extras import EXTRA_OF_PACKAGE, lacking
from somacast.systems.registry import DEFAULT

VERBS: dict[str, Verb | Group] = {
    "demo": module_verb("demo", "one person through the whole chain, with sizes, times and pictures"),
    "encode": module_verb(
        "encode", "a picture or video of a person becomes a .soma file of a few hundred bytes (a second)"
    ),
    "decode": module_verb(
        "decode", "a .soma file becomes a coloured person in 3D (.glb, .ply, .obj), or one who moves (.glb, .bvh, .mp4)"
    ),
    "send": module_verb("live.send", "live: a camera, video, picture or synthetic person to a receiver"),
    "receive": module_verb("live.receive", "live: a person from a sender into a browser, a file, other programs"),
    "view": module_verb("live.view", "show a .soma file, a mesh or a live stream in the browser"),
    "relay": module_verb("live.relay", "live: hand one sender on to many receivers"),
    "keys": module_verb("live.keys", "make the keys that let machines trust each other"),
    "emulate": module_verb(
        "live.emulate", "a narrow, late and lossy link in front of a real UDP service, to try things on"
    ),
    "info": module_verb("info", "what is inside a .soma file: header, layers, bits of every label group", True),
    "train": Group(
        "train the networks of a system",
        "somacast.cli.train:systems",
        example=f"somacast train {DEFAULT} --minutes 60 --out runs/{DEFAULT} --resume",
        missing="missing: SYSTEM, one of {known} (see {prog} --help)",
        unknown="system {word!r} cannot be trained; expected one of {known}",
        renamed={stage: f"somacast train {DEFAULT} {stage}" for stage in ("ablations", "motion")},
    ),
    "evaluate": Verb(
        "measure a system on test people, as docs/protocol.md says",
        "somacast.bench.quality.config:EvaluateConfig",
        "somacast.cli.bench.verbs:evaluate",
    ),
    "bench": Group(
        "the figures of docs/results.md, each by one command, and the page from the results (report)",
        "somacast.cli.bench.verbs:VERBS",
        example="somacast bench speed --json results/stills/speed.json --device cpu",
    ),
    "data": Group(
        "make synthetic people (synth), check an asset folder (check-assets)",
        "somacast.cli.data:VERBS",
        example="somacast data synth --out people --people 100",
    ),
    "weights": module_verb("weights", "list and verify the weights inside the package", True),
}
ROOT = Group(
    "Send a person, not pixels.",
    VERBS,
    intro="Send a person, not pixels: a picture becomes a few hundred bytes, and those a person in 3D.",
    outro="--debug, or SOMACAST_DEBUG=1, shows where an error comes from; --version shows the version.",
)
EXIT_USER_ERROR, EXIT_OWN_ERROR, EXIT_INTERRUPTED, EXIT_PIPE = 2, 1, 130, 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code: 0 fine, 2 the user's input is wrong, 1 a fault of ours, 130 interrupted, 129
    and 143 ended by SIGHUP and SIGTERM, 141 the reader of what is printed has gone."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = os.environ.get("SOMACAST_DEBUG", "") not in ("", "0")
    if "--debug" in arguments:
        arguments.remove("--debug")
        debug = True
    with standard_streams():
        try:
            with ending():
                code = _run(arguments)
                sys.stdout.flush()  # here, where a fault of it can be told
                return code
        except KeyboardInterrupt as end:
            print(f"somacast: {end if isinstance(end, Ended) else 'interrupted'}", file=sys.stderr)
            return end.code if isinstance(end, Ended) else EXIT_INTERRUPTED
        except BrokenPipeError:  # head, less
            silence(sys.stdout)
            return EXIT_PIPE
        except Exception as fault:
            if debug:
                raise
            message, code = explain(fault)
            print(f"somacast: error: {message}", file=sys.stderr)
            return code
        finally:
            _flush()


def _run(arguments: list[str]) -> int:
    if arguments[:1] in (["-V"], ["--version"]):
        from somacast import __version__

        print(f"somacast {__version__}")
        return 0
    try:
        return dispatch(ROOT, "somacast", arguments)
    except SystemExit as leave:  # --help
        return leave.code if isinstance(leave.code, int) else (EXIT_OWN_ERROR if leave.code else 0)


def _flush() -> None:
    """What is left to be written to stdout; where that cannot be, the interpreter is not to try it again."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        silence(sys.stdout)


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
