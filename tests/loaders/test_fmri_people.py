"""Tables of people: who is in them, and what of them is a class or a number."""

import numpy as np
import pytest

from neurosig.core.errors import InputError, UsageError
from neurosig.loaders.fmri_people import labels_of, read_people


@pytest.fixture
def table(tmp_path):
    """Twelve people; a score of -9999 and an empty cell are missing."""
    rows = ["participant_id,group,age,score,site"]
    for i in range(12):
        score, site = i * 10 if i else -9999, "AB"[i % 2] if i != 3 else ""
        rows.append(f"sub-{i:02d},{i % 2 + 1},{20 + i + 0.5 * (i % 2)},{score},{site}")
    path = tmp_path / "people.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def test_people_by_name(table):
    people = read_people(table, "participant_id", missing=(-9999,))
    assert people.index.tolist()[:2] == ["00", "01"]
    assert people["score"].isna().tolist() == [True] + [False] * 11


def test_classes_and_numbers(table):
    people = read_people(table, "participant_id", missing=(-9999,))
    assert labels_of(people, "group", "t").tolist()[:3] == ["1", "2", "1"]
    assert labels_of(people, "age", "t").dtype == float
    scores = labels_of(people, "score", "t")  # eleven whole numbers are numbers
    assert scores.dtype == float
    assert np.isnan(scores).tolist() == [True] + [False] * 11
    assert labels_of(people, "site", "t").tolist()[2:5] == ["A", None, "A"]


@pytest.mark.parametrize(
    ("column", "message"), [("gruop", "no column 'gruop': did you mean group"), ("zzz", "it has group, age")]
)
def test_a_column_that_is_not_there(table, column, message):
    with pytest.raises(UsageError, match=message):
        labels_of(read_people(table, "participant_id"), column, "people.csv")


def test_an_empty_column(table):
    people = read_people(table, "participant_id").assign(empty=np.nan)
    with pytest.raises(UsageError, match="'empty' is empty for all of these runs"):
        labels_of(people, "empty", "people.csv")


def test_tables_that_cannot_be_used(table, tmp_path):
    with pytest.raises(InputError, match=r"people\.csv: expected a column 'FILE_ID'"):
        read_people(table, "FILE_ID")
    table.write_text(table.read_text() + "sub-03,1,3,3,A\n")
    with pytest.raises(InputError, match="03 stands there twice"):
        read_people(table, "participant_id")
    with pytest.raises(InputError, match="cannot be read as a table of people"):
        read_people(tmp_path / "gone.csv", "participant_id")
