"""A plan for the tests: each fault that asks for no long wait, once."""

from local.chaos.schedule import Fault, cloud_faults, line_faults, placed

QUICK = 0.4
LONG_OUTAGE = Fault(
    # The sink itself tries again for 4 s; what takes longer must go back to Pub/Sub.
    "BigQuery 503 for 6 s",
    "bigquery",
    "ask",
    {"insert_status": 503, "seconds": 6.0},
)
KILL_HOLDING = Fault(
    "producer killed while it holds posts", "producer", "kill_holding", {"seconds": 1.5}
)


def quick_plan(seed: int, posts: int) -> list[Fault]:
    """Each of these faults at its place.

    The long outage of BigQuery stands alone: a function or Pub/Sub that is killed in it would send
    its messages again for another reason. The drops come next: recent search, which fills their
    gaps, has no newer posts than 15 s.
    """
    cloud = [each for each in cloud_faults(QUICK) if "insert_status" not in each.options]
    early = [each for each in cloud if each.act in ("redeliver", "ask", "kill")]
    late = [each for each in cloud if each not in early]
    return placed(seed, posts, [[LONG_OUTAGE], [KILL_HOLDING, *line_faults(0), *early], late])
