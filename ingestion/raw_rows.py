"""A lender's file as rows of text: Parquet, CSV or JSONL, plain or gzipped.

Structure is judged here, and refused whole with a clear error: what cannot be opened or misses a column. No error
ever quotes a cell, nor a header, which in a file without a header row would be somebody's data.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from consent.errors import BadInput
from ingestion.mapping import Layout

#: Names the columns to read, once it is clear that all that are needed are there: (path, names in the file).
Choose: TypeAlias = Callable[[Path, list[str]], list[str]]

_FORMATS = {".parquet": "parquet", ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}


def refuse(path: Path, what: str, remedy: str) -> NoReturn:
    """Raise `BadInput` about a file; neither text may hold one of its values."""
    raise BadInput(f"{path.name}: {what}", remedy=remedy) from None


def read_raw(path: Path, choose: Choose, layout: Layout) -> pa.Table:
    """The chosen columns as the file has them, at least one row; text for CSV and JSONL.

    Raises:
        BadInput: the file cannot be used; names the file and the remedy, never a value.
    """
    raw = _read(path, choose, layout)
    if raw.num_rows == 0:
        refuse(path, "the file has no rows", "Leave it out, or send it again if it should have some.")
    return raw


def _read(path: Path, choose: Choose, layout: Layout) -> pa.Table:
    if not path.is_file():
        refuse(path, "there is no such file", "Check the path.")
    if path.stat().st_size == 0:
        refuse(path, "the file is empty", "Leave it out, or send it again if it should have rows.")
    suffixes = [s.lower() for s in path.suffixes]
    plain = suffixes[-2] if len(suffixes) > 1 and suffixes[-1] == ".gz" else suffixes[-1] if suffixes else ""
    match layout.format or _FORMATS.get(plain):
        case "parquet":
            return _read_parquet(path, choose)
        case "csv":
            return _read_csv(path, choose, layout)
        case "jsonl":
            return _read_jsonl(path, choose, layout)
    refuse(
        path,
        "the format is not known",
        f"Use a file ending in {', '.join(_FORMATS)}, or one of them with .gz.",
    )


def _read_parquet(path: Path, choose: Choose) -> pa.Table:
    try:
        file = pq.ParquetFile(path)
        wanted = choose(path, file.schema_arrow.names)
        return file.read(columns=wanted)
    except (pa.ArrowException, OSError):
        refuse(path, "this is no readable Parquet file; it may be cut short", "Send the file again.")


def _text_error(path: Path, encoding: str) -> NoReturn:
    refuse(
        path,
        f"the text is not {encoding}, or a row is damaged",
        "Name the encoding with --encoding (for Chinese text often gb18030), or send the file again.",
    )


def _open_text(path: Path, encoding: str) -> io.TextIOWrapper:
    name = "utf-8-sig" if encoding.lower().replace("_", "-") in ("utf-8", "utf8") else encoding
    try:
        return io.TextIOWrapper(pa.input_stream(path, compression="detect"), encoding=name, newline="")
    except LookupError:
        refuse(
            path,
            "the encoding has a name nobody knows",
            "Use one that Python knows: utf-8, gb18030, gbk, ...",
        )


def _read_csv(path: Path, choose: Choose, layout: Layout) -> pa.Table:
    header = list(layout.header) or _read_header(path, layout)
    wanted = choose(path, header)
    ragged: list[int] = []

    def note_ragged(_row: Any) -> str:
        ragged.append(1)
        return "skip"

    try:
        table = pacsv.read_csv(
            pa.input_stream(path, compression="detect"),
            read_options=pacsv.ReadOptions(
                encoding=layout.encoding,
                skip_rows=layout.skip_lines,
                column_names=list(layout.header) or None,
            ),
            parse_options=pacsv.ParseOptions(
                delimiter=layout.delimiter, newlines_in_values=True, invalid_row_handler=note_ragged
            ),
            convert_options=pacsv.ConvertOptions(
                include_columns=wanted,
                column_types=dict.fromkeys(wanted, pa.string()),
                null_values=[""],
                strings_can_be_null=True,
            ),
        )
    except (pa.ArrowException, UnicodeError, OSError):
        _text_error(path, layout.encoding)
    if ragged:
        refuse(
            path,
            f"{len(ragged)} rows have another number of fields than the header",
            "Quote fields that hold the delimiter, or send the file again.",
        )
    return table


def _read_header(path: Path, layout: Layout) -> list[str]:
    try:
        with _open_text(path, layout.encoding) as text:
            lines = csv.reader(islice(text, layout.skip_lines, None), delimiter=layout.delimiter)
            return next(lines, [])
    except (UnicodeError, csv.Error, OSError):
        _text_error(path, layout.encoding)


def _read_jsonl(path: Path, choose: Choose, layout: Layout) -> pa.Table:
    try:
        with _open_text(path, layout.encoding) as text:
            records = list(_parse_lines(path, text))
    except (UnicodeError, OSError):
        _text_error(path, layout.encoding)
    present = list(dict.fromkeys(name for record in records for name in record))
    wanted = choose(path, present)
    return pa.table({name: pa.array([r.get(name) for r in records], pa.string()) for name in wanted})


def _parse_lines(path: Path, text: io.TextIOWrapper) -> Iterator[dict[str, str | None]]:
    for number, line in enumerate(text, 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line, parse_int=str, parse_float=str, parse_constant=str)
        except (ValueError, RecursionError):
            record = None
        if not isinstance(record, dict):
            refuse(path, f"line {number} is not a JSON object", "Write one object per line.")
        for name, value in record.items():
            if isinstance(value, bool | list | dict):
                refuse(path, f"line {number}: a field is neither text nor a number", "Flatten nested fields.")
            if isinstance(value, str) and not value.isascii():
                try:
                    value.encode()
                except UnicodeEncodeError:
                    refuse(path, f"line {number}: a field holds half a character", "Send the file again.")
            record[name] = None if value == "" else value
        yield record
