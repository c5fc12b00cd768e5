"""Five networks of the EEGNet family on 12 people of 64-channel motor imagery, alone and with transfer from others.

``python -m benchmarks.study_networks OUT [--jobs N] [--only NAME,NAME] [--seeds N] [--faster]`` runs the protocol of
Köllőd et al. (2023, Electronics 12, 2743) on `eegmmidb-trials` (NEUROSIG_DATA names the folder that holds it) and
writes the tables and the report into OUT. A call that was killed is repeated as it was and goes on. ``--time`` fits
each network once on one person and once on eight, and tells how long the study would take.

The budget is a little over an hour of one slow core, so that these differ from the publication:

- imagined left and right fist of 12 people, 45 trials each, leave one of three runs out (not 5 shuffled folds);
- 21 channels over the sensorimotor cortex (rows FC, C and CP), 4 to 30 Hz, 64 Hz, 0 to 4 s after the cue, in 2-s
  windows every 0.5 s (not 64 channels, 1 to 45 Hz, 160 Hz, every 0.1 s), so that training parts hold 150 windows;
- 4 people left out at a time, so that networks are pretrained on 8 (not on 99);
- two classes (not four), no FASTER unless ``--faster``, which fits it in the folds, no balancing of classes; signals
  divided by their standard deviation (not raw microvolts).

So small a training part, in so few steps, asks for another training than the published one, which needs thousands of
steps. Measured on simulated imagery of 12 people (`simulate_eeg`, no tested trial of this study):

- 20 epochs with a learning rate that falls from 2e-3 to zero, on all training trials; not the publication's early
  stopping, which here would judge by 6 of 30 trials and mostly picks epochs by chance;
- batch norms that forget at 0.1 a step (EEGNet, EEGNet Fusion and MI-EEGNet as published: 0.01). 100 steps are too few
  for 0.01: a third of the running statistics would still be those of no data, and accuracy falls on the very trials
  that were trained on;
- dropout of 0.25 (not 0.5). Dropout before a batch norm makes its running variance larger than what comes at test;
  through the four blocks of Deep ConvNet this moves its decisions to one class as long as it is little trained.

Shallow ConvNet pools by the mean, as its authors publish it; the publication's variant, which pools by the maximum, is
there as "ShallowConvNet max" with ``--only``.
"""

from __future__ import annotations

import argparse
import shlex
import sys
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
READING: dict[str, Any] = {"tmin": 0.0, "tmax": 4.0, "fmin": 4.0, "fmax": 30.0, "resample": 64.0, "picks": CHANNELS}
WINDOW, STEP = 2.0, 0.5
DROP = {"drop_prob": 0.25}
QUICK = {**DROP, "batch_norm_momentum": 0.1}  # both ConvNets have this momentum as published
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "ShallowConvNet": ("ShallowConvNet", {"variant": "arl", **DROP}),
    "DeepConvNet": ("DeepConvNet", {"variant": "comparison", **DROP}),
    "EEGNet": ("EEGNet", {"variant": "comparison", **QUICK}),
    "EEGNetFusion": ("EEGNetFusion", {"variant": "comparison", **QUICK}),
    "MI-EEGNet": ("MIEEGNet", QUICK),
}
EXTRA = {"ShallowConvNet max": ("ShallowConvNet", {"variant": "comparison", **DROP})}
CLASSICAL = {
    "TS+LR": make_pipeline(FastTangentSpace(estimator="oas"), LogisticRegression(max_iter=1000)),
    "Chance": DummyClassifier(strategy="prior"),
}
TRAINING = {
    "max_epochs": 20, "batch_size": 32, "lr": 2e-3, "optimizer": "Adam", "schedule": "cosine", "validation": None,
    "device": "cpu", "random_state": 0,
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
    from neurosig.evaluation.transfer_data import Windows, read_cohort

    (entry,) = open_datasets([DATASET], data=None, events=None, subjects=None, processing=READING)
    options = Options("within_session", "chronological", None, None, 42, "accuracy")
    reader = make_studies(entry, options, {"Chance": CLASSICAL["Chance"]}, {}, None, {})[0]
    cohort = read_cohort(entry, reader, "auto", 5, 42)
    people = cohort.people
    windows = Windows.of(WINDOW, STEP, cohort.sfreq, people[0].X.shape[2])
    assert windows is not None
    train, _ = people[0].folds[0]
    own, trial = windows.cut(people[0].X[train])
    own_y = people[0].y[train][trial]
    X, trial = windows.cut(np.concatenate([person.X for person in people[4:]]))
    y = np.concatenate([person.y for person in people[4:]])[trial]
    n_tuned, n_pretrained = 12 * 3 * n_seeds, 3 * n_seeds
    total = 0.0
    for name, (module, params) in NETWORKS.items():
        seconds, epochs = [], []
        _network(module, params).set_params(sfreq=cohort.sfreq, max_epochs=1).fit(own, own_y)  # what is done once
        for signals, labels in ((own, own_y), (X, y)):
            network = _network(module, params).set_params(sfreq=cohort.sfreq)
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
    parser.add_argument("--faster", action="store_true", help="clean by FASTER, fitted in the folds")
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
        window=WINDOW, window_step=STEP, faster=arguments.faster, n_jobs=arguments.jobs, out=arguments.out,
    )  # fmt: skip
    command = shlex.join(["python", "-m", "benchmarks.study_networks", *sys.argv[1:]])
    results = study.run(DATASET, command=command, **READING)
    results.report(arguments.out / "report.html")
    columns = ["condition", "pipeline", "mean", "ci_low", "ci_high", "sd_subjects", "sd_seeds", "n", "chance_upper"]
    print(results.summary()[columns].round(3).to_string(index=False))
    columns = ["condition", "pipeline", "within", "transfer", "effect", "ci_low", "ci_high", "share_improved", "n"]
    print(results.effects()[[*columns, "p_wilcoxon", "p_wilcoxon_corrected"]].round(3).to_string(index=False))
    print(results.ranking_table().round(3).to_string(index=False))


if __name__ == "__main__":
    main()
