"""`PhaseSPDNetClassifier`: Phase-SPDNet with its training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from neurosig.core.all_or_nothing import all_or_nothing
from neurosig.core.channel_names import listed
from neurosig.core.errors import InputError, UsageError
from neurosig.core.nested_options import NestedOptions
from neurosig.core.registry import register
from neurosig.models.net_classifier import NetClassifier
from neurosig.models.phase_spdnet_layers import check_length, find_picks
from neurosig.models.phase_spdnet_module import PhaseSPDNet
from neurosig.preprocessing.embedding import select_embedding
from neurosig.training.batches import is_stream, read_stream
from neurosig.training.trial_data import check_trials, known_spec

__all__ = ["PhaseSPDNet", "PhaseSPDNetClassifier", "find_picks"]

_TRAINING = (
    "max_epochs", "batch_size", "lr", "optimizer", "validation", "patience", "sfreq", "ch_names", "info", "device",
    "random_state", "verbose",
)  # fmt: skip


@register(kind="model")
class PhaseSPDNetClassifier(NestedOptions, ClassifierMixin, BaseEstimator):
    """Phase-SPDNet with its training: order and lag read off the training trials, then a network on covariances.

    Parameters
    ----------
    order, lag : int
        Number of copies, and samples from one to the next; where `select` is None.
    select : {"mdop", "mdop_multivariate", "ami_cao", "autocorrelation", "ar_order"} or None
        Choose both from the training trials without their labels, by this method of `select_embedding`. None takes
        `order` and `lag` as given, as in a search over them.
    select_options : dict or None
        Further options of `select_embedding`, such as ``{"max_order": 4}``.
    picks : sequence of str or of int, optional
        Channels used, by name or position: the paper's are ``("C3", "Cz", "C4")``. None uses all.
    n_filters, standardise, floor : object
        As in `PhaseSPDNet`.
    max_epochs, batch_size, lr, optimizer, validation, patience : object
        As in `NetClassifier`; the defaults are the paper's, Riemannian Adam apart, see `BiMap`.
    options : dict or None
        Further parameters of `NetClassifier`, such as ``{"class_weight": "balanced"}``. Each can be set and searched by
        a name of its own (``options__class_weight``), as can `select_options`.
    sfreq, ch_names, info : object
        What is known of the signals, as in `NetClassifier`; names are needed for `picks` by name.
    device, random_state, verbose : object
        As in `NetClassifier`.

    Attributes
    ----------
    net_ : NetClassifier
        The fitted network, which is stored, exported and explained: ``net_.save_pretrained(folder)``.
    order_, lag_ : int
        Embedding used.
    picks_ : list of int
        Positions of the channels used.
    classes_ : array of shape (n_classes,)
        Classes.
    n_features_in_ : int
        Number of channels.

    See Also
    --------
    AugmentedCovarianceSearch : The covariances with a support vector machine.

    Notes
    -----
    The paper filters to 8-32 Hz first, and searches order and lag from 1 to 10 in inner folds; a
    ``GridSearchCV`` over `order` and `lag` with ``select=None`` does that. ``select="mdop"`` is its quick variant.
    The weights kept are those of the epoch with the lowest validation loss, where the published code keeps the last.

    Examples
    --------
    >>> import numpy as np
    >>> from neurosig.models import PhaseSPDNetClassifier
    >>> X, y = np.random.default_rng(0).standard_normal((20, 3, 200)), np.arange(20) % 2
    >>> net = PhaseSPDNetClassifier(max_epochs=2, random_state=0).fit(X, y)
    >>> net.predict_proba(X).shape
    (20, 2)
    """

    _channel_order_matters = True
    _nested: ClassVar[Mapping[str, str]] = {"options": "options", "select_options": "select_options"}

    def __init__(
        self,
        order: int = 4,
        lag: int = 5,
        *,
        select: str | None = "mdop",
        select_options: Mapping[str, Any] | None = None,
        picks: Sequence[str] | Sequence[int] | None = None,
        n_filters: int | float = 0.5,
        standardise: str | None = "channel",
        floor: float = 1e-4,
        max_epochs: int = 300,
        batch_size: int = 64,
        lr: float = 1e-2,
        optimizer: str = "Adam",
        validation: float | None = 0.1,
        patience: int | None = 75,
        options: Mapping[str, Any] | None = None,
        sfreq: float | None = None,
        ch_names: Sequence[str] | None = None,
        info: Any = None,
        device: str = "auto",
        random_state: Any = None,
        verbose: Any = None,
    ):
        self.order = order
        self.lag = lag
        self.select = select
        self.select_options = select_options
        self.picks = picks
        self.n_filters = n_filters
        self.standardise = standardise
        self.floor = floor
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.optimizer = optimizer
        self.validation = validation
        self.patience = patience
        self.options = options
        self.sfreq = sfreq
        self.ch_names = ch_names
        self.info = info
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    @all_or_nothing
    def fit(self, X: Any, y: Any, *, groups: Any = None, sample_weight: Any = None) -> Self:
        """Choose the embedding and train the network.

        Parameters
        ----------
        X : array of shape (n_trials, n_channels, n_times), or mne.Epochs
            Trials, in any unit.
        y : array of shape (n_trials,)
            Their classes.
        groups : array of shape (n_trials,), optional
            Trials of one group stay on one side of the validation split.
        sample_weight : array of shape (n_trials,), optional
            Weights of the trials in the loss.

        Returns
        -------
        PhaseSPDNetClassifier
            Itself.

        Raises
        ------
        UsageError
            If an option is not what it must be.
        ChannelError
            If a picked channel is not there.
        InputError
            If the trials are too short for `order` and `lag`, or X or y are not fit to learn from.
        """
        if y is None:
            raise InputError("PhaseSPDNetClassifier requires y to be passed, but the target y is None")
        trials = check_trials(self, X, reset=True)
        spec, _ = known_spec(X, self.info, self.ch_names, self.sfreq)
        self.picks_ = find_picks(self.picks, int(trials.shape[1]), None if spec is None else spec.ch_names)
        self.order_, self.lag_ = self.order, self.lag
        if self.select is not None:
            chosen = select_embedding(_some(trials)[:, self.picks_], self.select, **(self.select_options or {}))
            self.order_, self.lag_ = chosen.order, chosen.lag
        check_length(int(trials.shape[2]), self.order_, self.lag_)
        module_params = {"order": self.order_, "lag": self.lag_, "picks": self.picks_}
        module_params |= {name: getattr(self, name) for name in ("n_filters", "standardise", "floor")}
        training = {name: getattr(self, name) for name in _TRAINING}
        if unknown := sorted(set(self.options or {}) & {*training, "module", "module_params"}):
            raise UsageError(f"options set {listed(unknown)}, a parameter of its own or fixed; leave it out there")
        if unknown := sorted(set(self.options or {}) - set(NetClassifier().get_params())):
            raise UsageError(f"options must be parameters of NetClassifier, got {listed(unknown)}")
        self.net_ = NetClassifier("PhaseSPDNet", module_params, **training, **(self.options or {}))
        self.net_.fit(X, y, groups=groups, sample_weight=sample_weight)
        self.classes_ = self.net_.classes_
        return self

    def _fitted(self, X: Any) -> NetClassifier:
        check_is_fitted(self)
        check_trials(self, X, reset=False)
        return self.net_

    def predict(self, X: Any) -> np.ndarray:
        """Give the most probable class of each trial: array of shape (n_trials,)."""
        return self._fitted(X).predict(X)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Give the probabilities of the classes: array of shape (n_trials, n_classes)."""
        return self._fitted(X).predict_proba(X)

    def decision_function(self, X: Any) -> np.ndarray:
        """Give the logits, (n_trials, n_classes); with two classes their difference, (n_trials,)."""
        return self._fitted(X).decision_function(X)

    @staticmethod
    def _get_test_params() -> dict[str, Any]:
        return {
            "order": 1, "select": None, "n_filters": 1.0, "max_epochs": 60, "batch_size": 512, "lr": 0.05,
            "validation": None, "random_state": 0, "device": "cpu",
        }  # fmt: skip


def _some(trials: Any) -> np.ndarray:
    """Trials in memory; of those on disk 200, evenly spaced."""
    if not is_stream(trials):
        return trials
    rows = np.unique(np.linspace(0, int(trials.shape[0]) - 1, 200).astype(int))
    return read_stream(trials, rows).numpy()
