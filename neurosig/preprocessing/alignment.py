"""Alignment of people: the covariances of each are moved to a common centre, without labels."""

from __future__ import annotations

import warnings
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from neurosig.core.channel_names import listed
from neurosig.core.errors import ChannelError, UsageError
from neurosig.core.registry import register
from neurosig.core.validation import check_signals
from neurosig.preprocessing.lagged_products import ESTIMATORS
from neurosig.preprocessing.riemann import inverse_square_root, mean_riemann
from neurosig.preprocessing.tangent import are_covariances, as_covariances

__all__ = ["Recentering", "UnalignedWarning"]

_NEW = ("target", "batch", "train")


class UnalignedWarning(UserWarning):
    """People who were not in training are moved by the training mean, as nothing is known of their own."""


@register
class Recentering(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Move the Riemannian mean of each person's covariances to the identity.

    Parameters
    ----------
    new : {"target", "batch", "train"}
        What centres people who were not in training. "target" is their unlabelled trials that `fit` was given as
        `X_target_unlabeled`; without any, the training mean, which a warning says. "batch" is all trials that one call
        of `transform` gets, taken as one person's: the result then depends on which trials come together. "train" is
        always the mean of all training trials, which gives a baseline without alignment of new people.
    estimator : {"oas", "lwf", "sch", "scm", "cov"}
        How covariances of trials are estimated to find the means.
    tol : float
        Accuracy of the means, see `mean_riemann`.

    Attributes
    ----------
    centers_ : array of shape (n_groups, n_channels, n_channels)
        Riemannian mean of each training person's covariances.
    groups_ : list of str
        Names of the people, in the order of `centers_`; ``["0"]`` where `fit` was told none.
    new_center_ : array of shape (n_channels, n_channels)
        Mean by which people are centred who were not in training (unless ``new="batch"``).
    n_features_in_ : int
        Number of channels.

    See Also
    --------
    FastTangentSpace : What usually follows.

    Notes
    -----
    The recentring of Zanini et al. [1]_: a covariance C of a person whose mean is M becomes ``M ** -1/2 C M ** -1/2``,
    and trials X become ``M ** -1/2 X``, whose covariances are just those. No labels are used, of nobody, so that it may
    learn from the test person's trials where the protocol says that these are at hand.

    Under MOABB's cross-subject evaluation it asks by itself for `subjects` and `X_target_unlabeled`; choose a mode that
    gives unlabelled target trials (``cs_mode="train_and_target_unlabeled_full"``, ``_50p`` or ``_20p``). MOABB hands
    the target's trials as they are before any step, so that `Recentering` has to be the first step; where trials come
    as matrices of another size than the signals' (augmented covariances), build the pipeline with
    ``transform_input=["X_target_unlabeled"]``.

    In scikit-learn's `cross_val_score` names of people are metadata, which have to be routed (last example): to `fit`,
    which learns a centre for each, and to `transform`, which takes each person's own. People who are tested and were
    not in training need ``new="batch"`` there, as scikit-learn hands `fit` no test trials. Without metadata routing a
    pipeline's `predict` gets no names; with ``new="batch"`` decode one person at a time then.

    Sessions are aligned like people: pass one name a session as `subjects`.

    References
    ----------
    .. [1] Zanini et al., "Transfer learning: a Riemannian geometry framework with applications to brain-computer
       interfaces", IEEE Transactions on Biomedical Engineering 65, 2018, https://doi.org/10.1109/TBME.2017.2742541

    Examples
    --------
    >>> import numpy as np
    >>> from neurosig.preprocessing.alignment import Recentering
    >>> from neurosig.preprocessing.riemann import mean_riemann
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((20, 3, 100)) * np.repeat([1.0, 5.0], 10)[:, None, None]
    >>> people = np.repeat(["ann", "bob"], 10)
    >>> aligned = Recentering(estimator="cov").fit_transform(X, subjects=people)
    >>> mean = mean_riemann([np.cov(trial) for trial in aligned[people == "bob"]])
    >>> bool(np.allclose(mean, np.eye(3)))
    True

    Scores for people who were left out, every one aligned by their own trials:

    >>> from sklearn import config_context
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import LeaveOneGroupOut, cross_val_score
    >>> from sklearn.pipeline import make_pipeline
    >>> from neurosig.preprocessing.tangent import FastTangentSpace
    >>> y = np.arange(20) % 2
    >>> X[y == 1, 0] *= 2
    >>> decoder = make_pipeline(Recentering(new="batch"), FastTangentSpace(), LogisticRegression())
    >>> with config_context(enable_metadata_routing=True):
    ...     told = {"subjects": people, "groups": people}  # for Recentering, and for the folds
    ...     scores = cross_val_score(decoder, X, y, cv=LeaveOneGroupOut(), params=told)
    >>> len(scores)
    2
    """

    # scikit-learn's way to ask for metadata by default: a YAML pipeline has no room for set_fit_request
    __metadata_request__fit: ClassVar = {"subjects": True, "X_target_unlabeled": True}
    __metadata_request__transform: ClassVar = {"subjects": True}

    def __init__(self, new: str = "target", estimator: str = "oas", tol: float = 1e-8):
        self.new = new
        self.estimator = estimator
        self.tol = tol

    def fit(self, X: Any, y: Any = None, *, subjects: Any = None, X_target_unlabeled: Any = None) -> Self:
        """Learn the mean of each person.

        Parameters
        ----------
        X : array of shape (n_trials, n_channels, n_times) or (n_trials, n_channels, n_channels), or mne.Epochs
            Training trials, or their covariances.
        y : None
            Ignored.
        subjects : array-like of shape (n_trials,), optional
            Whose trial each is. None takes all as one person's.
        X_target_unlabeled : array of shape (n_target_trials, n_channels, n_times) or covariances, optional
            Trials of the person to decode, without labels.

        Returns
        -------
        Recentering
            Itself.

        Raises
        ------
        InputError
            If a covariance is not positive definite.
        UsageError
            If an option is not what it must be, or there is not one name a trial.
        """
        self._fit(X, subjects, X_target_unlabeled)
        return self

    def fit_transform(self, X: Any, y: Any = None, *, subjects: Any = None, X_target_unlabeled: Any = None) -> Any:
        """Fit, then move each training trial by its own person's mean.

        Parameters
        ----------
        X : array of shape (n_trials, n_channels, n_times) or (n_trials, n_channels, n_channels), or mne.Epochs
            Training trials, or their covariances.
        y : None
            Ignored.
        subjects : array-like of shape (n_trials,), optional
            Whose trial each is. None takes all as one person's.
        X_target_unlabeled : array of shape (n_target_trials, n_channels, n_times) or covariances, optional
            Trials of the person to decode, without labels.

        Returns
        -------
        array of the shape of X
            Aligned trials or covariances.
        """
        X, number = self._fit(X, subjects, X_target_unlabeled)
        moved = np.empty_like(X)
        for i, center in enumerate(self.centers_):
            moved[number == i] = _move(X[number == i], center)
        return moved

    def transform(self, X: Any, subjects: Any = None) -> Any:
        """Move trials by the mean of their person.

        Parameters
        ----------
        X : array of shape (n_trials, n_channels, n_times) or (n_trials, n_channels, n_channels), or mne.Epochs
            Trials, or their covariances.
        subjects : array-like of shape (n_trials,), optional
            Whose trial each is: people from training are moved by their own learned mean, others as `new` says. None
            takes all as one person who was not in training.

        Returns
        -------
        array of the shape of X
            Aligned trials or covariances; float32 stays float32.

        Warns
        -----
        UnalignedWarning
            If `new` is "target", `fit` was told names of people but given no target trials, and some of these trials
            are of nobody known.
        """
        check_is_fitted(self)
        X = check_signals(X, estimator=self, reset=False, ensure_3d=False)
        names = np.full(len(X), "") if subjects is None else _check_names(subjects, len(X))
        moved = np.empty_like(X)
        unknown = subjects is None or not set(names.tolist()) <= set(self.groups_)
        if self.new == "target" and self._lacks_target and unknown:
            warnings.warn(_unaligned(names, subjects is not None, self.groups_), UnalignedWarning, stacklevel=2)
        for name in np.unique(names):
            its = names == name
            if subjects is not None and name in self.groups_:
                center = self.centers_[self.groups_.index(name)]
            elif self.new == "batch":
                center = mean_riemann(self._covariances(X[its]), tol=self.tol)
            else:
                center = self.new_center_
            moved[its] = _move(X[its], center)
        return moved

    def _fit(self, X: Any, subjects: Any, target: Any) -> tuple[np.ndarray, np.ndarray]:
        if self.new not in _NEW:
            raise UsageError(f"new must be one of {', '.join(map(repr, _NEW))}, got {self.new!r}")
        if self.estimator not in ESTIMATORS:
            raise UsageError(f"estimator must be one of {', '.join(map(repr, ESTIMATORS))}, got {self.estimator!r}")
        X = check_signals(X, estimator=self, ensure_3d=False)
        covs = self._covariances(X)
        names = np.full(len(X), "0") if subjects is None else _check_names(subjects, len(X))
        groups, number = np.unique(names, return_inverse=True)
        self.groups_ = groups.tolist()
        self.centers_ = np.stack([mean_riemann(covs[number == i], tol=self.tol) for i in range(len(groups))])
        given = target is not None and len(target) > 0
        self._lacks_target = subjects is not None and not given
        if self.new == "target" and given:
            target = check_signals(target)
            if target.shape[1] != X.shape[1]:
                raise ChannelError(
                    f"expected X_target_unlabeled of {X.shape[1]} channels, as X has, got {target.shape[1]}; make "
                    "Recentering the first step, or build the pipeline with transform_input=['X_target_unlabeled']"
                )
            self.new_center_ = mean_riemann(self._covariances(target), tol=self.tol)
        elif len(groups) == 1:
            self.new_center_ = self.centers_[0]
        else:
            self.new_center_ = mean_riemann(covs, tol=self.tol)
        return X, number

    def _covariances(self, X: np.ndarray) -> np.ndarray:
        return as_covariances(X if X.ndim == 3 else X[..., np.newaxis], self.estimator)


def _unaligned(names: np.ndarray, named: bool, groups: list[str]) -> str:
    if named:
        who = f"trials of {listed(sorted(set(names.tolist()) - set(groups)))}, who were not in training,"
    else:
        who = "trials of nobody named"
    return (
        f"{who} are moved by the mean of all training trials, which aligns no one; give fit their unlabelled trials "
        "(X_target_unlabeled=; in MOABB and neurosig a cs_mode with unlabelled target trials), name people from "
        "training (subjects=, through pipelines by metadata routing), or choose new='batch', or new='train' if this is "
        "what you want"
    )


def _move(X: np.ndarray, center: np.ndarray) -> np.ndarray:
    whitening = inverse_square_root(center).astype(X.dtype)
    if X.ndim == 2:
        return X @ whitening
    if not are_covariances(X):
        return whitening @ X
    moved = whitening @ X @ whitening
    return (moved + moved.swapaxes(1, 2)) / 2


def _check_names(subjects: Any, n_trials: int) -> np.ndarray:
    names = np.asarray(subjects)
    if names.shape != (n_trials,):
        raise UsageError(f"expected subjects to hold one name a trial ({n_trials}), got shape {names.shape}")
    return names.astype(str)
