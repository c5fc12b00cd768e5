"""Small data sets whose labels a linear decoder can find."""

import numpy as np
import pandas as pd
import pytest

from neurosig.core.signals import SignalDataset, SignalSpec


def make_signals(
    n_subjects=2,
    n_sessions=1,
    n_runs=3,
    n_trials=8,
    n_channels=3,
    n_times=40,
    seed=0,
    name="toy",
    numbers=False,
    n_classes=2,
):
    """Noise whose power on the first channel tells the class (or grows with the number)."""
    rng = np.random.default_rng(seed)
    rows = [
        (str(subject + 1), str(session), str(run), run * 100.0 + 4.0 * trial)
        for subject in range(n_subjects) for session in range(n_sessions)
        for run in range(n_runs) for trial in range(n_trials)
    ]  # fmt: skip
    X = rng.standard_normal((len(rows), n_channels, n_times)) * 1e-5
    codes = np.arange(len(rows)) % n_classes
    value = rng.uniform(1, 3, len(rows)) if numbers else 1.0 + codes
    X[:, 0] *= np.reshape(value, (-1, 1))
    labels = value if numbers else np.array(["left_hand", "right_hand", "feet"])[codes]
    info = SignalSpec("eeg", tuple(f"E{i}" for i in range(n_channels)), sfreq=20.0, unit="V", n_times=n_times, tmin=0.0)
    metadata = pd.DataFrame(rows, columns=["subject", "session", "run", "onset"])
    return SignalDataset(X, labels, metadata, info, name=name)


@pytest.fixture
def toy():
    """Function that makes a small labelled `SignalDataset`."""
    return make_signals


@pytest.fixture
def log_variance_lda():
    """A quick pipeline."""
    from moabb.pipelines.features import LogVariance
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.pipeline import make_pipeline

    return make_pipeline(LogVariance(), LinearDiscriminantAnalysis())
