"""What is said of sliding windows wherever signals are cut into them."""

from __future__ import annotations

from neurosig.core.log import logger

__all__ = ["tell_of_gaps"]


def tell_of_gaps(
    window: float, step: float | None, *, sfreq: float | None = None, step_name: str = "window_step"
) -> None:
    """Warn, in the log, of windows that leave out samples between them.

    Parameters
    ----------
    window : float
        Length in seconds.
    step : float or None
        From one window to the next, in seconds; None is the length.
    sfreq : float, optional
        Sampling rate in Hz, where it is known: lengths that are the same in samples leave nothing out.
    step_name : str
        What the caller calls the step.
    """
    if step is None:
        return
    if (step > window) if sfreq is None else (round(step * sfreq) > round(window * sfreq)):
        logger.warning(
            "%s=%g s is longer than window=%g s: the samples between two windows are never used",
            step_name, step, window,
        )  # fmt: skip
