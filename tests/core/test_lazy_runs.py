import pickle

import joblib
import numpy as np
import pandas as pd
import pytest

from neurosig.core.errors import UsageError
from neurosig.core.lazy_runs import LazyRuns
from neurosig.core.runs import check_runs
from neurosig.core.signals import SignalDataset, SignalSpec


def _read(length):
    return np.full((2, length), length, dtype=np.float32)


@pytest.fixture
def counted():
    """Runs whose reads are noted."""
    reads = []

    def read(length):
        reads.append(length)
        return _read(length)

    return LazyRuns(read, [4, 5, 5, 6]), reads


def test_nothing_is_read_before_it_is_asked_for(counted):
    runs, reads = counted
    assert len(runs) == 4 and len(runs[1:3]) == 2 and "4 runs" in repr(runs)
    assert reads == []
    assert runs[1].shape == (2, 5) and runs[-1].shape == (2, 6)
    assert reads == [5, 6]
    runs[3], runs[3]
    assert reads == [5, 6]  # the last one is still there
    runs[0]
    assert runs._last[0] == 0  # and no other


def test_chosen_runs_stay_lazy(counted):
    runs, _ = counted
    for index in ([0, 3], np.array([True, False, False, True]), slice(0, 4, 3)):
        assert [run.shape[1] for run in runs[index]] == [4, 6]
    with pytest.raises(IndexError):
        runs[4]


def test_load_gives_an_array_or_a_list(counted):
    runs, _ = counted
    assert isinstance(runs.load(), list)
    assert runs[1:3].load().shape == (2, 2, 5)
    with pytest.raises(UsageError, match="n_jobs"):
        runs.load(n_jobs=0)


def test_several_at_a_time_give_the_same():
    runs = LazyRuns(_read, [4, 5])
    with joblib.parallel_config("threading"):
        both = runs.load(n_jobs=2)
    for one, other in zip(both, runs.load(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_pickled_runs_forget_what_was_read():
    runs = LazyRuns(_read, [4, 5])
    runs[0]
    again = pickle.loads(pickle.dumps(runs))
    assert again._last is None and again[1].shape == (2, 5)


def test_checked_as_any_runs(counted):
    assert [run.shape[1] for run in check_runs(counted[0])] == [4, 5, 5, 6]


def test_dataset_stays_lazy_until_it_is_loaded(counted):
    runs, reads = counted
    table = pd.DataFrame({"subject": list("abcd"), "session": "0", "run": "0"})
    dataset = SignalDataset(runs, np.array(list("xyxy")), table, SignalSpec("fmri", ("V1", "M1")))
    assert len(dataset) == 4 and "4 arrays" in repr(dataset)
    for query in ("subject in ['b', 'c']", "y == 'y'", np.array([2, 1])):
        part = dataset.subset(query)
        assert isinstance(part.X, LazyRuns) and len(part) == 2
    assert reads == []
    loaded = dataset.subset("subject in ['b', 'c']").load()
    assert loaded.X.shape == (2, 2, 5) and loaded.load() is loaded
