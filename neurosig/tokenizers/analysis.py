"""What a researcher asks of tokens: which occur in which class, which tell classes apart, what they look like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from neurosig.core.signals import SignalDataset
from neurosig.tokenizers.consistency import TokenConsistency, token_consistency
from neurosig.tokenizers.distinctive import distinctive_tokens
from neurosig.tokenizers.motifs import Motif, frames_of, motifs
from neurosig.tokenizers.token_axes import (
    check_parts,
    codebook_axes,
    codebook_name,
    split_codebooks,
    take_codebook,
)

__all__ = [
    "Motif",
    "TokenAnalysis",
    "TokenConsistency",
    "analyse_tokens",
    "codebook_name",
    "distinctive_tokens",
    "motifs",
    "split_codebooks",
    "take_codebook",
    "token_consistency",
    "token_histogram",
]


def token_histogram(tokens: Any, y: Any = None, *, groups: Any = None, normalize: bool = False) -> pd.DataFrame:
    """How often each token occurs, by class.

    Parameters
    ----------
    tokens : array of integers of shape (n, n_channels, n_frames)
        Tokens of one codebook (`take_codebook`).
    y : array of shape (n,), optional
        Class of each window; None takes all windows as one.
    groups : array of shape (n,), optional
        Whom each window belongs to. With `normalize`, shares are means over these, so that each person counts the same;
        else they do nothing.
    normalize : bool
        Whether to give shares of the tokens of a class instead of counts.

    Returns
    -------
    DataFrame
        A row for each token that occurs, by its number (``code``), the most frequent first; a column for each class,
        sorted, or "all". Counts are integers; shares of a column sum to 1.

    Raises
    ------
    InputError
        If lengths differ, or tokens are not what is expected.

    Examples
    --------
    >>> import numpy as np
    >>> from neurosig.tokenizers.analysis import token_histogram
    >>> tokens = np.array([[[5, 5, 7]], [[7, 7, 7]]])
    >>> token_histogram(tokens, ["rest", "task"]).to_dict()
    {'rest': {7: 1, 5: 2}, 'task': {7: 3, 5: 0}}
    """
    tokens, labels, owners = check_parts(tokens, y, groups)
    codes, place = np.unique(tokens, return_inverse=True)
    place = place.reshape(len(tokens), -1)
    classes = ["all"] if labels is None else np.unique(labels).tolist()
    columns = {}
    for name in classes:
        of_class = np.ones(len(tokens), bool) if labels is None else labels == name
        if normalize and owners is not None:
            parts = [of_class & (owners == one) for one in np.unique(owners[of_class])]
            shares = [np.bincount(place[part].ravel(), minlength=len(codes)) / place[part].size for part in parts]
            columns[name] = np.mean(shares, axis=0)
        else:
            counts = np.bincount(place[of_class].ravel(), minlength=len(codes))
            columns[name] = counts / counts.sum() if normalize else counts
    table = pd.DataFrame(columns, index=pd.Index(codes, name="code"))
    return table.loc[table.sum(axis=1).sort_values(ascending=False, kind="stable").index]


@dataclass(frozen=True)
class TokenAnalysis:
    """All that this module tells of the tokens of some windows; `neurosig.reports.write_token_report` shows it.

    Parameters
    ----------
    histogram : DataFrame
        `token_histogram` of counts.
    shares : DataFrame
        The same of shares, of which each person counts the same.
    distinctive : DataFrame or None
        `distinctive_tokens`; None without classes.
    motifs : list of Motif
        The most frequent tokens, and the most distinctive ones where any are.
    consistency : TokenConsistency
        `token_consistency`.
    usage : DataFrame
        `Tokenizer.codebook_usage`, of all codebooks.
    reconstruction : DataFrame
        `Tokenizer.reconstruction_report`.
    about : dict
        ``tokenizer`` (class), ``codebook`` (of all but usage and reconstruction), ``n_windows, n_channels, n_frames,
        n_people`` (None where not known), ``classes`` (windows of each), ``n_codes, frame, hop`` (seconds),
        ``n_trained_on`` (windows that the tokenizer was fitted on).
    """

    histogram: pd.DataFrame
    shares: pd.DataFrame
    distinctive: pd.DataFrame | None
    motifs: list[Motif]
    consistency: TokenConsistency
    usage: pd.DataFrame
    reconstruction: pd.DataFrame
    about: dict[str, Any]


def analyse_tokens(
    tokenizer: Any,
    X: Any,
    y: Any = None,
    *,
    groups: Any = None,
    codebook: dict[str, int] | None = None,
    n_motifs: int = 8,
    n_permutations: int = 2000,
    random_state: int = 0,
) -> TokenAnalysis:
    """Tokenize windows and analyse their tokens.

    Parameters
    ----------
    tokenizer : Tokenizer
        Fitted.
    X : array of shape (n, n_channels, n_times), mne.Epochs or SignalDataset
        Windows, best such as the tokenizer was not fitted on.
    y : array of shape (n,), optional
        Classes; of a `SignalDataset` its own, if not given.
    groups : array of shape (n,), optional
        People; of a `SignalDataset` its subjects, if not given and there are several.
    codebook : dict of str to int, optional
        Which codebook, where there are several: ``{"scale": 0, "level": 0}``; None takes the first.
    n_motifs : int
        How many tokens to show.
    n_permutations : int
        See `distinctive_tokens`.
    random_state : int
        Seeds all that is drawn.

    Returns
    -------
    TokenAnalysis
        All that was found.

    Raises
    ------
    InputError
        If lengths differ.
    UsageError
        If the codebook is not there.
    """
    if isinstance(X, SignalDataset):
        y = X.y if y is None else y
        people = X.metadata["subject"].to_numpy()
        groups = people if groups is None and len(set(people.tolist())) > 1 else groups
    tokens = tokenizer.transform(X)
    book = dict.fromkeys(codebook_axes(tokenizer.token_axes), 0) | dict(codebook or {})
    one, labels, owners = check_parts(take_codebook(tokens, tokenizer, **book), y, groups)
    where = frames_of(tokenizer)
    several = labels is not None and len(np.unique(labels)) > 1
    distinctive = None
    if several:
        distinctive = distinctive_tokens(
            one, labels, groups=owners, n_permutations=n_permutations, random_state=random_state
        )
    histogram = token_histogram(one, labels)
    often = histogram.index.tolist()
    first = [] if distinctive is None else distinctive.loc[distinctive["distinctive"], "code"].unique().tolist()
    shown = list(dict.fromkeys([*first[: n_motifs // 2], *often]))[:n_motifs]
    enough = owners is not None and np.unique(owners, return_counts=True)[1].min() > 1
    names = None if tokenizer.spec_ is None else list(tokenizer.spec_.ch_names)
    return TokenAnalysis(
        histogram=histogram,
        shares=token_histogram(one, labels, groups=owners, normalize=True).reindex(histogram.index),
        distinctive=distinctive,
        motifs=motifs(
            tokenizer, X, shown, codebook=book, y=labels, groups=owners, tokens=tokens, random_state=random_state
        ),
        consistency=token_consistency(
            one, owners if enough else None, ch_names=names if names and len(names) == one.shape[1] else None,
            random_state=random_state,
        ),
        usage=tokenizer.codebook_usage(tokens),
        reconstruction=tokenizer.reconstruction_report(X),
        about={
            "tokenizer": type(tokenizer).__name__, "codebook": book, "n_windows": len(one), "n_channels": one.shape[1],
            "n_frames": one.shape[2], "n_people": None if owners is None else len(np.unique(owners)),
            "classes": {} if labels is None else pd.Series(labels).value_counts().sort_index().to_dict(),
            "n_codes": tokenizer.vocabulary_size_, "frame": where.length / where.sfreq, "hop": where.hop / where.sfreq,
            "n_trained_on": int(tokenizer.n_windows_),
        },
    )  # fmt: skip
