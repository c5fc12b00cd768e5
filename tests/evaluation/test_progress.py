"""Progress of long evaluations where there is no terminal: lines, and how often."""

import io
import itertools
import sys

import pytest

from neurosig.evaluation.progress import duration, progress_bar


class Clock:
    """Stands still until it is told to go on."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_lines_come_after_three_seconds_then_rarely_and_at_the_end(clock, capsys):
    with progress_bar("transfer", True, unit="fit", clock=clock) as report:
        for second in range(1, 41):  # a fit a second
            clock.now += 1.0
            report(1, 40)
            assert capsys.readouterr().err == {
                3: "transfer: 3 of 40 fits, 3.0 s\n",
                13: "transfer: 13 of 40 fits, 13 s\n",
                23: "transfer: 23 of 40 fits, 23 s\n",
                33: "transfer: 33 of 40 fits, 33 s\n",
                40: "transfer: 40 of 40 fits, 40 s\n",
            }.get(second, "")


def test_lines_of_long_runs_are_a_tenth_of_the_time_apart_ten_minutes_at_most(clock, capsys):
    times = []
    with progress_bar("x", True, clock=clock) as report:
        for _ in range(6000):
            clock.now += 10.0
            report(1, 10_000)
            times += [clock.now - 1000.0] * len(capsys.readouterr().err.splitlines())
    assert times[0] == 10.0
    for before, after in itertools.pairwise(times):
        due = min(600.0, max(10.0, before / 10))
        assert due <= after - before < due + 10.0
    assert len(times) < 150


def test_short_work_and_work_that_was_stopped_say_no_more_than_they_did(clock, capsys):
    with progress_bar("x", True, clock=clock) as report:
        clock.now += 2.9
        report(5, 5)
    assert capsys.readouterr().err == ""
    with pytest.raises(KeyboardInterrupt), progress_bar("x", True, clock=clock) as report:
        clock.now += 60.0
        report(1, 4)
        raise KeyboardInterrupt
    assert capsys.readouterr().err == "x: 1 of 4 folds, 1 min 00 s\n"


def test_a_total_that_grows_and_one_that_was_too_small(clock, capsys):
    with progress_bar("x", True, clock=clock) as report:
        clock.now += 20
        report(2, 4)
        clock.now += 20
        report(0, 8)
        clock.now += 20
        report(10, 8)
    assert capsys.readouterr().err.splitlines() == [
        "x: 2 of 4 folds, 20 s", "x: 2 of 8 folds, 40 s", "x: 12 of 12 folds, 1 min 00 s",
    ]  # fmt: skip


@pytest.mark.parametrize("show", [None, False])
def test_libraries_are_silent_where_nobody_looks(show, clock, capsys):
    with progress_bar("x", show, clock=clock) as report:
        clock.now += 1000
        report(1, 1)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("show", "drawn"), [(None, True), (True, True), (False, False)])
def test_a_terminal_has_a_bar(show, drawn, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress_bar("transfer", show, unit="fit") as report:
        report(3, 6)
    assert ("transfer:" in sys.stderr.getvalue()) is drawn
    assert "fits," not in sys.stderr.getvalue()


@pytest.mark.parametrize(("seconds", "text"), [
    (0.04, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s"),
    (3599.4, "59 min 59 s"), (3600, "1 h 00 min"), (7830, "2 h 10 min"), (90_000, "25 h 00 min"),
])  # fmt: skip
def test_durations_as_people_read_them(seconds, text):
    assert duration(seconds) == text


def test_what_is_iterated_over_tells_by_lines_too(clock, capsys, monkeypatch):
    from neurosig.core import log
    from neurosig.core.progress_lines import ProgressLines

    monkeypatch.setattr(log, "ProgressLines", lambda name, unit: ProgressLines(name, unit, clock))
    for items, total in ((range(30), None), (iter(range(30)), 30)):
        for _ in log.progress(items, total=total, desc="order x lag", unit="pair", show=True):
            clock.now += 1.0
        assert capsys.readouterr().err.splitlines() == [
            "order x lag: 3 of 30 pairs, 3.0 s", "order x lag: 13 of 30 pairs, 13 s",
            "order x lag: 23 of 30 pairs, 23 s", "order x lag: 30 of 30 pairs, 30 s",
        ]  # fmt: skip
    assert list(log.progress([1, 2], show=None)) == list(log.progress([1, 2], show=False)) == [1, 2]
    assert capsys.readouterr().err == ""
