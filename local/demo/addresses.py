"""Where everything of the local stack is: addresses, names, logs."""

from __future__ import annotations

from pathlib import Path

from local.engine.program import Program
from local.machine.launcher import Launcher
from local.machine.process import Process


class Addresses:
    """What of a started stack others connect to; `LocalStack` is one."""

    program: Program
    _launcher: Launcher

    @property
    def processes(self) -> dict[str, Process]:
        """The processes by name, in the order of their start."""
        return self._launcher.processes

    @property
    def logs(self) -> Path:
        """Directory with one log a process."""
        return self._launcher.logs

    @property
    def x_url(self) -> str:
        """Address of the X stand-in; its control is under `/_standin/`."""
        return self._launcher.url("x")

    @property
    def pubsub_address(self) -> str:
        """`host:port` of the Pub/Sub stand-in, as PUBSUB_EMULATOR_HOST wants it."""
        return self._launcher.pubsub_address

    @property
    def pubsub_control_url(self) -> str:
        """Control of the Pub/Sub stand-in: GET /stats, POST /faults."""
        return self._launcher.url("pubsub-control")

    @property
    def bigquery_url(self) -> str:
        """Address of the BigQuery stand-in, as BIGQUERY_EMULATOR_HOST wants it."""
        return self._launcher.url("bigquery")

    @property
    def producer_url(self) -> str:
        """Health and metrics of the producer."""
        return self._launcher.url("producer")

    @property
    def dashboard_url(self) -> str | None:
        """The page, or None where it is not started."""
        return self._launcher.url("dashboard") if "dashboard" in self.processes else None

    @property
    def tweets_table(self) -> str:
        """`project.dataset.table`, as the function got it."""
        return self.processes["function"].env["TWEETS_TABLE"]

    @property
    def dataset(self) -> str:
        """`project.dataset`."""
        return self.tweets_table.rpartition(".")[0]

    @property
    def tweets_latest(self) -> str:
        """The view that people read, in the dataset of the table."""
        return f"{self.dataset}.tweets_latest"

    @property
    def pushed(self) -> list[str]:
        """Full names of the subscriptions that push to the function."""
        return [each.id for each in self.program.resources if each.inputs.get("pushConfig")]
