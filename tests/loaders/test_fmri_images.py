import json

import nibabel
import numpy as np
import pytest

from neurosig.core.errors import InputError, UsageError
from neurosig.loaders.fmri_images import image_data, load_image, repetition_time, run_image, sidecar


@pytest.mark.parametrize(("value", "unit"), [(2.5, "sec"), (2500, "msec"), (2.5e6, "usec"), (2.5, "unknown")])
def test_the_header_s_unit_counts(volumes, value, unit):
    assert repetition_time(volumes(3, t_r=value, unit=unit), None) == 2.5


def test_float32_of_the_header_is_rounded(volumes):
    assert repetition_time(volumes(3, t_r=0.72), None) == 0.72


@pytest.mark.parametrize(("value", "unit"), [(0, "sec"), (1.0, "unknown"), (2.0, "hz")])
def test_a_header_that_says_nothing(volumes, value, unit):
    with pytest.raises(InputError, match="pass t_r=seconds"):
        repetition_time(volumes(3, t_r=value, unit=unit), None)
    assert repetition_time(volumes(3, t_r=value, unit=unit), None, t_r=2) == 2.0


def test_milliseconds_under_the_name_of_seconds(volumes, data_dir):
    with pytest.raises(InputError, match=r"milliseconds\? Then pass t_r=2$"):
        repetition_time(volumes(3, t_r=2000), None)
    image, path = load_image(data_dir / "nifti_small/example4d.nii.gz")
    with pytest.raises(InputError, match=r"example4d.*repetition time of 2000.*pass t_r=2$"):
        repetition_time(image, path)
    with pytest.raises(UsageError, match=r"t_r=2$"):
        repetition_time(image, path, t_r=2000)


@pytest.mark.parametrize("wrong", [0, -1, "2 s", float("nan")])
def test_implausible_times_of_the_caller(volumes, wrong):
    with pytest.raises(UsageError, match="t_r"):
        repetition_time(volumes(3), None, t_r=wrong)


def _saved(image, folder, name="sub-01_task-rest_bold.nii.gz", **told):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(image, path)
    if told:
        path.with_name(name.split("/")[-1].split(".")[0] + ".json").write_text(json.dumps(told))
    return path


def test_header_and_json_must_agree_within_a_millisecond(volumes, tmp_path):
    path = _saved(volumes(3, t_r=2.0), tmp_path, RepetitionTime=2.0009)
    assert repetition_time(*load_image(path)) == 2.0009
    path = _saved(volumes(3, t_r=2.0), tmp_path, RepetitionTime=2.002)
    with pytest.raises(InputError, match=r"2 s, its JSON file 2\.002 s; pass t_r"):
        repetition_time(*load_image(path))
    with pytest.warns(UserWarning, match=r"its JSON file says 2\.002 s"):
        assert repetition_time(*load_image(path), t_r=2.0) == 2.0


@pytest.mark.parametrize("stated", [0, 2000, "two"])
def test_implausible_times_of_json(volumes, tmp_path, stated):
    path = _saved(volumes(3, t_r=2.0), tmp_path, RepetitionTime=stated)
    with pytest.raises(InputError, match=r"RepetitionTime of its JSON file.*pass t_r=seconds"):
        repetition_time(*load_image(path))


def test_milliseconds_of_json_are_settled_by_the_caller(volumes, tmp_path):
    assert repetition_time(*load_image(_saved(volumes(3), tmp_path, RepetitionTime=2000)), t_r=2.0) == 2.0


def test_json_says_what_the_header_does_not(volumes, tmp_path):
    for value, unit in ((0, "sec"), (1, "unknown"), (2200, "sec")):
        path = _saved(volumes(3, t_r=value, unit=unit), tmp_path, RepetitionTime=2.2)
        assert repetition_time(*load_image(path)) == 2.2


def test_json_above_the_image_holds_for_it_too(volumes, tmp_path):
    path = _saved(volumes(3), tmp_path, "sub-01/func/sub-01_task-rest_run-1_bold.nii.gz")
    (tmp_path / "dataset_description.json").write_text("{}")
    (tmp_path / "task-rest_bold.json").write_text('{"RepetitionTime": 1.5, "TaskName": "rest"}')
    (tmp_path / "task-nback_bold.json").write_text('{"RepetitionTime": 9}')
    assert sidecar(path)["RepetitionTime"] == 1.5
    (path.parent / "sub-01_task-rest_run-1_bold.json").write_text('{"RepetitionTime": 2.0}')
    assert sidecar(path) == {"RepetitionTime": 2.0, "TaskName": "rest"}
    (path.parent / "sub-01_task-rest_run-1_bold.json").write_text("{")
    with pytest.raises(InputError, match="no JSON"):
        sidecar(path)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("damage", [lambda raw: raw[: len(raw) // 2], lambda raw: raw[:100], lambda raw: b""])
def test_damaged_files(volumes, tmp_path, ending, damage):
    path = tmp_path / f"run{ending}"
    nibabel.save(volumes(20), path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=r"run\.nii.* damaged, cut short"):
        image_data(*load_image(path))


def test_a_flipped_byte_in_gzip_is_seen(volumes, tmp_path):
    path = tmp_path / "run.nii.gz"
    nibabel.save(volumes(20), path)
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 0xFF
    path.write_bytes(raw)
    with pytest.raises(InputError, match="damaged"):
        image_data(*load_image(path))


def test_the_checksum_at_the_end_counts(volumes, tmp_path):
    path = tmp_path / "run.nii.gz"
    nibabel.save(volumes(5), path)
    raw = bytearray(path.read_bytes())
    raw[-6] ^= 0xFF
    path.write_bytes(raw)
    with pytest.raises(InputError, match=r"damaged.*CRC"):
        image_data(*load_image(path))


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".img"])
@pytest.mark.parametrize("dtype", [">i2", "<i4", ">f4", "<f8", "u1"])
def test_numbers_of_every_kind(volumes, tmp_path, ending, dtype):
    kind = nibabel.Nifti1Pair if ending == ".img" else nibabel.Nifti1Image
    plain = volumes(4, dtype=dtype)
    image = kind(np.asarray(plain.dataobj), plain.affine)
    image.header.set_data_dtype(np.dtype(dtype))
    nibabel.save(image, tmp_path / f"run{ending}")
    found = image_data(*load_image(tmp_path / f"run{ending}"))
    np.testing.assert_array_equal(found, nibabel.load(tmp_path / f"run{ending}").get_fdata())


def test_memory_holds_a_compressed_run_once(volumes, tmp_path):
    import tracemalloc

    path = tmp_path / "run.nii.gz"
    nibabel.save(volumes(2500, dtype=np.int16), path)
    size = 10 * 11 * 9 * 2500 * 2
    image_data(*load_image(path))  # imports are not counted
    tracemalloc.start()
    try:
        image_data(*load_image(path))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1.5 * size  # nibabel takes twice the run here


def test_what_is_no_run(data_dir, tmp_path, volumes):
    with pytest.raises(InputError, match=r"anatomical\.nii: expected a run of volumes"):
        run_image(data_dir / "nifti_small/anatomical.nii")
    with pytest.raises(InputError, match="no such file"):
        run_image(tmp_path / "absent.nii.gz")
    with pytest.raises(InputError, match="got dict"):
        run_image({})
    with pytest.raises(InputError, match="expected a run"):
        run_image(volumes(1))


def test_voxels_are_scaled_and_float32_at_most(data_dir):
    image, path = load_image(data_dir / "nifti_small/functional.nii")
    data = image_data(image, path)
    assert data.dtype == np.float32
    np.testing.assert_allclose(data, image.get_fdata(), rtol=1e-6)
    plain = image_data(*load_image(data_dir / "haxby_mini/run001_bold_25mm.nii.gz"))
    assert plain.dtype == np.int16  # as stored: half the memory
