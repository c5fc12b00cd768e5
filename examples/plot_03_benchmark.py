"""
Compare decoders
================

Two pipelines on simulated motor imagery, evaluated as MOABB does it: which one is better, by how much, and is that more
than luck?
"""

# %%
# Trials of left and right hand imagery of four simulated people, two runs each. With your own recordings this is
# ``neurosig.load_eeg(...)``, or the name of a dataset.
from neurosig import benchmark, load_pipelines, simulate_eeg

signals = simulate_eeg(kind="imagery", n_subjects=4, n_sessions=1, n_runs=2, n_trials=16, random_state=0)
print(signals)

# %%
# Pipelines are scikit-learn pipelines; these come with neurosig, as files in MOABB's format. What learns from data sits
# inside, so that it only ever sees the training part of a fold.
pipelines = load_pipelines(names=["CSP+LDA", "TS+LR", "Chance"])
print(pipelines["TS+LR"])

# %%
# Each run is left out once. Give ``out="results/"`` to keep every finished fold on disk, so that a run that is stopped
# goes on where it was.
results = benchmark(pipelines, signals, evaluation="within_session", folds="run")
print(results.table[["subject", "pipeline", "score", "chance_upper", "seconds_fit"]])

# %%
# The mean over people with its 95 % interval, and every pair of pipelines compared subject by subject.
print(results.summary()[["pipeline", "mean", "sd", "n", "ci_low", "ci_high", "chance"]])
print(results.compare()[["pipeline_a", "pipeline_b", "difference", "p_corrected"]])

# %%
# What to keep in mind when reading these numbers.
for line in results.warnings:
    print("-", line)

# %%
# Every dot is one person.
figure = results.plot()
