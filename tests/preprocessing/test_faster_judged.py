"""Stage 1 in average reference: electrodes beside the reference electrode are good ones, and those without contact bad.

The truth is made: smooth fields over a head, as a recording against one electrode sees them.
"""

import mne
import numpy as np
import pytest

from neurosig.core.channels import montage_name
from neurosig.core.errors import ChannelError, InputError, UsageError
from neurosig.loaders.epochs import cut_epochs
from neurosig.loaders.recordings import Recording, read_recording
from neurosig.preprocessing.cleaning import CleaningOptions
from neurosig.preprocessing.cleaning_notes import near_reference
from neurosig.preprocessing.faster import FASTER, find_bad_channels
from neurosig.preprocessing.faster_reference import reference_angles

SFREQ = 128.0
NOISY, WEAK, NEAR = "P3", "C4", ["FT8", "TP8"]


def recorded(against="T8", spoilt=True, seed=0):
    """Epochs of 64 electrodes on smooth fields, against one of them, which is left out as most files do."""
    info = mne.create_info(mne.channels.make_standard_montage("biosemi64").ch_names, SFREQ, "eeg")
    info.set_montage("biosemi64")
    rng = np.random.default_rng(seed)
    places = np.array([channel["loc"][:3] for channel in info["chs"]])
    places /= np.linalg.norm(places, axis=1, keepdims=True)
    centres = rng.standard_normal((400, 3))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    fields = np.exp(10 * (places @ centres.T - 1))  # each source is a wide bump on the scalp
    X = np.einsum("cs,est->ect", fields, rng.standard_normal((20, 400, 256)).cumsum(axis=-1))
    X = 1e-5 * (X - X.mean(axis=-1, keepdims=True)) / X.std() + 2e-7 * rng.standard_normal(X.shape)
    names = info["ch_names"]
    X -= X[:, [names.index(against)]]
    if spoilt:
        X[:, names.index(NOISY)] += 3e-5 * rng.standard_normal((20, 256))
        X[:, names.index(WEAK)] *= 0.05
    epochs = mne.EpochsArray(X, info, verbose="error")
    return epochs.drop_channels([against])


def test_neighbours_of_the_reference_are_bad_only_in_the_reference_of_the_recording():
    epochs = recorded(spoilt=False)
    found = find_bad_channels(epochs, judge_in="recorded")
    assert set(NEAR) <= set(found.bads) and (found.z["variance"][found.bad] < 0).all()
    assert "FT8" in near_reference(found, epochs.info) and "--judge-in average" in near_reference(found, epochs.info)
    judged = find_bad_channels(epochs)
    assert not set(NEAR) & set(judged.bads) and near_reference(judged, epochs.info) == ""


def test_noise_and_lost_contact_are_found_in_average_reference():
    found = find_bad_channels(recorded())
    assert {NOISY, WEAK} <= set(found.bads) and not set(NEAR) & set(found.bads)
    assert found.by_metric["faint"] == [WEAK] and NOISY in found.by_metric["variance"]


def test_scores_in_average_reference_do_not_know_the_reference_of_the_recording():
    """Whatever is added to all channels alike changes nothing."""
    epochs = recorded(spoilt=False)
    other = epochs.copy()
    other._data += 5e-6 * np.random.default_rng(3).standard_normal((20, 1, 256)).cumsum(axis=-1)
    a, b = (find_bad_channels(each, judge_in="average") for each in (epochs, other))
    for metric in a.scores:
        np.testing.assert_allclose(a.scores[metric], b.scores[metric], rtol=1e-6, atol=1e-9)


def test_a_very_noisy_channel_does_not_spoil_the_average_for_the_others():
    clean, spoilt = recorded(spoilt=False), recorded(spoilt=False)
    spoilt._data[:, spoilt.ch_names.index("Oz")] += 5e-3 * np.random.default_rng(4).standard_normal((20, 256))
    before, after = find_bad_channels(clean), find_bad_channels(spoilt)
    assert after.bads == sorted({*before.bads, "Oz"}, key=clean.ch_names.index)
    others = [i for i, name in enumerate(clean.ch_names) if name not in after.bads]
    # the average is of one channel less
    np.testing.assert_allclose(after.scores["variance"][others], before.scores["variance"][others], atol=0.2)


@pytest.mark.parametrize("how", [{"variant": "paper"}, {"variant": "mne"}, {"reference": "T8"}])
def test_the_published_programs_and_a_known_reference_keep_the_recorded_one(how):
    epochs = recorded()
    a, b = (find_bad_channels(epochs, judge_in=word, **how) for word in ("auto", "recorded"))
    assert a.bads == b.bads and "faint" not in a.flags
    for metric in a.scores:
        np.testing.assert_array_equal(a.scores[metric], b.scores[metric])


def test_few_channels_are_compared_as_recorded():
    epochs = recorded().pick(["Fp1", "Fp2", "C3", "C1", "P3", "P4", "O1", "O2", "Cz", "Pz", "Fz", "F3"])
    a, b = (find_bad_channels(epochs, judge_in=word) for word in ("auto", "recorded"))
    np.testing.assert_array_equal(a.scores["variance"], b.scores["variance"])


def test_a_site_serves_as_reference_where_it_is_no_channel():
    info = mne.create_info(["C3", "Cz", "C4", "A2", "Oz"], SFREQ, "eeg")
    info.set_montage(montage_name("standard_1005"))
    picks = np.array([0, 1, 2, 4])
    expected = reference_angles(info, picks, "A2")
    without = mne.pick_info(info, picks)
    np.testing.assert_allclose(reference_angles(without, np.arange(4), "A2"), expected)
    np.testing.assert_allclose(reference_angles(info, picks, "a2"), expected)
    with pytest.raises(ChannelError, match="'left ear' is neither among the channels nor a site"):
        reference_angles(without, np.arange(4), "left ear")


def test_ways_that_make_no_sense():
    epochs = recorded(spoilt=False)
    with pytest.raises(UsageError, match="judge_in must be one of 'auto', 'average', 'recorded', got 'mean'"):
        FASTER(steps=("channels",), judge_in="mean").fit(epochs)
    with pytest.raises(UsageError, match="one of the two"):
        find_bad_channels(epochs, reference="A2", judge_in="average")
    with pytest.raises(UsageError, match="one of the two"):
        CleaningOptions(reference_position="A2", judge_in="average")


def test_proxies_in_any_spelling_and_those_that_are_bad_themselves():
    epochs = recorded(spoilt=False)
    how = {"steps": ("channels", "components"), "n_components": 8, "few": "ignore"}
    a, b = (FASTER(eog_proxy=name, **how).fit(epochs) for name in ("Fp1", "fp1"))
    np.testing.assert_array_equal(a.metrics_["components"]["z"]["eog_correlation"],
                                  b.metrics_["components"]["z"]["eog_correlation"])  # fmt: skip
    epochs.info["bads"] = ["Fp1"]
    with pytest.warns(UserWarning, match="EOG correlation is left out: Fp1, named in place of EOG, is bad itself"):
        FASTER(eog_proxy="Fp1", **{**how, "few": "warn"}, threshold=2.0).fit(epochs)
    with pytest.raises(ChannelError, match="the channel 'Fpx', named to stand in for the EOG, is not among"):
        FASTER(eog_proxy="Fpx", **how).fit(epochs)


def test_as_many_labels_as_epochs():
    epochs = recorded(spoilt=False)
    faster = FASTER(steps=("channels",)).fit(epochs)
    with pytest.raises(InputError, match="expected one label for each of 20 epochs, got 7"):
        faster.clean(epochs, np.zeros(7))


def test_real_recordings_against_an_earlobe(data_dir):
    """BCI2000's recordings against the right ear: T10 and its neighbours are good ones."""
    raw = read_recording(Recording(data_dir / "eegmmidb" / "edf" / "S001R08.edf"), preload=True)
    raw.filter(0.5, 40.0, method="iir", verbose="error")
    epochs = cut_epochs(raw, None, CleaningOptions(tmin=0.0, tmax=4.0).processing)
    assert {"T10", "TP8", "FT8"} <= {name.rstrip(".") for name in find_bad_channels(epochs, judge_in="recorded").bads}
    assert find_bad_channels(epochs).bads == []
