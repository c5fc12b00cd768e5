"""The EEGNet family beside its published code, closed forms and braindecode."""

import io
import json
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from neurosig.core.compat import import_braindecode
from neurosig.core.errors import InputError, UsageError
from neurosig.models import DeepConvNet, EEGNet, EEGNetFusion, MIEEGNet, ShallowConvNet

braindecode = import_braindecode()
from braindecode.models import Deep4Net, ShallowFBCSPNet  # noqa: E402
from braindecode.models import EEGNet as BraindecodeEEGNet  # noqa: E402

ALL = (EEGNet, ShallowConvNet, DeepConvNet, EEGNetFusion, MIEEGNet)
SIGNAL = {"n_chans": 6, "n_outputs": 3, "n_times": 460, "sfreq": 100.0}
GOLDEN = {
    "kollod_eegnet": (EEGNet, {"variant": "comparison"}),
    "kollod_shallowconvnet": (ShallowConvNet, {"variant": "comparison"}),
    "kollod_deepconvnet": (DeepConvNet, {"variant": "comparison"}),
    "kollod_eegnetfusion": (EEGNetFusion, {}),
    "kollod_mi_eegnet": (MIEEGNet, {}),
    "arl_eegnet": (EEGNet, {}),
    "arl_shallow": (ShallowConvNet, {}),
    "arl_deep": (DeepConvNet, {}),
    "roots_eegnet_fusion": (EEGNetFusion, {}),
    "braindecode_eegnet": (EEGNet, {}),
    "braindecode_eegnet_maxnorm": (EEGNet, {}),
    "braindecode_shallow": (ShallowConvNet, {}),
    "braindecode_deep4": (DeepConvNet, {}),
}
CASES = [
    f"{name}_{letter}" for name in GOLDEN for letter in "ab" if not (name.startswith("braindecode") and letter == "b")
]


def _build(cls, **options):
    torch.manual_seed(0)
    module = cls(**{**SIGNAL, **options})
    with torch.no_grad():  # statistics and affine maps of a trained network, not those of a new one
        for layer in module.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_mean.normal_(0, 0.3)
                layer.running_var.uniform_(0.5, 2)
                layer.weight.uniform_(0.5, 1.5)
                layer.bias.normal_(0, 0.3)
    return module


def _windows(n=5, n_chans=6, n_times=460, seed=0):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.standard_normal((n, n_chans, n_times)).astype("float32"))


def _logits(module, x):
    with torch.no_grad():
        return module.eval()(x).numpy()


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_published_networks(golden_dir, case, fused):
    cls, config = GOLDEN[case.rsplit("_", 1)[0]]
    layout = "braindecode" if case.startswith("braindecode") else "keras"
    with np.load(golden_dir / "eegnet_family" / f"{case}.npz") as archive:
        stored = {name: archive[name] for name in archive.files}
    x = torch.from_numpy(stored["input"])
    config = {**config, "n_times": x.shape[-1], "sfreq": 100.0, "fused": fused}
    module = cls.from_reference(stored, layout=layout, **config)
    assert np.abs(_logits(module, x) - stored["logits"]).max() < 1e-5
    if "output_softmax" in stored:
        probabilities = torch.from_numpy(_logits(module, x)).softmax(1).numpy()
        assert np.abs(probabilities - stored["output_softmax"]).max() < 1e-5
    n_parameters = sum(parameter.numel() for parameter in module.parameters())
    assert n_parameters == int(stored["n_params" if layout == "braindecode" else "n_params_trainable"])

    back = module.to_reference(layout=layout)
    published = [stored[f"w{index:03d}"] for index in range(len(stored["weight_names"]))]
    kept = [array for name, array in back.items() if not name.endswith("num_batches_tracked")]
    assert sorted(array.size for array in kept) == sorted(array.size for array in published)
    assert np.isclose(sum(array.astype(float).sum() for array in kept), sum(a.astype(float).sum() for a in published))
    again = cls.from_reference(back, layout=layout, **config)
    assert np.array_equal(_logits(again, x), _logits(module, x))


def test_separable_kernels_of_the_comparison(golden_dir):
    """Its Fusion filters along the collapsed space axis; the default filters along time, and says something else."""
    with np.load(golden_dir / "eegnet_family" / "kollod_eegnetfusion_a.npz") as archive:
        stored = {name: archive[name] for name in archive.files}
    module = EEGNetFusion.from_reference(stored, n_times=200)
    assert module.branches[2].conv_separable_depth.kernel_size == (32, 1)
    repaired = EEGNetFusion.from_reference(
        {
            name: array.swapaxes(0, 1) if "depthwise_kernel" in name else array
            for name, array in module.to_reference().items()
        },
        n_times=200,
    )
    assert repaired.branches[2].conv_separable_depth.kernel_size == (1, 32)
    x = torch.from_numpy(stored["input"])
    assert np.abs(_logits(repaired, x) - stored["logits"]).max() > 1e-3


@pytest.mark.parametrize("cls", ALL)
def test_weights_go_to_keras_and_back(cls):
    module, x = _build(cls), _windows()
    for layout in ("keras", "keras_time_first"):
        weights = {name: torch.from_numpy(array) for name, array in module.to_reference(layout=layout).items()}
        options = {"variant": "original"} if cls is ShallowConvNet else {}
        if cls is ShallowConvNet:
            options.update(pool_time_length=75, pool_time_stride=15)
        if cls is DeepConvNet:
            options.update(variant="original")
        again = cls.from_reference(weights, n_times=460, sfreq=100.0, **options)
        assert np.array_equal(_logits(again, x), _logits(module, x))


def test_weights_of_another_network_are_refused():
    weights = _build(EEGNet).to_reference()
    for cls in (ShallowConvNet, DeepConvNet, MIEEGNet):
        with pytest.raises(InputError, match="not the weights of"):
            cls.from_reference(weights, n_times=460)
    lacking = {name: array for name, array in weights.items() if not name.startswith("batch_normalization_2/")}
    with pytest.raises(InputError, match="another architecture"):
        EEGNet.from_reference(lacking, n_times=460)
    with pytest.raises(InputError, match="does not fit"):
        EEGNet.from_reference(weights, n_times=300)
    with pytest.raises(UsageError, match="layout"):
        EEGNet.from_reference(weights, layout="caffe")
    with pytest.raises(UsageError, match="braindecode has no"):
        _build(MIEEGNet).to_reference(layout="braindecode")


def test_parameter_counts():
    module = EEGNet(8, 4, 200, variant="comparison", sfreq=100)
    assert sum(parameter.numel() for parameter in module.parameters()) == 1508
    assert module.kernel_length == 50
    shallow = ShallowConvNet(22, 4, 1001)
    left = (1001 - 24 - 75) // 15 + 1
    assert sum(p.numel() for p in shallow.parameters()) == 40 * 26 + 40 * 40 * 22 + 80 + 4 * (40 * left + 1)


@pytest.mark.parametrize(
    ("ours", "theirs", "options"),
    [
        (EEGNet, BraindecodeEEGNet, {"variant": "braindecode"}),
        (ShallowConvNet, ShallowFBCSPNet, {}),
        (DeepConvNet, Deep4Net, {}),
    ],
)
def test_braindecodes_class_with_its_defaults(ours, theirs, options):
    """The same start weights, the same states, the same outputs and the same three steps of training, dropout too."""
    torch.manual_seed(1)
    module = ours(**SIGNAL, **options)
    torch.manual_seed(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = theirs(**SIGNAL)
    assert isinstance(module, theirs)
    assert module.state_dict().keys() == peer.state_dict().keys()
    x, y = _windows(16), torch.arange(16) % 3
    losses = []
    for network in (module, peer):
        optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
        torch.manual_seed(2)
        found = []
        for _ in range(3):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(network.train()(x), y)
            loss.backward()
            optimizer.step()
            found.append(loss.item())
        losses.append(found)
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)
    np.testing.assert_allclose(_logits(module, x), _logits(peer, x), atol=1e-4)
    peer.load_state_dict(module.state_dict())
    np.testing.assert_allclose(_logits(module, x), _logits(peer, x), atol=1e-5)


@pytest.mark.parametrize(
    ("cls", "options"),
    [
        (EEGNet, {}),
        (EEGNet, {"kernel_length": 33, "F1": 3, "D": 3, "F2": 5, "padding": "symmetric"}),
        (EEGNet, {"kernel_length": 64, "padding": "symmetric", "n_times": 50}),
        (EEGNet, {"kernel_length": 131, "n_times": 40}),
        (EEGNet, {"max_norm": "forward", "n_chans": 1}),
        (EEGNetFusion, {"n_times": 90, "F1": (2, 3, 4)}),
        (MIEEGNet, {"F1": 4, "F2": 8}),
        (ShallowConvNet, {"n_filters_time": 5}),
        (ShallowConvNet, {"variant": "comparison", "n_chans": 1}),
        (DeepConvNet, {"variant": "arl"}),
    ],
)
def test_cheap_order_is_the_plain_one(cls, options):
    """In double precision: outputs, every gradient, running statistics, over three steps of training with dropout."""
    x = _windows(6, options.get("n_chans", 6), options.get("n_times", 460)).double() + 3.0
    y = torch.arange(6) % 3
    modules = [_build(cls, fused=fused, **options).double() for fused in (True, False)]
    np.testing.assert_allclose(_logits(modules[0], x), _logits(modules[1], x), atol=1e-11)
    for step in range(3):
        for module in modules:
            torch.manual_seed(step)
            module.zero_grad()
            nn.functional.cross_entropy(module.train()(x), y).backward()
        for (name, ours), theirs in zip(modules[0].named_parameters(), modules[1].parameters(), strict=True):
            np.testing.assert_allclose(ours.grad, theirs.grad, atol=1e-9, err_msg=name)
        for (name, ours), theirs in zip(modules[0].named_buffers(), modules[1].buffers(), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12, err_msg=name)
        with torch.no_grad():
            for module in modules:
                for parameter in module.parameters():
                    parameter -= 0.05 * parameter.grad
                module.project_()
    np.testing.assert_allclose(_logits(modules[0], x), _logits(modules[1], x), atol=1e-9)


@pytest.mark.parametrize("cls", ALL)
def test_single_precision_is_near(cls):
    """On signals with a large common offset, as amplifiers give them."""
    options = {"n_times": 460, **({"F1": 4, "F2": 8} if cls is MIEEGNet else {})}
    x = _windows(16) + 20 * torch.randn(16, 6, 1, generator=torch.Generator().manual_seed(0))
    modules = [_build(cls, fused=fused, **options) for fused in (True, False)]
    outputs = []
    for module in modules:
        torch.manual_seed(0)
        outputs.append(module.train()(x).detach())
    assert (outputs[0] - outputs[1]).abs().max() < 1e-5 * max(1, outputs[1].abs().max())
    for ours, theirs in zip(modules[0].buffers(), modules[1].buffers(), strict=True):
        assert (ours - theirs).abs().max() <= 1e-5 * max(1, theirs.abs().max())
    new, old = (_logits(module, x) for module in modules)
    assert np.abs(new - old).max() < 1e-5 * max(1, np.abs(old).max())


@pytest.mark.parametrize("cls", ALL)
def test_gradient_reaches_the_windows(cls):
    """In eval mode through the cheap order, in training through the plain one."""
    modules = [_build(cls, fused=fused, drop_prob=0.0).double() for fused in (True, False)]
    for training in (False, True):
        grads = []
        for module in modules:
            x = _windows(4).double().requires_grad_()
            module.train(training)(x)[:, 0].sum().backward()
            grads.append(x.grad)
        np.testing.assert_allclose(grads[0], grads[1], atol=1e-10)


@pytest.mark.parametrize("cls", ALL)
def test_max_norms_hold_after_projection(cls):
    """In Keras' axes: over all but the last axis of a convolution, over the first of depthwise and dense kernels."""
    module = _build(cls, **({"variant": "arl"} if cls in (ShallowConvNet, DeepConvNet) else {}))
    with torch.no_grad():
        for parameter in module.parameters():
            parameter *= 10
    before = module.to_reference()
    module.project_()
    after = module.to_reference()
    convnet = cls in (ShallowConvNet, DeepConvNet)
    for name, kernel in after.items():
        axes, limit = None, None
        if name.startswith("dense") and name.endswith("kernel"):
            axes, limit = 0, 0.5 if convnet else 0.25
        elif name.startswith("depthwise"):
            axes, limit = 0, 1.0
        elif name.startswith("conv2d") and name.endswith("kernel") and convnet:
            axes, limit = (0, 1, 2), 2.0
        if limit is None:
            assert np.array_equal(kernel, before[name])
            continue
        norms = np.sqrt((kernel.astype(float) ** 2).sum(axes))
        assert norms.max() <= limit * (1 + 1e-6)
        wanted = before[name] * np.minimum(1, limit / np.sqrt((before[name].astype(float) ** 2).sum(axes)))
        np.testing.assert_allclose(kernel, wanted, rtol=1e-5)
    state = {name: value.clone() for name, value in module.state_dict().items()}
    module.project_()  # within the bounds it changes nothing but the last bits
    for name, value in module.state_dict().items():
        torch.testing.assert_close(value, state[name], rtol=2e-6, atol=0)


def test_max_norm_in_the_forward_pass_and_none():
    x = _windows()
    modules = {how: _build(EEGNet, max_norm=how) for how in ("projection", "forward", "off")}
    for module in modules.values():
        weight = getattr(module.conv_spatial, "parametrizations", None)
        with torch.no_grad():
            (weight.weight.original if weight else module.conv_spatial.weight).mul_(10)
        module.project_()
    assert modules["off"].conv_spatial.weight.norm(dim=2).min() > 1.5
    assert modules["forward"].conv_spatial.weight.norm(dim=2).max() <= 1 + 1e-6
    np.testing.assert_allclose(_logits(modules["forward"], x), _logits(modules["projection"], x), atol=1e-6)
    with pytest.raises(UsageError, match="max_norm"):
        EEGNet(**SIGNAL, max_norm="sometimes")


@pytest.mark.parametrize(
    ("cls", "options", "minimum"),
    [
        (EEGNet, {}, 32),
        (EEGNet, {"pool1_kernel_size": 6, "pool2_kernel_size": 12}, 72),
        (ShallowConvNet, {}, 99),
        (ShallowConvNet, {"variant": "arl"}, 47),
        (DeepConvNet, {}, 441),
        (DeepConvNet, {"variant": "arl"}, 76),
        (EEGNetFusion, {}, 32),
        (MIEEGNet, {}, 8),
    ],
)
def test_shortest_window(cls, options, minimum):
    assert cls.minimum_n_times(**options) == minimum
    signal = {"n_chans": 3, "n_outputs": 2, "sfreq": 100.0, **options}
    module = cls(n_times=minimum, **signal)
    assert module.min_n_times == minimum
    assert _logits(module, _windows(2, 3, minimum)).shape == (2, 2)
    with pytest.raises(InputError, match=f"at least {minimum} samples here; got {minimum - 1}"):
        cls(n_times=minimum - 1, **signal)
    with pytest.raises(InputError, match="built for windows of shape"):
        module(_windows(2, 3, minimum - 1))
    with pytest.raises(InputError, match="built for windows of shape"):
        module(_windows(2, 4, minimum))


def test_lengths_in_seconds_and_options():
    assert EEGNet(**SIGNAL, kernel_length=0.32).kernel_length == 32
    shallow = ShallowConvNet(**SIGNAL, filter_time_length=0.1, pool_time_length=0.3, pool_time_stride=0.06)
    assert (shallow.filter_time_length, shallow.pool_time_length, shallow.pool_time_stride) == (10, 30, 6)
    assert DeepConvNet(**SIGNAL, filter_length=0.05).filter_time_length == 5
    assert MIEEGNet(**SIGNAL).conv_temporal.kernel_size == (1, 50)
    fusion = EEGNetFusion(**SIGNAL, variant="comparison")
    assert [branch.conv_temporal.kernel_size[1] for branch in fusion.branches] == [25, 50, 100]
    seconds = EEGNet(n_chans=3, n_outputs=2, input_window_seconds=2.0, sfreq=64.0)
    assert seconds.n_times == 128
    with pytest.raises(UsageError, match="needs sfreq"):
        EEGNet(3, 2, 200, kernel_length=0.5)
    with pytest.raises(UsageError, match="n_outputs"):
        EEGNet(n_chans=3, n_times=200)
    with pytest.raises(UsageError, match="variants"):
        ShallowConvNet(3, 2, 200, variant="mine")
    with pytest.raises(UsageError, match="padding is one of"):
        EEGNet(3, 2, 200, padding="same")
    with pytest.raises(UsageError, match="separable"):
        EEGNetFusion(3, 2, 200, separable="space")
    with pytest.raises(UsageError, match="one entry for each branch"):
        EEGNetFusion(3, 2, 200, F1=(8, 16))


@pytest.mark.parametrize("cls", ALL)
def test_configuration_and_state_rebuild_the_network(cls):
    module, x = _build(cls), _windows()
    config = json.loads(json.dumps(module.get_config()))
    again = cls.from_config(config)
    buffer = io.BytesIO()
    torch.save(module.state_dict(), buffer)
    buffer.seek(0)
    again.load_state_dict(torch.load(buffer, weights_only=True))
    assert np.array_equal(_logits(again, x), _logits(module, x))
    head = list(module.head_parameters())
    assert head and {id(p) for p in head} == {id(p) for p in module.final_layer.parameters()}


@pytest.mark.parametrize("cls", ALL)
def test_exported_program_is_the_network(cls):
    module = _build(cls).eval()
    program = torch.export.export(module, (_windows(3),), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    x = _windows(7, seed=1)
    with torch.no_grad():
        np.testing.assert_allclose(program.module()(x).numpy(), _logits(module, x), atol=1e-6)


@pytest.mark.parametrize("cls", ALL)
def test_in_braindecodes_classifier(cls):
    """A sine in one of two channels is found."""
    from braindecode import EEGClassifier

    rng = np.random.default_rng(0)
    y = np.arange(48) % 2
    X = 0.5 * rng.standard_normal((48, 2, 448)).astype("float32")
    wave = np.sin(2 * np.pi * 10 * np.arange(448) / 100).astype("float32")
    X[np.arange(48), y] += 2 * wave
    torch.manual_seed(0)
    options = {"sfreq": 100.0, "drop_prob": 0.1, **({"F1": 4, "F2": 16} if cls is MIEEGNet else {})}
    if cls not in (ShallowConvNet, DeepConvNet):
        options["batch_norm_momentum"] = 0.2  # 32 steps are too few for Keras' slow statistics
    net = EEGClassifier(
        cls,
        **{f"module__{name}": value for name, value in options.items()},
        max_epochs=8,
        batch_size=8,
        lr=0.002,
        optimizer=torch.optim.Adam,
        train_split=None,
        classes=[0, 1],
        verbose=0,
    )
    net.fit(X[:32], y[:32])
    assert net.module_.n_chans == 2
    assert net.score(X[32:], y[32:]) >= 0.9


def test_keras_weights_of_a_network_bound_in_the_forward_pass_are_those_it_uses():
    net = EEGNet(n_chans=4, n_outputs=2, n_times=128, max_norm="forward", padding="keras").eval()
    with torch.no_grad():
        net.conv_spatial.parametrizations.weight.original.mul_(50)
    told = net.to_reference(layout="keras")
    used = net.conv_spatial.weight.detach().numpy()
    np.testing.assert_allclose(np.linalg.norm(told["depthwise_conv2d/kernel"]), np.linalg.norm(used), rtol=1e-6)


@pytest.mark.parametrize("option", [{"D": 0}, {"F1": -1}, {"F2": 0}, {"kernel_length": "64"}, {"kernel_length": True}])
def test_options_of_a_wrong_kind_are_refused(option):
    with pytest.raises(UsageError, match=next(iter(option))):
        EEGNet(n_chans=4, n_outputs=2, n_times=128, sfreq=128.0, **option)
