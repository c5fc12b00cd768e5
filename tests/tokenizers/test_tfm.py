"""`TFMTokenizer`: parity through the estimator, rates and lengths, channels on their own, signals from tokens."""

import pickle

import mne
import numpy as np
import pytest
import scipy.signal
import torch
import zarr

from neurosig.core.errors import InputError, StorageError, UsageError
from neurosig.core.signals import SignalSpec
from neurosig.nn.state_dicts import read_checkpoint
from neurosig.tokenizers.griffin_lim import griffin_lim
from neurosig.tokenizers.tfm import TFMTokenizer
from neurosig.tokenizers.tfm_module import TFMTokenizerModule
from neurosig.tokenizers.tfm_signal import cut_frames, magnitude_spectrum

torch.set_num_threads(1)

TINY = {
    "n_codes": 16, "emb_size": 16, "freq_depth": 1, "temporal_depth": 1, "decoder_depth": 1, "n_heads": 2,
    "max_epochs": 1, "batch_size": 8, "kmeans_init": True, "random_state": 0, "device": "cpu",
}  # fmt: skip


def noise(n=8, n_channels=3, n_times=500, seed=0):
    return np.random.default_rng(seed).standard_normal((n, n_channels, n_times)).astype(np.float32)


@pytest.fixture(scope="module")
def fitted():
    return TFMTokenizer(**TINY, sfreq=200.0, any_channels=True).fit(noise())


@pytest.fixture(scope="module", params=["tokenizer_small", "tokenizer_2x2x8_k256"])
def golden(request, golden_dir):
    with np.load(golden_dir / "tfm_tokenizer" / f"{request.param}.npz", allow_pickle=False) as file:
        return dict(file)


def state(golden):
    return {key.removeprefix("sd/"): value for key, value in golden.items() if key.startswith("sd/")}


class TestPublishedWeights:
    def test_tokens_embeddings_and_spectra_are_those_of_the_published_code(self, golden):
        x = golden["input"]
        tokenizer = TFMTokenizer.from_reference(state(golden), normalise=False, sfreq=200, device="cpu")
        tokens = tokenizer.transform(x)
        np.testing.assert_array_equal(tokens.ravel(), golden["out/indices"].ravel())
        assert tokens.dtype == np.int64
        embedded = tokenizer.embed(x).reshape(golden["out/quant_in"].shape)
        np.testing.assert_allclose(embedded, golden["out/quant_in"], atol=1e-5)
        spectra = tokenizer.decode_spectrum(tokens).reshape(golden["out/reconstruction"].shape)
        np.testing.assert_allclose(spectra, golden["out/reconstruction"], atol=1e-5)

    def test_the_normaliser_inside_makes_units_indifferent(self, golden):
        x = golden["input"]
        scaled = x / (np.quantile(np.abs(x), 0.95, axis=-1, keepdims=True) + 1e-8)
        wanted = TFMTokenizer.from_reference(state(golden), normalise=False, sfreq=200, device="cpu").transform(scaled)
        tokenizer = TFMTokenizer.from_reference(state(golden), sfreq=200, device="cpu")
        for factor in (1.0, 30.0):
            np.testing.assert_array_equal(tokenizer.transform(factor * x), wanted)

    def test_sizes_are_read_off_the_weights_and_go_both_ways(self, golden, tmp_path):
        tokenizer = TFMTokenizer.from_reference(state(golden), sfreq=200, device="cpu")
        rows, size = golden["sd/quantizer.embedding.weight"].shape
        assert (tokenizer.n_codes, tokenizer.emb_size, tokenizer.vocabulary_size_) == (rows, size, rows)
        for name, value in state(golden).items():
            np.testing.assert_array_equal(tokenizer.to_reference()[name].numpy(), value)
        with pytest.raises(UsageError, match="emb_size are read off the weights"):
            TFMTokenizer.from_reference(state(golden), emb_size=64)
        back = TFMTokenizer.from_pretrained(tokenizer.save_pretrained(tmp_path / "model"), sfreq=200)
        np.testing.assert_array_equal(back.transform(golden["input"]), tokenizer.transform(golden["input"]))
        assert "trained elsewhere" in (tmp_path / "model" / "README.md").read_text()

    def test_resampling_is_that_of_the_published_code(self, golden, golden_dir):
        with np.load(golden_dir / "tfm_tokenizer" / "preprocessing_losses.npz", allow_pickle=False) as file:
            raw, wanted = file["f64/raw_256hz"], file["f64/normalised"]
        raw, wanted = raw.reshape(1, -1, raw.shape[-1]), wanted.reshape(1, -1, wanted.shape[-1])
        by_hand = TFMTokenizer.from_reference(state(golden), normalise=False, sfreq=200, device="cpu")
        whole = TFMTokenizer.from_reference(state(golden), sfreq=256, device="cpu")
        np.testing.assert_allclose(whole.embed(raw), by_hand.embed(wanted), atol=1e-3)

    def test_a_file_is_read_without_running_its_code(self, golden, tmp_path):
        tensors = {name: torch.from_numpy(value) for name, value in state(golden).items()}
        for saved in (tensors, {"model": tensors, "epoch": 3}, {f"module.{name}": v for name, v in tensors.items()}):
            torch.save(saved, tmp_path / "tfm_tokenizer_last.pth")
            found = TFMTokenizer.from_reference(tmp_path / "tfm_tokenizer_last.pth", sfreq=200, device="cpu")
            np.testing.assert_array_equal(
                found.module_.quantizer.codebook.numpy(), golden["sd/quantizer.embedding.weight"]
            )

    def test_wrong_weights_are_named(self, golden):
        lacking = state(golden)
        del lacking["decoder.0.weight"]
        with pytest.raises(InputError, match=r"missing: decoder\.0\.weight"):
            TFMTokenizer.from_reference(lacking)
        with pytest.raises(InputError, match="left over: stranger"):
            TFMTokenizer.from_reference({**state(golden), "stranger": np.zeros(2)})
        with pytest.raises(InputError, match=r"decoder\.2\.bias \(3,\) instead of \(100,\)"):
            TFMTokenizer.from_reference({**state(golden), "decoder.2.bias": np.zeros(3, np.float32)})


class Hostile:
    """Runs code when it is unpickled."""

    def __reduce__(self):
        return (exec, ("raise SystemError('it ran')",))


class TestCheckpoints:
    def test_python_objects_are_refused(self, tmp_path):
        torch.save({"weights": torch.zeros(2), "extra": Hostile()}, tmp_path / "a.pth")
        (tmp_path / "b.pth").write_bytes(pickle.dumps(Hostile()))
        np.savez(tmp_path / "c.npz", x=np.array([Hostile()], dtype=object))
        for name in ("a.pth", "b.pth", "c.npz"):
            with pytest.raises(StorageError, match="Python objects beside tensors"):
                read_checkpoint(tmp_path / name)

    def test_files_that_are_none_are_named(self, tmp_path):
        (tmp_path / "text.pth").write_text("hello")
        torch.save(torch.zeros(3), tmp_path / "tensor.pth")
        (tmp_path / "cut.safetensors").write_bytes(b"12")
        for name, message in (
            ("none.pth", "there is no file"), ("tensor.pth", "no names and tensors, but Tensor"),
            ("text.pth", "text.pth"), ("cut.safetensors", "cut.safetensors"),
        ):  # fmt: skip
            with pytest.raises(StorageError, match=message):
                read_checkpoint(tmp_path / name)

    def test_arrays_are_read_from_numpy_and_safetensors(self, tmp_path):
        from neurosig.core.persistence import save_arrays

        arrays = {"a": np.arange(3.0, dtype=np.float32), "b": np.eye(2, dtype=np.float32)}
        np.savez(tmp_path / "x.npz", **arrays)
        save_arrays(tmp_path / "x.safetensors", arrays)
        for name in ("x.npz", "x.safetensors"):
            found = read_checkpoint(tmp_path / name)
            assert all(np.array_equal(found[key], value) for key, value in arrays.items())


class TestSignals:
    def test_tokens_have_named_axes(self, fitted):
        assert fitted.token_axes == ("window", "channel", "frame")
        assert fitted.transform(noise()).shape == (8, 3, 4)
        assert fitted.embed(noise()).shape == (8, 3, 4, 16)
        np.testing.assert_allclose(np.linalg.norm(fitted.embed(noise()), axis=-1), 1, rtol=1e-5)

    def test_channels_and_windows_do_not_influence_each_other(self, fitted):
        X, order = noise(8, 5, seed=2), np.array([3, 0, 4, 2, 1])
        tokens = fitted.transform(X)
        np.testing.assert_array_equal(fitted.transform(X[:, order]), tokens[:, order])
        np.testing.assert_array_equal(fitted.transform(X[5:6, 2:3]), tokens[5:6, 2:3])

    def test_another_rate_is_resampled_or_refused(self, fitted):
        slow = noise(4, 2, 640, seed=4)
        wanted = fitted.transform(scipy.signal.resample(slow, 500, axis=-1))
        names = ["C3", "C4"]
        epochs = mne.EpochsArray(slow, mne.create_info(names, 256.0, "misc"), verbose=False)
        np.testing.assert_array_equal(fitted.transform(epochs), wanted)
        fast = TFMTokenizer(**TINY, sfreq=256.0, resample=False)
        with pytest.raises(UsageError, match=r"works at 200 Hz, the signals are at 256 Hz.*resample=True"):
            fast.fit(slow)
        with pytest.raises(UsageError, match="needs the sampling rate of the signals: pass sfreq="):
            TFMTokenizer(**TINY).fit(slow)

    def test_resampling_in_parts_is_resampling(self, monkeypatch):
        from neurosig.tokenizers import tfm

        X = noise(7, 2, 300)
        wanted = scipy.signal.resample(X, 600, axis=-1)
        monkeypatch.setattr(tfm, "_AT_ONCE", X[0].nbytes * 2)
        np.testing.assert_allclose(tfm._resampled(X, 100.0), wanted, atol=1e-6)

    @pytest.mark.filterwarnings("ignore:windows of .* are tokenized by a")
    def test_signals_on_disk_must_be_at_the_rate(self, fitted, tmp_path):
        store = zarr.create_array(tmp_path / "X.zarr", shape=(4, 3, 640), chunks=(2, 3, 640), dtype="f4")
        store[:] = noise(4, 3, 640)
        with pytest.raises(UsageError, match=r"signals on disk must be at 200 Hz.*load_eeg\(resample=200\)"):
            TFMTokenizer(**TINY, sfreq=256.0).fit(store)
        assert fitted.transform(store).shape == (4, 3, 5)

    @pytest.mark.filterwarnings("ignore:windows of .* are tokenized by a")
    def test_short_windows_are_refused_or_repeated(self, fitted):
        X = noise(3, 2, 80)
        with pytest.raises(InputError, match=r"got windows of 80.*on_short='pad'"):
            fitted.transform(X)
        padded = TFMTokenizer._restored(*fitted._stored(), None, on_short="pad")
        wanted = fitted.transform(np.concatenate([X, X, X[..., :40]], axis=-1))
        np.testing.assert_array_equal(padded.transform(X), wanted)
        with pytest.raises(UsageError, match="on_short must be 'raise' or 'pad', got 'x'"):
            TFMTokenizer(**TINY, sfreq=200, on_short="x").fit(noise())

    @pytest.mark.filterwarnings("ignore:windows of .* are tokenized by a")
    def test_one_second_is_one_token(self, fitted):
        assert fitted.transform(noise(2, 2, 200)).shape == (2, 2, 1)
        assert fitted.transform(noise(2, 2, 299)).shape == (2, 2, 1)

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_not_finite_is_refused(self, fitted, bad):
        X = noise()
        X[1, 2, 7] = bad
        with pytest.raises(InputError, match=r"positions 1; channels 2"):
            fitted.transform(X)

    def test_empty_is_refused_and_constant_is_not(self, fitted):
        with pytest.raises(InputError):
            fitted.transform(noise()[:0])
        X = noise()
        X[:, 0] = 0
        X[:, 1] = 3e-5
        with pytest.warns(UserWarning, match="16 of 24 channels of windows are constant"):
            tokens = fitted.transform(X)
        assert np.isfinite(fitted.embed(X)).all()
        assert (tokens[:, 0] == tokens[0, 0]).all()

    def test_units_that_are_known_do_not_matter(self):
        volts = TFMTokenizer(**TINY, info=SignalSpec("eeg", ("a", "b", "c"), sfreq=200.0, unit="V"))
        micro = TFMTokenizer(**TINY, info=SignalSpec("eeg", ("a", "b", "c"), sfreq=200.0, unit="uV"))
        tesla = TFMTokenizer(**TINY, info=SignalSpec("meg", ("a", "b", "c"), sfreq=200.0, unit="T"))
        X = noise() * 20
        wanted = micro.fit(X).transform(X)
        np.testing.assert_array_equal(volts.fit(X * 1e-6).transform(X * 1e-6), wanted)
        np.testing.assert_array_equal(tesla.fit(X * 1e-15).transform(X * 1e-15), wanted)


class TestBackToSignals:
    def test_spectra_do_not_depend_on_the_batches(self, fitted):
        tokens = fitted.transform(noise(9))
        spectra = fitted.decode_spectrum(tokens)
        assert spectra.shape == (9, 3, 100, 4)
        np.testing.assert_allclose(fitted.decode_spectrum(tokens[3:4]), spectra[3:4], atol=1e-6)

    def test_signals_are_seeded_and_of_the_windows_length(self, fitted):
        tokens = fitted.transform(noise(3))
        signals = fitted.inverse_transform(tokens, n_iter=3)
        assert signals.shape == (3, 3, 500)
        assert signals.dtype == np.float32
        np.testing.assert_array_equal(fitted.inverse_transform(tokens, n_iter=3), signals)
        assert (fitted.inverse_transform(tokens, n_iter=3, random_state=1) != signals).any()

    @pytest.mark.parametrize(
        ("tokens", "message"),
        [
            (np.full((1, 1, 2), 16), "from 0 to 15, got 16"),
            (np.full((1, 1, 2), -1), "from 0 to 15, got -1"),
            (np.zeros((1, 2)), "tokens as integers"),
            (np.zeros((1, 2), int), r"axes \(window, channel, frame\)"),
            (np.zeros((0, 1, 2), int), "at least one window"),
        ],
    )
    def test_what_is_no_tokens_is_refused(self, fitted, tokens, message):
        for work in (fitted.decode_spectrum, fitted.inverse_transform):
            with pytest.raises(InputError, match=message):
                work(tokens)

    def test_a_wave_comes_back_at_its_frequency_and_amplitude(self):
        t = np.arange(1000) / 200
        wave = np.stack([np.sin(2 * np.pi * 10 * t + 1), 3 * np.sin(2 * np.pi * 23 * t)])[None]
        spectra = magnitude_spectrum(cut_frames(torch.from_numpy(wave))).mT.numpy()
        found = griffin_lim(spectra, n_iter=60)
        middle = slice(200, 800)  # three seconds
        for i, (hertz, amplitude) in enumerate(((10, 1), (23, 3))):
            power = np.abs(np.fft.rfft(found[0, i, middle])) / 300
            assert abs(np.argmax(power) / 3 - hertz) <= 0.5  # a window of a second tells 1 Hz apart
            assert np.std(found[0, i, middle]) == pytest.approx(amplitude / np.sqrt(2), rel=0.15)

    def test_more_rounds_bring_the_magnitudes_closer(self):
        spectra = magnitude_spectrum(cut_frames(torch.from_numpy(noise(2, 2, 1000)))).mT.numpy()

        def distance(n_iter):
            found = magnitude_spectrum(cut_frames(torch.from_numpy(griffin_lim(spectra, n_iter=n_iter))))
            return np.square(found.mT.numpy() - spectra).sum() / np.square(spectra).sum()

        errors = [distance(n_iter) for n_iter in (0, 5, 40)]
        assert errors[0] > errors[1] > errors[2]
        assert errors[2] < 0.1

    def test_rounds_must_be_a_number(self):
        with pytest.raises(UsageError, match="n_iter must be a whole number not below 0, got -1"):
            griffin_lim(np.zeros((1, 100, 2)), n_iter=-1)


def test_published_options_reach_the_network_and_the_schedule():
    tokenizer = TFMTokenizer(
        **{**TINY, "max_epochs": 4}, sfreq=200, final_lr=5e-3, straight_through_vq_loss="reference", warmup=1.0
    ).fit(noise(8))
    rates = [row["lr"] for row in tokenizer.history_]
    assert rates == sorted(rates)  # published: it rises to the end
    assert rates[-1] > 1e-3
    assert tokenizer.module_.config["straight_through_vq_loss"] == "reference"
    assert TFMTokenizer(max_epochs=30)._settings(0, None).warmup == 3.0


def test_every_weight_but_the_codes_learns():
    module = TFMTokenizerModule(
        n_codes=16, emb_size=16, freq_depth=1, temporal_depth=1, decoder_depth=1, n_heads=2, normalise=True
    )
    module.training_loss(torch.from_numpy(noise()), torch.Generator().manual_seed(0))["total"].backward()
    still = [name for name, p in module.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert still == []
