"""Any network as an ordinary scikit-learn estimator: `NetClassifier` and `NetRegressor`."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_y, column_or_1d
from torch import nn

from neurosig.core.errors import InputError, UsageError
from neurosig.core.registry import register
from neurosig.models.net_base import NetEstimator, Task

__all__ = ["NetClassifier", "NetRegressor"]


@register(kind="model")
class NetClassifier(ClassifierMixin, NetEstimator):
    """Train a network to tell classes of trials apart.

    Parameters
    ----------
    module : str or type
        The network: a class of `torch.nn.Module` with braindecode's signature (``n_chans, n_outputs, n_times, sfreq,
        chs_info, input_window_seconds``, or any of these), or the name of one, ours first, then braindecode's.
    module_params : dict, optional
        The network's own options.
    max_epochs : int
        Passes over the training trials at most.
    batch_size : int
        Windows in a batch, in training and prediction.
    lr : float
        Learning rate; with "one_cycle" its peak.
    optimizer : str
        Name of an optimizer of `torch.optim`.
    weight_decay : float
        Handed to the optimizer.
    schedule : {None, "cosine", "one_cycle", "plateau"}
        Course of the learning rate: constant; half a cosine to zero over `max_epochs`; up and down once, batch by
        batch; a tenth after 5 epochs without a lower validation loss.
    validation : float or None
        Share of the trials on which the training is judged, drawn by class, and by `groups` where they are given; None
        trains on all trials, for `max_epochs`.
    patience : int or None
        Epochs without improvement after which the training stops; None trains for `max_epochs`. The weights of the
        best epoch are kept in both cases.
    stopping : {"loss", "comparison", None}
        What is best: the lowest validation loss; or the rule by which the comparison of the EEGNet family trained its
        networks (`neurosig.training.stopping.ComparisonRule`). None keeps the last epoch's weights.
    class_weight : {None, "balanced"} or dict
        Weights of the classes in the loss; "balanced" from their numbers among the trials trained on.
    clip_norm : float or None
        Largest norm of the gradient.
    precision : {"float32", "bfloat16", "float16"}
        Type in which products are computed; weights and losses stay float32.
    ema : float or None
        Decay of an exponential moving average of the weights, which then validates and predicts (0.999, say).
    max_norm : bool
        Whether the network's own constraint (its ``project_()``) is applied after each step.
    scale : "std", float or None
        What signals are divided by: the standard deviation of the trials trained on, one number, so that volts and
        microvolts give the same network; a number; nothing. With `pretrained`, "std" keeps the
        pretrained network's own number, which its weights go with.
    window, window_step : float or None
        Seconds: trials are cut to windows of this length, so far apart (by default side by side). All windows of a
        trial train or all validate, and in prediction they vote.
    vote : {"mean", "majority"}
        How the windows of a trial vote: mean of the probabilities; or one vote each, where the mean of the
        probabilities counts as one vote more, which settles ties.
    augmentation : list of str or dict, optional
        braindecode's augmentations of training batches (`neurosig.training.augmentation`).
    warm_start : bool
        Whether another ``fit`` goes on from the weights of the one before.
    pretrained : estimator or path-like, optional
        A fitted NetClassifier (wrapped in `sklearn.frozen.FrozenEstimator` where scikit-learn clones this estimator),
        or the folder of one saved with `save_pretrained` (or its "owner/name" on the Hugging Face Hub, see
        `from_pretrained`), whose weights are where the training starts. Channels,
        unit, sampling rate and window must agree; its scale is kept. The last layer is new where the number of classes
        differs.
    trainable : {"all", "head"}
        Whether all layers of a pretrained network are trained, or the last one only (batch norm then keeps its
        statistics).
    checkpoint : path-like, optional
        Folder that holds the state after each epoch: a killed training, called again with the same parameters and data,
        goes on there and ends in the same bits. Each training has a folder of its own inside, named by its parameters
        and data: the folds of a cross-validation and the candidates of a search share one. Remove it when all is done.
    compile : bool
        Whether the network runs through `torch.compile`.
    sfreq : float, optional
        Sampling rate in Hz; read from Epochs where these are given.
    ch_names : list of str, optional
        Channel names, likewise.
    info : SignalSpec or mne.Info, optional
        All that is known about the signals, likewise.
    device : str
        "auto", "cpu", "cuda", "cuda:1", "mps"; "accelerate" (the extra ``distributed``) shares the work among the
        processes of ``accelerate launch``.
    random_state : int, RandomState or None
        Seeds all that is drawn; the same number gives the same bits. The global random states are left alone.
    verbose : bool, str or None
        As in mne: at "INFO" a progress bar is shown on terminals and in notebooks. None follows neurosig's log level.

    Attributes
    ----------
    classes_ : array of shape (n_classes,)
        The labels.
    module_ : nn.Module
        The trained network, in evaluation mode.
    history_ : list of dict
        A row an epoch: epoch, train_loss, valid_loss, valid_accuracy, lr, seconds.
    best_epoch_ : int
        The epoch whose weights are kept, from 1.
    stopped_ : str
        Why the training ended.
    scale_ : float
        What signals are divided by.
    n_features_in_, n_times_ : int
        Channels and samples of a trial.
    window_, window_step_ : int or None
        In samples.
    sfreq_ : float or None
        Sampling rate in Hz, where it is known.
    spec_ : SignalSpec or None
        What is known about the signals.
    n_parameters_ : int
        Weights of the network.
    seconds_ : float
        Duration of the training.
    seed_ : int
        The seed that was drawn from `random_state`.

    See Also
    --------
    NetRegressor : The same for numbers.

    Notes
    -----
    The training is skorch's loop; batches are slices of the signals. Memory maps and Zarr arrays are read in blocks,
    never whole (`neurosig.training.batches`).

    Probabilities are float32, as networks compute.

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
        compile: bool = False,
        sfreq: float | None = None,
        ch_names: Any = None,
        info: Any = None,
        device: str = "auto",
        random_state: Any = None,
        verbose: Any = None,
    ):
        self.module = module
        self.module_params = module_params
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.optimizer = optimizer
        self.weight_decay = weight_decay
        self.schedule = schedule
        self.validation = validation
        self.patience = patience
        self.stopping = stopping
        self.class_weight = class_weight
        self.clip_norm = clip_norm
        self.precision = precision
        self.ema = ema
        self.max_norm = max_norm
        self.scale = scale
        self.window = window
        self.window_step = window_step
        self.vote = vote
        self.augmentation = augmentation
        self.warm_start = warm_start
        self.pretrained = pretrained
        self.trainable = trainable
        self.checkpoint = checkpoint
        self.compile = compile
        self.sfreq = sfreq
        self.ch_names = ch_names
        self.info = info
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

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
        task = Task(codes.astype(np.int64), len(classes), None)

        def class_weight(train: np.ndarray, weights: np.ndarray | None) -> torch.Tensor | None:
            return self._class_weight(classes, codes[train], None if weights is None else weights[train])

        self._train(X, task, groups, weight, class_weight)
        self.classes_ = classes
        return self

    def _class_weight(self, classes: np.ndarray, codes: np.ndarray, weights: np.ndarray | None) -> torch.Tensor | None:
        """Weights of the classes among the trials trained on."""
        if self.class_weight is None:
            return None
        if isinstance(self.class_weight, str):
            if self.class_weight != "balanced":
                raise UsageError(f"class_weight must be None, 'balanced' or a dict, got {self.class_weight!r}")
            counts = np.bincount(codes, weights=weights, minlength=len(classes))
            found = counts.sum() / (len(classes) * np.where(counts == 0, np.inf, counts))
            return torch.as_tensor(found, dtype=torch.float32)
        if isinstance(self.class_weight, dict) and (unknown := set(self.class_weight) - set(classes.tolist())):
            raise UsageError(f"class_weight names {unknown}, which is no label; the labels are {classes.tolist()}")
        try:
            given = [float(self.class_weight.get(label, 1.0)) for label in classes.tolist()]
        except (AttributeError, TypeError, ValueError) as error:
            raise UsageError(
                f"class_weight must be None, 'balanced' or a dict of numbers, got {self.class_weight!r}"
            ) from error
        if not (np.isfinite(given).all() and min(given) >= 0 and max(given) > 0):
            raise UsageError(f"class_weight must not be below 0, and some above 0, got {self.class_weight!r}")
        return torch.tensor(given)

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
        if self.window is None:
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


@register(kind="model")
class NetRegressor(RegressorMixin, NetEstimator):
    """Train a network to predict a number for each trial.

    Parameters
    ----------
    module : str or type
        The network, as for `NetClassifier`; it is built with one output.
    module_params : dict, optional
        The network's own options.
    max_epochs, batch_size : int
        Passes over the training trials at most, and windows in a batch.
    lr : float
        Learning rate; with "one_cycle" its peak.
    optimizer : str
        Name of an optimizer of `torch.optim`.
    weight_decay : float
        Handed to the optimizer.
    schedule : {None, "cosine", "one_cycle", "plateau"}
        Course of the learning rate.
    validation : float or None
        Share of the trials on which the training is judged; None trains on all trials, for `max_epochs`.
    patience : int or None
        Epochs without improvement after which the training stops; None trains for `max_epochs`.
    stopping : {"loss", None}
        The weights of the lowest validation loss are kept, or the last ones.
    clip_norm : float or None
        Largest norm of the gradient.
    precision : {"float32", "bfloat16", "float16"}
        Type in which products are computed.
    ema : float or None
        Decay of an exponential moving average of the weights.
    max_norm : bool
        Whether the network's own constraint (its ``project_()``) is applied after each step.
    scale : "std", float or None
        What signals are divided by.
    window, window_step : float or None
        Seconds: trials are cut to windows, and the predictions of a trial's windows are averaged.
    augmentation : list of str or dict, optional
        braindecode's augmentations of training batches.
    warm_start : bool
        Whether another ``fit`` goes on from the weights of the one before.
    pretrained : estimator or path-like, optional
        A fitted NetRegressor, or the folder of one, where the training starts.
    trainable : {"all", "head"}
        Whether all layers of a pretrained network are trained, or the last one only.
    checkpoint : path-like, optional
        Folder that holds the state after each epoch.
    compile : bool
        Whether the network runs through `torch.compile`.
    sfreq : float, optional
        Sampling rate in Hz.
    ch_names : list of str, optional
        Channel names.
    info : SignalSpec or mne.Info, optional
        All that is known about the signals.
    device : str
        "auto", "cpu", "cuda", "cuda:1", "mps" or "accelerate".
    random_state : int, RandomState or None
        Seeds all that is drawn.
    verbose : bool, str or None
        As in mne.

    Attributes
    ----------
    target_mean_, target_sd_ : float
        Mean and standard deviation of the targets trained on; the network learns their standardised values.
    module_ : nn.Module
        The trained network, in evaluation mode.
    history_ : list of dict
        A row an epoch: epoch, train_loss, valid_loss (mean squared errors, standardised), lr, seconds.
    best_epoch_ : int
        The epoch whose weights are kept, from 1.
    stopped_ : str
        Why the training ended.
    scale_ : float
        What signals are divided by.
    n_features_in_, n_times_ : int
        Channels and samples of a trial.
    window_, window_step_ : int or None
        In samples.
    sfreq_ : float or None
        Sampling rate in Hz, where it is known.
    spec_ : SignalSpec or None
        What is known about the signals.
    n_parameters_ : int
        Weights of the network.
    seconds_ : float
        Duration of the training.
    seed_ : int
        The seed that was drawn from `random_state`.

    See Also
    --------
    NetClassifier : The same for classes; what the parameters mean is said there at length.

    Notes
    -----
    The loss is the mean squared error of the standardised target. Predictions are float32, as networks compute.

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
        compile: bool = False,
        sfreq: float | None = None,
        ch_names: Any = None,
        info: Any = None,
        device: str = "auto",
        random_state: Any = None,
        verbose: Any = None,
    ):
        self.module = module
        self.module_params = module_params
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.optimizer = optimizer
        self.weight_decay = weight_decay
        self.schedule = schedule
        self.validation = validation
        self.patience = patience
        self.stopping = stopping
        self.clip_norm = clip_norm
        self.precision = precision
        self.ema = ema
        self.max_norm = max_norm
        self.scale = scale
        self.window = window
        self.window_step = window_step
        self.augmentation = augmentation
        self.warm_start = warm_start
        self.pretrained = pretrained
        self.trainable = trainable
        self.checkpoint = checkpoint
        self.compile = compile
        self.sfreq = sfreq
        self.ch_names = ch_names
        self.info = info
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

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
        return self._train(X, Task(y, 1, _squared_error), groups, weight)

    def _prepare_target(self, y: np.ndarray, train: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
        share = None if weight is None else weight[train]
        self.target_mean_ = float(np.average(y[train], weights=share))
        spread = float(np.sqrt(np.average((y[train] - self.target_mean_) ** 2, weights=share)))
        self.target_sd_ = spread if spread > 0 else 1.0
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


def _squared_error(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return nn.functional.mse_loss(output, target, reduction="none").squeeze(1)
