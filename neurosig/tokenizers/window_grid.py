"""Where the windows of a recording lie, and their signals, read once and a block at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from neurosig.core.errors import UsageError
from neurosig.loaders.events import is_span

if TYPE_CHECKING:
    import mne

__all__ = ["BLOCK_BYTES", "WindowGrid", "window_blocks", "window_grid", "window_labels"]

BLOCK_BYTES = 16 << 20
_GAP = "BAD_ACQ_SKIP"


@dataclass(frozen=True)
class WindowGrid:
    """Where the windows of a recording lie.

    Parameters
    ----------
    starts : int array of shape (n_windows,)
        First sample of each, ascending.
    length : int
        Samples of a window.
    sfreq : float
        Sampling rate in Hz.
    segments : int array of shape (n_segments, 2)
        First sample, and one past the last, of each stretch that was recorded without a gap.
    n_bad : int
        Windows that were left out, for they touch bad spans.
    n_incomplete : int
        Stretches that end within a window, which is none.
    seconds_left : float
        What they hold after their last window.
    """

    starts: np.ndarray
    length: int
    sfreq: float
    segments: np.ndarray
    n_bad: int
    n_incomplete: int
    seconds_left: float


def window_grid(raw: mne.io.BaseRaw, window: float, step: float, *, skip_bad: bool = True) -> WindowGrid:
    """Lay windows over a recording.

    Parameters
    ----------
    raw : mne.io.BaseRaw
        The recording; its samples are not read.
    window, step : float
        Length of a window, and time from one to the next, in seconds. Window k begins at the sample nearest to
        ``k * step``, counted from the beginning of its stretch: none reaches over a gap (``BAD_ACQ_SKIP``), the edge
        of joined recordings (``EDGE...``), or from one trial into the next.
    skip_bad : bool
        Whether windows that touch spans called ``BAD...`` are left out.

    Returns
    -------
    WindowGrid
        The windows.

    Raises
    ------
    UsageError
        If a window is shorter than a sample, or `step` is.
    """
    sfreq = float(raw.info["sfreq"])
    for name, seconds in (("window", window), ("step", step)):
        if not (np.isfinite(seconds) and seconds * sfreq >= 1):
            raise UsageError(f"{name} must be a time of at least one sample ({1 / sfreq:g} s), got {seconds!r} s")
    length = round(window * sfreq)
    segments = _segments(raw)
    parts, n_incomplete, samples_left = [], 0, 0
    for first, last in segments:
        n = int(max(0, np.floor((last - first - length) / (step * sfreq) + 1e-9) + 1))
        starts = first + np.rint(np.arange(n + 1) * step * sfreq).astype(np.int64)  # one more may fit, once rounded
        starts = starts[starts + length <= last]
        rest = int(last - (starts[-1] + length if len(starts) else first))
        n_incomplete, samples_left = n_incomplete + (rest > 0), samples_left + rest
        parts.append(starts)
    starts = np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)
    n_all = len(starts)
    if skip_bad:
        for first_bad, last_bad, text in _marks(raw):
            if text.lower().startswith("bad") and text != _GAP:
                starts = starts[(starts + length <= first_bad) | (starts >= last_bad)]
    return WindowGrid(starts, length, sfreq, segments, n_all - len(starts), n_incomplete, samples_left / sfreq)


def window_blocks(
    raw: mne.io.BaseRaw, grid: WindowGrid, picks: Sequence[int], *, block_bytes: int = BLOCK_BYTES
) -> Iterator[tuple[slice, np.ndarray]]:
    """Signals of the windows, a block at a time.

    Parameters
    ----------
    raw : mne.io.BaseRaw
        The recording, in memory or in its file; every sample that is in a window is read once, however windows overlap.
    grid : WindowGrid
        The windows.
    picks : sequence of int
        Channels.
    block_bytes : int
        Size of a block, about, as numbers of eight bytes; a window is the least.

    Yields
    ------
    which : slice
        Numbers of the windows.
    X : float32 array of shape (n, n_channels, length)
        Their signals.
    """
    starts, length, picks = grid.starts, grid.length, [int(pick) for pick in picks]
    most = max(length, block_bytes // (8 * len(picks)))  # samples held at once
    held = np.zeros((len(picks), 0))
    first = place = 0
    while place < len(starts):
        begin = int(starts[place])
        reached = int(np.searchsorted(starts, begin + most - length, side="right"))
        upto = min(max(reached, place + 1), place + max(1, most // length))
        end = int(starts[upto - 1]) + length
        have = max(first + held.shape[1], begin)
        kept = held[:, begin - first :] if begin - first < held.shape[1] else held[:, :0]
        fresh = raw.get_data(picks=picks, start=have, stop=end, verbose="error") if end > have else held[:, :0]
        held, first = np.concatenate([kept, fresh], axis=1), begin
        views = np.lib.stride_tricks.sliding_window_view(held, length, axis=1)
        which = slice(place, upto)
        yield which, np.ascontiguousarray(views[:, starts[which] - begin].swapaxes(0, 1), dtype=np.float32)
        place = upto


def window_labels(raw: mne.io.BaseRaw, grid: WindowGrid, label: str | None = None) -> np.ndarray | None:
    """Labels of windows, as far as the recording has any.

    Parameters
    ----------
    raw : mne.io.BaseRaw
        The recording, with event names as annotations.
    grid : WindowGrid
        Its windows.
    label : str, optional
        The state that the whole recording is.

    Returns
    -------
    array of str objects of shape (n_windows,), or None
        The state; else, of trials laid end to end, the event of the trial; else the event that lasts for at least half
        of the window, the longer one of two; empty text where there is none. None where no window has one.
    """
    starts, length = grid.starts, grid.length
    if label is not None:
        return np.full(len(starts), label, dtype=object)
    labels = np.full(len(starts), "", dtype=object)
    events = [mark for mark in _marks(raw) if not is_span(mark[2])]
    if len(grid.segments) > 1 and len(events) == len(grid.segments):
        owner = np.searchsorted(grid.segments[:, 0], starts, side="right") - 1
        times = np.array([first for first, _, _ in events])
        inside = (times >= grid.segments[:, 0] - 1) & (times <= grid.segments[:, 1])
        if inside.all():
            labels[:] = np.array([text for _, _, text in events], dtype=object)[owner]
            return labels
    overlap = np.full(len(starts), length / 2)
    for first, last, text in events:
        near = slice(np.searchsorted(starts, first - length), np.searchsorted(starts, last))
        shared = np.minimum(starts[near] + length, last) - np.maximum(starts[near], first)
        longer = shared >= overlap[near] - 1e-6
        labels[near][longer] = text
        overlap[near][longer] = shared[longer] + 2e-6
    return labels if np.any(labels != "") else None


def _marks(raw: mne.io.BaseRaw) -> list[tuple[float, float, str]]:
    """Annotations as first and last sample, in fractions, and text; sorted by time."""
    marks, sfreq = raw.annotations, float(raw.info["sfreq"])
    shift = raw.first_time if marks.orig_time is not None else 0.0
    onset = (marks.onset - shift) * sfreq
    stop = onset + marks.duration * sfreq
    return sorted(zip(onset.tolist(), stop.tolist(), map(str, marks.description), strict=True))


def _segments(raw: mne.io.BaseRaw) -> np.ndarray:
    """Stretches between gaps and edges, in samples."""
    cuts = []
    for first, last, text in _marks(raw):
        if text == _GAP or text.lower().startswith("edge"):
            cuts.append((max(0, round(first)), min(raw.n_times, max(round(first), round(last)))))
    found, place = [], 0
    for first, last in cuts:
        if first > place:
            found.append((place, first))
        place = max(place, last)
    if place < raw.n_times:
        found.append((place, raw.n_times))
    return np.array(found, dtype=np.int64).reshape(-1, 2)
