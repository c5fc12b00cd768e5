"""One fold: fitted and scored by MOABB, measured, its warnings and errors kept as lines, its record stored."""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Iterator, Mapping
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd

from neurosig.core.compat import CompatibilityWarning
from neurosig.core.errors import InputError, NeurosigError
from neurosig.evaluation.chosen import chosen_parameters
from neurosig.evaluation.edge_weights import edge_weights
from neurosig.evaluation.measure import count_parameters, measured, peak_memory, watch_fit
from neurosig.evaluation.store import FoldStore

__all__ = ["collected", "failed_unit", "one_line", "run_fold"]


def run_fold(
    X: Any,
    y: np.ndarray,
    metadata: pd.DataFrame,
    task: Mapping[str, Any],
    label: Mapping[str, Any],
    store: FoldStore | None,
) -> dict[str, Any]:
    """Fit and score one fold, measure it, and store the record; runs in a worker.

    Whatever the pipeline raises becomes the record's ``error``. A failed fold is not stored: it runs again next time.
    """
    measured_task = {**task, "pipeline": measured(task["pipeline"])}
    results, error = [], None
    weigh = peak_memory() if label["weigh"] else contextlib.nullcontext({"megabytes": None})
    with collected() as caught, watch_fit() as fit, weigh as peak:
        started = perf_counter()
        try:
            results = label["runner"].evaluate((X, y, metadata), measured_task)
        except NeurosigError as problem:
            error = one_line(problem, name=False)
        except Exception as problem:  # a pipeline is foreign code, and one that fails must not stop the others
            error = one_line(problem)
        ended = perf_counter()
    record = {
        **{name: value for name, value in label.items() if name not in _UNSAID},
        "error": error,
        "results": [_result(result, label) for result in results] or _no_results(label),
        "seconds_fit": results[0]["time"] if results else (fit.ended or ended) - started,
        "seconds_score": ended - fit.ended if results and fit.ended is not None else None,
        "peak_memory_mb": peak["megabytes"],
        "n_parameters": count_parameters(fit.estimator) if fit.estimator is not None else None,
        "chosen": chosen_parameters(fit.estimator),
        **({"edges": edges} if (edges := edge_weights(fit.estimator)) is not None else {}),
        "warnings": caught,
    }
    if store is not None and error is None:
        store.put(record)
    return record


_UNSAID = ("runner", "weigh", "test_counts", "n_train", "n_channels")  # of the label, in the record
_MOABB_FIELDS = ("time", "n_samples", "n_samples_test", "n_samples_total", "n_classes", "n_channels")


def _result(result: Mapping[str, Any], label: Mapping[str, Any]) -> dict[str, Any]:
    score = float(result["score"])
    session = str(result["session"])
    counts = label["test_counts"]
    return {
        "session": session,
        "score": score if score == score else None,
        **{name: result[name] for name in _MOABB_FIELDS},
        "test_counts": counts[session],
    }


def _no_results(label: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "session": session,
            "score": None,
            "time": None,
            "n_samples": label["n_train"],
            "n_samples_test": sum(counts.values()),
            "n_samples_total": label["n_train"] + sum(counts.values()),
            "n_classes": len(counts),
            "n_channels": label["n_channels"],
            "test_counts": counts,
        }
        for session, counts in label["test_counts"].items()
    ]


def failed_unit(unit: list[Any], pipeline: str, error: InputError) -> dict[str, Any]:
    """Record of a pipeline on a subject whose data cannot be used."""
    label = {"test_counts": {"": {}}, "n_train": 0, "n_channels": 0}
    costs = dict.fromkeys(("seconds_fit", "seconds_score", "peak_memory_mb", "n_parameters"))
    subject = str(unit[0]) if len(unit) == 1 else ""
    return {
        **{"pipeline": pipeline, "subject": subject, "fold": 0, "error": str(error), "warnings": []},
        **costs,
        "results": _no_results(label),
    }


# for the authors of packages, and for who installed them (`neurosig doctor`): no score depends on it
_NOT_FOR_READERS = (FutureWarning, DeprecationWarning, PendingDeprecationWarning, CompatibilityWarning)


_WARNING = 800  # letters of a warning: what to do about it stands at its end


@contextlib.contextmanager
def collected() -> Iterator[list[str]]:
    """Collect warnings as lines, each once; in the main thread only, as filters belong to the whole process."""
    lines: list[str] = []
    if threading.current_thread() is not threading.main_thread():
        yield lines
        return
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        try:
            yield lines
        finally:
            told = [entry for entry in caught if not issubclass(entry.category, _NOT_FOR_READERS)]
            lines += dict.fromkeys(
                f"{entry.category.__name__}: {one_line(entry.message, name=False, length=_WARNING)}" for entry in told
            )


def one_line(error: BaseException | str | Warning, name: bool = True, length: int = 300) -> str:
    """An error or a warning as one line of text."""
    text = " ".join(str(error).split())
    text = text if len(text) <= length else f"{text[: length - 1]}…"
    return f"{type(error).__name__}: {text}" if name else text
