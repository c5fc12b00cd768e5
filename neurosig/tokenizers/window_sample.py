"""A sample of the windows of recordings, to look at: some of each person's, with labels where recordings have any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from neurosig.core.errors import InputError, StorageError
from neurosig.core.log import logger
from neurosig.core.signals import SignalDataset, SignalSpec
from neurosig.tokenizers.base import Tokenizer
from neurosig.tokenizers.token_sources import person_of
from neurosig.tokenizers.tokenize import channels_of
from neurosig.tokenizers.window_grid import window_grid, window_labels

__all__ = ["sample_windows"]


def sample_windows(
    sources: Mapping[str, Any],
    tokenizer: Tokenizer,
    *,
    window: float,
    step: float | None = None,
    picks: Sequence[str] | None = None,
    skip_bad: bool = True,
    n_windows: int = 400,
) -> SignalDataset:
    """Cut some windows of recordings, spread evenly over each.

    Parameters
    ----------
    sources : dict of str to Source
        What `neurosig.tokenizers.token_sources.named_sources` gives.
    tokenizer : Tokenizer
        Whose windows they are going to be.
    window, step, picks, skip_bad : object
        As in `neurosig.tokenizers.tokenize_recordings`.
    n_windows : int
        About how many in all; each recording gives as many as the others.

    Returns
    -------
    SignalDataset
        Of the recordings that share the most frequent channels and sampling rate; others are told. The label of a
        window is the state or event that it lies in; where there are several, windows without one are left out.

    Raises
    ------
    InputError
        If no recording has a window.
    """
    import mne

    share = max(1, n_windows // max(1, len(sources)))
    found: dict[tuple[Any, ...], list[tuple[np.ndarray, np.ndarray, pd.DataFrame, SignalSpec]]] = {}
    for name, source in sources.items():
        try:
            raw = source.read()
            chosen = channels_of(raw, picks, tokenizer)
            grid = window_grid(raw, window, window if step is None else step, skip_bad=skip_bad)
            labels = window_labels(raw, grid, getattr(source.recording, "label", None))
        except (InputError, StorageError) as error:
            logger.warning("%s: not in the sample: %s", name, " ".join(str(error).split()))
            continue
        labels = np.full(len(grid.starts), "", dtype=object) if labels is None else labels
        rows = np.flatnonzero(labels != "") if len(set(labels) - {""}) > 1 else np.arange(len(labels))
        rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(share, len(rows))).astype(int))] if len(rows) else rows
        cut = [raw.get_data(picks=chosen, start=int(i), stop=int(i) + grid.length) for i in grid.starts[rows]]
        kept = [place for place, X in enumerate(cut) if np.isfinite(X).all()]
        if not kept:
            continue
        X = np.stack([cut[place] for place in kept])
        spec = SignalSpec.from_mne(mne.pick_info(raw.info, chosen), n_times=X.shape[2], tmin=0.0)
        who = {"subject": person_of(name, source), "session": str(source.session), "run": str(source.run)}
        table = pd.DataFrame([{**who, "recording": name, "start": grid.starts[rows][i] / grid.sfreq} for i in kept])
        key = (spec.modality, spec.ch_names, round(float(spec.sfreq or 0), 6))
        found.setdefault(key, []).append((X, labels[rows][kept], table, spec))
    if not found:
        raise InputError(f"no recording has a window of {window:g} s with finite samples")
    parts = max(found.values(), key=lambda those: sum(len(X) for X, *_ in those))
    if others := sum(map(len, found.values())) - len(parts):
        logger.warning(
            "%d recording%s with other channels or another rate not in the sample", others, "s" if others > 1 else ""
        )
    X = np.concatenate([part[0] for part in parts])
    y = np.concatenate([part[1] for part in parts]).astype(str)
    table = pd.concat([part[2] for part in parts], ignore_index=True)
    if len(set(y) - {""}) < 2:
        return SignalDataset(X, None, table, parts[0][3], name="sample")
    labelled = y != ""
    return SignalDataset(X[labelled], y[labelled], table[labelled].reset_index(drop=True), parts[0][3], name="sample")
