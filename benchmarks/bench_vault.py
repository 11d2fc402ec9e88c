"""The vault beside Parquet's own encryption, plain Parquet and sealing cell by cell, on the same data in one run.

python benchmarks/bench_vault.py [--rows 5000000] [--subjects 100000] [--keys 1000000] [--rounds 3]

Rows are log-normal over people; each has three personal texts: an IBAN (24 B), a merchant (17 B on average, Zipf over
50,000) and a memo (22 B), drawn independently of the person, which is the worst case for records compressed one by
one. Every measurement is a process of its own; times are its CPU seconds without the imports, the best of the rounds,
which take turns. The peer of the jobs is Parquet Modular Encryption with one key for everything, which cannot forget
one person. The last line is one JSON object of the ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd  # noqa: F401  # Arrow imports it at its first conversion, which is in some stages only
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from consent.clock import now_utc
from consent.datakeys import DataKeys
from consent.epochs import Epochs
from consent.home import Home
from consent.keyring import Keyring
from consent.sealing import bind, seal, seal_many, unseal
from ingestion.entities import pseudonymise
from ingestion.payload import to_records
from ingestion.records import RecordFile, seal_records
from ingestion.vault import (
    Batch,
    commit_batch,
    open_store_writer,
    pack_rows,
    read_batch,
    read_batches,
    read_store,
    stage_store,
)

ROOT = Path(__file__).resolve().parents[1]
#: Ratios to the peer, but for the last two; more is better for the seal only.
BARS = {
    "write_vs_pme": 3.0,
    "read_vs_pme": 2.0,
    "seal_vs_cells": 20.0,
    "size_vs_parquet": 1.15,
    "one_person_ms": 10.0,
    "erase_1_cpu_s": 1.0,
}
SOURCE = "spending"
UNBOUNDED = 1 << 40
SMALL = 64 * 1024 * 1024
EACH = 50
Stage = Callable[[Path], dict[str, Any]]


# ------------------------------------------------------------------------------------------- the data


def write_raw(path: Path, rows: int, subjects: int) -> None:
    """Random transactions, as a lender might send them."""
    dice = np.random.default_rng(7)
    weights = dice.lognormal(0, 1, subjects)
    person = dice.choice(subjects, size=rows, p=weights / weights.sum())
    pools = {
        "subject_id": [f"138{i * 7919 % 999_999_937:09d}" for i in range(subjects)],
        "iban": _ibans(dice, 200_000),
        "merchant": _merchants(dice, 50_000),
        "memo": _memos(dice, 200_000),
    }
    chosen = {
        "subject_id": person,
        "iban": dice.integers(0, 200_000, rows),
        "merchant": np.minimum(dice.zipf(1.3, rows) - 1, 49_999),
        "memo": dice.integers(0, 200_000, rows),
    }
    texts = {name: pa.array(pool).take(pa.array(chosen[name])) for name, pool in pools.items()}
    pq.write_table(pa.table(texts), path, compression="zstd")


def _ibans(dice: np.random.Generator, number: int) -> list[str]:
    banks, branches = dice.integers(1000, 9999, 40), dice.integers(1000, 9999, 500)
    parts = zip(
        dice.integers(10, 99, number).tolist(),
        dice.choice(banks, number).tolist(),
        dice.choice(branches, number).tolist(),
        dice.integers(0, 99, number).tolist(),
        dice.integers(0, 10**10, number).tolist(),
        strict=True,
    )
    return [
        f"ES{check}{bank}{branch}{more:02d}{account:010d}" for check, bank, branch, more, account in parts
    ]


def _merchants(dice: np.random.Generator, number: int) -> list[str]:
    syllables = ["ming", "hua", "da", "long", "xin", "bao", "tian", "he", "feng", "qing"]
    kinds = ["Mart", "Cafe", "Foods", "Travel", "Books", "Pharmacy"]
    parts = zip(*(dice.integers(0, n, number).tolist() for n in (10, 10, 6, 1000)), strict=True)
    return [f"{syllables[a].title()}{syllables[b]} {kinds[c]} {d}" for a, b, c, d in parts]


def _memos(dice: np.random.Generator, number: int) -> list[str]:
    uses = ["rent", "food", "fare", "gift", "loan", "fuel"]
    parts = zip(*(dice.integers(0, n, number).tolist() for n in (6, 12, 100_000)), strict=True)
    return [f"{uses[a]} 2026-{b + 1:02d} ref {c:05d}" for a, b, c in parts]


# ------------------------------------------------------------------------------------------- stages, one process each


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of this process, all threads, and the result."""
    before = time.process_time()
    result = work()
    return time.process_time() - before, result


class _Kms(pe.KmsClient):  # type: ignore[misc]
    """Wraps a file's keys under one key."""

    def wrap_key(self, key_bytes: bytes, master_key_identifier: str) -> str:
        return seal(bytes(32), key_bytes, master_key_identifier.encode()).hex()

    def unwrap_key(self, wrapped_key: str, master_key_identifier: str) -> bytes:
        return unseal(bytes(32), bytes.fromhex(wrapped_key), master_key_identifier.encode())


_FACTORY = pe.CryptoFactory(lambda _: _Kms())


def pme_write(place: Path) -> dict[str, Any]:
    """Read the raw file and write it encrypted."""

    def job() -> None:
        properties = _FACTORY.file_encryption_properties(
            pe.KmsConnectionConfig(),
            pe.EncryptionConfiguration(
                footer_key="all", uniform_encryption=True, double_wrapping=False, data_key_length_bits=256
            ),
        )
        rows = pq.read_table(place / "raw.parquet")
        pq.write_table(rows, place / "pme.parquet", compression="zstd", encryption_properties=properties)

    return {"cpu": timed(job)[0]}


def pme_read(place: Path) -> dict[str, Any]:
    """The encrypted file into Arrow."""

    def job() -> pa.Table:
        properties = _FACTORY.file_decryption_properties(
            pe.KmsConnectionConfig(), pe.DecryptionConfiguration(cache_lifetime=timedelta(0))
        )
        return pq.read_table(place / "pme.parquet", decryption_properties=properties)

    seconds, rows = timed(job)
    return {"cpu": seconds, "rows": rows.num_rows}


def _home(place: Path) -> Home:
    home = Home.open(place / "home")
    home.data_keys, home.directory  # noqa: B018 - opened before the clock starts
    return home


def _named(home: Home, rows: pa.Table) -> pa.Table:
    return rows.drop_columns(["subject_id"]).add_column(
        0, "subject_key", pseudonymise(home, rows["subject_id"])
    )


def _write_whole(place: Path, source: str, *, at_once: bool) -> dict[str, Any]:
    home = _home(place)

    def job() -> RecordFile | None:
        rows = _named(home, pq.read_table(place / "raw.parquet"))
        if at_once:
            return stage_store(home, "vault", source, "batch", rows)
        with open_store_writer(home, "vault", source, "batch") as writer:
            writer.write(rows)
            return writer.finish()

    seconds, file = timed(job)
    assert file is not None
    return {"cpu": seconds, "file": file.to_document(), "size": file.size}


def write(place: Path) -> dict[str, Any]:
    """Read the raw file, pseudonymise, seal, as an ingestion job does. Nobody has a data key of the source yet."""
    return _write_whole(place, f"{SOURCE}-{secrets.token_hex(4)}", at_once=True)


def write_aside(place: Path) -> dict[str, Any]:
    """The same, where rows beyond 256 MiB are put aside."""
    return _write_whole(place, f"{SOURCE}-{secrets.token_hex(4)}", at_once=False)


def load(place: Path) -> dict[str, Any]:
    """The batch that the readers read."""
    home = _home(place)
    written = _write_whole(place, SOURCE, at_once=True)
    file = RecordFile.from_document(written["file"])
    rows = pack_rows(np.arange(file.rows))
    commit_batch(home, Batch("batch", SOURCE, 0, "0" * 64, rows, {"vault": file}, now_utc()))
    return written


def read(place: Path) -> dict[str, Any]:
    """All records into Arrow."""
    home = _home(place)
    seconds, rows = timed(lambda: pa.concat_tables(read_store(home, "vault", SOURCE)))
    return {"cpu": seconds, "rows": rows.num_rows}


def one_person(place: Path) -> dict[str, Any]:
    """One person's rows, again and again another's: the manifest, the key, the file; wall milliseconds."""
    home = _home(place)
    known = next(read_store(home, "vault", SOURCE))["subject_key"].unique().to_pylist()
    everybody = np.random.default_rng(3).choice(known, 200).tolist()
    took = []
    for subject in everybody:
        start = time.perf_counter()
        rows = sum(t.num_rows for t in read_store(home, "vault", SOURCE, subjects=[subject]))
        took.append((time.perf_counter() - start) * 1000)
        assert rows
    return {"median": statistics.median(took), "p99": float(np.quantile(took, 0.99))}


def sealing(place: Path) -> dict[str, Any]:
    """Rows that are in order already, 50 a subject: records, the records' seals alone, and cell by cell."""
    rows = pq.read_table(place / "raw.parquet", columns=["iban", "merchant", "memo"]).combine_chunks()
    subjects = sorted(secrets.token_hex(16) for _ in range(rows.num_rows // EACH))
    counts = [EACH] * len(subjects)
    payload = rows.slice(0, EACH * len(subjects))
    keys = _key_table(place / f"seal-{secrets.token_hex(4)}").find_or_create(SOURCE, subjects)
    where = ("vault", SOURCE, "batch")
    whole = timed(lambda: sum(t.num_rows for t in seal_records(subjects, counts, payload, keys, where)))[0]
    records = [
        to_records(payload.slice(lo * EACH, 256 * EACH), counts[lo : lo + 256])
        for lo in range(0, len(subjects), 256)
    ]

    def only_seal() -> None:
        for number, plain in enumerate(records):
            some = subjects[number * 256 : (number + 1) * 256]
            seal_many([keys[s].key for s in some], plain, [bind(b"vault", s.encode()) for s in some])

    seals = timed(only_seal)[0]
    sample = subjects[: max(1, len(subjects) // 50)]
    cells = [column.cast(pa.binary()).to_pylist() for column in payload.slice(0, EACH * len(sample)).columns]
    by_cell = timed(lambda: _seal_cells(sample, [keys[s].key for s in sample], cells))[0]
    return {
        "cpu": whole,
        "seals": seals,
        "cells": by_cell * len(subjects) / len(sample),
        "subjects": len(subjects),
    }


def _seal_cells(subjects: list[str], keys: list[bytes], columns: list[list[bytes]]) -> list[bytes]:
    nonces = os.urandom(12 * EACH * len(columns) * len(subjects))
    sealed, at = [], 0
    for number, (subject, key) in enumerate(zip(subjects, keys, strict=True)):
        cipher = AESGCM(key)
        for name, column in enumerate(columns):
            bound = bind(subject.encode(), b"%d" % name)
            for cell in column[number * EACH : (number + 1) * EACH]:
                nonce = nonces[at : at + 12]
                at += 12
                sealed.append(nonce + cipher.encrypt(nonce, cell, bound))
    return sealed


def _key_table(place: Path) -> DataKeys:
    epochs = Epochs(Keyring.create(place / "ring").path, "assent/bench")
    epochs.ensure(1)
    return DataKeys.create(place / "keys.db", epochs)


def erasing(place: Path, number: int) -> dict[str, Any]:
    """Keys for so many, then 1 and 1,000 of them destroyed, three times each in turn."""
    room = place / "erasing"
    keys = _key_table(room)
    epochs = Epochs(room / "ring", "assent/bench")
    people = [secrets.token_hex(16) for _ in range(number)]
    made = timed(
        lambda: [keys.find_or_create(SOURCE, people[i : i + 50_000]) for i in range(0, number, 50_000)]
    )
    figures: dict[str, Any] = {"made": made[0]}
    for _ in range(3):
        for some in (1, 1_000):
            gone, people = people[:some], people[some:]
            old = epochs.current

            def erase(gone: list[str] = gone, old: int = old) -> int:
                rotation = keys.rotate(old + 1, destroy={SOURCE: gone})
                keys.forget()
                epochs.destroy(old)
                assert rotation.destroyed == len(gone)
                return rotation.size

            seconds, size = timed(erase)
            figures[f"cpu_{some}"] = min(seconds, figures.get(f"cpu_{some}", seconds))
            figures["bytes"] = size
    return figures


def peak_mb() -> float:
    """Of this process, so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _rss_write(place: Path, memory_bytes: int) -> dict[str, Any]:
    home = _home(place)
    ids = pq.read_table(place / "people.parquet")
    before = peak_mb()
    source = f"{SOURCE}-{secrets.token_hex(4)}"
    taken = 0

    def job() -> None:
        nonlocal taken
        with open_store_writer(home, "vault", source, "batch", memory_bytes=memory_bytes) as writer:
            for batch in pq.ParquetFile(place / "raw.parquet").iter_batches(65_536):
                position = pc.index_in(batch["subject_id"], value_set=ids["subject_id"].combine_chunks())
                keys = ids["subject_key"].combine_chunks().take(position)
                rows = pa.Table.from_batches([batch]).drop_columns(["subject_id"])
                rows = rows.append_column("subject_key", keys)
                taken += rows.nbytes
                writer.write(rows)
            writer.finish()

    seconds = timed(job)[0]
    return {"before": before, "peak": peak_mb(), "cpu": seconds, "arrow_mb": taken / 2**20}


def rss_write_small(place: Path) -> dict[str, Any]:
    """Streaming, 64 MiB of rows at a time."""
    return _rss_write(place, SMALL)


def rss_write_unbounded(place: Path) -> dict[str, Any]:
    """Streaming in, but every row is held to the end."""
    return _rss_write(place, UNBOUNDED)


def rss_read_streaming(place: Path) -> dict[str, Any]:
    """Each table is dropped before the next is read."""
    home = _home(place)
    before = peak_mb()
    rows = sum(t.num_rows for t in read_store(home, "vault", SOURCE))
    return {"before": before, "peak": peak_mb(), "rows": rows}


def rss_read_whole(place: Path) -> dict[str, Any]:
    """All tables are kept."""
    home = _home(place)
    before = peak_mb()
    (batch,) = read_batches(home, SOURCE)
    kept = list(read_batch(home, "vault", batch))
    return {"before": before, "peak": peak_mb(), "tables": len(kept)}


STAGES: dict[str, Stage] = {
    stage.__name__: stage
    for stage in (
        pme_write,
        pme_read,
        write,
        write_aside,
        load,
        read,
        one_person,
        sealing,
        rss_write_small,
        rss_write_unbounded,
        rss_read_streaming,
        rss_read_whole,
    )
}


# ------------------------------------------------------------------------------------------- the run


class Bench:
    """Where this run's files are, and what it has found."""

    def __init__(self, place: Path, rounds: int) -> None:
        self.place = place
        self.rounds = rounds
        self.ratios: dict[str, float] = {}

    def run(self, stage: str, *more: str) -> dict[str, Any]:
        """One stage in a process of its own."""
        done = subprocess.run(
            [sys.executable, __file__, "--stage", stage, "--place", str(self.place), *more],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=True,
        )
        figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return figures

    def best(self, *stages: str) -> dict[str, dict[str, Any]]:
        """The stages in turn, the best round of each by CPU seconds."""
        rounds = [{stage: self.run(stage) for stage in stages} for _ in range(self.rounds)]
        return {stage: min((r[stage] for r in rounds), key=lambda f: float(f["cpu"])) for stage in stages}

    def say(self, name: str, value: float, detail: str) -> None:
        """A figure with its bar and what it was made of."""
        self.ratios[name] = round(value, 3)
        good = value >= BARS[name] if name == "seal_vs_cells" else value <= BARS[name]
        print(
            f"{name:<20} {value:8.2f}  bar {BARS[name]:<6} {'ok' if good else 'NOT REACHED':<12} {detail}",
            flush=True,
        )

    def note(self, name: str, value: float, detail: str) -> None:
        """A figure without a bar."""
        self.ratios[name] = round(value, 3)
        print(f"{name:<20} {value:8.2f}  {'':<23} {detail}", flush=True)


def prepare(place: Path, rows: int, subjects: int) -> dict[str, Any]:
    """The raw file, and a home whose directory knows everybody."""
    write_raw(place / "raw.parquet", rows, subjects)
    home = Home.create(place / "home")
    ids = pq.read_table(place / "raw.parquet", columns=["subject_id"])["subject_id"].unique().to_pylist()
    keys = home.directory.find_or_create(ids)
    pq.write_table(pa.table({"subject_id": ids, "subject_key": keys}), place / "people.parquet")
    return {"people": len(ids)}


def jobs(bench: Bench, rows: int) -> None:
    raw = bench.place / "raw.parquet"
    best = bench.best("pme_write", "write", "write_aside")
    peer = best["pme_write"]["cpu"]
    for name, stage in (("write_vs_pme", "write"), ("write_aside_vs_pme", "write_aside")):
        tell = bench.say if name in BARS else bench.note
        tell(name, best[stage]["cpu"] / peer, f"{best[stage]['cpu']:.2f} s beside {peer:.2f} s")
    size, plain = best["write"]["size"], raw.stat().st_size
    bench.run("load")
    best = bench.best("pme_read", "read")
    peer, ours = best["pme_read"]["cpu"], best["read"]["cpu"]
    assert best["read"]["rows"] == best["pme_read"]["rows"] == rows
    bench.say("read_vs_pme", ours / peer, f"{ours:.2f} s beside {peer:.2f} s")
    bench.say("size_vs_parquet", size / plain, f"{size / 1e6:.1f} MB beside {plain / 1e6:.1f} MB")
    pme = (bench.place / "pme.parquet").stat().st_size
    bench.note("size_vs_pme", size / pme, f"{pme / 1e6:.1f} MB encrypted by Parquet")


def people(bench: Bench) -> None:
    one = bench.run("one_person")
    bench.say("one_person_ms", one["median"], f"median wall ms of 200 reads; p99 {one['p99']:.1f} ms")
    bench.ratios["one_person_p99_ms"] = round(one["p99"], 2)


def seals(bench: Bench) -> None:
    found = bench.best("sealing")["sealing"]
    each = f"{found['subjects']} subjects, {EACH} rows each; cells {found['cells']:.1f} s, scaled from 2 %"
    bench.say(
        "seal_vs_cells", found["cells"] / found["cpu"], f"{found['cpu']:.2f} s, compression included; {each}"
    )
    bench.note(
        "seal_alone_vs_cells", found["cells"] / found["seals"], f"{found['seals']:.2f} s for the seals alone"
    )


def keys(bench: Bench, number: int) -> None:
    found = bench.run("erasing", "--keys", str(number))
    detail = f"of {number} subjects; {found['bytes'] / 1e6:.1f} MB sealed anew; made in {found['made']:.1f} s"
    bench.say("erase_1_cpu_s", found["cpu_1"], detail)
    bench.note("erase_1000_cpu_s", found["cpu_1000"], "1,000 of them at once")


def memory(bench: Bench) -> None:
    small, whole = bench.run("rss_write_small"), bench.run("rss_write_unbounded")
    detail = (
        f"peak {small['peak']:.0f} MB beside {whole['peak']:.0f} MB ({small['before']:.0f} MB before);"
        f" {small['arrow_mb']:.0f} MB of Arrow through 64 MiB; CPU {small['cpu']:.1f} s beside {whole['cpu']:.1f} s"
    )
    bench.note("rss_write", small["peak"] / whole["peak"], detail)
    stream, kept = bench.run("rss_read_streaming"), bench.run("rss_read_whole")
    detail = f"peak {stream['peak']:.0f} MB beside {kept['peak']:.0f} MB ({stream['before']:.0f} MB before)"
    bench.note("rss_read", stream["peak"] / kept["peak"], detail)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--subjects", type=int, default=100_000)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--stage", help=argparse.SUPPRESS)
    parser.add_argument("--place", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.stage:
        sized: dict[str, Callable[[], dict[str, Any]]] = {
            "prepare": lambda: prepare(options.place, options.rows, options.subjects),
            "erasing": lambda: erasing(options.place, options.keys),
        }
        stage = sized.get(options.stage) or (lambda: STAGES[options.stage](options.place))
        print(json.dumps(stage()))
        return
    with tempfile.TemporaryDirectory(prefix="assent-bench-") as name:
        bench = Bench(Path(name), options.rounds)
        bench.run("prepare", "--rows", str(options.rows), "--subjects", str(options.subjects))
        jobs(bench, options.rows)
        people(bench)
        seals(bench)
        keys(bench, options.keys)
        memory(bench)
        print(json.dumps(bench.ratios))


if __name__ == "__main__":
    main()
