"""Trials that come cut: decoded as they are, each a window of its own; a reference of another kind is told."""

import dataclasses

import mne
import numpy as np
import pytest

from neurosig.evaluation.trained import train
from neurosig.loaders.epoch_files import set_provenance
from neurosig.loaders.manifest import open_dataset
from neurosig.loaders.simulated import simulate_recordings

NAMES = ["F3", "F4", "C3", "Cz", "C4", "P3", "P4"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A recording, and its trials from 0.5 to 2.5 s, in average reference."""
    place = tmp_path_factory.mktemp("recordings")
    (item,) = simulate_recordings("imagery", 1, 1, 1, 20, ch_names=NAMES)
    (place / "raw").mkdir()
    item.raw.save(place / "raw" / "sub-1_raw.fif", fmt="double", verbose="error")
    events, names = mne.events_from_annotations(item.raw, verbose="error")
    epochs = mne.Epochs(item.raw, events, names, 0.5, 2.5, baseline=None, preload=True, verbose="error")
    epochs.set_eeg_reference("average", projection=False, verbose="error")
    set_provenance(epochs.info, "neurosig preprocess", "average")
    epochs.save(place / "sub-1-epo.fif", fmt="double", verbose="error")
    return place


def test_each_trial_is_one_window_and_the_reference_is_watched(folder):
    trained = train(open_dataset(folder / "sub-1-epo.fif"), "CSP+LDA", folds=None)
    assert trained.spec.reference == "average"
    by_trial = trained.decode(folder / "sub-1-epo.fif", events=["left_hand", "right_hand"])
    windows = trained.decode(folder / "sub-1-epo.fif")
    assert len(windows) == len(by_trial) == 20 and windows.report["recordings"][0]["n_left_out"] == 0
    columns = [name for name in by_trial.table if name.startswith(("p_", "score_"))]
    np.testing.assert_allclose(windows.table[columns], by_trial.table[columns], rtol=1e-9)
    assert not any("reference" in text for text in windows.report["warnings"])
    raw = trained.decode(folder / "raw" / "sub-1_raw.fif", events=["left_hand", "right_hand"])
    (told,) = [text for text in raw.report["warnings"] if "reference" in text]
    assert told.startswith("the reference of sub-1_raw.fif is as recorded, average in the trials")
    blind = dataclasses.replace(trained, spec=trained.spec.replace(reference=None))  # nothing is known: nothing is said
    assert not any("reference" in text for text in blind.decode(folder / "raw" / "sub-1_raw.fif").report["warnings"])
