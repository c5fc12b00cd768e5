import pytest

from neurosig.core.errors import InputError
from neurosig.loaders.atlas_names import names_by_label, read_names


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("dseg.tsv", "index\tname\tcolor\n1\tV1\t#ff\n3\tM1\t#00\n", {1: "V1", 3: "M1"}),
        ("atlas.csv", "label,region\n2,a\n1,b\n", ["a", "b"]),
        ("names.csv", "name\na\nb\n", ["a", "b"]),
        ("order.txt", "1\t7Networks_LH_Vis_1\t9\t18\n2\t7Networks_RH_Vis_1\t1\t1\n",
         {1: "7Networks_LH_Vis_1", 2: "7Networks_RH_Vis_1"}),
        ("lut.txt", "# FreeSurfer\n0 Unknown 0 0 0 0\n10 Thalamus 0 118 14 0\n", {0: "Unknown", 10: "Thalamus"}),
        ("plain.txt", "\ufeffa b\nc\n", ["a b", "c"]),
    ],
)  # fmt: skip
def test_tables_of_names(tmp_path, name, text, expected):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    assert read_names(path) == expected


def test_unreadable_tables(tmp_path):
    with pytest.raises(InputError, match="no table of region names"):
        read_names(tmp_path / "absent.txt")
    (tmp_path / "empty.txt").write_text("# nothing\n")
    with pytest.raises(InputError, match="empty"):
        read_names(tmp_path / "empty.txt")
    (tmp_path / "odd.tsv").write_text("index\tname\nx\ta\n")
    with pytest.raises(InputError, match="whole numbers"):
        read_names(tmp_path / "odd.tsv")


def test_names_for_labels_that_the_image_lost():
    assert names_by_label(["a", "b", "c"], [1, 3], "x") == {1: "a", 2: "b", 3: "c"}
    assert names_by_label(["Background", "a", "b"], [1, 2], "x") == {1: "a", 2: "b"}
    assert names_by_label(None, [5, 10], "x") == {5: "region_05", 10: "region_10"}


def test_a_colour_table_of_everything_names_what_is_there():
    table = {i: f"name {i}" for i in range(100)}
    assert names_by_label(table, [4, 7], "x") == {4: "name 4", 7: "name 7"}
