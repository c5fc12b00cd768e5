"""Channels of an opened recording: names, types, positions; and samples that are no numbers."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from neurosig.core.channel_names import listed
from neurosig.core.errors import InputError, UsageError
from neurosig.core.log import logger
from neurosig.loaders.recordings import ReadOptions

if TYPE_CHECKING:
    import mne
    import numpy as np

__all__ = [
    "apply_sensors",
    "bad_samples",
    "check_data",
    "check_finite",
    "check_flat",
    "missing_positions",
    "standard_montage",
    "standard_names",
    "tidy_names",
]


@lru_cache(maxsize=1)
def standard_names() -> frozenset[str]:
    """Names of the electrodes of the 10-05 system."""
    return frozenset(standard_montage("standard_1005").ch_names)


def standard_montage(name: str) -> mne.channels.DigMontage:
    """One of mne's standard montages; names that mne changed in 1.13 ("standard_1005", "colin27_1005") both work.

    Raises
    ------
    UsageError
        There is none of that name.
    """
    import mne

    known = mne.channels.get_builtin_montages()
    other = (
        name.replace("standard_", "colin27_") if name.startswith("standard_") else name.replace("colin27_", "standard_")
    )
    if other in known and (name not in known or other.startswith("colin27_")):
        name = other
    if name not in known:
        near = get_close_matches(name, known, 1, 0.0)
        raise UsageError(f"no standard montage is called {name!r}; the nearest of mne's names is {near[0]!r}")
    return mne.channels.make_standard_montage(name)


def tidy_names(raw: mne.io.BaseRaw) -> dict[str, str]:
    """Renames that bring EEG channels to their 10-20 spelling ("Fc5." to "FC5"); other names are left as they are."""
    from neurosig.core.channels import canonical_name

    known, taken = standard_names(), set(raw.ch_names)
    renames: dict[str, str] = {}
    for name, kind in zip(raw.ch_names, raw.get_channel_types(), strict=True):
        new = canonical_name(name) if kind == "eeg" and name not in known else name
        if new != name and new in known and new not in taken:
            renames[name] = new
            taken.add(new)
    return renames


def apply_sensors(raw: mne.io.BaseRaw, options: ReadOptions) -> list[str]:
    """Rename, type, drop and locate the channels of `raw` in place; stimulus channels go.

    Returns
    -------
    list of str
        What was assumed or not found.

    Raises
    ------
    InputError
        The options name a channel that is not there.
    """
    from neurosig.loaders.formats import collect_notes

    notes: list[str] = []
    _need(raw, options.rename, "rename")
    raw.rename_channels(dict(options.rename), verbose="error")
    before = {new: old for old, new in tidy_names(raw).items()}
    if before:
        raw.rename_channels({old: new for new, old in before.items()}, verbose="error")
    now = {old: new for new, old in before.items()} | dict(options.rename)
    kinds = {now.get(name, name): kind for name, kind in options.ch_types.items()}
    _need(raw, kinds, "ch_types")
    with collect_notes(notes):
        try:
            raw.set_channel_types(kinds, on_unit_change="ignore", verbose="error")
        except ValueError as error:
            raise UsageError(f"ch_types: {error}") from error
    drop = [now.get(name, name) for name in options.drop]
    _need(raw, drop, "drop")
    drop += [name for name, kind in zip(raw.ch_names, raw.get_channel_types(), strict=True) if kind == "stim"]
    if set(drop) == set(raw.ch_names):
        raise InputError(f"nothing is left after dropping {', '.join(drop)}: the recording has no other channels")
    if drop:
        raw.drop_channels(sorted(set(drop)))
    if options.line_freq is not None and raw.info["line_freq"] is None:
        raw.info["line_freq"] = options.line_freq
    if options.montage is not None:
        notes += _locate(raw, options.montage)
    return notes


def _need(raw: mne.io.BaseRaw, names: Iterable[str], option: str) -> None:
    if missing := [name for name in names if name not in raw.ch_names]:
        near = get_close_matches(missing[0], raw.ch_names, 1, 0.0) or ["none"]
        raise InputError(
            f"{option} names channels that the recording does not have: {', '.join(missing)} (nearest: {near[0]}); "
            f"it has {listed(raw.ch_names, 12)}"
        )


def _locate(raw: mne.io.BaseRaw, name: str) -> list[str]:
    raw.set_montage(standard_montage(name), match_case=False, on_missing="ignore", verbose="error")
    lost = missing_positions(raw)
    return [f"not in montage {name}, so without position: {', '.join(lost)}"] if lost else []


def missing_positions(raw: mne.io.BaseRaw) -> list[str]:
    """Data channels whose position is unknown."""
    import mne
    import numpy as np

    picks = mne.pick_types(raw.info, meg=True, ref_meg=False, eeg=True, seeg=True, ecog=True, dbs=True, exclude=())
    places = {int(i): raw.info["chs"][i]["loc"][:3] for i in picks}
    return [raw.ch_names[i] for i, place in places.items() if not np.isfinite(place).all() or not np.any(place)]


def bad_samples(data: np.ndarray) -> np.ndarray:
    """Spans of samples that are NaN or infinite in any channel; shape (n_spans, 2), first and one past the last."""
    import numpy as np

    bad = ~np.isfinite(data).all(axis=0)
    return np.flatnonzero(np.diff(np.concatenate([[False], bad, [False]]).astype(np.int8))).reshape(-1, 2)


def check_data(raw: mne.io.BaseRaw, on_nan: str, path: Path) -> None:
    """Look at loaded data before work on them: NaN (`check_finite`), and amplitudes that no head gives off.

    Raises
    ------
    InputError
        NaN, or a unit that was mixed up.
    """
    import mne

    from neurosig.core.validation import check_plausible_units

    check_finite(raw, on_nan, path)
    some = raw._data[:, : int(60 * raw.info["sfreq"])]
    kinds = (("eeg", "V", {"eeg": True}), ("meg", "T", {"meg": "mag"}), ("seeg", "V", {"seeg": True, "ecog": True}))
    for modality, unit, which in kinds:
        if len(picks := mne.pick_types(raw.info, **which)):
            try:
                check_plausible_units(some[picks], unit, modality)
            except InputError as error:
                raise InputError(f"{path.name}: {error}") from None


def check_flat(raw: mne.io.BaseRaw, path: Path) -> None:
    """Refuse loaded channels that never change, and tell of those that stand still for a second or more.

    Electrodes on and in the head and MEG sensors are looked at, those marked bad left out; between trials (spans called
    ``BAD_ACQ_SKIP``) there is nothing to look at. To be called once the wanted channels are picked: a flat reference
    that nobody picks does no harm.

    Raises
    ------
    InputError
        A channel is exactly constant over the whole recording.
    """
    import mne
    import numpy as np

    from neurosig.loaders.scan import outside_gaps

    picks = mne.pick_types(raw.info, meg=True, ref_meg=False, eeg=True, seeg=True, ecog=True, dbs=True)
    keep = outside_gaps(raw)
    second = max(2, round(raw.info["sfreq"]))
    flat, still = [], []
    for pick in picks:
        moves = np.flatnonzero(np.diff(raw._data[pick] if keep.all() else raw._data[pick][keep]))
        if keep.sum() > 1 and not len(moves):
            flat.append(raw.ch_names[pick])
        elif np.diff(moves, prepend=-1, append=keep.sum() - 1).max(initial=0) >= second:
            still.append(raw.ch_names[pick])
    if flat:
        raise InputError(
            f"{path.name}: {', '.join(flat[:6])}{' ...' if len(flat) > 6 else ''} never change(s) over the whole "
            "recording, so there is no signal to decode; leave such channels out (drop=..., or picks=... with the "
            "others), or mark them bad in the file"
        )
    if still:
        logger.warning(
            "%s: %s stand(s) still for a second or longer: unplugged or saturated for part of the recording",
            path.name,
            ", ".join(still[:6]) + (" ..." if len(still) > 6 else ""),
        )


def check_finite(raw: mne.io.BaseRaw, on_nan: str, path: Path) -> None:
    """Refuse NaN and infinite samples in loaded data, or mark them (``on_nan="annotate"``).

    Marked spans are called ``BAD_ACQ_SKIP``: filters leave them out and trials that touch them are dropped.

    Raises
    ------
    InputError
        NaN or infinite samples, with the place of the first span and the channels.
    """
    import numpy as np

    data = raw.get_data(picks="data", verbose="error") if not raw.preload else raw._data
    if np.isfinite(data.sum()):  # one pass without a mask; a sum of finite numbers of this size cannot overflow
        return
    spans = bad_samples(data)
    if not len(spans):
        return
    sfreq = raw.info["sfreq"]
    if on_nan == "annotate":
        raw.annotations.append(
            raw.first_time * (raw.annotations.orig_time is not None) + (spans[:, 0] - 0.25) / sfreq,
            (np.diff(spans)[:, 0] + 0.5)
            / sfreq,  # a quarter of a sample wider: rounds to the same samples, catches all
            "BAD_ACQ_SKIP",
        )
        for start, stop in spans:
            raw._data[:, start:stop] = 0.0
        return
    first, last = spans[0] / sfreq
    names = [raw.ch_names[i] for i in np.flatnonzero(~np.isfinite(data).all(axis=1))]
    raise InputError(
        f"{path.name} holds NaN or infinite samples in {len(spans)} span(s), the first at {first:.3f}-{last:.3f} s, "
        f"channels {listed(names)}; pass on_nan='annotate' to leave those spans out (on_nan: annotate in a dataset's "
        "manifest; on the command line, clean the recording first: neurosig preprocess --on-nan annotate), or drop the "
        "channels"
    )
