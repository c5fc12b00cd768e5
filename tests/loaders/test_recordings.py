import datetime

import mne
import numpy as np
import pytest

from neurosig.core.errors import InputError, UsageError
from neurosig.loaders.recordings import ReadOptions, Recording, open_recording, read_recording

FORMATS = {  # file: (rate, data channels, one channel name that must be there), as the collection's notes say
    "formats/mne_python/test.edf": (512, 138, "A1"),
    "formats/mne_python/test.bdf": (2048, 72, "Fp1"),
    "formats/mne_python/test.vhdr": (1000, 26, "Fp1"),
    "formats/mne_python/test.sqd": (1000, 157, "MEG 001"),
    "formats/mne_python/test_ctf_comp_raw.fif": (480, 274, "MLC11-2908"),
    "formats/mne_python/test_pdf_linux": (1017.25, 248, "A1"),
    "formats/mne_testing/test_raw.set": (128, 32, "EEG 000"),
    "formats/mne_testing/test_elekta_3ch_raw.fif": (1000, 3, "MEG0111"),
    "formats/mne_testing/neuromag122_test_file-raw.fif": (1000, 122, "MEG 001"),
    "formats/mne_testing/sample_audvis_trunc_raw_sss.fif": (300.307, 366, "EEG 001"),
    "eegmmidb/edf/S001R04.edf": (160, 64, "FC5"),
    "eegmat/edf/Subject00_1.edf": (500, 20, "Fp1"),
    "muse/visual_p300_subject1_session1_run1.csv.gz": (256, 4, "TP9"),
    "eegmmidb/epochs/S001_mi.npz": (160, 64, "FC5"),
}


@pytest.mark.parametrize("file", FORMATS)
def test_real_files_of_every_format(data_dir, file):
    rate, n_channels, name = FORMATS[file]
    raw = read_recording(Recording(data_dir / file))
    assert raw.info["sfreq"] == pytest.approx(rate, rel=1e-5)
    assert len(mne.pick_types(raw.info, meg=True, ref_meg=False, eeg=True, exclude=())) == n_channels
    assert name in raw.ch_names
    assert "stim" not in raw.get_channel_types()


def test_data_stay_in_the_file_until_they_are_wanted(data_dir):
    recording = Recording(data_dir / "eegmmidb/edf/S001R04.edf")
    assert not read_recording(recording).preload
    assert read_recording(recording, preload=True).preload


def test_samples_are_those_of_mne(data_dir):
    path = data_dir / "eegmmidb/edf/S001R04.edf"
    ours = read_recording(Recording(path), preload=True)
    theirs = mne.io.read_raw_edf(path, preload=True, verbose="error")
    np.testing.assert_array_equal(ours.get_data(), theirs.get_data())


def test_dotted_names_are_those_of_mnes_own_cleaner(data_dir):
    path = data_dir / "eegmmidb/edf/S001R04.edf"
    expected = mne.io.read_raw_edf(path, verbose="error")
    mne.datasets.eegbci.standardize(expected)
    assert read_recording(Recording(path)).ch_names == expected.ch_names


def test_events_are_renamed_and_the_others_are_gone(data_dir):
    path = data_dir / "eegmmidb/edf/S001R04.edf"
    theirs = mne.read_annotations(path)
    raw = read_recording(Recording(path, options=ReadOptions(events={"left": "T1", "right": "T2"})))
    for name, code in (("left", "T1"), ("right", "T2")):
        np.testing.assert_allclose(
            raw.annotations.onset[raw.annotations.description == name], theirs.onset[theirs.description == code]
        )
    assert set(raw.annotations.description) == {"left", "right"}


def test_several_codes_make_one_event(recording):
    raw = read_recording(Recording(recording, options=ReadOptions(events={"hand": ["left", "right"]})))
    assert list(raw.annotations.description) == ["hand"] * 6


def test_bad_spans_and_edges_survive(make_raw, save):
    raw = make_raw(events={"left": [1], "other": [2], "BAD_move": [3], "EDGE boundary": [4]})
    read = read_recording(Recording(save(raw), options=ReadOptions(events={"go": "left"})))
    assert list(read.annotations.description) == ["go", "BAD_move", "EDGE boundary"]
    np.testing.assert_allclose(read.annotations.onset, [1, 3, 4])


def test_stimulus_channel_gives_events_at_the_right_samples(make_raw, save):
    raw = make_raw()
    stim = np.zeros((1, raw.n_times))
    stim[0, [200, 201, 900]] = [5, 5, 7]
    raw.add_channels(
        [mne.io.RawArray(stim, mne.create_info(["STI 014"], 128.0, "stim"), verbose="error")], force_update_info=True
    )
    raw.crop(tmin=1.0)  # first_samp is no longer 0
    read = read_recording(Recording(save(raw), options=ReadOptions(events={"go": 5, "stop": [7]})))
    assert "STI 014" not in read.ch_names
    events, codes = mne.events_from_annotations(read, verbose="error")
    expected = mne.find_events(raw, "STI 014", shortest_event=1, verbose="error")
    np.testing.assert_array_equal(events[:, 0], expected[:, 0])
    assert set(codes) == {"go", "stop"}


def test_events_keep_their_place_with_a_measurement_date(make_raw, save):
    raw = make_raw(events={"left": [2, 6]})
    raw.set_meas_date(datetime.datetime(2001, 2, 3, tzinfo=datetime.UTC))
    raw.crop(tmin=1.0)
    read = read_recording(Recording(save(raw), options=ReadOptions(events={"go": "left"})))
    events, _ = mne.events_from_annotations(read, verbose="error")
    np.testing.assert_array_equal(events[:, 0], [256, 768])


@pytest.mark.parametrize("code", [4, "S  4", "Stimulus/S  4"])
def test_brainvision_markers_by_number_tail_or_text(make_raw, save, code):
    path = save(make_raw(events={"Stimulus/S  4": [1, 3], "Stimulus/S  8": [2]}))
    raw = read_recording(Recording(path, options=ReadOptions(events={"go": code})))
    assert list(raw.annotations.description) == ["go", "go"]


@pytest.mark.parametrize("name", ["colin27_1005", "standard_1005"])
def test_montage_gives_places_under_both_of_mnes_names(data_dir, name):
    raw = read_recording(Recording(data_dir / "eegmmidb/edf/S001R04.edf", options=ReadOptions(montage=name)))
    places = raw.get_montage().get_positions()["ch_pos"]
    assert len(places) == 64
    assert places["C3"][0] < 0 < places["C4"][0]


def test_channels_without_a_place_are_not_fatal(make_raw, save):
    path = save(make_raw(names=("Cz", "Nonsense")))
    raw = read_recording(Recording(path, options=ReadOptions(montage="standard_1020")))
    assert raw.ch_names == ["Cz", "Nonsense"]


def test_rename_type_and_drop_take_old_and_new_names(make_raw, save):
    path = save(make_raw(names=("Fz..", "one", "two", "Oz.")))
    options = ReadOptions(rename={"one": "Pz"}, ch_types={"two": "eog"}, drop=("Oz.",))
    raw = read_recording(Recording(path, options=options))
    assert raw.ch_names == ["Fz", "Pz", "two"]
    assert raw.get_channel_types() == ["eeg", "eeg", "eog"]


def test_unit_scales_numbers_that_were_taken_for_volts(make_raw, save):
    path = save(make_raw(scale=10.0))
    raw = read_recording(Recording(path, options=ReadOptions(unit="uV")), preload=True)
    assert raw.get_data().std() == pytest.approx(1e-5, rel=0.05)


def test_a_state_is_cut_into_windows_of_one_label(data_dir):
    options = ReadOptions(window=(2, 2), label="rest")
    raw = read_recording(Recording(data_dir / "eegmat/edf/Subject00_1.edf", options=options))
    assert list(raw.annotations.description) == ["rest"] * 91  # 182 s
    np.testing.assert_allclose(raw.annotations.onset, np.arange(91) * 2.0)
    named = read_recording(
        Recording(data_dir / "eegmat/edf/Subject00_2.edf", label="sums", options=ReadOptions(window=(2, 1)))
    )
    assert list(named.annotations.description) == ["sums"] * 61  # 62 s, the last window starts at 60 s


def test_bids_recording_has_its_sidecars_read(data_dir):
    root = data_dir / "ieeg_hfo"
    path = next(root.glob("sub-01/*/ieeg/*.vhdr"))
    raw = read_recording(Recording(path, bids_root=root))
    assert set(raw.get_channel_types()) == {"ecog"}
    assert any(text.startswith("ripple") for text in raw.annotations.description)


def test_kit_companions_of_the_same_name_are_read(data_dir, tmp_path):
    for name in ("test.sqd", "test_mrk.sqd", "test.elp", "test.hsp"):
        (tmp_path / name).write_bytes((data_dir / "formats/mne_python" / name).read_bytes())
    raw = open_recording(Recording(tmp_path / "test.sqd")).raw
    assert raw.info["dev_head_t"] is not None
    assert len(raw.info["dig"]) > 8


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"unit": "furlong"}, "unit must be one of V, mV, uV"),
        ({"on_nan": "ignore"}, "on_nan must be 'raise' or 'annotate', got 'ignore'"),
        ({"sfreq": 0}, "sfreq must be a positive number of Hz, got 0"),
        ({"window": (2, 0)}, "window must be"),
    ],
)
def test_wrong_options_are_refused_at_once(fields, text):
    with pytest.raises(UsageError, match=text):
        ReadOptions(**fields)


def test_one_code_under_two_names_is_refused(recording):
    with pytest.raises(UsageError, match="'left' is given two names"):
        read_recording(Recording(recording, options=ReadOptions(events={"a": "left", "b": "left"})))


def test_unknown_montage_names_the_nearest(recording):
    with pytest.raises(UsageError, match=r"no standard montage is called 'biosemi65'.*'biosemi64'"):
        read_recording(Recording(recording, options=ReadOptions(montage="biosemi65")))


def test_a_code_means_one_type_of_marker(make_raw, save):
    path = save(make_raw(events={"Stimulus/S  1": [1, 5], "Response/R  1": [3], "Stimulus/S  2": [7]}))
    with pytest.raises(InputError, match=r"code 1 is that of 2 types of marker, 'Response/R  1' and 'Stimulus/S  1'"):
        read_recording(Recording(path, options=ReadOptions(events={"left": 1, "right": 2})))
    for asked in ("Stimulus/S  1", "S  1"):
        raw = read_recording(Recording(path, options=ReadOptions(events={"left": asked, "right": 2})))
        assert list(raw.annotations.description) == ["left", "left", "right"]
    read_recording(Recording(path, options=ReadOptions(events={"right": 2})))
