"""What a token looks like: the pieces of signal that got it, their spectrum and their course."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_is_fitted

from neurosig.core.errors import InputError, UsageError
from neurosig.tokenizers.quality import check_tokens
from neurosig.tokenizers.token_axes import Frames, check_parts, codebook_axes, codebook_name, take_codebook

__all__ = ["Frames", "Motif", "frames_of", "motifs", "piece_spectrogram"]

_MOST_FRAMES = 200  # pieces that a mean is taken over
_REFERENCE = 400  # pieces of any token that it is compared with


@dataclass(frozen=True)
class Motif:
    """Pieces of signal that got one token.

    Parameters
    ----------
    code : int
        The token.
    codebook : dict of str to int
        Which codebook it is of; empty where there is one.
    count : int
        How often it occurs.
    n_windows : int
        In how many windows.
    by_group : dict
        Occurrences by person, all people named; empty where they are not known.
    by_channel : array of int of shape (n_channels,)
        Occurrences by channel.
    by_class : dict
        Occurrences by class; empty where classes are not known.
    examples : array of shape (n_examples, n_times)
        Some pieces: drawn, not chosen, from as many people as there are.
    places : DataFrame of n_examples rows
        Where they are: ``window, channel, frame``.
    n_used : int
        Pieces that the means are taken over.
    mean : array of shape (n_times,)
        Mean piece. A rhythm whose phase differs from piece to piece vanishes from it.
    spectrum, reference : array of shape (n_freqs,)
        Mean power of the pieces, and of pieces of any token.
    freqs : array of shape (n_freqs,)
        Hz.
    spectrogram : array of shape (n_freqs, n_moments)
        Mean power over the piece, in dB over that of pieces of any token, at `spectrogram_freqs` and
        `spectrogram_times`.
    spectrogram_freqs, spectrogram_times : array
        Hz, and seconds from the beginning of the piece.
    sfreq : float
        Rate in Hz.
    """

    code: int
    codebook: dict[str, int]
    count: int
    n_windows: int
    by_group: dict[Any, int]
    by_channel: np.ndarray
    by_class: dict[Any, int]
    examples: np.ndarray
    places: pd.DataFrame
    n_used: int
    mean: np.ndarray
    spectrum: np.ndarray
    reference: np.ndarray
    freqs: np.ndarray
    spectrogram: np.ndarray
    spectrogram_freqs: np.ndarray
    spectrogram_times: np.ndarray
    sfreq: float
    times: np.ndarray = field(init=False)

    def __repr__(self) -> str:
        book = f" of {codebook_name(self.codebook)}" if self.codebook else ""
        return f"<Motif: token {self.code}{book}, {self.count} times in {self.n_windows} windows>"

    def __post_init__(self):
        object.__setattr__(self, "times", np.arange(len(self.mean)) / self.sfreq)


def frames_of(tokenizer: Any) -> Frames:
    """Which samples a token of a fitted tokenizer stands for.

    Parameters
    ----------
    tokenizer : Tokenizer
        Fitted.

    Returns
    -------
    Frames
        Length and distance of pieces, at the tokenizer's rate.

    Raises
    ------
    UsageError
        If it does not tell.
    """
    check_is_fitted(tokenizer)
    if not hasattr(tokenizer, "frames_"):
        raise UsageError(
            f"{type(tokenizer).__name__} does not tell which samples a token stands for; a tokenizer of one's own does "
            "by an attribute frames_ (neurosig.tokenizers.motifs.Frames)"
        )
    return tokenizer.frames_


def motifs(
    tokenizer: Any,
    X: Any,
    codes: Sequence[int] | None = None,
    *,
    n: int = 8,
    n_examples: int = 5,
    codebook: dict[str, int] | None = None,
    y: Any = None,
    groups: Any = None,
    tokens: Any = None,
    random_state: int = 0,
) -> list[Motif]:
    """Show what tokens look like in signals.

    Parameters
    ----------
    tokenizer : Tokenizer
        Fitted.
    X : array of shape (n_windows, n_channels, n_times), mne.Epochs or SignalDataset
        Windows, as `Tokenizer.transform` takes them; they are read in batches.
    codes : sequence of int, optional
        Which tokens; None takes the `n` most frequent.
    n : int
        How many, where `codes` are not given.
    n_examples : int
        Pieces of signal to keep of each.
    codebook : dict of str to int, optional
        Which codebook, where there are several: ``{"scale": 0, "level": 0}``; None takes the first.
    y : array of shape (n_windows,), optional
        Classes, for counts.
    groups : array of shape (n_windows,), optional
        People, for counts; examples and means are drawn from them in turn.
    tokens : array of integers, optional
        The tokens of X, if there are some already.
    random_state : int
        Seeds which pieces are drawn.

    Returns
    -------
    list of Motif
        In the order of `codes`. Pieces are at the tokenizer's rate, and each channel of each window is divided by its
        standard deviation, so that loud people do not stand for all.

    Raises
    ------
    InputError
        If a code does not occur, lengths differ, or `tokens` lie outside the vocabulary.
    UsageError
        If the codebook is not there.

    Notes
    -----
    A token is chosen in the light of the whole window (TFM-Tokenizer, NeuroRVQ): its piece is where it stands, not all
    that it depends on.
    """
    where = frames_of(tokenizer)
    if tokens is not None:
        tokens = check_tokens(tokens, tokenizer.vocabulary_size_, tokenizer.token_axes)
    found = tokenizer.transform(X) if tokens is None else tokens
    book = dict.fromkeys(codebook_axes(tokenizer.token_axes), 0) | dict(codebook or {})
    one, labels, owners = check_parts(take_codebook(found, tokenizer, **book), y, groups)
    values, counts = np.unique(one, return_counts=True)
    if codes is None:
        codes = values[np.argsort(-counts, kind="stable")][:n].tolist()
    if absent := sorted(set(map(int, codes)) - set(values.tolist())):
        raise InputError(f"token {absent[0]} does not occur in these windows; there are {len(values)} others")
    rng = np.random.default_rng(random_state)
    drawn = [_draw(np.flatnonzero(one.ravel() == code), one.shape, owners, _MOST_FRAMES, rng) for code in codes]
    any_of = _draw(np.arange(one.size), one.shape, owners, _REFERENCE, rng)
    wanted = np.unique(np.concatenate([any_of, *drawn]))
    pieces = _pieces(tokenizer, X, wanted, one.shape, where)
    base = _Spectra.of(pieces[np.searchsorted(wanted, any_of)], where.sfreq)
    result = []
    for code, chosen in zip(codes, drawn, strict=True):
        mine = pieces[np.searchsorted(wanted, chosen)]
        own = _Spectra.of(mine, where.sfreq)
        shown = chosen[:n_examples]
        window, channel, _ = np.nonzero(one == code)
        result.append(
            Motif(
                code=int(code), codebook=book, count=len(window), n_windows=len(np.unique(window)),
                by_group=_by(owners, window), by_channel=np.bincount(channel, minlength=one.shape[1]),
                by_class=_by(labels, window), examples=mine[:n_examples],
                places=pd.DataFrame(
                    dict(zip(("window", "channel", "frame"), np.unravel_index(shown, one.shape), strict=True))
                ),
                n_used=len(mine), mean=mine.mean(axis=0), spectrum=own.power, reference=base.power, freqs=own.freqs,
                spectrogram=10 * np.log10(np.maximum(own.course, 1e-12) / np.maximum(base.course, 1e-12)),
                spectrogram_freqs=own.course_freqs, spectrogram_times=own.course_times, sfreq=where.sfreq,
            )
        )  # fmt: skip
    return result


def piece_spectrogram(pieces: np.ndarray, sfreq: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Power over frequency and time within pieces of signal.

    Parameters
    ----------
    pieces : array of shape (n, n_times)
        Pieces.
    sfreq : float
        Hz.

    Returns
    -------
    power : array of shape (n, n_freqs, n_moments)
        Under a Hann window of a quarter of the piece, inside the piece only.
    freqs : array of shape (n_freqs,)
        Hz; 0 is left out.
    times : array of shape (n_moments,)
        Middles of the windows, in seconds from the beginning of the piece.
    """
    n_times = pieces.shape[-1]
    length = min(n_times, max(4, n_times // 4))
    step = max(1, length // 4)
    cut = np.lib.stride_tricks.sliding_window_view(pieces, length, axis=-1)[:, ::step]
    cut = (cut - cut.mean(axis=-1, keepdims=True)) * np.hanning(length + 2)[1:-1]
    power = np.abs(np.fft.rfft(cut, axis=-1)[..., 1:]) ** 2
    times = (np.arange(cut.shape[1]) * step + length / 2) / sfreq
    return power.transpose(0, 2, 1), np.fft.rfftfreq(length, 1 / sfreq)[1:], times


@dataclass(frozen=True)
class _Spectra:
    """Mean spectrum and mean spectrogram of pieces."""

    power: np.ndarray
    freqs: np.ndarray
    course: np.ndarray
    course_freqs: np.ndarray
    course_times: np.ndarray

    @classmethod
    def of(cls, pieces: np.ndarray, sfreq: float) -> _Spectra:
        n_times = pieces.shape[1]
        centred = (pieces - pieces.mean(axis=1, keepdims=True)) * np.hanning(n_times + 2)[1:-1]
        power = (np.abs(np.fft.rfft(centred, axis=1)) ** 2).mean(axis=0)[1:]
        course, course_freqs, course_times = piece_spectrogram(pieces, sfreq)
        return cls(power, np.fft.rfftfreq(n_times, 1 / sfreq)[1:], course.mean(axis=0), course_freqs, course_times)


def _draw(
    flat: np.ndarray, shape: tuple[int, ...], owners: np.ndarray | None, most: int, rng: np.random.Generator
) -> np.ndarray:
    """Some of the places, people in turn, as many of each as there are."""
    flat = rng.permutation(flat)
    if owners is None:
        return flat[:most]
    person = np.unique(owners, return_inverse=True)[1][flat // (shape[1] * shape[2])]
    order = np.argsort(person, kind="stable")
    each = np.bincount(person)
    turn = np.empty(len(flat), int)
    turn[order] = np.arange(len(flat)) - np.repeat(np.cumsum(each) - each, each)
    return flat[np.argsort(turn, kind="stable")][:most]


def _pieces(tokenizer: Any, X: Any, wanted: np.ndarray, shape: tuple[int, ...], where: Frames) -> np.ndarray:
    """The pieces at some places, (n, n_times), their window's channel divided by its standard deviation."""
    found = np.zeros((len(wanted), where.length))
    start = 0
    for signals in _batches(tokenizer, X):
        # places are sorted, and so are their windows
        first, last = np.searchsorted(wanted // (shape[1] * shape[2]), [start, start + len(signals)])
        for i in range(first, last):
            window, channel, frame = np.unravel_index(wanted[i], shape)
            signal = signals[int(window) - start, int(channel)].astype(float)
            piece = signal[int(frame) * where.hop :][: where.length]
            found[i, : len(piece)] = piece / (signal.std() or 1.0)
        start += len(signals)
    if start != shape[0]:
        raise InputError(f"expected tokens of these windows, got tokens of {shape[0]} and {start} windows")
    return found


def _batches(tokenizer: Any, X: Any) -> Iterator[np.ndarray]:
    """Windows as the tokenizer's network sees them, at its rate."""
    for signals, _ in tokenizer._run(X):
        yield signals.cpu().numpy()


def _by(values: np.ndarray | None, window: np.ndarray) -> dict[Any, int]:
    if values is None:
        return {}
    names, number = np.unique(values, return_inverse=True)
    return dict(zip(names.tolist(), np.bincount(number[window], minlength=len(names)).tolist(), strict=True))
