"""Recordings of any length become the tokens that their windows have, read once, in bounded memory, and resumably."""

import tracemalloc
from pathlib import Path

import lives
import mne
import numpy as np
import pytest

from neurosig.core.errors import ChannelError, StorageError, UsageError
from neurosig.core.signals import SignalDataset
from neurosig.loaders.content import content_sums
from neurosig.loaders.recordings import Recording
from neurosig.tokenizers import TFMTokenizer, TokenStore, load_tokenizer, tokenize_recordings
from neurosig.tokenizers.token_sources import named_sources
from neurosig.tokenizers.tokenize import block_dataset, tokenizer_digest

CHANNELS = ["C3", "Cz", "C4"]
TINY = {
    "n_codes": 16, "emb_size": 16, "freq_depth": 1, "temporal_depth": 1, "decoder_depth": 1, "n_heads": 2,
    "max_epochs": 1, "batch_size": 16, "random_state": 0, "device": "cpu",
}  # fmt: skip


def recording(seconds=20.0, sfreq=128.0, seed=0, ch_names=CHANNELS):
    rng = np.random.default_rng(seed)
    times = np.arange(round(seconds * sfreq)) / sfreq
    waves = np.sin(2 * np.pi * rng.uniform(2, 40, (len(ch_names), 1)) * times) * np.sin(0.7 * times)
    X = 1e-5 * (waves + 0.5 * rng.standard_normal(waves.shape))
    return mne.io.RawArray(X, mne.create_info(list(ch_names), sfreq, "eeg", verbose="error"), verbose="error")


def learned(**params):
    windows = recording(40.0).get_data().reshape(3, 20, 256).swapaxes(0, 1)
    return TFMTokenizer(**TINY, **params).fit(block_dataset(windows.astype(np.float32), recording(), range(3)))


@pytest.fixture(scope="module")
def tokenizer():
    made = learned(any_channels=True)
    book = made.module_.quantizer.codebook  # codes among the embeddings, so that tokens differ
    latents = made.embed(
        block_dataset(recording(40.0, seed=3).get_data()[None].astype(np.float32), recording(), [0, 1, 2])
    )
    book.copy_(book.new_tensor(latents.reshape(-1, 16)[::13][:16]))
    return made


def windows_of(raw, window, step):
    data, length = raw.get_data(), round(window * raw.info["sfreq"])
    starts = np.rint(np.arange(0, raw.times[-1], step) * raw.info["sfreq"]).astype(int)
    cut = [data[:, start : start + length] for start in starts if start + length <= raw.n_times]
    return block_dataset(np.array(cut), raw, range(len(raw.ch_names)))


@pytest.mark.filterwarnings("ignore:windows of 3 s are tokenized by")
@pytest.mark.parametrize("sfreq", [200.0, 128.0, 256.0])
@pytest.mark.parametrize("step", [1.0, 3.0])
def test_the_tokens_are_those_of_all_windows_at_once(tokenizer, tmp_path, sfreq, step):
    raw = recording(31.0, sfreq)
    expected = tokenizer.transform(windows_of(raw, 3.0, step))
    assert len(np.unique(expected)) > 5
    for block_bytes in (1, 30_000, 10**8):
        (one,) = tokenize_recordings(
            tokenizer, {"a": raw}, tmp_path / str(block_bytes), window=3.0, step=step, block_bytes=block_bytes
        )
        assert one.state == "tokenized" and one.n_windows == len(expected)
        assert (one.n_incomplete, one.seconds_left) == ((1, 1.0) if step == 3 else (0, 0.0))
        store = TokenStore(tmp_path / str(block_bytes))
        np.testing.assert_array_equal(store.tokens("a"), expected)
        np.testing.assert_allclose(store.starts("a"), step * np.arange(len(expected)))
    assert store.facts.token_axes == ("window", "channel", "frame")


def test_nothing_that_was_learned_changes(tokenizer, tmp_path):
    before, state = tokenizer_digest(tokenizer), {k: v.clone() for k, v in tokenizer.module_.state_dict().items()}
    tokenize_recordings(tokenizer, {"a": recording()}, tmp_path / "store", window=2.0)
    assert tokenizer_digest(tokenizer) == before
    assert all((value == state[name]).all() for name, value in tokenizer.module_.state_dict().items())


class Counting:
    """A tokenizer that computes next to nothing, so that what is measured is the reading."""

    def __init__(self, tokenizer):
        self._tokenizer, self.seen = tokenizer, []

    def __getattr__(self, name):
        return getattr(self._tokenizer, name)

    def __sklearn_is_fitted__(self):
        return True

    def fit(self):
        raise AssertionError("tokenizing learns nothing")

    def _tokens(self, dataset):
        self.seen.append(dataset.X.nbytes)
        return np.zeros((len(dataset), dataset.X.shape[1], 2), dtype=np.int64)


def test_memory_is_that_of_a_block_whatever_the_length(tokenizer, tmp_path):
    places = []
    for seconds in (60, 600):
        places.append(tmp_path / f"{seconds}_raw.fif")
        recording(seconds, ch_names=[f"E{i}" for i in range(8)]).save(places[-1], buffer_size_sec=10, verbose="error")
    whole = 600 * 128 * 8 * 8
    content_sums(places)  # which is remembered, and takes a megabyte of its own
    counting, block, peaks = Counting(tokenizer), 1 << 16, []
    for place in (places[0], *places):  # once more for what is imported at the first time
        out = tmp_path / f"{place.stem}{len(peaks)}"
        tracemalloc.start()
        (one,) = tokenize_recordings(counting, place, out, window=2.0, block_bytes=block)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert one.state == "tokenized", one.error
    assert max(counting.seen) <= block
    # what grows are the times of the windows and what mne knows of the parts of the file
    assert peaks[2] < peaks[1] + whole / 10
    assert peaks[2] < whole / 2
    assert one.n_windows == 300


def test_a_second_call_does_only_what_is_missing(tokenizer, tmp_path):
    for name, seed in (("sub-1", 1), ("sub-2", 2)):
        recording(seed=seed).save(tmp_path / f"{name}_raw.fif", verbose="error")
    first = tokenize_recordings(tokenizer, tmp_path / "sub-1_raw.fif", tmp_path / "store", window=2.0)
    assert [(one.name, one.state) for one in first] == [("sub-1_ses-0_run-0", "tokenized")]
    store = TokenStore(tmp_path / "store")
    written = {path: path.stat().st_mtime_ns for path in store.path.rglob("*")}
    both = [tmp_path / "sub-1_raw.fif", tmp_path / "sub-2_raw.fif"]
    again = tokenize_recordings(tokenizer, both, tmp_path / "store", window=2.0)
    assert [one.state for one in again] == ["skipped", "tokenized"]
    assert again[0].n_windows == first[0].n_windows == 10
    one = store.path / "sub-1_ses-0_run-0"
    assert all(path.stat().st_mtime_ns == time for path, time in written.items() if one in path.parents)
    # a damaged one is made again
    (one / "zarr.json").write_text("{")
    assert [one.state for one in tokenize_recordings(tokenizer, both, tmp_path / "store", window=2.0)] == [
        "tokenized", "skipped",
    ]  # fmt: skip
    facts = store.info("sub-1_ses-0_run-0")
    assert (facts.subject, facts.source["file"], facts.sfreq) == ("1", "sub-1_raw.fif", 128.0)
    assert facts.source["size"] == (tmp_path / "sub-1_raw.fif").stat().st_size and facts.ch_names == tuple(CHANNELS)


def test_one_recording_never_takes_the_place_of_another(tokenizer, tmp_path):
    store = tmp_path / "store"
    tokenize_recordings(tokenizer, {"a": recording()}, store, window=2.0)
    there = TokenStore(store).tokens("a")
    (other,) = tokenize_recordings(tokenizer, {"a": recording(seed=5)}, store, window=2.0)
    assert other.state == "failed" and "another recording of this name" in other.error
    (picked,) = tokenize_recordings(tokenizer, {"a": recording()}, store, window=2.0, picks=["Cz"])
    assert picked.state == "failed" and "read or cut otherwise" in picked.error
    np.testing.assert_array_equal(TokenStore(store).tokens("a"), there)
    (picked,) = tokenize_recordings(tokenizer, {"a": recording()}, store, window=2.0, picks=["cz"], overwrite=True)
    assert picked.state == "tokenized"
    np.testing.assert_array_equal(TokenStore(store).tokens("a"), there[:, 1:2])
    with pytest.raises(UsageError, match="another window"):
        tokenize_recordings(tokenizer, {"a": recording()}, store, window=3.0)
    weights = learned(any_channels=True)
    weights.module_.quantizer.codebook.mul_(0.5)
    with pytest.raises(UsageError, match="another tokenizer"):
        tokenize_recordings(weights, {"a": recording()}, store, window=2.0)


def _work(folder):
    tokenizer = load_tokenizer(Path(folder) / "tokenizer")
    tokenize_recordings(tokenizer, Path(folder) / "recordings", Path.cwd() / "store", window=2.0, block_bytes=20_000)


def test_killed_anywhere_the_next_call_ends_with_the_same_store(tokenizer, tmp_path):
    (tmp_path / "recordings").mkdir()
    for number in (1, 2):
        recording(seed=number).save(tmp_path / "recordings" / f"sub-{number}_raw.fif", verbose="error")
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    (tmp_path / "whole").mkdir()
    assert lives.ended(lives.begin(tmp_path / "whole", _work, str(tmp_path)))
    whole = TokenStore(tmp_path / "whole" / "store")
    place = tmp_path / "killed"
    place.mkdir()
    for share in (0.2, 0.5, 0.9):
        at = round(share * lives.n_events(tmp_path / "whole"))
        ended = lives.ended(lives.begin(place, _work, str(tmp_path), kill_at=at))
        assert not ended or share > 0.5  # what is left after two kills may be less than that
    assert lives.ended(lives.begin(place, _work, str(tmp_path)))
    store = TokenStore(place / "store")
    assert store.recordings == whole.recordings == ["sub-1_ses-0_run-0", "sub-2_ses-0_run-0"]
    for name in store:
        np.testing.assert_array_equal(store.tokens(name), whole.tokens(name))
    assert sorted(item.name for item in store.path.iterdir()) == [*store.recordings, "zarr.json"]


def test_one_failure_does_not_stop_the_others(tokenizer, tmp_path):
    (tmp_path / "broken_raw.fif").write_bytes(b"no recording")
    recording(1.0).save(tmp_path / "short_raw.fif", verbose="error")
    recording().save(tmp_path / "good_raw.fif", verbose="error")
    done = tokenize_recordings(tokenizer, sorted(tmp_path.glob("*.fif")), tmp_path / "store", window=2.0)
    assert {one.name.split("_")[0]: one.state for one in done} == {
        "sub-broken": "failed", "sub-good": "tokenized", "sub-short": "failed",
    }  # fmt: skip
    assert "no window of 2 s is in the recording: it lasts 1.00 s" in done[2].error
    store = TokenStore(tmp_path / "store")
    assert store.recordings == ["sub-good_ses-0_run-0"]
    expected = tokenizer.transform(windows_of(recording(), 2.0, 2.0))
    assert (store.tokens("sub-good_ses-0_run-0") == expected).mean() > 0.99  # the file holds single precision


@pytest.mark.slow
def test_processes_side_by_side_give_the_same(tokenizer, tmp_path):
    several = {name: recording(seed=seed) for seed, name in enumerate("abc")}
    for n_jobs in (1, 2):
        done = tokenize_recordings(tokenizer, several, tmp_path / str(n_jobs), window=2.0, n_jobs=n_jobs)
        assert [(one.name, one.state) for one in done] == [(name, "tokenized") for name in "abc"]
    one, two = TokenStore(tmp_path / "1"), TokenStore(tmp_path / "2")
    for name in "abc":
        np.testing.assert_array_equal(one.tokens(name), two.tokens(name))


def test_what_is_no_number_is_refused_or_left_out(tokenizer, tmp_path):
    raw = recording()
    raw._data[1, 700] = np.nan
    (one,) = tokenize_recordings(tokenizer, {"a": raw}, tmp_path / "a", window=2.0)
    assert one.state == "failed" and "NaN or infinite in the window at 4.00 s" in one.error
    (one,) = tokenize_recordings(tokenizer, {"a": raw}, tmp_path / "a", window=2.0, on_nan="skip")
    assert (one.state, one.n_windows, one.n_bad) == ("tokenized", 9, 1)
    store = TokenStore(tmp_path / "a")
    assert store.starts("a").tolist() == [0.0, 2.0, *range(6, 20, 2)]
    clean = tokenizer.transform(windows_of(recording(), 2.0, 2.0))
    np.testing.assert_array_equal(store.tokens("a"), np.delete(clean, 2, axis=0))
    with pytest.raises(UsageError, match="on_nan"):
        tokenize_recordings(tokenizer, {"a": raw}, tmp_path / "a", on_nan="ignore")


def test_bad_spans_and_labels(tokenizer, tmp_path):
    raw = recording()
    raw.set_annotations(mne.Annotations([5.0, 10.0], [0.5, 4.0], ["BAD_jump", "left"]))
    tokenize_recordings(tokenizer, {"a": raw}, tmp_path / "a", window=2.0)
    table = TokenStore(tmp_path / "a").to_frame()
    assert table["start"].tolist() == [0.0, 2.0, *range(6, 20, 2)]
    assert table.dropna(subset="label")[["start", "label"]].to_numpy().tolist() == [[10.0, "left"], [12.0, "left"]]
    (one,) = tokenize_recordings(tokenizer, {"a": raw}, tmp_path / "b", window=2.0, skip_bad=False)
    assert (one.n_windows, one.n_bad) == (10, 0)


def test_channels_are_those_fitted_on_by_name(tmp_path):
    bound = learned()
    expected = bound.transform(windows_of(recording(), 2.0, 2.0))
    names = ["c4", "Fz", "C3", "EEG Cz"]
    raw = recording()
    shuffled = mne.io.RawArray(
        raw.get_data()[[2, 0, 0, 1]], mne.create_info(names, 128.0, "eeg", verbose="error"), verbose="error"
    )
    out = tmp_path / "store"
    done = tokenize_recordings(bound, {"a": shuffled, "b": recording(ch_names=["C3", "Cz", "O1"])}, out)
    assert [one.state for one in done] == ["tokenized", "failed"]
    assert "lacks C4" in done[1].error
    store = TokenStore(out)
    np.testing.assert_array_equal(store.tokens("a"), expected)
    assert store.info("a").ch_names == ("C3", "EEG Cz", "c4")
    assert store.facts.window == 2.0  # that of the fit
    with pytest.raises(ChannelError):  # the tokenizer itself takes no others either
        bound.transform(windows_of(recording(ch_names=["C3", "Cz", "O1"]), 2.0, 2.0))


def test_names_tell_whose_a_recording_is(tmp_path):
    for name in ("sub-01_ses-2_run-3", "night"):
        recording(4.0).save(tmp_path / f"{name}_raw.fif", verbose="error")
    every = named_sources(sorted(tmp_path.glob("*.fif")))
    assert list(every) == ["sub-night_ses-0_run-0", "sub-01_ses-2_run-3"]
    assert list(named_sources([tmp_path, "simulated-imagery"], subjects=["01"])) == ["sub-01_ses-2_run-3"]
    simulated = named_sources("simulated-imagery", subjects=["1"])
    assert next(iter(simulated)) == "simulated-imagery_sub-1_ses-0_run-0"
    stated = Recording(tmp_path / "night_raw.fif", "7", "1", "2", label="rest")
    assert list(named_sources([stated])) == ["sub-7_ses-1_run-2"]
    with pytest.raises(UsageError, match="two recordings would be called sub-7_ses-1_run-2"):
        named_sources([stated, Recording(tmp_path / "sub-01_ses-2_run-3_raw.fif", "7", "1", "2", task="x")][:1] * 2)
    with pytest.raises(UsageError, match="no recording of subject 9"):
        named_sources(tmp_path, subjects=["9"])
    with pytest.raises(UsageError, match="no dataset is called"):
        named_sources("no-such-dataset")
    with pytest.raises(UsageError, match="given by name"):
        named_sources([recording(1.0)])


def test_a_folder_with_recordings_takes_no_store(tokenizer, tmp_path):
    recording(4.0).save(tmp_path / "a_raw.fif", verbose="error")
    with pytest.raises(UsageError, match="lies in"):
        tokenize_recordings(tokenizer, tmp_path / "a_raw.fif", tmp_path)


def test_any_stored_tokenizer_is_read(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    again = load_tokenizer(tmp_path / "tokenizer", batch_size=4)
    assert isinstance(again, TFMTokenizer) and again.batch_size == 4
    assert tokenizer_digest(again) == tokenizer_digest(tokenizer)
    with pytest.raises(StorageError, match="not a saved tokenizer"):
        load_tokenizer(tmp_path)
    config = tmp_path / "tokenizer" / "config.json"
    config.write_text(config.read_text().replace('"estimator": "TFMTokenizer"', '"estimator": "TokenStore"'))
    with pytest.raises(StorageError, match="no tokenizer of this version"):
        load_tokenizer(tmp_path / "tokenizer")


def test_a_dataset_of_trials_keeps_their_labels(tokenizer, tmp_path):
    X = recording(40.0).get_data().reshape(3, 10, 512).swapaxes(0, 1)
    labels = np.array(["left", "right"] * 5)
    np.savez(tmp_path / "sub-1_eeg.npz", X=X, y=labels, ch_names=np.array(CHANNELS), sfreq=128.0, unit_uV=1e6)
    tokenize_recordings(tokenizer, tmp_path / "sub-1_eeg.npz", tmp_path / "store", window=2.0)
    store = TokenStore(tmp_path / "store")
    (name,) = store
    assert store.labels(name).tolist() == np.repeat(labels, 2).tolist()
    spec = block_dataset(X, recording(), range(3)).info
    halves = X.reshape(10, 3, 2, 256).transpose(0, 2, 1, 3).reshape(20, 3, 256)
    table = block_dataset(halves, recording(), range(3)).metadata
    np.testing.assert_array_equal(store.tokens(name), tokenizer.transform(SignalDataset(halves, None, table, spec)))


def test_channels_where_nothing_was_recorded_are_counted(tokenizer, tmp_path):
    raw = recording(12.0, 200.0)
    raw._data[0, 600:1400] = raw._data[0, 600]  # whole windows are those at 4 s, and of the second channel all
    raw._data[1] = 0.0
    with pytest.warns(UserWarning, match="constant in some windows.*: 7 in a;"):
        good, whole = tokenize_recordings(tokenizer, {"a": raw, "b": recording(12.0)}, tmp_path / "s", window=2.0)
    assert (good.n_flat, whole.n_flat, good.n_windows) == (7, 0, 6)
    assert TokenStore(tmp_path / "s").info("a").n_flat == 7
    with pytest.warns(UserWarning, match="7 of 18 channels of windows are constant"):
        tokenizer.transform(windows_of(raw, 2.0, 2.0))


def test_windows_of_another_length_than_those_learned_from_are_told(tokenizer, tmp_path):
    with pytest.warns(UserWarning, match="windows of 4 s are tokenized by a TFMTokenizer that was fitted on.* 2 s"):
        tokenize_recordings(tokenizer, {"a": recording(12.0)}, tmp_path / "s", window=4.0)
    with pytest.warns(UserWarning, match="windows of 1.5 s are tokenized"):
        tokenizer.transform(windows_of(recording(12.0), 1.5, 1.5))
    tokenizer.transform(windows_of(recording(12.0, 128.0), 2.0, 2.0))


def test_a_damaged_recording_is_made_again_and_told(tokenizer, tmp_path, caplog):
    raws = {"a": recording(), "b": recording(seed=1)}
    tokenize_recordings(tokenizer, raws, tmp_path / "store", window=2.0)
    store = TokenStore(tmp_path / "store")
    before = store.tokens("a")
    (chunk,) = [path for path in (store.path / "a" / "tokens" / "c").rglob("*") if path.is_file()]
    chunk.write_bytes(chunk.read_bytes()[:5])
    a, b = tokenize_recordings(tokenizer, raws, tmp_path / "store", window=2.0)
    assert (a.state, b.state, b.repaired) == ("tokenized", "skipped", "") and "has 5 bytes" in a.repaired
    assert "stored tokens of a were damaged, and made again" in caplog.text
    np.testing.assert_array_equal(store.tokens("a"), before)


def test_channels_that_are_dropped_are_named(tmp_path, caplog):
    from neurosig.tokenizers import NeuroRVQTokenizer

    small = {"patch_size": 40, "depth": 1, "n_heads": 2, "options": {"n_filters": 2, "n_groups": 1}, "n_levels": 2}
    made = NeuroRVQTokenizer(
        **small, n_codes=8, code_dim=4, decoder_depth=1, max_epochs=1, any_channels=True, on_unknown="drop", unit="V",
        sfreq=200.0, ch_names=["C3", "C4"], random_state=0, device="cpu",
    ).fit(recording(4.0, 200.0, ch_names=["C3", "C4"]).get_data().reshape(2, 4, 200).swapaxes(0, 1))  # fmt: skip
    raws = {"a": recording(4.0, 200.0, ch_names=["C3", "X1", "C4"]), "b": recording(4.0, 200.0, ch_names=["C3"])}
    a, b = tokenize_recordings(made, raws, tmp_path / "store", window=1.0)
    assert (a.dropped, b.dropped) == (("X1",), ())
    assert "left out, in 1 of 2 recordings: X1" in caplog.text
    store = TokenStore(tmp_path / "store")
    assert store.info("a").ch_names == ("C3", "C4") and store.tokens("a").shape[3] == 2
    (picked,) = tokenize_recordings(made, {"a": raws["a"]}, tmp_path / "picked", window=1.0, picks=["X1", "C4"])
    assert picked.dropped == ("X1",) and TokenStore(tmp_path / "picked").info("a").ch_names == ("C4",)


def test_a_folder_of_several_datasets_is_answered_with_what_works(data_dir, tmp_path):
    for name in ("eegmmidb/edf/S001R04.edf", "eegmat/edf/Subject00_1.edf"):
        (tmp_path / Path(name).name).write_bytes((data_dir / name).read_bytes())
    with pytest.raises(UsageError, match=r"names instead, eegmat-edf eegmmidb --data .*, or a folder for each"):
        named_sources(tmp_path)
    found = named_sources(["eegmat-edf", "eegmmidb"], data=tmp_path)
    assert {name.split("_")[0] for name in found} == {"eegmat-edf", "eegmmidb"}
