import nibabel
import numpy as np
import pandas as pd
import pytest

from neurosig.core.errors import InputError, UsageError
from neurosig.loaders.fmri_files import find_runs, kind_of


@pytest.fixture
def touch(tmp_path):
    """Make empty files; gives their paths."""

    def make(*names):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        return [tmp_path / name for name in names]

    return make


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.nii", "nifti"),
        ("a.nii.gz", "nifti"),
        ("a.dtseries.nii", "cifti"),
        ("a.ptseries.nii", "cifti"),
        ("a.dlabel.nii", None),
        ("lh.func.gii", "gifti"),
        ("lh.label.gii", None),
        ("a.1D", "table"),
        ("a.csv", "table"),
        ("a.npy", "table"),
        ("a.edf", None),
    ],
)
def test_kinds(touch, name, kind):
    assert kind_of(touch(name)[0]) == kind


def test_whose_runs_they_are(touch):
    files = touch("sub-02_ses-a_task-rest_run-1_bold.nii.gz", "sub-01_ses-b_task-rest_run-2_space-T1w_bold.nii.gz")
    found = find_runs(files)
    assert [(item.subject, item.session, item.run, item.task, item.space) for item in found] == [
        ("02", "a", "1", "rest", None),
        ("01", "b", "2", "rest", "T1w"),
    ]
    assert [item.subject for item in find_runs(files[0].parent)] == ["01", "02"]  # sorted


def test_tasks_tell_runs_apart(touch):
    found = find_runs(touch("sub-01_task-rest_bold.nii.gz", "sub-01_task-nback_bold.nii.gz"))
    assert [item.run for item in found] == ["rest", "nback"]
    turned = [f"sub-01_task-rest_dir-{way}_run-{run}_bold.nii.gz" for way in ("AP", "PA") for run in (1, 2)]
    assert [item.run for item in find_runs(touch(*turned))] == ["rest_AP_1", "rest_AP_2", "rest_PA_1", "rest_PA_2"]


def test_versions_of_one_run_are_refused(data_dir):
    files = [data_dir / f"haxby_mini/run001_bold_{kind}.nii.gz" for kind in ("1slice", "25mm")]
    with pytest.raises(InputError, match="both subject 1, session 0, run 1: they would be mixed up"):
        find_runs(files)


def test_names_that_tell_nothing(touch):
    files = touch("one.nii.gz", "two.nii.gz")
    with pytest.warns(UserWarning, match="taken as runs of one subject"):
        found = find_runs(files)
    assert [(item.subject, item.run) for item in found] == [("1", "0"), ("1", "1")]
    assert len(find_runs(files, named=True)) == 2  # whoever calls knows better


def test_hemispheres_belong_together(touch):
    names = [
        "sub-01_task-rest_hemi-R_bold.func.gii",
        "sub-01_task-rest_hemi-L_bold.func.gii",
        "lh.x.func.gii",
        "rh.x.func.gii",
    ]
    files = touch(*names, "sub-02.L.func.gii", "sub-02.R.func.gii")
    found = find_runs(files, named=True)
    assert [item.files for item in found] == [(files[1], files[0]), (files[2], files[3]), (files[4], files[5])]
    assert [item.path for item in found] == [files[1], files[2], files[4]]
    (pair,) = find_runs([(files[1], files[0])])
    assert pair.kind == "gifti" and pair.subject == "01"
    with pytest.raises(InputError, match="does not tell the hemisphere"):
        find_runs(touch("surface.func.gii"))


def test_a_folder_gives_the_kind_there_is_most_of(tmp_path, volumes, labels_image):
    for run in (1, 2):
        nibabel.save(volumes(3), tmp_path / f"sub-01_run-{run}.nii.gz")
        (tmp_path / f"sub-01_run-{run}_events.tsv").write_text("onset\n")
    nibabel.save(labels_image, tmp_path / "mask.nii.gz")
    (tmp_path / "series.csv").write_text("1,2\n")
    (tmp_path / ".hidden.nii.gz").touch()
    assert [item.path.name for item in find_runs(tmp_path)] == ["sub-01_run-1.nii.gz", "sub-01_run-2.nii.gz"]


def test_nothing_there(tmp_path, touch):
    with pytest.raises(InputError, match="no such file or folder"):
        find_runs(tmp_path / "absent")
    with pytest.raises(InputError, match="no fMRI runs in"):
        find_runs(tmp_path)
    with pytest.raises(InputError, match="list of files is empty"):
        find_runs([])
    with pytest.raises(InputError, match=r"no such file: .*absent"):
        find_runs([tmp_path / "absent.nii"])
    with pytest.raises(InputError, match=r"a\.edf is no fMRI series"):
        find_runs(touch("a.edf"))


def test_objects_in_memory(volumes):
    found = find_runs([volumes(3), np.zeros((5, 2)), pd.DataFrame({"a": [1.0]})])
    assert [(item.kind, item.run, item.path) for item in found] == [
        ("nifti", "0", None),
        ("table", "1", None),
        ("table", "2", None),
    ]
    assert find_runs(volumes(3))[0].name == "a run in memory"
    with pytest.raises(UsageError, match="got dict"):
        find_runs([{}])
