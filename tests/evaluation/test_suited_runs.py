"""Pipelines that have nothing to work with on given runs of fMRI are left out, and it is said why."""

import numpy as np
import pandas as pd
import pytest

from neurosig import SignalDataset, SignalSpec, benchmark, simulate_fmri
from neurosig.core.errors import InputError, UsageError
from neurosig.core.signals import Processing
from neurosig.evaluation.cards import _without_taken_advice
from neurosig.evaluation.pipelines import load_pipelines, read_pipeline_specs
from neurosig.evaluation.request import Options, open_datasets, read_specs
from neurosig.evaluation.study import make_studies
from neurosig.evaluation.suited_runs import unsuited
from neurosig.evaluation.trained import find_pipeline

OPTIONS = Options("within_session", "auto", None, None, 42, None)


@pytest.fixture(scope="module")
def rest():
    return simulate_fmri(n_subjects=12, n_regions=6, n_times=40, t_r=2.0, random_state=0)


@pytest.fixture(scope="module")
def task():
    """Two kinds of blocks in four runs of one person: regions 0 and 1 rise."""
    rng = np.random.default_rng(0)
    y = np.tile(["face", "house"], 16)
    X = rng.standard_normal((32, 6, 8))
    X[y == "face", 0] += 1.0
    X[y == "house", 1] += 1.0
    table = pd.DataFrame({
        "subject": "1", "session": "0", "run": np.repeat(list("1234"), 8), "onset": np.tile(np.arange(8) * 40.0, 4),
        "t_r": 2.5,
    })  # fmt: skip
    info = SignalSpec(
        ch_names=[f"r{i}" for i in range(6)], ch_types=["fmri"] * 6, modality="fmri", sfreq=0.4, t_r=2.5, n_times=8,
        unit="z", tmin=4.0, processing=Processing(4.0, 24.0),
    )  # fmt: skip
    return SignalDataset(X, y, table, info, name="task")


def chosen(signals, pipelines=None, groups=None):
    (entry,) = open_datasets(signals, data=None, events=None, subjects=None, processing={})
    read_specs([entry], pipelines, groups)
    return entry


def names(entry):
    return {spec.name for spec in entry.specs}


def test_default_for_whole_runs(rest):
    entry = chosen(rest)
    assert {"FC+LR", "FC-tangent+LR", "Chance", "FC+Ridge"} <= names(entry)
    assert not {"FC+harmonised+LR", "Mean pattern+LR", "BrainMAE"} & names(entry)
    assert entry.told == [f"{rest.name}: FC+harmonised+LR left out: all people are of one site"]
    (study,) = make_studies(entry, OPTIONS, None, {}, None, {})
    assert "FC+Ridge" not in study.pipelines  # labels are classes, of which nothing need be said
    assert not any("regressor" in line for line in study.warnings)


def test_sites_bring_the_harmonised_pipeline():
    sites = simulate_fmri(n_subjects=12, n_regions=6, n_times=40, n_sites=2, random_state=0)
    entry = chosen(sites)
    assert "FC+harmonised+LR" in names(entry) and not entry.told


def test_default_for_short_trials(task):
    entry = chosen(task)
    assert names(entry) == {"Mean pattern+LR", "Chance"}
    assert "windows of 60 s are longer than 8 volumes of 2.5 s" in " ".join(entry.told)
    assert "trials of 8 volumes are too short for correlations" in " ".join(entry.told)
    results = benchmark(["Mean pattern+LR", "Chance"], task)
    summary = results.summary().set_index("pipeline")
    assert summary.loc["Mean pattern+LR", "mean"] > 0.9 and summary.loc["Chance", "mean"] == 0.5


def test_what_is_asked_for_by_name_stays(rest, task):
    assert names(chosen(rest, "FC+harmonised+LR")) == {"FC+harmonised+LR"}
    assert names(chosen(task, ["FC+LR", "Mean pattern+LR"])) == {"FC+LR", "Mean pattern+LR"}


def test_repetition_time_that_nobody_told(rest):
    table = rest.metadata.drop(columns="t_r", errors="ignore")
    spec = rest.info.replace(t_r=None, sfreq=None)
    (dynamic,) = read_pipeline_specs(names="Dynamic FC+LR")
    blind = SignalDataset(rest.X, rest.y, table, spec)
    assert unsuited(dynamic, blind) == "the repetition time is not known (t_r, --t-r)"
    assert unsuited(dynamic, rest) is None


def test_numbers_as_labels_take_the_regressors(rest):
    rng = np.random.default_rng(0)
    numbers = SignalDataset(rest.X, rng.standard_normal(len(rest)), rest.metadata, rest.info)
    (study,) = make_studies(chosen(numbers), OPTIONS, None, {}, None, {})
    assert list(study.pipelines) == ["FC+Ridge"]
    with pytest.raises(UsageError, match=r"take a regressor \(for runs of fMRI: FC\+Ridge or BrainMAE regression\)"):
        make_studies(chosen(numbers, "FC+LR"), OPTIONS, None, {}, None, {})


def test_ridge_on_connectivity_finds_a_score():
    """A number that is the strength of one coupling is predicted from it."""
    rng = np.random.default_rng(1)
    score = rng.uniform(-1, 1, 60)
    X = rng.standard_normal((60, 4, 150))
    X[:, 1] += 1.5 * score[:, None] * X[:, 0]
    table = pd.DataFrame({"subject": [f"p{i}" for i in range(60)], "session": "0", "run": "0", "t_r": 2.0})
    info = SignalSpec(
        ch_names=list("abcd"), ch_types=["fmri"] * 4, modality="fmri", sfreq=0.5, t_r=2.0, n_times=150, unit="z"
    )
    results = benchmark("FC+Ridge", SignalDataset(X, score, table, info, name="coupled"))
    assert results.summary()["mean"].item() > 0.6 and set(results.table["metric"]) == {"r2"}


def test_chance_is_one_pipeline_for_all():
    assert find_pipeline("Chance").paradigms[-1] == "fMRI"
    assert set(load_pipelines(groups="baseline")) == {"Chance", "CSP+LDA", "LogVar+LDA"}


def test_one_class_is_refused_before_any_fit(rest):
    alike = SignalDataset(rest.X, np.full(len(rest), "control"), rest.metadata, rest.info, name="alike")
    with pytest.raises(InputError, match=r"all 12 runs are of one class \(control\), decoding needs two or more"):
        benchmark("FC+LR", alike, folds="subject")


def test_default_folds_are_as_many_as_the_rarest_class_allows(rest):
    y = np.array(["patient"] * 9 + ["control"] * 3)
    rare = SignalDataset(rest.X, y, rest.metadata, rest.info, name="rare")
    results = benchmark("FC+LR", rare)
    assert results.table["subject"].nunique() == 3
    assert any("3 folds, as the rarest class has no more subjects" in line for line in results.warnings)
    with pytest.raises(InputError, match="5 folds need 5 subjects of every class, got 3 of control"):
        benchmark("FC+LR", rare, folds="subject", n_splits=5)
    lone = SignalDataset(rest.X, np.array(["patient"] * 11 + ["control"]), rest.metadata, rest.info)
    with pytest.raises(InputError, match="two subjects or more of every class, got one of control"):
        benchmark("FC+LR", lone)


def test_advice_that_was_taken_is_not_given_again():
    text = "Site goes along with the diagnosis; look at folds that leave sites out too (--folds site)."
    assert _without_taken_advice(text, "cross_site") == "Site goes along with the diagnosis."
    assert _without_taken_advice(text, "cross_subject") == text
    assert _without_taken_advice("Filtered; look.", "cross_site") == "Filtered; look."
