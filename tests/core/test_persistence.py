"""Fitted pipelines come back the same in another process, and nothing hostile comes back at all."""

import functools
import io
import json
import os
import sys
import zipfile

import lives
import numpy as np
import pytest
import skops.io as skops_io
from mne.decoding import CSP
from pyriemann.classification import MDM, FgMDM
from pyriemann.estimation import Covariances, XdawnCovariances
from pyriemann.tangentspace import TangentSpace
from sklearn.base import BaseEstimator
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import SVC

from neurosig.core import persistence
from neurosig.core.errors import ChecksumError, InputError, StorageError, UsageError
from neurosig.core.persistence import load_arrays, load_pipeline, save_arrays, save_pipeline
from neurosig.core.signals import Processing, SignalSpec
from neurosig.preprocessing.scaling import ClipScale

PIPELINES = {
    "CSP+LDA": lambda: make_pipeline(CSP(2), LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")),
    "TS+LR": lambda: make_pipeline(Covariances("oas"), TangentSpace(), LogisticRegression()),
    "Xdawn+TS+SVM": lambda: make_pipeline(XdawnCovariances(1), TangentSpace(), SVC(kernel="linear", random_state=0)),
    "MDM": lambda: make_pipeline(Covariances("oas"), MDM(metric={"mean": "riemann", "distance": "riemann"})),
    "FgMDM": lambda: make_pipeline(Covariances("oas"), FgMDM()),
    "ours": lambda: make_pipeline(ClipScale("std", clip=4), Covariances("scm"), MDM()),
    "grid": lambda: GridSearchCV(
        make_pipeline(Covariances("oas"), TangentSpace(), LogisticRegression()),
        {"logisticregression__C": np.array([0.1, 1.0])},
        scoring="roc_auc",
        cv=StratifiedKFold(3, shuffle=True, random_state=np.random.RandomState(1)),
    ),
}
SPEC = SignalSpec("eeg", ("C3", "Cz", "C4"), sfreq=128.0, n_times=100, processing=Processing(0.0, 0.8, fmin=8, fmax=30))


@pytest.fixture(scope="module")
def trials():
    rng = np.random.default_rng(0)
    y = np.array(["left", "right"] * 20)
    X = rng.standard_normal((40, 3, 100))
    X[y == "left", 0] *= 2
    return X, y


def fitted(name, trials):
    import mne

    with mne.use_log_level("error"):
        return PIPELINES[name]().fit(*trials)


def method_of(pipeline):
    return "predict_proba" if hasattr(pipeline, "predict_proba") else "decision_function"


@pytest.fixture
def model(tmp_path, trials):
    return save_pipeline(fitted("TS+LR", trials), tmp_path / "model", spec=SPEC)


def test_pipelines_predict_the_same_in_a_fresh_process(tmp_path, trials):
    X, _ = trials
    np.save(tmp_path / "X.npy", X)
    for name in PIPELINES:
        pipeline = fitted(name, trials)
        save_pipeline(pipeline, tmp_path / name)
        np.save(tmp_path / f"{name}.npy", getattr(pipeline, method_of(pipeline))(X))
    code = (
        "import sys, numpy as np; from neurosig import load_pipeline; X = np.load('X.npy')\n"
        "for name in sys.argv[1:]:\n"
        "    p = load_pipeline(name)\n"
        "    method = 'predict_proba' if hasattr(p, 'predict_proba') else 'decision_function'\n"
        "    np.testing.assert_array_equal(getattr(p, method)(X), np.load(name + '.npy'), err_msg=name)\n"
    )
    done = lives.python(code, *PIPELINES, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_spec_card_and_versions_are_kept(tmp_path, trials):
    folder = save_pipeline(fitted("MDM", trials), tmp_path / "m", spec=SPEC, card="# Card\n", extra={"classes": ["a"]})
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "pipeline.skops"]
    pipeline, spec, config = load_pipeline(folder, with_spec=True)
    assert spec == SPEC
    assert config["extra"] == {"classes": ["a"]}
    assert {"scikit-learn", "numpy", "mne", "pyriemann"} <= set(config["libraries"])
    assert (folder / "README.md").read_text() == "# Card\n"
    assert list(pipeline.named_steps) == ["covariances", "mdm"]


def test_without_spec_none_is_returned(tmp_path, trials):
    assert load_pipeline(save_pipeline(fitted("MDM", trials), tmp_path / "m"), with_spec=True)[1] is None


def test_an_earlier_model_is_replaced_and_nothing_is_left_behind(tmp_path, trials, model):
    save_pipeline(fitted("MDM", trials), model)
    assert "mdm" in load_pipeline(model).named_steps
    assert not (model / "README.md").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("content", [("thesis.tex",), ("config.json",)])
def test_a_folder_of_something_else_is_left_alone(tmp_path, trials, content):
    for name in content:
        (tmp_path / name).write_text("{}")
    with pytest.raises(StorageError, match="holds other files; choose a new or empty folder"):
        save_pipeline(fitted("MDM", trials), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(content)


def test_a_file_in_the_way(tmp_path, trials):
    (tmp_path / "model").write_text("")
    with pytest.raises(StorageError, match="a file is in the way"):
        save_pipeline(fitted("MDM", trials), tmp_path / "model")


class NotOurs(BaseEstimator):
    """An estimator of a package that nobody vouched for."""

    def fit(self, X, y=None):
        return self


@pytest.mark.parametrize(
    ("pipeline", "named"),
    [
        (make_pipeline(NotOurs()), "NotOurs"),
        (FunctionTransformer(os.system), "system"),
        (FunctionTransformer(functools.partial(np.clip, a_min=0)), "functools.partial"),
    ],
)
def test_what_could_not_be_loaded_is_not_saved(tmp_path, pipeline, named):
    with pytest.raises(InputError, match=f"cannot save the pipeline: it holds types that are not trusted: .*{named}"):
        save_pipeline(pipeline, tmp_path / "m")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("thing", [None, "CSP+LDA", {"a": 1}, LogisticRegression.fit])
def test_only_estimators_are_saved(tmp_path, thing):
    with pytest.raises(UsageError, match="expected a scikit-learn estimator"):
        save_pipeline(thing, tmp_path / "m")


def test_a_lambda_and_an_extra_that_is_no_json_are_refused(tmp_path, trials):
    with pytest.raises(InputError, match=r"cannot save|not trusted"):
        save_pipeline(FunctionTransformer(lambda X: X), tmp_path / "m")
    with pytest.raises(InputError, match="must be JSON-like"):
        save_pipeline(fitted("MDM", trials), tmp_path / "m", extra={"a": object()})


def forge(model, data):
    """Put other bytes in place of the pipeline, with the checksum that fits, as an attacker would."""
    import hashlib

    (model / "pipeline.skops").write_bytes(data)
    config = json.loads((model / "config.json").read_text())
    config["sha256"] = hashlib.sha256(data).hexdigest()
    (model / "config.json").write_text(json.dumps(config))


def rewritten(data, change, **options):
    """The skops archive with its schema changed."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(out, "w", **options) as target:
        for entry in source.namelist():
            content = source.read(entry)
            target.writestr(entry, change(content.decode()).encode() if entry == "schema.json" else content)
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (lambda: skops_io.dumps(FunctionTransformer(os.system)), "(posix|nt).system"),
        (lambda: skops_io.dumps(functools.partial(os.system, "true")), "functools.partial"),
        (lambda: skops_io.dumps([functools.partial(print)]), "builtins.print"),
        (lambda: skops_io.dumps(NotOurs()), "NotOurs"),
        (lambda: skops_io.dumps(LogisticRegression().fit), "LogisticRegression.fit"),
        (lambda: skops_io.dumps({"a": os.getcwd}), "posix.getcwd|nt.getcwd"),
    ],
)
def test_hostile_types_are_refused_by_name(model, data, named):
    forge(model, data())
    with pytest.raises(InputError, match=f"refusing to load .*types that are not trusted: .*({named})"):
        load_pipeline(model)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("mne.utils.misc", "os.system"),
        ("mne", "utils"),
        ("mne.tests.test_annotations", "Whatever"),
        ("sklearn.conftest", "Whatever"),
        ("neurosig.__main__", "main"),
        ("numpy.testing", "runstring"),
        ("numpy.lib.npyio", "load"),
        ("scipy.io", "loadmat"),
        ("sklearn.utils", "BaseEstimator"),
        ("sklearn_evil", "Estimator"),
        ("mne.decoding", "os"),
        ("os", "system"),
        ("neurosig.core.persistence", "load_pipeline"),
    ],
)
def test_the_way_through_a_trusted_package_is_closed(model, module, name):
    data = skops_io.dumps(LogisticRegression())
    schema = lambda text: text.replace('"sklearn.linear_model._logistic"', f'"{module}"').replace(  # noqa: E731
        '"LogisticRegression"', f'"{name}"'
    )
    forge(model, rewritten(data, schema))
    with pytest.raises(InputError, match="not trusted"):
        load_pipeline(model)


def test_names_are_judged_before_anything_is_imported(model, tmp_path, monkeypatch):
    (tmp_path / "trap.py").write_text(
        "from pathlib import Path\nPath('sprung').touch()\nclass LogisticRegression: pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    data = skops_io.dumps(LogisticRegression())
    forge(model, rewritten(data, lambda text: text.replace("sklearn.linear_model._logistic", "trap")))
    with pytest.raises(InputError, match=r"not trusted: trap.LogisticRegression"):
        load_pipeline(model)
    assert "trap" not in sys.modules
    assert not (tmp_path / "sprung").exists()


def test_compressed_archives_are_refused(model):
    data = (model / "pipeline.skops").read_bytes()
    forge(model, rewritten(data, str, compression=zipfile.ZIP_DEFLATED))
    with pytest.raises(InputError, match="its parts are compressed"):
        load_pipeline(model)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda data: b"",
        lambda data: b"not a zip at all",
        lambda data: rewritten(data, lambda text: text[:-40]),
        lambda data: rewritten(data, lambda text: "[]"),
        lambda data: rewritten(data, lambda text: "[" * 100_000),
        lambda data: rewritten(data, lambda text: text.replace("ObjectNode", "NoSuchNode")),
    ],
    ids=["truncated", "empty", "other", "cut schema", "list", "deep", "unknown node"],
)
def test_damaged_archives_are_refused_in_one_line(model, damage):
    forge(model, damage((model / "pipeline.skops").read_bytes()))
    with pytest.raises(StorageError, match=r"refusing to load .* the file is damaged") as raised:
        load_pipeline(model)
    assert "\n" not in str(raised.value)


def test_content_that_differs_from_its_checksum_is_refused(model):
    stored = model / "pipeline.skops"
    data = bytearray(stored.read_bytes())
    data[len(data) // 2] ^= 1
    stored.write_bytes(data)
    with pytest.raises(ChecksumError, match="SHA-256 differs"):
        load_pipeline(model)


def test_what_is_no_saved_pipeline(tmp_path, model):
    with pytest.raises(StorageError, match=r"it has no config.json"):
        load_pipeline(tmp_path / "nowhere")
    (model / "pipeline.skops").unlink()
    with pytest.raises(StorageError, match=r"cannot read .*pipeline.skops"):
        load_pipeline(model)
    for text, message in (
        ("{", "cannot read"),
        ("[]", "written by something else"),
        ('{"format": "neurosig-pipeline", "format_version": 99}', "format 99"),
    ):
        (model / "config.json").write_text(text)
        with pytest.raises(StorageError, match=message):
            load_pipeline(model)


def test_other_library_versions_are_said(model, caplog):
    config = json.loads((model / "config.json").read_text())
    config["libraries"]["mne"] = "0.1.0"
    (model / "config.json").write_text(json.dumps(config))
    with caplog.at_level("WARNING", logger="neurosig"):
        load_pipeline(model)
    assert "mne 0.1.0 (here" in caplog.text


def test_every_listed_type_exists():
    import importlib

    for name in persistence._ALSO_TRUSTED:
        module, _, attribute = name.rpartition(".")
        found = getattr(importlib.import_module(module), attribute)
        assert f"{found.__module__}.{found.__qualname__}" == name


def test_arrays_come_back_the_same(tmp_path):
    arrays = {
        "double": np.arange(6.0).reshape(2, 3),
        "transposed": np.arange(6, dtype=np.float32).reshape(2, 3).T,
        "reversed": np.arange(5)[::-1],
        "big-endian": np.arange(4, dtype=">f8"),
        "scalar": np.array(3.5),
        "empty": np.zeros((0, 2)),
        "bool": np.array([True, False]),
    }
    loaded = load_arrays(save_arrays(tmp_path / "a.safetensors", arrays))
    assert loaded.keys() == arrays.keys()
    for name, values in arrays.items():
        assert loaded[name].shape == values.shape
        np.testing.assert_array_equal(loaded[name], values)


def test_arrays_that_cannot_be_kept_or_read(tmp_path):
    for values in (np.array(["a"]), np.array([object()]), np.array([1j])):
        with pytest.raises(InputError, match="expected numbers or booleans in array 'a'"):
            save_arrays(tmp_path / "a", {"a": values})
    for content in (b"", b"\xff" * 100, (2**40).to_bytes(8, "little")):
        (tmp_path / "b").write_bytes(content)
        with pytest.raises(StorageError, match="cannot read arrays from"):
            load_arrays(tmp_path / "b")
    with pytest.raises(StorageError, match="cannot read arrays"):
        load_arrays(tmp_path / "absent")


def test_a_network_is_no_pipeline_and_what_to_do_is_said(tmp_path):
    (tmp_path / "config.json").write_text('{"format": "neurosig-network", "estimator": "NetClassifier"}')
    with pytest.raises(StorageError, match=r"a NetClassifier that save_pretrained wrote: .*from_pretrained, or train"):
        load_pipeline(tmp_path)
