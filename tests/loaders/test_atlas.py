import nibabel
import numpy as np
import pandas as pd
import pytest
from nilearn.maskers import NiftiLabelsMasker, NiftiMapsMasker

import neurosig
from neurosig.core.errors import DownloadError, InputError, UsageError
from neurosig.loaders.atlas import Atlas


@pytest.mark.parametrize(("name", "n_regions"), [("power", 264), ("dosenbach", 160), ("seitzman", 300)])
def test_coordinates_come_without_a_network(no_network, name, n_regions):
    atlas = Atlas.resolve(name)
    assert len(atlas) == n_regions == len(set(atlas.names)) and atlas.kind == "coords"
    assert atlas.positions.shape == (n_regions, 3) and 0.05 < np.abs(atlas.positions).max() < 0.12  # metres
    assert neurosig.Atlas is Atlas


def test_others_say_what_they_need_offline(no_network, tmp_path):
    with pytest.raises(DownloadError, match=r"without a network it needs Schaefer2018_200Parcels_7Networks.*power"):
        Atlas.from_schaefer(tmp_path, n_regions=200)
    with pytest.raises(DownloadError, match="msdl could not be fetched"):
        Atlas.from_nilearn("msdl", data_dir=tmp_path)
    with pytest.raises(UsageError, match="nearest name: 'msdl'"):
        Atlas.resolve("msld")


def test_schaefer_is_read_from_its_files(no_network, tmp_path, labels_image):
    folder = tmp_path / "schaefer_2018"
    folder.mkdir()
    data = np.zeros((5, 5, 5), np.uint8)
    data.flat[:100] = np.arange(1, 101)
    nibabel.save(
        nibabel.Nifti1Image(data, np.diag([2.0, 2, 2, 1])),
        folder / "Schaefer2018_100Parcels_7Networks_order_FSLMNI152_2mm.nii.gz",
    )
    names = [f"7Networks_LH_{'Vis' if i < 51 else 'Default'}_{i}" for i in range(1, 101)]
    lines = [f"{i}\t{name}\t10\t20\t30\t0" for i, name in enumerate(names, 1)]
    (folder / "Schaefer2018_100Parcels_7Networks_order.txt").write_text("\n".join(lines) + "\n")
    atlas = Atlas.from_schaefer(tmp_path)
    assert atlas.names == tuple(names) and atlas.name == "schaefer100"
    assert atlas.networks[0] == "Vis" and atlas.networks[-1] == "Default"
    # voxel 4 of the first row is label 5: at (0, 0, 4) · 2 mm
    np.testing.assert_allclose(atlas.positions[4], [0, 0, 0.008])


def test_atlases_of_nilearn(monkeypatch, labels_image):
    from nilearn import datasets

    lut = pd.DataFrame({"index": [0, 3, 7, 9], "name": ["Background", "pole", "pole", "gyrus"]})
    whole = {"maps": labels_image, "labels": lut["name"].tolist(), "lut": lut, "atlas_type": "deterministic"}
    monkeypatch.setattr(datasets, "fetch_atlas_aal", lambda **_: whole)
    for atlas in (Atlas.resolve("aal"), Atlas.resolve(whole)):
        assert atlas.names == ("pole 1", "pole 2", "gyrus") and list(atlas.values) == [3, 7, 9]
    maps = nibabel.Nifti1Image(np.random.default_rng(0).random((3, 3, 3, 2)).astype("f4"), np.eye(4))
    table = pd.DataFrame({"component": [1, 2], "difumo_names": ["front", "back"], "csf": [0.1, 0.2]})
    some = {"maps": maps, "labels": table, "atlas_type": "probabilistic"}
    monkeypatch.setattr(datasets, "fetch_atlas_difumo", lambda **_: some)
    atlas = Atlas.from_nilearn("difumo", dimension=64)
    assert (atlas.kind, atlas.names, atlas.name) == ("maps", ("front", "back"), "difumo")
    monkeypatch.setattr(datasets, "fetch_atlas_surf_destrieux", lambda **_: {"map_left": "x"})
    with pytest.raises(UsageError, match="no image of voxels"):
        Atlas.resolve("surf_destrieux")


def test_centres_are_centres_of_mass(labels_image):
    from scipy.ndimage import center_of_mass

    atlas = Atlas.from_files(labels_image)
    data = np.asarray(labels_image.dataobj)
    expected = [nibabel.affines.apply_affine(labels_image.affine, center_of_mass(data == value)) for value in (3, 7, 9)]
    np.testing.assert_allclose(atlas.positions * 1000, expected)


def test_names_follow_labels(labels_image, tmp_path):
    path = tmp_path / "atlas.nii.gz"
    nibabel.save(labels_image, path)
    assert Atlas.from_files(path).names == ("region_3", "region_7", "region_9")
    assert Atlas.from_files(path, ["Background", "a", "b", "c"]).values == [3, 7, 9]
    (tmp_path / "atlas.tsv").write_text("index\tname\n9\tc\n3\ta\n7\tb\n5\tgone\n")
    beside = Atlas.resolve(path)
    assert beside.names == ("a", "gone", "b", "c") and list(beside.values) == [3, 5, 7, 9]
    assert beside.positions is None  # a region without a voxel has no place
    with pytest.raises(InputError, match="one name for each of its 3 labels, got 2"):
        Atlas.from_files(path, ["a", "b"])
    with pytest.raises(InputError, match="no name for the labels 9"):
        Atlas.from_files(path, {3: "a", 7: "b"})
    with pytest.raises(InputError, match="unique"):
        Atlas.from_files(path, ["a", "b", "b"])


def test_space_is_told_by_the_name(labels_image, tmp_path):
    path = tmp_path / "tpl-MNI152NLin2009cAsym_atlas-x_dseg.nii.gz"
    nibabel.save(labels_image, path)
    assert Atlas.from_files(path).space == "MNI152NLin2009cAsym"


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (np.zeros((3, 3, 3)), "no label"),
        (np.full((3, 3, 3), 0.5), "whole numbers"),
        (np.full((3, 3, 3), np.nan), "NaN"),
        (np.zeros((3, 3)), "3 axes"),
    ],
)
def test_images_that_are_no_atlas(data, match):
    with pytest.raises(InputError, match=match):
        Atlas.from_files(nibabel.Nifti1Image(data.astype("f4"), np.eye(4)))


def test_a_file_that_is_not_there_or_no_image(tmp_path):
    with pytest.raises(InputError, match="no such atlas file"):
        Atlas.resolve(tmp_path / "absent.nii.gz")
    (tmp_path / "broken.nii.gz").write_bytes(b"\x1f\x8b nothing")
    with pytest.raises(InputError, match="damaged"):
        Atlas.resolve(tmp_path / "broken.nii.gz")


def test_values_as_an_image_in_the_atlas_s_grid(labels_image, atlas):
    image = atlas.to_image([1.0, 2.0, 4.0, 3.0])  # left, right, middle, gone: sorted by label
    data, source = image.get_fdata(), np.asarray(labels_image.dataobj)
    np.testing.assert_array_equal(image.affine, labels_image.affine)
    for name, value in zip(atlas.names, [1.0, 2.0, 4.0, 3.0], strict=True):
        label = {"left": 3, "right": 7, "middle": 9, "gone": 12}[name]
        assert (data[source == label] == value).all()
    assert (data[source == 0] == 0).all()
    masker = NiftiLabelsMasker(labels_image, standardize=None, reports=False)
    masker.fit()
    np.testing.assert_allclose(
        masker.inverse_transform(np.array([[1.0, 2.0, 4.0]])).get_fdata()[..., 0], data
    )  # fmt: skip
    assert atlas.to_image(np.ones((2, 4))).shape == (10, 11, 9, 2)
    with pytest.raises(InputError, match="each of 4 regions"):
        atlas.to_image([1.0])


def test_maps_and_masks_as_images(labels_image, volumes):
    rng = np.random.default_rng(0)
    maps = nibabel.Nifti1Image(rng.random((10, 11, 9, 2)).astype("f4"), labels_image.affine)
    atlas = Atlas.from_files(maps, ["one", "two"])
    masker = NiftiMapsMasker(maps, standardize=None, reports=False).fit()
    values = np.array([[0.5, -2.0]])
    np.testing.assert_allclose(
        atlas.to_image(values).get_fdata(), masker.inverse_transform(values).get_fdata()[..., 0], rtol=1e-5
    )  # fmt: skip
    chosen = Atlas.from_mask(nibabel.Nifti1Image((np.asarray(labels_image.dataobj) == 3).astype("u1"), maps.affine))
    image = chosen.to_image(np.arange(1, len(chosen) + 1)).get_fdata()
    x, y, z = map(int, chosen.names[7].split("_")[1:])
    assert image[x, y, z] == 8


def test_spheres_as_an_image():
    atlas = Atlas.from_coords([[0, 0, 0], [20, 20, 20]], radius=4)
    image = atlas.to_image([1.0, 2.0])
    place = np.round(np.linalg.inv(image.affine) @ [20, 20, 20, 1]).astype(int)[:3]
    assert image.get_fdata()[tuple(place)] == 2 and set(np.unique(image.get_fdata())) == {0, 1, 2}


def test_coordinates_are_checked():
    with pytest.raises(InputError, match="n_regions, 3"):
        Atlas.from_coords([[1, 2]])
    with pytest.raises(InputError, match="make an image of it"):
        Atlas.resolve(np.ones((3, 3, 3)))
    with pytest.raises(InputError, match="numbers in millimetres"):
        Atlas.from_coords([["a", "b", "c"]])
    with pytest.raises(UsageError, match="radius"):
        Atlas.from_coords([[1, 2, 3]], radius=0)


def test_digest_is_of_the_content(labels_image):
    atlas = Atlas.from_files(labels_image)
    assert atlas.digest() == Atlas.from_files(labels_image, name="other").digest()
    data = np.array(labels_image.dataobj)
    data[0, 0, 0] = 3
    assert atlas.digest() != Atlas.from_files(nibabel.Nifti1Image(data, labels_image.affine)).digest()
    assert atlas.digest() != Atlas.from_files(labels_image, ["a", "b", "c"]).digest()
    assert Atlas.from_power().digest() != Atlas.from_power(radius=4).digest()
