"""Phase-SPDNet: its covariances against other code, its training, and what it can tell that order 1 cannot."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone

from neurosig.core.errors import ChannelError, InputError, UsageError
from neurosig.models.phase_spdnet import PhaseSPDNet, PhaseSPDNetClassifier, find_picks
from neurosig.preprocessing.augmented_covariance import AugmentedCovariances
from neurosig.preprocessing.embedding import select_embedding

torch.set_num_threads(1)


def noise(n_trials=6, n_chans=3, n_times=160, seed=0):
    return np.random.default_rng(seed).standard_normal((n_trials, n_chans, n_times))


def standardised(X):
    return (X - X.mean(axis=-1, keepdims=True)) / X.std(axis=-1, keepdims=True)


def lagged_classes(n_trials=120, n_times=256, seed=0):
    """Two channels, white and uncorrelated at lag 0; channel 2 repeats channel 1 three samples later, or its negative.

    The covariance at order 1 is the identity in both classes, and with order 2 and lag 3 the classes differ in one
    entry, 0.7 or -0.7: a closed form.
    """
    rng = np.random.default_rng(seed)
    y = np.arange(n_trials) % 2
    source = rng.standard_normal((n_trials, n_times + 3))
    other = rng.standard_normal((n_trials, n_times))
    sign = np.where(y == 1, 0.7, -0.7)[:, None]
    return np.stack([source[:, 3:], sign * source[:, :-3] + np.sqrt(1 - 0.49) * other], axis=1), y


@pytest.mark.parametrize(("order", "lag"), [(1, 1), (1, 7), (2, 1), (4, 5), (10, 10)])
def test_covariances_are_those_of_the_estimator(order, lag):
    X = noise() * 1e-5 + 3e-5  # volts, with an offset
    ours = PhaseSPDNet(3, 2, 160, order=order, lag=lag).covariances(torch.from_numpy(X))
    expected = AugmentedCovariances(order, lag, "cov").fit_transform(standardised(X))
    np.testing.assert_allclose(ours.numpy(), expected, rtol=0, atol=1e-12)


def test_covariances_are_those_of_moabb_and_pyriemann():
    features = pytest.importorskip("moabb.pipelines.features")
    estimation = pytest.importorskip("pyriemann.estimation")
    X = noise()
    stacked = features.AugmentedDataset(order=3, lag=4).transform(standardised(X))
    expected = estimation.Covariances("cov").transform(stacked)
    ours = PhaseSPDNet(3, 2, 160, order=3, lag=4).covariances(torch.from_numpy(X))
    np.testing.assert_allclose(ours.numpy(), expected, rtol=0, atol=1e-12)


def test_reference_standardises_samples_as_published():
    from sklearn.preprocessing import StandardScaler

    X, order, lag = noise(), 3, 4
    length = X.shape[2] - order * lag
    stacked = np.concatenate([X[..., p * lag : p * lag + length] for p in range(order)], axis=1)
    expected = [np.cov(StandardScaler().fit_transform(trial)) for trial in stacked]
    module = PhaseSPDNet(3, 2, 160, order=order, lag=lag, standardise="reference")
    ours = module.covariances(torch.from_numpy(X))
    np.testing.assert_allclose(ours.numpy(), expected, rtol=0, atol=1e-12)
    assert np.linalg.eigvalsh(ours.numpy())[:, 0].max() < 1e-12  # the common signal is gone: singular


def test_forward_equals_the_layers_written_out():
    from pyriemann.geometry.base import logm

    module = PhaseSPDNet(3, 4, 160, order=4, lag=2, n_filters=5)
    X = noise()
    weights = module.to_reference()
    frame = weights["bimap.W"][0]
    filtered = frame.T @ AugmentedCovariances(4, 2, "cov").fit_transform(standardised(X)) @ frame
    values, vectors = np.linalg.eigh(filtered)
    logs = logm((vectors * np.maximum(values, 1e-4)[:, None]) @ vectors.swapaxes(1, 2))
    rows, columns = np.triu_indices(5, 1)
    vector = np.concatenate([np.diagonal(logs, axis1=1, axis2=2), np.sqrt(2) * logs[:, rows, columns]], axis=1)
    expected = vector @ weights["classifier.0.weight"].T + weights["classifier.0.bias"]
    ours = module(torch.from_numpy(X)).detach().numpy()
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-10)


def test_gradient_reaches_the_signals():
    module = PhaseSPDNet(2, 2, 24, order=2, lag=2)
    X = torch.from_numpy(noise(2, 2, 24)).requires_grad_()
    assert torch.autograd.gradcheck(module, (X,))
    flat = torch.zeros(1, 2, 24, dtype=torch.float64, requires_grad=True)  # constant channels, equal eigenvalues
    module(flat).sum().backward()
    assert torch.isfinite(flat.grad).all()


def test_unit_and_offset_do_not_matter():
    module = PhaseSPDNet(3, 2, 160)
    X = torch.from_numpy(noise())
    torch.testing.assert_close(module(X * 1e-6 + 1e-5), module(X), rtol=0, atol=1e-9)
    assert module(X.float()).dtype == torch.float64  # computed so, and not rounded before the loss


def test_floor_goes_with_the_unit_where_trials_are_not_standardised():
    from pyriemann.geometry.base import logm

    torch.manual_seed(0)
    module = PhaseSPDNet(3, 2, 160, order=2, lag=3, standardise=None)
    assert not module.unit_free
    assert PhaseSPDNet(3, 2, 160, standardise="reference").unit_free
    X = noise() * np.arange(1, 7)[:, None, None] * 1e-5  # volts, each trial of another variance
    logits = module(torch.from_numpy(X)).detach().numpy()
    frame = module.bimap.weight.detach().numpy()
    covariances = AugmentedCovariances(2, 3, "cov").fit_transform(X)
    logs = logm(frame.T @ covariances @ frame)
    rows, columns = np.triu_indices(3, 1)
    vectors = np.concatenate([np.diagonal(logs, axis1=1, axis2=2), np.sqrt(2) * logs[:, rows, columns]], axis=1)
    weight, bias = (p.detach().double().numpy() for p in (module.classifier.weight, module.classifier.bias))
    np.testing.assert_allclose(logits, vectors @ weight.T + bias, rtol=0, atol=1e-9)
    # what is singular is raised in any unit to the same share of the trial's variance
    X[:, 2] = X[:, 0]
    volts, microvolts = (module(torch.from_numpy(X * unit)).detach().numpy() for unit in (1.0, 1e6))
    expected = np.broadcast_to(np.log(1e12) * weight[:, :3].sum(axis=1), volts.shape)
    np.testing.assert_allclose(microvolts - volts, expected, rtol=0, atol=1e-6)
    assert torch.isfinite(module(torch.zeros(2, 3, 160))).all()


@pytest.mark.parametrize("fault", ["constant", "average reference", "copied", "short"])
def test_singular_covariances_stay_finite(fault):
    X = noise(n_times=30 if fault == "short" else 160)
    if fault == "constant":
        X[:, 1] = 0.1
    elif fault == "average reference":
        X -= X.mean(axis=1, keepdims=True)
    elif fault == "copied":
        X[:, 1] = X[:, 0]
    module = PhaseSPDNet(3, 2, X.shape[2], order=7, lag=3, n_filters=21)  # 21 stacked channels, 9 samples when short
    signals = torch.from_numpy(X).requires_grad_()
    logits = module(signals)
    logits.square().sum().backward()
    assert torch.isfinite(logits).all()
    assert torch.isfinite(signals.grad).all()
    assert all(torch.isfinite(parameter.grad).all() for parameter in module.parameters())


def test_published_weights_go_in_and_out():
    rng = np.random.default_rng(0)
    weights = {
        "bimap.W": np.linalg.qr(rng.standard_normal((9, 4)))[0][None],
        "classifier.0.weight": rng.standard_normal((2, 10)),
        "classifier.0.bias": rng.standard_normal(2),
        "spdbnorm.running_mean": np.eye(4)[None],  # built and never called by the published code
    }
    module = PhaseSPDNet.from_reference(weights, n_chans=3, n_times=160, order=3, lag=2)
    again = module.to_reference()
    assert module.standardise == "reference"
    for name, value in again.items():
        np.testing.assert_allclose(value, weights[name], rtol=0, atol=1e-12)
    with pytest.raises(InputError, match=r"without classifier\.0\.bias"):
        PhaseSPDNet.from_reference({k: v for k, v in weights.items() if "bias" not in k}, n_chans=3, n_times=160)
    with pytest.raises(InputError, match="check order, n_chans and picks"):
        PhaseSPDNet.from_reference(weights, n_chans=3, n_times=160, order=2, lag=2)
    with pytest.raises(InputError, match="expected orthonormal columns"):
        PhaseSPDNet.from_reference({**weights, "bimap.W": 2 * weights["bimap.W"]}, n_chans=3, n_times=160, order=3)


def test_module_pickles_and_its_state_goes_over():
    module = PhaseSPDNet(3, 2, 160)
    X = torch.from_numpy(noise())
    assert torch.equal(pickle.loads(pickle.dumps(module))(X), module(X))
    other = PhaseSPDNet(3, 2, 160)
    other.load_state_dict(module.state_dict())
    assert torch.equal(other(X), module(X))


def test_picks_by_name_and_position():
    X = torch.from_numpy(noise(n_chans=5))
    chs_info = [{"ch_name": name} for name in ("Fz", "C3..", "CZ", "C4", "Pz")]
    torch.manual_seed(0)
    by_name = PhaseSPDNet(n_outputs=2, n_times=160, chs_info=chs_info, picks=("C4", "C3", "Cz"))
    torch.manual_seed(0)
    cut = PhaseSPDNet(3, 2, 160)
    torch.testing.assert_close(by_name(X), cut(X[:, [3, 1, 2]]))
    assert find_picks([4, 0], 5, None) == [4, 0]
    assert find_picks(None, 3, None) == [0, 1, 2]
    with pytest.raises(UsageError, match="need the names of the channels"):
        find_picks(("C3",), 5, None)
    with pytest.raises(ChannelError, match="Oz"):
        find_picks(("Oz",), 2, ["C3", "C4"])
    for wrong in ([], [True], [1.5], ["C3", 1]):
        with pytest.raises(UsageError, match="picks must be names or positions"):
            find_picks(wrong, 5, ["C3", "C4"])
    for wrong in ([0, 0], [-1], [5]):
        with pytest.raises(ChannelError, match="different positions from 0 to 4"):
            find_picks(wrong, 5, None)


def test_wrong_options_and_short_trials_are_refused():
    with pytest.raises(InputError, match="order 10 x lag 20 is too long for trials of 160 samples"):
        PhaseSPDNet(3, 2, 160, order=10, lag=20)
    with pytest.raises(InputError, match="leaves 1 sample of 21"):
        PhaseSPDNet(3, 2, 21, order=4, lag=5)
    shortest = PhaseSPDNet.minimum_n_times(order=4, lag=5)
    PhaseSPDNet(3, 2, shortest, order=4, lag=5)(torch.zeros(2, 3, shortest))
    with pytest.raises(UsageError, match="order must be a whole number"):
        PhaseSPDNet(3, 2, 160, order=0)
    with pytest.raises(UsageError, match="standardise must be one of"):
        PhaseSPDNet(3, 2, 160, standardise="time")
    with pytest.raises(UsageError, match="n_filters must be a share or lie between 1 and 12"):
        PhaseSPDNet(3, 2, 160, n_filters=13)
    with pytest.raises(UsageError, match="floor must be a number above 0"):
        PhaseSPDNet(3, 2, 160, floor=0)
    with pytest.raises(UsageError, match="n_times"):
        PhaseSPDNet(3, 2)
    with pytest.raises(InputError, match=r"expected signals of shape \(batch, 3, n_times\)"):
        PhaseSPDNet(3, 2, 160)(torch.zeros(2, 4, 160))


def fitted(X, y, **options):
    options = {"order": 2, "lag": 3, "select": None, "max_epochs": 60, "random_state": 0, "device": "cpu", **options}
    return PhaseSPDNetClassifier(**options).fit(X, y)


def test_classes_that_differ_in_lagged_structure_alone():
    X, y = lagged_classes()
    unseen, truth = lagged_classes(400, seed=1)
    plain = fitted(X, y, order=1).score(unseen, truth)
    lagged = fitted(X, y).score(unseen, truth)
    wrong_lag = fitted(X, y, lag=5).score(unseen, truth)
    assert lagged == 1.0
    # chance of 400 trials: 0.5, standard deviation 0.025
    assert abs(plain - 0.5) < 0.1
    assert abs(wrong_lag - 0.5) < 0.1
    assert PhaseSPDNetClassifier(max_epochs=60, random_state=0).fit(X, y).score(unseen, truth) > 0.95


@pytest.mark.parametrize("optimizer", ["Adam", "AdamW", "SGD"])
def test_frame_is_orthonormal_after_training_and_was_moved(optimizer):
    X, y = lagged_classes(60)
    net = fitted(X, y, optimizer=optimizer, validation=None, options={"ema": 0.9, "weight_decay": 0.01})
    frame = net.net_.module_.bimap.weight.detach().numpy()
    assert np.abs(frame.T @ frame - np.eye(2)).max() < 1e-12
    assert np.linalg.norm(net.net_.module_.bimap.skew.detach().numpy()) > 1e-3
    assert net.net_.history_[-1]["train_loss"] < net.net_.history_[0]["train_loss"]


def test_same_seed_same_bits():
    X, y = lagged_classes(40)
    before = torch.random.get_rng_state()
    one, two, other = (fitted(X, y, max_epochs=5, random_state=seed).predict_proba(X) for seed in (0, 0, 1))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_embedding_is_read_off_the_picked_training_channels():
    X, y = lagged_classes(30)
    X = np.concatenate([np.random.default_rng(5).standard_normal(X[:, :1].shape), X], axis=1)
    names = ["Fz", "C3", "C4"]
    options = {"select_options": {"max_order": 4, "max_lag": 5}, "max_epochs": 2, "ch_names": names}
    net = fitted(X, y, select="ami_cao", picks=("C4", "C3"), **options)
    expected = select_embedding(X[:, [2, 1]].astype(np.float32), "ami_cao", max_order=4, max_lag=5)
    assert (net.order_, net.lag_, net.picks_) == (expected.order, expected.lag, [2, 1])
    assert (net.net_.module_.order, net.net_.module_.lag) == (expected.order, expected.lag)
    changed = X.copy()
    changed[:, 0] *= 7  # what is not picked makes no difference
    assert np.array_equal(net.predict_proba(changed), net.predict_proba(X))


def test_epochs_bring_their_names():
    mne = pytest.importorskip("mne")
    X, y = lagged_classes(20)
    info = mne.create_info(["C3", "C4"], 128.0, "eeg")
    epochs = mne.EpochsArray(X * 1e-6, info, verbose="error")
    net = fitted(epochs, y, picks=("C4",), max_epochs=2)
    assert net.picks_ == [1]
    assert net.predict(epochs).shape == (20,)
    with pytest.raises(UsageError, match="need the names of the channels"):
        fitted(X, y, picks=("C4",))


def test_stored_network_answers_alike(tmp_path):
    from neurosig.core.persistence import load_pipeline, save_pipeline
    from neurosig.models import NetClassifier

    X, y = lagged_classes(30)
    net = fitted(X, y, max_epochs=5)
    expected = net.predict_proba(X)
    assert np.array_equal(pickle.loads(pickle.dumps(net)).predict_proba(X), expected)
    net.net_.save_pretrained(tmp_path / "net")
    assert np.array_equal(NetClassifier.from_pretrained(tmp_path / "net").predict_proba(X), expected)
    save_pipeline(net, tmp_path / "pipeline")
    loaded = load_pipeline(tmp_path / "pipeline")
    assert np.array_equal(getattr(loaded, "pipeline", loaded).predict_proba(X), expected)


def test_estimator_refuses_what_does_not_fit():
    X, y = lagged_classes(20, n_times=64)
    with pytest.raises(InputError, match="order 10 x lag 10 is too long for trials of 64 samples"):
        fitted(X, y, order=10, lag=10)
    with pytest.raises(UsageError, match="options set lr"):
        fitted(X, y, options={"lr": 1.0})
    with pytest.raises(UsageError, match="options must be parameters of NetClassifier, got rate"):
        fitted(X, y, options={"rate": 1.0})
    with pytest.raises(UsageError, match="method must be one of"):
        fitted(X, y, select="search")
    assert clone(PhaseSPDNetClassifier(picks=("C3",), options={"ema": 0.9})).get_params()["picks"] == ("C3",)
