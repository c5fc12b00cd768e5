"""Each way in which recordings go wrong, and the one line that says what was expected, what came and what to do."""

import gzip

import mne
import numpy as np
import pytest

from neurosig import load_eeg
from neurosig.core.errors import InputError
from neurosig.loaders.events import resembling
from neurosig.loaders.recordings import ReadOptions, Recording, open_recording, read_recording


class _Payload:
    def __reduce__(self):
        return print, ("a pickle was run",)


def refused(path, text, **keywords):
    """Loading fails with one line that matches `text`."""
    with pytest.raises(InputError, match=text) as caught:
        load_eeg(path, **{"tmin": 0, "tmax": 0.5, **keywords})
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 1


@pytest.fixture
def edf(make_raw, save):
    return save(make_raw(events={"left": [1, 5], "right": [3]}), "run.edf")


def test_missing_file(tmp_path):
    refused(tmp_path / "gone.edf", "no such file or folder: .*gone.edf; check the path")
    with pytest.raises(InputError, match=r"no such file: .*gone.edf"):
        open_recording(Recording(tmp_path / "gone.edf"))


@pytest.mark.parametrize("name", ["a.edf", "a_raw.fif", "a.vhdr", "a.set", "a.csv", "a.csv.gz", "a.xdf"])
def test_zero_length(tmp_path, name):
    (tmp_path / name).touch()
    refused(tmp_path / name, r"is empty \(0 bytes\): expected a recording; fetch or export it again")


def test_zero_length_trial_file(tmp_path):
    (tmp_path / "a.npz").touch()
    refused(tmp_path / "a.npz", "cannot read .*a.npz as a trial file")


def test_edf_content_in_a_fif_name(edf, tmp_path):
    wrong = tmp_path / "wrong_raw.fif"
    wrong.write_bytes(edf.read_bytes())
    refused(wrong, "wrong_raw.fif holds EDF data, its name says .fif: rename it to .edf")


@pytest.mark.parametrize(
    ("name", "what"), [("a.edf", "EDF"), ("a.bdf", "BDF"), ("a_raw.fif", "FIF"), ("a.set", "EEGLAB"), ("a.npz", None)]
)
def test_text_under_another_name(tmp_path, name, what):
    (tmp_path / name).write_text("time,Fz,Cz\n0,1,2\n")
    refused(
        tmp_path / name,
        f"{name} is not {what}: its first bytes are b'time,Fz" if what else "cannot read .* as a trial file",
    )


def test_a_name_that_no_reader_takes(tmp_path):
    (tmp_path / "notes.docx").write_text("hello")
    refused(tmp_path / "notes.docx", "no reader takes this kind of file; expected one of .edf, .bdf")


def test_a_part_of_a_recording_names_the_file_to_give(make_raw, save):
    header = save(make_raw(), "run.vhdr")
    refused(
        header.with_suffix(".eeg"), "run.eeg is a part of a BrainVision recording: give its header run.vhdr instead"
    )
    samples = header.with_suffix(".fdt")
    samples.write_bytes(b"0")
    refused(samples, "holds the samples of an EEGLAB recording: give its .set file instead")


@pytest.mark.parametrize("fraction", [0.99, 0.5])
def test_truncated_edf(edf, fraction):
    size = edf.stat().st_size
    edf.write_bytes(edf.read_bytes()[: int(size * fraction)])
    refused(
        edf, rf"run.edf is truncated: its header promises {size} bytes .*, the file has {int(size * fraction)}; fetch"
    )


@pytest.mark.parametrize("keep", [200, 400])
def test_edf_cut_inside_its_header(edf, keep):
    edf.write_bytes(edf.read_bytes()[:keep])
    refused(edf, "cannot read .*run.edf as EDF: .*damaged, truncated|run.edf is truncated")


@pytest.mark.parametrize("fraction", [0.02, 0.5])
def test_truncated_fif(recording, fraction):
    recording.write_bytes(recording.read_bytes()[: int(recording.stat().st_size * fraction)])
    refused(recording, "truncated")


def test_truncated_brainvision_samples(make_raw, save):
    header = save(make_raw(events={"left": [1, 5, 15]}), "run.vhdr")
    samples = header.with_suffix(".eeg")
    content = samples.read_bytes()
    width = len(content) // 2560
    samples.write_bytes(content[:1001])
    refused(header, rf"run.eeg is truncated: its last sample has {1001 % width} of {width} bytes; copy it again")
    samples.write_bytes(content[: 1280 * width])
    refused(
        header, r"run.eeg is truncated: it ends after 1280 samples, run.vmrk has a marker at sample 1921; copy it again"
    )


def test_brainvision_without_its_samples(make_raw, save):
    header = save(make_raw(), "run.vhdr")
    header.with_suffix(".eeg").unlink()
    refused(header, "cannot read .*run.vhdr as BrainVision: .*run.eeg")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("formats/mne_testing/test_raw.set", "cannot read .*test_raw.set as EEGLAB: .* the file is damaged, truncated"),
        ("formats/mne_python/test.sqd", "cannot read .*test.sqd as .* the file is damaged, truncated"),
        ("formats/mne_python/test.bdf", "test.bdf is truncated: its header promises 467456 bytes"),
        ("formats/mne_testing/test_raw.fdt", "cannot read .*test_raw.set as .* the file is damaged, truncated"),
    ],
)
def test_truncated_real_files_of_other_formats(data_dir, tmp_path, name, text):
    source = data_dir / name
    (tmp_path / source.name).write_bytes(source.read_bytes()[: source.stat().st_size // 3])
    header = source.with_suffix(".set") if source.suffix == ".fdt" else source
    if header != source:
        (tmp_path / header.name).write_bytes(header.read_bytes())
    refused(tmp_path / header.name, text)


def test_truncated_compressed_stream(tmp_path):
    content = gzip.compress(b"timestamps,Fz\n" + b"".join(b"%f,%d\n" % (i / 128, i * i % 977) for i in range(4000)))
    (tmp_path / "a.csv.gz").write_bytes(content[: len(content) // 2])
    refused(tmp_path / "a.csv.gz", "cannot read .*a.csv.gz")
    (tmp_path / "b.csv.gz").write_bytes(b"not gzip at all")
    refused(tmp_path / "b.csv.gz", "b.csv.gz is not gzip: its first bytes are b'not gzip")


def test_no_events(make_raw, save):
    refused(save(make_raw()), "run_raw.fif has no events: expected annotations or codes in a stimulus channel")


def test_absent_events_name_what_is_there_and_the_nearest(recording):
    refused(
        recording,
        r"none of the events asked for: go \('lefft'\).*annotations left, right; nearest to 'lefft' is 'left'",
        events={"go": "lefft"},
    )
    refused(
        recording, "none of the events rigt; it has left, right; nearest to 'rigt' is 'right'", events=["left", "rigt"]
    )


def test_no_event_is_called_the_nearest_that_may_mean_the_opposite(make_raw, save):
    marked = save(make_raw(events={"T0": [1], "T1": [2], "T2": [3]}))
    with pytest.raises(InputError, match=r"none of the events left_hand; it has T0, T1, T2$"):
        load_eeg(marked, events=["left_hand"], tmin=0, tmax=1)
    there = ["T1", "T2", "left_hand", "S  1"]
    for word in ("T3", "right_hand", "S  2", "769", "!?", ""):
        assert resembling([word], there) == ""
    for word, near in (("left hand", "left_hand"), ("LEFT_HAND", "left_hand"), ("S 1", "S  1"), ("t2", "T2")):
        assert resembling([word], there) == f"; nearest to {word!r} is {near!r}"


def test_a_list_that_is_cut_says_so(make_raw, save):
    many = save(make_raw(events={f"code{i:02d}": [1 + 0.2 * i] for i in range(15)}))
    with pytest.raises(InputError, match=r"code10, code11 and 3 more$"):
        load_eeg(many, events=["nothing like it"], tmin=0, tmax=0.1)


def test_absent_codes_name_the_stimulus_channel(data_dir):
    path = data_dir / "formats/mne_testing/test_elekta_3ch_raw.fif"
    refused(
        path,
        r"none of the events asked for: go \(999\); it has stimulus codes 1, 2, 4, .* in STI101",
        events={"go": 999},
    )
    refused(path, "no stimulus channel 'STI1O1' in the recording \\(nearest: STI101\\)", stim_channel="STI1O1")


def test_nan_says_where(make_raw, save):
    raw = make_raw(events={"left": [1], "right": [3]})
    raw._data[2, 640:650] = np.nan
    raw._data[2, 700] = np.inf
    refused(
        save(raw),
        r"NaN or infinite samples in 2 span\(s\), the first at 5.000-5.078 s, channels Pz; pass on_nan='annotate'",
    )
    with pytest.raises(InputError, match="NaN or infinite samples"):
        read_recording(Recording(save(raw, "again_raw.fif")), preload=True)


def test_microvolts_stored_as_volts(make_raw, save):
    refused(
        save(make_raw(events={"left": [1], "right": [3]}, scale=20.0)),
        "run_raw.fif: .*microvolts stored as volts: pass unit='uV'",
    )


def test_unknown_channel_names(recording):
    refused(
        recording,
        r"picks names channels that the recording does not have: C3z \(nearest: Cz\); it has Fz, Cz, Pz, Oz",
        picks=["Cz", "C3z"],
    )
    refused(recording, "drop names channels that the recording does not have: Foz", drop=("Foz",))
    refused(recording, "rename names channels that the recording does not have: A", rename={"A": "B"})


def test_no_signal_channel(recording):
    refused(
        recording,
        "no EEG, MEG or intracranial channel .* types are misc",
        ch_types=dict.fromkeys(["Fz", "Cz", "Pz", "Oz"], "misc"),
    )
    refused(recording, "nothing is left after dropping", drop=("Fz", "Cz", "Pz", "Oz"))


def test_mixed_rates(make_raw, save):
    events = {"left": [1], "right": [3]}
    files = [save(make_raw(events=events, sfreq=rate), f"{rate:.0f}_raw.fif") for rate in (128.0, 250.0)]
    refused(files, "sampling rates differ: 128_raw.fif has 128 Hz, 250_raw.fif has 250 Hz; pass resample")


def test_different_channels(make_raw, save):
    events = {"left": [1], "right": [3]}
    files = [
        save(make_raw(events=events, names=names), f"{i}_raw.fif")
        for i, names in enumerate((("Fz", "Cz"), ("Cz", "Pz")))
    ]
    refused(files, "channels differ: 1_raw.fif lacks Fz and has Pz besides, compared with 0_raw.fif; pass picks")


def test_trials_longer_than_the_recording(recording):
    refused(
        recording,
        r"no trial from tmin=0 to tmax=30 s fits, the data around its 6 events reach from -1 to 18.99 s at best",
        tmax=30,
    )


def test_band_beyond_half_the_rate(recording):
    refused(recording, "sampled at 128 Hz, so the band must end below 64 Hz, got fmin=1, fmax=70", fmin=1, fmax=70)


def test_window_longer_than_the_recording(recording):
    refused(recording, "lasts 20.00 s, too short for one window of 60.0 s", window=(60, 60), label="rest")


def test_state_without_a_label(make_raw, save):
    refused(save(make_raw()), "is to be cut into windows and its state is not given: pass label", window=(2, 2))


def test_trial_window_exceeded(write_trials):
    path, _ = write_trials()
    refused(
        path,
        r"no trial from tmin=-1 to tmax=5 s fits, the data around its 8 events reach from -0.5 to 1.492 s at best",
        tmin=-1,
        tmax=5,
    )


def test_pickled_arrays_are_never_read(write_trials, capsys):
    path, _ = write_trials(ch_names=np.array([_Payload()] * 4, dtype=object))
    refused(path, "trials.npz: ch_names hold pickled objects, which can run any code and are never read")
    assert "pickle was run" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"y": None, "sfreq": None}, "lacks y, sfreq: a trial file holds X .*; this one has X, ch_names"),
        ({"y": np.zeros((8, 2), int)}, r"y must have one label for each of 8 trials, its shape is \(8, 2\)"),
        ({"y": np.zeros(5, int)}, r"y must have one label for each of 8 trials, its shape is \(5,\)"),
        (
            {"y": np.array([0, 1, 2, 0] * 2)},
            "y must be whole numbers from 0 to 1, the places in class_names; it holds 0, 1, 2",
        ),
        (
            {"X": np.zeros((8, 4))},
            r"X must be numbers of shape \(trials, channels, times\), it is float64 of shape \(8, 4\)",
        ),
        ({"X": np.full((8, 4, 9), "a")}, "X must be numbers of shape"),
        ({"ch_names": np.array(["a", "b"])}, "ch_names must be 4 different names, there are 2"),
        ({"sfreq": np.array([-1.0])}, r"sfreq must be one positive number of Hz, it is \[-1.0\]"),
        ({"run": np.array([1, 2])}, "run must be one value or one for each of 8 trials"),
    ],
)
def test_trial_files_that_do_not_fit(write_trials, changes, text):
    refused(write_trials(**changes)[0], text)


def test_truncated_trial_file(write_trials):
    path, _ = write_trials()
    path.write_bytes(path.read_bytes()[:900])
    refused(path, "cannot read .*trials.npz as a trial file .* damaged or truncated")


@pytest.mark.parametrize(
    ("text", "keywords", "message"),
    [
        ("t,Fz\n0,1\n", {}, r"holds 1 row\(s\): expected one row a sample"),
        (
            "time,Fz,Cz\n0,1,2\n0.1,1,2,3\n0.2,1,2\n",
            {},
            "cannot read .* as a CSV table: .*saw 4|more values than the header",
        ),
        ("time,Fz,Cz\n0,1,2,3\n0.1,1,2,3\n", {}, "rows have more values than the header has columns"),
        ("time,Fz,Cz\n0,1,2\n0.1,x,2\n", {}, "column 'Fz' holds 'x' in line 3; expected numbers in every column"),
        ("time,Fz,Cz\n0,1,2\n0.1,1,2\n0.2,1\n", {}, "is truncated: its last line, 4, has fewer values than the header"),
        (
            "a,b\n1,2\n2,3\n",
            {},
            "has no time column, so its sampling rate is unknown; pass sfreq, or time_column as one of a, b",
        ),
        (
            "time,Fz\n0,1\n0.1,2\n",
            {"marker_column": "mark"},
            r"has no column 'mark' \(marker_column\); its columns are time, Fz",
        ),
        ("time,Fz\n0,1\n0.1,2\n", {"marker_column": ["m", "n"]}, "has none of the columns m, n"),
        ("time,Fz\n0,1\n0.1,2\n", {"time_column": "clock"}, r"has no column 'clock' \(time_column\)"),
        ("time,marker\n0,1\n0.1,2\n", {}, "has no signal columns beside time and markers"),
        ("time,Fz\n5,1\n5,2\n5,3\n", {}, "time stamps do not increase"),
    ],
)
def test_csv_that_is_no_stream(write_csv, text, keywords, message):
    refused(write_csv(text), message, **keywords)


def test_binary_under_a_csv_name(tmp_path):
    (tmp_path / "a.csv").write_bytes(bytes(range(256)) * 20)
    refused(tmp_path / "a.csv", "a.csv is not a CSV table: it holds binary data")


def test_nothing_leaks_from_the_readers(make_raw, save, recwarn, capsys):
    raw = make_raw(events={"left": [1], "right": [3]})
    path = save(raw)
    renamed = path.with_name("unconventional.fif")  # mne warns that such a name should end in _raw.fif
    renamed.write_bytes(path.read_bytes())
    opened = open_recording(Recording(renamed, options=ReadOptions()))
    assert any("raw.fif" in text for text in opened.warnings)
    assert not [warning for warning in recwarn if "raw.fif" in str(warning.message)]
    assert capsys.readouterr() == ("", "")
    assert isinstance(opened.raw, mne.io.BaseRaw)


def test_failed_load_leaves_no_mapped_file(recording, make_raw, save, tmp_path):
    short = save(make_raw(seconds=4, events={"left": [3.9]}), "second_raw.fif")
    refused([recording, short], "second_raw.fif: no trial", memmap=tmp_path / "out" / "X.npy")
    assert not list((tmp_path / "out").iterdir())


def test_flat_channels_are_refused(make_raw, save):
    raw = make_raw(events={"left": [1, 5], "right": [3]})
    raw._data[1] = 3e-6
    path = save(raw)
    refused(path, r"run_raw.fif: Cz never change.*drop=")
    assert load_eeg(path, tmin=0, tmax=0.5, drop=["Cz"]).X.shape[1] == 3
    assert load_eeg(path, tmin=0, tmax=0.5, ch_types={"Cz": "misc"}).X.shape[1] == 3
    raw.info["bads"] = ["Cz"]
    assert load_eeg(save(raw, "bad_raw.fif"), tmin=0, tmax=0.5).X.shape[1] == 3


def test_flat_channel_of_a_trial_file(write_trials):
    X = np.random.default_rng(0).integers(-60, 60, (8, 4, 256)).astype(np.int16)
    X[:, 2] = 0
    refused(write_trials(X=X)[0], "trials.npz: Pz never change")


def test_flat_in_part_is_told(make_raw, save, caplog):
    raw = make_raw(events={"left": [1, 5], "right": [3]})
    raw._data[3, 700:1000] = 0.0
    load_eeg(save(raw), tmin=0, tmax=0.5)
    assert "run_raw.fif: Oz stand(s) still" in caplog.text


def test_lost_trials_are_counted(make_raw, save, caplog):
    raw = make_raw(events={"left": [1, 5, 9], "right": [3, 7, 19.9]})
    raw.annotations.append(5.1, 1.0, "BAD_blink")
    assert len(load_eeg(save(raw), tmin=0, tmax=0.5).y) == 4
    assert "4 of 6 trials kept" in caplog.text


def test_a_guessed_unit_is_warned_of_once(write_trials, caplog):
    path, _ = write_trials(unit_uV=None)
    load_eeg(path)
    told = [record for record in caplog.records if "no unit in the file" in record.getMessage()]
    assert [record.levelname for record in told] == ["WARNING"]
    caplog.clear()
    load_eeg(path, unit="0.1uV")
    assert "no unit" not in caplog.text
