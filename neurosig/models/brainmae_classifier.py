"""`BrainMAEClassifier` and `BrainMAERegressor`: BrainMAE fine-tuned on labels of runs, or trained from scratch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_y, column_or_1d

from neurosig.core.all_or_nothing import all_or_nothing
from neurosig.core.errors import InputError
from neurosig.core.inherited_docs import inherits_documentation
from neurosig.core.pretrained import PretrainedFormat
from neurosig.core.registry import register
from neurosig.models.brainmae_predictor import BrainMAEPredictor
from neurosig.models.class_weights import class_weights
from neurosig.models.net_base import Task, squared_error
from neurosig.training.batches import BUFFER_BYTES

__all__ = ["BrainMAEClassifier", "BrainMAERegressor"]


@register(kind="model")
@inherits_documentation
class BrainMAEClassifier(ClassifierMixin, BrainMAEPredictor):
    """Tell classes of runs apart by BrainMAE, pretrained or from scratch.

    Parameters
    ----------
    class_weight : {None, "balanced"} or dict
        Weights of the classes in the loss; "balanced" from their numbers among the runs trained on.

    Attributes
    ----------
    classes_ : array of shape (n_classes,)
        The labels.

    See Also
    --------
    BrainMAEEmbedder : Pretrains the network.
    BrainMAERegressor : The same for numbers.

    Notes
    -----
    Source: Yang et al. [1]_; see `BrainMAEEmbedder`. A run is read in consecutive windows of `n_segments` segments,
    whose logits are averaged; in training one window of each run is read at a time, from anywhere.

    References
    ----------
    .. [1] Yang, Mao, Liu, Liu, "BrainMAE: A region-aware self-supervised learning framework for brain signals", 2024,
       https://arxiv.org/abs/2406.17086

    Examples
    --------
    >>> import numpy as np
    >>> from neurosig.models import BrainMAEClassifier
    >>> rng, y = np.random.default_rng(0), np.arange(12) % 2
    >>> runs = [np.cumsum(rng.standard_normal((6, 60 + n)), axis=1) for n in range(12)]
    >>> tiny = {"emb_size": 16, "n_heads": 2, "depth": 1, "max_epochs": 2, "validation": None}
    >>> network = BrainMAEClassifier(**tiny, t_r=2.0, random_state=0).fit(runs, y)
    >>> network.predict_proba(runs).shape
    (12, 2)
    """

    __metadata_request__predict: ClassVar = {"t_r": True}
    __metadata_request__predict_proba: ClassVar = {"t_r": True}
    __metadata_request__decision_function: ClassVar = {"t_r": True}
    _format: ClassVar[PretrainedFormat] = PretrainedFormat("neurosig-brainmae-classifier", 1, "BrainMAE classifier")

    classes_: np.ndarray

    def __init__(
        self, pretrained: Any = None, mode: str = "full", *, variant: str = "sg", segment: float = 15.0,
        n_segments: int = 20, emb_size: int = 256, n_heads: int = 8, depth: int = 3, temporal_depth: int = 2,
        mlp_ratio: float = 4.0, drop_prob: float = 0.1, region_embedding: str = "learned", self_loops: bool = False,
        init_std: float | None = None, standardize: str | None = "run", resample_to: float | None = None,
        on_tr_mismatch: str = "resample",
        on_missing: str = "raise", on_unknown: str = "raise", region_dropout: float = 0.0, class_weight: Any = None,
        max_epochs: int = 100, batch_size: int = 32, lr: float = 1e-4, weight_decay: float = 0.05,
        betas: Sequence[float] = (0.9, 0.999), warmup: float | None = None, final_lr: float = 0.0,
        clip_norm: float | None = 1.0, validation: float | None = 0.2, patience: int | None = 15,
        precision: str = "float32", checkpoint: Any = None, buffer_bytes: int = BUFFER_BYTES, compile: bool = False,
        t_r: float | None = None, sfreq: float | None = None, ch_names: Any = None, info: Any = None,
        device: str = "auto", random_state: Any = None, verbose: Any = None,
    ):  # fmt: skip
        super().__init__(
            pretrained, mode, variant=variant, segment=segment, n_segments=n_segments, emb_size=emb_size,
            n_heads=n_heads, depth=depth, temporal_depth=temporal_depth, mlp_ratio=mlp_ratio, drop_prob=drop_prob,
            region_embedding=region_embedding, self_loops=self_loops, init_std=init_std,
            standardize=standardize,
            resample_to=resample_to, on_tr_mismatch=on_tr_mismatch, on_missing=on_missing, on_unknown=on_unknown,
            region_dropout=region_dropout, max_epochs=max_epochs, batch_size=batch_size, lr=lr,
            weight_decay=weight_decay, betas=betas, warmup=warmup, final_lr=final_lr, clip_norm=clip_norm,
            validation=validation, patience=patience, precision=precision, checkpoint=checkpoint,
            buffer_bytes=buffer_bytes, compile=compile, t_r=t_r, sfreq=sfreq, ch_names=ch_names, info=info,
            device=device, random_state=random_state, verbose=verbose,
        )  # fmt: skip
        self.class_weight = class_weight

    @all_or_nothing
    def fit(self, X: Any, y: Any = None, *, groups: Any = None, t_r: Any = None) -> Self:
        """Train the network.

        Parameters
        ----------
        X : array of shape (n_runs, n_regions, n_times), sequence of (n_regions, n_times), or SignalDataset
            Runs, of one length or of several. Several datasets may be given as a list.
        y : array of shape (n_runs,), optional
            Labels, numbers or text; those of the dataset, if not given.
        groups : array of shape (n_runs,), optional
            What each run belongs to: runs of one group never both train and validate. Of a `SignalDataset` it is the
            subject, if not given.
        t_r : float or array of shape (n_runs,), optional
            Repetition time of arrays, where runs differ; else the parameter of that name.

        Returns
        -------
        BrainMAEClassifier
            Itself.

        Raises
        ------
        InputError
            If the runs cannot be trained on: not finite, one class only, shorter than a segment, without a label.
        ChannelError
            If regions are missing, or unknown, that must not be.
        UsageError
            If a parameter is wrong, or the repetition time is not known.
        StorageError
            If the checkpoint is of another training, or the folder holds no embedder.

        Warns
        -----
        UserWarning
            Once, of regions that are constant in some run.
        """
        given, y, groups = self._given(X, y, groups)
        source = self._begin()
        runs = self._padded_runs(given, y, groups, t_r, source)
        y = _check_y(column_or_1d(y, warn=True), y_numeric=False, estimator=self)
        check_classification_targets(y)
        classes, codes = np.unique(y, return_inverse=True)
        if len(classes) < 2:
            raise InputError(
                f"{type(self).__name__} needs runs of at least 2 classes, got one class only ({classes[0]!s}); look at "
                "the labels, and at how the folds were drawn (a site may have one class)"
            )
        task = Task(codes.astype(np.int64), len(classes), None, classes)
        self._train(
            runs, task, groups, source, given, lambda rows: class_weights(self.class_weight, classes, codes[rows])
        )
        self.classes_ = classes
        return self

    def predict_proba(self, X: Any, t_r: Any = None) -> np.ndarray:
        """Give the probabilities of the classes.

        Parameters
        ----------
        X : array of shape (n_runs, n_regions, n_times), sequence of (n_regions, n_times), or SignalDataset
            Runs.
        t_r : float or array of shape (n_runs,), optional
            Repetition time of arrays, where it is not that of the fit.

        Returns
        -------
        float32 array of shape (n_runs, n_classes)
            In the order of `classes_`.
        """
        return torch.from_numpy(self._outputs(X, t_r)).softmax(dim=-1).numpy()

    def decision_function(self, X: Any, t_r: Any = None) -> np.ndarray:
        """Give the logits of the classes.

        Parameters
        ----------
        X : array of shape (n_runs, n_regions, n_times), sequence of (n_regions, n_times), or SignalDataset
            Runs.
        t_r : float or array of shape (n_runs,), optional
            Repetition time of arrays, where it is not that of the fit.

        Returns
        -------
        float32 array of shape (n_runs, n_classes), or (n_runs,) with two classes
            With two classes the difference of the second to the first.
        """
        scores = self._outputs(X, t_r)
        return scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else scores

    def predict(self, X: Any, t_r: Any = None) -> np.ndarray:
        """Give the most probable class of each run.

        Parameters
        ----------
        X : array of shape (n_runs, n_regions, n_times), sequence of (n_regions, n_times), or SignalDataset
            Runs.
        t_r : float or array of shape (n_runs,), optional
            Repetition time of arrays, where it is not that of the fit.

        Returns
        -------
        array of shape (n_runs,)
            Labels.
        """
        logits = self._outputs(X, t_r)  # first, for scikit-learn's word where nothing is fitted
        return self.classes_[logits.argmax(axis=1)]

    def _stored_facts(self) -> dict[str, Any]:
        labels = {"values": self.classes_.tolist(), "dtype": self.classes_.dtype.str}
        return super()._stored_facts() | {"classes": labels}

    def _restore_task(self, config: Mapping[str, Any]) -> None:
        self.classes_ = np.array(config["classes"]["values"], dtype=np.dtype(config["classes"]["dtype"]))

    def _about(self) -> str:
        return f"Tells {', '.join(map(str, self.classes_.tolist()))} apart, a run at a time."


@register(kind="model")
@inherits_documentation
class BrainMAERegressor(RegressorMixin, BrainMAEPredictor):
    """Predict a number for each run by BrainMAE, pretrained or from scratch.

    Parameters
    ----------
    validation : float or None
        Share of the runs on which the training is judged after each epoch, whole `groups` (subjects) where these are
        known. The weights of the lowest squared error are kept. None trains on all runs for `max_epochs`.

    Attributes
    ----------
    target_mean_, target_sd_ : float
        What targets are standardised by, from the runs trained on: the network learns
        ``(y - target_mean_) / target_sd_``.

    See Also
    --------
    BrainMAEEmbedder : Pretrains the network.
    BrainMAEClassifier : The same for classes.

    Notes
    -----
    Source: Yang et al. [1]_; see `BrainMAEEmbedder`. The loss is the mean squared error of the standardised target.

    References
    ----------
    .. [1] Yang, Mao, Liu, Liu, "BrainMAE: A region-aware self-supervised learning framework for brain signals", 2024,
       https://arxiv.org/abs/2406.17086

    Examples
    --------
    >>> import numpy as np
    >>> from neurosig.models import BrainMAERegressor
    >>> rng, age = np.random.default_rng(0), np.linspace(20, 60, 12)
    >>> runs = [np.cumsum(rng.standard_normal((6, 60 + n)), axis=1) for n in range(12)]
    >>> tiny = {"emb_size": 16, "n_heads": 2, "depth": 1, "max_epochs": 2, "validation": None}
    >>> network = BrainMAERegressor(**tiny, t_r=2.0, random_state=0).fit(runs, age)
    >>> network.predict(runs).shape
    (12,)
    """

    __metadata_request__predict: ClassVar = {"t_r": True}
    _format: ClassVar[PretrainedFormat] = PretrainedFormat("neurosig-brainmae-regressor", 1, "BrainMAE regressor")

    target_mean_: float
    target_sd_: float

    @all_or_nothing
    def fit(self, X: Any, y: Any = None, *, groups: Any = None, t_r: Any = None) -> Self:
        """Train the network.

        Parameters
        ----------
        X : array of shape (n_runs, n_regions, n_times), sequence of (n_regions, n_times), or SignalDataset
            Runs, of one length or of several. Several datasets may be given as a list.
        y : array of shape (n_runs,), optional
            Targets; those of the dataset, if not given.
        groups : array of shape (n_runs,), optional
            What each run belongs to: runs of one group never both train and validate. Of a `SignalDataset` it is the
            subject, if not given.
        t_r : float or array of shape (n_runs,), optional
            Repetition time of arrays, where runs differ; else the parameter of that name.

        Returns
        -------
        BrainMAERegressor
            Itself.

        Raises
        ------
        InputError
            If the runs cannot be trained on: not finite, shorter than a segment, without a target.
        ChannelError
            If regions are missing, or unknown, that must not be.
        UsageError
            If a parameter is wrong, or the repetition time is not known.
        StorageError
            If the checkpoint is of another training, or the folder holds no embedder.

        Warns
        -----
        UserWarning
            Once, of regions that are constant in some run.
        """
        given, y, groups = self._given(X, y, groups)
        source = self._begin()
        runs = self._padded_runs(given, y, groups, t_r, source)
        y = _check_y(column_or_1d(y, warn=True), y_numeric=True, estimator=self).astype(np.float64)
        return self._train(runs, Task(y, 1, squared_error), groups, source, given)

    def _prepare_target(self, y: np.ndarray, train: np.ndarray) -> np.ndarray:
        spread = float(np.std(y[train]))
        self.target_mean_, self.target_sd_ = float(np.mean(y[train])), spread if spread > 0 else 1.0
        return ((y - self.target_mean_) / self.target_sd_).astype(np.float32)[:, np.newaxis]

    def predict(self, X: Any, t_r: Any = None) -> np.ndarray:
        """Give the predicted number of each run.

        Parameters
        ----------
        X : array of shape (n_runs, n_regions, n_times), sequence of (n_regions, n_times), or SignalDataset
            Runs.
        t_r : float or array of shape (n_runs,), optional
            Repetition time of arrays, where it is not that of the fit.

        Returns
        -------
        float32 array of shape (n_runs,)
            Predictions, in the unit of the targets.
        """
        standard = self._outputs(X, t_r)[:, 0].astype(np.float64)
        return (standard * self.target_sd_ + self.target_mean_).astype(np.float32)

    def _stored_facts(self) -> dict[str, Any]:
        return super()._stored_facts() | {"target": [self.target_mean_, self.target_sd_]}

    def _restore_task(self, config: Mapping[str, Any]) -> None:
        self.target_mean_, self.target_sd_ = map(float, config["target"])

    def _about(self) -> str:
        return (
            f"Predicts a number (mean {self.target_mean_:.4g}, sd {self.target_sd_:.4g} in training), a run at a time."
        )
