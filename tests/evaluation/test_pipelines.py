import importlib.metadata
import inspect
import re
import shutil
import subprocess
import sys
from pathlib import Path

import moabb.paradigms
import numpy as np
import pytest
import yaml
from moabb.datasets.fake import FakeDataset
from moabb.paradigms import P300, LeftRightImagery
from moabb.paradigms.base import BaseProcessing
from moabb.pipelines.utils import create_pipeline_from_config, parse_pipelines_from_directory
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.model_selection import ParameterGrid

from neurosig.core.errors import ManifestError, UsageError
from neurosig.core.files import resource_dir
from neurosig.evaluation import identity
from neurosig.evaluation.pipelines import PARADIGMS, load_pipelines, read_pipeline_specs

SHIPPED = resource_dir("pipelines")
FILES = sorted(SHIPPED.rglob("*.yml"))

# what MOABB 1.7's own code warns of with today's mne, h5py and matplotlib
MOABB_WARNS = [
    "ignore:Montage name 'standard_1005' is deprecated:FutureWarning",
    "ignore:Creating a dataset without passing data or dtype",
    "ignore:The set_(under|over) function:PendingDeprecationWarning",
]

GOOD = """\
name: good
paradigms: [LeftRightImagery]
pipeline:
  - name: Covariances
    from: pyriemann.estimation
    parameters:
      estimator: oas
  - name: MDM
    from: pyriemann.classification
"""


@pytest.fixture
def write(tmp_path):
    def write(text, name="pipe.yml"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


@pytest.fixture
def copied(tmp_path):
    """The shipped folder copied: MOABB leaves a lock file beside each file that it reads."""
    return shutil.copytree(SHIPPED, tmp_path / "pipelines", ignore=shutil.ignore_patterns("*.lock"))


def plain(parameters):
    """Parameters that can be compared: estimators by their own text."""
    simple = (str, int, float, bool, dict, type(None))
    return {key: value if isinstance(value, simple) else repr(value) for key, value in parameters.items()}


# what is shipped ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_shipped_file_builds_what_moabb_builds(file, copied):
    (spec,) = read_pipeline_specs(file)
    (theirs,) = parse_pipelines_from_directory(str(copied / file.relative_to(SHIPPED)))
    ours = spec.build()
    assert plain(ours.get_params()) == plain(theirs["pipeline"].get_params())
    assert (spec.name, list(spec.paradigms), spec.param_grid) == (
        theirs["name"], theirs["paradigms"], theirs.get("param_grid"))  # fmt: skip
    assert [name for name, _ in ours.steps] == [name for name, _ in theirs["pipeline"].steps]


@pytest.mark.parametrize("spec", read_pipeline_specs(FILES), ids=lambda spec: spec.name)
def test_a_shipped_file_says_what_it_is(spec):
    assert spec.description.endswith(".") and "\n" not in spec.description
    documented = set(re.findall(r"^\| `(\w+)` \|", (SHIPPED / "README.md").read_text(), re.MULTILINE))
    assert spec.group in documented
    assert spec.citations and all(link.startswith("https://doi.org/10.") for link in spec.citations)


def test_the_grid_is_the_published_one_and_runs_only_on_request(copied):
    (spec,) = read_pipeline_specs(groups="grid")
    assert spec.n_candidates == len(ParameterGrid(spec.param_grid)) == 600
    assert spec.file.parent != SHIPPED
    assert all(other.param_grid is None for other in read_pipeline_specs())
    assert spec.name not in load_pipelines(SHIPPED)
    assert list(load_pipelines(names=spec.name)) == [spec.name]
    assert spec.name not in [entry["name"] for entry in parse_pipelines_from_directory(str(copied))]


def test_a_folder_means_what_it_means_to_moabb(copied):
    theirs = {entry["name"] for entry in parse_pipelines_from_directory(str(copied))}
    assert set(load_pipelines(SHIPPED)) == set(load_pipelines(str(SHIPPED))) == set(load_pipelines()) == theirs


def test_paradigm_names_are_moabbs():
    classes = {
        name for name, value in vars(moabb.paradigms).items()
        if inspect.isclass(value) and issubclass(value, BaseProcessing)
    }  # fmt: skip
    public = {name for name in classes if not name.startswith(("Base", "Fake"))}
    assert public == set(PARADIGMS)


def test_groups_names_and_paradigms_select():
    assert set(load_pipelines(groups="baseline")) == {"Chance", "CSP+LDA", "LogVar+LDA"}
    assert {spec.group for spec in read_pipeline_specs(groups=["erp", "ssvep"])} == {"erp", "ssvep"}
    assert list(load_pipelines(names=["TS+LR"])) == ["TS+LR"]
    for paradigm in ("LeftRightImagery", "MotorImagery", "P300", "SSVEP", "FilterBankSSVEP"):
        specs = read_pipeline_specs(paradigm=paradigm)
        assert all(paradigm in spec.paradigms for spec in specs)
        assert "Chance" in {spec.name for spec in specs} and len(specs) > 1
    imagery = {spec.name for spec in read_pipeline_specs(paradigm="imagery")}
    assert imagery >= {"CSP+LDA", "LogVar+LDA", "MDM", "FgMDM", "TS+LR", "TS+SVM", "ACM+TS+SVM"}
    p300 = {spec.name for spec in read_pipeline_specs(paradigm="p300")}
    assert p300 >= {"XdawnCov+TS+SVM", "ERPCov+MDM", "xDAWN+LDA"}
    assert "SSVEP TS+LR" in {spec.name for spec in read_pipeline_specs(paradigm="ssvep")}


def test_every_call_gives_fresh_pipelines():
    one, two = load_pipelines(names="MDM")["MDM"], load_pipelines(names="MDM")["MDM"]
    assert one is not two and one.steps[0][1] is not two.steps[0][1]


@pytest.mark.filterwarnings(*MOABB_WARNS)
@pytest.mark.parametrize("paradigm", [LeftRightImagery(), P300()], ids=["imagery", "p300"])
def test_every_shipped_pipeline_decodes(paradigm):
    kind = "imagery" if isinstance(paradigm, LeftRightImagery) else "p300"
    events = ["left_hand", "right_hand"] if kind == "imagery" else ["Target", "NonTarget"]
    data = FakeDataset(events, n_sessions=1, n_runs=1, n_subjects=1, paradigm=kind, seed=0,
                       channels=("C3", "Cz", "C4", "Pz"), duration=120)  # fmt: skip
    X, y, _ = paradigm.get_data(data, subjects=[1])
    for name, pipeline in load_pipelines(paradigm=type(paradigm).__name__).items():
        fitted = clone(pipeline).fit(X, y)
        assert set(fitted.predict(X)) <= set(y), name


def test_filter_bank_pipeline_takes_four_dimensions():
    rng = np.random.default_rng(0)
    y = np.repeat(["13", "17"], 12)
    X = rng.standard_normal((24, 3, 256, 2))
    X[:12, :, :, 0] *= 2
    X[12:, :, :, 1] *= 2
    pipeline = load_pipelines(names="SSVEP TS+LR")["SSVEP TS+LR"].fit(X[::2], y[::2])
    assert pipeline.score(X[1::2], y[1::2]) == 1.0


def test_chance_pipeline_is_at_chance():
    y = np.array([0, 1, 1, 1])
    pipeline = load_pipelines(names="Chance")["Chance"].fit(np.zeros((4, 2, 8)), y)
    assert_allclose(pipeline.predict_proba(np.ones((3, 2, 8))), [[0.25, 0.75]] * 3)


@pytest.mark.slow
def test_tangent_space_on_recorded_imagery(data_dir):
    """Left and right hand, 12 subjects, leave one run out: the score of the data's own description."""
    import mne
    from sklearn.metrics import roc_auc_score

    from neurosig.evaluation.splits import RunFolds

    folder = data_dir / "eegmmidb" / "epochs"
    files = sorted(folder.glob("*.npz"))
    if not files:
        pytest.skip(f"no trials in {folder}")
    pipelines, scores = load_pipelines(names=["TS+LR", "CSP+LDA"]), {}
    for file in files:
        with np.load(file) as stored:
            X, y, runs, sfreq, tmin = (stored[key] for key in ("X", "y", "run", "sfreq", "tmin"))
        iir = {"order": 4, "ftype": "butter", "output": "sos"}
        X = mne.filter.filter_data(X.astype(float), float(sfreq), 8, 32, method="iir", iir_params=iir, verbose=False)
        first, last = (round((second - float(tmin)) * float(sfreq)) for second in (0.5, 3.5))
        X = X[:, :, first : last + 1]
        for train, test in RunFolds().split(X, y, runs):
            for name, pipeline in pipelines.items():
                fitted = clone(pipeline).fit(X[train], y[train])
                scores.setdefault(name, []).append(roc_auc_score(y[test], fitted.decision_function(X[test])))
    assert np.mean(scores["TS+LR"]) >= 0.72
    assert np.mean(scores["CSP+LDA"]) >= 0.67


# reading ------------------------------------------------------------------------------------------------------------


def test_reading_imports_neither_sklearn_nor_moabb():
    code = (
        "import sys; from neurosig.evaluation.pipelines import read_pipeline_specs as read; "
        "assert [spec.digest for spec in read()]; "
        "print([name for name in ('sklearn', 'moabb', 'numpy', 'mne', 'pyriemann') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_digest_follows_what_is_computed(write, monkeypatch):
    base = read_pipeline_specs(write(GOOD))[0]
    assert base.digest == read_pipeline_specs(write(GOOD.replace("name: good", "name: other")))[0].digest
    assert base.digest == read_pipeline_specs(write("description: words\n# note\n" + GOOD))[0].digest
    changed = [
        GOOD.replace("oas", "lwf"),
        GOOD.replace("      estimator: oas\n", "      estimator: oas\n      metric: riemann\n"),
        GOOD + "param_grid: {covariances__estimator: [oas, lwf]}\n",
    ]
    digests = {read_pipeline_specs(write(text))[0].digest for text in changed}
    assert len(digests) == 3 and base.digest not in digests
    assert base.versions == {name: importlib.metadata.version(name) for name in ("pyriemann", "scikit-learn")}
    from neurosig.evaluation import pipelines

    monkeypatch.setattr(pipelines, "_distribution", lambda package: (package, "0.0"))
    assert read_pipeline_specs(write(GOOD))[0].digest != base.digest


def test_a_module_without_a_version_counts_by_its_source(write, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    module = tmp_path / "my_decoders.py"
    module.write_text("from sklearn.dummy import DummyClassifier as Guess\n")
    path = write("name: mine\nparadigms: [P300]\npipeline: [{name: Guess, from: my_decoders}]\n")
    before = read_pipeline_specs(path)[0]
    assert before.versions["my_decoders"].startswith("source ")
    assert before.build().steps[0][0] == "dummyclassifier"
    module.write_text("from sklearn.dummy import DummyClassifier as Guess  # edited\n")
    identity._source_digest.cache_clear()  # a new process, in a user's life
    assert read_pipeline_specs(path)[0].digest != before.digest


@pytest.mark.parametrize("layout", ["package", "namespace", "modules"])
def test_what_a_module_imports_counts_as_well(write, tmp_path, monkeypatch, layout):
    monkeypatch.syspath_prepend(tmp_path)
    folder = tmp_path if layout == "modules" else tmp_path / f"my_{layout}"
    folder.mkdir(exist_ok=True)
    if layout == "package":
        (folder / "__init__.py").touch()
    prefix = "" if layout == "modules" else f"my_{layout}."
    (folder / "step.py").write_text(f"from {prefix or ''}aid import Guess\n")
    helper = folder / "aid.py"
    helper.write_text("from sklearn.dummy import DummyClassifier as Guess\n")
    path = write(f"name: mine\nparadigms: [P300]\npipeline: [{{name: Guess, from: {prefix}step}}]\n", "mine.yml")

    def digest():
        identity._source_digest.cache_clear()
        return read_pipeline_specs(path)[0].digest

    before = digest()
    assert digest() == before
    helper.write_text("from sklearn.svm import SVC as Guess\n")
    assert digest() != before
    assert not {"step", "aid", f"my_{layout}"} & set(sys.modules)  # nothing was imported


def test_several_files_and_folders(write, tmp_path):
    one, two = write(GOOD), write(GOOD.replace("name: good", "name: second"), "two.yml")
    write("raise SystemExit('must not run')", "danger.py")
    assert set(load_pipelines([one, two])) == set(load_pipelines(tmp_path)) == {"good", "second"}


def test_steps_text_and_lists_in_parameters(write):
    grid = "param_grid:\n  - {covariances__estimator: [oas, lwf]}\n  - {mdm__metric: [riemann, logeuclid, euclid]}\n"
    text = GOOD + grid
    (spec,) = read_pipeline_specs(write(text))
    assert spec.steps_text == "Covariances(estimator='oas') > MDM()"
    assert spec.n_candidates == len(ParameterGrid(spec.param_grid)) == 5
    spec.build()


def test_callbacks_as_in_moabb(write):
    text = (
        "name: net\nparadigms: [LeftRightImagery]\npipeline:\n  - name: NeuralNetClassifier\n    from: skorch\n"
        "    parameters:\n      module: nothing\n      callbacks:\n"
        "        - {name: EarlyStopping, from: skorch.callbacks, parameters: {patience: 7}}\n"
    )
    ours = read_pipeline_specs(write(text))[0].build()
    theirs = create_pipeline_from_config(yaml.safe_load(text)["pipeline"])
    for pipeline in (ours, theirs):
        (callback,) = pipeline[-1].callbacks
        assert (type(callback).__name__, callback.patience) == ("EarlyStopping", 7)
    other = text.replace("EarlyStopping", "Path").replace("skorch.callbacks", "matplotlib.path")
    (spec,) = read_pipeline_specs(write(other))
    with pytest.raises(ManifestError, match="is not a skorch callback"):
        spec.build()


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("", None, "the file is empty"),
        ("- a\n- b\n", 1, "expected a mapping with name, paradigms and pipeline, got a list"),
        (GOOD.replace("paradigms: [", "paradigms: [["), 3, "expected ',' or '\\]'"),
        (GOOD.replace("    from", "\tfrom", 1), 5, "found character '\\\\t'"),
        (b"name: \xff\xfe\n", None, "is not UTF-8 text"),
        (GOOD.replace("name: good\n", ""), 1, "the key 'name' is missing"),
        (GOOD.replace("paradigms: [LeftRightImagery]\n", ""), 1, "the key 'paradigms' is missing"),
        (GOOD.replace("name: good", "name: [good]"), 1, "name must be a text, got a list"),
        (GOOD.replace("name: good", 'name: "good\\n<b>"'), 1, "name must be one line of plain text, got 'good"),
        (GOOD.replace("[LeftRightImagery]", "LeftRightImagery"), 2, "paradigms must be a list of texts"),
        (GOOD.replace("LeftRight", "RightLeft"), 2, "unknown MOABB paradigm 'RightLeftImagery'; did you mean"),
        (GOOD + "citation: x\n", 10, "unknown key 'citation'; did you mean citations"),
        (GOOD + "name: again\n", 10, "the key 'name' stands twice"),
        (GOOD.replace("    from: pyriemann.estimation\n", ""), 4, "a step needs 'from'"),
        (GOOD.replace("parameters", "params"), 6, "unknown key 'params' in a step; did you mean parameters"),
        (GOOD.replace("estimator: oas", "- oas"), 6, "parameters must be a mapping, got a list"),
        (GOOD.replace("oas", "2024-01-01"), 7, "takes numbers, texts, lists and mappings, got the date"),
        (GOOD.replace("oas", "!!set {a}"), 7, "got the set"),
        (GOOD.replace("oas", "!!python/object/apply:os.system [id]"), 7, "tags that make Python objects"),
        (GOOD.replace("oas", "!!python/name:os.system"), 7, "tags that make Python objects are not allowed"),
        (BOMB + GOOD, 5, "more than 20,000 values once aliases are written out"),
        ("name: &a [*a]\n", 1, "an alias refers to itself"),
        ("[" * 100_000, None, "malformed YAML"),
        ("#" * 1_000_001, None, "expected at most 1,000,000 bytes"),
        (GOOD.replace("pyriemann.estimation", "pyriemen.estimation"), 5,
         "package 'pyriemen' is not installed; did you mean pyriemann"),
        (GOOD.replace("pyriemann.estimation", "os"), 5, "module 'os' belongs to Python itself"),
        (GOOD.replace("pyriemann.estimation", "subprocess"), 5, "module 'subprocess' belongs to Python itself"),
        (GOOD.replace("pyriemann.estimation", "../evil"), 5, "from must be a module like sklearn.svm"),
        (GOOD.replace("Covariances", "__class__"), 4, "name must be a public class name"),
        (GOOD + "param_grid: {mdn__metric: [a]}\n", 10, "names no step .* did you mean mdm"),
        (GOOD + "param_grid:\n  mdm__metric: riemann\n", 11, "needs a list of values, got the text 'riemann'"),
        (GOOD.replace("estimator: oas", "optimizer: Adam"), 7, "MOABB reads 'optimizer' as Keras objects"),
        (GOOD.replace("estimator: oas", "callbacks: stop"), 7, "callbacks must be a list of steps"),
    ],
)  # fmt: skip
def test_a_broken_file_is_named_with_line_and_reason(write, text, line, reason):
    path = write(text)
    with pytest.raises(ManifestError, match=reason) as caught:
        read_pipeline_specs(path)
    message = str(caught.value)
    assert message.startswith(f"{path}, line {line}: " if line else f"{path}: ")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        (GOOD.replace("Covariances", "Covariance"), 4, "has no class 'Covariance'; did you mean Covariances"),
        (GOOD.replace("pyriemann.estimation", "pyriemann.estimations"), 5, "cannot be imported .ModuleNotFoundError"),
        (GOOD + "    parameters: {metrics: riemann}\n", 10, "step MDM has no parameter 'metrics'; did you mean metric"),
        (GOOD.replace("MDM", "check_metric"), 8, "check_metric is not a scikit-learn estimator"),
        (GOOD.replace("name: MDM\n    from: pyriemann.classification", "name: ExcelFile\n    from: pandas"), 8,
         "pandas.ExcelFile is not a scikit-learn estimator"),
        (GOOD + "param_grid:\n  mdm__metrics: [riemann]\n", 11, "no parameter 'mdm__metrics' in this pipeline; did"),
    ],
)  # fmt: skip
def test_a_wrong_name_is_found_when_building(write, text, line, reason):
    (spec,) = read_pipeline_specs(write(text))
    with pytest.raises(ManifestError, match=reason) as caught:
        spec.build()
    assert str(caught.value).startswith(f"{spec.file}, line {line}: ") and "\n" not in str(caught.value)


def step(name, module, parameters):
    return (
        f"name: t\nparadigms: [P300]\npipeline:\n  - name: {name}\n    from: {module}\n    parameters: {parameters}\n"
    )


@pytest.mark.parametrize(
    ("name", "module", "parameters", "reason"),
    [
        ("Covariances", "pyriemann.estimation", "{estimatr: lwf}", "no parameter 'estimatr'; did you mean estimator"),
        ("Covariances", "pyriemann.estimation", "{estimator: cov, ddoff: 0}", "'ddoff'; did you mean ddof"),
        (
            "Covariances",
            "pyriemann.estimation",
            "{estimator: sch, bias: 1}",
            "'bias'; estimator 'sch' takes no options",
        ),
        ("Covariances", "pyriemann.estimation", "{estimator: hub, m_estimator: stu}", "no parameter 'm_estimator'"),
        ("Covariances", "pyriemann.estimation", "{kwds: {estimator: lwf}}", "no parameter 'kwds'"),
        ("XdawnCovariances", "pyriemann.estimation", "{n_filter: 2}", "'n_filter'; did you mean nfilter"),
        ("Kernels", "pyriemann.estimation", "{metric: rbf, gama: 1}", "'gama'; did you mean gamma"),
        ("Swallows", "swallowing", "{depht: 3}", "no parameter 'depht'; did you mean depth"),
    ],
)
def test_a_misspelt_parameter_is_found_where_the_class_takes_anything(
    write, tmp_path, monkeypatch, name, module, parameters, reason
):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "swallowing.py").write_text(
        "from sklearn.base import BaseEstimator\n"
        "class Swallows(BaseEstimator):\n    def __init__(self, depth=1, **rest): self.depth, self.rest = depth, rest\n"
    )
    (spec,) = read_pipeline_specs(write(step(name, module, parameters)))
    with pytest.raises(ManifestError, match=reason) as caught:
        spec.build()
    assert str(caught.value).startswith(f"{spec.file}, line 6: ")


@pytest.mark.parametrize(
    ("name", "module", "parameters"),
    [
        ("Covariances", "pyriemann.estimation", "{estimator: cov, ddof: 0}"),
        ("Covariances", "pyriemann.estimation", "{estimator: lwf, assume_centered: true}"),
        ("Covariances", "pyriemann.estimation", "{estimator: mcd, support_fraction: 0.9, random_state: 0}"),
        ("ERPCovariances", "pyriemann.estimation", "{estimator: hub, q: 0.8, n_iter_max: 20}"),
        ("Kernels", "pyriemann.estimation", "{metric: polynomial, degree: 2}"),
        ("NeuralNetClassifier", "skorch", "{module: nothing, module__width: 3, max_epochs: 2}"),
    ],
)
def test_options_that_a_class_hands_on_are_taken(write, name, module, parameters):
    (spec,) = read_pipeline_specs(write(step(name, module, parameters)))
    made = spec.build()[0]
    stored = {**vars(made), **vars(made).get("kwds", {})}
    assert {key: stored[key] for key in yaml.safe_load(parameters)} == yaml.safe_load(parameters)


@pytest.mark.filterwarnings("ignore:.*expand_dims. is deprecated:DeprecationWarning")  # pyriemann's own call
@pytest.mark.parametrize("estimator", ["corr", "cov", "hub", "lwf", "mcd", "oas", "sch", "scm", "stu", "tyl"])
def test_the_options_of_covariance_estimators_are_those_pyriemann_takes(estimator):
    """Each option that is let through, at its own default, is one that the estimation accepts."""
    from pyriemann.estimation import Covariances

    from neurosig.evaluation.pipeline_spec import _COVARIANCES, _covariance_function, _options

    options, _ = _options(Covariances, Covariances(estimator))
    signature = inspect.signature(_covariance_function(_COVARIANCES[estimator])).parameters
    given = {key: signature[key].default for key in options if signature[key].default is not inspect.Parameter.empty}
    X = np.random.default_rng(0).standard_normal((2, 3, 50))
    assert_allclose(
        Covariances(estimator, **given | ({"random_state": 0} if estimator == "mcd" else {})).transform(X),
        Covariances(estimator, **({"random_state": 0} if estimator == "mcd" else {})).transform(X),
    )


def test_only_estimators_are_ever_instantiated(write, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "trap_module.py").write_text(
        "from pathlib import Path\nclass Trap:\n    def __init__(self, path): Path(path).touch()\n"
    )
    touched = tmp_path / "touched"
    step = f"{{name: Trap, from: trap_module, parameters: {{path: {touched}}}}}"
    path = write(f"name: t\nparadigms: [P300]\npipeline: [{step}]\n")
    with pytest.raises(ManifestError, match=r"trap_module\.Trap is not a scikit-learn estimator"):
        load_pipelines(path)
    assert not touched.exists()


def test_two_pipelines_of_one_name(write, tmp_path):
    write(GOOD, "a.yml")
    write(GOOD, "b.yml")
    with pytest.raises(ManifestError, match=r"b.yml: .*a.yml also names a pipeline 'good' for LeftRight"):
        load_pipelines(tmp_path)
    write(GOOD.replace("LeftRightImagery", "P300").replace("oas", "lwf"), "b.yml")
    with pytest.raises(ManifestError, match=r"a second pipeline is called 'good'; rename it or pass paradigm="):
        load_pipelines(tmp_path)
    assert list(load_pipelines(tmp_path, paradigm="P300")) == ["good"]
    write(GOOD.replace("LeftRightImagery", "fMRI"), "b.yml")  # the same steps, made for another paradigm: one pipeline
    (spec,) = read_pipeline_specs(tmp_path)
    assert spec.paradigms == ("LeftRightImagery", "fMRI") and list(load_pipelines(tmp_path)) == ["good"]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"folder_or_files": "nowhere"}, "no such pipeline file or folder: nowhere"),
        ({"groups": "riemman"}, "no group 'riemman'; did you mean riemann"),
        ({"names": "CSP+LDR"}, r"no pipeline 'CSP\+LDR'; did you mean CSP\+LDA"),
        ({"paradigm": "P30"}, "unknown paradigm 'P30'; did you mean P300"),
        (
            {"paradigm": "P300", "groups": "ssvep"},
            "SSVEP TS.LR is made for FilterBankSSVEP, not for P300; try .*XdawnCov",
        ),
        ({"paradigm": "P300", "groups": ["riemann", "grid"]}, "pipelines asked for are made for .*, not for P300; try"),
        ({"names": "TS+LR", "paradigm": "P300"}, "TS.LR is made for LeftRightImagery, MotorImagery, SSVEP, not for P3"),
        ({"names": "TS+LR", "groups": "erp"}, "none of TS.LR is of group erp; leave one out"),
    ],
)
def test_nothing_to_read_is_said(options, text):
    with pytest.raises(UsageError, match=text):
        read_pipeline_specs(**options)


def test_empty_folder_and_python_files(write, tmp_path):
    python = write("PIPELINE = {}", "pipe.py")
    with pytest.raises(UsageError, match=r"holds no \.yml file"):
        read_pipeline_specs(tmp_path)
    write(GOOD, "pipe.yaml")
    with pytest.raises(UsageError, match=r"rename \.yaml to \.yml"):
        read_pipeline_specs(tmp_path)
    with pytest.raises(UsageError, match="Python files are not run"):
        read_pipeline_specs(python)


@pytest.mark.filterwarnings(*MOABB_WARNS)
def test_moabb_benchmark_runs_the_folder(copied, tmp_path, monkeypatch):
    """`moabb.benchmark` on a copy of the shipped folder, unchanged, for one paradigm."""
    from moabb import benchmark

    monkeypatch.chdir(tmp_path)
    data = FakeDataset(["left_hand", "right_hand"], n_sessions=1, n_runs=1, n_subjects=1, paradigm="imagery", seed=0,
                       channels=("C3", "Cz", "C4"), duration=60)  # fmt: skip
    table = benchmark(
        str(copied), evaluations=["WithinSession"], paradigms=["LeftRightImagery"], include_datasets=[data], n_jobs=1,
        results=str(tmp_path / "results"), output=str(tmp_path / "out"), overwrite=True,
    )  # fmt: skip
    assert set(table["pipeline"]) == set(load_pipelines(paradigm="LeftRightImagery"))
    assert np.isfinite(table["score"]).all()
    assert table.loc[table["pipeline"] == "Chance", "score"].item() == 0.5
    assert Path("results").exists()
