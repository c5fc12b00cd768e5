"""What all tokenizers share: collections, groups, resumed trainings, storage, and reports of what is kept and lost."""

import json

import lives
import mne
import numpy as np
import pandas as pd
import pytest
import torch
import zarr
from sklearn.base import clone

from neurosig.core.errors import ChannelError, InputError, StorageError, UsageError
from neurosig.core.signals import SignalDataset, SignalSpec
from neurosig.tokenizers.quality import band_errors, check_tokens, usage_table
from neurosig.tokenizers.tfm import TFMTokenizer
from neurosig.training.checkpoint import Checkpoint

torch.set_num_threads(1)

TINY = {
    "n_codes": 16, "emb_size": 16, "freq_depth": 1, "temporal_depth": 1, "decoder_depth": 1, "n_heads": 2,
    "max_epochs": 2, "batch_size": 8, "kmeans_init": True, "random_state": 0, "device": "cpu",
}  # fmt: skip


def noise(n=12, n_channels=2, n_times=400, seed=0):
    return np.random.default_rng(seed).standard_normal((n, n_channels, n_times)).astype(np.float32)


def dataset(X, sfreq=200.0, unit="uV", subjects=2):
    names = tuple(f"E{i}" for i in range(X.shape[1]))
    table = pd.DataFrame({"subject": np.arange(len(X)) % subjects, "session": "0", "run": "0"})
    return SignalDataset(X, None, table, SignalSpec("eeg", names, sfreq=sfreq, unit=unit))


def weights(tokenizer):
    return {name: value.numpy() for name, value in tokenizer.module_.state_dict().items()}


@pytest.fixture(scope="module")
def fitted():
    return TFMTokenizer(**TINY, sfreq=200.0).fit(noise())


class TestLearning:
    def test_history_has_the_parts_of_the_loss(self, fitted):
        assert [row["epoch"] for row in fitted.history_] == [1, 2]
        for row in fitted.history_:
            assert row["train_reconstruction"] + row["train_vq"] == pytest.approx(row["train_loss"], rel=1e-5)
        assert fitted.n_windows_ == 12
        assert fitted.best_epoch_ == 2

    def test_it_learns(self):
        t = np.arange(400) / 200
        X = np.stack([np.sin(2 * np.pi * f * t) for f in (4, 10, 25)] * 6)[:, None]
        tokenizer = TFMTokenizer(**{**TINY, "max_epochs": 20, "lr": 0.02, "drop_prob": 0.0}, sfreq=200).fit(X)
        losses = [row["train_reconstruction"] for row in tokenizer.history_]
        assert np.mean(losses[-5:]) < 0.85 * np.mean(losses[:2])

    def test_the_same_seed_gives_the_same_bits_and_another_gives_others(self, fitted):
        again = clone(fitted).fit(noise())
        other = clone(fitted).set_params(random_state=1).fit(noise())
        for name, value in weights(fitted).items():
            np.testing.assert_array_equal(weights(again)[name], value)
        assert any((weights(other)[name] != value).any() for name, value in weights(fitted).items())

    def test_a_person_in_two_collections_learns_or_validates_in_both(self, monkeypatch):
        from neurosig.tokenizers import learning

        made = []
        original = learning.Batches
        monkeypatch.setattr(learning, "Batches", lambda *a, **k: made.append((a, k)) or original(*a, **k))
        several = [dataset(noise(12, 2), subjects=4), dataset(noise(8, 3), subjects=4)]
        TFMTokenizer(**{**TINY, "max_epochs": 1, "validation": 0.5}).fit(several)
        people = {"train": set(), "valid": set()}
        for (trials, _, index), options in made[:4]:
            part = "train" if "generator" in options else "valid"
            people[part] |= set(np.asarray(index) % 4)
            assert len(trials) in (12, 8)
        assert len(people["train"]) == len(people["valid"]) == 2
        assert not people["train"] & people["valid"]

    def test_validation_keeps_the_best_epoch_and_judges_alike_each_time(self):
        tokenizer = TFMTokenizer(**{**TINY, "max_epochs": 4, "validation": 0.25}, sfreq=200).fit(noise(16))
        losses = [row["valid_loss"] for row in tokenizer.history_]
        assert tokenizer.best_epoch_ == 1 + int(np.argmin(losses))
        assert all("valid_reconstruction" in row for row in tokenizer.history_)

    def test_groups_never_lie_on_both_sides(self, monkeypatch):
        from neurosig.tokenizers import learning

        seen = []

        def split(*args, **kwargs):
            seen.append(original(*args, **kwargs))
            return seen[-1]

        original = learning.validation_split
        monkeypatch.setattr(learning, "validation_split", split)
        owners = np.repeat([0, 1, 2], 4)
        TFMTokenizer(**{**TINY, "max_epochs": 1, "validation": 0.3}, sfreq=200).fit(noise(), groups=owners)
        train, valid = seen[0]
        assert len(valid)
        assert not set(owners[train]) & set(owners[valid])

    def test_killed_training_ends_in_the_same_bits(self, tmp_path, monkeypatch):
        tokenizer = TFMTokenizer(**{**TINY, "max_epochs": 4, "validation": 0.25}, sfreq=200)
        whole = clone(tokenizer).fit(noise(16))
        write = Checkpoint.on_epoch_end

        def write_and_stop(self, net, **kwargs):
            write(self, net, **kwargs)
            if len(self.rows) == 2:
                raise KeyboardInterrupt

        tokenizer.set_params(checkpoint=tmp_path)
        with monkeypatch.context() as patched:
            patched.setattr(Checkpoint, "on_epoch_end", write_and_stop)
            with pytest.raises(KeyboardInterrupt):
                tokenizer.fit(noise(16))
        assert not hasattr(tokenizer, "history_")
        resumed = tokenizer.fit(noise(16))
        for name, value in weights(whole).items():
            np.testing.assert_array_equal(weights(resumed)[name], value)
        strip = [{k: v for k, v in row.items() if k != "seconds"} for row in whole.history_]
        assert [{k: v for k, v in row.items() if k != "seconds"} for row in resumed.history_] == strip

    def test_a_changed_training_does_not_go_on_from_another(self, tmp_path):
        tokenizer = TFMTokenizer(**{**TINY, "checkpoint": tmp_path}, sfreq=200)
        tokenizer.fit(noise())
        tokenizer.set_params(lr=5e-4).fit(noise())
        tokenizer.fit(noise(seed=1))
        assert len(list(tmp_path.iterdir())) == 3

    def test_a_fit_that_fails_leaves_it_as_it_was(self, fitted):
        tokenizer = clone(fitted).fit(noise())
        before = tokenizer.transform(noise())
        with pytest.raises(InputError):
            tokenizer.fit(noise(n_times=100))
        np.testing.assert_array_equal(tokenizer.transform(noise()), before)


@pytest.fixture(scope="module")
def tokenizer():
    """Of two collections that differ in channels, rate and length."""
    return TFMTokenizer(**TINY).fit([dataset(noise(6, 2)), dataset(noise(9, 3, 500, seed=1), sfreq=250.0)])


class TestSeveralCollections:
    def test_channels_rates_and_lengths_may_differ(self, tokenizer):
        assert tokenizer.n_windows_ == 15
        assert not hasattr(tokenizer, "n_features_in_")
        assert tokenizer.spec_ is None
        assert tokenizer.transform(dataset(noise(2, 5))).shape == (2, 5, 3)
        assert tokenizer.transform(dataset(noise(2, 3, 500), sfreq=250.0)).shape == (2, 3, 3)

    def test_arrays_need_a_rate(self, tokenizer):
        with pytest.raises(UsageError, match="pass sfreq="):
            tokenizer.transform(noise(2))
        told = TFMTokenizer._restored(*tokenizer._stored(), None, sfreq=200.0)
        np.testing.assert_array_equal(told.transform(noise(2)), tokenizer.transform(dataset(noise(2))))

    def test_units_and_rates_are_those_of_each(self, tokenizer):
        X = noise(3)
        np.testing.assert_array_equal(
            tokenizer.transform(dataset(X * 1e-6, unit="V")), tokenizer.transform(dataset(X * 1e-3, unit="mV"))
        )

    def test_groups_are_given_for_each(self):
        given = [dataset(noise(4)), dataset(noise(4))]
        with pytest.raises(InputError, match="groups for each of 2 collections, got 1"):
            TFMTokenizer(**TINY).fit(given, groups=[np.zeros(4)])
        with pytest.raises(InputError, match=r"one group a window, got 4 windows and groups of shape \(3,\)"):
            TFMTokenizer(**TINY).fit(given, groups=[np.zeros(4), np.zeros(3)])
        TFMTokenizer(**{**TINY, "max_epochs": 1}).fit(given, groups=[None, np.zeros(4)])


class TestSignalsOnDisk:
    def test_zarr_and_memory_map_give_the_tokens_of_memory(self, fitted, tmp_path):
        X = noise(7, seed=3)
        np.save(tmp_path / "X.npy", X)
        store = zarr.create_array(tmp_path / "X.zarr", shape=X.shape, chunks=(2, *X.shape[1:]), dtype=X.dtype)
        store[:] = X
        wanted = fitted.transform(X)
        np.testing.assert_array_equal(fitted.transform(np.load(tmp_path / "X.npy", mmap_mode="r")), wanted)
        np.testing.assert_array_equal(fitted.transform(store), wanted)
        np.testing.assert_array_equal(fitted.embed(store), fitted.embed(X))

    def test_a_training_from_disk_is_that_of_memory(self, fitted, tmp_path):
        np.save(tmp_path / "X.npy", noise())
        found = clone(fitted).fit(np.load(tmp_path / "X.npy", mmap_mode="r"))  # one block: shuffled as in memory
        for name, value in weights(fitted).items():
            np.testing.assert_array_equal(weights(found)[name], value)


class TestChannelContract:
    def epochs(self, names, X=None):
        X = noise(4, len(names)) * 1e-6 if X is None else X
        return mne.EpochsArray(X, mne.create_info(names, 200.0, "eeg"), verbose=False)

    def test_other_channels_are_refused_by_name_unless_any_are_taken(self):
        tokenizer = TFMTokenizer(**TINY).fit(self.epochs(["C3", "C4"]))
        with pytest.raises(ChannelError, match="lacking C4, unknown Cz"):
            tokenizer.transform(self.epochs(["C3", "Cz"]))
        with pytest.raises(ChannelError, match="lacking"):
            tokenizer.transform(dataset(noise(4)))
        with pytest.raises(ChannelError, match="expected 2 channels"):
            tokenizer.transform(noise(4, 3))
        tokenizer.set_params(any_channels=True)
        assert tokenizer.transform(self.epochs(["C3", "Cz", "Pz"])).shape == (4, 3, 3)

    def test_named_channels_must_be_as_many_as_there_are(self):
        with pytest.raises(ChannelError, match="3 channels are named, the signals have 2"):
            TFMTokenizer(**TINY, sfreq=200, ch_names=["a", "b", "c"]).fit(noise(4))


class TestKeeping:
    def test_save_and_load_in_a_fresh_process(self, fitted, tmp_path):
        X = noise(4, seed=5)
        fitted.save_pretrained(tmp_path / "model", licence="mit", scores={"nmse": 0.5})
        np.save(tmp_path / "X.npy", X)
        np.save(tmp_path / "tokens.npy", fitted.transform(X))
        code = (
            "import numpy as np; from neurosig.tokenizers import TFMTokenizer;"
            "t = TFMTokenizer.from_pretrained('model', device='cpu');"
            "np.testing.assert_array_equal(t.transform(np.load('X.npy')), np.load('tokens.npy'));"
            "assert t.history_ and t.sfreq_ == 200.0"
        )
        done = lives.python(code, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        card = (tmp_path / "model" / "README.md").read_text()
        assert "license: mit" in card
        assert "nmse: 0.5" in card
        assert "axes (window, channel, frame)" in card

    def test_what_is_damaged_or_another_is_refused(self, fitted, tmp_path):
        folder = fitted.save_pretrained(tmp_path / "model")
        with pytest.raises(StorageError, match="is not a saved tokenizer"):
            TFMTokenizer.from_pretrained(tmp_path)
        config = json.loads((folder / "config.json").read_text())
        for change, message in (
            ({"estimator": "Other"}, "holds a Other, not a TFMTokenizer"),
            ({"fitted": {**config["fitted"], "_config": {**config["fitted"]["_config"], "n_codes": 17}}}, "do not fit"),
            ({"params": {"nonsense": 1}}, "damaged or of another version"),
        ):
            (folder / "config.json").write_text(json.dumps({**config, **change}))
            with pytest.raises(StorageError, match=message):
                TFMTokenizer.from_pretrained(folder)
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "notes.txt").write_text("mine")
        with pytest.raises(StorageError, match="other files are in the way"):
            fitted.save_pretrained(tmp_path / "other")

    def test_whose_signals_it_has_seen_is_kept(self, fitted, tokenizer, tmp_path):
        assert not hasattr(fitted, "trained_on_")
        one = TFMTokenizer(**{**TINY, "max_epochs": 1}).fit(dataset(noise(4)))
        assert one.trained_on_["subjects"] == ["0", "1"]
        back = TFMTokenizer.from_pretrained(one.save_pretrained(tmp_path / "one"))
        assert back.trained_on_ == one.trained_on_
        assert [layer["subjects"] for layer in tokenizer.trained_on_["before"]] == [["0", "1"], ["0", "1"]]
        told = fitted.save_pretrained(tmp_path / "told", trained_on=["S7"])
        assert TFMTokenizer.from_pretrained(told).trained_on_["subjects"] == ["S7"]
        assert not hasattr(one.set_params(sfreq=200).fit(noise(4)), "trained_on_")

    def test_inference_changes_nothing(self, fitted):
        before = weights(fitted)
        fitted.module_.train()
        for work in (fitted.transform, fitted.embed, fitted.codebook_usage, fitted.reconstruction_report):
            work(noise(3))
        for name, value in weights(fitted).items():
            np.testing.assert_array_equal(value, before[name])


class TestReports:
    def test_usage_of_windows_is_that_of_their_tokens(self, fitted):
        tokens = fitted.transform(noise())
        table = fitted.codebook_usage(noise())
        pd.testing.assert_frame_equal(table, fitted.codebook_usage(tokens))
        assert table["n_used"].tolist() == [len(np.unique(tokens))]
        with pytest.raises(InputError, match="from 0 to 15, got 16"):
            fitted.codebook_usage(np.full((1, 1, 2), 16))
        for signals in ((100 * noise(2)).astype(np.int16), tokens.astype(np.int32)):
            with pytest.raises(InputError, match="may be tokens or signals"):
                fitted.codebook_usage(signals)

    def test_names_are_those_of_the_tokens_of_a_window_like_those_fitted_on(self, fitted, tokenizer):
        assert len(fitted.get_feature_names_out()) == fitted.transform(noise(1))[0].size
        with pytest.raises(UsageError, match="no one set of channels"):
            tokenizer.get_feature_names_out()

    def test_usage_in_closed_form(self):
        table = usage_table([({"level": 0}, np.array([0, 0, 1, 1])), ({"level": 1}, np.array([2, 2, 2]))], 4)
        np.testing.assert_allclose(table["perplexity"], [2.0, 1.0])
        np.testing.assert_allclose(table["entropy"], [1.0, 0.0])
        assert table["n_dead"].tolist() == [2, 3]
        assert table["share_used"].tolist() == [0.5, 0.25]

    def test_errors_by_band_in_closed_form(self):
        freqs, rng = np.arange(50.0), np.random.default_rng(0)
        spectra = rng.random((3, 50)) + 0.1
        halved = spectra.copy()
        halved[:, 8:13] /= 2
        table = band_errors([(spectra[:1], halved[:1]), (spectra[1:], halved[1:])], freqs)
        assert table.loc["alpha", "nmse"] == pytest.approx(0.25)
        assert table.loc["alpha", "power_ratio"] == pytest.approx(0.25)
        assert table.loc["alpha", "correlation"] == pytest.approx(1.0)
        assert table.loc["beta", "nmse"] == 0
        whole = ((spectra - halved) ** 2).sum() / (spectra**2).sum()
        assert table.loc["all", "nmse"] == pytest.approx(whole)
        complex_one = band_errors([(1j * spectra, 1j * spectra)], freqs, {"low": (0, 4)})
        assert complex_one.loc["low", "nmse"] == 0
        assert np.isnan(band_errors([(spectra[:0], halved[:0])], freqs).loc["all", "nmse"])

    def test_report_does_not_depend_on_the_batches(self, fitted):
        one = fitted.reconstruction_report(noise(9))
        few = TFMTokenizer._restored(*fitted._stored(), None, batch_size=2).reconstruction_report(noise(9))
        np.testing.assert_allclose(one.to_numpy(float), few.to_numpy(float), rtol=1e-5)
        assert one.index.tolist() == ["delta", "theta", "alpha", "beta", "gamma", "all"]

    @pytest.mark.parametrize(
        ("tokens", "message"),
        [
            (np.zeros((1, 2, 3)), "expected tokens as integers, got float64"),
            (np.zeros((2, 3), int), r"axes \(window, channel, frame\), got shape \(2, 3\)"),
            (np.full((1, 2, 3), -1), "from 0 to 7, got -1"),
        ],
    )
    def test_what_is_no_tokens_is_refused(self, tokens, message):
        with pytest.raises(InputError, match=message):
            check_tokens(tokens, 8, ("window", "channel", "frame"))


def test_arrays_for_a_tokenizer_of_several_collections_must_tell_their_rate():
    several = [dataset(noise(8, 2), subjects=4), dataset(noise(8, 3), subjects=4)]
    made = TFMTokenizer(**{**TINY, "max_epochs": 1, "sfreq": None}).fit(several)
    made.sfreq_ = 200.0  # as that of pretrain_tokenizer, which cuts all windows alike
    X = several[0].X
    with pytest.raises(UsageError, match="needs the sampling rate"):
        made.transform(X)
    expected = made.transform(several[0])
    np.testing.assert_array_equal(made.set_params(sfreq=several[0].info.sfreq).transform(X), expected)
