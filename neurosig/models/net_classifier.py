"""`NetClassifier`: any network as a scikit-learn classifier of trials."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_y, check_is_fitted, column_or_1d

from neurosig.core.all_or_nothing import all_or_nothing
from neurosig.core.errors import InputError, UsageError
from neurosig.core.inherited_docs import inherits_documentation
from neurosig.core.registry import register
from neurosig.models.class_weights import class_weights
from neurosig.models.net_base import NetEstimator, Task

__all__ = ["NetClassifier"]


@register(kind="model")
@inherits_documentation
class NetClassifier(ClassifierMixin, NetEstimator):
    """Train a network to tell classes of trials apart.

    Parameters
    ----------
    stopping : {"loss", "comparison", None}
        What is best: the lowest validation loss; or the rule by which the comparison of the EEGNet family trained its
        networks (`neurosig.training.stopping.ComparisonRule`). None keeps the last epoch's weights.
    class_weight : {None, "balanced"} or dict
        Weights of the classes in the loss; "balanced" from their numbers among the trials trained on.
    vote : {"mean", "majority"}
        How the windows of a trial vote: mean of the probabilities; or one vote each, where the mean of the
        probabilities counts as one vote more, which settles ties.

    Attributes
    ----------
    classes_ : array of shape (n_classes,)
        The labels.

    See Also
    --------
    NetRegressor : The same for numbers.
    neurosig.models.list_networks : Which networks there are.

    Notes
    -----
    The training is skorch's loop; batches are slices of the signals. Memory maps and Zarr arrays are read in blocks,
    never whole (`neurosig.training.batches`). For scikit-learn's cross-validations and searches, wrap them in
    `neurosig.core.StoredTrials`: a Zarr array refuses the way in which scikit-learn picks the trials of a fold, and of
    a memory map each fold would be copied to memory.

    With `pretrained`, the last layer is kept where the labels are those that the pretrained network tells apart. It is
    new where their number differs, and, with a warning, where they are as many but others.

    Probabilities are float32, as networks compute.

    Batch norms predict with running statistics, which begin at mean 0 and variance 1 and move by their momentum at each
    step. A training of few steps (few trials, large batches) leaves them unsettled, and the network near chance even on
    the trials it was trained on: 100 steps at 0.01, which is EEGNet's as published, keep a third of where they began.
    The log says so where an eighth or more is left. Give more steps, smaller batches, or
    ``module_params={"batch_norm_momentum": 0.1}``.

    Examples
    --------
    >>> import numpy as np
    >>> from neurosig.models import NetClassifier
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat(["left", "right"], 40)
    >>> X = rng.standard_normal((80, 3, 64)) * 1e-5
    >>> X[y == "right", 0] += 1e-5
    >>> network = NetClassifier("LinearNet", max_epochs=20, lr=0.01, random_state=0).fit(X, y)
    >>> network.predict(X[[0, -1]])
    array(['left', 'right'], dtype='<U5')
    """

    def __init__(
        self,
        module: Any = "EEGNet",
        module_params: dict[str, Any] | None = None,
        *,
        max_epochs: int = 100,
        batch_size: int = 64,
        lr: float = 1e-3,
        optimizer: str = "AdamW",
        weight_decay: float = 0.0,
        schedule: str | None = None,
        warmup: float = 0.0,
        final_lr: float = 0.0,
        betas: Sequence[float] | None = None,
        validation: float | None = 0.2,
        patience: int | None = 15,
        stopping: str | None = "loss",
        class_weight: Any = None,
        clip_norm: float | None = None,
        precision: str = "float32",
        ema: float | None = None,
        max_norm: bool = True,
        scale: Any = "std",
        window: float | None = None,
        window_step: float | None = None,
        vote: str = "mean",
        augmentation: Any = None,
        warm_start: bool = False,
        pretrained: Any = None,
        trainable: str = "all",
        checkpoint: Any = None,
        buffer_bytes: int = 64 << 20,
        compile: bool = False,
        sfreq: float | None = None,
        ch_names: Any = None,
        info: Any = None,
        device: str = "auto",
        random_state: Any = None,
        verbose: Any = None,
    ):
        super().__init__(
            module, module_params, max_epochs=max_epochs, batch_size=batch_size, lr=lr, optimizer=optimizer,
            weight_decay=weight_decay, schedule=schedule, warmup=warmup, final_lr=final_lr, betas=betas,
            validation=validation, patience=patience, stopping=stopping, clip_norm=clip_norm, precision=precision,
            ema=ema, max_norm=max_norm, scale=scale, window=window, window_step=window_step, augmentation=augmentation,
            warm_start=warm_start, pretrained=pretrained, trainable=trainable, checkpoint=checkpoint,
            buffer_bytes=buffer_bytes, compile=compile, sfreq=sfreq, ch_names=ch_names, info=info, device=device,
            random_state=random_state, verbose=verbose,
        )  # fmt: skip
        self.class_weight = class_weight
        self.vote = vote

    def check_options(self) -> None:
        """Check what can be checked without signals; see `NetEstimator.check_options`."""
        super().check_options()
        if self.vote not in ("mean", "majority"):
            raise UsageError(f"vote must be 'mean' or 'majority', got {self.vote!r}")
        if isinstance(self.class_weight, str) and self.class_weight != "balanced":
            raise UsageError(f"class_weight must be None, 'balanced' or a dict, got {self.class_weight!r}")

    @all_or_nothing
    def fit(self, X: Any, y: Any, *, groups: Any = None, sample_weight: Any = None) -> Self:
        """Train the network.

        Parameters
        ----------
        X : array of shape (n_trials, n_channels, n_times), or mne.Epochs
            Trials; memory maps and Zarr arrays stay on disk.
        y : array of shape (n_trials,)
            Labels, numbers or text.
        groups : array of shape (n_trials,), optional
            What each trial belongs to (a recording, a person): trials of one group never both train and validate.
        sample_weight : array of shape (n_trials,), optional
            Weights of the trials in the loss and in the scale; those of weight zero are left out.

        Returns
        -------
        NetClassifier
            Itself.

        Raises
        ------
        InputError
            If the data cannot be trained on: not finite, one class only, windows too short.
        UsageError
            If a parameter is wrong, or something must be known that is not (sampling rate, channels).
        StorageError
            If the checkpoint is of another training.
        """
        if self.vote not in ("mean", "majority"):
            raise UsageError(f"vote must be 'mean' or 'majority', got {self.vote!r}")
        X, weight, groups = self._signals(X, y, sample_weight, groups)
        y = _check_y(column_or_1d(y, warn=True), y_numeric=False, estimator=self)
        check_classification_targets(y)
        classes, codes = np.unique(y, return_inverse=True)
        there = classes if weight is None else np.unique(y[weight > 0])
        if len(there) < 2:
            raise InputError(
                f"{type(self).__name__} needs trials of at least 2 classes, got one class only ({there[0]!s}); look "
                "at the labels, and at how the folds were drawn"
            )
        task = Task(codes.astype(np.int64), len(classes), None, classes)

        def class_weight(train: np.ndarray, weights: np.ndarray | None) -> torch.Tensor | None:
            return class_weights(self.class_weight, classes, codes[train], None if weights is None else weights[train])

        self._train(X, task, groups, weight, class_weight)
        self.classes_ = classes
        return self

    def _window_probabilities(self, outputs: np.ndarray) -> np.ndarray:
        return torch.from_numpy(outputs).softmax(dim=-1).numpy()

    def predict_proba(self, X: Any) -> np.ndarray:
        """Give the probabilities of the classes.

        Parameters
        ----------
        X : array of shape (n_trials, n_channels, n_times), or mne.Epochs
            Trials.

        Returns
        -------
        array of shape (n_trials, n_classes), float32
            In the order of `classes_`.
        """
        windows = self._window_probabilities(self._outputs(X))
        if windows.shape[1] == 1:
            return windows[:, 0]
        mean = windows.mean(axis=1)
        if self.vote == "mean":
            return mean
        votes = (windows.argmax(axis=2)[:, :, np.newaxis] == np.arange(windows.shape[2])).sum(axis=1)
        return ((votes + mean) / (windows.shape[1] + 1)).astype(np.float32)

    def decision_function(self, X: Any) -> np.ndarray:
        """Give the logits of the classes; where trials are cut to windows, logarithms of the probabilities.

        Parameters
        ----------
        X : array of shape (n_trials, n_channels, n_times), or mne.Epochs
            Trials.

        Returns
        -------
        array of shape (n_trials, n_classes), or (n_trials,) with two classes
            With two classes the difference of the second to the first.
        """
        check_is_fitted(self)
        if self.window_ is None:
            scores = self._outputs(X)[:, 0]
        else:
            scores = np.log(np.maximum(self.predict_proba(X), np.finfo(np.float32).tiny))
        return scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else scores

    def predict(self, X: Any) -> np.ndarray:
        """Give the most probable class of each trial.

        Parameters
        ----------
        X : array of shape (n_trials, n_channels, n_times), or mne.Epochs
            Trials.

        Returns
        -------
        array of shape (n_trials,)
            Labels.
        """
        probabilities = self.predict_proba(X)  # first, for scikit-learn's word where nothing is fitted
        return self.classes_[probabilities.argmax(axis=1)]
