"""What a fit costs: seconds, peak memory, and how many numbers it learned.

The pipeline is given a subclass of its own class whose `fit` tells when it ended and what it fitted. It survives
`sklearn.base.clone` and grid searches, and it computes nothing itself, so that scores do not change.
"""

from __future__ import annotations

import contextlib
import contextvars
import copy
import ctypes
import functools
import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, cast

import numpy as np

__all__ = ["FitRecord", "count_parameters", "measured", "peak_memory", "watch_fit"]

_CLEAR_REFS = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


@dataclass
class FitRecord:
    """What `watch_fit` notes: the estimator fitted last and the moment its fit ended (`time.perf_counter`)."""

    estimator: Any = None
    ended: float | None = None


_WATCHING: contextvars.ContextVar[FitRecord | None] = contextvars.ContextVar("watching", default=None)


@contextlib.contextmanager
def watch_fit() -> Iterator[FitRecord]:
    """Note the fits of `measured` estimators inside the block.

    Yields
    ------
    FitRecord
        Holds the last fit: inside a grid search that is the refit with the best parameters.
    """
    record = FitRecord()
    token = _WATCHING.set(record)
    try:
        yield record
    finally:
        _WATCHING.reset(token)


def measured(estimator: Any) -> Any:
    """A shallow copy of `estimator` whose fits `watch_fit` sees.

    Parameters
    ----------
    estimator : estimator
        Not fitted; it is not changed.

    Returns
    -------
    estimator
        Of a subclass of the same name, or `estimator` itself where its class allows no subclass.
    """
    try:
        twin, original = copy.copy(estimator), cast(Any, type(estimator))
        twin.__class__ = _watched_class(original)
    except TypeError:  # a class in C, or one that forbids subclasses: its costs stay unknown, its scores do not
        return estimator
    return twin


@functools.lru_cache(maxsize=128)  # scikit-learn inspects each new class, which costs more than a small fit
def _watched_class(original: Any) -> type:
    @functools.wraps(original.fit)
    def fit(self, *args, **kwargs):
        fitted = original.fit(self, *args, **kwargs)
        _note_fit(self)
        return fitted

    names = {"fit": fit, "__module__": original.__module__, "__qualname__": original.__qualname__}
    return type(original.__name__, (original,), names)


def _note_fit(estimator: Any) -> None:
    record = _WATCHING.get()
    if record is not None:
        record.estimator, record.ended = estimator, perf_counter()


def count_parameters(estimator: Any) -> int:
    """Count the learned numbers of a fitted estimator.

    These are the floating-point numbers in attributes that end in an underscore, of the estimator and of all fitted
    estimators inside it, whatever those are called, and the parameters of torch modules; of an estimator that tells
    ``n_parameters_``, as networks do, these. Class labels, counters and indices are integers and do not count.
    """
    return _count(estimator, set())


def _count(value: Any, seen: set[int]) -> int:
    if isinstance(value, np.ndarray | np.generic):
        return int(value.size) if value.dtype.kind in "fc" else 0
    if isinstance(value, float):
        return 1
    if value is None or isinstance(value, str | bytes | int | bool | type) or id(value) in seen:
        return 0
    seen.add(id(value))
    if isinstance(value, Mapping):
        return sum(_count(item, seen) for item in value.values())
    if isinstance(value, list | tuple):
        return sum(_count(item, seen) for item in value)
    if callable(getattr(value, "parameters", None)) and callable(getattr(value, "state_dict", None)):
        return sum(int(parameter.numel()) for parameter in value.parameters())
    if isinstance(told := getattr(value, "n_parameters_", None), int):  # whose numbers lie in a network beneath it
        return told
    if hasattr(value, "best_estimator_"):  # of a search, only what predicts counts
        return _count(value.best_estimator_, seen)
    if isinstance(getattr(value, "steps", None), list):
        return sum(_count(step[1], seen) for step in value.steps)
    learned = [item for name, item in getattr(value, "__dict__", {}).items() if _is_learned(name, item)]
    return sum(_count(item, seen) for item in learned)


def _is_learned(name: str, value: Any) -> bool:
    if name.startswith("_"):  # pyriemann keeps the estimators that it fits inside others under such names
        return callable(getattr(value, "fit", None)) and callable(getattr(value, "get_params", None))
    return name.endswith("_")


@contextlib.contextmanager
def peak_memory() -> Iterator[dict[str, float]]:
    """Measure by how much this process grows inside the block.

    Yields
    ------
    dict
        After the block it holds ``"megabytes"``: the highest resident memory during the block minus that at its
        start. Linux keeps that high-water mark itself; elsewhere it is sampled a hundred times a second.
    """
    found = {"megabytes": float("nan")}
    before = _reset_high_water()
    if before is None:
        with _sampled(found):
            yield found
        return
    yield found
    after = _status_kilobytes("VmHWM:")
    if after is not None:
        found["megabytes"] = max(0.0, (after - before) / 1024)


def _reset_high_water() -> int | None:
    _give_back_freed()
    try:
        _CLEAR_REFS.write_text("5")  # resets the peak resident size only (proc(5))
        return _status_kilobytes("VmRSS:")
    except OSError:
        return None


def _give_back_freed() -> None:
    """Return freed memory to the system: kept by the allocator, it would hide what the next fit needs."""
    trim = getattr(_libc(), "malloc_trim", None)  # glibc only
    if trim is not None:
        trim(0)


@functools.cache
def _libc() -> Any:
    with contextlib.suppress(OSError, TypeError):
        return ctypes.CDLL(None)
    return None


def _status_kilobytes(field: str) -> int | None:
    with contextlib.suppress(OSError):
        for line in _STATUS.read_text().splitlines():
            if line.startswith(field):
                return int(line.split()[1])
    return None


@contextlib.contextmanager
def _sampled(found: dict[str, float]) -> Iterator[None]:
    import psutil

    process = psutil.Process(os.getpid())
    before = highest = process.memory_info().rss
    done = threading.Event()

    def sample():
        nonlocal highest
        while not done.wait(0.01):
            highest = max(highest, process.memory_info().rss)

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        found["megabytes"] = (max(highest, process.memory_info().rss) - before) / 2**20
