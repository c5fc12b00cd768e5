import importlib
import subprocess
import sys

import pytest

import neurosig

PACKAGES = ["neurosig", "neurosig.core", "neurosig.loaders", "neurosig.preprocessing", "neurosig.evaluation",
            "neurosig.reports"]  # fmt: skip


def run(code):
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def test_import_brings_no_heavy_package():
    heavy = {"numpy", "torch", "mne", "sklearn", "moabb", "pandas"}
    assert heavy.isdisjoint(run("import sys, neurosig; print(*sys.modules)").split())


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_there(package):
    module = importlib.import_module(package)
    assert module.__all__
    for name in module.__all__:
        assert getattr(module, name) is not None
        assert name in dir(module)


def test_unknown_name():
    with pytest.raises(AttributeError, match="module 'neurosig' has no attribute 'benchmrk'"):
        _ = neurosig.benchmrk


@pytest.mark.parametrize("package, name", [("neurosig.evaluation", "benchmark"), ("neurosig.loaders", "discover")])
def test_a_function_wins_over_the_submodule_of_its_name(package, name):
    imports = f"from {package}.{name} import {name} as direct; from {package} import {name}"
    assert run(f"{imports}; print({name} is direct, callable({name}))") == "True True"
