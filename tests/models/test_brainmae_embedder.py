"""`BrainMAEEmbedder`: runs of any length, rate and region order go in, embeddings come out; resuming, storage."""

import functools
import logging

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import config_context
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from neurosig.core.errors import ChannelError, InputError, StorageError, UsageError
from neurosig.core.lazy_runs import LazyRuns
from neurosig.core.signals import SignalDataset, SignalSpec
from neurosig.models import BrainMAEClassifier, BrainMAEEmbedder
from neurosig.preprocessing import FunctionalConnectivity
from neurosig.training.checkpoint import Checkpoint

torch.set_num_threads(1)

NAMES = tuple("abcdef")
TINY = {
    "segment": 10.0, "n_segments": 4, "emb_size": 8, "n_heads": 2, "depth": 1, "temporal_depth": 1, "drop_prob": 0.0,
    "max_epochs": 2, "batch_size": 4, "random_state": 0, "device": "cpu",
}  # fmt: skip


def runs(lengths=(30, 44, 30, 52, 36, 30), n_regions=6, seed=0):
    rng = np.random.default_rng(seed)
    return [100 + 3 * rng.standard_normal((n_regions, n)).astype(np.float32) for n in lengths]


def dataset(X, names=NAMES, t_r=2.0, who="s", **fields):
    table = pd.DataFrame({"subject": [f"{who}{i}" for i in range(len(X))], "session": "0", "run": "0"})
    if isinstance(t_r, list):
        table["t_r"] = t_r
        t_r = None
    spec = SignalSpec("fmri", tuple(names), unit="a.u.", t_r=t_r, sfreq=None if t_r is None else 1 / t_r, **fields)
    return SignalDataset(X, None, table, spec, name="rest")


def embedder(**kwargs):
    return BrainMAEEmbedder(**{**TINY, **kwargs})


@pytest.fixture(scope="module")
def fitted():
    return embedder().fit(dataset(runs(), atlas="tiny", positions=np.arange(18).reshape(6, 3) / 1e3))


class TestRuns:
    def test_embeddings_do_not_depend_on_the_company(self, fitted):
        X = runs()
        together = fitted.transform(X)
        assert together.shape == (6, 8)
        assert together.dtype == np.float32
        for i in (0, 3):
            np.testing.assert_allclose(fitted.transform([X[i]])[0], together[i], atol=1e-6)

    def test_they_are_the_modules_of_z_scores(self, fitted):
        X = runs()
        z = [(run - run.mean(axis=1, keepdims=True)) / run.std(axis=1, ddof=1, keepdims=True) for run in X]
        with torch.no_grad():
            wanted = [fitted.module_.embed(torch.from_numpy(one)[None])[0].numpy() for one in z]
        np.testing.assert_allclose(fitted.transform(X), wanted, atol=1e-5)

    def test_regions_go_by_name(self, fitted):
        X, order = runs(), [3, 1, 0, 5, 4, 2]
        mixed = dataset([run[order] for run in X], [NAMES[i] for i in order])
        np.testing.assert_allclose(fitted.transform(mixed), fitted.transform(X), atol=1e-6)
        with pytest.raises(ChannelError, match="6 regions of the network, these runs lack f"):
            fitted.transform(dataset([run[:5] for run in X], NAMES[:5]))
        with pytest.raises(ChannelError, match=r"expected 6 regions.*got 5"):
            fitted.transform([run[:5] for run in X])

    def test_a_region_that_is_lacking_is_as_one_that_was_not_measured(self, fitted):
        lenient = clone(fitted).set_params(on_missing="mask", on_unknown="drop").fit(dataset(runs()))
        X = runs()
        holes = [np.where(np.arange(6)[:, None] == 5, np.nan, run) for run in X]
        without = dataset([np.vstack([run[:5], run[:1]]) for run in X], (*NAMES[:5], "stranger"))
        np.testing.assert_allclose(lenient.transform(without), lenient.transform(holes), atol=1e-6)
        with pytest.raises(InputError, match=r"run 0 lacks regions.*f; on_missing='mask'"):
            fitted.transform(holes)

    def test_other_repetition_times_are_resampled_and_told(self, caplog):
        # of straight lines nothing is lost: a run at 1 s is one at 2 s whose volumes in between are left out
        slow = [np.outer(np.arange(1, 7), np.arange(40)) + run[:, :40] for run in runs((40, 40))]
        fine = [np.stack([np.interp(np.arange(79) / 2, np.arange(40), row) for row in run]) for run in slow]
        with caplog.at_level(logging.INFO, logger="neurosig"):
            model = embedder().fit(dataset([*slow, fine[0]], t_r=[2.0, 2.0, 1.0]))
        assert (model.t_r_, model.sfreq_, model.data_t_r_, model.resampled_) == (2.0, 0.5, None, {"1": 1})
        assert "1 of 3 runs are resampled to t_r=2 s" in caplog.text
        wanted = model.transform(slow, t_r=2.0)
        np.testing.assert_allclose(model.transform(fine, t_r=1.0), wanted, atol=1e-5)
        with pytest.raises(UsageError, match="fitted on runs of several repetition times"):
            model.transform(slow)
        with pytest.raises(UsageError, match=r"1 of 3 runs have another.*2 s, that of most"):
            embedder(on_tr_mismatch="error").fit(dataset([*slow, fine[0]], t_r=[2.0, 2.0, 1.0]))
        assert embedder(resample_to=1.0).fit(dataset(slow)).resampled_ == {"2": 2}

    def test_a_rate_must_be_known(self):
        with pytest.raises(UsageError, match="needs the repetition time"):
            embedder().fit(runs())
        assert embedder(sfreq=0.5).fit(runs()).t_r_ == 2.0
        assert embedder().fit(runs(), t_r=2.0).t_r_ == 2.0

    def test_collections_with_atlases_of_their_own(self):
        first, second = dataset(runs(), who="s"), dataset(runs((40, 40), 4), ("g", "c", "b", "a"), who="t")
        with pytest.raises(ChannelError, match="of the first collection, these runs lack d, e, f"):
            embedder().fit([first, second])
        model = embedder(on_missing="mask").fit([first, second])
        assert model.region_names_ == [*NAMES, "g"]
        assert model.n_windows_ == 8
        seen = model.trained_on_["before"]
        assert [part["subjects"] for part in seen] == [[f"s{i}" for i in range(6)], ["t0", "t1"]]
        assert model.transform(second).shape == (2, 8)

    def test_runs_on_disk_are_learned_from_alike(self):
        X = runs((30,) * 6)  # blocks of one run come in another order than runs in memory
        lazy = LazyRuns(lambda i: X[i], range(6))
        one = embedder(batch_size=6, buffer_bytes=10_000).fit(dataset(lazy))
        many = embedder(batch_size=6).fit(dataset(X))
        assert one.n_windows_ == many.n_windows_ == 6
        np.testing.assert_allclose(one.transform(lazy), one.transform(X), atol=1e-6)
        held = embedder(batch_size=6).fit(dataset(lazy))  # few enough to be held in memory
        np.testing.assert_array_equal(held.transform(X), many.transform(X))

    def test_repetition_times_are_routed_through_pipelines(self):
        X, y, t_r = runs(), np.arange(6) % 2, [2.0, 1.5, 2.0, 1.5, 2.0, 2.0]
        pipeline = make_pipeline(embedder(), LogisticRegression())
        with config_context(enable_metadata_routing=True):
            people = list("ppqqrr")
            pipeline.fit(X, y, t_r=t_r, subjects=people)
            found = pipeline.predict_proba(X, t_r=t_r)
        alone = embedder().fit(X, t_r=t_r)
        head = LogisticRegression().fit(alone.transform(X, t_r=t_r), y)
        np.testing.assert_allclose(found, head.predict_proba(alone.transform(X, t_r=t_r)), atol=1e-6)
        assert pipeline[0].resampled_ == {"1.5": 2}
        again = embedder().fit_transform(X, t_r=t_r)
        np.testing.assert_array_equal(again, alone.transform(X, t_r=t_r))


class TestBadInput:
    def test_runs_shorter_than_a_segment(self):
        with pytest.raises(InputError, match=r"at least one segment of 10 s \(5 volumes at t_r=2 s\), run 1 has 4"):
            embedder().fit(dataset(runs((30, 4, 30))))

    def test_a_transposed_table(self):
        turned = [run.T for run in runs((30, 30))]
        with pytest.raises(ChannelError, match="6 regions are named, the runs have 30"):
            embedder(ch_names=list(NAMES), t_r=2.0).fit(turned)
        with pytest.raises(ChannelError, match="run 0 has 30 and run 1 has 44"):
            embedder(t_r=2.0).fit([run.T for run in runs()])

    def test_milliseconds(self):
        with pytest.raises(UsageError, match="milliseconds"):
            embedder(t_r=2000.0).fit(runs())

    @pytest.mark.parametrize(
        ("option", "value"),
        [("on_tr_mismatch", "reinit"), ("on_missing", "drop"), ("on_unknown", "mask"), ("standardize", "site"),
         ("variant", "dg"), ("resample_to", -1.0)],
    )  # fmt: skip
    def test_options_that_are_none(self, option, value):
        with pytest.raises(UsageError, match=f"{option} must be|{option} must|t_r must be"):
            embedder(**{option: value}).fit(dataset(runs()))

    def test_a_region_that_is_constant_is_told_once(self):
        X = runs()
        X[2][4] = 7.0
        with pytest.warns(UserWarning, match=r"1 of 6 runs have constant regions \(e\)") as told:
            embedder(max_epochs=1).fit(dataset(X))
        assert len(told) == 1


class TestTraining:
    def test_the_same_seed_gives_the_same_bits(self, fitted):
        again = embedder().fit(dataset(runs()))
        np.testing.assert_array_equal(again.transform(runs()), fitted.transform(runs()))
        other = embedder(random_state=1).fit(dataset(runs()))
        assert not np.allclose(other.transform(runs()), fitted.transform(runs()))

    def test_history_and_facts(self, fitted):
        assert {"train_loss", "train_masked", "train_unmasked"} <= set(fitted.history_[0])
        for row in fitted.history_:
            assert row["train_loss"] == pytest.approx(0.75 * row["train_masked"] + 0.25 * row["train_unmasked"])
        assert fitted.trained_on_["subjects"] == [f"s{i}" for i in range(6)]
        assert fitted.trained_on_["dataset"] == "rest"
        assert (fitted.spec_.atlas, fitted.spec_.unit, fitted.spec_.t_r) == ("tiny", "z", 2.0)

    def test_people_validate_whole(self, monkeypatch):
        from neurosig.training import batches

        seen = []
        usual = batches.Batches.__init__

        def spying(self, trials, y, index, **kwargs):
            seen.append(set(index))
            usual(self, trials, y, index, **kwargs)

        monkeypatch.setattr(batches.Batches, "__init__", spying)
        model = embedder(validation=0.3, patience=1).fit(dataset(runs()), groups=["p", "q", "p", "q", "r", "r"])
        train, valid = seen[:2]
        assert train | valid == set(range(6))
        people = np.array(["p", "q", "p", "q", "r", "r"])
        assert not set(people[list(train)]) & set(people[list(valid)])
        assert "valid_masked" in model.history_[0]

    def test_decay_spares_biases_norms_and_embeddings(self, monkeypatch):
        groups = []
        usual = torch.optim.AdamW.__init__

        @functools.wraps(usual)
        def spying(self, params, **kwargs):
            params = list(params)
            groups.extend(
                (len(g["params"]), g.get("weight_decay", kwargs["weight_decay"]), g["params"]) for g in params
            )
            usual(self, params, **kwargs)

        monkeypatch.setattr(torch.optim.AdamW, "__init__", spying)
        model = embedder(max_epochs=1).fit(dataset(runs()))
        decayed = [p for _, decay, held in groups if decay for p in held]
        spared = [p for _, decay, held in groups if not decay for p in held]
        names = {id(p): name for name, p in model.module_.named_parameters()}
        assert all(names[id(p)].endswith("weight") and p.ndim == 2 for p in decayed)
        told = {names[id(p)] for p in spared}
        assert {"region_embedding", "class_token", "class_embedding", "state_norm.weight"} <= told
        assert {name for name in names.values() if name.endswith("bias")} <= told
        assert len(decayed) + len(spared) == len(names)

    def test_a_killed_training_goes_on_to_the_same_bits(self, tmp_path, monkeypatch, fitted):
        data = dataset(runs())
        wanted = embedder(max_epochs=3).fit(data).transform(runs())
        ends = Checkpoint.on_epoch_end

        def dies(self, net, **kwargs):
            ends(self, net, **kwargs)
            raise KeyboardInterrupt

        monkeypatch.setattr(Checkpoint, "on_epoch_end", dies)
        with pytest.raises(KeyboardInterrupt):
            embedder(max_epochs=3, checkpoint=tmp_path).fit(data)
        monkeypatch.setattr(Checkpoint, "on_epoch_end", ends)
        model = embedder(max_epochs=3, checkpoint=tmp_path).fit(data)
        np.testing.assert_array_equal(model.transform(runs()), wanted)
        assert len(list(tmp_path.iterdir())) == 1
        embedder(max_epochs=3, checkpoint=tmp_path, mask_ratio=(0.1, 0.5)).fit(data)  # another training
        assert len(list(tmp_path.iterdir())) == 2

    def test_the_start_is_handed_on(self, fitted):
        still = {"lr": 1e-12, "max_epochs": 1}
        small = embedder(init_std=0.02, **still).fit(dataset(runs()))
        assert float(small.module_.region_embedding.std()) == pytest.approx(0.02, rel=0.4)
        assert float(fitted.module_.region_embedding.std()) == pytest.approx(0.3, rel=0.4)
        options = {"emb_size": 8, "n_heads": 2, "depth": 1, "max_epochs": 1, "lr": 1e-12, "device": "cpu"}
        head = BrainMAEClassifier(init_std=0.02, segment=10.0, validation=None, random_state=0, **options)
        head.fit(dataset(runs()), np.arange(6) % 2)
        assert float(head.module_.input_projection.weight.std()) == pytest.approx(0.02, rel=0.4)
        # what is pretrained begins as it is
        after = clone(head).set_params(pretrained=FrozenEstimator(fitted)).fit(dataset(runs()), np.arange(6) % 2)
        torch.testing.assert_close(after.module_.region_embedding, fitted.module_.region_embedding)
        with pytest.raises(UsageError, match="init_std must be above 0, or None, got 'small'"):
            embedder(init_std="small").fit(dataset(runs()))

    @pytest.mark.parametrize("variant", ["ag", "vanilla"])
    def test_variants_and_ablations(self, variant):
        options = {"variant": variant, "region_embedding": "sincos", "self_loops": True, "mask_ratio": None}
        model = embedder(**options, max_epochs=1).fit(dataset(runs()))
        assert model.history_[0]["train_masked"] == 0
        assert not any(name == "region_embedding" for name, _ in model.module_.named_parameters())


class TestStorage:
    def test_a_folder_holds_all(self, fitted, tmp_path):
        folder = fitted.save_pretrained(tmp_path / "rest", scores={"masked R2": 0.1}, licence="cc0-1.0")
        again = BrainMAEEmbedder.from_pretrained(folder)
        np.testing.assert_array_equal(again.transform(runs()), fitted.transform(runs()))
        for name in ("t_r_", "data_t_r_", "resampled_", "region_names_", "trained_on_", "history_", "n_features_in_"):
            assert getattr(again, name) == getattr(fitted, name), name
        assert again.spec_.atlas == "tiny"
        np.testing.assert_allclose(again.spec_.positions, fitted.spec_.positions)
        card = (folder / "README.md").read_text()
        for said in ("atlas: tiny", "works at 2 s", "a, b, c, d", "6 (s0", "masked R2: 0.1", "cc0-1.0", "variant sg"):
            assert said in card, said

    def test_order_of_regions_holds_for_arrays_as_they_were_given(self, tmp_path):
        # arrays come as those of the fit did, whatever the order within
        turned = dataset([run[::-1] for run in runs((40, 40), seed=1)], NAMES[::-1], who="t")
        model = embedder().fit([dataset(runs()), turned])
        head = BrainMAEClassifier(model, "probe", max_epochs=1, validation=None, random_state=0, device="cpu")
        head.fit(turned, [0, 1])
        np.testing.assert_allclose(head.transform(list(turned.X)), model.transform(turned), atol=1e-6)
        again = BrainMAEClassifier.from_pretrained(head.save_pretrained(tmp_path / "head"))
        np.testing.assert_array_equal(again.transform(list(turned.X)), head.transform(list(turned.X)))

    def test_what_is_damaged_or_another_thing_is_refused(self, fitted, tmp_path):
        folder = fitted.save_pretrained(tmp_path / "rest")
        text = (folder / "config.json").read_text()
        (folder / "config.json").write_text(text.replace('"t_r_"', '"lost"'))
        with pytest.raises(StorageError, match="damaged or of another version"):
            BrainMAEEmbedder.from_pretrained(folder)
        with pytest.raises(StorageError, match="not a saved BrainMAE classifier"):
            BrainMAEClassifier.from_pretrained(folder)


def networks(n_runs, seed, n_times=64):
    """Runs of 40 regions in 5 networks at 2 s: autoregressive courses, each of 8 regions, of twice the noise's size."""
    rng = np.random.default_rng(seed)
    course = rng.standard_normal((n_runs, 5, n_times))
    for t in range(1, n_times):
        course[..., t] = 0.9 * course[..., t - 1] + np.sqrt(1 - 0.81) * course[..., t]
    return np.repeat(course, 8, axis=1) + 0.5 * rng.standard_normal((n_runs, 40, n_times))


class TestStates:
    def test_as_output(self, fitted):
        data = dataset(runs())
        model = clone(fitted).set_params(output="states").fit(data)
        found = model.transform(data)
        assert [one.shape for one in found] == [(8, n // 5) for n in (30, 44, 30, 52, 36, 30)]
        for one, state in zip(found, fitted.states(data), strict=True):  # the same training
            np.testing.assert_array_equal(one, state)

    def test_their_connectivity_is_a_pipeline(self, fitted):
        data, y = dataset(runs()), np.arange(6) % 2
        states = FrozenEstimator(fitted)
        states.estimator.set_params(output="states")
        try:
            model = make_pipeline(states, FunctionalConnectivity(), LogisticRegression()).fit(data, y)
            assert model.predict_proba(data).shape == (6, 2)
            first = model[1].inverse_transform(model[:-1].transform(data))[0]
            np.testing.assert_allclose(first, np.corrcoef(fitted.states(data)[0]), atol=1e-5)
        finally:
            fitted.set_params(output="embedding")

    def test_of_segments_that_overlap(self, fitted):
        X = runs((30, 44))
        found = fitted.states(X, step=4.0)  # two volumes
        assert [one.shape[1] for one in found] == [(n - 5) // 2 + 1 for n in (30, 44)]
        z = (X[0] - X[0].mean(axis=1, keepdims=True)) / X[0].std(axis=1, ddof=1, keepdims=True)
        with torch.no_grad():
            wanted = fitted.module_.encode(torch.from_numpy(z[None, :, 6:11])).states[0, 0]
        np.testing.assert_allclose(found[0][:, 3], wanted.numpy(), atol=1e-5)
        for one, alone in zip(fitted.states(X, step=10.0), fitted.states(X), strict=True):
            np.testing.assert_allclose(one, alone, atol=1e-6)
        with pytest.raises(UsageError, match="step must be above 0"):
            fitted.states(X, step=0)
        with pytest.raises(UsageError, match="segments that follow each other: leave step= out"):
            fitted.states(X, step=4.0, contextual=True)

    def test_another_output_is_refused(self):
        with pytest.raises(UsageError, match="output must be 'embedding' or 'states', got 'mean'"):
            embedder(output="mean").fit(dataset(runs()))


class TestWhatIsLearned:
    @pytest.mark.slow
    @pytest.mark.parametrize("region_embedding", ["learned", "sincos"])
    def test_networks_are_found_and_hidden_regions_filled_in(self, region_embedding):
        model = BrainMAEEmbedder(
            segment=15.0, n_segments=8, emb_size=32, n_heads=8, depth=1, temporal_depth=1, mlp_ratio=1.0,
            drop_prob=0.0, region_embedding=region_embedding, batch_size=16, lr=0.01, max_epochs=16, t_r=2.0,
            random_state=0, device="cpu",
        ).fit(networks(160, seed=0))  # fmt: skip
        filled = model.reconstruction(networks(16, seed=1))  # other runs; what knows their means only has zero
        assert filled.masked_total > 0.3
        assert filled.unmasked_total > 0.3
        if region_embedding == "learned":
            found = model.region_similarity(np.repeat(list("abcde"), 8).tolist(), n_permutations=200)
            assert found.within > found.between
            assert found.p < 0.01
