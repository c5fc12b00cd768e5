"""Tokens that are more frequent in one class than in the others, tested over people where these are known."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from neurosig.core.errors import InputError, UsageError
from neurosig.tokenizers.token_axes import check_parts

__all__ = ["distinctive_tokens", "log_odds"]

_CORRECTIONS = ("max", "fdr", "holm")
_AT_ONCE = 256  # arrangements of labels that are computed together
_TOLERANCE = 1e-9  # statistics are sums of a few shares: equal ones differ by rounding only


def distinctive_tokens(
    tokens: Any,
    y: Any,
    *,
    groups: Any = None,
    min_count: int = 5,
    prior: float | None = None,
    correction: str = "max",
    alpha: float = 0.05,
    n_permutations: int = 2000,
    random_state: int = 0,
) -> pd.DataFrame:
    """Find tokens that tell classes apart, by an effect and a test whose n is that of people.

    Parameters
    ----------
    tokens : array of integers of shape (n, n_channels, n_frames)
        Tokens of one codebook (`take_codebook`). All channels count together; ``tokens[:, [i]]`` asks about one.
    y : array of shape (n,)
        Class of each window.
    groups : array of shape (n,), optional
        Whom each window belongs to. The test is then over these: windows of one person are not independent. None takes
        every window as a sample of its own, which is right only where each is of another person.
    min_count : int
        Tokens that occur less often in all classes together are not tested.
    prior : float or None
        Number of tokens that the prior of the log odds ratio weighs; None takes one for each token that is tested.
    correction : {"max", "fdr", "holm"}
        For the number of tests. "max" compares each statistic with the largest one over all tests under permutation
        (Westfall and Young): the probability of one false token or more is `alpha`, dependence between tokens is taken
        into account, and the p values do not grow coarse with the number of tests. "fdr" is the false discovery rate
        (Benjamini and Hochberg), "holm" the step-down correction.
    alpha : float
        Level of the column ``distinctive``.
    n_permutations : int
        Arrangements of labels that are drawn; where there are no more than these, all are gone through.
    random_state : int
        Seeds the draws.

    Returns
    -------
    DataFrame
        A row for each token and class, the clearest first; with two classes a row for each token, that of the class in
        which its share is higher. Columns:

        - ``code``, ``class``;
        - ``count``, ``count_rest``: occurrences in the class, and in the others, of what was tested;
        - ``share``, ``share_rest``: mean over people (windows) of its share of the tokens;
        - ``difference`` of these shares, ``n_agree``: people in whom it has this sign (of those who have all classes);
        - ``log_odds``, ``z``: log odds ratio against the rest and that over its standard error, see `log_odds`. They
          are of counts that are pooled, and rank tokens; they are no test, as they take tokens for independent;
        - ``p``, ``p_corrected``, ``distinctive``: two-sided. NaN where there are too few people for a test.

        ``attrs`` says what was tested: ``unit`` ("groups" or "windows"), ``n_units``, ``design`` ("within": every one
        has all classes, labels are exchanged within people; "between": every one has one class, labels are exchanged
        between them), ``n_left_out`` (people who do not fit the design), ``n_tests``, ``n_not_tested`` (rare tokens),
        ``p_smallest`` (the smallest p that so few units allow), ``correction``, ``alpha``.

    Raises
    ------
    InputError
        If there are fewer than two classes, or people have neither all classes nor one each.
    UsageError
        If a parameter is wrong.

    Notes
    -----
    The statistic is the mean difference of shares over its root mean square over people ("within"), or the correlation
    of share and class ("between"); under exchange of labels either orders the arrangements as a t value does. The null
    hypothesis is that classes can be exchanged within a person, or people between classes: then p values are exact.

    Shares add up to one, so that where one token is more frequent others are rarer: distinctive tokens are not
    independent findings.

    References
    ----------
    Monroe, Colaresi and Quinn (2008), "Fightin' words", Political Analysis 16, 372-403. Westfall and Young (1993),
    "Resampling-based multiple testing". Benjamini and Hochberg (1995), J. R. Statist. Soc. B 57, 289-300.

    Examples
    --------
    >>> import numpy as np
    >>> from neurosig.tokenizers.analysis import distinctive_tokens
    >>> rng = np.random.default_rng(0)
    >>> y, people = np.tile(["rest", "task"], 80), np.repeat(np.arange(8), 20)
    >>> tokens = rng.integers(0, 10, (160, 2, 9))
    >>> tokens[y == "task", 0, :3] = 4
    >>> table = distinctive_tokens(tokens, y, groups=people)
    >>> table.loc[table["distinctive"] & (table["class"] == "task"), "code"].tolist()
    [4]
    """
    tokens, labels, owners = check_parts(tokens, y, groups)
    _check_options(min_count, prior, correction, alpha, n_permutations)
    if labels is None:
        raise InputError("expected the class of each window as y, got None")
    classes, label = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise InputError(f"expected at least two classes, got {', '.join(map(str, classes.tolist())) or 'none'}")
    codes, place = np.unique(tokens, return_inverse=True)
    place = place.reshape(len(tokens), -1)
    units = _units(label, owners, len(classes))
    used = np.concatenate([rows for cells in units.rows for rows in cells])
    total = np.bincount(place[used].ravel(), minlength=len(codes))
    tested = np.flatnonzero(total >= min_count)
    counts = _counts(place, label, used, len(classes), len(codes))
    shares = _shares(units, place, len(codes))[..., tested]
    test = _within if units.design == "within" else _between
    p, p_max, smallest = test(shares, units, n_permutations, np.random.default_rng(random_state))
    corrected = p_max if correction == "max" else _correct(p, correction)
    mean, rest, agree = _summary(shares, units, len(classes))
    rows = []
    for c, name in enumerate(classes.tolist()):
        odds, z = log_odds(counts[c][tested], counts[:, tested].sum(axis=0) - counts[c][tested], prior)
        rows.append(pd.DataFrame({
            "code": codes[tested], "class": name, "count": counts[c][tested],
            "count_rest": counts[:, tested].sum(axis=0) - counts[c][tested], "share": mean[c], "share_rest": rest[c],
            "difference": mean[c] - rest[c], "n_agree": agree[c], "log_odds": odds, "z": z, "p": p[c],
            "p_corrected": corrected[c],
        }))  # fmt: skip
    if len(classes) == 2:
        first, second = rows
        higher = (first["difference"] > 0) | ((first["difference"] == 0) & (first["log_odds"] >= 0))
        table = pd.concat([first[higher], second[~higher]], ignore_index=True)
    else:
        table = pd.concat(rows, ignore_index=True)
    table["distinctive"] = table["p_corrected"] <= alpha
    order = np.lexsort((table["code"], -table["z"].abs(), table["p"].fillna(2), table["p_corrected"].fillna(2)))
    table = table.iloc[order].reset_index(drop=True)
    table.attrs = {
        "unit": "windows" if owners is None else "groups", "n_units": units.n, "design": units.design,
        "n_left_out": units.n_left_out, "n_tests": len(tested) * (1 if len(classes) == 2 else len(classes)),
        "n_not_tested": len(codes) - len(tested), "p_smallest": smallest, "correction": correction, "alpha": alpha,
    }  # fmt: skip
    return table


def log_odds(count: np.ndarray, rest: np.ndarray, prior: float | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Log odds ratios of tokens with an informative Dirichlet prior, and their z values.

    Parameters
    ----------
    count, rest : array of int of shape (n_codes,)
        Occurrences in a class, and in all others.
    prior : float or None
        Weight of the prior in tokens; None is `n_codes`. It is spread over tokens as they are over all classes, so that
        rare tokens, whose ratios are extreme by chance, are drawn to zero.

    Returns
    -------
    log_odds : array of shape (n_codes,)
        Above zero where a token is more frequent in the class.
    z : array of shape (n_codes,)
        The same over its approximate standard error, for which tokens are taken to be independent.

    References
    ----------
    Monroe, Colaresi and Quinn (2008), "Fightin' words", Political Analysis 16, 372-403; equations 15, 16, 22.
    """
    both = count + rest
    weight = float(len(both) if prior is None else prior)
    before = weight * both / max(1, both.sum())

    def logit(counts: np.ndarray) -> np.ndarray:
        return np.log(counts + before) - np.log(counts.sum() + weight - counts - before)

    with np.errstate(divide="ignore", invalid="ignore"):  # a vocabulary of one token has no odds
        odds = logit(count) - logit(rest)
        z = odds / np.sqrt(1 / (count + before) + 1 / (rest + before))
    return np.nan_to_num(odds, posinf=0.0, neginf=0.0), np.nan_to_num(z, posinf=0.0, neginf=0.0)


class _Units(NamedTuple):
    """What is exchanged: for each unit the windows of each class ("within"), or all of its windows ("between")."""

    design: str
    rows: list[list[np.ndarray]]
    label: np.ndarray  # of a unit, "between"
    n_left_out: int

    @property
    def n(self) -> int:
        return len(self.rows)


def _units(label: np.ndarray, owners: np.ndarray | None, n_classes: int) -> _Units:
    if owners is None:
        return _Units("between", [[row] for row in np.arange(len(label))[:, np.newaxis]], label, 0)
    whole, single, of = [], [], []
    people = np.unique(owners)
    for one in people:
        rows = [np.flatnonzero((owners == one) & (label == c)) for c in range(n_classes)]
        there = [c for c in range(n_classes) if len(rows[c])]
        if len(there) == n_classes:
            whole.append(rows)
        elif len(there) == 1:
            single.append([rows[there[0]]])
            of.append(there[0])
    if len(single) == len(people):
        return _Units("between", single, np.array(of), 0)
    if not whole:
        raise InputError(
            "expected people (groups) who each have windows of all classes, or of one class each; got none of the "
            "first and some with several: leave classes out"
        )
    return _Units("within", whole, np.zeros(0, int), len(people) - len(whole))


def _counts(place: np.ndarray, label: np.ndarray, used: np.ndarray, n_classes: int, n_codes: int) -> np.ndarray:
    """Occurrences (n_classes, n_codes) in the windows that are tested."""
    flat = label[used, np.newaxis] * n_codes + place[used]
    return np.bincount(flat.ravel(), minlength=n_classes * n_codes).reshape(n_classes, n_codes)


def _shares(units: _Units, place: np.ndarray, n_codes: int) -> np.ndarray:
    """Shares (n_units, n_classes, n_codes) "within", (n_units, n_codes) "between"."""
    found = [[np.bincount(place[rows].ravel(), minlength=n_codes) / place[rows].size for rows in cells]
             for cells in units.rows]  # fmt: skip
    shares = np.array(found)
    return shares if units.design == "within" else shares[:, 0]


def _summary(shares: np.ndarray, units: _Units, n_classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean share in each class and in the rest, and the units that agree with the difference; (n_classes, n_codes)."""
    if units.design == "within":
        rest = (shares.sum(axis=1, keepdims=True) - shares) / (n_classes - 1)
        difference = shares - rest
        agree = (np.sign(difference) == np.sign(difference.mean(axis=0))) & (difference != 0)
        return shares.mean(axis=0), rest.mean(axis=0), agree.sum(axis=0).astype(float)
    of = [shares[units.label == c].mean(axis=0) for c in range(n_classes)]
    # as many classes, as many voices: what is rare in each of the others is rare in the rest
    rest = np.array([np.mean([of[k] for k in range(n_classes) if k != c], axis=0) for c in range(n_classes)])
    return np.array(of), rest, np.full_like(rest, np.nan)


def _within(
    shares: np.ndarray, units: _Units, n_permutations: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, float]:
    """P values (n_classes, n_codes), uncorrected and by the maximum, of exchanging classes within units."""
    n, n_classes, n_codes = shares.shape
    orders = np.array(list(itertools.permutations(range(n_classes))))
    all_of_them = float(len(orders)) ** min(n, 300)
    smallest = min(1.0, (2.0 if n_classes == 2 else 1.0) / min(all_of_them, n_permutations))
    if n < 2:
        nothing = np.full((n_classes, n_codes), np.nan)
        return nothing, nothing, 1.0
    centred = shares - shares.mean(axis=1, keepdims=True)
    centred = centred / _not_zero(np.sqrt((centred**2).sum(axis=(0, 1)) / n_classes))
    stacked = centred.reshape(n * n_classes, n_codes)  # rows: unit after unit, class after class

    def statistics(chosen: np.ndarray) -> np.ndarray:
        found = np.empty((len(chosen), n_classes, n_codes))
        for c in range(n_classes):
            taken = np.zeros((len(chosen), n, n_classes))
            np.put_along_axis(taken, orders[chosen][..., c][..., np.newaxis], 1.0, axis=2)
            found[:, c] = taken.reshape(len(chosen), -1) @ stacked
        return found

    if all_of_them <= n_permutations:
        draws: Iterator[np.ndarray] = _blocks(itertools.product(range(len(orders)), repeat=n))
    else:
        drawn = rng.integers(0, len(orders), (n_permutations, n))
        drawn[0] = 0  # the labels as they are
        draws = iter(np.array_split(drawn, -(-len(drawn) // _AT_ONCE)))
    return (*_compare(statistics(np.zeros((1, n), int))[0], map(statistics, draws)), smallest)


def _between(
    shares: np.ndarray, units: _Units, n_permutations: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, float]:
    """The same, of exchanging units between classes."""
    label = units.label
    size = np.bincount(label)
    n, n_codes = shares.shape
    logarithm = math.lgamma(n + 1) - sum(math.lgamma(k + 1) for k in size.tolist())
    all_of_them = round(math.exp(min(logarithm, 30.0)))
    twins = 2.0 if len(size) == 2 and size[0] == size[1] else 1.0
    smallest = min(1.0, twins / min(all_of_them, n_permutations))
    if size.min() < 2:
        nothing = np.full((len(size), n_codes), np.nan)
        return nothing, nothing, 1.0
    centred = shares - shares.mean(axis=0)
    centred = centred / _not_zero(np.sqrt((centred**2).sum(axis=0)))
    norm = np.sqrt(size * (n - size) / n)

    def statistics(labels: np.ndarray) -> np.ndarray:
        found = [((labels == c) @ centred) / norm[c] for c in range(len(size))]
        return np.stack(found, axis=1)

    if len(size) == 2 and all_of_them <= n_permutations:
        chosen = _blocks(itertools.combinations(range(n), int(size[1])))
        draws: Iterator[np.ndarray] = (_with_ones(block, n) for block in chosen)
    else:
        drawn = np.stack([label, *(rng.permutation(label) for _ in range(n_permutations - 1))])
        draws = iter(np.array_split(drawn, -(-len(drawn) // _AT_ONCE)))
    return (*_compare(statistics(label[np.newaxis])[0], map(statistics, draws)), smallest)


def _with_ones(places: np.ndarray, n: int) -> np.ndarray:
    labels = np.zeros((len(places), n), int)
    np.put_along_axis(labels, places, 1, axis=1)
    return labels


def _compare(observed: np.ndarray, drawn: Iterator[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Shares of the arrangements whose statistic, and whose largest one, reaches what was observed."""
    reached, reached_by_largest, n = np.zeros(observed.shape), np.zeros(observed.shape), 0
    limit = np.abs(observed) - _TOLERANCE
    for block in drawn:
        size = np.abs(block)
        reached += (size >= limit).sum(axis=0)
        largest = np.sort(size.max(axis=(1, 2))) if size[0].size else np.zeros(len(size))
        reached_by_largest += len(largest) - np.searchsorted(largest, limit)
        n += len(block)
    return reached / n, reached_by_largest / n


def _blocks(items: Iterator[Any]) -> Iterator[np.ndarray]:
    while block := list(itertools.islice(items, _AT_ONCE)):
        yield np.array(block)


def _correct(p: np.ndarray, correction: str) -> np.ndarray:
    """Corrected p values; of two classes each test stands there twice and counts once."""
    if not p.size or np.isnan(p).any():
        return p
    once = p[:1] if len(p) == 2 else p
    if correction == "fdr":
        from scipy.stats import false_discovery_control

        corrected = false_discovery_control(once.ravel(), method="bh")
    else:
        order = np.argsort(once.ravel(), kind="stable")
        steps = once.ravel()[order] * np.arange(once.size, 0, -1)
        corrected = np.empty(once.size)
        corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return np.broadcast_to(corrected.reshape(once.shape), p.shape)


def _not_zero(scale: np.ndarray) -> np.ndarray:
    return np.where(scale > 1e-12, scale, np.inf)  # what does not vary has no difference to test


def _check_options(min_count: int, prior: float | None, correction: str, alpha: float, n_permutations: int) -> None:
    if correction not in _CORRECTIONS:
        raise UsageError(f"correction must be one of {', '.join(_CORRECTIONS)}, got {correction!r}")
    if not 0 < alpha < 1:
        raise UsageError(f"alpha must lie between 0 and 1, got {alpha!r}")
    if n_permutations < 1 or min_count < 1:
        raise UsageError(f"n_permutations and min_count must be at least 1, got {n_permutations!r} and {min_count!r}")
    if prior is not None and not 0 < prior < math.inf:
        raise UsageError(f"prior must be a positive number of tokens, or None, got {prior!r}")
