"""
Write your own pipeline
=======================

A decoder becomes part of a comparison in one of two ways: as a YAML file, which names classes of any installed
package and their parameters, or as a scikit-learn object made in Python. Both are compared here, run by run, with a
pipeline that comes with neurosig and with the chance level.
"""

# %%
# A pipeline as a file
# --------------------
# The format is MOABB's: `moabb.benchmark(pipelines="my_pipelines/")` runs the same folder.

import tempfile
from pathlib import Path

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.pipeline import make_pipeline

from neurosig import benchmark, load_pipelines, simulate_eeg
from neurosig.core.errors import ManifestError

folder = Path(tempfile.mkdtemp()) / "my_pipelines"
folder.mkdir()
TEXT = """\
name: TS+shrunk LDA
group: mine
description: Tangent space and linear discriminant analysis with shrinkage.
paradigms: [LeftRightImagery]
citations: [https://doi.org/10.1016/j.neucom.2012.12.039]
pipeline:
  - name: Covariances
    from: pyriemann.estimation
    parameters:
      estimator: oas
  - name: TangentSpace
    from: pyriemann.tangentspace
  - name: LinearDiscriminantAnalysis
    from: sklearn.discriminant_analysis
    parameters:
      solver: lsqr
      shrinkage: auto
"""
file = folder / "ts_shrunk_lda.yml"
file.write_text(TEXT)
mine = load_pipelines(folder)
print(mine["TS+shrunk LDA"])

# %%
# A mistake in a file is named with its line, before anything is computed.

wrong = folder / "wrong.yml"
wrong.write_text(TEXT.replace("TangentSpace", "TangentPlace"))
try:
    load_pipelines(wrong)
except ManifestError as error:
    print(error)
wrong.unlink()

# %%
# A pipeline in Python
# --------------------
# Any estimator will do that takes `(n_trials, n_channels, n_times)`. What it learns belongs into `fit`, so that it is
# learned from training trials only; parameters are stored unchanged, so that it can be cloned.


class HalfPower(TransformerMixin, BaseEstimator):
    """Log-power of each channel in equal parts of the trial: desynchronisation takes time to build up."""

    def __init__(self, n_parts=2):
        self.n_parts = n_parts

    def fit(self, X, y=None):
        self.n_channels_ = X.shape[1]
        return self

    def transform(self, X):
        parts = np.array_split(X, self.n_parts, axis=-1)
        return np.concatenate([np.log(part.var(axis=-1)) for part in parts], axis=1)


mine["Half power+LDA"] = make_pipeline(HalfPower(), LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"))

# %%
# Compared
# --------
# Four simulated people imagine moving the left or the right hand, in two runs each; a decoder is tested on the run that
# it was not trained on.

data = simulate_eeg("imagery", n_subjects=4, n_sessions=1, n_runs=2, n_trials=24, random_state=1)
others = load_pipelines(names=["CSP+LDA", "Chance"])
results = benchmark({**mine, **others}, data, evaluation="within_session", folds="run")
print(results.summary()[["pipeline", "mean", "ci_low", "ci_high", "n", "note"]].to_string(index=False))

# %%
# Pairs are compared across subjects. With four people not even a difference that all of them share can be significant,
# and the table says so.

pairs = results.compare()
print(pairs[["pipeline_a", "pipeline_b", "difference", "p", "p_corrected", "note"]].to_string(index=False))

# %%
# One score for each person, with the interval over people and the chance level.

results.plot()
