"""What every estimator of signals must do on (n_trials, n_channels, n_times), beyond scikit-learn's own checks."""

import inspect
import pickle

import lives
import numpy as np
import pytest
from sklearn.base import clone

N_TRIALS, N_CHANNELS, N_TIMES = 24, 5, 64


def instances(cls):
    """The estimators to check: each set of parameters that the class itself names, or its defaults."""
    settings = cls._get_test_params() if hasattr(cls, "_get_test_params") else {}
    return [cls(**parameters) for parameters in (settings if isinstance(settings, list) else [settings])]


def signals(dtype=np.float64):
    """Trials of two classes whose channels differ in amplitude, in volts."""
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], N_TRIALS // 2)
    amplitude = 1e-5 * (1 + np.arange(N_CHANNELS)[:, None] + y[:, None, None])
    return (amplitude * rng.standard_normal((N_TRIALS, N_CHANNELS, N_TIMES))).astype(dtype), y


def output(estimator, X):
    """What the fitted estimator makes of X: transformed signals, else probabilities, else predictions."""
    for method in ("transform", "predict_proba", "predict"):
        if hasattr(estimator, method):
            return np.asarray(getattr(estimator, method)(X))
    raise TypeError(f"{type(estimator).__name__} neither transforms nor predicts")


def check_input_is_not_written(estimator):
    X, y = signals()
    before = X.copy()
    X.flags.writeable = False
    output(estimator.fit(X, y), X)
    np.testing.assert_array_equal(X, before)


def check_float32_agrees_with_float64(estimator):
    X, y = signals()
    double = output(clone(estimator).fit(X, y), X)
    single = output(clone(estimator).fit(X.astype(np.float32), y), X.astype(np.float32))
    np.testing.assert_allclose(single, double, rtol=1e-3, atol=1e-4 * np.abs(double).max())
    if hasattr(estimator, "transform") and double.shape == X.shape:
        assert double.dtype == np.float64
        assert single.dtype == np.float32


def check_single_trial_like_many(estimator):
    X, y = signals()
    estimator.fit(X, y)
    many = output(estimator, X)
    # single precision has seven digits of the largest of the numbers that a product sums, not of each sum
    atol = 1e-6 * np.abs(many).max() if many.dtype == np.float32 else 0.0
    for i in (0, len(X) - 1):
        np.testing.assert_allclose(output(estimator, X[i : i + 1]), many[i : i + 1], rtol=1e-6, atol=atol)


def check_trial_order_does_not_matter(estimator):
    X, y = signals()
    estimator.fit(X, y)
    order = np.random.default_rng(1).permutation(len(X))
    np.testing.assert_allclose(output(estimator, X[order]), output(estimator, X)[order], rtol=1e-6)


def check_channel_permutation(estimator):
    """Equivariant where a channel stays a channel, invariant else; classes that depend on the order say so."""
    if getattr(type(estimator), "_channel_order_matters", False):
        pytest.skip("the order of channels carries meaning for this estimator")
    X, y = signals()
    order = np.random.default_rng(2).permutation(X.shape[1])
    straight = output(clone(estimator).fit(X, y), X)
    permuted = output(clone(estimator).fit(X[:, order], y), X[:, order])
    signals_still = straight.ndim == X.ndim and straight.shape[:2] == X.shape[:2]
    expected = straight[:, order] if signals_still else straight
    np.testing.assert_allclose(permuted, expected, rtol=1e-6)


def check_another_number_of_channels_is_refused(estimator):
    X, y = signals()
    estimator.fit(X, y)
    with pytest.raises(ValueError, match=f"expected {N_CHANNELS} channels.*got {N_CHANNELS - 1}"):
        output(estimator, X[:, :-1])


def check_not_finite_is_refused(estimator):
    X, y = signals()
    estimator.fit(X, y)
    for value, name in ((np.nan, "NaN"), (np.inf, "inf")):
        broken = X.copy()
        broken[3, 2, 10] = value
        message = rf"{name} in 1 of {N_TRIALS} trials \(positions 3; channels 2\)"
        with pytest.raises(ValueError, match=message):
            clone(estimator).fit(broken, y)
        with pytest.raises(ValueError, match=message):
            output(estimator, broken)


def check_clone_after_fit(estimator):
    X, y = signals()
    estimator.fit(X, y)
    copy = clone(estimator)
    assert not [name for name in vars(copy) if name.endswith("_") and not name.startswith("_")]
    np.testing.assert_array_equal(output(copy.fit(X, y), X), output(estimator, X))


def check_fitting_twice_gives_the_same(estimator):
    X, y = signals()
    other = np.random.default_rng(3).standard_normal((N_TRIALS, N_CHANNELS + 1, N_TIMES))
    first = output(clone(estimator).fit(X, y), X)
    np.testing.assert_array_equal(output(estimator.fit(other, y).fit(X, y), X), first)


def check_jobs_do_not_matter(estimator):
    if "n_jobs" not in estimator.get_params():
        pytest.skip("has no n_jobs")
    X, y = signals()
    one, two = (output(clone(estimator).set_params(n_jobs=n).fit(X, y), X) for n in (1, 2))
    np.testing.assert_array_equal(one, two)


def check_epochs_like_arrays(estimator):
    import mne

    X, y = signals()
    epochs = mne.EpochsArray(X, mne.create_info(N_CHANNELS, 128.0, "eeg"), verbose=False)
    expected = output(estimator.fit(X, y), X)
    np.testing.assert_array_equal(output(clone(estimator).fit(epochs, y), epochs), expected)
    fold = [epochs[i] for i in range(len(epochs))]  # what scikit-learn's folds make of Epochs
    np.testing.assert_array_equal(output(clone(estimator).fit(fold, y), fold), expected)


def check_set_output(estimator):
    if not hasattr(estimator, "set_output"):
        pytest.skip("has no set_output")
    X, y = signals()
    estimator.set_output(transform="default")
    assert isinstance(estimator.fit(X, y).transform(X), np.ndarray)
    estimator.set_output(transform="pandas")
    table = estimator.fit(X[..., 0], y).transform(X[..., 0])
    assert list(table.columns) == list(estimator.get_feature_names_out())


def check_pickles_into_a_fresh_process(estimator, tmp_path):
    X, y = signals()
    estimator.fit(X, y)
    (tmp_path / "fitted.pickle").write_bytes(pickle.dumps(estimator))
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "expected.npy", output(estimator, X))
    code = (
        "import pickle, numpy as np; estimator = pickle.load(open('fitted.pickle', 'rb')); X = np.load('X.npy');"
        "method = next(m for m in ('transform', 'predict_proba', 'predict') if hasattr(estimator, m));"
        "np.testing.assert_array_equal(getattr(estimator, method)(X), np.load('expected.npy'))"
    )
    done = lives.python(code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def check_saves_and_loads(estimator, tmp_path):
    from neurosig.core.persistence import load_pipeline, save_pipeline

    X, y = signals()
    expected = output(estimator.fit(X, y), X)
    np.testing.assert_array_equal(output(load_pipeline(save_pipeline(estimator, tmp_path / "model")), X), expected)


def check_html_repr(estimator):
    assert type(estimator).__name__ in estimator._repr_html_()


CHECKS = [check for name, check in sorted(globals().items()) if name.startswith("check_") and inspect.isfunction(check)]
