"""What a month costs: this pipeline, a Dataflow job and a BigQuery subscription, on paper.

All three begin with the same producer and topic and end with the same rows stored; only the way
between differs. Sizes and CPU are measured by the other parts of `bench/` (defaults here are of the
run in the README); prices are list prices (prices.py). Left out because they are the same for all
or nearly nothing: queries, logs, the image's storage, dead letters.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, exp

from bench.prices import (
    GIB,
    GKE_FREE,
    HOURS,
    PRICES,
    PUBSUB_FREE,
    READ_ON,
    RUN_FREE_CPU,
    RUN_FREE_MEMORY,
    RUN_FREE_REQUESTS,
    STORAGE_FREE_GIB,
    TIB,
    WRITE_FREE,
    X_CAP,
)
from bench.results import Section

VOLUMES = {"10k": 10_000, "1M": 1_000_000, "3M": 3_000_000, "100M": 100_000_000}


@dataclass(frozen=True)
class Measured:
    """What a post is and takes.

    Attributes:
        message_bytes: data and attributes of a message.
        request_seconds: that a message waits in the function (p50 of the sink at low load).
        sink_cpu: CPU seconds of the function a message.
    """

    message_bytes: float = 1_930.0
    request_seconds: float = 0.060
    sink_cpu: float = 0.00022


def producer(posts: float, measured: Measured) -> float:
    """Cluster, pod of the Deployment (0.1 vCPU, 0.5 GiB, 1 GiB disk) and publishing."""
    cluster = max(0.0, PRICES["gke_cluster"].usd * HOURS - GKE_FREE)
    pod = HOURS * (0.1 * PRICES["gke_cpu"].usd + 0.5 * PRICES["gke_memory"].usd)
    return cluster + pod + PRICES["disk"].usd


def storage(posts: float, measured: Measured) -> float:
    """One month's rows kept for a month."""
    gib = posts * measured.message_bytes / GIB
    return max(0.0, gib - STORAGE_FREE_GIB) * PRICES["bigquery_storage"].usd


def delivered(posts: float, measured: Measured, times: int) -> float:
    """Pub/Sub's throughput: published once, and delivered `times` - 1 times."""
    volume = posts * measured.message_bytes * times
    return max(0.0, volume - PUBSUB_FREE) / TIB * PRICES["pubsub"].usd


def pipeline(posts: float, measured: Measured) -> float:
    """Push subscription, function, insertAll. Idle, the function is not there and costs nothing.

    Requests that overlap share the instance's time: at a steady rate r, an instance is busy for
    1 - exp(-r w) of the month, w being how long a request waits, rounded up to a tenth of a second
    as Cloud Run does; that is billed. Posts in bursts cost less.
    """
    seconds = HOURS * 3600
    window = ceil(measured.request_seconds * 10) / 10
    busy = (1 - exp(-posts / seconds * window)) * seconds
    instances = max(1.0, posts / seconds * measured.sink_cpu / 0.6)
    cpu = max(0.0, busy * instances - RUN_FREE_CPU) * PRICES["run_cpu"].usd
    memory = max(0.0, busy * instances * 0.5 - RUN_FREE_MEMORY) * PRICES["run_memory"].usd
    requests = max(0.0, posts - RUN_FREE_REQUESTS) * PRICES["run_request"].usd
    insert = posts * max(1000.0, measured.message_bytes) / 1e6 * PRICES["bigquery_insert"].usd
    return delivered(posts, measured, 2) + cpu + memory + requests + insert


def dataflow(posts: float, measured: Measured) -> float:
    """A streaming Pub/Sub-to-BigQuery job: at least one n1-standard-2 worker, all month."""
    workers = max(1.0, posts / (HOURS * 3600) / 5_000)
    worker = HOURS * (
        2 * PRICES["dataflow_cpu"].usd
        + 7.5 * PRICES["dataflow_memory"].usd
        + 30 * PRICES["dataflow_disk"].usd
    )
    volume = posts * measured.message_bytes
    engine = volume / GIB * PRICES["dataflow_engine"].usd
    write = max(0.0, volume - WRITE_FREE) / GIB * PRICES["bigquery_write"].usd
    return delivered(posts, measured, 2) + workers * worker + engine + write


def subscription(posts: float, measured: Measured) -> float:
    """A BigQuery subscription: publishing and the export; no repair, no one row a post."""
    volume = posts * measured.message_bytes
    return delivered(posts, measured, 1) + volume / TIB * PRICES["pubsub_bigquery"].usd


def run(_pairs: int = 0) -> Section:
    """Work it out."""
    measured = Measured()
    section = Section(
        f"Cost of a month in US dollars (list prices, us-central1, read {READ_ON})",
        ["posts a month", "X itself", "producer", "+ this pipeline", "+ Dataflow job",
         "+ BigQuery subscription", "rows stored", "this pipeline in all", "X's share"],
    )  # fmt: skip
    for name, posts in {"idle": 0, **VOLUMES}.items():
        x = posts * PRICES["x_post"].usd
        base, kept = producer(posts, measured), storage(posts, measured)
        ways = [way(posts, measured) for way in (pipeline, dataflow, subscription)]
        total = x + base + ways[0] + kept
        cells = [x, base, *ways, kept, total]
        section.rows.append([name, *(_dollars(each) for each in cells), f"{x / total:.1%}"])
        section.data[name] = dict(
            zip(("x", "producer", "pipeline", "dataflow", "subscription", "storage", "total"),
                cells, strict=True)
        )  # fmt: skip
    section.data["prices"] = {name: vars(price) for name, price in PRICES.items()}
    section.data["measured"] = vars(measured)
    assumed = [f"{name} (${p.usd:g} a {p.unit})" for name, p in PRICES.items() if p.assumed]
    section.notes += [
        f"A message is {measured.message_bytes:,.0f} bytes, the function takes "
        f"{measured.sink_cpu * 1000:.2g} ms of CPU a message and answers in "
        f"{measured.request_seconds * 1000:.0f} ms (measured). Every other number is in "
        "bench/prices.py with its source.",
        "Assumed, because no copy of a page showed it: " + "; ".join(assumed) + ". Assumed too: a "
        "Dataflow worker takes 5,000 posts/s, a function instance is used to 60 %.",
        "Before the free allowance of one Autopilot cluster an account, the cluster is "
        f"${PRICES['gke_cluster'].usd * HOURS:.0f} more. X's pay-per-use plan ends at "
        f"{X_CAP / 1e6:g} million posts a month (docs.x.com, since 2026-08-13): beyond it, X's "
        "price is a contract, and the column is only the list price times the posts.",
    ]
    return section


def _dollars(value: float) -> str:
    return f"{value:,.2f}" if value < 100 else f"{value:,.0f}"
