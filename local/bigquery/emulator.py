"""bqemulator 1.4.0 made fit to stand in for BigQuery: what is switched off, bounded and checked.

Switched off, because each of them was seen to break an offline or a long run:

- DuckDB extensions from the network (`spatial`, `avro`, and DuckDB's own auto-install);
- the time-travel snapshot of the whole table after each insert (100k rows took 4.5 GB);
- the gRPC Storage API (nothing here uses it), tracing, per-request log lines and BQEMU_* variables;
- the thread pool for simple requests: DuckDB's connection must not be shared between threads.

Bounded: results of past queries, which bqemulator keeps for ever; DuckDB's memory.

Not closed, and to be known when you write SQL or tests: `insertId` is ignored, so a repeated insert
stores a second row (BigQuery's own dedup is best effort too: read the `_latest` views);
`CURRENT_DATETIME()`, the counts of `APPROX_TOP_COUNT`, adding a column by `update_table`,
`load_table_from_json`, primary keys and change data capture do not work as in BigQuery.
"""

from __future__ import annotations

import asyncio
import os
import warnings
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from local.bigquery.front import Front
from local.standin import StandIn, require_free

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bqemulator.api.dependencies import AppContext
    from bqemulator.server import EmulatorServer
    from starlette.types import ASGIApp

BQEMULATOR = "1.4.0"
KEPT_QUERIES = 200
KEPT_RESULT_BYTES = 32 * 1024 * 1024
DUCKDB_SETTINGS = (
    "autoinstall_known_extensions = false",
    "autoload_known_extensions = false",
    "memory_limit = '256MB'",
    "threads = 2",
    "preserve_insertion_order = false",
)


class CannotServeError(Exception):
    """bqemulator is of another version, or the data directory cannot be had; the text says why."""


async def _inline(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    return function(*args, **kwargs)


class _NoGrpc:
    """Stands where bqemulator would hold its gRPC server."""

    async def start(self) -> None:
        """Do nothing."""

    async def stop(self, grace: float) -> None:
        """Do nothing."""


def tame() -> None:
    """Replace the parts of bqemulator named above, in this process.

    Raises:
        CannotServeError: it is of another version, whose parts may be elsewhere.
    """
    if version("bqemulator") != BQEMULATOR:
        raise CannotServeError(
            f"bqemulator is {version('bqemulator')}, but local/bigquery/emulator.py is written for "
            f"{BQEMULATOR}: pip install bqemulator=={BQEMULATOR}, or adapt what that file replaces"
        )
    from bqemulator.config import LogFormat, LogLevel
    from bqemulator.observability.logging_ import configure_logging

    # Its modules log on import, to stdout, where the ready line is read.
    configure_logging(level=LogLevel.WARNING, fmt=LogFormat.JSON)
    warnings.filterwarnings("ignore", "Arrow output on a DB-API result", UserWarning)
    import bqemulator.server
    import fastapi.dependencies.utils
    import fastapi.routing
    from bqemulator.domain.events import TableDataChanged
    from bqemulator.jobs.executor import JOB_RESULTS, JOB_SCHEMAS
    from bqemulator.storage.engine import DuckDBEngine
    from bqemulator.versioning.snapshots import SnapshotManager

    def settle(engine: DuckDBEngine) -> None:
        for setting in DUCKDB_SETTINGS:
            engine.connection.execute(f"SET {setting}")

    def record_change(manager: Any, project: str, dataset: str, table: str) -> None:
        manager._events.publish(TableDataChanged(project, dataset, table))  # noqa: SLF001

    def prune(context: AppContext, project: str) -> None:
        kept = sum(table.nbytes for table in JOB_RESULTS.values())
        while len(JOB_RESULTS) > 1 and (
            len(JOB_RESULTS) > KEPT_QUERIES or kept > KEPT_RESULT_BYTES
        ):
            job = next(iter(JOB_RESULTS))
            kept -= JOB_RESULTS.pop(job).nbytes
            JOB_SCHEMAS.pop(job, None)
            context.catalog.delete_job(project, job, not_found_ok=True)

    server: Any = bqemulator.server
    create_app = server.create_app

    def create_front(context: AppContext) -> ASGIApp:
        return Front(context, create_app(context), lambda project: prune(context, project))

    replaced: list[tuple[object, str, object]] = [
        (DuckDBEngine, "_load_spatial", settle),
        (DuckDBEngine, "_load_format_extensions", lambda _: None),
        (SnapshotManager, "record_change", record_change),
        (server, "create_app", create_front),
        (server, "build_grpc_server", lambda _: (_NoGrpc(), 0)),
        (fastapi.routing, "run_in_threadpool", _inline),
        (fastapi.dependencies.utils, "run_in_threadpool", _inline),
    ]
    for holder, name, replacement in replaced:
        setattr(holder, name, replacement)


class BigQueryProcess(StandIn):
    """The server of one process: bqemulator can be tamed once only.

    Args:
        port: port to bind, 0 for a free one.
        project: project of queries that name none.
        data_dir: where DuckDB's file is kept, or None.

    Raises (from `open`): PortBusyError, CannotServeError.
    """

    def __init__(self, port: int, project: str, data_dir: Path | None) -> None:
        self._port, self._project, self._data_dir = port, project, data_dir
        self._server: EmulatorServer | None = None

    def lines(self) -> list[str]:
        """What its process prints."""
        return [f"ready {self._server.rest_url}"] if self._server else []

    async def open(self) -> None:
        """Start it; nothing is taken from the environment."""
        require_free(self._port)
        for name in [name for name in os.environ if name.upper().startswith("BQEMU_")]:
            del os.environ[name]
        tame()
        from bqemulator.config import LogLevel, PersistenceMode, Settings
        from bqemulator.server import EmulatorServer
        from duckdb import Error as DuckDBError

        kept = PersistenceMode.PERSISTENT if self._data_dir else PersistenceMode.EPHEMERAL
        try:
            if self._data_dir is not None:
                self._data_dir.mkdir(parents=True, exist_ok=True)
            server = EmulatorServer(
                Settings(
                    rest_port=self._port,
                    grpc_port=0,
                    default_project_id=self._project,
                    data_dir=self._data_dir,
                    persistence_mode=kept,
                    query_cache_ttl_seconds=0,
                    enable_format_extensions=False,
                    log_level=LogLevel.WARNING,
                    metrics_enabled=False,
                )
            )
            await server.start()
        except (OSError, DuckDBError) as error:
            first = str(error).splitlines()[0]
            raise CannotServeError(
                f"--data-dir {self._data_dir} cannot be opened: {first} "
                "(another stand-in may hold it)"
            ) from error
        self._server = server

    async def shut(self) -> None:
        """End it; a request that hangs on purpose (insert_delay_ms) must not outlive it."""
        if self._server is not None:
            try:
                await asyncio.wait_for(self._server.stop(), 1.0)
            except TimeoutError:
                await self._server._engine.stop()  # noqa: SLF001 - flushes the data directory
