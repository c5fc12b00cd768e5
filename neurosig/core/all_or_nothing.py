"""A fit that fails leaves an estimator as it was: not fitted, or fitted as before."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

__all__ = ["all_or_nothing"]


def all_or_nothing(fit: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a method ``fit``: where it raises, also when interrupted, all attributes are those from before the call.

    Parameters
    ----------
    fit : callable
        The method. It replaces attributes, and changes none in place.

    Returns
    -------
    callable
        The method, of the same signature and documentation.
    """

    @functools.wraps(fit)
    def whole(self: Any, *args: Any, **kwargs: Any) -> Any:
        before = dict(vars(self))
        try:
            return fit(self, *args, **kwargs)
        except BaseException:
            vars(self).clear()
            vars(self).update(before)
            raise

    return whole
