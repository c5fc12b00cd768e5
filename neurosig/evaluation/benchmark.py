"""`benchmark`: pipelines on datasets under one of MOABB's evaluations, resumable, each score with what it is worth."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from neurosig.core.errors import StorageError, UsageError
from neurosig.evaluation.folders import folder_for_results
from neurosig.evaluation.identity import versions
from neurosig.evaluation.progress import progress_bar
from neurosig.evaluation.request import (
    Entry,
    Options,
    check_objects,
    check_options,
    open_datasets,
    read_specs,
    run_key,
)
from neurosig.evaluation.results import Results, stored_run_key
from neurosig.evaluation.store import FoldStore

if TYPE_CHECKING:
    import pandas as pd

    from neurosig.evaluation.study import Study

__all__ = ["benchmark"]


def benchmark(
    pipelines: Any,
    datasets: Any,
    evaluation: str = "within_session",
    *,
    folds: str = "auto",
    n_splits: int | None = None,
    cs_mode: str | None = None,
    metric: str | None = None,
    param_grid: Mapping[str, Mapping[str, Sequence]] | None = None,
    groups: str | Sequence[str] | None = None,
    events: Any = None,
    subjects: Iterable[str | int] | None = None,
    data: str | os.PathLike | None = None,
    out: str | os.PathLike | None = None,
    overwrite: bool = False,
    n_jobs: int = 1,
    backend: str = "joblib",
    random_state: int | None = 42,
    allow_seen: bool = False,
    progress: bool | None = None,
    command: str | None = None,
    **processing: Any,
) -> Results:
    """Evaluate pipelines on datasets.

    Data are cut, folds are made and scores are computed by MOABB, so that the scores are those of its
    `WithinSessionEvaluation`, `CrossSessionEvaluation` and `CrossSubjectEvaluation`. With `out`, each finished fold is
    stored at once under a digest of all that it depends on: data, pipeline, parameters, code and versions. A call that
    was killed is repeated as it was and goes on where it stopped.

    Before anything is fitted it is proven for each fold that no tested sample lies within a training trial. Where
    trials overlap, blocks keep a gap, and shuffled folds are refused unless they were asked for by name. Whatever is
    pretrained in a pipeline (a parameter ``pretrained`` or ``tokenizer``) must have seen nobody who is tested, as far
    as it says whom it has seen (``trained_on.json`` of its folder); the results tell where that is not known.

    Parameters
    ----------
    pipelines : dict of str to estimator or path or name or list of these or None
        scikit-learn estimators by name; or pipeline files or folders of them, or names of pipelines that come with
        neurosig (see `load_pipelines`); None takes all of those, of fMRI the ones that the runs have labels,
        sites and volumes for. From files, those made for the dataset's paradigm run, those made for its filter-bank
        form on the same trials in MOABB's bands.
    datasets : str or path or Manifest or SignalDataset or moabb dataset or list of these
        A name, a recording or a folder is opened by `open_dataset`. The trials of a `SignalDataset` are used as they
        are, of any modality; EEG in volts reaches pipelines in microvolts, as from MOABB.
    evaluation : {"within_session", "cross_session", "cross_subject", "cross_site"}
        What a pipeline learns from: the same session, the same person's other sessions, other people, other sites.
    folds : {"auto", "run", "chronological", "shuffled", "session", "subject", "site"}
        Within a session: leave one run out, contiguous blocks, or MOABB's shuffled folds. "auto" never
        shuffles: it is what the dataset's manifest asks for, else runs where every session of every subject has two
        or more that hold every class, else blocks; "subject" where people bear one label each, or runs are of different
        lengths. "session", "subject" and "site" are those of the cross evaluations, and select them.
    n_splits : int, optional
        Number of folds: 5 blocks or shuffled folds by default, and one a session or subject; 5 folds over subjects
        (fewer where a class has fewer) where people bear one label each (see Notes). Sites are always left out one by
        one.
    cs_mode : str, optional
        In cross-subject evaluation, what of the test subject is given to steps that ask for it (MOABB's
        `CrossSubjectMode`): "train" (nothing, the default), "train_trialwise", "train_and_target_unlabeled_20p",
        "..._50p", "..._full", "train_and_target_labeled_20p", "..._50p".
    metric : {"roc_auc", "accuracy", "balanced_accuracy", "r2", "pearson", "neg_mean_absolute_error"}, optional
        MOABB's rule by default: ROC AUC for two classes, else accuracy. "r2" (default for numbers as labels), "pearson"
        and "neg_mean_absolute_error" ("mae" is the same: the error with a minus, so that higher is better) are for a
        `SignalDataset` with numbers as labels.
    param_grid : dict of str to dict, optional
        For pipelines given as objects: a grid searched in each training part, by pipeline name.
    groups : str or list of str, optional
        Named groups of pipelines from files.
    events : list of str or dict, optional
        Events to decode, see `open_dataset`.
    subjects : list of str, optional
        Only these subjects.
    data : path, optional
        Folder that holds the files of named datasets.
    out : path, optional
        Folder for ``results.csv``, ``folds.csv``, ``results.json`` and the ``store/`` of finished folds.
    overwrite : bool
        Compute everything again.
    n_jobs : int
        Processes for folds and subjects; -1 uses all cores. How many threads numerical libraries take is left alone, as
        it can change the last digits of scores; on small matrices one is fastest (``OMP_NUM_THREADS=1``).
    backend : {"joblib", "dask"}
        Where they run; "dask" uses the `dask.distributed.Client` that exists. Its workers must see the folder `out`.
    random_state : int or None
        Seed of shuffled folds and inner searches. Pipelines have their own.
    allow_seen : bool
        Also test pretrained parts on people whom they have seen; the results are marked by a warning.
    progress : bool, optional
        Show a progress bar, or where there is no terminal a line now and then; None shows the bar on a terminal only.
    command : str, optional
        How the report says that the results are made again.
    **processing
        Changes of the dataset's processing: ``tmin, tmax, fmin, fmax, resample, baseline, picks``.

    Returns
    -------
    Results
        The table of scores, the folds, and how to get them again.

    Raises
    ------
    UsageError
        Options that do not exist or do not fit together; no such dataset or pipeline.
    InputError
        Data that cannot be evaluated so: one class, fewer trials than folds, one session or subject only.
    StorageError
        `out` cannot be written, or the disk is full; finished folds are kept.
    LeakageError
        Folds that would test on what was trained on; pretrained parts that have seen people who are tested.

    Notes
    -----
    Pipelines get arrays. Steps that ask for the sampling rate or the channels (``sfreq, ch_names, info``, not set) are
    told them, see `neurosig.evaluation.signal_facts.with_signal_facts`.

    Where people bear one label each (a diagnosis, an age), no score can be had of one person. Folds over subjects are
    then of several people each, who are scored together: whole people, dealt out so that folds hold the same share of
    each label and, where the metadata have the column ``site``, of each label at each site. ``folds="site"`` leaves one
    site out at a time. Each run of a person is scored. Runs of different lengths (a list, or a sequence that is read as
    it is used) and fMRI take this path too; a row of the table is then a fold or a site (column ``tested``), and
    intervals and tests are those for overlapping training parts (`neurosig.evaluation.fold_statistics`). A site with
    one class, where ROC AUC and balanced accuracy are not defined, is trained on and not tested, which a warning says.

    In these folds, steps that ask for them by scikit-learn's metadata routing, in their fit, `transform` or `predict`,
    are given ``subjects``, ``sites`` and ``t_r`` (seconds), one entry a run, from the metadata's columns ``subject``,
    ``site`` and ``t_r``. Searches inside keep people together.

    With filter banks, MOABB's evaluations up to 1.7 hand pipelines the first band only; here they get all bands, as
    MOABB's paradigms make them.

    Examples
    --------
    >>> from neurosig import benchmark, load_pipelines, simulate_eeg
    >>> signals = simulate_eeg(n_subjects=2, n_sessions=1, n_runs=2, n_trials=10)
    >>> results = benchmark(load_pipelines(names="CSP+LDA"), signals)
    >>> results.table[["subject", "score"]].shape
    (2, 2)
    """
    options = check_options(evaluation, folds, n_splits, cs_mode, random_state, metric, backend, n_jobs)
    entries = open_datasets(datasets, data=data, events=events, subjects=subjects, processing=processing)
    objects = dict(pipelines) if isinstance(pipelines, Mapping) else None
    if objects is None:
        if param_grid:
            raise UsageError(
                "param_grid belongs to pipelines given as objects; in a pipeline file it is a key of its own"
            )
        read_specs(entries, pipelines, groups)
    else:
        check_objects(objects, param_grid or {})
    key = run_key(options, entries, objects, param_grid, subjects, allow_seen=allow_seen)

    def run(store: FoldStore | None) -> Results:
        from neurosig.evaluation.cards import python_call
        from neurosig.evaluation.seen import check_study
        from neurosig.evaluation.study import make_studies

        studies = [  # all of them before any long work, so that a wrong one is told at once
            (entry, study)
            for entry in entries
            for study in make_studies(entry, options, objects, param_grid or {}, subjects, processing, store)
        ]
        for entry, study in studies:
            check_study(study, entry.own_name, allow_seen, getattr(entry.manifest, "same_people", ()))
        results = _run(studies, options, store, n_jobs, backend, progress, overwrite)
        results.meta |= {
            "command": command or python_call(options, entries, subjects, processing),
            "run_key": key if results.failed.empty else None,  # what failed is tried again
        }
        return results

    if out is None:
        return run(None)
    with folder_for_results(out, "store") as folder:
        if key is not None and not overwrite and stored_run_key(folder) == key:
            with contextlib.suppress(StorageError):  # damaged tables are made again from the stored folds
                return Results.load(folder)
        results = run(FoldStore(folder / "store").open())
        results.save(folder)
    return results


def _run(
    studies: list[tuple[Entry, Study]],
    options: Options,
    store: FoldStore | None,
    n_jobs: int,
    backend: str,
    progress: bool | None,
    overwrite: bool,
) -> Results:
    """Run every study and put what comes out into one table."""
    import pandas as pd

    from neurosig.evaluation.cards import (
        common_columns,
        dataset_card,
        left_out_trials,
        pipeline_card,
        region_places,
        told_by_pipelines,
    )
    from neurosig.evaluation.chosen import count_chosen
    from neurosig.evaluation.covariances import cells_caution
    from neurosig.evaluation.edge_weights import mean_edges
    from neurosig.evaluation.execution import run_study
    from neurosig.evaluation.tables import make_tables

    started = time.time()
    tables, folds, warnings = [], [], []
    datasets: dict[str, dict[str, Any]] = {}
    pipelines: dict[str, dict[str, Any]] = {}
    regions: dict[str, dict[str, Any]] = {}
    for entry, study in studies:
        with _parallel(backend), progress_bar(entry.name, progress) as report:
            records = run_study(study, store, -1 if backend == "dask" and n_jobs == 1 else n_jobs, report, overwrite)
        average = study.runner.average if study.runner.averages_folds else None
        table, fold_table = make_tables(records, common_columns(entry, study), average)
        tables.append(table)
        folds.append(fold_table)
        card = datasets.setdefault(entry.name, dataset_card(entry, study, fold_table, records))
        chosen, edges = count_chosen(records), mean_edges(records)
        if edges:
            regions[entry.name] = region_places(entry)
        for name, pipeline in study.pipelines.items():
            spec = next((spec for spec in entry.specs if spec.name == name), None)
            its = pipelines.setdefault(name, pipeline_card(name, pipeline, study.param_grid.get(name), spec))
            if parts := study.pretrained.get(name):
                its["pretrained"] = {part.parameter: part.name for part in parts}
                its["allow_seen"] = study.tested["allow"]
            if name in chosen:
                its.setdefault("chosen", {})[entry.name] = chosen[name]
            if name in edges:
                its.setdefault("edges", {})[entry.name] = edges[name]
        if entry.manifest is not None and entry.manifest.adhoc:  # nobody has read what was found out just now
            told = [*entry.manifest.warnings, *cells_caution(entry.manifest, study.pipelines)]
            warnings += [f"{entry.name}: {text}" for text in told]
        warnings += study.warnings + left_out_trials(card) + told_by_pipelines(records)
    meta = {
        "datasets": list(datasets.values()),
        "pipelines": list(pipelines.values()),
        "evaluation": ", ".join(dict.fromkeys(study.runner.name for _, study in studies)),
        "folds": ", ".join(dict.fromkeys(study.options["folds"] for _, study in studies)),
        "cs_mode": options.cs_mode,
        "seed": options.random_state,
        "n_jobs": n_jobs,
        "versions": versions(),
        "created": time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(started)),
        "seconds": round(time.time() - started, 1),
        "warnings": list(dict.fromkeys(warnings)),
        **({"regions": regions} if regions else {}),
    }
    return Results(_concatenate(pd, tables), _concatenate(pd, folds), meta)


def _concatenate(pd: Any, frames: list[pd.DataFrame]) -> pd.DataFrame:
    return frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)


@contextlib.contextmanager
def _parallel(backend: str) -> Iterator[None]:
    if backend == "joblib":
        yield
        return
    from joblib import parallel_config

    with parallel_config(backend="dask"):
        yield
