"""A `SignalSpec` in pickles and skops files: a plain dictionary, which needs no class of ours to be read."""

from __future__ import annotations

from typing import Any, ClassVar

from neurosig.core.signals import SignalSpec

__all__ = ["PlainSpecs"]


class PlainSpecs:
    """Mixin for estimators that hold a `SignalSpec`; stands before `sklearn.base.BaseEstimator`."""

    #: Names of the attributes that may hold one.
    _specs: ClassVar[tuple[str, ...]] = ("spec_",)

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())  # type: ignore[call-overload]
        for name in self._specs:
            if isinstance(state.get(name), SignalSpec):
                state[name] = state[name].to_dict()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        for name in self._specs:
            if isinstance(state.get(name), dict):
                state[name] = SignalSpec.from_dict(state[name])
        super().__setstate__(state)  # type: ignore[misc]
