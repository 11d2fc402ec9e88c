"""Kills a job at each of its durable steps in turn: before a write, a sync or a rename."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from consent.home import Home

_SCRIPT = """
# Imports once, then forks one child per kill point, before any library has started a thread.
import os, sys
from pathlib import Path
import ibis, pyarrow.parquet, validation.evaluation
from consent.home import Home
from ingestion.publish import publish
from ingestion.run import ingest

def dies_at(point):
    left = point
    def step(function):
        def stepped(*args, **kwargs):
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), 9)
            return function(*args, **kwargs)
        return stepped
    os.fsync = step(os.fsync)
    Path.replace = step(Path.replace)
    pyarrow.parquet.write_table = step(pyarrow.parquet.write_table)
    pyarrow.parquet.ParquetWriter.write_table = step(pyarrow.parquet.ParquetWriter.write_table)
    home = Home.open(Path(sys.argv[1]))
    eval(sys.argv[2])
    os._exit(0)

for point in sys.argv[3].split(","):
    child = os.fork()
    if child == 0:
        dies_at(int(point))
    print(-os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def kill_at_each_step(job: str, home: Home, points: Iterable[int]) -> list[int]:
    """Run the job once per point and kill it there: 9 where it was killed, 0 where it had ended before."""
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, home.root, job, ",".join(map(str, points))],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        check=True,
    )
    codes = [int(code) for code in done.stdout.split()]
    assert set(codes) <= {0, 9}, done.stderr
    return codes
