"""How runs come to BrainMAE: repetition times, names of regions, z-scores, runs that are read one by one."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import zscore

from neurosig.core.errors import ChannelError, InputError, UsageError
from neurosig.core.lazy_runs import LazyRuns
from neurosig.core.signals import SignalDataset, SignalSpec
from neurosig.models.brainmae_runs import (
    PaddedRuns,
    common_t_r,
    known_runs,
    region_order,
    resampled,
    said_t_r,
    samples_of_segment,
    stacked,
    standardised,
)

RNG = np.random.default_rng(0)


def dataset(runs, names, t_r=None, subjects=None, **fields):
    table = pd.DataFrame({"subject": subjects or [f"s{i}" for i in range(len(runs))], "session": "0", "run": "0"})
    if t_r is not None:
        table["t_r"] = t_r
    return SignalDataset(runs, None, table, SignalSpec("fmri", tuple(names), unit="a.u.", **fields))


def known(X, **kwargs):
    return known_runs(X, estimator=None, reset=True, **kwargs)


class TestRepetitionTime:
    def test_straight_lines_are_kept_by_resampling(self):
        times = np.arange(50) * 2.0
        run = np.stack([3 - 0.5 * times, times])
        found = resampled(run, 2.0, 0.72)
        now = np.arange(found.shape[1]) * 0.72
        np.testing.assert_allclose(found, np.stack([3 - 0.5 * now, now]), atol=1e-12)
        assert now[-1] <= times[-1] < now[-1] + 0.72

    def test_resampling_agrees_with_numpy(self):
        run = RNG.standard_normal((3, 40))
        found = resampled(run, 1.5, 2.0)
        wanted = [np.interp(np.arange(found.shape[1]) * 2.0, np.arange(40) * 1.5, row) for row in run]
        np.testing.assert_allclose(found, wanted, atol=1e-12)

    def test_a_missing_region_stays_missing(self):
        run = RNG.standard_normal((3, 40))
        run[1] = np.nan
        found = resampled(run, 1.5, 2.0)
        assert np.isnan(found).all(axis=1).tolist() == [False, True, False]
        assert np.isfinite(found[[0, 2]]).all()

    @pytest.mark.parametrize(("t_r", "n"), [(0.72, 21), (0.8, 19), (1.0, 15), (1.6, 9), (2.0, 8)])
    def test_volumes_of_a_segment_of_15_seconds(self, t_r, n):
        assert samples_of_segment(15.0, 1 / t_r) == n

    def test_the_most_frequent_one_and_of_equals_the_shortest(self):
        assert common_t_r([2.0, 1.5, 2.0, 3.0]) == 2.0
        assert common_t_r([2.0, 1.5]) == 1.5

    @pytest.mark.parametrize(
        ("t_r", "said"), [(0, "above 0"), (-2, "above 0"), (2000, "milliseconds.*give 2"), ("2", "number of seconds")]
    )
    def test_what_is_none(self, t_r, said):
        with pytest.raises(UsageError, match=said):
            known(RNG.standard_normal((2, 3, 20)), t_r=t_r)

    def test_one_a_run(self):
        runs = [RNG.standard_normal((3, 20)), RNG.standard_normal((3, 30))]
        assert known(runs, t_r=[2.0, 1.5]).t_r.tolist() == [2.0, 1.5]
        with pytest.raises(InputError, match="one t_r for each of 2 runs, got 3"):
            known(runs, t_r=[2.0, 1.5, 1.0])

    def test_a_dataset_tells_its_own(self):
        runs = [RNG.standard_normal((3, 20)), RNG.standard_normal((3, 30))]
        data = dataset(runs, "abc", [2.0, 1.5])
        assert known(data).t_r.tolist() == [2.0, 1.5]
        assert known(dataset(runs, "abc", sfreq=0.5)).t_r.tolist() == [2.0, 2.0]
        with pytest.raises(UsageError, match=r"t_r=2 s was given, run 1 itself tells 1.5 s"):
            known(data, t_r=2.0)

    def test_seconds_and_hertz_agree_or_are_refused(self):
        assert said_t_r(None, 0.5) == said_t_r(2.0, 0.5) == 2.0
        with pytest.raises(UsageError, match="contradict"):
            said_t_r(2.0, 1.0)


class TestRegions:
    def order(self, own, theirs, on_missing="raise", on_unknown="raise"):
        return region_order(own, theirs, on_missing=on_missing, on_unknown=on_unknown, who="the network")

    def test_by_name_and_not_by_place(self):
        assert self.order("abc", "cab").tolist() == [1, 2, 0]
        assert self.order("abc", "abc") is None
        assert self.order(None, "abc") is None

    def test_missing_and_unknown_ones_are_told_or_allowed(self):
        with pytest.raises(ChannelError, match="lack c; on_missing='mask'"):
            self.order("abc", "ab")
        assert self.order("abc", "ba", on_missing="mask").tolist() == [1, 0, -1]
        with pytest.raises(ChannelError, match="regions that the network does not know: d"):
            self.order("abc", "abcd")
        assert self.order("abc", "dcba", on_unknown="drop").tolist() == [3, 2, 1]
        with pytest.raises(ChannelError, match=r"none of the regions of the network.*atlas"):
            self.order("abc", "xyz", on_missing="mask", on_unknown="drop")

    def test_they_come_out_in_order(self):
        run = RNG.standard_normal((3, 20))
        padded = PaddedRuns(known([run]), None, np.array([2, -1, 0]), False, allow_missing=True)
        np.testing.assert_array_equal(padded.run(0)[[0, 2]], run[[2, 0]])
        assert np.isnan(padded.run(0)[1]).all()


class TestStandardised:
    def test_agrees_with_scipy(self):
        run = 100 + 5 * RNG.standard_normal((4, 30))
        found, flat = standardised(run)
        np.testing.assert_allclose(found, zscore(run, axis=1, ddof=1), rtol=1e-7)
        assert not flat.any()

    @pytest.mark.parametrize("value", [0.0, 3.0, 1e4])
    def test_constant_regions_are_zeros(self, value):
        run = np.vstack([RNG.standard_normal((2, 30)), np.full((1, 30), np.float32(value) / 3)])
        found, flat = standardised(run)
        assert flat.tolist() == [False, False, True]
        assert not found[2].any()

    def test_they_are_told_once(self):
        runs = RNG.standard_normal((3, 4, 20))
        runs[:2, 1] = 7.0
        with pytest.warns(UserWarning, match=r"2 of 3 runs have constant regions \(b\)") as told:
            found = stacked(PaddedRuns(known(runs), None, None, True), list("abcd"))
        assert len(told) == 1
        assert not found[:2, 1].any()
        assert found[2, 1].any()


class TestSeveralLengths:
    def test_the_end_of_a_run_is_nan(self):
        runs = [RNG.standard_normal((3, n)) for n in (20, 35)]
        found = stacked(PaddedRuns(known(runs), None, None, False), None)
        assert found.shape == (2, 3, 35)
        np.testing.assert_array_equal(found[0, :, :20], runs[0].astype(np.float32))
        assert np.isnan(found[0, :, 20:]).all()
        np.testing.assert_array_equal(found[1], runs[1].astype(np.float32))

    def test_runs_on_disk_give_the_same_and_stay_there(self):
        stored = [RNG.standard_normal((3, n)) for n in (20, 35, 28)]
        held = []

        def read(place):
            held.append(place)
            return stored[place]

        lazy, usual = (known(X, t_r=[2.0, 1.0, 2.0]) for X in (LazyRuns(read, range(3)), stored))
        assert lazy.lazy
        assert held == [0, 1, 2]  # each was read once to be checked
        options = (2.0, np.array([1, 0, 2]), True)
        wanted = stacked(PaddedRuns(usual, *options), None)
        streamed = stacked(PaddedRuns(lazy, *options), None, in_memory=10)
        assert isinstance(streamed, PaddedRuns)
        np.testing.assert_array_equal(streamed.oindex[np.array([0, 2])], wanted[[0, 2]])
        np.testing.assert_array_equal(streamed[1:3], wanted[1:])
        np.testing.assert_array_equal(stacked(PaddedRuns(lazy, *options), None, in_memory=1 << 20), wanted)

    def test_a_memory_map_is_read_run_by_run(self, tmp_path):
        np.save(tmp_path / "runs.npy", RNG.standard_normal((3, 4, 20)).astype(np.float32))
        X = np.load(tmp_path / "runs.npy", mmap_mode="r")
        found = known(X, t_r=2.0)
        assert found.lazy
        np.testing.assert_array_equal(PaddedRuns(found, 2.0, None, False)[:], X)


class TestBadInput:
    def test_runs_that_cannot_be_used(self):
        good = RNG.standard_normal((3, 20))
        for bad, said in (
            ([], "at least one run"), ([good, good[:2]], "run 1 has 2"), ([good, good[0]], "run 1 has shape"),
            ([good, np.where(np.arange(20) == 4, np.nan, good)], "NaN or inf in part of regions"),
        ):  # fmt: skip
            with pytest.raises(InputError, match=said):
                known(bad, t_r=2.0)

    def test_on_disk_they_are_named_as_well(self):
        good = RNG.standard_normal((3, 20))
        runs = [good, good[:2], np.full((3, 20), np.inf)]
        with pytest.raises(InputError, match="run 1 has 2, the first 3"):
            known(LazyRuns(lambda i: runs[i], [0, 1]), t_r=2.0)
        with pytest.raises(InputError, match=r"run 1, read alone.*NaN or inf"):
            known(LazyRuns(lambda i: runs[i], [0, 2]), t_r=2.0)
        with pytest.raises(InputError, match="empty"):
            known(LazyRuns(lambda i: runs[i], []), t_r=2.0)

    def test_a_region_that_is_missing_throughout_needs_leave(self):
        run = RNG.standard_normal((3, 20))
        run[1] = np.nan
        found = known(np.array([run, run]), t_r=2.0)
        with pytest.raises(InputError, match=r"run 0 lacks regions \(NaN throughout\): b; on_missing='mask'"):
            PaddedRuns(found, 2.0, None, True, names=list("abc"))[:]
        assert np.isnan(PaddedRuns(found, 2.0, None, True, allow_missing=True)[:][:, 1]).all()

    def test_more_names_than_regions(self):
        with pytest.raises(ChannelError, match="4 regions are named, the runs have 3"):
            known(RNG.standard_normal((2, 3, 20)), t_r=2.0, spec=SignalSpec("fmri", tuple("abcd")))
