"""What `NeuroRVQTokenizer` does to signals before its module sees them, what it learns, and how it is kept."""

import json
import os
import signal

import lives
import mne
import numpy as np
import pytest
import scipy.signal
import torch
import zarr

from neurosig.core.errors import ChannelError, InputError, StorageError, UsageError
from neurosig.core.signals import SignalDataset, SignalSpec
from neurosig.preprocessing.neurorvq import filter_signals
from neurosig.tokenizers import NEURORVQ_CHANNELS, NeuroRVQTokenizer

torch.set_num_threads(1)  # sums are those of another process

SMALL = {
    "patch_size": 40, "n_levels": 2, "n_codes": 16, "code_dim": 8, "depth": 1, "decoder_depth": 1, "n_heads": 2,
    "options": {"n_filters": 2, "n_groups": 1}, "max_epochs": 1, "random_state": 0, "device": "cpu",
}  # fmt: skip
NAMES = ["C3", "Cz", "C4"]


def _tokenizer(**options):
    return NeuroRVQTokenizer(**{**SMALL, "unit": "uV", "sfreq": 200.0, "ch_names": NAMES, **options})


def _windows(n=6, n_channels=3, n_times=200, seed=0):
    """Microvolts."""
    rng = np.random.default_rng(seed)
    times = np.arange(n_times) / 200
    waves = np.sin(2 * np.pi * (8 + 4 * rng.random((n, n_channels, 1))) * times + 6 * rng.random((n, n_channels, 1)))
    return (20 * waves + 5 * rng.standard_normal((n, n_channels, n_times))).astype(np.float32)


def _epochs(X, names=NAMES, sfreq=200.0, scale=1e-6):
    return mne.EpochsArray(X * scale, mne.create_info(list(names), sfreq, "eeg"), verbose=False)


@pytest.fixture(scope="module")
def fitted():
    return _tokenizer().fit(_windows())


# units, rates, lengths ----------------------------------------------------------------------------------------------


def test_a_unit_is_a_unit(fitted):
    X = _windows(seed=1)
    tokens = fitted.transform(X)
    assert tokens.shape == (6, 4, 2, 3, 5)
    assert tokens.dtype == np.int64
    volts = _tokenizer(unit="V").fit(_windows() * 1e-6)
    np.testing.assert_array_equal(volts.transform(X * 1e-6), tokens)
    np.testing.assert_array_equal(fitted.transform(_epochs(X)), tokens)  # Epochs are in volts, and say so
    told = SignalSpec("eeg", tuple(NAMES), sfreq=200.0, unit="uV")
    np.testing.assert_array_equal(
        _tokenizer(unit=None, sfreq=None, ch_names=None, info=told).fit(_windows()).transform(X), tokens
    )
    stats = fitted.statistics(X)
    rebuilt = fitted.inverse_transform(tokens, stats) * 1e-6
    np.testing.assert_allclose(
        volts.inverse_transform(tokens, stats), rebuilt, rtol=1e-4, atol=1e-4 * np.abs(rebuilt).max()
    )
    assert (volts.unit_, fitted.unit_) == ("V", "uV")


def test_what_must_be_known_is_asked_for():
    X = _windows()
    for missing, message in (
        ({"unit": None}, "needs the unit of the signals.*unit='V'"),
        ({"ch_names": None}, "needs the names of the channels; pass ch_names"),
        ({"sfreq": None}, "needs the sampling rate; pass sfreq"),
        ({"unit": "T"}, "works in microvolts, the signals are in 'T'"),
        ({"kind": "mri"}, "kind must be one of eeg, ecg, emg, ppg, got 'mri'"),
        ({"clip": -1}, "clip must be 'auto', a number"),
        ({"remainder": "drop"}, "remainder must be 'trim' or 'pad' or 'raise'"),
        ({"options": {"pool_3": 2}}, "options may hold .*, got pool_3"),
    ):
        with pytest.raises(UsageError, match=message):
            _tokenizer(**missing).fit(X)
    with pytest.raises(InputError, match="looks like microvolts stored as volts"):
        _tokenizer(unit="V").fit(X)


def test_another_rate_is_refused_or_resampled(fitted):
    X = _windows(n_times=250, seed=2)
    with pytest.raises(UsageError, match=r"takes signals at 200 Hz, got 250 Hz.*resample=True"):
        fitted.transform(_epochs(X, sfreq=250.0))
    resampling = _tokenizer(resample=True).fit(_windows())
    np.testing.assert_array_equal(
        resampling.transform(_epochs(X, sfreq=250.0)), fitted.transform(scipy.signal.resample(X, 200, axis=-1))
    )


@pytest.mark.filterwarnings("ignore:windows of .* s are tokenized by")
def test_windows_are_whole_patches(fitted):
    X = _windows(n_times=210, seed=3)
    np.testing.assert_array_equal(fitted.transform(X), fitted.transform(X[..., 10:]))  # the newest are kept
    padded = _tokenizer(remainder="pad").fit(_windows())
    front = np.zeros((6, 3, 30), dtype=np.float32)
    np.testing.assert_array_equal(padded.transform(X), padded.transform(np.concatenate([front, X], axis=2)))
    with pytest.raises(InputError, match=r"whole patches of 40 samples \(0.2 s at 200 Hz\), got windows of 210"):
        _tokenizer(remainder="raise").fit(X)
    with pytest.raises(InputError, match=r"at least one patch, 40 samples.*got 39 samples"):
        fitted.transform(X[..., :39])
    short = _tokenizer(on_short="pad").fit(_windows())
    front = np.zeros((6, 3, 1), dtype=np.float32)
    np.testing.assert_array_equal(
        short.transform(X[..., :39]), short.transform(np.concatenate([front, X[..., :39]], 2))
    )


def test_windows_longer_than_the_time_table_are_refused():
    small = _tokenizer(options={**SMALL["options"], "n_slots": 4})
    assert small.fit(_windows(n_times=160)).module_.config.n_slots == 4
    with pytest.raises(InputError, match=r"at most 4 patches a channel \(0.8 s\), got 5; cut shorter windows"):
        small.transform(_windows())


def test_signals_are_clipped_and_filtered_as_published(fitted):
    X = _windows(seed=4)
    X[2, 1, 50:60] = 4000.0
    np.testing.assert_array_equal(fitted.transform(X), fitted.transform(np.clip(X, -500, 500)))
    free = _tokenizer(clip=None).fit(_windows())
    assert not np.array_equal(free.transform(X), free.transform(np.clip(X, -500, 500)))
    long = _windows(n_times=800, seed=5)
    filtering = _tokenizer(filter=True).fit(long)
    plain = _tokenizer().fit(filter_signals(long, 200.0))
    np.testing.assert_array_equal(filtering.transform(long), plain.transform(filter_signals(long, 200.0)))
    with pytest.raises(InputError, match=r"filter=True needs windows of at least 4 s.*got 1 s"):
        filtering.transform(X)


# channels -----------------------------------------------------------------------------------------------------------


def test_channels_are_found_in_any_spelling(fitted):
    X = _windows(seed=1)
    alias = _tokenizer(ch_names=["EEG C3-REF", "CZ", "c4.."]).fit(_windows())
    np.testing.assert_array_equal(alias.transform(X), fitted.transform(X))
    np.testing.assert_array_equal(fitted.transform(_epochs(X, ["EEG C3", "Cz", "C4-A1"])), fitted.transform(X))


def test_unknown_channels_are_refused_or_left_out(fitted):
    X = _windows(n_channels=4, seed=6)
    names = ["C3", "STI 014", "Cz", "C4"]
    with pytest.raises(ChannelError, match=r"no position for STI 014.*on_unknown='drop'"):
        _tokenizer(ch_names=names).fit(X)
    dropping = _tokenizer(ch_names=names, on_unknown="drop").fit(_windows(n_channels=4))
    alone = _tokenizer().fit(_windows(n_channels=4)[:, [0, 2, 3]])
    np.testing.assert_array_equal(dropping.transform(X), alone.transform(X[:, [0, 2, 3]]))
    assert dropping.inverse_transform(dropping.transform(X)).shape == (6, 3, 200)
    with pytest.raises(ChannelError, match="C3, C3-REF are one channel"):
        _tokenizer(ch_names=["C3", "C3-REF", "Cz"]).fit(_windows())


def test_another_montage_is_taken_on_request(fitted):
    X = _windows(n_channels=2, seed=7)
    with pytest.raises(ChannelError, match="expected the channels that NeuroRVQTokenizer was fitted on"):
        fitted.transform(_epochs(X, ["O1", "O2"]))
    free = _tokenizer(any_channels=True).fit(_windows())
    tokens = free.transform(_epochs(X, ["O1", "O2"]))
    rows = [NEURORVQ_CHANNELS.index(name) for name in ("o1", "o2")]
    with torch.no_grad():
        wanted = free.module_.encode(torch.from_numpy(X), rows).numpy()
    np.testing.assert_array_equal(tokens, wanted)
    stats = free.statistics(_epochs(X, ["O1", "O2"]))
    assert free.inverse_transform(tokens, stats, ch_names=["O1", "O2"]).shape == (6, 2, 200)
    with pytest.raises(ChannelError, match="expected 2 channels"):
        free.inverse_transform(tokens, stats)


def test_collections_of_several_montages_are_learned_together(tmp_path):
    one, two = _epochs(_windows()), _epochs(_windows(n_channels=2, n_times=120, seed=1), ["O1", "O2"])
    several = _tokenizer(unit=None, sfreq=None, ch_names=None, batch_size=4).fit([one, two])
    assert several.n_windows_ == 12
    tokens = several.transform(two)
    assert tokens.shape == (6, 4, 2, 2, 3)
    with pytest.raises(UsageError, match="which channels these tokens are of is not known; pass ch_names"):
        several.inverse_transform(tokens)
    read = NeuroRVQTokenizer.from_pretrained(several.save_pretrained(tmp_path / "several"))
    np.testing.assert_array_equal(read.transform(two), tokens)


def test_other_kinds_tell_channels_by_place():
    X = _windows(n_channels=2, seed=8) * 1e3
    small = {name: value for name, value in SMALL.items() if name not in ("patch_size", "n_levels")}
    ecg = NeuroRVQTokenizer("ecg", **small, unit="uV", sfreq=200.0).fit(X)
    assert ecg.transform(X).shape == (6, 4, 8, 2, 5)
    assert ecg.module_.config.n_positions == 3
    assert ecg.inverse_transform(ecg.transform(X)).shape == X.shape
    emg = NeuroRVQTokenizer("emg", **SMALL, unit="uV", sfreq=1000.0)
    assert emg.fit(X).module_.config.kernels_1 == (51, 17, 8, 5)
    with pytest.raises(ChannelError, match="of kind 'emg' takes at most 16 channels, got 17"):
        emg.fit(_windows(n_channels=17))
    ppg = NeuroRVQTokenizer("ppg", **{**SMALL, "patch_size": 80}, unit="a.u.", sfreq=100.0).fit(X)
    with pytest.raises(InputError, match="at most 12 patches"):
        ppg.transform(_windows(n_channels=2, n_times=13 * 80))


# what comes out -----------------------------------------------------------------------------------------------------


def test_inference_changes_nothing(fitted):
    X = _windows(seed=9)
    before = {name: value.clone() for name, value in fitted.module_.state_dict().items()}
    facts = {name: value for name, value in vars(fitted).items() if not isinstance(value, torch.nn.Module)}
    tokens = fitted.transform(X)
    fitted.module_.train()
    for call in (
        fitted.transform,
        fitted.embed,
        fitted.statistics,
        fitted.codebook_usage,
        fitted.reconstruction_report,
    ):
        call(X)
    fitted.inverse_transform(tokens)
    assert all(torch.equal(value, before[name]) for name, value in fitted.module_.state_dict().items())
    assert {name: value for name, value in vars(fitted).items() if name in facts} == facts
    np.testing.assert_array_equal(fitted.transform(X[::-1])[::-1], tokens)


def test_names_are_those_of_the_tokens_of_a_window_like_those_fitted_on(fitted):
    assert len(fitted.get_feature_names_out()) == fitted.transform(_windows(1))[0].size


def test_embeddings_are_the_sums_of_the_codes(fitted):
    X = _windows(seed=1)
    tokens, codes = fitted.transform(X), [
        [level.codebook.numpy() for level in quantizer.levels] for quantizer in fitted.module_.quantizers
    ]  # fmt: skip
    wanted = np.stack([sum(codes[s][i][tokens[:, s, i]] for i in range(2)) for s in range(4)], axis=1)
    np.testing.assert_allclose(fitted.embed(X), wanted, rtol=1e-6)
    usage = fitted.codebook_usage(tokens).set_index(["scale", "level"])
    assert len(usage) == 8
    assert usage.loc[(1, 1), "n_used"] == len(np.unique(tokens[:, 1, 1]))


def test_the_report_is_that_of_the_reconstruction(fitted):
    X = _windows(seed=1)
    rebuilt = fitted.inverse_transform(fitted.transform(X), fitted.statistics(X))
    first, second = (np.fft.rfft(x.reshape(6, 3, 5, 40)) for x in (X, rebuilt))
    alpha = slice(2, 3)  # 10 Hz, of bins 5 Hz apart
    error = (np.abs(first - second)[..., alpha] ** 2).sum() / (np.abs(first)[..., alpha] ** 2).sum()
    report = fitted.reconstruction_report(X)
    assert report.loc["alpha", "nmse"] == pytest.approx(error, rel=1e-4)
    assert report.attrs["beside_tokens"].startswith("how loud it is")  # as statistics are handed over above
    assert np.isnan(report.loc["delta", "nmse"])  # no bin of a patch of 0.2 s lies there


def test_a_flat_channel_and_a_flat_window_get_tokens(fitted):
    X = _windows(seed=1)
    X[:, 1] = 3.0
    X[0] = 0.0
    with pytest.warns(UserWarning, match="8 of 18 channels of windows are constant"):
        tokens = fitted.transform(X)
    assert np.isfinite(fitted.inverse_transform(tokens, fitted.statistics(X))).all()
    with pytest.warns(UserWarning, match="are constant"):
        np.testing.assert_array_equal(tokens, fitted.transform(X))


def test_foreign_tokens_and_statistics_are_refused(fitted):
    tokens = fitted.transform(_windows())
    with pytest.raises(InputError, match="expected tokens of at least one window"):
        fitted.inverse_transform(tokens[:0])
    for wrong, message in (
        (tokens + 16, "tokens from 0 to 15, got 31|tokens from 0 to 15"),
        (tokens.astype(float), "tokens as integers"),
        (tokens[:, 0], r"axes \(window, scale, level, channel, patch\)"),
        (tokens[:, :3], "4 scales"),
    ):
        with pytest.raises(InputError, match=message):
            fitted.inverse_transform(wrong)
    for wrong in (np.ones((6, 1)), np.ones((5, 2)), np.full((6, 2), np.nan)):
        with pytest.raises(InputError, match=r"expected finite statistics of shape \(6, 2\)"):
            fitted.inverse_transform(tokens, wrong)


@pytest.mark.parametrize("kept", ["memory map", "zarr"])
def test_signals_on_disk_are_changed_as_they_are_read(fitted, tmp_path, kept):
    X = _windows(n=7, n_times=210, seed=3)
    X[4, 0, 100] = 900.0
    if kept == "zarr":
        disk = zarr.create_array(tmp_path / "X.zarr", data=X, chunks=(2, 3, 210))
    else:
        disk = np.memmap(tmp_path / "X", dtype=np.float32, mode="w+", shape=X.shape)
        disk[:] = X
    np.testing.assert_array_equal(fitted.transform(disk), fitted.transform(X))
    again = _tokenizer(batch_size=3, buffer_bytes=1 << 20)
    np.testing.assert_array_equal(again.fit(disk).transform(X), _tokenizer(batch_size=3).fit(X).transform(X))


# learning and keeping -----------------------------------------------------------------------------------------------


def test_the_loss_goes_down_and_the_same_seed_gives_the_same_bits():
    X = _windows(n=24)
    options = {
        "max_epochs": 6,
        "batch_size": 8,
        "lr": 3e-3,
        "validation": 0.25,
        "options": {**SMALL["options"], "decay": 0.9},
    }
    one, two = _tokenizer(**options).fit(X), _tokenizer(**options).fit(X)
    history = one.history_
    assert {"train_code", "train_amplitude", "train_phase", "train_signal", "valid_loss"} <= set(history[0])
    assert history[-1]["train_loss"] < 0.95 * history[0]["train_loss"]
    for name, value in one.module_.state_dict().items():
        assert torch.equal(value, two.module_.state_dict()[name]), name
    assert int(one.module_.n_windows) > 0


def test_stored_tokens_are_the_same_in_a_fresh_process(fitted, tmp_path):
    X = _windows(seed=1)
    folder = fitted.save_pretrained(tmp_path / "tokenizer", licence="cc-by-4.0")
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "tokens.npy", fitted.transform(X))
    np.save(tmp_path / "signals.npy", fitted.inverse_transform(fitted.transform(X)))
    code = (
        "import numpy as np; from neurosig.tokenizers import NeuroRVQTokenizer;"
        "t = NeuroRVQTokenizer.from_pretrained('tokenizer'); X = np.load('X.npy'); tokens = t.transform(X);"
        "np.testing.assert_array_equal(tokens, np.load('tokens.npy'));"
        "np.testing.assert_array_equal(t.inverse_transform(tokens), np.load('signals.npy'))"
    )
    done = lives.python(code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    config = json.loads((folder / "config.json").read_text())
    assert config["token_axes"] == ["window", "scale", "level", "channel", "patch"]
    assert "cc-by-4.0" in (folder / "README.md").read_text()


def _train(folder, epochs_to_live=None):
    """A training with a checkpoint, which ends its own life after so many epochs."""
    from neurosig.training.checkpoint import Checkpoint

    write = Checkpoint.on_epoch_end

    def write_and_die(self, net, **kwargs):
        write(self, net, **kwargs)
        if len(self.rows) == epochs_to_live:
            os.kill(os.getpid(), signal.SIGKILL)

    Checkpoint.on_epoch_end = write_and_die
    try:
        return _tokenizer(max_epochs=3, batch_size=3, validation=0.3, checkpoint=folder).fit(_windows())
    finally:
        Checkpoint.on_epoch_end = write


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_a_killed_training_ends_in_the_same_bits(tmp_path):
    (tmp_path / "killed").mkdir()
    assert not lives.ended(lives.begin(tmp_path, _train, str(tmp_path / "killed"), 2))
    resumed, whole = _train(str(tmp_path / "killed")), _train(str(tmp_path / "whole"))
    assert len(resumed.history_) == 3
    for name, value in whole.module_.state_dict().items():
        assert torch.equal(value, resumed.module_.state_dict()[name]), name


def test_options_are_set_one_by_one():
    tokenizer = _tokenizer().set_params(options__decay=0.5)
    assert tokenizer.options == {"n_filters": 2, "n_groups": 1, "decay": 0.5}
    assert tokenizer.fit(_windows()).module_.quantizers[0].levels[0].decay == 0.5


def test_datasets_bring_all_that_is_asked_for(fitted):
    import pandas as pd

    told = SignalSpec("eeg", tuple(NAMES), sfreq=200.0, unit="V")
    people = pd.DataFrame({"subject": list("aabbcc"), "session": "0", "run": "0"})
    dataset = SignalDataset(_windows() * np.float32(1e-6), None, people, told)
    own = _tokenizer(unit=None, sfreq=None, ch_names=None, validation=0.4).fit(dataset)
    assert "valid_loss" in own.history_[0]
    np.testing.assert_array_equal(fitted.transform(dataset), fitted.transform(_windows()))


# published weights --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["tokenizer_small", "tokenizer_patch200_1layer"])
def golden(request, golden_dir):
    with np.load(golden_dir / "neurorvq" / f"{request.param}.npz", allow_pickle=False) as file:
        return dict(file)


def test_published_weights_give_the_published_tokens(golden, tmp_path):
    weights = {name.removeprefix("sd/"): value for name, value in golden.items() if name.startswith("sd/")}
    file = tmp_path / "tokenizer.pt"
    torch.save({name: torch.from_numpy(value) for name, value in weights.items()}, file)
    X, names = golden["input"], golden["channels"].tolist()
    tokenizer = NeuroRVQTokenizer.from_reference(file, unit="uV", sfreq=200.0, ch_names=names, clip=None, device="cpu")
    tokens = tokenizer.transform(X)
    flat = tokens.transpose(1, 2, 0, 3, 4).reshape(golden["out/indices"].shape)
    np.testing.assert_array_equal(flat, golden["out/indices"])
    rebuilt = tokenizer.inverse_transform(tokens, tokenizer.statistics(X))
    wanted = golden["out/rec_signal"].reshape(X.shape)
    np.testing.assert_allclose(rebuilt, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())
    with pytest.raises(InputError, match="tokens do not tell the amplitude"):
        tokenizer.inverse_transform(tokens)
    read = NeuroRVQTokenizer.from_pretrained(tokenizer.save_pretrained(tmp_path / "kept"))
    np.testing.assert_array_equal(read.transform(X), tokens)
    for name, value in read.to_reference().items():
        if "embed_avg" not in name and not name.endswith("embedding.cluster_size"):
            np.testing.assert_array_equal(value, weights[name])


def test_weights_that_do_not_fit_are_refused(golden, tmp_path):
    weights = {name.removeprefix("sd/"): value for name, value in golden.items() if name.startswith("sd/")}
    with pytest.raises(InputError, match="missing: encoder"):
        NeuroRVQTokenizer.from_reference(
            {name: value for name, value in weights.items() if name != "encoder.cls_token"}
        )
    with pytest.raises(InputError, match="left over: stranger"):
        NeuroRVQTokenizer.from_reference({**weights, "stranger": np.zeros(2)})
    with pytest.raises(UsageError, match="code_dim=3 was given, the weights have"):
        NeuroRVQTokenizer.from_reference(weights, code_dim=3)
    torch.save({"state_dict": weights, "run": os.system}, tmp_path / "hostile.pt")
    with pytest.raises(StorageError, match="holds Python objects"):
        NeuroRVQTokenizer.from_reference(tmp_path / "hostile.pt")
