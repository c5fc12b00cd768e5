"""What every estimator of neurosig keeps to: scikit-learn's checks, ours on signals, complete documentation."""

import doctest
import importlib.util
import inspect
import pkgutil
import sys
from pathlib import Path

import pytest
from numpydoc.validate import validate
from sklearn.utils.estimator_checks import parametrize_with_checks

import neurosig
from neurosig.core.registry import KINDS, all_estimators, kind_of

_spec = importlib.util.spec_from_file_location("common_checks", Path(__file__).with_name("checks.py"))
checks = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(checks)

ESTIMATORS = all_estimators()
INSTANCES = [(name, i) for name, cls in ESTIMATORS for i in range(len(checks.instances(cls)))]

# Estimator to {check: reason}; reviewed, and the number of rows may only fall
EXPECTED_FAILURES: dict[str, dict[str, str]] = {}

# numpydoc's codes that are asked of everything public; the others are taste (GL01, SS06, ES01, SA01, EX01) or do not
# hold for properties and dataclasses
DOCSTRING_CODES = {
    "GL08",  # no docstring
    "GL03", "GL05", "GL06", "GL07",  # layout and order of sections
    "SS02", "SS03", "SS04", "SS05",  # summary
    "PR01", "PR02", "PR03", "PR04", "PR05", "PR07", "PR09", "PR10",  # parameters
    "RT01", "RT02", "RT03", "RT04", "RT05",  # returned values
    "YD01",
}  # fmt: skip


@parametrize_with_checks(
    [estimator for _, cls in ESTIMATORS for estimator in checks.instances(cls)],
    expected_failed_checks=lambda estimator: EXPECTED_FAILURES.get(type(estimator).__name__, {}),
)
def test_sklearn_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize(("name", "i"), INSTANCES)
@pytest.mark.parametrize("check", checks.CHECKS, ids=lambda check: check.__name__)
def test_signal_checks(name, i, check, tmp_path):
    estimator = checks.instances(dict(ESTIMATORS)[name])[i]
    check(estimator, tmp_path) if "tmp_path" in inspect.signature(check).parameters else check(estimator)


def test_no_check_is_expected_to_fail():
    assert sum(map(len, EXPECTED_FAILURES.values())) == 0


def test_registry_lists_classes_by_name_and_kind():
    names = [name for name, _ in ESTIMATORS]
    assert names == sorted(names)
    assert {"ClipScale", "QuantileScale"} <= set(names)
    assert all(name == cls.__name__ and cls.__module__.startswith("neurosig.") for name, cls in ESTIMATORS)
    assert sorted(pair for kind in KINDS for pair in all_estimators(kind)) == ESTIMATORS
    assert kind_of(dict(ESTIMATORS)["ClipScale"]) == "preprocessor"


@pytest.mark.parametrize(
    "package",
    ["neurosig", *(f"neurosig.{found.name}" for found in pkgutil.iter_modules(neurosig.__path__) if found.ispkg)],
)
def test_every_public_name_is_there(package):
    module = importlib.import_module(package)
    assert [name for name in getattr(module, "__all__", ()) if not hasattr(module, name)] == []


def _documented():
    found = {}
    for name in neurosig.__all__:
        if not name.startswith("__") and importlib.util.find_spec(neurosig._NAMES[name]):
            found[name] = f"{neurosig._NAMES[name]}.{name}"
    for name, cls in ESTIMATORS:
        found[name] = f"{cls.__module__}.{name}"
    for name, path in list(found.items()):
        module, _, attribute = path.rpartition(".")
        cls = getattr(sys.modules.get(module) or importlib.import_module(module), attribute)
        if inspect.isclass(cls):
            for member, value in vars(cls).items():
                function = value.__func__ if isinstance(value, classmethod | staticmethod) else value
                if not member.startswith("_") and (inspect.isfunction(function) or isinstance(function, property)):
                    found[f"{name}.{member}"] = f"{path}.{member}"
    return found


@pytest.mark.parametrize("path", _documented().values(), ids=_documented())
def test_docstring_is_complete(path):
    report = validate(path)
    # a method whose docstring is one paragraph says there what goes in and what comes out
    brief = report["type"] != "type" and path.split(".")[-2][:1].isupper() and "\n\n" not in report["docstring"].strip()
    codes = DOCSTRING_CODES - ({"PR01", "RT01", "YD01"} if brief else set())
    problems = [f"{code}: {text}" for code, text in report["errors"] if code in codes]
    assert not problems, f"{path}: " + "; ".join(problems)


@pytest.mark.parametrize("module", sorted({cls.__module__ for _, cls in ESTIMATORS}))
def test_examples_in_docstrings_run(module):
    result = doctest.testmod(sys.modules[module], optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0
    assert result.attempted
