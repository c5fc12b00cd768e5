"""A sample of windows is spread over recordings, and keeps what lies in an event where recordings have events."""

import mne
import numpy as np
import pytest

from neurosig.core.errors import InputError
from neurosig.tokenizers import TFMTokenizer
from neurosig.tokenizers.token_sources import named_sources
from neurosig.tokenizers.window_sample import sample_windows

RATE = 100.0


def recording(seconds, names=("C3", "C4"), events=()):
    """Samples that tell their own place."""
    X = np.tile(1e-6 * np.arange(round(seconds * RATE)), (len(names), 1))
    raw = mne.io.RawArray(X, mne.create_info(list(names), RATE, "eeg", verbose="error"), verbose="error")
    return raw.set_annotations(mne.Annotations(*zip(*events, strict=True))) if events else raw


@pytest.fixture
def tokenizer():
    return TFMTokenizer(any_channels=True)


def test_windows_are_spread_evenly_over_each_recording(tokenizer):
    sources = named_sources({"a": recording(100), "b": recording(10)})
    sample = sample_windows(sources, tokenizer, window=2.0, n_windows=8)
    starts = sample.metadata.groupby("subject")["start"].agg(list)
    assert starts["a"] == [0.0, 32.0, 64.0, 98.0] and starts["b"] == [0.0, 2.0, 4.0, 8.0]
    np.testing.assert_allclose(sample.X[:, 0, 0] * 1e6, sample.metadata["start"] * RATE, atol=1e-6)
    assert sample.y is None and sample.info.sfreq == RATE


def test_where_there_are_events_windows_lie_in_them(tokenizer):
    events = [(4.0, 4.0, "left"), (12.0, 4.0, "right")]
    sample = sample_windows(named_sources({"a": recording(20, events=events)}), tokenizer, window=2.0)
    assert dict(zip(sample.metadata["start"], sample.y, strict=True)) == {
        4.0: "left", 6.0: "left", 12.0: "right", 14.0: "right"
    }  # fmt: skip


def test_other_channels_are_told_and_left_out(tokenizer, caplog):
    sources = named_sources({"a": recording(10), "b": recording(10), "c": recording(10, ("Oz", "Pz"))})
    sample = sample_windows(sources, tokenizer, window=2.0)
    assert set(sample.metadata["subject"]) == {"a", "b"}
    assert "1 recording with other channels" in caplog.text


def test_nothing_to_sample_is_refused(tokenizer):
    with pytest.raises(InputError, match="no recording has a window of 20 s"):
        sample_windows(named_sources({"a": recording(10)}), tokenizer, window=20.0)
