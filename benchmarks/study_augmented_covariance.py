"""What augmented covariances are worth on recordings of people: ``python -m benchmarks.study_augmented_covariance``.

NEUROSIG_DATA names the folder that holds the recordings. Each ``--part`` is a table or several; without it all are
made. Finished folds are kept in ``--out``: a study that was stopped goes on, and repeating it prints the tables again.

``methods``
    Left against right imagined fist in 12 people, 64 channels, 3 s at 160 Hz (`eegmmidb-trials`), one run tested and
    two learned from, which are 30 trials. Tangent space, fixed order and lag, the search, the choices without labels,
    and the Siegel geometry, with and without FASTER learned on the training trials (channels, epochs and components; in
    one row all four steps).
``remedies``
    The same trials: what is to help the search with many channels and short trials.
``precision``
    The same trials, the 21 channels over the motor cortex, orders 1, 2, 4 and lags 2, 4: what the search loses that
    takes the tangent vectors of all inner folds at one reference.
``transfer``
    Other people decoded, with and without `Recentering` (`eegmmidb-trials`, `eegmat`).
``idle``
    Whole recordings in sliding windows with an idle class (`eegmmidb`, the people that are there).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from sklearn.base import clone
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.svm import SVC

from neurosig.core.files import atomic_write
from neurosig.preprocessing import (
    FASTER,
    AugmentedCovariances,
    AugmentedCovarianceSearch,
    BlockToeplitzSiegel,
    FastTangentSpace,
    Recentering,
    SpatialReduction,
)
from neurosig.preprocessing.faster_course import STEPS

if TYPE_CHECKING:
    from neurosig.evaluation.results import Results

REFERENCE = "TS+LR"
TRIALS = "eegmmidb-trials"
# At 160 Hz 4 and 8 samples are a quarter and a half of a period of 10 Hz. Trials have 481 samples: 64 channels in
# order 6 are 384.
ORDERS, LAGS = (1, 2, 4), (2, 4, 8)
FIXED = {"order": 4, "lag": 5}
MOTOR = [f"{row}{column}" for row in ("FC", "C", "CP") for column in (5, 3, 1, "z", 2, 4, 6)]
SELECTIONS = {
    "MDOP": {"select": "mdop"},
    "AMI+Cao": {"select": "ami_cao"},
    "autocorrelation": {"select": "autocorrelation"},
    "AR order, BIC": {"select": "ar_order", "select_options": {"criterion": "bic"}},
    "AR order, AIC": {"select": "ar_order", "select_options": {"criterion": "aic"}},
    "AR order, HQ": {"select": "ar_order", "select_options": {"criterion": "hq"}},
}


# choices that hardly differ from that by BIC
SAME = {"PCA16+ACM AR order, AIC", "PCA16+ACM AR order, HQ"}


def tangent(*, order: int = 1, lag: int = 1, estimator: str = "oas", **options: Any) -> list:
    """Steps from trials to tangent vectors."""
    return [AugmentedCovariances(order, lag, estimator, **options), FastTangentSpace()]


def with_svm(*steps: Any, **options: Any) -> Any:
    """Tangent space and a linear support vector machine after some steps."""
    return make_pipeline(*steps, *tangent(**options), SVC(kernel="linear"))


def with_lr(*steps: Any, **options: Any) -> Any:
    """Tangent space and logistic regression after some steps."""
    return make_pipeline(*steps, *tangent(**options), LogisticRegression(max_iter=1000))


def search(**options: Any) -> AugmentedCovarianceSearch:
    """A search over the part of the published grid that 64 channels leave room for."""
    settings = {"orders": ORDERS, "lags": LAGS, "random_state": 42}
    return AugmentedCovarianceSearch(**{**settings, **options})


def cleaned(pipelines: dict[str, Any]) -> dict[str, Any]:
    """The same after FASTER, told the channels of the trials."""
    from neurosig.loaders.manifest import open_dataset

    manifest = open_dataset(TRIALS)
    info = manifest.load(subjects=manifest.subject_list[:1]).info
    # without the fourth step, which harms covariances, as the shipped pipelines; one row shows by how much
    faster = FASTER(
        steps=STEPS[:3], sfreq=info.sfreq, ch_names=list(info.ch_names), eog_proxy=["Fp1", "Fp2"],
        output_reference=None, few="ignore", random_state=0,
    )  # fmt: skip
    found = {f"FASTER+{name}": make_pipeline(faster, pipeline) for name, pipeline in pipelines.items()}
    every = clone(faster).set_params(steps=STEPS)
    return found | {f"FASTER, all four steps+{REFERENCE}": make_pipeline(every, with_lr())}


def methods() -> dict[str, dict]:
    """The method with each way to choose order and lag, in groups that may be run one by one."""
    pca = SpatialReduction("pca", 16)
    plain = {
        REFERENCE: with_lr(),
        "TS+SVM": with_svm(),
        "ACM 4x5": with_svm(**FIXED),
        "Siegel 4x5": make_pipeline(BlockToeplitzSiegel(**FIXED), SVC(kernel="linear")),
        "PCA16+TS+SVM": with_svm(pca),
    }
    chosen = {f"PCA16+ACM {name}": with_svm(pca, **how) for name, how in SELECTIONS.items()}
    capped = {
        f"ACM {name}, order to 4": with_svm(**SELECTIONS[name], select_options={"max_order": 4})
        for name in ("MDOP", "AMI+Cao", "autocorrelation")
    }
    coarse = {
        "ACM grid, coarse": search(precision="coarse"),
        "ACM grid OAS, coarse": search(estimator="oas", precision="coarse"),
    }
    by_label = {"ACM grid": search()}
    # what FASTER took out leaves plain covariances singular
    again = {
        name: pipeline
        for name, pipeline in (plain | chosen | coarse).items()
        if name not in SAME | {"ACM grid, coarse"}
    }
    return {
        "plain": plain, "chosen": chosen, "coarse": coarse, "faster": cleaned(again), "grid": by_label, "capped": capped
    }  # fmt: skip


def remedies() -> dict[str, dict]:
    """What a researcher would try where the method loses to plain tangent space."""
    whitening = Recentering(new="train")
    both = [("one", make_pipeline(*tangent())), ("four", make_pipeline(*tangent(**FIXED)))]
    members = [("one", with_lr()), ("four", with_lr(**FIXED))]
    fused = {
        REFERENCE: with_lr(),
        "TS+SVM": with_svm(),
        "ACM 4x5": with_svm(**FIXED),
        "ACM 4x5, LR": members[1][1],
        "white+ACM 4x5": with_svm(whitening, **FIXED),
        "white+ACM 4x5, LR": with_lr(whitening, **FIXED),
        "TS and ACM 4x5, vectors joined, LR": make_pipeline(FeatureUnion(both), LogisticRegression(max_iter=1000)),
        "TS and ACM 4x5, mean probability": VotingClassifier(members, voting="soft"),
        "TS and ACM 4x5, stacked": StackingClassifier(members, LogisticRegression(), cv=3),
        "TS and Siegel 4x5, mean probability": VotingClassifier(
            [members[0], ("siegel", make_pipeline(BlockToeplitzSiegel(**FIXED), LogisticRegression(max_iter=1000)))],
            voting="soft",
        ),
    }
    few = {"orders": (1, 2, 4, 6), "precision": "coarse", "max_size": "rank"}
    shrunk = {"estimator": ("cov", "oas", "lwf", "sch"), **few}
    reduced = {
        f"{name}+ACM grid{what}, coarse": search(reduction=reduction, **options)
        for name, reduction in (
            ("CSP6", SpatialReduction("csp", 6)),
            ("PCA16", SpatialReduction("pca", 16)),
            ("select16", SpatialReduction("select", 16)),
        )
        for what, options in (("", few), (", estimator chosen", shrunk))
    }
    lr = {"classifier": LogisticRegression(max_iter=1000), "param_grid": {"C": [0.01, 0.1, 1.0]}}
    wide = {
        "ACM grid, estimator chosen, coarse": search(estimator=("cov", "oas", "lwf", "sch"), precision="coarse"),
        "ACM grid OAS, LR, coarse": search(estimator="oas", precision="coarse", **lr),
        "white+ACM grid OAS, coarse": search(estimator="oas", precision="coarse", reduction=whitening),
    }
    return {"fused": fused, "reduced": reduced, "wide": wide}


def motor() -> dict[str, Any]:
    """For few channels that are known by name."""
    return {
        REFERENCE: with_lr(),
        "ACM 4x5": with_svm(**FIXED),
        "ACM 4x5, LR": with_lr(**FIXED),
        "ACM grid, coarse": search(precision="coarse", orders=(1, 2, 4, 6)),
        "ACM grid OAS, coarse": search(estimator="oas", precision="coarse", orders=(1, 2, 4, 6)),
    }


def aligned() -> dict[str, dict]:
    """Decoders of other people, each with and without moving everybody to a common centre."""
    from pyriemann.classification import MDM

    siegel = BlockToeplitzSiegel(**FIXED)
    groups = {
        "matrices": {REFERENCE: (*tangent(), LogisticRegression(max_iter=1000)), "MDM": (*tangent()[:1], MDM())},
        "siegel": {"Siegel 4x5+LR": (siegel, LogisticRegression(max_iter=1000))},
    }
    return {
        group: {
            f"{before}{name}": make_pipeline(*first, *steps)
            for name, steps in ends.items()
            for before, first in (("", ()), ("Recentering+", (Recentering(new="target"),)))
        }
        for group, ends in groups.items()
    }


def evaluate(folder: Path, pipelines: dict, dataset: str = TRIALS, **options: Any) -> Results:
    """Results of pipelines and of the reference, those of earlier calls read."""
    from neurosig.evaluation.benchmark import benchmark

    options = {"folds": "run", "random_state": 42, **options}
    return benchmark({REFERENCE: with_lr()} | pipelines, dataset, out=folder, **options)


def tabulate(table: pd.DataFrame, reference: str = REFERENCE) -> pd.DataFrame:
    """Mean and interval of each pipeline, and its paired difference to one; Holm over these comparisons."""
    from neurosig.evaluation.statistics import summarize

    table = table.drop_duplicates(["subject", "session", "pipeline"])
    rows = summarize(table, by=["pipeline"])[["pipeline", "n", "mean", "ci_low", "ci_high"]]
    seconds = table.groupby("pipeline")["seconds_fit"].mean().rename("s a fold")
    others = [name for name in rows["pipeline"] if name != reference]
    rows = rows.merge(paired(table, [(name, reference) for name in others]), how="left")
    return rows.merge(seconds, left_on="pipeline", right_index=True)


def paired(table: pd.DataFrame, pairs: list[tuple[str, str]]) -> pd.DataFrame:
    """What the first of each pair gains on the second, over subjects; Holm over the pairs."""
    from neurosig.evaluation.statistics import compare, holm

    rows = []
    for one, other in pairs:
        pair = compare(table[table["pipeline"].isin([one, other])]).iloc[0]
        sign = 1 if pair["pipeline_a"] == one else -1
        low, high = sorted((sign * pair["ci_low"], sign * pair["ci_high"]))
        gain = {"gain": sign * pair["difference"], "gain_low": low, "gain_high": high}
        rows.append({"pipeline": one, **gain, "p": pair["p"]})
    return pd.DataFrame(rows).assign(p_holm=lambda found: holm(found["p"]))


def study_groups(
    out: Path, groups: dict[str, dict], only: list[str] | None, name: str, dataset: str = TRIALS, **options: Any
) -> dict[str, pd.DataFrame]:
    """One table of the groups that were asked for, and what their folds chose."""
    found = [
        evaluate(out / group, pipelines, dataset, **options)
        for group, pipelines in groups.items()
        if only is None or group in only
    ]
    if not found:
        return {}
    tables = {name: tabulate(pd.concat([results.table for results in found]))}
    folds = pd.concat([results.folds for results in found])
    chosen = folds[folds["chosen"].astype(bool)]
    if len(chosen):
        counts = chosen.groupby("pipeline", sort=False)["chosen"].value_counts().rename("folds").reset_index()
        tables[f"{name}, chosen"] = counts
    return tables


def study_methods(out: Path, only: list[str] | None = None) -> dict[str, pd.DataFrame]:
    """The table of the method and its choices."""
    return study_groups(out, methods(), only, "methods")


def study_remedies(out: Path, only: list[str] | None = None) -> dict[str, pd.DataFrame]:
    """Tables of the remedies: all channels, and those over the motor cortex by name."""
    tables = study_groups(out, remedies(), only, "remedies")
    for what, picks in (("motor21", MOTOR), ("C3 Cz C4", ["C3", "Cz", "C4"])):
        if only is None or what in only:
            few = evaluate(out / what, motor(), picks=picks).table
            few = few.assign(pipeline=f"{what}: " + few["pipeline"])
            whole = evaluate(out / "reference", {}).table
            tables[what] = tabulate(pd.concat([few, whole]))
    return tables


def study_precision(out: Path, only: list[str] | None = None) -> dict[str, pd.DataFrame]:
    """What the coarse search gains or loses on the exact one, and in how many folds both choose alike."""
    names = ["ACM grid", "ACM grid, coarse"]
    grid = {"orders": (1, 2, 4), "lags": (2, 4)}
    searches = dict(zip(names, (search(**grid), search(**grid, precision="coarse")), strict=True))
    found = evaluate(out, searches, picks=MOTOR)
    keys = ["subject", "session", "fold"]
    exact, coarse = (found.folds[found.folds["pipeline"] == name].set_index(keys)["chosen"] for name in names)
    same = (exact == coarse.reindex(exact.index)).agg(["mean", "size"]).rename("same choice").reset_index()
    gain = paired(found.table, [(names[1], names[0])])
    return {"precision": tabulate(found.table), "precision, gain of coarse": gain, "precision, choices": same}


def study_transfer(out: Path, only: list[str] | None = None) -> dict[str, pd.DataFrame]:
    """Tables a dataset of other people decoded; what does not ask for it knows no trial of the tested person."""
    how = {"evaluation": "cross_subject", "folds": "subject", "cs_mode": "train_and_target_unlabeled_full"}
    groups, tables = aligned(), {}
    wanted = [group for group in groups if only is not None and group in only] or list(groups)
    for dataset in (TRIALS, "eegmat"):
        if only is None or dataset in only:
            name = f"transfer, {dataset}"
            tables |= study_groups(out / dataset, groups, wanted, name, dataset, **how)
            table = pd.concat(
                [evaluate(out / dataset / group, groups[group], dataset, **how).table for group in wanted]
            )
            moved = [other for group in wanted for other in groups[group] if other.startswith("Recentering+")]
            pairs = [(other, other.removeprefix("Recentering+")) for other in moved]
            tables[f"{name}, gain of recentering"] = paired(table.drop_duplicates(["subject", "pipeline"]), pairs)
    return tables


def study_idle(out: Path, only: list[str] | None = None) -> dict[str, pd.DataFrame]:
    """Scores with an idle class, acting on each decision and on four in a row; a report and the windows beside."""
    from neurosig.core.signals import Processing
    from neurosig.evaluation.pseudo_online import pseudo_online

    def balanced(*steps: Any) -> Any:
        return make_pipeline(*steps, LogisticRegression(max_iter=1000, class_weight="balanced"))

    pca = SpatialReduction("pca", 16)
    decoders = {
        "Chance": DummyClassifier(strategy="stratified", random_state=0),
        "never acts": DummyClassifier(strategy="most_frequent"),
        REFERENCE: with_lr(),
        "TS+LR, balanced": balanced(*tangent()),
        "PCA16+TS+LR, balanced": balanced(pca, *tangent()),
        "PCA16+ACM 4x5+LR, balanced": balanced(pca, *tangent(**FIXED)),
        "PCA16+Siegel 4x5+LR, balanced": balanced(pca, BlockToeplitzSiegel(**FIXED)),
    }
    # a cue is on for 4.1 s
    task = Processing(tmin=0.5, tmax=4.0, fmin=8.0, fmax=32.0)
    found = pseudo_online(decoders, "eegmmidb", subjects=["1", "2"], window=2.0, step=0.25, processing=task)
    tables = {}
    for hold in (1, 4):
        if only is None or f"hold{hold}" in only:
            acted = found.with_hold(hold)
            acted.save(out / f"hold{hold}")
            acted.report(out / f"hold{hold}" / "report.html")
            tables[f"idle, acts on {hold}"] = acted.summary()
    return tables


PARTS = {
    "methods": study_methods, "remedies": study_remedies, "precision": study_precision, "transfer": study_transfer,
    "idle": study_idle,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.study_augmented_covariance", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--out", type=Path, default=Path("benchmarks/study_augmented_covariance"))
    parser.add_argument("--part", nargs="+", choices=tuple(PARTS), default=tuple(PARTS), help="only these")
    parser.add_argument("--only", nargs="+", help="of these parts, only these groups of pipelines or datasets")
    options = parser.parse_args()
    for part in options.part:
        for name, table in PARTS[part](options.out / part, options.only).items():
            if options.only is None:  # else it is only a part
                atomic_write(options.out / f"{name}.csv", table.to_csv(index=False))
            print(f"{name}\n{table.to_string(index=False, float_format=lambda value: f'{value:.3f}')}\n", flush=True)


if __name__ == "__main__":
    main()
