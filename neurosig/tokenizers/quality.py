"""What a tokenizer keeps and what it loses: use of its codes, and errors of reconstruction by band."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from neurosig.core.errors import InputError

__all__ = ["BANDS_HZ", "band_errors", "check_tokens", "count_flat", "usage_table"]

# Hz, from the first to below the last
BANDS_HZ: dict[str, tuple[float, float]] = {
    "delta": (0.5, 4.0), "theta": (4.0, 8.0), "alpha": (8.0, 13.0), "beta": (13.0, 30.0), "gamma": (30.0, 45.0),
}  # fmt: skip
_BLOCK = 64 << 20  # bytes looked at together


def check_tokens(tokens: Any, n_codes: int, axes: Sequence[str]) -> np.ndarray:
    """Tokens as an int64 array, or a refusal.

    Parameters
    ----------
    tokens : array of integers
        Tokens.
    n_codes : int
        Size of the vocabulary.
    axes : sequence of str
        Names of the axes.

    Returns
    -------
    int64 array
        The tokens.

    Raises
    ------
    InputError
        If they are no integers, have other axes, are of no window, or lie outside the vocabulary.
    """
    found = np.asarray(tokens)
    if found.dtype.kind not in "iu":
        raise InputError(f"expected tokens as integers, got {found.dtype}; transform gives them")
    if found.ndim != len(axes):
        raise InputError(f"expected tokens with the axes ({', '.join(axes)}), got shape {found.shape}")
    if not found.size:
        raise InputError(f"expected tokens of at least one window, got shape {found.shape}")
    if found.min() < 0 or found.max() >= n_codes:
        wrong = found.min() if found.min() < 0 else found.max()
        raise InputError(f"expected tokens from 0 to {n_codes - 1}, got {int(wrong)}: they are another tokenizer's")
    return found.astype(np.int64, copy=False)


def count_flat(X: Any) -> int:
    """How many channels of windows are constant: nothing was recorded there.

    Parameters
    ----------
    X : array of shape (n, n_channels, n_times), memory map or Zarr array
        Windows; those on disk are read in blocks.

    Returns
    -------
    int
        Pairs of a window and a channel. Of a single sample nothing is said.
    """
    n, n_channels, n_times = map(int, X.shape)
    if n_times < 2:
        return 0
    step = max(1, _BLOCK // (8 * n_channels * n_times))
    blocks = (np.asarray(X[start : start + step]) for start in range(0, n, step))
    return sum(int((block.max(axis=2) == block.min(axis=2)).sum()) for block in blocks)


def usage_table(levels: Iterable[tuple[Mapping[str, int], np.ndarray]], n_codes: int) -> pd.DataFrame:
    """How much of each codebook is used.

    Parameters
    ----------
    levels : iterable of (dict of str to int, int64 array)
        What names a codebook (``{"scale": 0, "level": 3}``), and the tokens that name its codes.
    n_codes : int
        Codes of each.

    Returns
    -------
    DataFrame
        A row a codebook: its name; ``n_tokens``; ``n_used`` codes that occur, and their ``share_used``; ``n_dead`` that
        do not; ``entropy`` of their frequencies in bits, and ``perplexity``, two to the power of it: the number of
        codes that, used alike, would give that entropy.
    """
    rows = []
    for name, tokens in levels:
        counts = np.bincount(np.ravel(tokens), minlength=n_codes)
        share = counts[counts > 0] / max(1, counts.sum())
        entropy = float(-(share * np.log2(share)).sum()) + 0.0
        used = int((counts > 0).sum())
        rows.append(
            {**name, "n_codes": n_codes, "n_tokens": int(counts.sum()), "n_used": used, "share_used": used / n_codes,
             "n_dead": n_codes - used, "entropy": entropy, "perplexity": 2.0**entropy}
        )  # fmt: skip
    return pd.DataFrame(rows)


def band_errors(
    pieces: Iterable[tuple[np.ndarray, np.ndarray]],
    freqs: np.ndarray,
    bands: Mapping[str, tuple[float, float]] | None = None,
) -> pd.DataFrame:
    """Errors of reconstruction by band.

    Parameters
    ----------
    pieces : iterable of (array, array), each of shape (..., n_freqs)
        Spectra of the signals and of their reconstruction, complex or magnitudes, a piece at a time.
    freqs : array of shape (n_freqs,)
        Frequencies in Hz.
    bands : dict of str to (float, float), optional
        Edges in Hz, the upper one left out; `BANDS_HZ` by default. "all" is added.

    Returns
    -------
    DataFrame
        A row a band, by name: ``fmin, fmax`` in Hz; ``nmse``, the sum of squared errors over that of the squared
        spectra, 0 for a perfect reconstruction and 1 for none at all; ``correlation`` of the magnitudes; and
        ``power_ratio``, power of the reconstruction over that of the signals.
    """
    bands = dict(BANDS_HZ if bands is None else bands)
    bands["all"] = (float(freqs[0]), float(np.nextafter(freqs[-1], np.inf)))
    inside = {name: (freqs >= low) & (freqs < high) for name, (low, high) in bands.items()}
    sums = {name: np.zeros(7) for name in bands}
    for original, rebuilt in pieces:
        for name, bins in inside.items():
            if bins.any():
                a, b = original[..., bins], rebuilt[..., bins]
                x, y = np.abs(a).astype(float).ravel(), np.abs(b).astype(float).ravel()
                error = float((np.abs(a - b).astype(float) ** 2).sum())
                sums[name] += [error, x @ x, y @ y, x @ y, x.sum(), y.sum(), len(x)]
    rows = {}
    for name, (low, high) in bands.items():
        error, xx, yy, xy, x, y, n = sums[name]
        row = {"fmin": low, "fmax": high, "nmse": np.nan, "correlation": np.nan, "power_ratio": np.nan}
        if n and xx > 0:
            spread = np.sqrt(max(xx - x * x / n, 0.0) * max(yy - y * y / n, 0.0))
            row |= {"nmse": error / xx, "power_ratio": yy / xx}
            row["correlation"] = (xy - x * y / n) / spread if spread > 0 else np.nan
        rows[name] = row
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.index.name = "band"
    return table
