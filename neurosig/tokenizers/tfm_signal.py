"""What the TFM-Tokenizer does to signals before its network sees them: scale, frames, spectrum, masks."""

from __future__ import annotations

import torch

from neurosig.core.errors import InputError, UsageError

__all__ = ["FRAME", "HOP", "N_FREQS", "SFREQ", "cut_frames", "magnitude_spectrum", "n_frames", "quantile_scale",
           "time_frequency_mask"]  # fmt: skip

SFREQ = 200.0
FRAME, HOP = 200, 100  # one second, every half second
N_FREQS = 100  # 0 to 99 Hz


def n_frames(n_times: int) -> int:
    """Tokens of a window of `n_times` samples.

    Parameters
    ----------
    n_times : int
        Samples at 200 Hz.

    Returns
    -------
    int
        One for the first second and one for each half second more.

    Raises
    ------
    InputError
        If the window is shorter than one token.
    """
    if n_times < FRAME:
        raise InputError(
            f"a token takes one second, {FRAME} samples at {SFREQ:g} Hz; got windows of {n_times}: cut longer windows, "
            "or resample if the rate is lower"
        )
    return 1 + (n_times - FRAME) // HOP


def quantile_scale(x: torch.Tensor, q: float = 0.95, eps: float = 1e-8) -> torch.Tensor:
    """Divide each signal by a quantile of its absolute amplitude.

    Parameters
    ----------
    x : tensor of shape (..., n_times)
        Signals, of any unit.
    q : float
        The quantile, with linear interpolation between samples.
    eps : float
        Added to the quantile, as in the published code: far below the quantile for signals in microvolts, a few parts
        in ten thousand in volts, and above it in tesla.

    Returns
    -------
    tensor of shape (..., n_times)
        Scaled signals; such as are zero stay zero.

    See Also
    --------
    neurosig.preprocessing.QuantileScale : The same as a step of a pipeline.
    """
    if not 0 < q <= 1:
        raise UsageError(f"q must lie above 0 and not above 1, got {q!r}")
    position = q * (x.shape[-1] - 1)
    below = int(position)
    # the few largest, in falling order, end with the two that the quantile lies between: much less work than sorting
    largest = x.abs().topk(x.shape[-1] - below, dim=-1).values
    low, high = largest[..., -1:], largest[..., max(-2, -largest.shape[-1])].unsqueeze(-1)
    return x / (torch.lerp(low, high, position - below) + eps)


def cut_frames(x: torch.Tensor) -> torch.Tensor:
    """Overlapping frames of one second: (..., n_times) -> (..., n_frames, 200); a view."""
    n_frames(x.shape[-1])
    return x.unfold(-1, FRAME, HOP)


def magnitude_spectrum(frames: torch.Tensor) -> torch.Tensor:
    """Magnitudes of the short-time Fourier transform.

    Parameters
    ----------
    frames : tensor of shape (..., n_frames, 200)
        From `cut_frames`.

    Returns
    -------
    tensor of shape (..., n_frames, 100)
        0 to 99 Hz, under a periodic Hann window; not scaled, no logarithm.
    """
    dtype = torch.promote_types(frames.dtype, torch.float32)
    window = torch.hann_window(FRAME, periodic=True, dtype=dtype, device=frames.device)
    return torch.fft.rfft(frames.to(dtype) * window)[..., :N_FREQS].abs()


def time_frequency_mask(
    n_frames: int,
    *,
    n_freqs: int = N_FREQS,
    band: int = 5,
    freq_ratio: float = 0.5,
    time_ratio: float = 0.5,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Random mask of bands of frequencies and of frames.

    Parameters
    ----------
    n_frames : int
        Frames of the window.
    n_freqs, band : int
        Frequencies, and how many are hidden together; `band` divides `n_freqs`.
    freq_ratio, time_ratio : float
        Share of the bands and of the frames that are hidden, rounded down.
    generator : torch.Generator or None
        Draws the mask; None is torch's global one.

    Returns
    -------
    bool tensor of shape (n_freqs, n_frames)
        True where neither band nor frame is hidden. The second view of the training is its complement.
    """
    if n_freqs % band:
        raise UsageError(f"band must divide the number of frequencies, got {band!r} of {n_freqs}")
    for name, ratio in (("freq_ratio", freq_ratio), ("time_ratio", time_ratio)):
        if not 0 <= ratio <= 1:
            raise UsageError(f"{name} must lie between 0 and 1, got {ratio!r}")
    device = "cpu" if generator is None else generator.device
    bands = torch.ones(n_freqs // band, dtype=torch.bool, device=device)
    frames = torch.ones(n_frames, dtype=torch.bool, device=device)
    for kept, ratio in ((bands, freq_ratio), (frames, time_ratio)):
        kept[torch.randperm(len(kept), generator=generator, device=device)[: int(len(kept) * ratio)]] = False
    return bands.repeat_interleave(band)[:, None] & frames
