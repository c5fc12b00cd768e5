"""`BrainMAEClassifier` and `BrainMAERegressor`: where they start, what they train and refuse, storage."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import cross_val_predict

from neurosig.core.errors import ChannelError, InputError, StorageError, UsageError
from neurosig.core.signals import SignalDataset, SignalSpec
from neurosig.models import BrainMAEClassifier, BrainMAEEmbedder, BrainMAERegressor
from neurosig.training.checkpoint import Checkpoint

torch.set_num_threads(1)

NAMES = tuple("abcdef")
SIZES = {
    "segment": 10.0, "n_segments": 4, "emb_size": 8, "n_heads": 2, "depth": 1, "temporal_depth": 1, "drop_prob": 0.0,
}  # fmt: skip
SHARED = {"batch_size": 4, "random_state": 0, "device": "cpu"}


def labelled(n=12, lengths=(30, 44, 36), t_r=2.0, seed=0, names=NAMES):
    """Runs of two classes: fluctuations of the second are slow."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    X = []
    for i in range(n):
        noise = rng.standard_normal((len(names), lengths[i % len(lengths)] + 10))
        slow = np.stack([np.convolve(row, np.ones(8) / 8, mode="same") for row in noise])
        X.append((slow if y[i] else noise)[:, 5:-5].astype(np.float32))
    table = pd.DataFrame(
        {"subject": [f"s{i // 2}" for i in range(n)], "session": "0", "run": [str(i) for i in range(n)]}
    )
    spec = SignalSpec("fmri", tuple(names), unit="a.u.", t_r=t_r, sfreq=1 / t_r, atlas="tiny")
    return SignalDataset(X, np.where(y, "slow", "fast"), table, spec, name="task")


def classifier(pretrained=None, mode="full", **kwargs):
    defaults = {**SHARED, "max_epochs": 2, "validation": None, **({} if pretrained is not None else SIZES)}
    return BrainMAEClassifier(pretrained, mode, **{**defaults, **kwargs})


@pytest.fixture(scope="module")
def embedder():
    return BrainMAEEmbedder(**SIZES, **SHARED, max_epochs=1).fit(labelled(6, seed=5))


def changed(model, source):
    own, theirs = model.module_.state_dict(), source.module_.state_dict()
    return {
        name for name, value in theirs.items() if value.shape != own[name].shape or not torch.equal(own[name], value)
    }


class TestStart:
    def test_it_learns_what_tells_the_classes_apart(self):
        data = labelled(48)
        model = classifier(max_epochs=30, lr=0.01, batch_size=8).fit(data)
        assert model.score(labelled(24, seed=1).X, labelled(24).y) > 0.8  # by chance in one of a thousand trainings
        proba = model.predict_proba(data.X)
        np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-5)
        assert model.classes_.tolist() == ["fast", "slow"]
        np.testing.assert_array_equal(model.classes_[proba.argmax(axis=1)], model.predict(data))
        np.testing.assert_array_equal(model.decision_function(data) > 0, model.predict(data) == "slow")

    def test_what_each_mode_trains(self, embedder):
        data = labelled()
        full = classifier(embedder).fit(data)
        assert {"region_embedding", "input_projection.weight", "state_norm.weight"} <= changed(full, embedder)
        # the decoder has no part in it
        assert not [
            name for name in changed(full, embedder) if name.startswith(("decoder", "output_projection", "from_"))
        ]
        frozen = classifier(embedder, "frozen_embedding").fit(data)
        assert changed(full, embedder) - changed(frozen, embedder) == {"region_embedding"}
        probe = classifier(embedder, "probe", lr=0.1, max_epochs=5).fit(data)
        assert not changed(probe, embedder)
        assert probe.history_[-1]["train_loss"] < probe.history_[0]["train_loss"]
        np.testing.assert_allclose(probe.transform(data), embedder.transform(data), atol=1e-6)

    def test_the_head_of_a_probe_answers_as_the_whole_network_does(self, embedder):
        # it is trained on means of windows, and answers runs
        data = labelled(lengths=(30, 64, 96))
        probe = classifier(embedder, "probe", lr=0.1).fit(data)
        found = []
        with torch.no_grad():
            for run in data.X:
                z = (run - run.mean(axis=1, keepdims=True)) / run.std(axis=1, ddof=1, keepdims=True)
                found.append(probe.module_(torch.from_numpy(z)[None])[0].numpy())
        logits = np.stack(found)
        np.testing.assert_allclose(probe.decision_function(data), logits[:, 1] - logits[:, 0], atol=1e-5)

    def test_folder_and_frozen_estimator(self, embedder, tmp_path):
        data = labelled()
        folder = embedder.save_pretrained(tmp_path / "embedder")
        found = [
            classifier(source).fit(data).predict_proba(data)
            for source in (embedder, str(folder), FrozenEstimator(embedder))
        ]
        np.testing.assert_array_equal(found[0], found[1])
        np.testing.assert_array_equal(found[0], found[2])
        inside = classifier(FrozenEstimator(embedder), "probe", t_r=2.0, max_epochs=1)
        assert cross_val_predict(inside, np.stack([x[:, :30] for x in data.X]), data.y, cv=2).shape == (12,)

    def test_whom_it_has_seen(self, embedder):
        told = classifier(embedder).fit(labelled()).trained_on_
        assert told["subjects"] == [f"s{i}" for i in range(6)]
        assert told["before"][0]["subjects"] == ["s0", "s1", "s2"]
        arrays = classifier(embedder, t_r=2.0).fit(labelled().X, labelled().y).trained_on_
        assert arrays["before"][0] is None or not arrays["subjects"]

    @pytest.mark.parametrize(
        ("pretrained", "error", "said"),
        [(BrainMAEEmbedder(), UsageError, "not fitted.*FrozenEstimator"), (3, UsageError, "must be a fitted"),
         ("nowhere/at/all", StorageError, "nowhere")],
    )  # fmt: skip
    def test_what_cannot_be_started_from(self, pretrained, error, said):
        with pytest.raises(error, match=said):
            classifier(pretrained).fit(labelled())

    def test_other_standardisation_is_refused(self, embedder):
        with pytest.raises(UsageError, match="standardize='run', this one has standardize=None"):
            classifier(embedder, standardize=None).fit(labelled())


class TestContract:
    def test_regions_by_name(self, embedder):
        data = labelled()
        order = [5, 4, 3, 2, 1, 0]
        turned = SignalDataset(
            [x[order] for x in data.X], data.y, data.metadata, data.info.replace(ch_names=NAMES[::-1])
        )
        one, other = (classifier(embedder, "probe").fit(given) for given in (data, turned))
        np.testing.assert_allclose(one.predict_proba(data), other.predict_proba(turned), atol=1e-6)
        np.testing.assert_allclose(other.predict_proba(data), other.predict_proba(turned), atol=1e-6)
        # arrays come as those of the fit did
        np.testing.assert_array_equal(other.predict_proba(turned.X), other.predict_proba(turned))

    def test_missing_and_unknown_regions(self, embedder):
        fewer = labelled(names=NAMES[:5])
        with pytest.raises(ChannelError, match="lack f"):
            classifier(embedder).fit(fewer)
        assert classifier(embedder, on_missing="mask").fit(fewer).predict(fewer).shape == (12,)
        with pytest.raises(ChannelError, match="that the pretrained network does not know: g"):
            classifier(embedder).fit(labelled(names=(*NAMES, "g")))
        with pytest.raises(ChannelError, match="expected 6 regions, as the pretrained network"):
            classifier(embedder, t_r=2.0).fit(fewer.X, fewer.y)

    def test_repetition_time_policies(self, embedder):
        data = labelled(t_r=1.25)
        resampled = classifier(embedder).fit(data)
        assert (resampled.t_r_, resampled.data_t_r_, resampled.resampled_) == (2.0, 1.25, {"1.25": 12})
        assert resampled.module_.samples == 5
        anew = classifier(embedder, on_tr_mismatch="reinit").fit(data)
        assert (anew.t_r_, anew.module_.samples, anew.resampled_) == (1.25, 8, {})
        kept = {name for name in embedder.module_.state_dict() if name not in changed(anew, embedder)}
        assert "decoder_norm.weight" in kept
        assert "input_projection.weight" not in kept
        with pytest.raises(UsageError, match=r"another repetition time \(runs: 1.25 s\) than 2 s, the pretrained"):
            classifier(embedder, on_tr_mismatch="error").fit(data)
        with pytest.raises(UsageError, match="which mode='probe' would never train"):
            classifier(embedder, "probe", on_tr_mismatch="reinit").fit(data)

    def test_one_label_a_run_and_all_there(self):
        data = labelled()
        with pytest.raises(InputError, match="2 of 12 runs have no label"):
            classifier().fit(data, [None, None, *data.y[2:]])
        with pytest.raises(InputError, match="one target a run, got 12 runs and 11"):
            classifier().fit(data, data.y[1:])
        with pytest.raises(InputError, match=r"one class only.*site"):
            classifier().fit(data, ["slow"] * 12)
        with pytest.raises(ValueError, match="NaN"):
            BrainMAERegressor(**SIZES, **SHARED).fit(data, [np.nan, *range(11)])

    @pytest.mark.parametrize(
        ("options", "said"),
        [({"mode": "head"}, "mode must be one of"), ({"mode": "probe"}, "pass pretrained="),
         ({"on_tr_mismatch": "drop"}, "on_tr_mismatch must be"), ({"region_dropout": 1.0}, "region_dropout must be"),
         ({"class_weight": "even"}, "class_weight must be"), ({"class_weight": {"x": 1}}, "which is no label")],
    )  # fmt: skip
    def test_options(self, options, said):
        with pytest.raises(UsageError, match=said):
            classifier(**options).fit(labelled())


class TestTraining:
    def test_whole_subjects_validate(self, monkeypatch):
        import neurosig.models.brainmae_predictor as module

        seen = []
        usual = module.Batches

        def spying(trials, y, index, **kwargs):
            seen.append(np.asarray(index))
            return usual(trials, y, index, **kwargs)

        monkeypatch.setattr(module, "Batches", spying)
        data = labelled()
        model = classifier(validation=0.34, patience=1, max_epochs=3, lr=1e-6).fit(data)
        train, valid = seen
        people = data.metadata["subject"].to_numpy()
        assert sorted([*train, *valid]) == list(range(12))
        assert not set(people[train]) & set(people[valid])
        assert "valid_loss" in model.history_[0]
        assert model.guessing_loss_ == pytest.approx(np.log(2))

    def test_class_weights_count(self):
        data = labelled()
        fit = dict.fromkeys(("one", "other"))
        for name, weight in (("one", {"fast": 1.0, "slow": 1e-6}), ("other", {"fast": 1e-6, "slow": 1.0})):
            fit[name] = classifier(class_weight=weight, max_epochs=8, lr=0.01).fit(data).predict(data)
        assert set(fit["one"]) == {"fast"}
        assert set(fit["other"]) == {"slow"}

    def test_region_dropout_changes_the_training_and_nothing_else(self):
        data = labelled()
        plain = classifier().fit(data)
        some = classifier(region_dropout=0.5).fit(data)
        assert not np.array_equal(some.predict_proba(data), plain.predict_proba(data))
        np.testing.assert_array_equal(some.predict_proba(data), some.predict_proba(data))
        np.testing.assert_array_equal(
            some.predict_proba(data), classifier(region_dropout=0.5).fit(data).predict_proba(data)
        )

    def test_a_killed_training_goes_on_to_the_same_bits(self, tmp_path, monkeypatch, embedder):
        data = labelled()
        options = {"region_dropout": 0.3, "max_epochs": 3}
        wanted = classifier(embedder, **options).fit(data).predict_proba(data)
        ends = Checkpoint.on_epoch_end

        def dies(self, net, **kwargs):
            ends(self, net, **kwargs)
            raise KeyboardInterrupt

        monkeypatch.setattr(Checkpoint, "on_epoch_end", dies)
        with pytest.raises(KeyboardInterrupt):
            classifier(embedder, checkpoint=tmp_path, **options).fit(data)
        monkeypatch.setattr(Checkpoint, "on_epoch_end", ends)
        model = classifier(embedder, checkpoint=tmp_path, **options).fit(data)
        np.testing.assert_array_equal(model.predict_proba(data), wanted)
        classifier(checkpoint=tmp_path, **options).fit(data)  # begins elsewhere
        assert len(list(tmp_path.iterdir())) == 2

    def test_several_datasets(self):
        first, second = labelled(6), labelled(6, t_r=1.0, lengths=(60, 90), seed=3)
        model = classifier().fit([first, second])
        assert model.n_windows_ == 12
        assert model.resampled_ in ({"1": 6}, {"2": 6})
        assert [part["dataset"] for part in model.trained_on_["before"]] == ["task", "task"]
        with pytest.raises(UsageError, match="takes one at a time"):
            model.predict([first, second])


class TestRegression:
    def test_targets_are_standardised_by_those_trained_on(self):
        data = labelled(16)
        y = np.where(data.y == "slow", 60.0, 20.0) + np.arange(16) % 3
        # of sixteen runs a small start generalises better
        options = {**SIZES, **SHARED, "lr": 5e-3, "batch_size": 8, "init_std": 0.02}
        model = BrainMAERegressor(**options, max_epochs=20, validation=None).fit(data, y)
        assert model.target_mean_ == pytest.approx(y.mean())
        assert model.target_sd_ == pytest.approx(y.std())
        assert np.corrcoef(model.predict(labelled(16, seed=2)), y)[0, 1] > 0.9
        apart = BrainMAERegressor(**options, max_epochs=1, validation=0.3).fit(data, y)
        assert apart.target_mean_ != pytest.approx(y.mean())

    def test_units_of_the_target_do_not_matter(self, embedder):
        data, y = labelled(), np.arange(12.0)
        options = {**SHARED, "max_epochs": 1, "validation": None}
        one = BrainMAERegressor(embedder, **options).fit(data, y).predict(data)
        other = BrainMAERegressor(embedder, **options).fit(data, 1e3 * y - 5).predict(data)
        np.testing.assert_allclose(other, 1e3 * one - 5, rtol=1e-3)


class TestStorage:
    @pytest.mark.parametrize("kind", [BrainMAEClassifier, BrainMAERegressor])
    def test_a_folder_holds_all(self, kind, embedder, tmp_path):
        data = labelled()
        y = data.y if kind is BrainMAEClassifier else np.arange(12.0)
        model = kind(embedder, "probe", **SHARED, max_epochs=1, validation=None).fit(data, y)
        folder = model.save_pretrained(tmp_path / "model", scores={"AUC": "0.7 ± 0.1"})
        again = kind.from_pretrained(folder)
        np.testing.assert_array_equal(again.predict(data), model.predict(data))
        np.testing.assert_array_equal(again.predict(data.X), model.predict(data))
        assert (again.mode, again.pretrained, again.emb_size) == ("full", None, 8)
        assert again.trained_on_ == model.trained_on_
        card = (folder / "README.md").read_text()
        assert "atlas: tiny" in card
        assert "AUC: 0.7" in card
        assert ("Tells fast, slow apart" if kind is BrainMAEClassifier else "mean 5.5") in card

    def test_what_is_damaged_is_refused(self, embedder, tmp_path):
        folder = classifier(embedder, "probe").fit(labelled()).save_pretrained(tmp_path / "model")
        text = (folder / "config.json").read_text()
        (folder / "config.json").write_text(text.replace('"classes"', '"lost"'))
        with pytest.raises(StorageError, match="damaged or of another version"):
            BrainMAEClassifier.from_pretrained(folder)
