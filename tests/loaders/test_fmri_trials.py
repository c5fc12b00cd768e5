"""Trials of a run: the volumes that a loop over events would take, and no others."""

import numpy as np
import pytest

from neurosig.core.errors import InputError
from neurosig.loaders.fmri_trials import cut_run, read_events_table


@pytest.mark.parametrize("kept", [None, [0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 17, 18, 19]])
def test_volumes_around_events(kept):
    t_r, onsets = 2.5, [0.0, 5.0, 12.4, 30.0, 47.0]
    every = np.random.default_rng(0).standard_normal((3, 20))
    run = every if kept is None else every[:, kept]
    trials, whole = cut_run(run, t_r, onsets, 2.5, 7.5, kept=kept, n_volumes=20)
    expected, inside = [], []
    for onset in onsets:
        volumes = [round(onset / t_r) + step for step in (1, 2, 3)]
        there = all(0 <= volume < 20 and (kept is None or volume in kept) for volume in volumes)
        inside.append(there)
        if there:
            expected.append(every[:, volumes])
    assert whole.tolist() == inside
    assert 0 < sum(inside) < len(onsets)
    np.testing.assert_array_equal(trials, np.stack(expected))


def test_before_the_first_volume():
    trials, whole = cut_run(np.zeros((2, 10)), 2.0, [1.0, 6.0], -4.0, 0.0)
    assert (trials.shape, whole.tolist()) == ((1, 2, 3), [False, True])


def test_a_table_of_events(tmp_path):
    path = tmp_path / "run_events.tsv"
    path.write_text("onset\tduration\ttrial_type\n1.5\t2\tface\n4\tn/a\tn/a\n9\t2\t7\n")
    table = read_events_table(path)
    assert table["onset"].tolist() == [1.5, 9.0]
    assert table["trial_type"].tolist() == ["face", "7"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("onset\tkind\n1\ta\n", "there is no 'trial_type'"),
        ("onset\ttrial_type\nsoon\ta\n", "onsets must be seconds, row 1 has none"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path, text, message):
    path = tmp_path / "run_events.tsv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_events_table(path)


def test_no_table(tmp_path):
    with pytest.raises(InputError, match="cannot be read as a table of events"):
        read_events_table(tmp_path / "gone.tsv")
