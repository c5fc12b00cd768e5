"""Sampling rate, channel names and positions, told to the steps of a pipeline that ask for them.

Evaluations hand over plain arrays. What is known about them is a `SignalSpec`; a step that has a parameter ``sfreq``,
``ch_names`` or ``info`` which nobody has set gets it from there, as far as it still holds where the step stands.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from neurosig.core.files import digest
from neurosig.core.signals import SignalSpec

__all__ = ["common_facts", "facts_digest", "with_signal_facts"]

# What a step leaves as it was; all others leave the rate at most.
_KEEPS = {
    "neurosig.preprocessing.faster.FASTER": ("sfreq", "channels", "unit"),
    "neurosig.preprocessing.scaling.ClipScale": ("sfreq", "channels"),
    "neurosig.preprocessing.scaling.QuantileScale": ("sfreq", "channels"),
    "mne.decoding.transformer.FilterEstimator": ("sfreq", "channels", "unit"),
    "mne.decoding.transformer.TemporalFilter": ("sfreq", "channels", "unit"),
    "mne.decoding.transformer.Scaler": ("sfreq", "channels"),
    "sklearn.preprocessing._function_transformer.FunctionTransformer": (),  # whatever the function does
    "moabb.pipelines.features.Resampler_Epoch": (),
}
_NEVER_RESAMPLE = ("neurosig", "pyriemann", "sklearn", "mne", "moabb")
# scikit-learn's estimators of estimators that give these their own X, all of it
_HAND_ON = {
    "CalibratedClassifierCV", "FeatureUnion", "FixedThresholdClassifier", "GridSearchCV", "HalvingGridSearchCV",
    "HalvingRandomSearchCV", "MultiOutputClassifier", "MultiOutputRegressor", "OneVsOneClassifier",
    "OneVsRestClassifier", "OutputCodeClassifier", "RandomizedSearchCV", "SelfTrainingClassifier",
    "StackingClassifier", "StackingRegressor", "TransformedTargetRegressor", "TunedThresholdClassifierCV",
    "VotingClassifier", "VotingRegressor",
}  # fmt: skip
_NOT_HANDED_ON = ("final_estimator",)  # of stacking: it gets predictions
_OPTIONAL = {"positions", "montage", "atlas", "reference", "highpass", "lowpass", "line_freq"}
_COMPARED = {"modality", "ch_names", "ch_types", "sfreq", "unit", "t_r"} | _OPTIONAL


def with_signal_facts(pipeline: Any, spec: SignalSpec | float | None) -> Any:
    """A copy of a pipeline whose steps know what is known about the signals.

    Parameters
    ----------
    pipeline : estimator
        Not fitted; it is not changed.
    spec : SignalSpec or float or None
        The signals as they are handed over: channels that are left, rate after resampling, unit. A number is the rate
        in Hz where that is all that is known; None tells nothing.

    Returns
    -------
    estimator
        A clone. Its parameters ``sfreq`` (Hz), ``ch_names`` (list of str), ``info`` (SignalSpec) and, of fMRI, ``t_r``
        (seconds, where all runs have the same) that were None are set, to any depth.

    Notes
    -----
    Which estimators: those of neurosig, and classes that say so by an attribute ``takes_signal_facts = True``.
    Elsewhere parameters of these names may mean something else, so they are let alone.

    What is set stays. Nor is it contradicted: with an ``info`` of the user's own nothing is added, and ``info`` is not
    set where the user's ``sfreq`` or ``ch_names`` differ from the signals'.

    Where: names, positions and ``info`` are set up to and including the first step that is not known to keep channels.
    Known are FASTER, the scalers (behind which the unit is "a.u.") and mne's filters; a class may declare it by an
    attribute ``keeps_signal_facts``, a tuple of "sfreq", "channels", "unit". The rate is set behind all steps of
    neurosig, pyriemann, scikit-learn, mne and moabb that do not resample. Searches, voting, stacking, unions and the
    like hand on to their estimators what they get; other estimators of estimators hand on the rate only.
    """
    from sklearn.base import clone

    pipeline = clone(pipeline)
    for estimator, found in list(_fillable(pipeline, _bare(spec))):
        estimator.set_params(**found)
    return pipeline


def facts_digest(pipeline: Any, spec: SignalSpec | float | None) -> str | None:
    """Digest of what `with_signal_facts` would tell a pipeline, for keys of results; None where that is nothing.

    Parameters
    ----------
    pipeline : estimator
        Not fitted.
    spec : SignalSpec or float or None
        As there.

    Returns
    -------
    str or None
    """
    told = [
        {name: value.to_dict() if isinstance(value, SignalSpec) else value for name, value in found.items()}
        for _, found in _fillable(pipeline, _bare(spec))
    ]
    return digest("signal facts", told) if told else None


def common_facts(specs: Iterable[SignalSpec]) -> SignalSpec | None:
    """What is true of all of several recordings.

    Parameters
    ----------
    specs : iterable of SignalSpec
        One a recording.

    Returns
    -------
    SignalSpec or None
        Positions, reference and filters only where they are the same in all; None if channels, unit or rate differ, or
        there are none.
    """
    common: SignalSpec | None = None
    for spec in specs:
        if common is None:
            common = spec.replace(n_times=None, tmin=None, processing=None, extra={})
        differing = {name for name in _COMPARED if getattr(spec, name) != getattr(common, name)}
        if differing - _OPTIONAL:
            return None
        common = common.replace(**dict.fromkeys(differing))
    return common


def _bare(spec: SignalSpec | float | None) -> SignalSpec | float | None:
    """Without what steps change or do not ask for: when trials begin and end, and how they were cut."""
    if not isinstance(spec, SignalSpec):
        return spec
    return spec.replace(n_times=None, tmin=None, processing=None, extra={})


def _fillable(estimator: Any, facts: SignalSpec | float | None) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Estimators, from the outer to the inner, and what each is to be told; `facts` are a rate where no more holds."""
    if facts is None or not _is_open(estimator):
        return
    if found := _lacking(estimator, facts):
        yield estimator, found
    if _is_pipeline(estimator):
        for _, step in estimator.steps:
            yield from _fillable(step, facts)
            facts = _after(step, facts)
        return
    whole = _package(estimator) == "sklearn" and type(estimator).__name__ in _HAND_ON
    for name, value in estimator.get_params(deep=False).items():
        if name in _NOT_HANDED_ON:
            continue
        for child in _estimators_in(value):
            yield from _fillable(child, facts if whole else _rate(facts) if "sfreq" in _kept(estimator) else None)


def _lacking(estimator: Any, facts: SignalSpec | float) -> dict[str, Any]:
    if not _takes_facts(type(estimator)):
        return {}
    has = estimator.get_params(deep=False)
    rate = _rate(facts)
    found: dict[str, Any] = {}
    if has.get("info") is not None:
        return {}
    if has.get("sfreq", 0) is None and rate is not None:
        found["sfreq"] = rate
    if isinstance(facts, SignalSpec):
        names = has.get("ch_names")
        if "ch_names" in has and names is None:
            found["ch_names"] = list(facts.ch_names)
        same_names = names is None or tuple(map(str, names)) == facts.ch_names
        if "info" in has and same_names and has.get("sfreq") in (None, rate):
            found["info"] = facts
        if "sfreq" not in has and has.get("t_r", 0) is None and facts.t_r is not None:
            found["t_r"] = facts.t_r
    return found


def _after(step: Any, facts: SignalSpec | float | None) -> SignalSpec | float | None:
    """What still holds behind a step."""
    if facts is None or step is None or isinstance(step, str):  # "passthrough"
        return facts
    if _is_pipeline(step):
        for _, inner in step.steps:
            facts = _after(inner, facts)
        return facts
    kept = _kept(step)
    if "channels" not in kept:
        return _rate(facts) if "sfreq" in kept else None
    if not isinstance(facts, SignalSpec):
        return facts if "sfreq" in kept else None
    facts = facts if "unit" in kept else facts.replace(unit="a.u.")
    return facts.replace(
        sfreq=facts.sfreq if "sfreq" in kept else None, reference=None, highpass=None, lowpass=None
    )  # which steps change without a word


def _kept(estimator: Any) -> tuple[str, ...]:
    cls = type(estimator)
    declared = getattr(cls, "keeps_signal_facts", None)
    if declared is None:
        declared = _KEEPS.get(f"{cls.__module__}.{cls.__qualname__}")
    if declared is not None:
        return tuple(declared)
    return ("sfreq",) if _package(estimator) in _NEVER_RESAMPLE else ()


def _takes_facts(cls: type) -> bool:
    declared = getattr(cls, "takes_signal_facts", None)
    if declared is not None:
        return bool(declared)
    return any(base.__module__.partition(".")[0] == "neurosig" for base in cls.__mro__)


def _is_open(estimator: Any) -> bool:
    """Whether it is an estimator whose parameters may be set: a frozen one, which clones to itself, is not.

    A class that clones in its own way and asks for facts by name makes copies whose parameters may be set.
    """
    from sklearn.base import BaseEstimator

    if isinstance(estimator, type) or not hasattr(estimator, "get_params") or not hasattr(estimator, "set_params"):
        return False
    default = BaseEstimator.__sklearn_clone__
    own_way = getattr(type(estimator), "__sklearn_clone__", default) is not default
    return not own_way or bool(getattr(type(estimator), "takes_signal_facts", False))


def _is_pipeline(estimator: Any) -> bool:
    from sklearn.pipeline import Pipeline

    return isinstance(estimator, Pipeline)


def _estimators_in(value: Any) -> Iterator[Any]:
    if _is_open(value):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _estimators_in(item)


def _rate(facts: SignalSpec | float) -> float | None:
    return facts.sfreq if isinstance(facts, SignalSpec) else facts


def _package(estimator: Any) -> str:
    return type(estimator).__module__.partition(".")[0]
