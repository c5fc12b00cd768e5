"""Why a fitted network decided so: attributions to every channel and sample of a trial.

`explain` computes them; figures are drawn by `neurosig.reports.explanation`.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from neurosig.core.errors import InputError, NeurosigError, UsageError
from neurosig.core.signals import SignalSpec
from neurosig.models.attribution import integrated_gradients, occlude, occlusion_regions, selected_outputs
from neurosig.models.explanation import Explanation
from neurosig.models.trial_network import checked_trials, trial_network
from neurosig.training.device import seeded

__all__ = ["Explanation", "explain"]


def explain(
    estimator: Any,
    X: Any,
    y: Any = None,
    *,
    method: str = "integrated_gradients",
    target: Any = None,
    output: str = "logit",
    baseline: Any = 0.0,
    n_steps: int = 50,
    quadrature: str = "gauss_legendre",
    by: str = "channel",
    window: float | None = None,
    window_step: float | None = None,
    batch_size: int = 64,
    options: Mapping[str, Any] | None = None,
) -> Explanation:
    """Attribute the outputs of a fitted network to the channels and samples of trials.

    Parameters
    ----------
    estimator : NetClassifier or NetRegressor
        Fitted. If it cuts windows, the mean output over the windows of a trial is explained, whatever its vote.
    X : array of shape (n_trials, n_channels, n_times), or mne.BaseEpochs
        Trials, in the unit it was fitted on.
    y : array of shape (n_trials,), optional
        True labels; they are kept, and are what is explained where `target` is not given.
    method : str
        "integrated_gradients", "occlusion", or "captum:" and the name of a method of captum that needs nothing but the
        network ("captum:DeepLift", "captum:Saliency"; captum comes with the extra ``explain``).
    target : label, array of labels of shape (n_trials,), or None
        The class that is explained. None explains the true class where `y` is given, else the predicted one. A
        regression has one output, and no target to choose.
    output : {"logit", "probability"}
        What of that class: the score before the softmax, or its probability.
    baseline : float, array that broadcasts to X, or "mean"
        The signal that carries no information, in the unit of X: silence (0), or the mean over the given trials.
    n_steps, quadrature : int, {"gauss_legendre", "midpoint"}
        Of integrated gradients, see `neurosig.models.attribution.integrated_gradients`.
    by, window, window_step : {"channel", "time", "channel_time"}, float, float
        What occlusion covers at a time: a channel, a window of all channels, or a window of a channel; seconds.
    batch_size : int
        Trials in the network at a time; bounds the memory.
    options : dict, optional
        Further arguments of captum's ``attribute``.

    Returns
    -------
    Explanation
        With ``sum(attributions) = outputs - baseline_outputs`` for integrated gradients; `Explanation.residuals` says
        how exactly.

    Raises
    ------
    UsageError
        If an option is unknown, a target is no class, or captum is not installed.
    InputError
        If the trials do not fit the estimator, or the baseline does not fit the trials.

    See Also
    --------
    neurosig.reports.explanation.plot_explanation : The figure: maps of the head and time courses of each class.

    Notes
    -----
    Attributions say what this network used, which need not be what the brain did: a network that decodes eye movements
    is explained by frontal channels. They hold for the input as it is given, filtered and referenced.

    Examples
    --------
    >>> from neurosig import NetClassifier, simulate_eeg
    >>> data = simulate_eeg("imagery", 1, 1, 1, n_trials=8, ch_names=["C3", "Cz", "C4", "Pz"], random_state=0)
    >>> network = NetClassifier("LinearNet", max_epochs=1, device="cpu", info=data.info, random_state=0)
    >>> reasons = explain(network.fit(data.X, data.y), data.X, data.y)
    >>> reasons.channel_contributions.shape
    (8, 4)
    >>> from neurosig.reports.explanation import plot_explanation
    >>> figure = plot_explanation(reasons)  # and figure.savefig("reasons.png")
    """
    signals = checked_trials(estimator, X)
    network: nn.Module = trial_network(estimator)
    classes = getattr(estimator, "classes_", None)
    if output not in ("logit", "probability"):
        raise UsageError(f"output must be 'logit' or 'probability', got {output!r}")
    if output == "probability":
        if classes is None:
            raise UsageError("a regression has no probabilities; leave output='logit'")
        network = nn.Sequential(network, nn.Softmax(dim=-1))
    labels = None if y is None else np.asarray(y)
    if labels is not None and labels.shape != (len(signals),):
        raise InputError(f"expected one label for each of {len(signals)} trials, got y of shape {labels.shape}")
    predicted = np.asarray(estimator.predict(X))
    wanted = _targets(target, labels, predicted, classes, len(signals))

    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    x = torch.as_tensor(signals, dtype=torch.float32, device=device)
    base = torch.as_tensor(_baseline(baseline, signals), dtype=torch.float32, device=device)
    index = torch.as_tensor(_index(wanted, classes), device=device)
    info = _info(estimator, X)

    parameters: dict[str, Any] = {"output": output, "baseline": _plain(baseline), "regression": classes is None}
    if method == "integrated_gradients":
        parameters |= {"n_steps": n_steps, "quadrature": quadrature}
        attributions = integrated_gradients(
            network, x, index, base, n_steps=n_steps, quadrature=quadrature, batch_size=batch_size
        )
    elif method == "occlusion":
        parameters |= {"by": by, "window": window, "window_step": window_step}
        sfreq = getattr(estimator, "sfreq_", None) if info is None else info.sfreq
        samples = [_samples(name, value, sfreq) for name, value in (("window", window), ("window_step", window_step))]
        regions = occlusion_regions(*x.shape[1:], by=by, window=samples[0], step=samples[1])
        attributions = occlude(network, x, index, base, regions, batch_size=batch_size)
    elif method.startswith("captum:"):
        parameters |= {
            key: value if isinstance(value, str | int | float) else "…" for key, value in (options or {}).items()
        }
        attributions = _by_captum(method, network, x, index, base, n_steps, batch_size, dict(options or {}), estimator)
    else:
        raise UsageError(
            "method must be 'integrated_gradients', 'occlusion' or 'captum:' with the name of a method "
            f"({_captum_names()}), got {method!r}"
        )
    outputs = selected_outputs(network, x, index, batch_size=batch_size)
    at_baseline = selected_outputs(network, base.expand_as(x), index, batch_size=batch_size)
    return Explanation(
        attributions=attributions.detach().cpu().numpy(),
        method=method,
        targets=wanted,
        predicted=predicted,
        outputs=outputs.cpu().numpy(),
        baseline_outputs=at_baseline.cpu().numpy(),
        labels=labels,
        info=info,
        parameters=parameters,
    )


def _targets(target: Any, labels: np.ndarray | None, predicted: np.ndarray, classes: Any, n: int) -> np.ndarray:
    """The label to be explained of each trial."""
    if classes is None:
        given = np.asarray(0 if target is None else target)
        if given.dtype.kind not in "iu" or given.any():
            raise UsageError(f"a regression has one output, and no target to choose: leave target out, got {target!r}")
        return np.zeros(n, dtype=np.int64)
    if target is None:
        chosen = predicted if labels is None else labels
    else:
        chosen = np.asarray(target)
        if chosen.shape not in ((), (n,)):
            raise UsageError(f"expected one target, or one for each of {n} trials, got shape {chosen.shape}")
        chosen = np.broadcast_to(chosen, (n,))
    known = set(np.asarray(classes).tolist())
    if strangers := sorted({str(label) for label in chosen.tolist() if label not in known}):
        raise UsageError(
            f"the network does not know the class {', '.join(strangers)}; it knows {', '.join(map(str, classes))}"
        )
    return chosen.copy()


def _index(targets: np.ndarray, classes: Any) -> np.ndarray:
    if classes is None:
        return targets.astype(np.int64)
    place = {label: i for i, label in enumerate(np.asarray(classes).tolist())}
    return np.array([place[label] for label in targets.tolist()], dtype=np.int64)


def _baseline(baseline: Any, signals: np.ndarray) -> np.ndarray:
    if isinstance(baseline, str):
        if baseline != "mean":
            raise UsageError(f"baseline must be a number, an array or 'mean', got {baseline!r}")
        return signals.mean(axis=0, keepdims=True)
    values = np.asarray(baseline, dtype=np.float64)
    try:
        np.broadcast_to(values, signals.shape)
    except ValueError as error:
        raise InputError(f"a baseline of shape {values.shape} does not broadcast to trials {signals.shape}") from error
    if not np.isfinite(values).all():
        raise InputError("expected a finite baseline, got NaN or inf")
    return values.reshape((1,) * (3 - values.ndim) + values.shape)


def _plain(value: Any) -> Any:
    """An option as JSON can hold it."""
    if isinstance(value, str | bool | None):
        return value
    return np.asarray(value).item() if np.ndim(value) == 0 and np.isscalar(value) else "array"


def _samples(name: str, seconds: float | None, sfreq: float | None) -> int | None:
    if seconds is None:
        return None
    if sfreq is None:
        raise UsageError(f"{name} is in seconds and the sampling rate is not known; fit the estimator with sfreq=...")
    return max(1, round(seconds * sfreq))


def _info(estimator: Any, X: Any) -> SignalSpec | None:
    """What is known about the signals: from Epochs, which may have more to say, or from the fit."""
    spec = getattr(estimator, "spec_", None)
    if hasattr(X, "get_data") and hasattr(X, "info"):
        return SignalSpec.from_mne(X.info, tmin=float(X.tmin), n_times=len(X.times))
    return spec


def _by_captum(
    method: str,
    network: nn.Module,
    X: torch.Tensor,
    target: torch.Tensor,
    baseline: torch.Tensor,
    n_steps: int,
    batch_size: int,
    options: dict[str, Any],
    estimator: Any,
) -> torch.Tensor:
    algorithm = _captum_method(method.removeprefix("captum:"))(network)
    accepted = inspect.signature(algorithm.attribute).parameters
    if unknown := sorted(set(options) - set(accepted)):
        raise UsageError(f"{method} takes no {', '.join(map(repr, unknown))}; it takes {', '.join(accepted)}")
    if "n_steps" in accepted:
        options = {"n_steps": n_steps, **options}
    parts = []
    random_state = getattr(estimator, "random_state", None)
    # cuDNN has no backward pass for recurrent layers in evaluation mode
    with (
        seeded(random_state, X.device) as seed,
        _numpy_left_alone(seed),
        torch.backends.cudnn.flags(enabled=False),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", "Setting forward, backward hooks", UserWarning)  # and they are removed again
        for rows in torch.arange(len(X), device=X.device).split(batch_size):
            x = X[rows].clone().requires_grad_(True)
            if "baselines" in accepted:
                options["baselines"] = baseline.expand_as(X)[rows].contiguous()
            try:
                found = algorithm.attribute(x, target=target[rows], **options)
            except NeurosigError:
                raise
            except (AssertionError, TypeError, ValueError, RuntimeError) as error:
                reason = " ".join(str(error).split())[:300]
                raise UsageError(f"{method} cannot explain this network: {reason}") from error
            parts.append(found.detach())
    return torch.cat(parts)


def _captum_method(name: str) -> Any:
    try:
        suitable = _captum_methods()
    except ImportError as error:
        raise UsageError(
            f"captum:{name} needs captum, which is not installed; pip install 'neurosig[explain]'"
        ) from error
    if name not in suitable:
        raise UsageError(f"captum has no method {name!r} that needs a network only; it has {', '.join(suitable)}")
    return suitable[name]


def _captum_names() -> str:
    try:
        return ", ".join(_captum_methods())
    except ImportError:
        return "captum is not installed; pip install 'neurosig[explain]'"


def _captum_methods() -> dict[str, Any]:
    """The methods of captum that need nothing but the network, by name."""
    from captum import attr

    suitable = {}
    for known, kind in vars(attr).items():
        if not (isinstance(kind, type) and issubclass(kind, attr.Attribution)):
            continue
        if known.endswith("Attribution"):  # what methods are derived from
            continue
        needed = [p for p in list(inspect.signature(kind).parameters.values()) if p.default is p.empty]
        if len(needed) == 1 and needed[0].name in ("model", "forward_func"):
            suitable[known] = kind
    return suitable


@contextmanager
def _numpy_left_alone(seed: int) -> Iterator[None]:
    """Seed the global generator of numpy, from which captum draws, and put it back as it was."""
    kept = np.random.get_state()  # noqa: NPY002
    try:
        np.random.seed(seed)  # noqa: NPY002
        yield
    finally:
        np.random.set_state(kept)  # noqa: NPY002
