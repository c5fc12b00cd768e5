"""Parameters of network estimators: shared signatures and documentation, options by name, what is refused."""

import contextlib
import inspect
import warnings

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from neurosig.core.errors import UnitWarning, UsageError
from neurosig.core.inherited_docs import inherits_documentation
from neurosig.core.signals import SignalSpec
from neurosig.evaluation.pipelines import read_pipeline_specs
from neurosig.models import NetClassifier, NetRegressor, PhaseSPDNet, PhaseSPDNetClassifier
from neurosig.models.net_catalogue import list_networks
from neurosig.models.net_module import head_of
from neurosig.models.net_parameters import NetParameters
from neurosig.training.device import seeded
from neurosig.training.trial_data import check_amplitude, some_sd, validation_split

pytestmark = pytest.mark.filterwarnings("ignore::neurosig.core.compat.CompatibilityWarning")

RNG = np.random.default_rng(1)
Y = np.tile(["feet", "hand"], 20)
X = RNG.standard_normal((40, 3, 32)) * 1e-5
X[Y == "hand", 0] += 1e-5
QUICK = {"max_epochs": 2, "random_state": 0, "device": "cpu"}


def linear(**options):
    return NetClassifier("LinearNet", **{**QUICK, **options})


class TinyNet(torch.nn.Module):
    """A hidden layer of a width to be searched."""

    def __init__(self, n_chans=None, n_outputs=None, n_times=None, width=3, slope=0.1):
        super().__init__()
        self.first = torch.nn.Linear(n_chans * n_times, width)
        self.act = torch.nn.LeakyReLU(slope)
        self.last = torch.nn.Linear(width, n_outputs)

    def forward(self, x):
        return self.last(self.act(self.first(x.flatten(1))))


def test_both_estimators_have_the_shared_parameters_with_the_same_defaults():
    shared = inspect.signature(NetParameters).parameters
    for cls, own in ((NetClassifier, {"class_weight", "vote"}), (NetRegressor, set())):
        parameters = inspect.signature(cls).parameters
        assert [name for name in parameters if name not in own] == list(shared)
        assert {name: p.default for name, p in parameters.items() if name not in own} == {
            name: p.default for name, p in shared.items()
        }
        text = inspect.getdoc(cls)
        assert all(text.count(f"\n{name} : ") == 1 for name in parameters if name not in ("window", "window_step"))


def test_documentation_is_merged_in_the_order_of_the_signature():
    class Base:
        """Base.

        Parameters
        ----------
        a : int
            Of the base,
            in two lines.
        b, c : float
            Two at once.

        Attributes
        ----------
        seen_ : int
            What was seen.
        """

        def __init__(self, a, b, c):
            pass

    @inherits_documentation
    class Own(Base):
        """Own.

        Parameters
        ----------
        d : str
            New.
        a : str
            Another thing here.

        Attributes
        ----------
        more_ : int
            Its own.

        Notes
        -----
        The end.
        """

        def __init__(self, a, d, b, c):
            pass

    assert Own.__doc__.splitlines() == [
        "Own.", "", "Parameters", "----------", "a : str", "    Another thing here.", "d : str", "    New.",
        "b, c : float", "    Two at once.", "", "Attributes", "----------", "more_ : int", "    Its own.",
        "seen_ : int", "    What was seen.", "", "Notes", "-----", "The end.",
    ]  # fmt: skip


def test_options_of_the_network_are_parameters():
    net = NetClassifier(TinyNet, {"width": 2}, **QUICK)
    assert net.get_params()["module__width"] == 2
    assert net.get_params()["module__slope"] == 0.1  # its default
    assert "module__width" not in net.get_params(deep=False)
    given = net.module_params
    assert net.set_params(module__slope=0.3, lr=0.02).module_params == {"width": 2, "slope": 0.3}
    assert given == {"width": 2}  # another estimator may hold the same dictionary
    assert clone(net).get_params()["module__slope"] == 0.3
    assert net.set_params(module_params__width=5).module_params["width"] == 5
    assert net.fit(X, Y).module_.first.out_features == 5
    plain = NetClassifier(TinyNet)
    assert plain.set_params(**plain.get_params()).module_params is None
    with pytest.raises(UsageError, match=r"no option 'widht' in module_params; there are width"):
        net.set_params(module__widht=1)
    with pytest.raises(UsageError, match="module_params must be a dict or None"):
        NetClassifier(TinyNet, module_params=3).set_params(module__width=1)
    with pytest.raises(ValueError, match="Invalid parameter 'maxepochs'"):
        net.set_params(maxepochs=1)
    assert not [name for name in NetClassifier("NoSuchNet").get_params() if name.startswith("module__")]


def test_searches_vary_options_of_the_network():
    pipeline = make_pipeline(NetClassifier(TinyNet, **QUICK))
    search = GridSearchCV(pipeline, {"netclassifier__module__width": [1, 4], "netclassifier__lr": [1e-2]}, cv=2)
    search.fit(X, Y)
    width = search.best_params_["netclassifier__module__width"]
    assert search.best_estimator_[-1].module_.first.out_features == width
    assert pipeline[-1].module_params is None
    inner = PhaseSPDNetClassifier(select=None, options={"ema": 0.9})
    assert inner.get_params()["options__ema"] == 0.9
    assert inner.set_params(options__class_weight="balanced").options == {"ema": 0.9, "class_weight": "balanced"}


def test_pipeline_files_search_options_of_the_network(tmp_path):
    text = """
name: Searched
paradigms: [LeftRightImagery]
pipeline:
  - name: NetClassifier
    from: neurosig.models
    parameters: {{module: EEGNet, module_params: {{D: 1}}, max_epochs: 1}}
param_grid:
  netclassifier__module__{option}: [2, 3]
"""
    for option in ("F1", "F7"):
        (tmp_path / f"{option}.yml").write_text(text.format(option=option))
    (spec,) = read_pipeline_specs(tmp_path / "F1.yml")
    pipeline = spec.build()
    assert pipeline.set_params(netclassifier__module__F1=3)[-1].module_params == {"D": 1, "F1": 3}
    with pytest.raises(Exception, match=r"no parameter 'netclassifier__module__F7' in this pipeline.*module__F1"):
        read_pipeline_specs(tmp_path / "F7.yml")[0].build()


@pytest.mark.parametrize("sfreq", [np.nan, 0, -100.0, np.inf, "250", True, [250.0]])
def test_wrong_sampling_rates_are_refused(sfreq):
    with pytest.raises(UsageError, match="sfreq must be a number of Hz above 0"):
        linear(sfreq=sfreq).fit(X, Y)
    assert linear(sfreq=np.float32(64)).fit(X, Y).sfreq_ == 64


def test_a_text_is_no_list_of_channels():
    with pytest.raises(UsageError, match=r"ch_names must be a list of names.*got the text 'C3C4Cz'"):
        linear(ch_names="C3C4Cz").fit(X, Y)


def test_shares_that_leave_nothing_to_train_on_are_refused():
    with pytest.raises(UsageError, match=r"validation=0.999 of 40 trials leaves too few to train on 2 classes"):
        linear(validation=0.999).fit(X, Y)
    with pytest.raises(UsageError, match=r"validation=0.999 of 40 trials leaves too few to train on; give a smaller"):
        NetRegressor("LinearNet", validation=0.999, **QUICK).fit(X, X[:, 0, 0])
    codes = np.unique(Y, return_inverse=True)[1]
    for share in (0.01, 0.05, 0.2, 0.5, 0.9):
        with warnings.catch_warnings():  # of those that leave nothing, or one class, to validate on
            warnings.simplefilter("ignore")
            train, valid = validation_split(codes, np.arange(40), None, share, classes=True, random_state=0)
        assert valid is None or len(train) + len(valid) == 40
        assert set(codes[train]) == {0, 1}


def test_of_two_groups_one_validates():
    codes, groups = np.tile([0, 1], 30), np.repeat([0, 1], 30)
    train, valid = validation_split(codes, np.arange(60), groups, 0.2, classes=True, random_state=0)
    assert len(valid) == len(train) == 30
    assert not set(groups[train]) & set(groups[valid])
    # a group that alone holds a class is never the one
    one_each = np.repeat([0, 1], 30)
    with pytest.warns(UserWarning, match="2 groups are too few"):
        _, valid = validation_split(one_each, np.arange(60), one_each, 0.2, classes=True, random_state=0)
    assert valid is None


def test_a_validation_part_of_one_class_is_told():
    codes = np.repeat([0, 1], [190, 10])
    with pytest.warns(UserWarning, match="all 2 validation trials are of one class"):
        _, valid = validation_split(codes, np.arange(200), None, 0.01, classes=True, random_state=0)
    assert set(codes[valid]) == {0}
    validation_split(codes, np.arange(200), None, 0.2, classes=True, random_state=0)  # warnings are errors here


def test_units_that_change_between_fit_and_predict_are_told():
    fitted = linear(ch_names=["C3", "Cz", "C4"]).fit(X, Y)
    assert fitted.signal_sd_ == pytest.approx(X[:].std(), rel=0.1)
    for factor, word in ((1e6, "1e+06 times larger"), (1e-6, "1e+06 times smaller")):
        with pytest.warns(UnitWarning, match=word.replace("+", r"\+")):
            fitted.predict(X * factor)
    with pytest.warns(UnitWarning):
        fitted.explain(X[:4] * 1e6)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for quiet in (X * 500, X / 500, np.zeros_like(X), X[:1]):
            fitted.predict(quiet)
        # flat when it was trained: nothing to compare with
        linear(scale=None, validation=None).fit(X * 0, Y).predict(X)
    with pytest.warns(UnitWarning) as told:
        warnings.simplefilter("default")
        for factor in (1e6, 1.1e6, 0.9e6):
            check_amplitude(fitted, X * factor)
    assert len(told) == 1  # Python shows the same words once


def test_a_unit_is_told_from_some_trials():
    many = np.random.default_rng(0).standard_normal((1000, 2, 5)).astype(np.float32)
    assert some_sd(many) == pytest.approx(1, rel=0.1)
    assert some_sd(many, np.array([3])) == pytest.approx(many[3].std(), rel=1e-5)
    assert some_sd(np.full((4, 2, 5), 3.0)) == 0


def test_phase_spdnet_takes_any_unit_without_a_word():
    assert PhaseSPDNet(2, 2, 5, order=1).unit_free
    fitted = PhaseSPDNetClassifier(order=1, select=None, **QUICK).fit(X, Y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_allclose(fitted.predict_proba(X * 1e6), fitted.predict_proba(X), rtol=1e-3)


@pytest.fixture
def source():
    return NetClassifier(TinyNet, **{**QUICK, "max_epochs": 5}).fit(X, Y)


def started(source, y, **options):
    """A network right after it took weights from elsewhere: a step that moves nothing."""
    return NetClassifier(TinyNet, **{**QUICK, "max_epochs": 1, "lr": 1e-30, "pretrained": source, **options}).fit(X, y)


def test_the_head_is_kept_for_the_same_labels_only(source):
    head = {id(parameter) for parameter in head_of(source.module_)}
    names = {name for name, parameter in source.module_.named_parameters() if id(parameter) in head}
    for y, same in ((Y, True), (np.where(Y == "hand", "left", "right"), False), (np.tile([0, 1], 20), False)):
        others = contextlib.nullcontext() if same else pytest.warns(UserWarning, match="the last layer is new")
        with others:
            after = started(source, y).module_.state_dict()
        for name, value in source.module_.state_dict().items():
            assert torch.equal(after[name], value) == (same or name not in names)


def test_of_a_head_of_several_layers_only_what_has_a_row_a_class_is_new():
    class Deep(TinyNet):
        def head_parameters(self):
            return self.parameters()  # both layers are called the head

    first = NetClassifier(Deep, {"width": 5}, **QUICK).fit(X, Y)
    tuned = NetClassifier(Deep, {"width": 5}, **{**QUICK, "max_epochs": 1, "lr": 1e-30}, pretrained=first)
    with pytest.warns(UserWarning, match="the last layer is new"):
        after = tuned.fit(X, np.where(Y == "hand", "left", "right")).module_.state_dict()
    same = {name for name, value in first.module_.state_dict().items() if torch.equal(value, after[name])}
    assert same == {"first.weight", "first.bias"}


def test_a_warm_start_keeps_what_the_weights_go_with():
    net = linear(warm_start=True, lr=1e-30, max_epochs=1, random_state=None).fit(X, Y)
    scale = net.scale_
    assert net.fit(X * 3, Y).scale_ == scale
    assert linear(lr=1e-30, max_epochs=1).fit(X * 3, Y).scale_ == pytest.approx(3 * scale, rel=0.1)
    number = NetRegressor("LinearNet", warm_start=True, **QUICK).fit(X, X[:, 0, 0])
    kept = (number.target_mean_, number.target_sd_)
    number.fit(X, 2 * X[:, 0, 0])
    assert (number.target_mean_, number.target_sd_) == kept
    # another task: nothing of the fit before is taken over
    assert net.fit(X, np.where(Y == "hand", "left", "right")).scale_ != scale


def test_the_scale_of_pretrained_targets_is_kept():
    target = 100 + 1e6 * X[:, 0].mean(axis=1)
    source = NetRegressor("LinearNet", **{**QUICK, "max_epochs": 40, "lr": 0.02}).fit(X, target)
    tuned = NetRegressor("LinearNet", pretrained=source, **{**QUICK, "max_epochs": 1, "lr": 1e-30})
    tuned.fit(X[:20], target[:20] + 3)
    assert (tuned.target_mean_, tuned.target_sd_) == (source.target_mean_, source.target_sd_)
    np.testing.assert_allclose(tuned.predict(X), source.predict(X), rtol=1e-6)  # the same function to begin with
    with pytest.warns(UserWarning, match="lie far from those of the pretrained network"):
        tuned.fit(X[:20], 1e3 * target[:20])


def test_apples_generator_is_seeded_and_put_back(monkeypatch):
    log = []
    monkeypatch.setattr(torch.mps, "get_rng_state", lambda: "before")
    monkeypatch.setattr(torch.mps, "manual_seed", lambda seed: log.append(seed))
    monkeypatch.setattr(torch.mps, "set_rng_state", lambda state: log.append(state))
    with seeded(3, torch.device("mps")) as seed:
        assert log == [seed]
    assert log == [seed, "before"]


def test_networks_are_listed_without_building_them():
    table = list_networks(build=False).set_index("name")
    assert set(table["package"]) == {"neurosig", "braindecode"}
    assert table.loc["EEGNet", "package"] == "neurosig"
    assert table["builds"].isna().all()
    assert table.loc["ShallowFBCSPNet", "summary"]


def test_networks_are_tried_on_signals_of_a_form(monkeypatch):
    from neurosig.models import net_module

    few = {name: net_module.braindecode_models()[name] for name in ("ShallowFBCSPNet", "TCN", "REVE")}
    monkeypatch.setattr(net_module, "braindecode_models", lambda: few)
    info = SignalSpec("eeg", ("C3", "Cz", "C4"), sfreq=100.0, n_times=90)
    table = list_networks(info).set_index("name")
    assert table.loc["EEGNet", "builds"]
    assert table.loc["LinearNet", "n_parameters"] == 2 * (3 * 90 + 1)
    assert not table.loc["ShallowFBCSPNet", "builds"]
    assert "at least 99 samples, got 90" in table.loc["ShallowFBCSPNet", "note"]
    assert "one row of 2 outputs a window" in table.loc["TCN", "note"]
    assert table.loc["REVE", "builds"] is None or np.isnan(table.loc["REVE", "builds"])
    assert "fetches" in table.loc["REVE", "note"]
    assert list_networks(info, n_times=120).set_index("name").loc["ShallowFBCSPNet", "builds"]
    with pytest.raises(UsageError, match="pass n_times"):
        list_networks(info.replace(n_times=None))
