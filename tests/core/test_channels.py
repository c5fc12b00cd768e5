"""The channel contract, against names of real recordings, closed forms, and mne's own interpolation."""

import json

import mne
import numpy as np
import pytest

from neurosig.core.channel_names import canonical_name, match_channels
from neurosig.core.channels import map_channels, montage_name, unit_factor
from neurosig.core.errors import ChannelError, UsageError
from neurosig.core.signals import Processing, SignalSpec

MOTOR = (
    "Fz", "FC3", "FCz", "FC4", "C3", "Cz", "C4", "CP3", "CPz", "CP4", "Pz", "T7", "T8", "P7", "P8",
    "Fp1", "Fp2", "Oz",
)  # fmt: skip


def spec(names, **fields):
    return SignalSpec("eeg", tuple(names), **{"sfreq": 128.0, **fields})


def signals(n_channels, n_times=64, n_trials=3, dtype=np.float64):
    return np.random.default_rng(0).standard_normal((n_trials, n_channels, n_times)).astype(dtype)


@pytest.mark.parametrize(
    ("spellings", "modality"),
    [
        (("FC5", "Fc5.", "fc5", " FC5 ", "EEG Fc5", "EEG FC5-REF", "EEG_FC5", "FC5..."), "eeg"),
        (
            ("C3", "C3..", "C3-A2", "C3-M2", "C3-LE", "EEG C3-REF", "c3-avg", "C3 - Ref", "C3\u2013A1", "C3-A1+A2"),
            "eeg",
        ),
        (("Cz", "CZ", "cz", "EEG CZ-LE"), "eeg"),
        (("T7", "T3", "EEG T3-REF", "t3-a1"), "eeg"),
        (("T8", "T4"), "eeg"),
        (("P7", "T5"), "eeg"),
        (("P8", "T6"), "eeg"),
        (("F7-T7", "F7-T3", "EEG F7-T3", "f7 - t3"), "eeg"),
        (("T7-P7", "T3-T5"), "eeg"),
        (("A1", "A01", "a1", "POL A1", "POL A01", "A1-Ref", "SEEG A1"), "seeg"),
        (("A'1", "A1'", "A'01", "A\u20191", "a`1"), "seeg"),
        (("LA1-LA2", "LA01-LA02", "LA1-2", "la1 - la2"), "seeg"),
        (("MLC11", "MLC11-1609", "mlc11-2908"), "meg"),
        (("MEG0113", "MEG 0113"), "meg"),
        (("7Networks LH Vis 1", "7Networks_LH_Vis_1"), "fmri"),
    ],
)
def test_spellings_of_one_channel(spellings, modality):
    assert len({canonical_name(name, modality) for name in spellings}) == 1


@pytest.mark.parametrize(
    ("one", "other", "modality"),
    [
        ("F7-T3", "F7", "eeg"),  # a bipolar pair is never its first electrode
        ("Fpz-Cz", "Fpz", "eeg"),
        ("F7-T3", "T3-F7", "eeg"),  # the order of a pair is its sign
        ("A1", "M1", "eeg"),  # earlobe and mastoid
        ("A2-A1", "A2", "eeg"),  # the pair of the two references
        ("T1", "FT9", "eeg"),
        ("T3", "T7", "seeg"),  # two contacts of shaft T
        ("T5", "P7", "seeg"),
        ("B3-A1", "B3", "seeg"),  # two contacts, not a reference
        ("A1", "A'1", "seeg"),  # right and left
        ("A1", "A11", "seeg"),
        ("A10", "A1", "seeg"),
        ("LA1-LA2", "LA2-LA3", "seeg"),
        ("MLC11", "MLC12", "meg"),
        ("T3", "T7", "fmri"),
        ("region 01", "region 1", "fmri"),
    ],
)
def test_different_channels_stay_apart(one, other, modality):
    assert canonical_name(one, modality) != canonical_name(other, modality)


def test_every_site_of_the_10_05_system_keeps_its_spelling():
    names = mne.channels.make_standard_montage(montage_name("standard_1005")).ch_names
    renamed = {"T3": "T7", "T4": "T8", "T5": "P7", "T6": "P8"}
    for name in names:
        expected = renamed.get(name, name)
        for spelling in (name, name.upper(), name.lower(), f"EEG {name}-REF", name + "."):
            assert canonical_name(spelling) == expected, spelling


def test_names_of_edf_recordings_match_the_standard_montage(data_dir):
    montage = mne.channels.make_standard_montage(montage_name("standard_1005")).ch_names
    known = {canonical_name(name) for name in montage}
    files = [file for name in ("eegmmidb", "eegmat") for file in sorted((data_dir / name / "edf").rglob("*.edf"))]
    assert files
    for file in (files[0], files[-1]):
        raw = mne.io.read_raw_edf(file, verbose="error")
        sites = [name for name in raw.ch_names if "ECG" not in name and "A2-A1" not in name]
        assert len(sites) >= 19
        assert {canonical_name(name) for name in sites} <= known


def test_match_gives_positions_in_the_wanted_order():
    match = match_channels(["EEG T3-REF", "C3..", "EOG", "CZ"], ["Cz", "C3", "T7", "Pz"])
    assert match.index == (3, 1, 0, None)
    assert match.missing == ("Pz",)
    assert match.extra == ("EOG",)
    assert match.renamed == {"CZ": "Cz", "C3..": "C3", "EEG T3-REF": "T7"}


@pytest.mark.parametrize(
    ("have", "want", "named"),
    [
        (["T3", "T7", "Cz"], ["T7", "Cz"], "T3, T7"),
        (["C3-A1", "C3-A2"], ["C3"], "C3-A1, C3-A2"),
        (["C3", "C4"], ["C3", "C3-REF"], "C3, C3-REF"),
    ],
)
def test_two_channels_of_one_name_are_refused_by_name(have, want, named):
    with pytest.raises(ChannelError, match=f"got 2 spellings of it: {named}; rename or drop"):
        match_channels(have, want)


def test_two_spellings_that_both_sides_share_are_no_guess():
    assert match_channels(["C3-A2", "C3-A1"], ["C3-A1", "C3-A2"]).index == (1, 0)
    # nor do spellings that nobody asked for stand in the way
    assert match_channels(["C3-A2", "C3-A1", "Cz"], ["Cz"]).index == (2,)


def test_nothing_to_do_returns_the_same_array():
    X = signals(3)
    same, report = map_channels(X, spec("ABC"), spec("ABC"))
    assert same is X
    assert str(report) == "3 channels; as they came"


def test_order_names_and_unit_are_mapped():
    X = signals(4, dtype=np.float32)
    X.flags.writeable = False
    have = spec(["EEG T3-REF", "ECG", "CZ", "Fc5."], unit="uV")
    mapped, report = map_channels(X, have, spec(["FC5", "Cz", "T7"]))
    np.testing.assert_allclose(mapped, X[:, [3, 2, 0]] * 1e-6, rtol=1e-6)
    assert mapped.dtype == np.float32
    assert report.reordered
    assert report.ignored == ("ECG",)
    assert report.scale == pytest.approx(1e-6)
    assert "EEG T3-REF -> T7" in str(report)
    assert "uV -> V" in str(report)
    assert json.loads(json.dumps(report.to_dict()))["ignored"] == ["ECG"]


def test_memory_maps_are_not_read(tmp_path):
    np.save(tmp_path / "X.npy", signals(4))
    X = np.load(tmp_path / "X.npy", mmap_mode="r")
    mapped, _ = map_channels(X, spec("ABCD"), spec("BC"))
    assert np.shares_memory(mapped, X)


@pytest.mark.parametrize(
    ("have", "want", "factor"),
    [
        ("uV", "V", 1e-6), ("V", "uV", 1e6), ("\u00b5V", "V", 1e-6), ("\u03bcV", "uV", 1.0), ("mV", "uV", 1e3),
        ("fT", "T", 1e-15), ("z", "z", 1.0),
    ],
)  # fmt: skip
def test_units_convert(have, want, factor):
    assert unit_factor(have, want) == pytest.approx(factor, rel=1e-12)


@pytest.mark.parametrize(("have", "want"), [("V", "T"), ("z", "V"), ("a.u.", "z")])
def test_units_of_different_things_are_refused(have, want):
    with pytest.raises(ChannelError, match=f"expected signals in '{want}', got '{have}'"):
        unit_factor(have, want)


def test_missing_channels_are_named_with_the_nearest():
    have = spec(["C3", "C4", "F7-T3", "X1"])
    with pytest.raises(ChannelError) as raised:
        map_channels(signals(4), have, spec(["C3", "C4", "F7", "Pz"]))
    text = str(raised.value)
    assert "expected 4 channels, 2 of them are in the data; missing: F7 (F7-T3?), Pz" in text
    assert "in the data but not expected: F7-T3, X1" in text
    assert "on_missing='interpolate' or 'drop'" in text
    assert "\n" not in text


def test_no_channel_in_common_is_refused_under_every_policy():
    for policy in ("raise", "interpolate", "drop"):
        with pytest.raises(ChannelError, match="0 of them are in the data"):
            map_channels(signals(2), spec(["X", "Y"]), spec(["C3", "C4"]), on_missing=policy)


def test_drop_returns_what_was_found_and_says_so():
    X = signals(2)
    mapped, report = map_channels(X, spec(["C4", "C3"]), spec(["C3", "Cz", "C4"]), on_missing="drop")
    np.testing.assert_array_equal(mapped, X[:, [1, 0]])
    assert report.ch_names == ("C3", "C4")
    assert report.dropped == ("Cz",)
    assert "left out (absent in the data): Cz" in str(report)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_interpolation_is_that_of_mne(dtype):
    X = signals(len(MOTOR), dtype=dtype)
    absent = ("Cz", "C3")
    kept = [i for i, name in enumerate(MOTOR) if name not in absent]
    order = kept[::-1]
    mapped, report = map_channels(
        X[:, order], spec([MOTOR[i] for i in order]), spec(MOTOR), on_missing="interpolate"
    )  # fmt: skip
    info = mne.create_info(list(MOTOR), 128.0, "eeg")
    info.set_montage(mne.channels.make_standard_montage(montage_name("standard_1005")))
    info["bads"] = list(absent)
    expected = mne.EpochsArray(X, info, verbose=False).interpolate_bads(verbose=False).get_data(copy=False)
    assert mapped.dtype == dtype
    np.testing.assert_array_equal(mapped[:, kept], X[:, kept])
    missing = [MOTOR.index(name) for name in absent]
    # the two fit the sphere's centre in different ways
    np.testing.assert_allclose(mapped[:, missing], expected[:, missing], rtol=0.05, atol=0.05)
    assert report.interpolated == ("C3", "Cz")


def test_interpolation_recovers_a_smooth_field():
    places = mne.channels.make_standard_montage(montage_name("standard_1005")).get_positions()["ch_pos"]
    positions = np.array([places[name] for name in MOTOR])
    field = positions @ [0.3, -0.2, 1.0] * 10
    X = np.broadcast_to(field[:, None], (2, len(MOTOR), 5)).copy()
    keep = [i for i, name in enumerate(MOTOR) if name != "Cz"]
    want = spec(MOTOR, positions=tuple(map(tuple, positions)))
    mapped, _ = map_channels(X[:, keep], spec([MOTOR[i] for i in keep]), want, on_missing="interpolate")
    np.testing.assert_allclose(mapped[:, MOTOR.index("Cz")], field[MOTOR.index("Cz")], rtol=0.03)


def test_extra_channels_help_to_interpolate():
    places = mne.channels.make_standard_montage(montage_name("standard_1005")).get_positions()["ch_pos"]
    near = ("FC1", "FC2", "CP1", "CP2", "C1", "C2")
    names = tuple(n for n in MOTOR if n != "Cz") + near
    rng = np.random.default_rng(1)
    source = np.array(places["Cz"]) * 0.5
    gain = np.array([1 / np.sum((np.array(places[n]) - source) ** 2) for n in (*names, "Cz")])
    X = gain[:, None] * rng.standard_normal((1, 1, 50))
    errors = []
    for available in (names[: -len(near)], names):
        rows = [names.index(n) for n in available]
        mapped, _ = map_channels(X[:, rows], spec(available), spec(MOTOR), on_missing="interpolate")
        errors.append(np.abs(mapped[:, MOTOR.index("Cz")] - X[:, -1]).max())
    assert errors[1] < 0.7 * errors[0]


@pytest.mark.parametrize(
    ("have", "want", "message"),
    [
        (spec(MOTOR), spec((*MOTOR, "F7-T3")), "cannot interpolate F7-T3: no position in the montage standard_1005"),
        (spec(MOTOR[:4]), spec(MOTOR[:9]), r"5 channels .* from 4"),
        (spec(MOTOR), spec((*MOTOR, "O1"), montage="nonsense"), "'nonsense' is no montage"),
        (SignalSpec("seeg", ("A1",)), SignalSpec("seeg", ("A1", "A2")), "splines are for scalp EEG"),
    ],
)  # fmt: skip
def test_interpolation_is_refused_with_the_reason(have, want, message):
    with pytest.raises(ChannelError, match=message):
        map_channels(signals(have.n_channels), have, want, on_missing="interpolate")


def test_another_rate_is_refused():
    with pytest.raises(ChannelError, match=r"expected a sampling rate of 128 Hz, got 250 Hz; .*on_sfreq='resample'"):
        map_channels(signals(1), spec("A", sfreq=250.0), spec("A"))


def test_a_rate_stated_to_few_digits_is_the_same():
    X = signals(1)
    assert map_channels(X, spec("A", sfreq=127.998), spec("A"))[0] is X


@pytest.mark.parametrize(("old", "new"), [(250, 128), (128, 256), (256, 128), (100, 1000), (512, 100)])
def test_resampling_keeps_times_and_slow_waves(old, new):
    seconds = 2.0
    before = np.arange(int(seconds * old) + 1) / old  # both ends included
    after = np.arange(int(seconds * new) + 1) / new
    wave = lambda t: np.sin(2 * np.pi * 4 * t + 0.3) + 7  # noqa: E731
    X = wave(before)[None, None].astype(np.float32)
    mapped, report = map_channels(
        X, spec("A", sfreq=old), spec("A", sfreq=new, n_times=len(after)), on_sfreq="resample"
    )  # fmt: skip
    assert mapped.shape == (1, 1, len(after))
    assert mapped.dtype == np.float32
    inner = slice(len(after) // 8, -len(after) // 8)
    np.testing.assert_allclose(mapped[0, 0, inner], wave(after)[inner], atol=0.02)
    assert report.resampled
    assert f"resampled {old:g} -> {new:g} Hz" in str(report)


def test_rates_too_far_apart_are_refused():
    with pytest.raises(ChannelError, match="cannot resample 100000 Hz to 77 Hz: the rates are too far apart"):
        map_channels(signals(1), spec("A", sfreq=1e5), spec("A", sfreq=77.0), on_sfreq="resample")


def test_one_extra_sample_is_cut_off_and_said():
    X = signals(1, n_times=257)
    mapped, report = map_channels(X, spec("A"), spec("A", n_times=256))
    np.testing.assert_array_equal(mapped, X[..., :256])
    assert report.cropped == 1
    assert "1 sample cut off the end" in str(report)


@pytest.mark.parametrize("n_times", [255, 258])
def test_other_windows_are_refused(n_times):
    want = spec("A", n_times=256, processing=Processing(0.0, 2.0))
    with pytest.raises(ChannelError, match=f"of 256 samples, got {n_times}.*0 to 2 s around the event"):
        map_channels(signals(1, n_times=n_times), spec("A"), want)


def test_differences_that_cannot_be_mended_are_noted():
    have = spec("A", highpass=0.1, lowpass=40.0, reference="Cz", tmin=0.0)
    want = spec("A", highpass=8.0, lowpass=40.0, reference="average", tmin=0.5)
    report = map_channels(signals(1), have, want)[1]
    assert report.notes == (
        "windows start at 0 s, at 0.5 s in training",
        "high-pass 0.1 Hz, 8 Hz in training",
        "reference Cz, average in training",
    )


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"on_missing": "guess"}, UsageError, "on_missing must be one of raise, interpolate, drop, got 'guess'"),
        ({"on_sfreq": "guess"}, UsageError, "on_sfreq must be one of raise, resample"),
        ({"X": np.zeros((2, 4))}, ChannelError, r"n_trials, 3 channels, n_times\), got \(2, 4\)"),
        ({"X": np.zeros((2, 4, 8))}, ChannelError, r"got \(2, 4, 8\)"),
        ({"want": SignalSpec("meg", ("A",))}, ChannelError, "expected meg signals, got eeg"),
        ({"want": spec("ABC", unit="T")}, ChannelError, "expected signals in 'T', got 'V'"),
    ],
)
def test_wrong_calls(change, error, message):
    arguments = {"X": signals(3), "have": spec("ABC"), "want": spec("ABC"), **change}
    with pytest.raises(error, match=message):
        map_channels(arguments.pop("X"), arguments.pop("have"), arguments.pop("want"), **arguments)
