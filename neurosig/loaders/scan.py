"""One pass over a recording, piece by piece: statistics of every channel and a spectrum, in bounded memory."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import mne
    import numpy as np

__all__ = ["Scan", "outside_gaps", "scan"]

_PIECE = 4_000_000  # numbers held at a time: 32 MB


@dataclass
class Scan:
    """What one pass over the samples found; arrays have one entry a channel.

    Parameters
    ----------
    n_samples : int
        Samples that were looked at (those between trials are not).
    sd, low, high : array of shape (n_channels,)
        Standard deviation, smallest and largest value, in SI units.
    n_bad : array of shape (n_channels,)
        Samples that are NaN or infinite.
    stuck : array of shape (n_channels,)
        Samples that repeat the one before at the largest or smallest value: a converter at its limit.
    digests : list of str
        Digest of each channel's samples; equal for channels that are copies.
    bad_spans : list of (float, float)
        Spans with NaN or infinite samples, in seconds.
    frequencies, spectrum : arrays of shape (n_frequencies,) and (n_channels, n_frequencies)
        Mean Welch spectrum (unit squared per Hz) of the pieces without bad samples.
    """

    n_samples: int
    sd: np.ndarray
    low: np.ndarray
    high: np.ndarray
    n_bad: np.ndarray
    stuck: np.ndarray
    digests: list[str]
    bad_spans: list[tuple[float, float]]
    frequencies: np.ndarray
    spectrum: np.ndarray


def scan(raw: mne.io.BaseRaw) -> Scan:
    """Scan all samples of `raw` outside ``BAD_ACQ_SKIP`` spans; NaN is looked at, never passed on."""
    import numpy as np

    from neurosig.loaders.sensors import bad_samples

    n_channels, sfreq = len(raw.ch_names), float(raw.info["sfreq"])
    keep = outside_gaps(raw)
    n_fft = int(min(max(2 * sfreq, 8), raw.n_times))
    step = max(_PIECE // max(n_channels, 1), n_fft)
    count = np.zeros(n_channels)
    mean, squares = np.zeros(n_channels), np.zeros(n_channels)
    low, high = np.full(n_channels, np.inf), np.full(n_channels, -np.inf)
    n_bad, stuck = np.zeros(n_channels, int), np.zeros((2, n_channels), int)
    hashers = [hashlib.blake2b(digest_size=8) for _ in range(n_channels)]
    spans: list[tuple[int, int]] = []
    total, power, seen = 0, np.zeros((n_channels, n_fft // 2 + 1)), 0
    for start in range(0, raw.n_times, step):
        stop = min(start + step, raw.n_times)
        piece = np.ascontiguousarray(raw.get_data(start=start, stop=stop, verbose="error")[:, keep[start:stop]])
        if piece.shape[1] == 0:
            continue
        total += piece.shape[1]
        for hasher, row in zip(hashers, piece, strict=True):
            hasher.update(row.data)
        finite = np.isfinite(piece)
        whole = bool(finite.all())
        n_bad += (~finite).sum(axis=1)
        if not whole:
            place = start + np.flatnonzero(keep[start:stop])
            for first, last in bad_samples(piece):
                begin, end = int(place[first]), int(place[last - 1]) + 1
                if spans and spans[-1][1] == begin:  # goes on from the piece before
                    begin = spans.pop()[0]
                spans.append((begin, end))
        values = piece if whole else np.where(finite, piece, np.nan)
        _extremes(values, low, high, stuck)
        count, mean, squares = _moments(values, finite, count, mean, squares)
        if whole and piece.shape[1] >= n_fft:
            spectrum = _welch(piece, sfreq, n_fft)
            power, seen = power + spectrum * piece.shape[1], seen + piece.shape[1]
    return Scan(
        total,
        np.sqrt(squares / np.maximum(count, 1)),
        low,
        high,
        n_bad,
        stuck.sum(axis=0),
        [hasher.hexdigest() for hasher in hashers],
        [(first / sfreq, last / sfreq) for first, last in spans],
        np.fft.rfftfreq(n_fft, 1 / sfreq),
        power / seen if seen else np.full_like(power, np.nan),
    )


def outside_gaps(raw: mne.io.BaseRaw) -> np.ndarray:
    """Mask of the samples that were recorded: those outside ``BAD_ACQ_SKIP`` spans."""
    import numpy as np

    keep = np.ones(raw.n_times, bool)
    first = raw.first_time if raw.annotations.orig_time is not None else 0.0
    for onset, duration, text in zip(
        raw.annotations.onset, raw.annotations.duration, raw.annotations.description, strict=True
    ):
        if text == "BAD_ACQ_SKIP":
            start, stop = (round((at - first) * raw.info["sfreq"]) for at in (onset, onset + duration))
            keep[max(start, 0) : max(stop, 0)] = False
    return keep


def _extremes(values: np.ndarray, low: np.ndarray, high: np.ndarray, stuck: np.ndarray) -> None:
    """Update the extremes in place, and how often a sample repeats the one before at an extreme."""
    import numpy as np

    held = values[:, 1:] == values[:, :-1]
    for row, (extreme, peak) in enumerate(
        ((low, np.fmin.reduce(values, axis=1)), (high, np.fmax.reduce(values, axis=1)))
    ):
        better = peak < extreme if row == 0 else peak > extreme
        better &= np.isfinite(peak)
        extreme[better] = peak[better]
        stuck[row, better] = 0
        stuck[row] += (held & (values[:, 1:] == extreme[:, None])).sum(axis=1)


def _moments(
    values: np.ndarray, finite: np.ndarray, count: np.ndarray, mean: np.ndarray, squares: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Chan's update of count, mean and sum of squared deviations: a large offset costs no digits."""
    import numpy as np

    new = finite.sum(axis=1).astype(float)
    here = np.where(finite, values, 0.0).sum(axis=1) / np.maximum(new, 1)
    deviations = np.where(finite, values - here[:, None], 0.0)
    both = np.maximum(count + new, 1)
    shift = here - mean
    squares = squares + np.einsum("ct,ct->c", deviations, deviations) + shift**2 * count * new / both
    return count + new, mean + shift * new / both, squares


def _welch(piece: np.ndarray, sfreq: float, n_fft: int) -> np.ndarray:
    from scipy.signal import welch

    return welch(piece, sfreq, nperseg=n_fft, axis=1)[1]
