"""What BrainMAE shows of what it learned, against closed forms, scikit-learn and planted truth."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.metrics import silhouette_score

from neurosig.core.errors import InputError, UsageError
from neurosig.evaluation import segment_matching
from neurosig.models import BrainMAEClassifier, BrainMAEEmbedder
from neurosig.models.brainmae_findings import StateAttention, agreement, networks_of, region_similarity

torch.set_num_threads(1)

NAMES = [f"7Networks_{side}_{net}_{i}" for net in ("Vis", "Default") for side in ("LH", "RH") for i in (1, 2)]
TINY = {
    "segment": 10.0, "n_segments": 4, "emb_size": 8, "n_heads": 2, "depth": 2, "temporal_depth": 1, "drop_prob": 0.0,
    "max_epochs": 1, "batch_size": 4, "random_state": 0, "device": "cpu", "t_r": 2.0,
}  # fmt: skip


def runs(lengths=(30, 44, 30, 52, 36, 30), n_regions=8, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((n_regions, n)).astype(np.float32) for n in lengths]


@pytest.fixture(scope="module")
def fitted():
    return BrainMAEEmbedder(**TINY, ch_names=NAMES).fit(runs())


class TestSimilarity:
    def test_planted_networks_are_found(self):
        rng = np.random.default_rng(0)
        nets = np.repeat(["a", "b", "c"], 6)
        E = np.eye(3).repeat(6, axis=0) @ rng.standard_normal((3, 16)) + 0.3 * rng.standard_normal((18, 16))
        unit = E / np.linalg.norm(E, axis=1, keepdims=True)
        found = region_similarity(unit @ unit.T, [str(i) for i in range(18)], nets.tolist(), 500, 0)
        same = nets[:, None] == nets
        pairs = np.triu(np.ones((18, 18), dtype=bool), 1)
        assert found.within == pytest.approx((unit @ unit.T)[same & pairs].mean())
        assert found.between == pytest.approx((unit @ unit.T)[~same & pairs].mean())
        assert found.p == 1 / 501
        distance = np.clip(1 - unit @ unit.T, 0, None)
        np.fill_diagonal(distance, 0)
        assert found.silhouette == pytest.approx(silhouette_score(distance, nets, metric="precomputed"))
        table = found.table()
        assert list(table.index) == ["a", "b", "c"]
        assert np.diag(table).min() > table.to_numpy()[~np.eye(3, dtype=bool)].max()
        assert table.loc["a", "b"] == pytest.approx((unit @ unit.T)[:6, 6:12].mean())
        assert found.layout().shape == (18, 2)

    def test_p_is_a_p_value(self):
        # of networks that mean nothing, one in ten is below 0.1
        rng = np.random.default_rng(0)
        nets, draws = np.repeat(list("abcd"), 3).tolist(), np.random.RandomState(0)
        p = []
        for _ in range(200):
            E = rng.standard_normal((12, 6))
            unit = E / np.linalg.norm(E, axis=1, keepdims=True)
            p.append(region_similarity(unit @ unit.T, [str(i) for i in range(12)], nets, 49, draws).p)
        assert 0.03 < np.mean(np.array(p) <= 0.1) < 0.19  # three standard errors
        assert min(p) >= 1 / 50

    def test_networks_are_read_off_schaefers_names(self, fitted):
        assert networks_of(["7Networks_LH_Vis_1", "17Networks_RH_DefaultA_PFCd_2", "LH_Cont_Par_1", "Precuneus"]) == [
            "Vis", "DefaultA", "Cont", None
        ]  # fmt: skip
        found = fitted.region_similarity(n_permutations=20)
        assert found.networks == ["Vis"] * 4 + ["Default"] * 4
        E = fitted.module_.region_embedding.double().numpy()
        unit = E / np.linalg.norm(E, axis=1, keepdims=True)
        np.testing.assert_allclose(found.matrix, unit @ unit.T, atol=1e-6)
        left_out = fitted.region_similarity(["a", "a", "b", "b", None, None, None, None], n_permutations=5)
        assert set(left_out.table().index) == {"a", "b"}

    def test_without_networks_nothing_is_compared(self, fitted):
        nameless = BrainMAEEmbedder(**TINY).fit(runs())
        with pytest.raises(UsageError, match=r"0 networks are known of 8 regions.*pass networks="):
            nameless.region_similarity()
        with pytest.raises(UsageError, match="pass networks="):
            fitted.region_similarity(list("abcdefgh"))
        with pytest.raises(InputError, match="a network for each of 8 regions, got 2"):
            fitted.region_similarity(["a", "b"])

    def test_agreement_of_two_models(self, fitted):
        rng = np.random.default_rng(0)
        S = np.corrcoef(rng.standard_normal((9, 30)))
        noisy = S + 0.05 * rng.standard_normal(S.shape)
        found = agreement(S, noisy, [str(i) for i in range(9)], 99, 0)
        upper = np.triu_indices(9, 1)
        assert found.r == pytest.approx(np.corrcoef(S[upper], noisy[upper])[0, 1])
        assert found.p == 1 / 100
        # by name, whatever the order in which another has learned them
        order = [5, 2, 7, 0, 1, 3, 4]
        other = BrainMAEEmbedder(**{**TINY, "emb_size": 16}, ch_names=[NAMES[i] for i in order]).fit(
            [run[order] for run in runs()]
        )
        found = fitted.agreement(other, n_permutations=9)
        one, two = fitted.region_similarity(n_permutations=1).matrix, other.region_similarity(n_permutations=1).matrix
        upper = np.triu_indices(7, 1)
        names = sorted(order)
        back = [order.index(i) for i in names]
        wanted = np.corrcoef(one[np.ix_(names, names)][upper], two[np.ix_(back, back)][upper])[0, 1]
        assert found.r == pytest.approx(wanted)
        assert found.names == [NAMES[i] for i in names]
        assert fitted.agreement(fitted, n_permutations=9).r == pytest.approx(1)
        with pytest.raises(UsageError, match="two fitted estimators of BrainMAE"):
            fitted.agreement(3)
        with pytest.raises(UsageError, match="at least 3 regions that both know by name, got 0"):
            fitted.agreement(BrainMAEEmbedder(**TINY).fit(runs()))


class TestAttention:
    def test_between_regions(self, fitted):
        found = fitted.graph_attention()
        assert found.weights.shape == (2, 2, 9, 9)
        np.testing.assert_allclose(found.weights.sum(axis=-1), 1, rtol=1e-5)
        assert not np.diagonal(found.weights, axis1=-2, axis2=-1).any()
        np.testing.assert_allclose(found.mean(), found.weights[:, :, 1:, 1:].mean(axis=(0, 1)))
        assert found.names == NAMES
        with pytest.raises(UsageError, match="no static attention"):
            BrainMAEEmbedder(**TINY, variant="vanilla").fit(runs()).graph_attention()

    def test_received_by_states(self, fitted):
        X = runs((20, 30, 10))  # of 4, 6 and 2 segments; a window has 4
        found = fitted.state_attention(X)
        assert found.received.shape == (3, 6)
        np.testing.assert_array_equal(np.isfinite(found.received).sum(axis=1), [4, 6, 2])
        # what a window's states give away is one for each: they receive one over their number on average
        np.testing.assert_allclose(found.received[0, :4].sum(), 1, rtol=1e-5)
        np.testing.assert_allclose(found.received[1, :4].sum(), 1, rtol=1e-5)
        np.testing.assert_allclose(found.received[1, 4:].sum(), 1, rtol=1e-5)
        np.testing.assert_allclose(found.received[2, :2].sum(), 1, rtol=1e-5)
        np.testing.assert_array_equal(found.onset, np.arange(6) * 10.0)
        alone = fitted.state_attention(X[:1]).received
        np.testing.assert_allclose(alone, found.received[:1, :4], atol=1e-6)

    def test_by_block_of_a_task(self):
        received = np.array([[0.1, 0.2, 0.3, 0.4], [0.5, 0.5, np.nan, np.nan]])
        table = StateAttention(received, np.arange(4.0)).by_block(["rest", "task", "task", None])
        wanted = pd.DataFrame({"rest": [0.1, 0.5], "task": [0.25, 0.5]})
        pd.testing.assert_frame_equal(table, wanted)
        with pytest.raises(InputError, match="a block for each of 4 segments, got 2"):
            StateAttention(received, np.arange(4.0)).by_block(["rest", "task"])


class TestStates:
    def test_they_are_the_modules_segment_by_segment(self, fitted):
        X = runs()
        for contextual, name in ((False, "states"), (True, "contextual")):
            found = fitted.states(X, contextual=contextual)
            assert [one.shape for one in found] == [(8, 6), (8, 8), (8, 6), (8, 10), (8, 7), (8, 6)]
            for run, one in zip(X, found, strict=True):
                z = (run - run.mean(axis=1, keepdims=True)) / run.std(axis=1, ddof=1, keepdims=True)
                with torch.no_grad():
                    wanted = getattr(fitted.module_.encode(torch.from_numpy(z)[None]), name)[0]
                np.testing.assert_allclose(one, wanted.numpy().T, atol=1e-5)
        contextual = fitted.states(X[3:4], contextual=True)
        assert isinstance(contextual, np.ndarray)
        np.testing.assert_allclose(contextual[0].mean(axis=1), fitted.transform(X[3:4])[0], atol=1e-5)

    def test_of_noise_no_segment_is_found_in_others(self, fitted):
        X = np.stack(runs((20 * 5,) * 24))
        found = segment_matching(fitted.states(X), n_splits=20)
        assert found.accuracy <= found.chance_upper
        # contextual states hold their place in time, which all runs share
        told = segment_matching(fitted.states(X, contextual=True), n_splits=20)
        assert told.accuracy > told.chance_upper

    def test_repetition_times_may_differ(self, fitted):
        X = runs((30, 60))
        assert [one.shape[1] for one in fitted.states(X, t_r=[2.0, 1.0])] == [6, 6]


class TestRepresentation:
    def test_components_are_those_of_scikit_learn(self, fitted):
        X = runs()
        found = fitted.representation_pca(X, 3)
        pca = PCA(3).fit(fitted.transform(X).astype(float))
        np.testing.assert_allclose(found.explained, pca.explained_variance_ratio_, rtol=1e-6)
        np.testing.assert_allclose(np.abs(found.scores), np.abs(pca.transform(fitted.transform(X))), atol=1e-6)
        assert found.components.shape == (3, 8)

    def test_reconstruction_against_the_module(self, fitted):
        X = runs((40,) * 5)
        fitted = copy.deepcopy(fitted)
        fitted.module_.output_projection.weight.copy_(torch.eye(*fitted.module_.output_projection.weight.shape))
        found = fitted.reconstruction(X, mask_ratio=0.5, random_state=3)
        assert found.masked.shape == found.unmasked.shape == (8,)
        assert found.names == NAMES
        silent = copy.deepcopy(fitted)
        for parameter in silent.module_.output_projection.parameters():
            parameter.zero_()
        nothing = silent.reconstruction(X, mask_ratio=0.5, random_state=3)  # the mean of z-scores, but for what is cut
        assert nothing.masked_total == pytest.approx(0, abs=0.02)
        assert nothing.unmasked_total == pytest.approx(0, abs=0.02)
        assert found.masked_total < nothing.masked_total  # such weights say something, and it is wrong
        whole = fitted.reconstruction(X, mask_ratio=0.0)
        assert np.isnan(whole.masked).all()
        z = np.stack([(x - x.mean(axis=1, keepdims=True)) / x.std(axis=1, ddof=1, keepdims=True) for x in X])
        with torch.no_grad():
            done = fitted.module_.reconstruct(torch.from_numpy(z))
        x, x_hat = done.x.numpy().astype(float), done.x_hat.numpy().astype(float)
        for i in range(8):
            residual = ((x_hat - x)[:, :, i] ** 2).sum()
            wanted = 1 - residual / ((x[:, :, i] - x[:, :, i].mean()) ** 2).sum()
            assert whole.unmasked[i] == pytest.approx(wanted, rel=1e-4)
        assert list(whole.table().columns) == ["region", "masked", "unmasked"]

    def test_runs_of_several_lengths_and_missing_regions_count_where_they_are(self, fitted):
        lenient = BrainMAEEmbedder(**TINY, ch_names=NAMES, on_missing="mask").fit(runs())
        X = runs()
        for run in X:
            run[3] = np.nan
        found = lenient.reconstruction(X)
        assert np.isnan(found.masked[3])
        assert np.isfinite(np.delete(found.masked, 3)).all()
        with pytest.raises(UsageError, match="mask_ratio must be a share"):
            fitted.reconstruction(runs(), mask_ratio=1.0)

    def test_classifiers_show_the_same_but_no_reconstruction(self, fitted):
        model = BrainMAEClassifier(
            fitted, "probe", max_epochs=1, validation=None, t_r=2.0, ch_names=NAMES, random_state=0, device="cpu"
        ).fit(runs(), np.arange(6) % 2)
        assert model.agreement(fitted, n_permutations=1).r == pytest.approx(1)
        np.testing.assert_allclose(
            model.representation_pca(runs()).explained, fitted.representation_pca(runs()).explained, rtol=1e-5
        )  # float32, in batches of another size
        assert not hasattr(model, "reconstruction")  # its decoder is that of before, and is not trained along
