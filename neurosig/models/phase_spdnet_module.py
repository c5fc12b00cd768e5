"""Phase-SPDNet: a network on the covariances of delay-embedded trials."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import nn

from neurosig.core.channel_names import listed
from neurosig.core.errors import InputError, UsageError
from neurosig.models.phase_spdnet_layers import STANDARDISATIONS, check_length, delay_covariances, find_picks
from neurosig.nn.spd import BiMap, LogEig, upper_vector

__all__ = ["PhaseSPDNet"]


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
        Smallest eigenvalue of the filtered covariance; smaller ones are raised to it. It is a fraction of the variance
        of a channel: of standardised trials 1, and of others the mean over the channels of that trial.

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

    @property
    def unit_free(self) -> bool:
        """Whether signals may come in any unit: where every trial is standardised."""
        return self.standardise is not None

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
        return self.from_prepared(self.covariances(x))

    def prepare(self, x: torch.Tensor) -> torch.Tensor:
        """What of `forward` learns nothing: trainings that leave the signals as they are compute it once."""
        return self.covariances(x)

    def from_prepared(self, covariances: torch.Tensor) -> torch.Tensor:
        """Covariances to logits: the part that learns."""
        filtered = self.bimap(covariances)
        if self.standardise is None:  # the floor in the unit of the trial: log(c X) is log(X) + log(c) I
            variance = covariances.diagonal(dim1=-2, dim2=-1).mean(dim=-1, keepdim=True)
            variance = torch.where(variance > 0, variance, 1.0)
            identity = upper_vector(torch.eye(filtered.shape[-1], dtype=filtered.dtype, device=filtered.device))
            features = self.log_eig(filtered / variance[..., None]) + variance.log() * identity
        else:
            features = self.log_eig(filtered)
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
        return delay_covariances(x[:, self.chosen].double(), self.order, self.lag, self.standardise)

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
