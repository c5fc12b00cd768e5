"""Results of a benchmark that never ran: twelve subjects, two sessions, six pipelines with known strengths."""

import itertools
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from neurosig.evaluation.results import Results

sys.path.insert(0, str(Path(__file__).parent))  # browser.py and outline.py serve the tests of this folder

STRENGTH = {
    "TS + LR": 0.24,
    "FgMDM": 0.21,
    "MDM": 0.17,
    "CSP + LDA": 0.16,
    "Always left": -0.03,
    "XdawnCov + TS + SVM": None,
}
COST = {
    "TS + LR": (0.021, 65),
    "FgMDM": (0.034, 130),
    "MDM": (0.012, 72),
    "CSP + LDA": (0.18, 31),
    "Always left": (0.0004, 2),
    "XdawnCov + TS + SVM": (np.nan, np.nan),
}


def make_results(
    n_subjects=12, n_sessions=2, strength=None, datasets=("EEGMMIDB-1f2e3d4c",), metric="roc_auc", rename=None
):
    strength = STRENGTH if strength is None else strength
    rng = np.random.default_rng(7)
    rows = []
    for dataset in datasets:
        talent = rng.normal(0, 0.09, n_subjects)
        for subject, session, (name, gain) in itertools.product(range(n_subjects), range(n_sessions), strength.items()):
            failed = gain is None
            # a decoder of strength zero guesses; talent counts only where there is something to decode
            score = 0.5 + (gain or 0) + (talent[subject] if (gain or 0) > 0.05 else 0) + rng.normal(0, 0.03)
            seconds, parameters = COST.get(name, (0.05, 10))
            rows.append({
                "score": np.nan if failed else min(1.0, score), "time": seconds, "samples": 90, "samples_test": 30,
                "n_classes": 2, "subject": str(subject + 1), "session": str(session), "channels": 64,
                "n_sessions": n_sessions, "dataset": dataset, "pipeline": (rename or {}).get(name, name),
                "evaluation": "within_session", "paradigm": "imagery", "folds": "run", "metric": metric,
                "chance": 0.5, "chance_upper": 0.605, "score_sd": 0.05, "n_folds": 3, "seconds_fit": seconds,
                "seconds_score": 0.004, "peak_memory_mb": 340.0, "n_parameters": parameters,
                "error": "ValueError: Xdawn needs an event-related response" if failed else "",
                "seed": 42, "version": "0.1.0",
            })  # fmt: skip
    table = pd.DataFrame(rows)
    meta = {
        "evaluation": "within_session", "folds": "run", "seed": 42, "warnings": [],
        "command": "neurosig benchmark --dataset eegmmidb --pipelines pipelines/ --out results/",
        "versions": {"neurosig": "0.1.0", "moabb": "1.7.2", "mne": "1.11.0", "scikit-learn": "1.9.1", "numpy": "2.4.0"},
        "datasets": [{
            "name": name, "title": "EEG motor movement and imagery", "modality": "eeg", "subjects": n_subjects,
            "channels": 64, "sfreq": 160.0, "licence": "ODC-By 1.0", "identity": "1f2e3d4c5b6a7988",
            "classes": {"left_hand": 270, "right_hand": 265}, "doi": "10.13026/C28G6P",
            "citation": "Schalk et al. (2004). BCI2000. IEEE TBME 51, 1034.",
        } for name in datasets],
        "pipelines": [{
            "name": (rename or {}).get(name, name),
            "steps": ["Covariances(estimator='oas')", "TangentSpace()", "LogisticRegression()"],
            "citations": ["Barachant et al. (2012). Multiclass BCI classification by Riemannian geometry."],
            "file": "pipelines/sample.yml", "digest": "99aa88bb",
        } for name in strength],
    }  # fmt: skip
    return Results(table, table.iloc[:0], meta)


@pytest.fixture
def make():
    return make_results


@pytest.fixture
def results():
    return make_results()


@pytest.fixture(scope="module")
def make_module():
    return make_results
