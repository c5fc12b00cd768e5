"""`NetRegressor`: any network as a scikit-learn regressor of trials."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils.validation import _check_y, column_or_1d

from neurosig.core.all_or_nothing import all_or_nothing
from neurosig.core.errors import UsageError
from neurosig.core.inherited_docs import inherits_documentation
from neurosig.core.registry import register
from neurosig.models.net_base import NetEstimator, Task, squared_error
from neurosig.models.net_pretrained import Start

__all__ = ["NetRegressor"]

_FAR = 10.0  # standard deviations, or times as wide: from there on targets are hardly of the same kind


@register(kind="model")
@inherits_documentation
class NetRegressor(RegressorMixin, NetEstimator):
    """Train a network to predict a number for each trial.

    Parameters
    ----------
    stopping : {"loss", None}
        What is best: the lowest validation loss. None keeps the last epoch's weights.

    Attributes
    ----------
    target_mean_, target_sd_ : float
        What targets are standardised by: the network learns ``(y - target_mean_) / target_sd_``.

    See Also
    --------
    NetClassifier : The same for classes.
    neurosig.models.list_networks : Which networks there are.

    Notes
    -----
    The network is built with one output; the prediction of a trial is the mean over its windows. The loss is the mean
    squared error of the standardised target. Predictions are float32, as networks compute.

    Targets are standardised by mean and standard deviation of those trained on. With `pretrained`, and in a warm start,
    the two numbers of the network before are kept, which its last layer goes with; where the new targets lie far from
    the old ones, a warning says so.

    Examples
    --------
    >>> import numpy as np
    >>> from neurosig.models import NetRegressor
    >>> X = np.random.default_rng(0).standard_normal((100, 2, 8))
    >>> y = 5 + X[:, 0, 0]
    >>> network = NetRegressor("LinearNet", validation=None, lr=0.02, random_state=0).fit(X, y)
    >>> bool(network.score(X, y) > 0.95)
    True
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
        clip_norm: float | None = None,
        precision: str = "float32",
        ema: float | None = None,
        max_norm: bool = True,
        scale: Any = "std",
        window: float | None = None,
        window_step: float | None = None,
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
    ):  # spelled out, so that Python's word on an unknown parameter names this class
        super().__init__(
            module, module_params, max_epochs=max_epochs, batch_size=batch_size, lr=lr, optimizer=optimizer,
            weight_decay=weight_decay, schedule=schedule, warmup=warmup, final_lr=final_lr, betas=betas,
            validation=validation, patience=patience, stopping=stopping, clip_norm=clip_norm, precision=precision,
            ema=ema, max_norm=max_norm, scale=scale, window=window, window_step=window_step, augmentation=augmentation,
            warm_start=warm_start, pretrained=pretrained, trainable=trainable, checkpoint=checkpoint,
            buffer_bytes=buffer_bytes, compile=compile, sfreq=sfreq, ch_names=ch_names, info=info, device=device,
            random_state=random_state, verbose=verbose,
        )  # fmt: skip

    @all_or_nothing
    def fit(self, X: Any, y: Any, *, groups: Any = None, sample_weight: Any = None) -> Self:
        """Train the network.

        Parameters
        ----------
        X : array of shape (n_trials, n_channels, n_times), or mne.Epochs
            Trials; memory maps and Zarr arrays stay on disk.
        y : array of shape (n_trials,)
            Targets.
        groups : array of shape (n_trials,), optional
            What each trial belongs to: trials of one group never both train and validate.
        sample_weight : array of shape (n_trials,), optional
            Weights of the trials; those of weight zero are left out.

        Returns
        -------
        NetRegressor
            Itself.

        Raises
        ------
        InputError
            If the data cannot be trained on.
        UsageError
            If a parameter is wrong, or something must be known that is not.
        StorageError
            If the checkpoint is of another training.
        """
        if self.stopping == "comparison":
            raise UsageError("stopping='comparison' goes by accuracy, which numbers do not have; give 'loss' or None")
        X, weight, groups = self._signals(X, y, sample_weight, groups)
        y = _check_y(column_or_1d(y, warn=True), y_numeric=True, estimator=self).astype(np.float64)
        return self._train(X, Task(y, 1, squared_error), groups, weight)

    def _prepare_target(
        self, y: np.ndarray, train: np.ndarray, weight: np.ndarray | None, start: Start | None
    ) -> np.ndarray:
        share = None if weight is None else weight[train]
        mean = float(np.average(y[train], weights=share))
        spread = float(np.sqrt(np.average((y[train] - mean) ** 2, weights=share)))
        self.target_mean_, self.target_sd_ = mean, spread if spread > 0 else 1.0
        if start is not None and start.target is not None:
            self.target_mean_, self.target_sd_ = start.target
            far = abs(mean - self.target_mean_) > _FAR * self.target_sd_ or spread > _FAR * self.target_sd_
            if far or 0 < spread < self.target_sd_ / _FAR:
                warnings.warn(
                    f"targets of mean {mean:.3g} and sd {spread:.3g} lie far from those of {start.name} "
                    f"({self.target_mean_:.3g}, {self.target_sd_:.3g}), which standardise them: convert them to its "
                    "unit, or leave pretrained out",
                    stacklevel=2,
                )
        return ((y - self.target_mean_) / self.target_sd_).astype(np.float32)[:, np.newaxis]

    def predict(self, X: Any) -> np.ndarray:
        """Give the predicted number of each trial, the mean over its windows.

        Parameters
        ----------
        X : array of shape (n_trials, n_channels, n_times), or mne.Epochs
            Trials.

        Returns
        -------
        array of shape (n_trials,), float32
            Predictions, in the unit of the targets.
        """
        standard = self._outputs(X)[:, :, 0].mean(axis=1).astype(np.float64)
        return (standard * self.target_sd_ + self.target_mean_).astype(np.float32)
