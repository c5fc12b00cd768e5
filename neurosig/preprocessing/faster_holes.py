"""What is done about channels without numbers before signals are checked: those that are bad anyway do no harm."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from neurosig.core.channel_names import listed
from neurosig.core.errors import InputError

__all__ = ["without_holes"]


def without_holes(X: Any, names: Sequence[str] | None, marked: Collection[str]) -> tuple[Any, np.ndarray | None]:
    """Signals with zeros for what is no number in channels that are marked bad or hold no number at all.

    Parameters
    ----------
    X : array of shape (n_epochs, n_channels, n_times)
        Signals; whatever is no such array of floats is handed back as it is.
    names : sequence of str, optional
        Names of the channels; by default, and where their number does not fit, their positions.
    marked : collection of str
        Channels that are marked bad.

    Returns
    -------
    X : array of shape (n_epochs, n_channels, n_times)
        A copy, or `X` itself where nothing was to be done.
    holes : array of bool of shape (n_epochs, n_channels), or None
        Where something was replaced; None where nothing was.

    Raises
    ------
    InputError
        If other channels hold NaN or infinite values.
    """
    if not (isinstance(X, np.ndarray) and X.ndim == 3 and X.dtype.kind == "f" and X.size):
        return X, None
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(np.sum(X)):  # one pass without a mask as large as X settles nearly all cases
            return X, None
    finite = np.isfinite(X)
    if finite.all():
        return X, None
    if names is None or len(names) != X.shape[1]:
        names = [str(i) for i in range(X.shape[1])]
    holes = np.logical_not(finite.all(axis=2))
    empty = np.logical_not(finite.any(axis=(0, 2)))
    bad = empty | np.isin(names, list(marked))
    if (others := holes.any(axis=0) & ~bad).any():
        where = np.flatnonzero(holes[:, others].any(axis=1))
        values = X[:, others][~finite[:, others]]
        kinds = [kind for kind, there in (("NaN", np.isnan(values)), ("inf", np.isinf(values))) if there.any()]
        raise InputError(
            f"expected finite signals, got {' and '.join(kinds)} in {len(where)} of {len(X)} trials (positions "
            f"{listed([str(i) for i in where])}; channels {listed(np.array(names)[others].tolist())}); drop "
            "or repair these segments, or mark the channels bad (info['bads'])"
        )
    return np.where(finite, X, X.dtype.type(0)), holes
