"""The registry: what it lists, what it refuses, and that core stays independent of what it lists."""

import subprocess
import sys

import pytest

from neurosig.core import registry
from neurosig.core.errors import UsageError
from neurosig.core.registry import KINDS, all_estimators, catalogue, kind_of, register


@pytest.fixture(autouse=True)
def _leave_the_registry_as_it_was(monkeypatch):
    all_estimators()
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))


def test_kind_is_read_off_the_class_or_given():
    @register
    class Predicts:
        def predict(self, X): ...

    @register
    class Transforms: ...

    @register(kind="tokenizer")
    class Told: ...

    @register
    class HasCodebook:
        def codebook_usage(self): ...

    assert [kind_of(cls) for cls in (Predicts, Transforms, Told, HasCodebook)] == [
        "model", "preprocessor", "tokenizer", "tokenizer",
    ]  # fmt: skip
    assert ("Told", Told) in all_estimators("tokenizer")
    assert ("Told", Told) not in all_estimators("model")


def test_wrong_use():
    with pytest.raises(UsageError, match="kind must be one of preprocessor, tokenizer, model, got 'gadget'"):
        register(kind="gadget")
    with pytest.raises(UsageError, match="kind must be one of"):
        all_estimators("gadget")
    with pytest.raises(UsageError, match="int is not registered"):
        kind_of(int)
    register(type("ClipScaleTwin", (), {"__module__": "a"}))
    with pytest.raises(UsageError, match="named ClipScaleTwin is registered already, by a"):
        register(type("ClipScaleTwin", (), {"__module__": "b"}))


def test_a_module_that_is_loaded_again_may_register_again():
    again = type("ClipScale", (), {"__module__": "neurosig.preprocessing.scaling"})
    assert register(again) is again


def test_catalogue_says_what_each_estimator_is_for(tmp_path, monkeypatch):
    (tmp_path / "x.yml").write_text(
        "name: Scaled LR\nparadigms: [LeftRightImagery]\npipeline:\n"
        "  - {name: ClipScale, from: neurosig.preprocessing.scaling}\n"
        "  - {name: LogisticRegression, from: sklearn.linear_model}\n"
    )
    monkeypatch.setattr("neurosig.core.files.resource_dir", lambda name: tmp_path)
    rows = {row.name: row for row in catalogue()}
    assert rows["ClipScale"].summary == "Scale each channel by its spread in the training data and clip outliers"
    assert rows["ClipScale"].pipelines == ("Scaled LR",)
    assert rows["QuantileScale"].pipelines == ()
    assert [KINDS.index(row.kind) for row in catalogue()] == sorted(KINDS.index(row.kind) for row in catalogue())


def test_importing_the_registry_imports_no_estimator():
    code = (
        "import sys, neurosig.core.registry; "
        "print([m for m in ('sklearn', 'mne', 'torch', 'neurosig.preprocessing.scaling') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
