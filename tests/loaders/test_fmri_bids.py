import json

import pytest

from neurosig.core.errors import InputError
from neurosig.loaders.fmri_bids import find_derivatives, is_bids, participants


@pytest.fixture
def tree(fmriprep):
    """Two people, two tasks, two spaces."""
    both = {"tasks": ["rest", "nback"], "spaces": ["T1w", "MNI152NLin2009cAsym"], "n_times": 4}
    return fmriprep({"01": both, "02": both}, "participant_id\tage\tgroup\nsub-01\t30\tn/a\nsub-02\t40\tpatient\n")


def test_runs_that_are_asked_for(tree, tmp_path):
    found = find_derivatives(tree, space="T1w", task="rest")
    assert [(item.subject, item.task, item.space, item.kind) for item in found] == [
        ("01", "rest", "T1w", "nifti"),
        ("02", "rest", "T1w", "nifti"),
    ]
    assert [item.subject for item in find_derivatives(tree, space="T1w", task="rest", subjects="sub-02")] == ["02"]
    every = find_derivatives(tree, space="MNI152NLin2009cAsym")
    assert [(item.subject, item.run) for item in every] == [
        ("01", "nback"), ("01", "rest"), ("02", "nback"), ("02", "rest"),
    ]  # fmt: skip
    assert [item.path for item in find_derivatives(tmp_path, space="T1w")] == [
        item.path for item in find_derivatives(tree, space="T1w")
    ]
    assert is_bids(tree) and is_bids(tree.parent.parent) is False  # no description there, and no func


@pytest.mark.parametrize(
    ("choice", "match"),
    [
        ({}, "several spaces, MNI152NLin2009cAsym, T1w; choose one by space="),
        ({"space": "fsnative"}, "no run in space 'fsnative'; there are MNI152NLin2009cAsym, T1w"),
        ({"task": "story"}, "no run of task story; there are nback, rest"),
        ({"subjects": ["01", "03"]}, "no run of subject 03; there are 01, 02"),
    ],
)
def test_what_is_not_there(tree, choice, match):
    with pytest.raises(InputError, match=match):
        find_derivatives(tree, **choice)


def test_people(tree):
    table = participants(tree)
    assert list(table.index) == ["01", "02"] and table["age"].tolist() == [30, 40]
    assert table["group"].isna().tolist() == [True, False]
    (tree.parent.parent / "participants.tsv").unlink()
    assert participants(tree) is None


def test_sessions(tmp_path, volumes):
    import nibabel

    for session in ("1", "2"):
        folder = tmp_path / "sub-01" / f"ses-{session}" / "func"
        folder.mkdir(parents=True)
        nibabel.save(volumes(3), folder / f"sub-01_ses-{session}_task-rest_desc-preproc_bold.nii.gz")
    assert is_bids(tmp_path)
    assert [item.session for item in find_derivatives(tmp_path)] == ["1", "2"]
    assert [item.session for item in find_derivatives(tmp_path, sessions="ses-2")] == ["2"]


def test_raw_runs_are_told(tmp_path, volumes):
    import nibabel

    folder = tmp_path / "sub-01" / "func"
    folder.mkdir(parents=True)
    (tmp_path / "dataset_description.json").write_text(json.dumps({"Name": "raw"}))
    with pytest.raises(InputError, match=r"no preprocessed fMRI in .*desc-preproc_bold\.nii\.gz"):
        find_derivatives(tmp_path)
    nibabel.save(volumes(3), folder / "sub-01_task-rest_bold.nii.gz")
    with pytest.warns(UserWarning, match="holds raw runs"):
        assert len(find_derivatives(tmp_path)) == 1


def test_region_tables_of_other_programs(tmp_path):
    folder = tmp_path / "sub-01" / "func"
    folder.mkdir(parents=True)
    for name in ("atlas-x_timeseries.tsv", "desc-confounds_timeseries.tsv"):
        (folder / f"sub-01_task-rest_{name}").write_text("a\tb\n1\t2\n")
    (found,) = find_derivatives(tmp_path)
    assert found.kind == "table" and "atlas-x" in found.name
