"""Folds of whole people: whom they keep together, how they are balanced, and what they refuse."""

import numpy as np
import pandas as pd
import pytest

from neurosig.core.errors import InputError
from neurosig.evaluation.cohort_folds import bears_one_label, check_labels, site_folds, site_names, subject_folds


def people(n=23, n_runs=1, n_sites=3, seed=0, share=0.5):
    """A table of people with one label and one site each, in random order, and the labels of their runs."""
    rng = np.random.default_rng(seed)
    label = rng.permutation(np.where(np.arange(n) < max(2, round(share * n)), "patient", "control"))
    site = rng.choice([f"S{i}" for i in range(n_sites)], n)
    rows = rng.permutation(np.repeat(np.arange(n), n_runs))
    table = pd.DataFrame({"subject": [f"p{i}" for i in rows], "session": "0", "run": "0", "site": site[rows]})
    return label[rows], table


def counts(fold, names):
    return pd.Series(names[fold]).value_counts().to_dict()


@pytest.mark.parametrize("seed", range(12))
def test_whole_subjects_are_dealt_out_evenly(seed):
    rng = np.random.default_rng(seed)
    n, n_runs, n_sites, n_splits = (int(rng.integers(*span)) for span in ((10, 60), (1, 4), (1, 6), (2, 6)))
    state = None if seed % 3 == 0 else seed
    y, table = people(n, n_runs, n_sites, seed)
    folds = subject_folds(y, table, n_splits, state)
    who = table["subject"].to_numpy()
    assert len(folds) == n_splits
    assert sorted(np.concatenate([test for _, test in folds]).tolist()) == list(range(len(y)))
    alone = table.assign(y=y).drop_duplicates("subject")
    sizes, labels, strata = [], [], []
    for train, test in folds:
        assert not set(who[train]) & set(who[test])
        assert len(train) + len(test) == len(y)
        here = alone[alone["subject"].isin(who[test])]
        sizes.append(len(here))
        labels.append([(here["y"] == name).sum() for name in ("patient", "control")])
        strata.append([((here["y"] == name) & (here["site"] == site)).sum()
                       for name in ("patient", "control") for site in sorted(set(alone["site"]))])  # fmt: skip
    for table_of_counts in (np.reshape(sizes, (-1, 1)), labels, strata):
        assert np.ptp(table_of_counts, axis=0).max() <= 1


def test_the_seed_alone_decides_who_is_tested_with_whom():
    y, table = people(30)
    first, again, other = (subject_folds(y, table, 5, seed) for seed in (1, 1, 2))
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a[1], b[1]) for a, b in zip(first, other, strict=True))


def test_numbers_are_balanced_by_size_within_sites():
    rng = np.random.default_rng(0)
    age = rng.permutation(np.linspace(10.0, 60.0, 100))
    table = pd.DataFrame({"subject": [f"p{i}" for i in range(100)], "site": np.where(age > 35, "A", "B")})
    folds = subject_folds(age, table, 5)
    means = [age[test].mean() for _, test in folds]
    assert np.ptp(means) < 3  # batches of five neighbours, 2.5 years wide, give one to each fold
    assert {counts(test, table["site"].to_numpy())["A"] for _, test in folds} == {10}


def test_subjects_of_several_labels_stay_whole():
    table = pd.DataFrame({"subject": np.repeat([f"p{i}" for i in range(12)], 4)})
    y = np.tile(["a", "a", "b", "b"], 12)
    assert not bears_one_label(y, table)
    for _, test in subject_folds(y, table, 4):
        assert counts(test, y) == {"a": 6, "b": 6}


def test_each_site_is_left_out_once():
    y, table = people(40, n_runs=2, n_sites=4)
    folds = site_folds(y, table)
    site, who = table["site"].to_numpy(), table["subject"].to_numpy()
    assert [set(site[test]) for _, test in folds] == [{"S0"}, {"S1"}, {"S2"}, {"S3"}]
    for train, test in folds:
        assert set(site[train]) == {"S0", "S1", "S2", "S3"} - set(site[test])
        assert not set(who[train]) & set(who[test])
        assert len(train) + len(test) == len(y)


@pytest.mark.parametrize(("change", "match"), [
    (lambda y, t: (y, t.drop(columns="site")), 'need the column "site"'),
    (lambda y, t: (y, t.assign(site="S0")), "at least two sites, got one"),
    (lambda y, t: (y, t.assign(site=[None, *t["site"][1:]])), "1 have none .subjects p"),
    (lambda y, t: (y, t.assign(site=["", *t["site"][1:]])), "1 have none"),
    (lambda y, t: (y, t.assign(subject="p1")), "p1 was recorded at several sites .S0, S1"),
    (lambda y, t: (np.where(t["site"] == "S0", "patient", "control"), t), "without site S0 there is nobody of class"),
])  # fmt: skip
def test_folds_over_sites_refuse(change, match):
    with pytest.raises(InputError, match=match):
        site_folds(*change(*people(20)))


def test_folds_over_subjects_refuse():
    y, table = people(20, share=0.2)
    with pytest.raises(InputError, match="5 folds need 5 subjects of every class, got 4 of patient; use at most 4"):
        subject_folds(y, table, 5)
    with pytest.raises(InputError, match="30 folds need as many subjects, got 20"):
        subject_folds(y, table, 30)
    with pytest.raises(InputError, match="at least two subjects, got one"):
        subject_folds(y[:1], table[:1], 2)
    with pytest.raises(InputError, match="at least two classes, got one"):
        subject_folds(np.array(["control"] * 20), table, 5)


def test_labels_that_are_missing_are_named():
    _, table = people(6)
    for y in (np.array(["a", None, "b", "a", "b", "a"], dtype=object), np.array(["a", "n/a", "b", "a", "b", "a"]),
              np.array([1.0, np.nan, 2.0, 3.0, 4.0, 5.0])):  # fmt: skip
        with pytest.raises(InputError, match=f"1 of 6 runs have no label .subjects {table['subject'][1]}"):
            check_labels(y, table, "abide")
    check_labels(np.array([0, 1, 0, 1, 0, 1]), table, "abide")


def test_sites_and_labels_as_tables_hold_them():
    table = pd.DataFrame({"subject": ["a", "a", "b"], "site": ["NYU", np.nan, 3]})
    assert site_names(table).tolist() == ["NYU", "", "3"]
    assert site_names(table.drop(columns="site")) is None
    assert site_names(table.assign(site=np.nan)) is None
    assert bears_one_label(np.array([0, 0, 1]), table)
    assert not bears_one_label(np.array([0, 1, 1]), table)
    assert not bears_one_label(np.array([0, 0, 0]), table)
