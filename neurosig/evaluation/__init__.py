"""Honest comparisons: pipelines, folds, MOABB's evaluations, statistics, and pipelines trained to be used."""

from neurosig.core.lazy import attach

_NAMES = {
    "PseudoOnline": "neurosig.evaluation.pseudo_online",
    "Results": "neurosig.evaluation.results",
    "TrainedPipeline": "neurosig.evaluation.trained",
    "TransferResults": "neurosig.evaluation.transfer_results",
    "TransferStudy": "neurosig.evaluation.transfer",
    "benchmark": "neurosig.evaluation.benchmark",
    "chance_level": "neurosig.evaluation.metrics",
    "improvement_over_chance": "neurosig.evaluation.metrics",
    "load_pipelines": "neurosig.evaluation.pipelines",
    "pseudo_online": "neurosig.evaluation.pseudo_online",
    "read_pipeline_specs": "neurosig.evaluation.pipelines",
    "segment_matching": "neurosig.evaluation.segment_matching",
    "site_folds": "neurosig.evaluation.cohort_folds",
    "subject_folds": "neurosig.evaluation.cohort_folds",
    "train": "neurosig.evaluation.trained",
    "transfer_effect": "neurosig.evaluation.metrics",
}
__getattr__, __dir__, __all__ = attach(__name__, _NAMES)
