"""Mapping files are read strictly: what is not understood is refused, with the key and a remedy."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from consent.errors import BadInput
from ingestion.mapped_rows import read_mapping
from ingestion.mapping import parse_mapping
from ingestion.sources import SOURCES

SPENDING = SOURCES["spending"]
REPO = Path(__file__).parents[2]
GOOD = """
source = "spending"
[file]
encoding = "gb18030"
delimiter = ";"
decimal = ","
thousands = "."
time_zone = "Asia/Shanghai"
nulls = ["NULL"]
[columns]
subject_id = "客户号"
transaction_id = "流水号"
occurred_at = { join = ["日期", "时间"], with = " ", formats = ["%Y/%m/%d %H:%M:%S"] }
amount = { from = "金额", absolute = true, drop = ["¥"] }
currency = { value = "CNY" }
direction = { from = "金额", negative = "debit", positive = "credit" }
kind = { from = "类型", codes = { "消费" = "purchase" }, otherwise = "other" }
"""


def changed(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new)


def test_a_mapping_says_what_it_reads() -> None:
    """The columns a file must have, once each, in the order they are named."""
    mapping = parse_mapping(GOOD, SPENDING)
    assert mapping.columns() == ["客户号", "流水号", "日期", "时间", "金额", "类型"]
    assert "客户号" not in mapping.kept_columns()
    assert mapping.layout.time_zone == "Asia/Shanghai"
    assert len(mapping.sha256) == 64


BAD = {
    "no TOML": ("source = ", "not valid TOML"),
    "of another source": (changed('source = "spending"', 'source = "employment"'), "not for spending"),
    "of no source": (changed('source = "spending"', ""), "not for spending"),
    "unknown table": (GOOD + "[extras]\na = 1\n", "key nobody knows: extras"),
    "unknown key of file": (changed('decimal = ","', 'decimals = ","'), "key nobody knows: decimals"),
    "delimiter of two": (changed('delimiter = ";"', 'delimiter = ";;"'), "file.delimiter is not one mark"),
    "delimiter a letter": (changed('delimiter = ";"', 'delimiter = "a"'), "file.delimiter is not one mark"),
    "same marks": (changed('thousands = "."', 'thousands = ","'), "are the same"),
    "no time zone": (changed("Asia/Shanghai", "Asia/Atlantis"), "no time zone"),
    "time zone is a path": (changed("Asia/Shanghai", "../../etc/passwd"), "no time zone"),
    "nulls no list": (changed('["NULL"]', '"NULL"'), "file.nulls is no list"),
    "column missing": (changed('currency = { value = "CNY" }', ""), "columns lacks currency"),
    "subject missing": (changed('subject_id = "客户号"', ""), "columns lacks subject_id"),
    "unknown column": (GOOD + 'mood = "心情"\n', "columns has mood"),
    "unknown key of a cell": (changed("absolute", "absolut"), "key nobody knows: absolut"),
    "two origins": (
        changed('{ value = "CNY" }', '{ value = "CNY", from = "x" }'),
        "does not come from one thing",
    ),
    "no origin": (changed('{ value = "CNY" }', '{ default = "CNY" }'), "does not come from one thing"),
    "cell a number": (changed('"流水号"', "7"), "columns.transaction_id is no table"),
    "cell empty": (changed('"流水号"', '""'), "columns.transaction_id is no text"),
    "codes on a join": (
        changed('with = " "', 'with = " ", codes = { a = "b" }'),
        "changes what does not come from one column",
    ),
    "date format on money": (changed("absolute = true", 'formats = ["%Y"]'), "date format and holds no date"),
    "scale on text": (changed('"流水号"', '{ from = "流水号", scale = "2" }'), "scale or absolute"),
    "scale a word": (changed("absolute = true", 'scale = "half"'), "scale is no factor"),
    "scale zero": (changed("absolute = true", 'scale = "0"'), "scale is no factor"),
    "format unknown": (changed("%Y/%m/%d", "%Q/%m/%d"), "date format nobody knows"),
    "format without year": (changed("%Y/%m/%d", "%m/%d"), "without a year"),
    "negative alone": (changed(', positive = "credit"', ""), "negative without positive"),
    "positive alone": (changed('negative = "debit", ', ""), "positive without negative"),
    "unmapped unknown": (changed('otherwise = "other"', 'unmapped = "drop"'), "unmapped is not a choice"),
    "otherwise without codes": (
        changed('codes = { "消费" = "purchase" }, ', ""),
        "otherwise without codes",
    ),
    "part with a format": (
        changed('join = ["日期", "时间"]', 'join = ["日期", { from = "时间", formats = ["%Y"] }]'),
        "columns.occurred_at has a part with formats",
    ),
    "leave_out no list": (GOOD + '[leave_out]\n"类型" = "x"\n', "leave_out.类型 is no list"),
    "lookup without key": (
        GOOD + '[lookups.a]\nfile = "a.csv"\non = "x"\ntake = ["y"]\n',
        "lookups.a lacks key",
    ),
    "lookup elsewhere": (
        GOOD + '[lookups.a]\nfile = "../a.csv"\non = "x"\nkey = "x"\ntake = ["y"]\n',
        "no plain file name",
    ),
    "lookup named run": (
        GOOD + '[lookups.run]\nfile = "a.csv"\non = "x"\nkey = "x"\ntake = ["y"]\n',
        "no name for a lookup",
    ),
    "what a lookup does not take": (
        changed('"流水号"', '"a.z"') + '[lookups.a]\nfile = "a.csv"\non = "x"\nkey = "x"\ntake = ["y"]\n',
        "takes what a does not give",
    ),
    "runs lack a state": (
        GOOD + '[runs]\nperson = "p"\nmonth = "m"\nmonth_format = "%b.%y"\n',
        "runs lacks state",
    ),
    "file format unknown": (changed('delimiter = ";"', 'format = "xlsx"'), "no format that is known"),
    "skip_lines negative": (changed('delimiter = ";"', "skip_lines = -1"), "no number of lines"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_not_understood_is_refused(name: str) -> None:
    """Never passed over: a clear error with the key, and a remedy."""
    text, message = BAD[name]
    with pytest.raises(BadInput, match=re.escape(message)) as caught:
        parse_mapping(text, SPENDING)
    assert caught.value.message.startswith("the mapping file cannot be used: ")
    assert caught.value.remedy


def test_a_mapping_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """Absent, or in no UTF-8."""
    (tmp_path / "m.toml").write_bytes(b"\xff\xfe\x00")
    for name in ("m.toml", "none.toml"):
        with pytest.raises(BadInput, match="cannot be read"):
            read_mapping(tmp_path / name, SPENDING)


@pytest.mark.parametrize("path", sorted(REPO.glob("examples/*/*.toml")), ids=lambda p: p.parent.name)
def test_the_examples_mappings_can_be_read(path: Path) -> None:
    """Every mapping file of the examples is one."""
    text = path.read_text(encoding="utf-8")
    if 'source = "' not in text:
        pytest.skip("no mapping file")
    name = re.search('^source = "(.*)"', text, re.M)
    assert name is not None
    if name[1] in SOURCES:
        assert read_mapping(path, SOURCES[name[1]]).source == name[1]


def test_every_key_is_explained() -> None:
    """docs/mapping-files.md explains each key there is."""
    from dataclasses import fields

    from ingestion.mapping import Cell, Layout, Lookup, Runs

    text = (REPO / "docs" / "mapping-files.md").read_text(encoding="utf-8")
    keys = {f.name for kind in (Layout, Lookup, Runs, Cell) for f in fields(kind)}
    keys |= {"from", "join", "first_of", "with", "negative", "positive", "leave_out", "source", "columns"}
    keys -= {"column", "parts", "first", "between", "signs", "name"}
    assert [key for key in sorted(keys) if f"`{key}`" not in text] == []
