"""What to do when an alert fires: the text of each policy, commands filled in for its stack."""

from string import Template

from infra.policies import SPIKE_DAYS
from infra.settings import Settings

_TEXTS = {
    "quiet": """\
The producer has read no post for $quiet minutes, is gone, or keeps restarting.

1. See what it says: `kubectl -n $here logs deployment/producer --tail=50`, and
   `kubectl -n $here describe pod -l component=producer`.
2. A quiet rule is no fault: count what X has for it before you change anything, or
   raise the limit: `pulumi config set tweets:quietMinutes 120`.
3. 401 or 403 in the log: add the new token as a version of the secret that
   `kubectl -n $here get secretproviderclass x-bearer-token -o yaml` names.
4. Afterwards `tweets backfill` shows which gaps it left and what filling them costs.
""",
    "backoff": """\
Every connect of the last 15 minutes failed; posts are being missed.

1. The reason is in the log: `kubectl -n $here logs deployment/producer --tail=50`.
2. 429 or TooManyConnections: another client holds the one connection that X allows
   with this token. End it; the producer goes on by itself.
3. 5xx or network: see X's status page; nothing to do here.
4. Afterwards `tweets backfill` shows which gaps it left and what filling them costs.
""",
    "spend": """\
Posts read this month are billed by X at $$0.005 each.

1. What costs: `bq query --use_legacy_sql=false 'SELECT * FROM $dataset.posts_by_rule ORDER BY
   day DESC, posts DESC'`. Narrow the widest rule under `tweets:rules`, then `pulumi up`.
2. To read on: `pulumi config set tweets:postBudget <posts a month>`, then `pulumi up`.
3. To stop now: `kubectl -n $here scale deployment/producer --replicas=0`.
""",
    "backlog": """\
Pub/Sub cannot hand messages to the sink, or the sink cannot write. Nothing is lost for
7 days; a message that fails too often becomes a dead letter.

1. `gcloud functions logs read $here-sink --gen2 --region=$region
   --project=$project --limit=50` names the fault.
2. Quota or 429 from BigQuery passes by itself; a missing table or grant: `pulumi up`.
3. More posts than it can write: `pulumi config set tweets:sinkMaxInstances 20`.
""",
    "dead-letters": """\
Messages that could not become rows are kept for 7 days, then they are gone.

1. What and why: `tweets redrive list
   --subscription projects/$project/subscriptions/$here-dead-letters-reader`.
2. After the cause is mended, send them again: `pulumi stack output redriveCommand`
   prints the command. What fails again comes back here.
""",
    "sink-errors": """\
For 10 minutes some pushes were refused. Pub/Sub sends them again, with a growing wait.

1. `gcloud functions logs read $here-sink --gen2 --region=$region
   --project=$project --limit=50`: 503 is BigQuery (it passes), 422 a dead letter that
   could not be published, 403 the push account's grant (`pulumi up` mends it).
2. A new version at fault: check out the last good commit and `pulumi up`.
3. A build that failed ends `pulumi up` with Google's words; the next `pulumi up` deletes the
   failed function and builds it anew. Until then Pub/Sub keeps the messages.
""",
    "compliance": """\
Kubernetes gave up a run of the purge: posts that their authors have deleted may still be in
the table. X asks that they go within 24 hours.

1. What it said: `kubectl -n $here logs -l component=compliance --tail=50`; what became of it:
   `kubectl -n $here get jobs,pods -l component=compliance`.
2. Run it again, by hand: `kubectl -n $here create job --from=cronjob/compliance compliance-again`.
3. Exit code 3 says that rows are in BigQuery's streaming buffer or letters are leased: the
   next run removes them. 2 is a wrong argument, 1 a service that failed. OOMKilled: report it.
""",
    "spike": """\
The last hour brought $factor times more or fewer posts than this hour of the $days days before.

1. Which rule: `bq query --use_legacy_sql=false 'SELECT * FROM $dataset.posts_by_rule ORDER BY
   day DESC, posts DESC'`. News, or a rule that is too wide: narrow it under `tweets:rules`, then
   `pulumi up`. Every post is charged; the budget stops the stream before it is passed.
2. Fewer: look for gaps, `bq query --use_legacy_sql=false 'SELECT * FROM $dataset.stream_gaps
   ORDER BY gap_from DESC LIMIT 10'`, and whether a rule was changed or removed on X.
3. A feast day, or a night: raise it, `pulumi config set tweets:spikeFactor 5`, or 0 for none.
""",
}
_SAME = {"spend-80": "spend", "spend-100": "spend"}


def text(alert: str, settings: Settings) -> str:
    """The Markdown of one alert: what it means, then what to do, first things first."""
    return Template(_TEXTS[_SAME.get(alert, alert)]).substitute(
        quiet=settings.quiet_minutes,
        here=settings.prefix,
        region=settings.region,
        project=settings.project,
        dataset=settings.dataset_id,
        factor=settings.spike_factor,
        days=SPIKE_DAYS,
    )
