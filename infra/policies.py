"""Which conditions are alerts, as data: the component of alerts.py declares one policy for each.

The text of each is in runbook.py, by the same key. PromQL names the producer's own metrics as it
exports them; Google's are named by filters (board.py has what they share).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import pulumi
from pulumi_gcp import monitoring

from infra import board
from infra.board import Watched
from infra.settings import Settings

Condition = monitoring.AlertPolicyConditionArgsDict

# The first back-off that lasts is the network's, at 16 s (producer/backoff.py, X's own rule).
CEILING_SECONDS = 16
SPIKE_DAYS = 7


@dataclass(frozen=True)
class Policy:
    """One alert: `key` is its name in labels and in the runbook, `severity` Google's word."""

    key: str
    title: str
    severity: str
    conditions: list[Condition]
    from_log: bool = False
    """It reads log entries, which Google wants a limit of notifications for."""


def policies(settings: Settings, watched: Watched) -> Iterator[Policy]:
    """Every policy of a stack; `spike` and `compliance` where the configuration has them on."""
    yield from _stream(settings)
    yield from _spend(settings)
    yield from _delivery(watched)
    if settings.compliance_schedule:
        yield _compliance(settings, watched)
    if settings.spike_factor:
        yield _spike(settings)


def _stream(settings: Settings) -> Iterator[Policy]:
    here, quiet = settings.prefix, settings.quiet_minutes
    only = board.selector(here)
    yield Policy(
        "quiet",
        f"No post for {quiet} minutes",
        "CRITICAL",
        [
            # A pause for the budget is meant, and has an alert of its own.
            _promql(
                "no post although the stream should run",
                f"max(tweets_producer_last_post_age_seconds{only}) > {quiet * 60} unless "
                f"max({board.state(here, 'paused_budget')}) == 1",
            ),
            _promql(
                "no producer",
                f"absent_over_time(tweets_producer_start_time_seconds{only}[15m])",
            ),
            # A new process counts silence from its start: one that keeps dying is never old.
            _promql(
                "producer keeps restarting",
                f"max(changes(tweets_producer_start_time_seconds{only}[30m])) > 3",
            ),
        ],
    )
    yield Policy(
        "backoff",
        "X does not let the stream connect",
        "ERROR",
        [
            _promql(
                f"back-off of {CEILING_SECONDS} s or more for 15 minutes",
                f"max(min_over_time(tweets_producer_backoff_seconds{only}[15m])) "
                f">= {CEILING_SECONDS}",
            )
        ],
    )


def _spend(settings: Settings) -> Iterator[Policy]:
    here = settings.prefix
    only = board.selector(here)
    limit = f"(max(tweets_producer_budget_limit{only}) > 0)"
    share = f"max(tweets_producer_budget_used{only}) / {limit}"
    yield Policy(
        "spend-80",
        "80 % of the post budget used",
        "WARNING",
        [_promql("80 % used", f"{share} >= 0.8")],
    )
    yield Policy(
        "spend-100",
        "Post budget used up, the stream is paused",
        "ERROR",
        [
            _promql("all used", f"{share} >= 1"),
            # It disconnects before the budget is passed, so a little less than all is used.
            _promql("paused", f"max({board.state(here, 'paused_budget')}) == 1"),
        ],
    )


def _delivery(watched: Watched) -> Iterator[Policy]:
    yield Policy(
        "backlog",
        "Posts wait for more than 5 minutes to become rows",
        "ERROR",
        [
            _threshold(
                "oldest unacknowledged message",
                board.subscription(watched.push, "oldest_unacked_message_age"),
                above=300,
                lasting=300,
                aligner="ALIGN_MAX",
            )
        ],
    )
    yield Policy(
        "dead-letters",
        "Dead letters are waiting",
        "WARNING",
        [
            _threshold(
                "messages in the dead-letter subscription",
                board.subscription(watched.dead_letters, "num_undelivered_messages"),
                above=0,
                lasting=0,
                aligner="ALIGN_MAX",
            )
        ],
    )
    yield Policy(
        "sink-errors",
        "The sink answers with errors",
        "ERROR",
        [
            _threshold(
                "answers that are not 2xx",
                board.requests(watched.function, failed=True),
                above=0,
                lasting=600,
                aligner="ALIGN_DELTA",
            )
        ],
    )


def _compliance(settings: Settings, watched: Watched) -> Policy:
    """A Job that Kubernetes gave up, by the event that GKE logs: a killed pod logs nothing itself.

    The reasons are those of the Job controller (kubernetes.io/docs/concepts/workloads/controllers/
    job/#terminal-job-conditions).
    """
    entries = pulumi.Output.concat(
        'resource.type="k8s_cluster" AND resource.labels.cluster_name="',
        watched.cluster,
        '" AND jsonPayload.involvedObject.kind="Job"',
        f' AND jsonPayload.involvedObject.namespace="{settings.prefix}"',
        ' AND jsonPayload.involvedObject.name=~"^compliance-"',
        ' AND jsonPayload.reason=("BackoffLimitExceeded" OR "DeadlineExceeded" OR '
        '"PodFailurePolicy")',
    )
    return Policy(
        "compliance",
        "A run of the compliance purge failed",
        "ERROR",
        [{"display_name": "job given up", "condition_matched_log": {"filter": entries}}],
        from_log=True,
    )


def _spike(settings: Settings) -> Policy:
    """Posts of the last hour beside the mean of the same hour of the days before, those with data.

    Both bounds leave out what is below a post a minute: there a handful is a multiple.
    """
    posts = f"tweets_producer_posts_total{board.selector(settings.prefix)}"
    days = " or ".join(
        f'label_replace(sum(rate({posts}[1h] offset {day}d)), "day", "{day}", "", "")'
        for day in range(1, SPIKE_DAYS + 1)
    )
    now, usual, factor = f"sum(rate({posts}[1h]))", f"avg({days})", settings.spike_factor
    return Policy(
        "spike",
        f"{factor} times more or fewer posts than at this hour of the days before",
        "WARNING",
        [
            _promql(
                f"more than {factor} times",
                f"{now} > {factor} * clamp_min({usual}, 1 / 60)",
                lasting=600,
            ),
            _promql(
                f"less than one in {factor}",
                f"{now} < ({usual} > 1 / 60) / {factor}",
                lasting=600,
            ),
        ],
    )


def _promql(title: str, query: str, *, lasting: int = 60) -> Condition:
    return {
        "display_name": title,
        "condition_prometheus_query_language": {
            "query": query,
            "duration": f"{lasting}s",
            "evaluation_interval": "60s",
            # The metric exists only after the first scrape; `up` comes before.
            "disable_metric_validation": True,
        },
    }


def _threshold(
    title: str, series: pulumi.Input[str], *, above: int, lasting: int, aligner: str
) -> Condition:
    return {
        "display_name": title,
        "condition_threshold": {
            "filter": series,
            "comparison": "COMPARISON_GT",
            "threshold_value": above,
            "duration": f"{lasting}s",
            "aggregations": [
                {
                    "alignment_period": "300s" if aligner == "ALIGN_DELTA" else "60s",
                    "per_series_aligner": aligner,
                    "cross_series_reducer": "REDUCE_SUM",
                }
            ],
        },
    }
