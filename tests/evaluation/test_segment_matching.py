"""Time-segment matching: on a planted story, by a loop, at chance on noise, and on real listeners."""

import numpy as np
import pandas as pd
import pytest

from neurosig.core.errors import InputError, UsageError
from neurosig.core.signals import SignalDataset, SignalSpec
from neurosig.evaluation import segment_matching
from neurosig.evaluation.segment_matching import matched_segments


def listeners(n=8, n_features=6, n_times=80, noise=2.0, seed=0):
    rng = np.random.default_rng(seed)
    story = rng.standard_normal((n_features, n_times))
    return story + noise * rng.standard_normal((n, n_features, n_times))


def test_a_loop_finds_the_same():
    one, other = listeners(2)
    for step in (10, 3):
        starts = np.arange(0, 71, step)
        expected = np.zeros((2, len(starts)), dtype=bool)
        for way, (a, b) in enumerate(((one, other), (other, one))):
            for i, s in enumerate(starts):
                rivals = {j: np.corrcoef(a[:, s : s + 10].ravel(), b[:, t : t + 10].ravel())[0, 1]
                          for j, t in enumerate(starts) if i == j or abs(s - t) >= 10}  # fmt: skip
                expected[way, i] = max(rivals, key=rivals.get) == i
        np.testing.assert_array_equal(matched_segments(one, other, starts, 10), expected)
        assert 0 < expected.mean() < 1


def test_a_story_is_found_and_noise_is_not():
    found = segment_matching(listeners(), segment=10, n_splits=20)
    assert found.accuracy > 0.9
    assert found.ci_low <= found.accuracy <= found.ci_high
    assert found.chance == 1 / 8
    assert found.scores.shape == (20,)
    noise = segment_matching(listeners(noise=1e6, n_times=600), segment=10, n_splits=20)
    assert noise.chance == 1 / 60
    assert noise.accuracy < noise.chance_upper
    assert noise.accuracy == pytest.approx(1 / 60, abs=0.03)


def test_overlapping_segments_are_no_candidates():
    # a story so slow that a segment's neighbours look like it
    slow = np.cumsum(np.random.default_rng(1).standard_normal((6, 200)), axis=1)
    X = slow + 3 * np.random.default_rng(2).standard_normal((8, 6, 200))
    found = segment_matching(X, segment=20, step=1, n_splits=5)
    assert len(found.starts) == 181
    # ends see 181 - 19 candidates, the middle 181 - 38
    counts = [sum(abs(s - t) >= 20 or s == t for t in found.starts) for s in found.starts]
    assert (counts[0], counts[90]) == (162, 143)
    assert found.chance == pytest.approx(np.mean(1 / np.array(counts)))
    assert found.accuracy > 0.9


def test_one_person_against_the_rest():
    X = listeners(noise=3)
    found = segment_matching(X, segment=10, design="one_vs_rest")
    assert found.scores.shape == (8,)
    expected = [matched_segments(X[i], np.delete(X, i, 0).mean(axis=0), range(0, 80, 10), 10).mean() for i in range(8)]
    plain = segment_matching(X, segment=10, design="one_vs_rest", standardize=False)
    np.testing.assert_allclose(plain.scores, expected)
    assert plain.accuracy < segment_matching(X, segment=10, n_splits=20).accuracy


def test_embeddings_have_a_column_a_segment():
    X = listeners(n_features=20, n_times=12, noise=0.5)
    found = segment_matching(X, n_splits=5)
    assert (found.length, len(found.starts), found.chance) == (1, 12, 1 / 12)
    assert found.accuracy == 1
    assert found.by_segment.tolist() == [1] * 12


def test_seconds_and_data_sets():
    X = listeners()
    table = pd.DataFrame({"subject": list("abcdefgh"), "session": "0", "run": "0"})
    info = SignalSpec("fmri", [f"r{i}" for i in range(6)], t_r=1.5, sfreq=1 / 1.5, unit="z")
    data = SignalDataset(X, None, table, info)
    told, volumes = (segment_matching(Z, segment=s, n_splits=3) for Z, s in ((data, 15.0), (X, 10)))
    assert told.length == volumes.length == 10
    np.testing.assert_array_equal(told.scores, volumes.scores)


def test_splits_follow_the_seed():
    X = listeners(noise=5)
    scores = [segment_matching(X, segment=10, n_splits=5, random_state=seed).scores for seed in (0, 0, 1)]
    np.testing.assert_array_equal(scores[0], scores[1])
    assert (scores[0] != scores[2]).any()


def test_missing_regions_are_left_out_of_means():
    X = listeners()
    X[0, 2] = np.nan
    found = segment_matching(X, segment=10, n_splits=20)
    assert found.accuracy > 0.9
    X[:, 4] = np.nan
    without = np.delete(X, 4, axis=1)
    both = [segment_matching(Z, segment=10, n_splits=5).scores for Z in (X, without)]
    np.testing.assert_array_equal(*both)


def test_constant_patterns_find_nothing():
    assert not matched_segments(np.ones((3, 20)), np.ones((3, 20)), [0, 10], 10).any()


@pytest.mark.parametrize(
    ("X", "options", "error", "message"),
    [
        (listeners(3), {"segment": 10}, InputError, "expected 4 people or more, got 3"),
        ([*listeners(4), np.zeros((6, 79))], {"segment": 10}, InputError, "got 79 to 80 volumes; cut them"),
        (listeners(), {"segment": 50}, InputError, "runs of 80 volumes hold 1 of 50"),
        (listeners(), {"segment": 0.3, "t_r": 2.0}, UsageError, "segment must be one volume or more, got 0.3 s"),
        (listeners(), {"segment": 10, "step": 0}, UsageError, "step must be one volume or more"),
        (listeners(), {"segment": 10, "design": "thirds"}, UsageError, "design must be one of 'halves'"),
        (listeners(), {"segment": 10, "confidence": 95}, UsageError, "confidence must lie between"),
        (listeners(), {"segment": 10, "n_splits": 0}, UsageError, "n_splits must be 1 or more"),
        (listeners(), {"segment": 10, "t_r": 0.0}, UsageError, "t_r must be a positive"),
        (listeners(n_features=1), {}, InputError, "patterns of two numbers or more"),
    ],
)
def test_wrong_use_is_told(X, options, error, message):
    with pytest.raises(error, match=message):
        segment_matching(X, **options)


def test_listeners_of_a_story(data_dir):
    X = np.load(data_dir / "fmri_story_htfa" / "weights.npz")["X"].astype(float).swapaxes(1, 2)
    halves = [X[:12].mean(axis=0), X[12:].mean(axis=0)]
    assert matched_segments(*halves, range(0, 300, 10), 10).mean() == pytest.approx(0.87, abs=0.005)
    alone = segment_matching(X, segment=10, design="one_vs_rest", standardize=False)
    assert alone.accuracy == pytest.approx(0.32, abs=0.01)
    assert alone.chance == pytest.approx(0.033, abs=0.001)
