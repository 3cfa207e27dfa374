"""Fast loops: functions that numba compiles, kept in our cache so that the next start need not compile them again.

    @compiled(nogil=True)
    def total(values): ...

Numba's own cache writes beside the sources, ends the program where no folder can be written or the disk is full, and
does not see that a kernel calls another which has changed.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numba as nb
from numba.core.caching import CompileResultCacheImpl, FunctionCache, UserProvidedCacheLocator
from numba.core.registry import CPUDispatcher

from somacast.cache import cache_folder


def compiled(**options: Any) -> Callable[[Callable], Any]:
    """Compile a function at its first call, with options of numba.njit; what was compiled is cached where it can be."""

    def decorate(function: Callable) -> Any:
        made = nb.njit(**options)(function)
        if isinstance(made, CPUDispatcher) and cache_folder() is not None:
            with suppress(OSError, RuntimeError):  # sources that are not there cannot be compared with
                made._cache = _Cache(function)  # type: ignore[attr-defined]
        return made

    return decorate


class _Place(UserProvidedCacheLocator):
    """A folder of our cache for each folder of sources."""

    def __init__(self, function: Callable, source: str) -> None:
        self._function, self._py_file, self._lineno = function, source, function.__code__.co_firstlineno
        self._cache_path = str(cache_folder() / self.get_suitable_cache_subpath(source))  # type: ignore[operator]

    @classmethod
    def from_function(cls, function: Callable, source: str) -> _Place:
        return cls(function, source)

    def get_source_stamp(self) -> tuple:
        """Changes when the source changes, or that of a kernel that is called, whose code is compiled in."""
        called = [self._function.__globals__.get(name) for name in self._function.__code__.co_names]
        kernels = {k.py_func for k in called if isinstance(k, CPUDispatcher) and k.py_func is not self._function}
        own = super().get_source_stamp()
        return (own, *sorted(str(_Place(k, inspect.getfile(k)).get_source_stamp()) for k in kernels))


class _Saved(CompileResultCacheImpl):
    _locator_classes = [_Place]  # noqa: RUF012


class _Cache(FunctionCache):
    """A cache that is of no use sometimes (read-only, full, damaged, of a stranger) and never in the way."""

    _impl_class = _Saved

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception:
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except Exception:
            self.disable()
