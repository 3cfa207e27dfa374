"""From words to a configuration: tyro parses, and what it rejects becomes one line.

tyro draws its complaints in frames, for people. Its public interface offers no other form; its private hook
`tyro._errors.on_parse_error` hands over the same complaints as objects. This module is the only one that uses it, and
needs nothing from it: where the hook is missing or hands over something else, the line is a general one.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import tyro

from somacast.errors import SomacastError

try:
    from tyro._errors import on_parse_error as _on_parse_error
except ImportError:  # of another version
    _on_parse_error = None

T = TypeVar("T")
MARKERS = (tyro.conf.FlagCreatePairsOff, tyro.conf.DisallowNone, tyro.conf.PositionalMetavarFromFieldName)


class _RejectedError(Exception):
    """Carries a line out of tyro, past its own handling of ValueError."""


def parse(config_class: type[T], words: Sequence[str], prog: str) -> T:
    """Words of the command line to a dataclass. SystemExit(0) after --help; SomacastError with one line for anything
    wrong: an argument that is missing, unknown or of another type, or a value that the class itself refuses."""

    def complain(event: Any) -> None:
        with contextlib.suppress(AttributeError, TypeError, ValueError, LookupError):  # an event we do not know
            if line := _line(event, words):
                raise _RejectedError(line)

    try:
        with contextlib.redirect_stderr(io.StringIO()), _hooked(complain):
            return tyro.cli(config_class, prog=prog, args=list(words), config=MARKERS)
    except _RejectedError as rejected:
        line = str(rejected)
    except SystemExit as leave:
        if leave.code in (0, None):
            raise
        if (fault := _own_fault(leave)) is not None:
            raise fault from None
        line = "wrong arguments"
    raise SomacastError(f"{line} (see {prog} --help)")


def _hooked(complain: Callable[[Any], None]) -> contextlib.AbstractContextManager[None]:
    return contextlib.nullcontext() if _on_parse_error is None else _on_parse_error(complain)


def _own_fault(fault: BaseException | None) -> SomacastError | None:
    """The SomacastError of a configuration's `__post_init__` that tyro turned into its exit."""
    while fault is not None and not isinstance(fault, SomacastError):
        fault = fault.__cause__ or fault.__context__
    return fault


def _line(event: Any, words: Sequence[str]) -> str:
    """What an event of tyro says; "" for a fault that is known by other means, or of a kind that is not known."""
    kind = type(event).__name__
    if kind == "MissingArgs":
        return f"missing: {', '.join(_named(one.arg) for one in event.missing_arguments)}"
    if kind == "UnrecognizedArgs":
        what = "unrecognized options" if event.tokens[0].startswith("-") else "unexpected arguments"
        return f"{what}: {' '.join(event.tokens)}"
    if kind == "InvalidChoice":
        return f"{_flag(event.argument)} {event.value}: expected one of {', '.join(_in_order(event.choices))}"
    if kind in ("BadValue", "InstantiationFailure") and event.argument is not None:
        given = " ".join([_flag(event.argument), *_values(words, event.argument.lowered.name_or_flags)])
        return f"{given}: expected {event.argument.lowered.metavar or 'no value'}"
    return ""


def _in_order(choices: Iterable[str]) -> list[str]:
    """Choices with numbers by size; None is no word to be given."""
    return sorted((c for c in choices if c != "None"), key=lambda c: (int(c) if c.isdigit() else 0, c))


def _flag(argument: Any) -> str:
    """The long name of an option, the name in capitals of a positional argument."""
    return str(argument.lowered.metavar) if argument.is_positional() else argument.lowered.name_or_flags[-1]


def _named(argument: Any) -> str:
    return _flag(argument) if argument.is_positional() else f"{_flag(argument)} {argument.lowered.metavar}"


def _values(words: Sequence[str], flags: Sequence[str]) -> list[str]:
    """Words that were given to an option the last time it stands there."""
    found: list[str] = []
    taken = False
    for word in words:
        name, equals, value = word.partition("=")
        if name.replace("_", "-") in flags:
            found, taken = [value] if equals else [], not equals
        elif word.startswith("--"):
            taken = False
        elif taken:
            found.append(word)
    return found
