"""The decoding page: its numbers, its words about confidence, and every kind of model output."""

import numpy as np
import pandas as pd
import pytest
from outline import Outline
from scipy import stats

from neurosig.evaluation.decoded import Decoded
from neurosig.reports.decode import write_decode_report

CHANNELS = {
    "ch_names": ["C3", "C4"],
    "renamed": {"EEG C3-REF": "C3"},
    "reordered": False,
    "interpolated": ["C4"],
    "dropped": [],
    "ignored": ["EOG"],
    "scale": 1e6,
    "unit": ["V", "uV"],
    "sfreq": [160.0, 160.0],
    "cropped": 0,
    "notes": [],
}


def make_decoded(
    kind="probability", classes=("left_hand", "right_hand"), labels=True, n=80, files=("S001R04.edf",), scores=True
):
    rng = np.random.default_rng(5)
    rows = []
    for file in files:
        truth = rng.integers(len(classes), size=n)
        value = rng.normal(size=(n, len(classes)))
        value[np.arange(n), truth] += 1.2
        p = np.exp(value) / np.exp(value).sum(axis=1, keepdims=True)
        chosen = p.argmax(axis=1)
        part = pd.DataFrame({"file": file, "onset": 4.0 * np.arange(n) + 0.5, "duration": 2.0})
        if labels:
            part["event"] = [classes[i] for i in truth]
            part["correct"] = pd.Series(truth == chosen, dtype=object)
        part["predicted"] = [classes[i] for i in chosen]
        if kind != "label":
            for i, name in enumerate(classes):
                part[f"{'p' if kind == 'probability' else 'score'}_{name}"] = (p if kind == "probability" else value)[
                    :, i
                ]
        rows.append(part)
    score = {
        "question": "new runs of the same people",
        "folds": "run",
        "metric": "roc_auc",
        "mean": 0.74,
        "sd": 0.08,
        "n_scores": 36,
        "n_folds": 3,
        "n_trials": 540,
        "chance": 0.5,
        "chance_upper": 0.54,
        "scores": [],
    }
    report = {
        "model": {"pipeline": {"name": "TS + LR", "steps": "TangentSpace + LogisticRegression", "citations": []},
                  "dataset": {"name": "eegmmidb", "title": "EEG motor movement and imagery", "subjects": ["1", "2"],
                              "trials_per_class": {"left_hand": 270, "right_hand": 270}, "identity": "1f2e3d4c"},
                  "scores": [score] if scores else [], "seed": 42, "versions": {"neurosig": "0.1.0", "mne": "1.11.0"}},
        "mode": "events" if labels else "windows",
        "window": {"length": 2.0, "step": None if labels else 1.0},
        "processing": {"tmin": 0.5, "tmax": 2.5, "fmin": 8.0, "fmax": 32.0},
        "recordings": [{"file": f"folder/{file}", "seconds": 330.0, "sfreq": 160.0, "n_windows": n, "n_left_out": 1,
                        "channels": CHANNELS, "mapping": "2 channels; renamed: EEG C3-REF -> C3"} for file in files],
        "warnings": ["channels estimated from their neighbours: C4"],
    }  # fmt: skip
    return Decoded(pd.concat(rows, ignore_index=True), tuple(classes), kind, report)


@pytest.fixture
def write(tmp_path):
    return lambda decoded: Outline(write_decode_report(decoded, tmp_path / "decoded.html").read_text(encoding="utf-8"))


def test_numbers_are_the_table_s(write):
    decoded = make_decoded()
    page = write(decoded)
    assert page.unordered == [] and len(page.ids) == len(set(page.ids))
    counts = decoded.table["predicted"].value_counts()
    for cells in page.tables[0][1:]:
        assert cells[1] == str(counts[cells[0]])
        assert cells[2] == f"{counts[cells[0]] / 80:.3f}"


def test_accuracy_stands_with_interval_n_and_chance(write):
    decoded = make_decoded()
    right = int(decoded.table["correct"].sum())
    largest = decoded.table["event"].value_counts().max()
    z = stats.norm.ppf(0.975)  # Wilson (1927), written out
    centre, half = (right + z**2 / 2) / (80 + z**2), z / (80 + z**2) * np.sqrt(right * (80 - right) / 80 + z**2 / 4)
    words = write(decoded).words
    assert f"accuracy {right / 80:.3f} (95 % CI {centre - half:.3f} to {centre + half:.3f}, n = 80 trials" in words
    assert (
        f"scores {largest / 80:.3f}, and guessing exceeds {stats.binom.ppf(0.95, 80, largest / 80) / 80:.3f}" in words
    )
    assert "more than guessing reaches" in words


def test_mapping_caveats_and_expectation_are_told(write):
    words = write(make_decoded()).words
    for text in (
        "EEG C3-REF → C3",
        "Estimated from their neighbours",
        "EOG",
        "new runs of the same people: ROC AUC 0.740",
        "were not calibrated on this person",
        "bound 0.540",
    ):
        assert text in words


def test_windows_without_labels(write):
    words = write(make_decoded(labels=False)).words
    assert "windows were decoded, so they were not compared with the events in the file" in words
    assert "no class for “neither”" in words and "a new one every 1 s" in words


@pytest.mark.parametrize("kind", ["probability", "score", "label"])
def test_every_kind_of_output_with_three_classes(write, kind):
    page = write(make_decoded(kind, classes=("left", "right", "feet"), files=("a.edf", "b.edf")))
    assert [tag for tag, _ in page.tags].count("svg") == 2
    assert page.unordered == []


def test_untested_and_weak_models_are_warned_of(write):
    assert "Untested model." in write(make_decoded(scores=False)).words
    weak = make_decoded()
    weak.report["model"]["scores"][0]["mean"] = 0.52
    assert "Model not above chance." in write(weak).words


def test_bare_report_and_single_trial(write):
    decoded = make_decoded(n=1)
    page = write(Decoded(decoded.table, decoded.classes, decoded.kind, {}))
    assert "1 window of S001R04.edf" in page.words


def test_long_recordings_stay_small(tmp_path):
    decoded = make_decoded(labels=False, n=20_000)
    path = write_decode_report(decoded, tmp_path / "long.html")
    drawing = path.read_text(encoding="utf-8").split("<svg")[1].split("</svg>")[0]
    assert len(drawing) < 400_000
    assert "Each point is the mean of 14 windows" in path.read_text(encoding="utf-8")


def test_hostile_class_names_are_text(write):
    name = "<script>alert(1)</script>$x$"
    page = write(make_decoded(classes=(name, "b")))
    assert [tag for tag, _ in page.tags].count("script") == 1 and name in page.words


def test_equal_input_gives_equal_bytes(tmp_path):
    pages = [write_decode_report(make_decoded(), tmp_path / f"{number}.html").read_bytes() for number in range(2)]
    assert pages[0] == pages[1]


def test_nearly_all_is_not_all(write):
    decoded = make_decoded(labels=False, n=240)
    decoded.table["predicted"] = ["left_hand"] + ["right_hand"] * 239
    words = write(decoded).words
    assert "left_hand 1 time (< 1 %), right_hand 239 times (> 99 %)" in words
    assert "(100" not in words and "(0 %)" not in words
