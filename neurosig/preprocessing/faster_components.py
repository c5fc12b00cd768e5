"""FASTER's third stage: independent components that are artifacts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from neurosig.core.channel_names import listed
from neurosig.core.errors import InputError, UsageError
from neurosig.preprocessing.faster_ica import Decomposition
from neurosig.preprocessing.faster_metrics import series_scores
from neurosig.preprocessing.faster_outliers import Outliers, Rule, refuse_without_metrics
from neurosig.preprocessing.faster_signals import NO_RATE, Recorded, channels_of, spelled, stand_in, tell_skipped
from neurosig.preprocessing.faster_spectrum import bin_powers, line_noise_problem, power_kernels, welch_segment

if TYPE_CHECKING:
    import mne

    from neurosig.core.signals import SignalSpec

__all__ = ["bad_components", "find_bad_components"]


def find_bad_components(
    ica: Any,
    epochs: Any,
    *,
    variant: str = "mended",
    threshold: float | Mapping[str, float] = 3.0,
    metrics: Sequence[str] | None = None,
    max_iter: int | None = None,
    eog: str | int | Sequence[str | int] | None = None,
    eog_proxy: str | Sequence[str] = (),
    band: tuple[float, float] | None = None,
    info: SignalSpec | mne.Info | None = None,
    sfreq: float | None = None,
    ch_names: Sequence[str] | None = None,
    few: str = "warn",
) -> Outliers:
    """Stage 3 of FASTER: independent components that are outliers.

    Parameters
    ----------
    ica : mne.preprocessing.ICA or Decomposition
        Fitted on these epochs.
    epochs : mne.BaseEpochs or array of shape (n_epochs, n_channels, n_times)
        Signals, any unit, before any component is removed.
    variant : {"mended", "paper", "mne"}
        The authors' formulas with an absolute median gradient; the authors' program; mne-faster.
    threshold : float or dict of str to float
        Standard deviations from the mean beyond which a component is bad, for all or by metric or stage.
    metrics : sequence of str, optional
        Of "eog_correlation", "kurtosis" (of the map), "spectral_slope" (mne-faster's "power_gradient"), "hurst",
        "median_gradient" and "line_noise". By default all but the last, for "mne" all.
    max_iter : int, optional
        Rounds; components found in one do not count in the next. By default three for "mended", else one.
    eog : str, int or sequence of them, optional
        EOG channels, beside those that are so by type. Without any, and without a proxy, the metric is left out.
    eog_proxy : str or sequence of str
        Channels of the EEG that stand in where there is no EOG channel, such as "Fp1".
    band : (float, float), optional
        Band of the spectral slope in Hz. By default 5 Hz on both sides of the low-pass (of the Nyquist frequency where
        none is known) and not below 0 Hz, for "mne" from the high-pass to the low-pass. A band that holds fewer than
        two bins of the spectrum leaves the metric out.
    info : SignalSpec or mne.Info, optional
        Describes the channels of an array.
    sfreq : float, optional
        Sampling rate in Hz of an array.
    ch_names : sequence of str, optional
        Names of an array's channels.
    few : {"warn", "ignore"}
        What to do where there are too few components for the threshold ever to be passed.

    Returns
    -------
    Outliers
        Scores, z-scores and flags of each component; ``bads`` are their numbers.

    Raises
    ------
    UsageError
        If an option is unknown, or `band` does not rise.
    InputError
        If the signals are no epochs, or the ICA is not fitted.
    ChannelError
        If channels are missing.
    """
    rule = Rule.make("components", variant, threshold, metrics, max_iter, few)
    decomposition = ica if isinstance(ica, Decomposition) else Decomposition.from_mne(ica)
    signals = Recorded.read(epochs, info, sfreq, ch_names, eog)
    found = bad_components(decomposition, signals, rule, eog_proxy=eog_proxy, band=band)
    tell_skipped([found])
    return found


def bad_components(
    decomposition: Decomposition,
    signals: Recorded,
    rule: Rule,
    *,
    eog_proxy: str | Sequence[str] = (),
    band: tuple[float, float] | None = None,
    epochs: np.ndarray | None = None,
    lost: Sequence[str] = (),
) -> Outliers:
    """Stage 3 on signals that were read; see `find_bad_components`. `lost` are proxies that were found bad before."""
    sources = decomposition.sources(signals, epochs)
    skipped: dict[str, str] = {}
    wanted = set(rule.metrics)
    if "line_noise" in wanted and (problem := line_noise_problem(signals.sfreq)):
        skipped["line_noise"] = problem
    found: dict[str, np.ndarray] = series_scores(
        sources, wanted & {"hurst", "median_gradient", "line_noise"} - set(skipped),
        variant=rule.variant, sfreq=signals.sfreq,
    )  # fmt: skip
    if "kurtosis" in wanted:
        # of the map over channels; series_scores knows kurtosis along its last axis
        found |= series_scores(decomposition.maps, {"kurtosis"}, variant=rule.variant, sfreq=None)
    if "spectral_slope" in wanted:
        try:
            found["spectral_slope"] = _spectral_slope(sources, signals, rule.variant, band)
        except InputError as error:
            skipped["spectral_slope"] = str(error)
    if "eog_correlation" in wanted:
        channels = signals.eog() or [_find(str(name), signals.ch_names) for name in channels_of(eog_proxy)]
        if channels:
            chosen = slice(None) if epochs is None else epochs
            eyes = np.stack([signals.X[chosen, i].reshape(-1).astype(np.float64) for i in channels])
            correlation = _correlate(eyes, sources)
            # mne-faster keeps the sign and judges each EOG channel on its own
            found["eog_correlation"] = correlation if rule.variant == "mne" else np.abs(correlation).max(axis=0)
        elif lost:
            are = "is bad itself" if len(lost) == 1 else "are bad themselves"
            skipped["eog_correlation"] = f"{listed(lost)}, named in place of EOG, {are}; name others near the eyes"
        else:
            skipped["eog_correlation"] = "there are no EOG channels; name one as eog or eog_proxy"
    scores = {metric: found[metric] for metric in rule.metrics if metric in found}
    refuse_without_metrics(rule, scores, skipped)
    return rule.judge(range(len(sources)), scores, skipped=skipped)


def _spectral_slope(
    sources: np.ndarray, signals: Recorded, variant: str, band: tuple[float, float] | None
) -> np.ndarray:
    sfreq = signals.sfreq
    if sfreq is None:
        raise InputError(NO_RATE)
    lowpass = sfreq / 2 if signals.info is None else float(signals.info["lowpass"])
    segment = welch_segment(sources.shape[1], sfreq) if variant == "mne" else max(1, min(int(sfreq), sources.shape[1]))
    if band is None and variant == "mne":
        low, high = 0.0 if signals.info is None else float(signals.info["highpass"]), lowpass
    elif band is None:
        low, high = max(0.0, lowpass - 5.0), lowpass + 5.0
    else:
        low, high = band
        if not 0 <= low < high:
            raise UsageError(f"band must be two rising frequencies in Hz, got {band!r}")
    freqs = np.fft.rfftfreq(segment, 1 / sfreq)
    first = int(np.searchsorted(freqs, low))
    last = int(np.searchsorted(freqs, high, side="left" if variant == "mne" else "right")) - 1
    if not last > first:
        raise InputError(f"{low:g} to {high:g} Hz holds fewer than two bins of a spectrum at {sfreq:g} Hz; pass band")
    # the mean of first differences is the last value less the first: two bins are enough
    kernels = power_kernels(segment, sfreq, [first, last])
    if variant == "mne":
        power = bin_powers(sources, kernels)
    else:
        step = max(1, segment - segment // 2)
        power = np.concatenate([bin_powers(sources[i : i + 1], kernels, step) for i in range(len(sources))])
        with np.errstate(divide="ignore"):
            power = 10 * np.log10(power)
    with np.errstate(invalid="ignore"):
        return (power[:, 1] - power[:, 0]) / (last - first)


def _correlate(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = (x - x.mean(axis=1, keepdims=True) for x in (a, b))
    norms = np.sqrt(np.outer(np.einsum("it,it->i", a, a), np.einsum("it,it->i", b, b)))
    return np.divide(a @ b.T, norms, out=np.zeros(norms.shape), where=norms > 0)


def _find(name: str, ch_names: Sequence[str]) -> int:
    return list(ch_names).index(spelled(name, ch_names, stand_in(name)))
