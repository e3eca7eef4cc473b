"""List prices in US dollars that the cost model uses, each with its source. Region us-central1.

Read on 2026-11-22 in stored copies of these pages, whose own dates vary; no live page was read. A
price without a copy that shows it is an assumption and says so: check it before you rely on it.
"""

from __future__ import annotations

from dataclasses import dataclass

READ_ON = "2026-11-22"
HOURS = 730.0
"""Of a month, as Google's calculator counts."""
GIB, TIB = 2.0**30, 2.0**40


@dataclass(frozen=True)
class Price:
    """Dollars for one of a unit, and where that stands."""

    usd: float
    unit: str
    source: str
    assumed: bool = False


_PUBSUB = "https://cloud.google.com/pubsub/pricing"
_RUN = "https://cloud.google.com/run/pricing"
_BIGQUERY = "https://cloud.google.com/bigquery/pricing"
_GKE = "https://cloud.google.com/kubernetes-engine/pricing"
# Apache Beam's own cost benchmark copies that page's numbers for us-central1.
_DATAFLOW = (
    "https://cloud.google.com/dataflow/pricing, numbers as in apache/beam "
    "sdks/python/apache_beam/testing/load_tests/dataflow_cost_consts.py"
)
_X = "https://docs.x.com/x-api/getting-started/pricing"

PRICES = {
    "x_post": Price(0.005, "post read", _X),
    "pubsub": Price(40.0, "TiB published or delivered, after 10 GiB", _PUBSUB),
    "pubsub_bigquery": Price(50.0, "TiB through a BigQuery subscription, none free", _PUBSUB),
    "run_cpu": Price(0.000024, "vCPU-second while requests run, after 180,000", _RUN),
    "run_memory": Price(0.0000025, "GiB-second while requests run, after 360,000", _RUN),
    "run_request": Price(0.40e-6, "request, after 2 million", _RUN),
    "bigquery_insert": Price(0.01 / 200, "MB by insertAll, a row counts 1 KB at least", _BIGQUERY),
    "bigquery_write": Price(
        0.025, "GiB by the Storage Write API, after 2 TiB", _BIGQUERY, assumed=True
    ),
    "bigquery_storage": Price(0.02, "GiB-month of active storage, after 10 GiB", _BIGQUERY),
    "gke_cluster": Price(0.10, "cluster-hour; one Autopilot cluster is free an account", _GKE),
    "gke_cpu": Price(0.0445, "vCPU-hour of an Autopilot pod", _GKE, assumed=True),
    "gke_memory": Price(0.0049225, "GiB-hour of an Autopilot pod", _GKE, assumed=True),
    "disk": Price(
        0.10, "GiB-month of balanced disk", "https://cloud.google.com/compute/disks-image-pricing",
        assumed=True,
    ),
    "dataflow_cpu": Price(0.069, "vCPU-hour of a streaming worker", _DATAFLOW),
    "dataflow_memory": Price(0.0035557, "GiB-hour of a streaming worker", _DATAFLOW),
    "dataflow_disk": Price(0.000054, "GiB-hour of disk", _DATAFLOW),
    "dataflow_engine": Price(0.018, "GiB through Streaming Engine", _DATAFLOW),
}  # fmt: skip

PUBSUB_FREE = 10 * GIB
X_CAP = 3_000_000
"""Posts a month that X's pay-per-use plan reads (https://docs.x.com/x-api/fundamentals/post-cap,
since 2026-08-13; usage counts posts only)."""
RUN_FREE_CPU, RUN_FREE_MEMORY, RUN_FREE_REQUESTS = 180_000, 360_000, 2_000_000
GKE_FREE = 74.40
STORAGE_FREE_GIB = 10.0
WRITE_FREE = 2 * TIB
