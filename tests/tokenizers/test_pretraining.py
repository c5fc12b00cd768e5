"""Tokenizers learned from recordings of several collections, whose windows lie on disk."""

import dataclasses
from pathlib import Path

import lives
import mne
import numpy as np
import pytest

from neurosig.core.errors import InputError, StorageError, UsageError
from neurosig.preprocessing.cleaning_sources import Source
from neurosig.preprocessing.resampling import fourier_resample
from neurosig.tokenizers import (
    NeuroRVQTokenizer,
    load_tokenizer,
    pretrain_tokenizer,
    tokenize_recordings,
    window_collections,
)
from neurosig.tokenizers.pretraining import SYSTEMS
from neurosig.tokenizers.token_sources import named_sources, person_of, whom
from neurosig.tokenizers.tokenize import tokenizer_digest
from neurosig.tokenizers.window_collections import collect_windows

TINY = {
    "n_codes": 16, "emb_size": 16, "freq_depth": 1, "temporal_depth": 1, "decoder_depth": 1, "n_heads": 2,
    "batch_size": 4, "random_state": 0, "device": "cpu",
}  # fmt: skip


def recording(seconds=12.0, sfreq=200.0, seed=0, ch_names=("C3", "C4")):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((len(ch_names), round(seconds * sfreq))).cumsum(axis=1)
    X = 1e-5 * (X - X.mean(axis=1, keepdims=True)) / X.std()
    return mne.io.RawArray(X, mne.create_info(list(ch_names), sfreq, "eeg", verbose="error"), verbose="error")


def test_windows_are_those_of_the_recordings_at_the_wanted_rate(tmp_path):
    raws = {"a": recording(), "b": recording(seed=1, sfreq=128.0), "c": recording(seed=2, ch_names=["Pz"])}
    found, failed = collect_windows(named_sources(raws), tmp_path / "w", window=2.5, step=2.5, sfreq=200.0)
    assert not failed
    assert [(one.info.ch_names, one.X.shape) for one in found] == [(("C3", "C4"), (8, 2, 500)), (("Pz",), (4, 1, 500))]
    assert all((one.info.sfreq, one.info.unit) == (200.0, "V") for one in found)
    first = found[0].metadata
    assert first["recording"].tolist() == list("aaaabbbb") == first["subject"].tolist()
    assert first["start"].tolist() == [0.0, 2.5, 5.0, 7.5] * 2
    a, b = (raws[name].get_data().astype(np.float32) for name in "ab")
    np.testing.assert_array_equal(found[0].X[:4], a[:, :2000].reshape(2, 4, 500).swapaxes(0, 1))
    expected = fourier_resample(b[:, 320:640], 128.0, 200.0)
    np.testing.assert_allclose(found[0].X[5], expected, rtol=0, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("sfreq", [99.7, 127.0, 250.0, 333.3])
def test_windows_are_whole_at_any_rate(tmp_path, sfreq):
    wave = recording(20.0, sfreq)
    wave._data[:] = 1e-5 * np.sin(2 * np.pi * 5 * wave.times)
    ((one,), _) = collect_windows(named_sources({"a": wave}), tmp_path / "w", window=3.0, step=2.0, sfreq=200.0)
    assert one.X.shape[1:] == (2, 600) and len(one) == 9
    true = 1e-5 * np.sin(2 * np.pi * 5 * (one.metadata["start"].to_numpy()[:, None] + np.arange(600) / 200))
    middle = slice(100, 500)  # a window of no whole number of waves rings at its ends
    assert np.abs(one.X[:, 0, middle] - true[:, middle]).max() < 0.1e-5


def test_what_cannot_be_read_is_told_and_the_rest_is_learned_from(tmp_path):
    broken = recording(seed=1)
    broken._data[0, 700] = np.nan
    given = {"short": recording(1.0), "good": recording(), "nan": broken}
    ((one,), failed) = collect_windows(named_sources(given), tmp_path / "w", window=2.0, step=2.0, sfreq=200.0)
    assert list(failed) == ["short", "nan"] and "NaN or infinite in the window at 2.00 s" in failed["nan"]
    assert one.metadata["recording"].tolist() == ["good"] * 6
    np.testing.assert_array_equal(one.X[0], given["good"].get_data(stop=400).astype(np.float32))
    ((one,), failed) = collect_windows(
        named_sources(given), tmp_path / "w", window=2.0, step=2.0, sfreq=200.0, on_nan="skip"
    )
    assert list(failed) == ["short"] and "no window of 2 s in 1.00 s" in failed["short"]
    assert one.metadata["recording"].value_counts().to_dict() == {"good": 6, "nan": 5}
    with pytest.raises(InputError, match="no recording can be learned from; short: no window"):
        collect_windows(named_sources({"short": recording(1.0)}), tmp_path / "w", window=2.0, step=2.0, sfreq=200.0)


def test_what_a_tokenizer_would_refuse_is_told_before_anything_is_cut(tmp_path):
    """Of NeuroRVQ: channels without a place, a unit mixed up, windows without a patch."""
    loud = recording(seed=1)
    loud._data *= 1e6
    given = named_sources({"good": recording(), "strange": recording(ch_names=["C3", "EXG1"]), "loud": loud})
    options = {"step": 2.0, "sfreq": 200.0, "tokenizer": NeuroRVQTokenizer()}
    ((one,), failed) = collect_windows(given, tmp_path / "w", window=2.0, **options)
    assert one.metadata["recording"].unique().tolist() == ["good"]
    assert list(failed) == ["strange", "loud"]
    assert "no position for EXG1" in failed["strange"] and "typical amplitude" in failed["loud"]
    with pytest.raises(InputError, match=r"good: NeuroRVQTokenizer takes windows of at least one patch"):
        collect_windows(given, tmp_path / "short", window=0.5, **options)
    assert not (tmp_path / "short").exists()
    with pytest.raises(UsageError, match="on_nan must be"):
        collect_windows(given, tmp_path / "short", window=2.0, on_nan="drop", **options)
    wrong = options | {"tokenizer": NeuroRVQTokenizer(remainder="keep")}
    with pytest.raises(UsageError, match="remainder must be"):
        collect_windows(given, tmp_path / "short", window=2.0, **wrong)


def test_a_cutting_that_was_stopped_goes_on_after_the_last_recording(tmp_path, monkeypatch):
    broken = recording(seed=3)
    broken._data[0, 700] = np.nan
    raws = {"a": recording(), "nan": broken, "b": recording(seed=1), "c": recording(seed=2, ch_names=["Pz"])}
    calls, stops, cut = [], ["b"], window_collections._cut

    def stopped(one, *args):
        if one.name in stops:
            calls.append(stops.pop())
            args[0][args[1] :] = 7.0  # what was half written
            raise KeyboardInterrupt
        calls.append(one.name)
        return cut(one, *args)

    monkeypatch.setattr(window_collections, "_cut", stopped)
    options = {"window": 2.0, "step": 2.0, "sfreq": 200.0}
    with pytest.raises(KeyboardInterrupt):
        collect_windows(named_sources(raws), tmp_path / "w", **options)
    with (tmp_path / "w" / "log.jsonl").open("a") as log:
        log.write('{"name": "b", "starts": [0.0')  # killed as it wrote this
    found, failed = collect_windows(named_sources(raws), tmp_path / "w", **options)
    assert calls == ["a", "nan", "b", "b", "c"] and list(failed) == ["nan"]
    whole, _ = collect_windows(named_sources(raws), tmp_path / "whole", **options)
    assert [len(one) for one in found] == [12, 6]
    for one, other in zip(found, whole, strict=True):
        np.testing.assert_array_equal(one.X, other.X)
        assert one.metadata.equals(other.metadata)
    calls.clear()
    collect_windows(named_sources(raws), tmp_path / "w", **options)
    assert not calls
    raws["b"] = recording(seed=9)
    found, _ = collect_windows(named_sources(raws), tmp_path / "w", **options)
    assert calls == ["a", "nan", "b", "c"]  # another recording under an old name
    np.testing.assert_array_equal(found[0].X[6], raws["b"].get_data(stop=400).astype(np.float32))


def test_all_collections_together_take_so_much_memory(tmp_path, monkeypatch):
    raws = {name: recording(2.0, ch_names=[name]) for name in ("C3", "Cz", "C4")}
    monkeypatch.setattr(window_collections, "_IN_MEMORY", 2 * 400 * 4)
    found, _ = collect_windows(named_sources(raws), tmp_path / "w", window=2.0, step=2.0, sfreq=200.0)
    assert [isinstance(one.X, np.memmap) for one in found] == [False, False, True]


def test_windows_that_fill_the_memory_stay_on_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(window_collections, "_IN_MEMORY", 1000)
    raws = {name: recording(seed=seed) for seed, name in enumerate("abc")}
    ((one,), _) = collect_windows(named_sources(raws), tmp_path / "w", window=2.0, step=2.0, sfreq=200.0)
    assert isinstance(one.X, np.memmap)
    streamed = pretrain_tokenizer("tfm", raws, tmp_path / "streamed", window=2.0, max_epochs=1, **TINY)
    assert streamed.tokenizer.n_windows_ == 18
    again = load_tokenizer(tmp_path / "streamed")
    np.testing.assert_array_equal(again.transform(one), streamed.tokenizer.transform(one))


def test_a_tokenizer_of_several_collections_is_stored_with_what_it_learned(tmp_path, caplog):
    raws = {
        "a": recording(),
        "b": recording(seed=1),
        "c": recording(seed=2, sfreq=128.0),
        "d": recording(ch_names=["Pz"]),
    }
    made = pretrain_tokenizer(
        "tfm", raws, tmp_path / "out", size="small", window=2.0, max_epochs=2, validation=0.34, **TINY
    )
    assert sorted(item.name for item in tmp_path.iterdir()) == ["out"]  # what it worked with is gone
    assert made.collections.to_dict(orient="list") == {
        "channels": [2, 1], "windows": [18, 6], "recordings": [3, 1], "subjects": [3, 1],
    }  # fmt: skip
    tokenizer = load_tokenizer(made.folder)
    assert tokenizer_digest(tokenizer) == tokenizer_digest(made.tokenizer)
    assert tokenizer.any_channels and tokenizer.checkpoint is None and tokenizer.n_codes == 16
    assert [row["epoch"] for row in tokenizer.history_] == [1, 2]
    assert all({"train_loss", "valid_loss"} <= set(row) for row in tokenizer.history_)
    assert made.n_judged == 24 and made.usage["n_tokens"].sum() == 18 * 2 * 3 + 6 * 3
    assert set(made.bands["collection"]) == {0, 1}
    card = (made.folder / "README.md").read_text()
    assert "squared error" in card and "- people: 4 (a, b, c, d) of recordings of no named dataset" in card
    with pytest.raises(StorageError, match="holds a tokenizer already"):
        pretrain_tokenizer("tfm", raws, tmp_path / "out", max_epochs=1, **TINY)
    small = {name: raws[name] for name in "ab"}
    replaced = pretrain_tokenizer("tfm", small, tmp_path / "out", window=2.0, max_epochs=1, overwrite=True, **TINY)
    assert load_tokenizer(tmp_path / "out").n_windows_ == replaced.tokenizer.n_windows_ == 12


def _learn(folder):
    pretrain_tokenizer(
        "tfm", Path(folder) / "recordings", Path.cwd() / "out", window=2.0, max_epochs=3, validation=0.4, **TINY
    )


@pytest.mark.slow
def test_killed_in_training_it_goes_on_to_the_same_tokenizer(tmp_path):
    (tmp_path / "recordings").mkdir()
    for number in (1, 2, 3):
        recording(seed=number).save(tmp_path / "recordings" / f"sub-{number}_raw.fif", verbose="error")
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    assert lives.ended(lives.begin(tmp_path / "whole", _learn, str(tmp_path)))
    at = round(0.6 * lives.n_events(tmp_path / "whole"))
    assert not lives.ended(lives.begin(tmp_path / "killed", _learn, str(tmp_path), kill_at=at))
    assert not (tmp_path / "killed" / "out").exists()
    assert list((tmp_path / "killed" / "out.unfinished" / "checkpoint").rglob("*.*"))  # of an epoch at least
    assert lives.ended(lives.begin(tmp_path / "killed", _learn, str(tmp_path)))
    assert not (tmp_path / "killed" / "out.unfinished").exists()
    one, two = (load_tokenizer(tmp_path / name / "out") for name in ("whole", "killed"))
    assert tokenizer_digest(one) == tokenizer_digest(two)
    assert [row["train_loss"] for row in one.history_] == [row["train_loss"] for row in two.history_]


def test_what_a_killed_storing_left_beside_the_tokenizer_is_swept_up(tmp_path):
    (tmp_path / ".out.abc.partial" / "out").mkdir(parents=True)
    made = pretrain_tokenizer("tfm", {"a": recording()}, tmp_path / "out", window=2.0, max_epochs=1, **TINY)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    made.folder.rename(tmp_path / "previous")  # killed while it replaced this
    (tmp_path / ".out.abc.partial").mkdir()
    (tmp_path / "previous").rename(tmp_path / ".out.abc.partial" / "previous")
    with pytest.raises(StorageError, match="holds a tokenizer already"):
        pretrain_tokenizer("tfm", {"a": recording()}, tmp_path / "out", window=2.0, max_epochs=1, **TINY)
    assert load_tokenizer(tmp_path / "out").n_windows_ == made.tokenizer.n_windows_
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("system", "params", "message"),
    [
        ("nothing", {}, "no system 'nothing' to pretrain; there are tfm, neurorvq"),
        ("tfm", {"size": "huge"}, "tfm has no size 'huge'; it has base, small"),
        ("tfm", {"n_code": 8}, "TFMTokenizer has no parameter 'n_code'"),
        ("tfm", {"checkpoint": "here"}, "has no parameter 'checkpoint'"),
    ],
)
def test_wrong_use_is_refused_before_anything_is_read(tmp_path, system, params, message):
    with pytest.raises(UsageError, match=message):
        pretrain_tokenizer(system, "nowhere", tmp_path / "out", **params)
    assert not list(tmp_path.iterdir())


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    for out in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(StorageError, match=r"holds other files|is a file"):
            pretrain_tokenizer("tfm", {"a": recording()}, out)


@pytest.mark.parametrize("name", sorted(SYSTEMS))
def test_every_system_can_be_built_in_every_size(name):
    """Sizes name parameters that there are; the registry knows the estimator."""
    system = SYSTEMS[name]
    assert "base" in system.sizes and system.sizes["base"] == {}
    for params in system.sizes.values():
        estimator = system.load()(any_channels=True, **params)
        assert estimator.get_params(deep=False).items() >= params.items()


def test_neurorvq_learns_from_recordings_too_and_tokenizes_them_at_their_rate(tmp_path):
    raws = {"a": recording(ch_names=["C3", "Cz", "AUX"]), "b": recording(ch_names=["C3", "Cz", "AUX"], sfreq=128.0)}
    tiny = {
        "patch_size": 40,
        "n_codes": 8,
        "code_dim": 8,
        "depth": 1,
        "decoder_depth": 1,
        "n_levels": 2,
        "device": "cpu",
    }
    made = pretrain_tokenizer(
        "neurorvq", raws, tmp_path / "out", window=2.0, max_epochs=1, batch_size=6, random_state=0, on_unknown="drop",
        **tiny,
    )  # fmt: skip
    assert made.collections["channels"].tolist() == [2]  # AUX has no place
    assert len(made.usage) == 4 * 2 and made.usage["n_tokens"].eq(12 * 2 * 10).all()
    done = tokenize_recordings(load_tokenizer(made.folder), raws, tmp_path / "tokens")
    assert [(one.state, one.n_windows) for one in done] == [("tokenized", 6)] * 2
    strict = made.tokenizer.set_params(resample=False)
    (done,) = tokenize_recordings(strict, {"b": raws["b"]}, tmp_path / "others")
    assert done.state == "failed" and "resample=True (--resample)" in done.error


def test_whom_it_has_seen_is_told_dataset_by_dataset(tmp_path):
    """One person under the names of two datasets is one person, on whichever side of the validation."""
    for number in (1, 2):
        (tmp_path / "night").mkdir(exist_ok=True)
        recording(seed=number).save(tmp_path / "night" / f"sub-{number}_raw.fif", verbose="error")
    found = named_sources([tmp_path / "night", "simulated-imagery"], subjects=["1", "2"])
    assert {source.dataset for source in found.values()} == {"night", "simulated-imagery"}
    told = whom(found.values())
    assert [(layer["dataset"], layer["subjects"]) for layer in told["before"]] == [
        ("simulated-imagery", ["1", "2"]), ("night", ["1", "2"]),
    ]  # fmt: skip
    people = {person_of(name, source) for name, source in found.items()}
    assert people == {"1", "2", "simulated-imagery_1", "simulated-imagery_2"}
    cut = Source("1", "0", "0", dataset="eegmmidb-trials")
    whole = dataclasses.replace(cut, dataset="eegmmidb")
    assert person_of(f"eegmmidb_{whole.label}", whole) == person_of(f"eegmmidb-trials_{cut.label}", cut)
