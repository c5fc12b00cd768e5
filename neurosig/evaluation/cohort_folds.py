"""Folds of whole people: dealt out so that each holds its share of every label and site, or one recording site each.

Where every person bears one label (a diagnosis, an age), no score can be had of one person; a fold then tests several,
and its score is of all of them together. Nobody is ever on both sides of a fold.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from neurosig.core.channel_names import listed
from neurosig.core.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "bears_one_label", "check_labels", "default_splits", "repetition_times", "site_folds", "site_names",
    "subject_folds",
]  # fmt: skip

Fold = tuple[np.ndarray, np.ndarray]
USUAL_SPLITS = 5
_NOT_KNOWN = {"", "n/a", "nan", "none", "<na>"}


def subject_folds(
    y: Any, metadata: pd.DataFrame, n_splits: int | None = None, random_state: int | None = 42
) -> list[Fold]:
    """Folds that test whole subjects, several each, stratified by label and balanced by site.

    Parameters
    ----------
    y : array-like of shape (n_runs,)
        Labels; numbers (of dtype float) are balanced by size.
    metadata : pandas.DataFrame of n_runs rows
        With the column ``subject``; where it has ``site``, sites are balanced within each label.
    n_splits : int, optional
        Number of folds; 5 by default, fewer where a class has fewer subjects.
    random_state : int or None
        Seed of the order in which people of one label and site are dealt out; None deals them out as they come.

    Returns
    -------
    list of (train, test)
        Positions of the runs; each is tested once.

    Raises
    ------
    InputError
        If there are fewer subjects than folds, or fewer subjects of a class than folds.

    Notes
    -----
    The subjects, ordered by label and site, are dealt out like cards. In any two folds the numbers of subjects, of
    subjects of a label, and of subjects of a label at a site differ by one at most. A subject whose runs bear several
    labels counts as a label of its own kind; its runs stay together.

    Examples
    --------
    Scikit-learn takes them as they are, ``cross_val_score(model, X, y, cv=folds)``:

    >>> import pandas as pd
    >>> from neurosig.evaluation import subject_folds
    >>> people = pd.DataFrame({"subject": [f"p{i}" for i in range(12)], "site": ["NYU", "UM", "UM"] * 4})
    >>> y = ["patient"] * 6 + ["control"] * 6
    >>> folds = subject_folds(y, people, n_splits=2)
    >>> [sorted(people["site"][test]).count("NYU") for _, test in folds]
    [2, 2]
    """
    n_splits = default_splits(y, metadata) if n_splits is None else n_splits
    y = np.asarray(y)
    subjects = metadata["subject"].astype(str).to_numpy()
    names, first, number = np.unique(subjects, return_index=True, return_inverse=True)
    if len(names) < n_splits:
        raise InputError(
            f"{n_splits} folds need as many subjects, got {len(names)}; use at most {len(names)} folds"
            if len(names) > 1
            else f"folds over subjects need at least two subjects, got one ({names[0]}); use within-session folds"
        )
    if y.dtype.kind != "f":
        _check_subjects_of_each_class(y, subjects, n_splits)
    sites = site_names(metadata)
    site = np.array(["" if sites is None else sites[place] for place in first])
    shuffled = (
        np.argsort(first) if random_state is None else np.random.default_rng(random_state).permutation(len(names))
    )
    order = _dealing_order(y, number, site, shuffled, n_splits)
    fold = np.empty(len(names), dtype=int)
    fold[order] = np.arange(len(names)) % n_splits
    tested = fold[number]
    return [(np.flatnonzero(tested != place), np.flatnonzero(tested == place)) for place in range(n_splits)]


def default_splits(y: Any, metadata: pd.DataFrame) -> int:
    """Number of folds over subjects where nobody asks for one: 5, or as many as the rarest class has subjects.

    Parameters
    ----------
    y : array-like of shape (n_runs,)
        Labels.
    metadata : pandas.DataFrame of n_runs rows
        With the column ``subject``.

    Returns
    -------
    int
        At least 2, whether or not these can be made.
    """
    y, subjects = np.asarray(y), metadata["subject"].astype(str).to_numpy()
    fewest = len(set(subjects))
    if y.dtype.kind != "f":
        fewest = min((len(set(subjects[y == name])) for name in np.unique(y)), default=0)
    return max(2, min(USUAL_SPLITS, fewest))


def _dealing_order(
    y: np.ndarray, number: np.ndarray, site: np.ndarray, shuffled: np.ndarray, n_splits: int
) -> np.ndarray:
    """Subjects such that those who are alike come one after the other."""
    n_subjects = len(site)
    place = np.empty(n_subjects, dtype=int)
    place[shuffled] = np.arange(n_subjects)
    if y.dtype.kind != "f":
        labels = [" ".join(sorted(map(str, y[number == who]))) for who in range(n_subjects)]
        return np.lexsort((place, site, np.unique(labels, return_inverse=True)[1]))
    # numbers: by site, then neighbours in size, each batch of neighbours going to different folds at random
    size = np.array([y[number == who].mean() for who in range(n_subjects)])
    ranked = np.lexsort((size, site))
    return np.concatenate(
        [part[np.argsort(place[part])] for part in np.split(ranked, range(n_splits, n_subjects, n_splits))]
    )


def _check_subjects_of_each_class(y: np.ndarray, subjects: np.ndarray, n_splits: int) -> None:
    counts = {str(name): len(set(subjects[y == name])) for name in np.unique(y)}
    if len(counts) < 2:
        raise InputError(f"decoding needs runs of at least two classes, got one ({next(iter(counts), 'none')})")
    fewest = min(counts, key=lambda name: counts[name])
    if counts[fewest] < 2:
        raise InputError(
            f"folds over subjects need two subjects or more of every class, got one of {fewest}: without that one "
            "there is nobody to learn the class from; add subjects"
        )
    if counts[fewest] < n_splits:
        raise InputError(
            f"{n_splits} folds need {n_splits} subjects of every class, got {counts[fewest]} of {fewest}; use at most "
            f"{max(2, counts[fewest])} folds (n_splits), or more subjects"
        )


def site_folds(y: Any, metadata: pd.DataFrame) -> list[Fold]:
    """Leave one site out: each fold tests all runs of a site, and trains on those of all other sites.

    Parameters
    ----------
    y : array-like of shape (n_runs,)
        Labels.
    metadata : pandas.DataFrame of n_runs rows
        With the columns ``subject`` and ``site``.

    Returns
    -------
    list of (train, test)
        Positions of the runs, in the order of the sites' names.

    Raises
    ------
    InputError
        If there is no site, one site only, runs whose site is not known, a subject at several sites, or a site without
        which a class is lacking in training.

    Examples
    --------
    >>> import pandas as pd
    >>> from neurosig.evaluation import site_folds
    >>> people = pd.DataFrame({"subject": [f"p{i}" for i in range(6)], "site": ["NYU", "UM", "USM"] * 2})
    >>> [test.tolist() for _, test in site_folds(["patient", "control"] * 3, people)]
    [[0, 3], [1, 4], [2, 5]]
    """
    sites = site_names(metadata)
    if sites is None:
        raise InputError('folds over sites need the column "site" in the metadata; use folds="subject"')
    if lacking := [str(who) for who, site in zip(metadata["subject"], sites, strict=True) if not site]:
        raise InputError(
            f"folds over sites need the site of every run, {len(lacking)} have none (subjects "
            f"{listed(dict.fromkeys(lacking))}); fill them in, or leave those out: signals.subset(...)"
        )
    names = np.unique(sites)
    if len(names) < 2:
        raise InputError(f'folds over sites need at least two sites, got one ({names[0]}); use folds="subject"')
    subjects = metadata["subject"].astype(str).to_numpy()
    homes: dict[str, set[str]] = {}
    for who, site in zip(subjects, sites, strict=True):
        homes.setdefault(who, set()).add(site)
    if several := [who for who, found in homes.items() if len(found) > 1]:
        raise InputError(
            f"subject {several[0]} was recorded at several sites ({', '.join(sorted(homes[several[0]]))}), so that "
            'leaving out one of them would train and test on the same person; use folds="subject", or give people of '
            "different sites different names"
        )
    y = np.asarray(y)
    folds = []
    for name in names:
        train, test = np.flatnonzero(sites != name), np.flatnonzero(sites == name)
        if y.dtype.kind != "f" and (lacking := sorted(set(y.tolist()) - set(y[train].tolist()), key=str)):
            raise InputError(
                f"without site {name} there is nobody of class {', '.join(map(str, lacking))} to learn from; use "
                'folds="subject", or add sites'
            )
        folds.append((train, test))
    return folds


def site_names(metadata: pd.DataFrame) -> np.ndarray | None:
    """The site of each run, "" where it is not known; None where the metadata tell of no site."""
    if "site" not in metadata:
        return None
    names = ["" if _is_missing(site) else str(site) for site in metadata["site"]]
    return np.array(names) if any(names) else None


def repetition_times(metadata: pd.DataFrame) -> np.ndarray:
    """The repetition time of each run in seconds, NaN where it is not known."""
    import pandas as pd

    if "t_r" not in metadata:
        return np.full(len(metadata), np.nan)
    return pd.to_numeric(metadata["t_r"], errors="coerce").to_numpy(dtype=float)


def bears_one_label(y: Any, metadata: pd.DataFrame) -> bool:
    """Whether each subject's runs all bear the same label, while people differ.

    Parameters
    ----------
    y : array-like of shape (n_runs,)
        Labels, or numbers.
    metadata : pandas.DataFrame of n_runs rows
        With the column ``subject``.

    Returns
    -------
    bool
    """
    labels = np.asarray(y).tolist()
    borne: dict[str, set[Any]] = {}
    for who, label in zip(metadata["subject"].astype(str), labels, strict=True):
        borne.setdefault(who, set()).add(label)
    return len(borne) > 1 and len(set(labels)) > 1 and all(len(found) == 1 for found in borne.values())


def check_labels(y: Any, metadata: pd.DataFrame, name: str) -> None:
    """Refuse labels some of which are missing: None, NaN, an empty text or "n/a", as tables of people hold them.

    Raises
    ------
    InputError
        Naming the subjects, and how they are left out.
    """
    missing = [place for place, label in enumerate(np.asarray(y).tolist()) if _is_missing(label)]
    if missing:
        who = dict.fromkeys(str(metadata["subject"].iloc[place]) for place in missing)
        raise InputError(
            f"{name}: {len(missing)} of {len(metadata)} runs have no label (subjects {listed(who)}); leave them out, "
            "which subset does with a mask: signals.subset(labels_are_known)"
        )


def _is_missing(value: Any) -> bool:
    return value is None or value != value or (isinstance(value, str) and value.strip().lower() in _NOT_KNOWN)
