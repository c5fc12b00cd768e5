"""What the benchmarks and studies of FASTER promise about their own rows, without running them."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from neurosig.core.signals import SignalSpec


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2])


def test_components_may_not_be_fast_by_being_worse():
    from benchmarks import bench_faster
    from benchmarks.harness import find_side

    (row,) = [row for row in bench_faster.ROWS if "components, " in row.work and "without" not in row.work]
    assert find_side(row.agree) is bench_faster.components_agree
    bench_faster.check_distances(0.11, 0.1)
    for ours in (0.111, float("nan")):
        with pytest.raises(ValueError, match=r"expected at most 1\.1 times mne-faster's 0\.1000"):
            bench_faster.check_distances(ours, 0.1)


def test_both_sides_are_judged_by_their_distances(monkeypatch, tmp_path):
    from benchmarks import bench_faster

    def found(distance):
        return lambda scratch: {"sources": 20, "shown": {"Amari distance": distance}}

    monkeypatch.setattr(bench_faster, "write_epochs", lambda folder: None)
    monkeypatch.setattr(bench_faster, "components_peer", found(0.1))
    monkeypatch.setattr(bench_faster, "components_ours", found(0.09))
    assert "told" in bench_faster.components_agree(tmp_path)
    monkeypatch.setattr(bench_faster, "components_ours", found(0.2))
    with pytest.raises(ValueError, match=r"Amari distance 0\.2000"):
        bench_faster.components_agree(tmp_path)


def test_the_study_leaves_out_the_step_that_harms_but_in_one_row(monkeypatch):
    from benchmarks import study_augmented_covariance as study

    info = SignalSpec("eeg", ch_names=("Fp1", "Fp2", "Cz"), sfreq=160.0)
    manifest = SimpleNamespace(subject_list=["1"], load=lambda subjects: SimpleNamespace(info=info))
    monkeypatch.setattr("neurosig.loaders.manifest.open_dataset", lambda name: manifest)
    steps = {
        name: pipeline[0].steps
        for name, pipeline in study.cleaned({"A": study.with_lr(), "B": study.with_lr()}).items()
    }
    three = ("channels", "epochs", "components")
    every = (*three, "channels_in_epochs")
    assert steps == {"FASTER+A": three, "FASTER+B": three, "FASTER, all four steps+TS+LR": every}
