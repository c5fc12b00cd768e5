import struct

import numpy as np
import pandas as pd
import pytest

from neurosig.core.errors import InputError
from neurosig.loaders.recordings import ReadOptions, Recording, open_recording, read_recording
from neurosig.loaders.streams import marker_onsets, nominal_rate

STREAM = "timestamps,TP9,AF7,Right AUX,Marker\n" + "".join(
    f"{100 + i / 128:.4f},{i % 7},{-(i % 5)},0.5,{1 if i == 50 else 2 if i in (90, 91) else 0}\n" for i in range(256)
)


def test_stream_becomes_a_recording(write_csv):
    raw = read_recording(Recording(write_csv(STREAM, "stream.csv.gz")))
    assert raw.info["sfreq"] == 128
    assert raw.ch_names == ["TP9", "AF7", "Right AUX"]
    assert raw.get_channel_types() == ["eeg", "eeg", "misc"]
    np.testing.assert_allclose(raw.get_data()[0], np.arange(256) % 7 * 1e-6)
    assert list(raw.annotations.description) == ["1", "2"]
    np.testing.assert_allclose(raw.annotations.onset, [50 / 128, 90 / 128])


def test_unit_rate_and_columns_may_be_said(write_csv):
    options = ReadOptions(unit="mV", sfreq=64, time_column="timestamps", marker_column=["Other", "Marker"])
    raw = read_recording(Recording(write_csv(STREAM), options=options))
    assert raw.info["sfreq"] == 64
    assert raw.get_data()[0].max() == pytest.approx(6e-3)


def test_assumptions_are_told(write_csv):
    opened = open_recording(Recording(write_csv(STREAM)))
    assert any("128 Hz" in note for note in opened.notes)
    assert any("taken as uV" in note for note in opened.assumed)


def test_rate_behind_rounded_time_stamps():
    exact = np.arange(5000) / 256
    assert nominal_rate(np.round(exact / 0.004) * 0.004)[0] == 256  # the median step alone says 250
    assert nominal_rate(np.arange(100) / 33.3)[0] == pytest.approx(33.3)


def test_a_gap_does_not_change_the_rate():
    stamps = np.arange(5000) / 256
    stamps[2500:] += 3.0
    assert nominal_rate(stamps)[0] == 256


def test_markers_are_where_the_column_turns_to_a_new_value():
    assert marker_onsets(np.array([1.0, 0, 0, 2, 2, 0, 2, 3, np.nan])).tolist() == [0, 3, 6, 7]


def test_headset_runs_hold_the_counted_markers(data_dir):
    counts = {"1": 0, "2": 0}
    for path in sorted((data_dir / "muse").glob("visual_p300_subject1_*")):
        raw = read_recording(Recording(path))
        assert raw.info["sfreq"] == 256
        for text in raw.annotations.description:
            counts[text] += 1
    assert counts == {"1": 1802, "2": 325}


def test_headset_samples_are_those_of_the_table(data_dir):
    path = data_dir / "muse/visual_n170_subject1_session1_run1.csv.gz"
    raw, table = read_recording(Recording(path)), pd.read_csv(path)
    np.testing.assert_allclose(raw.get_data(picks=["TP10"])[0], table["TP10"].to_numpy() * 1e-6)


def _xdf(streams):
    """A file of the published layout: each chunk is its length, a tag of two bytes, and content."""

    def chunk(tag, content):
        return b"\x04" + struct.pack("<IH", len(content) + 2, tag) + content

    out = b"XDF:" + chunk(1, b"<?xml version='1.0'?><info><version>1.0</version></info>")
    for number, (header, samples) in enumerate(streams, 1):
        out += chunk(2, struct.pack("<I", number) + header.encode())
        out += chunk(3, struct.pack("<I", number) + b"\x04" + struct.pack("<I", len(samples)) + b"".join(samples))
        footer = f"<info><first_timestamp>0</first_timestamp><sample_count>{len(samples)}</sample_count></info>"
        out += chunk(6, struct.pack("<I", number) + footer.encode())
    return out


def _header(name, kind, channels, rate, fmt, desc=""):
    return (
        f"<?xml version='1.0'?><info><name>{name}</name><type>{kind}</type><channel_count>{channels}</channel_count>"
        f"<nominal_srate>{rate}</nominal_srate><channel_format>{fmt}</channel_format><created_at>0</created_at>"
        f"<desc>{desc}</desc></info>"
    )


def _stamped(seconds, content):
    return b"\x08" + struct.pack("<d", seconds) + content


DESC = (
    "<channels>"
    + "".join(f"<channel><label>{name}</label><unit>microvolts</unit></channel>" for name in ("Cz", "Pz"))
    + "</channels>"
)


def _text(word):
    return b"\x01" + bytes([len(word)]) + word.encode()


def _write_xdf(path):
    eeg = [_stamped(10 + i / 100, struct.pack("<ff", i, -i)) for i in range(300)]
    marks = [_stamped(10.5, _text("go")), _stamped(12.0, _text("stop")), _stamped(99.0, _text("late"))]
    path.write_bytes(
        _xdf(
            [
                (_header("amp", "EEG", 2, 100, "float32", DESC), eeg),
                (_header("marks", "Markers", 1, 0, "string"), marks),
            ]
        )
    )
    return path


def test_xdf_gives_samples_names_units_and_markers(tmp_path):
    pytest.importorskip("pyxdf")
    opened = open_recording(Recording(_write_xdf(tmp_path / "lab.xdf")))
    raw = opened.raw
    assert raw.ch_names == ["Cz", "Pz"]
    assert raw.info["sfreq"] == 100
    np.testing.assert_allclose(raw.get_data()[1], -np.arange(300) * 1e-6)
    assert list(raw.annotations.description) == ["go", "stop"]
    np.testing.assert_allclose(raw.annotations.onset, [0.5, 2.0], atol=1e-3)
    assert "1 marker(s) outside the recording left out" in opened.notes


def test_truncated_or_markers_only_xdf_is_refused(tmp_path):
    pytest.importorskip("pyxdf")
    path = tmp_path / "marks.xdf"
    path.write_bytes(_xdf([(_header("marks", "Markers", 1, 0, "string"), [_stamped(1.0, _text("go"))])]))
    with pytest.raises(InputError, match="no stream of samples with a sampling rate; its streams are: Markers"):
        open_recording(Recording(path))
    path.write_bytes(b"XDX" + path.read_bytes())
    with pytest.raises(InputError, match="is not XDF: its first bytes are"):
        open_recording(Recording(path))
