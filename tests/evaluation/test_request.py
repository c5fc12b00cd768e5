"""Which pipelines are run on which dataset, and what is said of those that are not."""

import shutil

import numpy as np
import pytest

from neurosig.core.errors import UsageError
from neurosig.core.files import resource_dir
from neurosig.core.signals import BANDS
from neurosig.evaluation.request import open_datasets, read_specs
from neurosig.loaders.manifest import read_manifest

MINE = """\
name: {name}
paradigms: [{paradigms}]
pipeline:
  - {{name: Covariances, from: pyriemann.estimation}}
  - {{name: MDM, from: pyriemann.classification}}
"""
LAB = """\
name: lab
title: Two hands
paradigm: imagery
source:
  files: [{path: a.npz, subject: 1}, {path: b.npz, subject: 2}, {path: c.npz, subject: 3}]
events: {links: left_hand, rechts: right_hand}
processing: {tmin: 0.0, tmax: 0.5}
"""


@pytest.fixture
def mine(tmp_path):
    """A file with a pipeline of one's own: ``mine("Mine", "P300")``."""

    def write(name="Mine", paradigms="LeftRightImagery, MotorImagery"):
        path = tmp_path / f"{name}.yml"
        path.write_text(MINE.format(name=name, paradigms=paradigms))
        return path

    return write


@pytest.fixture
def lab(tmp_path):
    """A manifest of three files, two of them there, whose events are called otherwise than usual."""
    folder = tmp_path / "lab"
    folder.mkdir()
    (folder / "lab.yml").write_text(LAB)
    for seed, name in enumerate("ab"):
        X = np.random.default_rng(seed).standard_normal((8, 2, 100))
        np.savez(folder / f"{name}.npz", X=X, y=np.tile([0, 1], 4), ch_names=np.array(["C3", "C4"]), sfreq=100.0,
                 tmin=0.0, class_names=np.array(["left_hand", "right_hand"]), unit_uV=1.0)  # fmt: skip
    return read_manifest(folder / "lab.yml", data=folder)


def chosen(dataset, pipelines, groups=None):
    entries = open_datasets(dataset, data=None, events=None, subjects=None, processing={})
    read_specs(entries, pipelines, groups)
    return [spec.name for spec in entries[0].specs]


def test_files_folders_and_names_are_mixed(mine, tmp_path):
    file = mine()
    assert chosen("simulated-imagery", [str(file), "TS+LR"]) == ["Mine", "TS+LR"]
    assert chosen("simulated-imagery", ["TS+LR", file.parent, "MDM"]) == ["Mine", "MDM", "TS+LR"]
    assert chosen("simulated-imagery", [file, "Mine"]) == ["Mine"]
    copy = shutil.copy(resource_dir("pipelines") / "ts_lr.yml", tmp_path / "copy.yml")
    assert chosen("simulated-imagery", [copy, "TS+LR"]) == ["TS+LR"]
    with pytest.raises(UsageError, match=r"no pipeline 'TS\+LT'; did you mean TS\+LR"):
        chosen("simulated-imagery", [file, "TS+LT"])


def test_what_was_asked_for_by_name_and_does_not_fit_is_named(mine, caplog):
    caplog.set_level("WARNING", logger="neurosig")
    assert chosen("simulated-p300", ["TS+LR", "xDAWN+LDA", mine("Hands")]) == ["xDAWN+LDA"]
    assert "TS+LR is left out, it is made for LeftRightImagery, MotorImagery, SSVEP, not for P300" in caplog.text
    assert "Hands is left out" in caplog.text
    caplog.clear()
    assert "xDAWN+LDA" in chosen("simulated-p300", None) and not caplog.records


def test_none_fits(mine):
    expected = r"simulated-p300: TS\+LR is made for LeftRightImagery, MotorImagery, SSVEP, not for P300; try .*XdawnCov"
    with pytest.raises(UsageError, match=expected):
        chosen("simulated-p300", ["TS+LR"])


def test_two_hands_under_other_names(lab, mine, caplog):
    hands = mine("Hands", "LeftRightImagery")
    expected = r"lab: Hands is made for LeftRightImagery, .* left_hand and right_hand, here they are links, rechts"
    with pytest.raises(UsageError, match=expected):
        chosen(lab, [hands])
    assert chosen(lab, [hands, "TS+LR"]) == ["TS+LR"]
    assert "Hands is left out" in caplog.text and "or add MotorImagery to the paradigms" in caplog.text
    assert chosen(lab.replace(events={"left_hand": "left_hand", "right_hand": "right_hand"}), [hands]) == ["Hands"]


def test_missing_files_are_counted(lab, caplog):
    caplog.set_level("WARNING", logger="neurosig")
    open_datasets(lab, data=None, events=None, subjects=None, processing={})
    assert "lab: 1 of 3 files missing in" in caplog.text
    caplog.clear()
    open_datasets(lab, data=None, events=None, subjects=["1", "2"], processing={})
    assert not caplog.records


def oddball(folder, names):
    folder.mkdir()
    X = 1e-5 * np.random.default_rng(0).standard_normal((12, 2, 100))
    np.savez(folder / "sub-1.npz", X=X, y=np.tile([0, 1, 1], 4), ch_names=np.array(["Cz", "Pz"]), sfreq=100.0,
             tmin=0.0, class_names=np.array(names), unit_uV=1e6)  # fmt: skip
    return folder


def opened(folder, events=None):
    entries = open_datasets(folder, data=None, events=events, subjects=None, processing={"tmax": 0.5})
    read_specs(entries, None, None)
    return entries[0]


def test_names_given_to_events_tell_the_paradigm_and_its_band(tmp_path, caplog):
    folder = oddball(tmp_path / "odd", ["deviant", "standard"])
    entry = opened(folder)
    assert entry.paradigm == "MotorImagery"
    assert "odd: trials of deviant, standard are taken as motor imagery; names of events tell" in caplog.text
    caplog.clear()
    entry = opened(folder, {"Target": "deviant", "NonTarget": "standard"})
    assert entry.paradigm == "P300" and {spec.group for spec in entry.specs} <= {"erp", "baseline"}
    assert (entry.manifest.processing.fmin, entry.manifest.processing.tmax) == (BANDS["p300"][0], 0.5)
    assert "taken as motor imagery" not in caplog.text


def test_usual_names_of_imagery_need_no_remark(tmp_path, caplog):
    assert opened(oddball(tmp_path / "a", ["left_hand", "right_hand"])).paradigm == "LeftRightImagery"
    assert opened(oddball(tmp_path / "b", ["feet", "rest"])).paradigm == "MotorImagery"
    assert caplog.text == ""
