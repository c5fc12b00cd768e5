"""``python -m benchmarks [NAME ...]``: measure every row, print the table, write benchmarks/results.md.

Exits with 1 if a promise is not kept.
"""

from __future__ import annotations

import argparse
import importlib
import json
import platform
import sys
from importlib.metadata import version
from pathlib import Path

from benchmarks.harness import compare, find_side, run_side

SUITES = (
    "benchmarks.bench_evaluation",
    "benchmarks.bench_loading",
    "benchmarks.bench_faster",
    "benchmarks.bench_augmented_covariance",
    "benchmarks.bench_riemann",
    "benchmarks.bench_networks",
    "benchmarks.bench_tokenizers",
    "benchmarks.bench_neurorvq",
    "benchmarks.bench_fmri",
)


def as_markdown(rows: list[dict]) -> str:
    """The table that benchmarks/results.md holds."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("neurosig", "moabb", "mne", "scikit-learn", "numpy"))
    lines = [
        "# Speed and memory beside peers",
        "",
        f"Best of the repeats of each side, alternating, one thread, {platform.machine()}, Python "
        f"{platform.python_version()}, {packages}. Written by `make bench`.",
        "",
        "| work | beside | ours | theirs | ratio | promised | kept |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        if "left_out" in row:
            lines.append(f"| {row['work']} | {row['peer']} | left out: {row['left_out']} | | | | |")
            continue
        unit = "s" if row["measure"] == "seconds" else "MB"
        limit = "" if row["below"] is None else f", < {row['below']:g} {unit}"
        promised = f"≤ {row['at_most']:.2f}{limit}"
        kept = "yes" if row["kept"] else "**no**"
        told = "".join(
            f" ({name} {value:.2g}, theirs {row['shown']['theirs'][name]:.2g})"
            for name, value in row["shown"]["ours"].items()
        )
        told += "" if row["told"] is None else f" ({row['told']})"
        lines.append(
            f"| {row['work']}{told} | {row['peer']} | {row['ours']:.2f} {unit} | {row['theirs']:.2f} {unit} "
            f"| {row['ratio']:.2f} | {promised} | {kept} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", help="only rows whose work holds one of these words")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--prepare", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.prepare:
        target, scratch = options.prepare
        find_side(target).prepare(Path(scratch))
        return
    if options.side:
        print(json.dumps(run_side(options.side)))
        return
    rows = [row for suite in SUITES for row in importlib.import_module(suite).ROWS]
    rows = [row for row in rows if not options.names or any(word in row.work for word in options.names)]
    measured = []
    for row in rows:
        print(f"{row.work} ...", flush=True)
        measured.append(compare(row))
    table = as_markdown(measured)
    print(table)
    if not options.names:
        (Path(__file__).parent / "results.md").write_text(table, encoding="utf-8")
    if broken := [row["work"] for row in measured if not row.get("kept", True)]:
        sys.exit(f"promises not kept: {'; '.join(broken)}")


if __name__ == "__main__":
    main()
