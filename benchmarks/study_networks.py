"""Five networks of the EEGNet family on 12 people of 64-channel motor imagery, alone and with transfer from others.

``python -m benchmarks.study_networks OUT [--jobs N] [--only NAME,NAME] [--seeds N]`` runs the protocol of Köllőd et al.
(2023, Electronics 12, 2743) on `eegmmidb-trials` (NEUROSIG_DATA names the folder that holds it) and writes the tables
and the report into OUT. A call that was killed is repeated as it was and goes on. ``--time`` fits each network once on
one person and once on eight, and tells how long the study would take.

The budget is two slow cores for an hour, so that these differ from the publication:

- imagined left and right fist of 12 people, 45 trials each, leave one of three runs out (not 5 shuffled folds);
- 21 channels over the sensorimotor cortex (rows FC, C and CP), 4 to 38 Hz, 80 Hz, 0.5 to 3.5 s after the cue, whole
  trials (not 2-s windows every 0.1 s), so that training parts hold 30 trials;
- 4 people left out at a time, so that networks are pretrained on 8 (not on 99);
- two classes (not four), no FASTER, no balancing of classes; signals divided by their standard deviation (not raw
  microvolts);
- batches of 16 trials and at most 50 epochs (not 32 and 500); early stopping is the publication's rule.

Shallow ConvNet pools by the mean, as its authors publish it; the publication's variant, which pools by the maximum, is
there as "ShallowConvNet max" with ``--only``.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from neurosig.evaluation.transfer import TransferStudy
from neurosig.models import NetClassifier
from neurosig.preprocessing.tangent import FastTangentSpace

DATASET = "eegmmidb-trials"
CHANNELS = tuple(f"{row}{column}" for row in ("FC", "C", "CP") for column in "531z246")
READING = {"tmin": 0.5, "tmax": 3.5, "fmin": 4.0, "fmax": 38.0, "resample": 80.0, "picks": CHANNELS}
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "ShallowConvNet": ("ShallowConvNet", {"variant": "arl"}),
    "DeepConvNet": ("DeepConvNet", {"variant": "comparison"}),
    "EEGNet": ("EEGNet", {"variant": "comparison"}),
    "EEGNetFusion": ("EEGNetFusion", {"variant": "comparison"}),
    "MI-EEGNet": ("MIEEGNet", {}),
}
EXTRA = {"ShallowConvNet max": ("ShallowConvNet", {"variant": "comparison"})}
CLASSICAL = {
    "TS+LR": make_pipeline(FastTangentSpace(estimator="oas"), LogisticRegression(max_iter=1000)),
    "Chance": DummyClassifier(strategy="prior"),
}
TRAINING = {
    "max_epochs": 50, "batch_size": 16, "lr": 1e-3, "optimizer": "Adam", "validation": 0.2, "patience": 15,
    "stopping": "comparison", "device": "cpu", "random_state": 0,
}  # fmt: skip


def pipelines(only: list[str] | None = None) -> dict[str, Any]:
    """Networks and what they are compared with, by name."""
    known = {**NETWORKS, **EXTRA}
    names = [*NETWORKS, *CLASSICAL] if only is None else only
    return {name: CLASSICAL[name] if name in CLASSICAL else _network(*known[name]) for name in names}


def _network(module: str, params: dict[str, Any]) -> NetClassifier:
    return NetClassifier(module, module_params=params, **TRAINING)


def tell_times(n_seeds: int, n_jobs: int) -> None:
    """Fit each network on one person's training trials and on eight people's, and add up what the study would take."""
    import numpy as np

    from neurosig.evaluation.request import Options, open_datasets
    from neurosig.evaluation.study import make_studies
    from neurosig.evaluation.transfer_data import read_cohort

    (entry,) = open_datasets([DATASET], data=None, events=None, subjects=None, processing=READING)
    options = Options("within_session", "chronological", None, None, 42, "accuracy")
    reader = make_studies(entry, options, {"Chance": CLASSICAL["Chance"]}, {}, None, {})[0]
    people = read_cohort(entry, reader, "auto", 5, 42).people
    train, _ = people[0].folds[0]
    X = np.concatenate([person.X for person in people[4:]])
    y = np.concatenate([person.y for person in people[4:]])
    n_tuned, n_pretrained = 12 * 3 * n_seeds, 3 * n_seeds
    total = 0.0
    for name, (module, params) in NETWORKS.items():
        seconds, epochs = [], []
        _network(module, params).set_params(sfreq=80.0, max_epochs=1).fit(X[:32], y[:32])  # what is done once
        for signals, labels in ((people[0].X[train], people[0].y[train]), (X, y)):
            network = _network(module, params).set_params(sfreq=80.0)
            began = time.process_time()
            network.fit(signals, labels)
            seconds.append(time.process_time() - began)
            epochs.append(len(network.history_))
        study = 2 * n_tuned * seconds[0] + n_pretrained * seconds[1]  # within, and all layers trained on
        total += study
        print(
            f"{name:16} one person {seconds[0]:6.2f} s ({epochs[0]} epochs), eight people {seconds[1]:6.1f} s "
            f"({epochs[1]} epochs), study {study / 60:5.1f} min of one core",
            flush=True,
        )
    print(f"all: {total / 60:.0f} min of one core, {total / 60 / n_jobs:.0f} min with {n_jobs} jobs")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", nargs="?", type=Path, help="folder for tables, report, finished fits and weights")
    parser.add_argument("--jobs", type=int, default=2, help="fits at once")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each network")
    parser.add_argument("--fine-tune", default="all", help="all, head or all,head")
    parser.add_argument("--only", help="names of pipelines, separated by commas")
    parser.add_argument("--time", action="store_true", help="only tell how long it would take")
    arguments = parser.parse_args()
    if arguments.time:
        tell_times(arguments.seeds, arguments.jobs)
        return
    if arguments.out is None:
        parser.error("name the folder OUT")
    only = None if arguments.only is None else arguments.only.split(",")
    study = TransferStudy(
        pipelines(only), leave_subjects=4, seeds=arguments.seeds, fine_tune=arguments.fine_tune.split(","),
        n_jobs=arguments.jobs, out=arguments.out,
    )  # fmt: skip
    results = study.run(DATASET, command=f"python -m benchmarks.study_networks {arguments.out}", **READING)
    results.report(arguments.out / "report.html")
    columns = ["condition", "pipeline", "mean", "ci_low", "ci_high", "sd_subjects", "sd_seeds", "n", "chance_upper"]
    print(results.summary()[columns].round(3).to_string(index=False))
    columns = ["condition", "pipeline", "within", "transfer", "effect", "ci_low", "ci_high", "share_improved", "n"]
    print(results.effects()[[*columns, "p_wilcoxon", "p_wilcoxon_corrected"]].round(3).to_string(index=False))
    print(results.ranking_table().round(3).to_string(index=False))


if __name__ == "__main__":
    main()
