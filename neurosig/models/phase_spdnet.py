"""Phase-SPDNet: a network on the covariances of delay-embedded trials."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted
from torch import nn

from neurosig.core.channel_names import listed, match_channels
from neurosig.core.errors import ChannelError, InputError, UsageError
from neurosig.core.registry import register
from neurosig.models.net import NetClassifier
from neurosig.models.net_data import check_trials, known_spec
from neurosig.nn.spd import BiMap, LogEig
from neurosig.preprocessing.embedding import select_embedding
from neurosig.preprocessing.lagged_products import stacked_length
from neurosig.training.batches import is_stream, read_stream

__all__ = ["PhaseSPDNet", "PhaseSPDNetClassifier"]

STANDARDISATIONS = ("channel", "reference", None)
_TRAINING = (
    "max_epochs", "batch_size", "lr", "optimizer", "validation", "patience", "sfreq", "ch_names", "info", "device",
    "random_state", "verbose",
)  # fmt: skip


class PhaseSPDNet(nn.Module):
    """Phase-SPDNet: delay embedding, covariance, and a network of three layers on the manifold of covariances.

    Trials are standardised, stacked with `order - 1` delayed copies of themselves, and turned into covariances, of
    which the network keeps what a learned orthonormal frame sees (`BiMap`), raises small eigenvalues, takes the
    logarithm (`LogEig`), and classifies linearly.

    Parameters
    ----------
    n_chans, n_outputs, n_times : int
        Channels, classes, and samples of a trial.
    sfreq : float, optional
        Sampling rate in Hz; with `input_window_seconds` it gives `n_times`.
    chs_info : list of dict, optional
        Channels as in ``mne.Info["chs"]``, whose ``"ch_name"`` is read for `picks`, and whose number is `n_chans`.
    input_window_seconds : float, optional
        Length of a trial.
    order, lag : int
        Number of copies, and samples from one to the next, as in `AugmentedCovariances`. The paper searches 1 to 10
        for both; order 1 is the plain SPDNet.
    n_filters : int or float
        Columns of the frame; a float is a share of the size of the covariance, rounded down. A half is published.
    picks : sequence of str or of int, optional
        Channels used, by name or position: the paper's are ``("C3", "Cz", "C4")``. None uses all.
    standardise : {"channel", "reference", None}
        "channel" gives each channel of a trial mean 0 and variance 1 before it is stacked. "reference" does what the
        published code does, see Notes. None leaves the trials as they are.
    floor : float
        Smallest eigenvalue of the filtered covariance; smaller ones are raised to it. With standardised trials it is a
        fraction of the variance of a channel.

    Raises
    ------
    UsageError
        If an option is not what it must be, or `picks` names channels and `chs_info` is not given.
    ChannelError
        If a picked channel is not there.
    InputError
        If trials are too short for `order` and `lag`.

    See Also
    --------
    PhaseSPDNetClassifier : The same with its training.
    AugmentedCovariances : The covariances, without the network.

    Notes
    -----
    The covariance is that of MOABB's ``AugmentedDataset`` and pyriemann's "cov": the same numbers as
    ``AugmentedCovariances(order, lag, "cov")`` of the standardised trials. All is computed in float64.
    Average-referenced, interpolated or constant channels, and more stacked channels than
    samples, make covariances singular: their zero eigenvalues become `floor`, so that the logarithm stays finite.

    Three things differ from the published code [2]_, each on purpose. It standardises every *sample* over the stacked
    channels, as ``StandardScaler`` on a transposed trial does, which takes the common signal away and makes every
    covariance singular: ``standardise="reference"``. It builds a Riemannian batch normalisation that its forward pass
    never calls: there is none here. It moves the frame with geoopt's Riemannian Adam; here the frame is a function of
    free parameters that any optimizer of torch may move, see `BiMap`.

    One sample per trial has no covariance. Its values are taken as logarithms of variances, so that a table of
    features, which scikit-learn hands over like this, is classified linearly.

    References
    ----------
    .. [1] Carrara et al., "Geometric neural network based on phase space for BCI-EEG decoding", 2024,
       https://arxiv.org/abs/2403.05645
    .. [2] https://github.com/carraraig/Phase-SPDNet

    Examples
    --------
    >>> import torch
    >>> from neurosig.models import PhaseSPDNet
    >>> PhaseSPDNet(n_chans=3, n_outputs=2, n_times=480, order=5, lag=4)(torch.randn(8, 3, 480)).shape
    torch.Size([8, 2])
    """

    chosen: torch.Tensor

    def __init__(
        self,
        n_chans: int | None = None,
        n_outputs: int | None = None,
        n_times: int | None = None,
        sfreq: float | None = None,
        chs_info: list[dict[str, Any]] | None = None,
        input_window_seconds: float | None = None,
        *,
        order: int = 4,
        lag: int = 5,
        n_filters: int | float = 0.5,
        picks: Sequence[str] | Sequence[int] | None = None,
        standardise: str | None = "channel",
        floor: float = 1e-4,
    ):
        super().__init__()
        if n_chans is None and chs_info is not None:
            n_chans = len(chs_info)
        if n_times is None and sfreq is not None and input_window_seconds is not None:
            n_times = round(sfreq * input_window_seconds)
        if n_chans is None or n_outputs is None or n_times is None:
            raise UsageError("PhaseSPDNet needs n_chans (or chs_info), n_outputs and n_times")
        if standardise not in STANDARDISATIONS:
            raise UsageError(
                f"standardise must be one of {', '.join(map(repr, STANDARDISATIONS))}, got {standardise!r}"
            )
        check_length(n_times, order, lag)
        self.n_chans, self.n_outputs, self.n_times = n_chans, n_outputs, n_times
        self.order, self.lag, self.standardise = int(order), int(lag), standardise
        names = None if chs_info is None else [str(channel["ch_name"]) for channel in chs_info]
        chosen = find_picks(picks, n_chans, names)
        self.register_buffer("chosen", torch.tensor(chosen), persistent=False)
        size = self.order * len(chosen)
        count = max(1, int(n_filters * size)) if isinstance(n_filters, float) and 0 < n_filters <= 1 else n_filters
        if isinstance(count, bool | float) or not hasattr(count, "__index__") or not 1 <= count <= size:
            raise UsageError(
                f"n_filters must be a share or lie between 1 and {size} (order {order} x {len(chosen)} channels), got "
                f"{n_filters!r}"
            )
        self.bimap = BiMap(size, count)
        self.log_eig = LogEig(floor)
        self.classifier = nn.Linear(count * (count + 1) // 2, n_outputs, dtype=torch.float64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Classify trials.

        Parameters
        ----------
        x : tensor of shape (batch, n_chans, n_times)
            Signals, in any unit when they are standardised.

        Returns
        -------
        tensor of shape (batch, n_outputs)
            Logits, float64.
        """
        features = self.log_eig(self.bimap(self.covariances(x)))
        weight, bias = self.classifier.weight.double(), self.classifier.bias.double()
        return nn.functional.linear(features, weight, bias)

    def covariances(self, x: torch.Tensor) -> torch.Tensor:
        """Augmented covariances of the standardised trials.

        Parameters
        ----------
        x : tensor of shape (batch, n_chans, n_times)
            Signals.

        Returns
        -------
        tensor of shape (batch, order * n_picks, order * n_picks)
            Covariances, float64.
        """
        if x.dim() != 3 or x.shape[1] != self.n_chans:
            raise InputError(f"expected signals of shape (batch, {self.n_chans}, n_times), got {tuple(x.shape)}")
        if x.device.type == "mps":
            raise UsageError("PhaseSPDNet computes in float64, which device 'mps' lacks; use device='cpu'")
        x = x[:, self.chosen].double()
        if x.shape[-1] == 1 and self.order == 1:
            return torch.diag_embed(x[..., 0].clamp(-50, 50).exp())
        length = check_length(x.shape[-1], self.order, self.lag)
        if self.standardise == "channel":
            x = _standard(x, dim=-1)
        x = torch.cat([x[..., p * self.lag : p * self.lag + length] for p in range(self.order)], dim=-2)
        if self.standardise == "reference":
            x = _standard(x, dim=-2)
        x = x - x.mean(dim=-1, keepdim=True)
        return x @ x.mT / (length - 1)

    def head_parameters(self) -> Iterator[nn.Parameter]:
        """Parameters of the last layer."""
        return self.classifier.parameters()

    @staticmethod
    def minimum_n_times(order: int = 4, lag: int = 5, **options: Any) -> int:
        """Fewest samples of a trial that `order` and `lag` allow."""
        return 1 if order == 1 else order * lag + 2

    def to_reference(self) -> dict[str, np.ndarray]:
        """Weights under the names and in the shapes of the published code."""
        weights = {
            "bimap.W": self.bimap.weight[None],
            "classifier.0.weight": self.classifier.weight,
            "classifier.0.bias": self.classifier.bias,
        }
        return {name: value.detach().cpu().numpy().copy() for name, value in weights.items()}

    @classmethod
    def from_reference(cls, weights: Mapping[str, Any], **config: Any) -> Self:
        """Network with the weights of the published code.

        Parameters
        ----------
        weights : mapping of str to array or tensor
            "bimap.W" of shape (1, order * n_chans, n_filters), "classifier.0.weight" and "classifier.0.bias"; others,
            such as those of the batch normalisation that is never called, are left.
        **config : object
            As the class takes it, n_times among them; `n_outputs` and `n_filters` are read from the weights.

        Returns
        -------
        PhaseSPDNet
            With ``standardise="reference"`` unless `config` says otherwise.

        Raises
        ------
        InputError
            If weights are missing, of other shapes, or the frame is not orthonormal.
        """
        names = ("bimap.W", "classifier.0.weight", "classifier.0.bias")
        if missing := [name for name in names if name not in weights]:
            raise InputError(
                f"expected the weights {listed(names)}, without {listed(missing)} they are of another network"
            )
        frame, weight, bias = (torch.as_tensor(np.asarray(weights[name])).double() for name in names)
        config = {"standardise": "reference", "n_outputs": len(bias), "n_filters": frame.shape[-1], **config}
        module = cls(**config)
        if frame.shape != (1, module.bimap.n_in, module.bimap.n_out) or weight.shape != module.classifier.weight.shape:
            raise InputError(
                f"expected bimap.W of shape {(1, module.bimap.n_in, module.bimap.n_out)} and classifier.0.weight of "
                f"{tuple(module.classifier.weight.shape)}, got {tuple(frame.shape)} and {tuple(weight.shape)}; check "
                "order, n_chans and picks"
            )
        module.bimap.set_frame(frame[0])
        with torch.no_grad():
            module.classifier.weight.copy_(weight)
            module.classifier.bias.copy_(bias)
        return module


@register(kind="model")
class PhaseSPDNetClassifier(ClassifierMixin, BaseEstimator):
    """Phase-SPDNet with its training: order and lag read off the training trials, then a network on covariances.

    Parameters
    ----------
    order, lag : int
        Number of copies, and samples from one to the next; where `select` is None.
    select : {"mdop", "ami_cao", "autocorrelation", "ar_order"} or None
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
        Further parameters of `NetClassifier`, such as ``{"class_weight": "balanced"}``.
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


def check_length(n_times: int, order: int, lag: int) -> int:
    """Samples of a stacked trial; InputError where there are fewer than two, of which no covariance can be had."""
    length = stacked_length(n_times, order, lag)
    if length == 1 and n_times > 1:
        raise InputError(
            f"order {order} x lag {lag} leaves 1 sample of {n_times} to stack, and a covariance needs 2; use a smaller "
            "order or lag, or longer trials"
        )
    return length


def find_picks(picks: Any, n_chans: int, names: Sequence[str] | None) -> list[int]:
    """Positions of the picked channels.

    Parameters
    ----------
    picks : sequence of str or of int, or None
        Names or positions; None is all.
    n_chans : int
        Channels of the data.
    names : sequence of str, optional
        Their names.

    Returns
    -------
    list of int
        Positions, in the order of `picks`.

    Raises
    ------
    UsageError
        If `picks` is empty or mixed, or names channels and `names` is not given.
    ChannelError
        If a channel is not there.
    """
    if picks is None:
        return list(range(n_chans))
    picks = [picks] if isinstance(picks, str) else list(picks)
    if picks and all(isinstance(pick, str) for pick in picks):
        if names is None:
            raise UsageError(f"picks={picks} need the names of the channels: pass ch_names=, info=, or fit mne.Epochs")
        match = match_channels(names, picks)
        if match.missing:
            raise ChannelError(f"expected the picked channels {listed(match.missing)}, the data have {listed(names)}")
        return [int(i) for i in match.index if i is not None]
    if not picks or not all(hasattr(pick, "__index__") and not isinstance(pick, bool) for pick in picks):
        raise UsageError(f"picks must be names or positions of channels, got {picks!r}")
    if len(set(picks)) < len(picks) or min(picks) < 0 or max(picks) >= n_chans:
        raise ChannelError(f"expected different positions from 0 to {n_chans - 1} in picks, got {picks!r}")
    return [int(pick) for pick in picks]


def _standard(x: torch.Tensor, dim: int) -> torch.Tensor:
    """Mean 0 and variance 1 along an axis; what is constant becomes 0."""
    mean = x.mean(dim=dim, keepdim=True)
    centred = x - mean
    variance = centred.square().mean(dim=dim, keepdim=True)
    varies = variance > 1e-24 * mean.square() + torch.finfo(x.dtype).tiny
    return torch.where(varies, centred, 0.0) / torch.where(varies, variance, 1.0).sqrt()
