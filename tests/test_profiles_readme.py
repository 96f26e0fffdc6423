"""`profiles/README.md` explains what is there."""

import re
from dataclasses import fields

from advisor.profiles.folders import profiles_folder
from advisor.profiles.record import Clocks, Power, SmallestCap
from advisor.profiles.row import ROW_KEYS, SCHEMA

README = (profiles_folder() / "README.md").read_text(encoding="utf-8")


def test_every_key_is_explained():
    """A line of the table for each, and none for what is not there."""
    explained = re.findall(r"^\| (`.*?`(?:, `.*?`)*) \|.*\|.*\|$", README, re.MULTILINE)
    keys = [key for line in explained for key in re.findall(r"`(\w+)`", line)]

    assert sorted(ROW_KEYS) == sorted(keys)


def test_every_figure_inside_a_key_is_named():
    """Those of the clocks, the power and the smallest cap."""
    names = [f.name for kind in (Clocks, Power, SmallestCap) for f in fields(kind)]

    assert 9 == len(names)
    assert [] == [name for name in names if f"`{name}`" not in README]


def test_every_schema_has_a_line_of_history():
    """Up to the present one."""
    history = README.partition("| schema | |")[2].partition("| benchmark_version | |")[0]

    assert [str(n) for n in range(1, SCHEMA + 1)] == re.findall(r"^\| (\d+) \|", history, re.MULTILINE)
