import tracemalloc

import mne
import numpy as np

from neurosig.core.signals import Processing
from neurosig.loaders.epochs import cut_epochs, data_channels, iter_recordings, load_recordings, process_raw
from neurosig.loaders.recordings import Recording

HALF = Processing(0.0, 0.5)


def test_cut_trials_are_the_samples_around_the_events(make_raw):
    raw = make_raw(events={"left": [1, 5], "right": [3]})
    epochs = cut_epochs(raw, ["left", "right"], Processing(-0.25, 0.5))
    whole = raw.get_data()
    for trial, onset in zip(epochs.get_data(), (1, 3, 5), strict=True):
        np.testing.assert_array_equal(trial, whole[:, onset * 128 - 32 : onset * 128 + 65])
    np.testing.assert_allclose(epochs.metadata["onset"], [1, 3, 5])


def test_steps_are_mnes_own(make_raw):
    raw = make_raw(events={"left": [2, 6], "right": [4]})
    processing = Processing(0.0, 1.0, 4.0, 20.0, resample=64.0, baseline=(-0.2, 0.0))
    ours = cut_epochs(process_raw(raw.copy(), processing), None, processing)
    raw.filter(4.0, 20.0, method="iir", verbose="error")
    events, codes = mne.events_from_annotations(raw, verbose="error")
    theirs = mne.Epochs(raw, events, codes, -0.2, 1.0, baseline=(-0.2, 0), preload=True, verbose="error")
    theirs = theirs.crop(0.0, 1.0).resample(64.0, verbose="error")
    np.testing.assert_allclose(ours.get_data(), theirs.get_data(), rtol=1e-12, atol=1e-20)


def test_trials_in_bad_spans_and_beyond_the_end_are_left_out(make_raw):
    raw = make_raw(events={"left": [1, 5, 19.9], "right": [3]})
    raw.annotations.append(4.9, 0.3, "BAD_move")
    epochs = cut_epochs(raw, None, HALF)
    np.testing.assert_allclose(epochs.metadata["onset"], [1, 3])


def test_default_channels_are_the_good_ones_of_the_signal():
    info = mne.create_info(["a", "b", "e", "m"], 100.0, ["eeg", "eeg", "eog", "mag"])
    info["bads"] = ["b"]
    assert data_channels(info) == ["a"]
    assert data_channels(mne.create_info(["m", "g", "e"], 100.0, ["mag", "grad", "ecg"])) == ["m", "g"]
    assert data_channels(mne.create_info(["s1", "s2"], 100.0, ["seeg", "ecog"])) == ["s1", "s2"]


def test_picks_come_in_the_wanted_order_and_any_spelling():
    info = mne.create_info(["FC5", "Cz", "T7"], 100.0, "eeg")
    assert data_channels(info, ["CZ", "Fc5.", "T3"]) == ["Cz", "FC5", "T7"]


def test_many_recordings_with_their_metadata(make_raw, save):
    files = [save(make_raw(events={"left": [1, 5], "right": [3]}, seed=i), f"{i}_raw.fif") for i in range(3)]
    recordings = [Recording(file, str(i), "0", str(i)) for i, file in enumerate(files)]
    loaded = load_recordings(recordings, ["left", "right"], HALF, name="many")
    assert loaded.X.shape == (9, 4, 65)
    assert loaded.metadata["subject"].tolist() == ["0"] * 3 + ["1"] * 3 + ["2"] * 3
    assert loaded.metadata["file"].tolist()[::3] == [file.name for file in files]
    assert loaded.metadata["onset"].tolist() == [1, 3, 5] * 3
    assert loaded.y.tolist() == ["left", "right", "left"] * 3
    assert loaded.info.processing == HALF
    parts = [epochs.get_data() for _, epochs in iter_recordings(recordings, ["left", "right"], HALF)]
    np.testing.assert_array_equal(loaded.X, np.concatenate(parts))


def test_channel_order_is_the_first_files(make_raw, save):
    first = make_raw(events={"go": [1], "stop": [3]})
    other = first.copy().reorder_channels(["Oz", "Pz", "Cz", "Fz"])
    loaded = load_recordings(
        [Recording(save(first, "1_raw.fif")), Recording(save(other, "2_raw.fif"), run="1")], None, HALF
    )
    np.testing.assert_array_equal(loaded.X[:2], loaded.X[2:])


def test_a_channel_marked_bad_in_one_file_is_left_out_of_all(make_raw, save):
    first, other = (make_raw(events={"go": [1], "stop": [3]}, seed=i) for i in range(2))
    other.info["bads"] = ["Pz"]
    recordings = [Recording(save(first, "1_raw.fif")), Recording(save(other, "2_raw.fif"), run="1")]
    assert load_recordings(recordings, None, HALF).info.ch_names == ("Fz", "Cz", "Oz")
    assert load_recordings(recordings, None, HALF.replace(picks=("Pz",))).info.ch_names == ("Pz",)


def test_mixed_rates_are_brought_to_one_when_asked(make_raw, save):
    files = [
        save(make_raw(events={"go": [1], "stop": [3]}, sfreq=rate), f"{rate:.0f}_raw.fif") for rate in (128.0, 250.0)
    ]
    recordings = [Recording(file, run=str(i)) for i, file in enumerate(files)]
    loaded = load_recordings(recordings, None, HALF.replace(resample=64.0))
    assert loaded.info.sfreq == 64
    assert len(loaded) == 4


def test_mapped_file_holds_the_same_numbers(make_raw, save, tmp_path):
    raw = make_raw(events={"left": [1, 5, 19.9], "right": [3]})  # one event falls out: the file is cut to what is left
    recordings = [Recording(save(raw, f"{i}_raw.fif"), run=str(i)) for i in range(2)]
    plain = load_recordings(recordings, None, HALF)
    mapped = load_recordings(recordings, None, HALF, memmap=tmp_path / "X.npy")
    assert isinstance(mapped.X, np.memmap)
    np.testing.assert_array_equal(plain.X, mapped.X)
    assert [path.name for path in tmp_path.iterdir() if "npy" in path.name] == ["X.npy"]


def test_many_recordings_need_the_memory_of_the_largest(make_raw, save, tmp_path):
    events = {"go": list(range(2, 28, 4)), "stop": list(range(4, 28, 4))}
    names = [f"E{i}" for i in range(16)]
    small = save(make_raw(30.0, events, names, 256.0), "small_raw.fif")
    largest = save(make_raw(120.0, events, names, 256.0), "largest_raw.fif")

    def peak(files):
        load = [Recording(file, run=str(i)) for i, file in enumerate(files)]
        tracemalloc.start()
        try:
            data = load_recordings(load, None, Processing(0.0, 1.0, 4.0, 40.0), memmap=tmp_path / "X.npy")
            return len(data), tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak([small])  # what libraries import and keep
    n_alone, alone = peak([largest])
    n_all, together = peak([*[small] * 8, largest, *[small] * 8])
    assert n_all == 17 * n_alone
    assert alone > 2 * 8 * 16 * 120 * 256  # the recording itself is what is measured, and what filtering makes of it
    assert together < 1.5 * alone  # one more copy kept of each would treble it
