"""Classifiers that are given a `SignalDataset`: its signals, labels, people and what is known of the channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from neurosig.core.errors import InputError
from neurosig.core.signals import SignalDataset, SignalSpec
from neurosig.core.trained_on import as_trained_on
from neurosig.training.trial_data import compare_specs, known_spec

__all__ = ["Opened", "as_fitted_on", "opened"]


@dataclass(frozen=True)
class Opened:
    """What a classifier learns from.

    Parameters
    ----------
    X : array of shape (n_trials, n_channels, n_times), or mne.Epochs
        Trials.
    y : array of shape (n_trials,)
        Their classes.
    groups : array of shape (n_trials,) or None
        What they belong to.
    info : SignalSpec, mne.Info or None
        What is known of the signals, beside what Epochs tell.
    trained_on : dict or None
        Whose they are, as `neurosig.core.trained_on.as_trained_on` gives it.
    """

    X: Any
    y: Any
    groups: Any
    info: Any
    trained_on: dict[str, Any] | None


def opened(X: Any, y: Any, groups: Any, info: Any, who: str) -> Opened:
    """Trials, labels and groups of what was given: those of a dataset are its own, where others are not given.

    Parameters
    ----------
    X : array of shape (n_trials, n_channels, n_times), mne.Epochs or SignalDataset
        Trials.
    y : array of shape (n_trials,) or None
        Classes; None takes those of a dataset.
    groups : array of shape (n_trials,) or None
        Groups; None takes the subjects of a dataset, where it has several.
    info : SignalSpec, mne.Info or None
        What the classifier was told of signals.
    who : str
        Its class, for messages.

    Returns
    -------
    Opened

    Raises
    ------
    InputError
        If there are no labels.
    """
    trained_on = None
    if isinstance(X, SignalDataset):
        people = X.metadata["subject"].astype(str).to_numpy()
        trained_on = as_trained_on({"subjects": sorted(set(people.tolist())), "dataset": X.name})
        y = X.y if y is None else y
        if y is None:
            raise InputError(f"{who} needs labels, and the dataset holds none: pass y, one a trial")
        groups = people if groups is None and len(set(people.tolist())) > 1 else groups
        X, info = X.X, X.info
    if y is None:
        raise InputError(f"{who} requires y to be passed, but the target y is None")
    return Opened(X, y, groups, info, trained_on)


def as_fitted_on(X: Any, spec: SignalSpec | None, who: str) -> tuple[Any, SignalSpec | None, float | None]:
    """Trials that are to be decided on, and what they tell of themselves.

    Parameters
    ----------
    X : array of shape (n_trials, n_channels, n_times), mne.Epochs or SignalDataset
        Trials.
    spec : SignalSpec or None
        What is known of the signals fitted on; rate and unit may be others, as they are converted.
    who : str
        The classifier's class, for messages.

    Returns
    -------
    X : array or mne.Epochs
        The trials.
    spec : SignalSpec or None
        What these tell; None of arrays, which are like those fitted on.
    sfreq : float or None
        Their rate in Hz, likewise.

    Raises
    ------
    ChannelError
        If a dataset's channels are others than those fitted on.
    """
    if not isinstance(X, SignalDataset):
        return X, *known_spec(X, None, None, None)
    if spec is not None:
        compare_specs(spec.replace(sfreq=None, unit="a.u."), X.info, who)
    return X.X, X.info, X.info.sfreq
