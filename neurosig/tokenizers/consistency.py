"""How alike tokens are: within and between people, across channels, and from moment to moment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from neurosig.core.errors import InputError, UsageError
from neurosig.tokenizers.token_axes import check_parts

__all__ = ["TokenConsistency", "similarity", "token_consistency"]


@dataclass(frozen=True)
class TokenConsistency:
    """What `token_consistency` found.

    Parameters
    ----------
    table : DataFrame
        A row a question, by name (index ``comparison``): ``value``; ``chance``, what shuffled tokens give on average,
        with ``chance_low`` and ``chance_high``, the span of 95 % of them; ``above_chance``, the value on a scale on
        which chance is 0 and the greatest possible value 1; ``p`` of so large a value by chance, one-sided; ``n``, what
        was averaged over, and ``of``, what that is.
    subjects : DataFrame or None
        Similarity of each two people, one half of the windows of each; the diagonal is between both halves of one. None
        without people.
    channels : DataFrame
        Similarity of the use of tokens of each two channels.
    """

    table: pd.DataFrame
    subjects: pd.DataFrame | None
    channels: pd.DataFrame


def similarity(counts: np.ndarray, others: np.ndarray | None = None) -> np.ndarray:
    """One minus the Jensen-Shannon divergence, in bits, of each two distributions: 1 if they are equal, 0 if disjoint.

    Parameters
    ----------
    counts : array of shape (n, n_codes)
        Occurrences of codes.
    others : array of shape (m, n_codes), optional
        What they are compared with; None: themselves.

    Returns
    -------
    array of shape (n, m)
        Similarities, between 0 and 1.

    References
    ----------
    Lin (1991), Divergence measures based on the Shannon entropy, IEEE Trans. Inf. Theory 37, 145-151.
    """
    p, q = (_shares(x) for x in (counts, counts if others is None else others))
    own, theirs = _entropy(p), _entropy(q)
    found = np.empty((len(p), len(q)))
    for i, row in enumerate(p):  # a row at a time: no array of all pairs by all codes
        found[i] = 1 - (_entropy((row + q) / 2) - (own[i] + theirs) / 2)
    return np.clip(found, 0.0, 1.0)


def token_consistency(
    tokens: Any,
    subjects: Any = None,
    *,
    ch_names: Any = None,
    n_permutations: int = 200,
    random_state: int = 0,
) -> TokenConsistency:
    """How consistent tokens are within and between people, across channels and in time, against chance.

    Parameters
    ----------
    tokens : array of integers of shape (n, n_channels, n_frames)
        Tokens of one codebook (`take_codebook`), in the order of time.
    subjects : array of shape (n,), optional
        Whom each window belongs to.
    ch_names : list of str, optional
        Names of the channels.
    n_permutations : int
        How often tokens are shuffled.
    random_state : int
        Seeds that.

    Returns
    -------
    TokenConsistency
        Its table has these rows, as far as there are people, channels and frames to compare:

        - ``within subjects``: similarity (one minus Jensen-Shannon divergence) of the use of tokens in two halves of
          the windows of a person, drawn at random; chance: windows are dealt out to people anew;
        - ``between subjects``: similarity of halves of two people; the same chance. How much more similar a person is
          to himself is what tells people apart;
        - ``within minus between``: that difference;
        - ``same token across channels``: how often two channels have the same token at the same moment, over pairs of
          channels; chance: windows of each channel are exchanged, within people;
        - ``same token in next frame``: how often a token is followed by itself; chance: frames are shuffled within each
          window and channel. Where frames overlap, neighbours share samples and agree for that reason too.

    Raises
    ------
    InputError
        If lengths differ.
    UsageError
        If a parameter is wrong.

    Notes
    -----
    Shuffled windows keep what is in a window together, but not what links the windows of a session: drifts and states
    of one person also make windows alike. Small p say that there is more order than in shuffled windows, not whence.
    """
    tokens, _, owners = check_parts(tokens, None, subjects)
    if n_permutations < 1:
        raise UsageError(f"n_permutations must be at least 1, got {n_permutations!r}")
    names = [f"channel {i}" for i in range(tokens.shape[1])] if ch_names is None else [str(name) for name in ch_names]
    if len(names) != tokens.shape[1]:
        raise InputError(f"expected one name a channel, got {len(names)} names and {tokens.shape[1]} channels")
    codes, place = np.unique(tokens, return_inverse=True)
    place = place.reshape(tokens.shape)
    rng = np.random.default_rng(random_state)
    rows: dict[str, dict[str, Any]] = {}
    by_subject = None
    if owners is not None:
        found, by_subject = _over_subjects(place, owners, len(codes), n_permutations, rng)
        rows |= found
    if tokens.shape[1] > 1:
        groups = np.zeros(len(tokens), int) if owners is None else np.unique(owners, return_inverse=True)[1]
        rows["same token across channels"] = _across_channels(place, groups, n_permutations, rng)
    if tokens.shape[2] > 1:
        rows["same token in next frame"] = _in_time(place, n_permutations, rng)
    use = np.stack([np.bincount(place[:, c].ravel(), minlength=len(codes)) for c in range(place.shape[1])])
    columns = ["value", "chance", "chance_low", "chance_high", "above_chance", "p", "n", "of"]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    table.index.name = "comparison"
    return TokenConsistency(table, by_subject, pd.DataFrame(similarity(use), index=names, columns=names))


def _over_subjects(
    place: np.ndarray, owners: np.ndarray, n_codes: int, n_permutations: int, rng: np.random.Generator
) -> tuple[dict[str, dict[str, Any]], pd.DataFrame]:
    from scipy.sparse import csr_array

    people, owner = np.unique(owners, return_inverse=True)
    each = np.bincount(owner)
    if each.min() < 2:
        alone = people[each < 2].tolist()
        raise InputError(f"expected at least two windows a person, to compare halves; too few of {alone[:5]}")
    n = len(place)
    flat = place.reshape(n, -1)
    ones = np.ones(flat.size)
    use = csr_array((ones, (np.repeat(np.arange(n), flat.shape[1]), flat.ravel())), shape=(n, n_codes))
    # halves of one size for all: divergence of samples grows as they get smaller
    half = int(each.min() // 2)
    rank = np.empty(n, int)
    for person in range(len(people)):
        rank[owner == person] = rng.permutation(each[person])  # drawn: conditions may alternate from window to window
    cells = np.full(n, -1)
    kept = rank < 2 * half
    cells[kept] = 2 * owner[kept] + rank[kept] % 2

    def compare(of_cell: np.ndarray) -> np.ndarray:
        rows = np.flatnonzero(of_cell >= 0)
        chosen = csr_array((np.ones(len(rows)), (of_cell[rows], rows)), shape=(2 * len(people), n))
        counts = (chosen @ use).toarray()
        return similarity(counts[::2], counts[1::2])

    def values(alike: np.ndarray) -> np.ndarray:
        within = float(np.diag(alike).mean())
        if len(alike) < 2:
            return np.array([within])
        between = float(alike[~np.eye(len(alike), dtype=bool)].mean())
        return np.array([within, between, within - between])

    alike = compare(cells)
    observed = values(alike)
    chance = np.array([values(compare(rng.permutation(cells))) for _ in range(n_permutations)])
    m = len(people)
    of = [("within subjects", m, "people"), ("between subjects", m * (m - 1) // 2, "pairs of people"),
          ("within minus between", m, "people")]  # fmt: skip
    rows = {name: _row(observed[i], chance[:, i], n, what) for i, (name, n, what) in enumerate(of[: len(observed)])}
    both = (alike + alike.T) / 2  # first half of one with second of the other, and the other way round
    return rows, pd.DataFrame(both, index=people, columns=people)


def _across_channels(
    place: np.ndarray, groups: np.ndarray, n_permutations: int, rng: np.random.Generator
) -> dict[str, Any]:
    n_channels = place.shape[1]
    n_pairs = n_channels * (n_channels - 1) // 2

    def agreement(tokens: np.ndarray) -> float:
        # of sorted tokens of a moment, runs of equal ones: k channels alike are k (k - 1) / 2 pairs
        order = np.sort(tokens.transpose(0, 2, 1).reshape(-1, n_channels), axis=1)
        new = np.ones(order.shape, bool)
        new[:, 1:] = order[:, 1:] != order[:, :-1]
        lengths = np.diff(np.append(np.flatnonzero(new.ravel()), new.size))
        return float((lengths * (lengths - 1) // 2).sum() / (n_pairs * len(order)))

    def shuffled() -> np.ndarray:
        found = np.empty_like(place)
        for group in np.unique(groups):
            rows = np.flatnonzero(groups == group)
            for channel in range(n_channels):
                found[rows, channel] = place[rng.permutation(rows), channel]
        return found

    return _against(agreement, place, shuffled, n_permutations, n_pairs, "pairs of channels")


def _in_time(place: np.ndarray, n_permutations: int, rng: np.random.Generator) -> dict[str, Any]:
    def agreement(tokens: np.ndarray) -> float:
        return float((tokens[..., 1:] == tokens[..., :-1]).mean())

    n = place.shape[0] * place.shape[1] * (place.shape[2] - 1)
    return _against(agreement, place, lambda: rng.permuted(place, axis=-1), n_permutations, n, "neighbouring frames")


def _against(
    measure: Callable[[np.ndarray], float], place: np.ndarray, shuffled: Callable[[], np.ndarray],
    n_permutations: int, n: int, of: str,
) -> dict[str, Any]:  # fmt: skip
    chance = np.array([measure(shuffled()) for _ in range(n_permutations)])
    return _row(measure(place), chance, n, of)


def _row(value: float, chance: np.ndarray, n: int, of: str) -> dict[str, Any]:
    mean = float(chance.mean())
    low, high = np.quantile(chance, [0.025, 0.975])
    p = (1 + int((chance >= value - 1e-12).sum())) / (1 + len(chance))
    above = (value - mean) / (1 - mean) if mean < 1 - 1e-12 else np.nan
    return {"value": float(value), "chance": mean, "chance_low": float(low), "chance_high": float(high),
            "above_chance": above, "p": p, "n": n, "of": of}  # fmt: skip


def _shares(counts: np.ndarray) -> np.ndarray:
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)


def _entropy(p: np.ndarray) -> np.ndarray:
    """Bits, over the last axis."""
    from scipy.special import entr

    return entr(p).sum(axis=-1) / np.log(2)
