"""Options that an estimator hands on in a dictionary, settable one by one, so that a search may vary each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from neurosig.core.errors import UsageError
from neurosig.core.near_names import near_names

__all__ = ["NestedOptions"]


class NestedOptions:
    """Mixin, before `sklearn.base.BaseEstimator`: ``set_params(module__F1=4)`` sets F1 in ``module_params``.

    The dictionary stays the only place where options are kept: `clone`, pickles and digests see it and nothing else.
    ``get_params(deep=True)`` lists the options under their nested names too, so that `GridSearchCV` and the
    ``param_grid`` of a pipeline file take them as they take any other parameter. A subclass names its dictionaries in
    `_nested`; where it knows which options there are, it says so in `_known_options`.
    """

    _nested: ClassVar[Mapping[str, str]] = {}  # what stands before the "__", to the parameter that holds the dictionary

    def _known_options(self, holder: str) -> Mapping[str, Any] | None:
        """Options that the dictionary may hold, with their defaults; None where that is not known."""
        return None

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Give the parameters.

        Parameters
        ----------
        deep : bool
            Whether to add those of estimators among the parameters, and the options kept in dictionaries, one by one
            (``module__F1``): as they are set, else their defaults.

        Returns
        -------
        dict
            Name to value.
        """
        params = super().get_params(deep=deep)  # type: ignore[misc]
        if deep:
            for prefix, holder in self._nested.items():
                given = params[holder] if isinstance(params[holder], Mapping) else {}
                options = {**(self._known_options(holder) or {}), **given}
                params |= {f"{prefix}__{name}": value for name, value in options.items()}
        return params

    def set_params(self, **params: Any) -> Self:
        """Set parameters, those of estimators among them, and options kept in dictionaries (``module__F1=4``).

        Parameters
        ----------
        **params
            Name to value.

        Returns
        -------
        estimator
            Itself.

        Raises
        ------
        UsageError
            If an option is unknown, or what should hold it is no dictionary.
        ValueError
            If another parameter is unknown.
        """
        prefixes = {**self._nested, **{holder: holder for holder in self._nested.values()}}
        plain: dict[str, Any] = {}
        nested: dict[str, dict[str, Any]] = {}
        for key, value in params.items():
            prefix, separator, option = key.partition("__")
            if separator and prefix in prefixes:
                nested.setdefault(prefixes[prefix], {})[option] = value
            else:
                plain[key] = value
        super().set_params(**plain)  # type: ignore[misc]
        for holder, options in nested.items():
            setattr(self, holder, self._with_options(holder, options))
        return self

    def _with_options(self, holder: str, options: Mapping[str, Any]) -> dict[str, Any] | None:
        given = getattr(self, holder)
        if given is not None and not isinstance(given, Mapping):
            raise UsageError(f"{holder} must be a dict or None for its options to be set, got {given!r}")
        known = self._known_options(holder)
        if known is not None and (unknown := sorted(set(options) - set(known) - set(given or {}))):
            near = near_names(unknown[0], known, cutoff=0.5) or sorted(known)
            raise UsageError(f"no option {unknown[0]!r} in {holder}; there are {', '.join(near) or 'none'}")
        # what is put back to a default that nobody changed is no change: set_params(**get_params()) leaves all alike
        changed = {
            name: value
            for name, value in options.items()
            if name in (given or {}) or known is None or known[name] is not value
        }
        return {**(given or {}), **changed} if changed else given  # type: ignore[return-value]  # as it was given
