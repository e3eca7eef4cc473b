"""What Google and Kubernetes answer while something made a moment ago is not there yet.

Each row of `NOT_YET` is a text that passes by itself, with how long it is waited for. What must
never be tried again is a failed operation: by then the resource is in Pulumi's state, the second
try is an update that finds nothing to change, and a function that was never built is taken for
done (docs/design.md, "What a real engine showed").
"""

import re
import urllib.error
import urllib.request
from asyncio import sleep, to_thread
from dataclasses import dataclass
from http.client import HTTPException
from time import monotonic

import pulumi

RETRY_SECONDS = 20
ENDPOINT_SECONDS = 8 * 60
_ENDPOINT_RETRY_SECONDS = 5
# Google: "typically two minutes, potentially seven or more"
# (docs.cloud.google.com/iam/docs/access-change-propagation).
GRANT_SECONDS = 120


@dataclass(frozen=True)
class NotYet:
    """An answer (a regular expression) that passes, what is waited for, and how long at most."""

    answer: str
    waits_for: str
    seconds: int = 5 * 60


# Texts of the providers' sources and of public reports (terraform-provider-google #20571, #18430).
NOT_YET = (
    NotYet("has not been used in project|is disabled", "an API that was just switched on"),
    NotYet("PERMISSION_DENIED|Permission .* denied", "a grant"),
    NotYet("does not have (permission|.* access)", "a grant"),
    NotYet("Unable to retrieve the repository metadata", "a grant on the image repository"),
    NotYet("[Ss]ervice account .* does not exist", "a service account"),
    NotYet("[Ii]dentity [Pp]ool does not exist", "the cluster's identity pool"),
    NotYet("Kubernetes Engine Service Agent is missing required permissions", "GKE's own account"),
    NotYet('has no network named "default"', "the project's network"),
    # Its own words: "it could take up to 10 minutes".
    NotYet("metric was created recently", "a metric", 11 * 60),
    NotYet("no matches for kind", "a definition that the new cluster brings", 9 * 60),
    NotYet("failed calling webhook", "a part of the new cluster", 9 * 60),
)
_FAILED_OPERATION = re.compile(r"Error waiting |Build failed")


class Patience:
    """Decides for each failed resource whether to try again: `hook` is its error hook.

    A resource's wait is counted from its first error, the provider's own tries included.
    """

    def __init__(self, name: str) -> None:
        self.hook = pulumi.ErrorHook(name, self.again)
        self._since: dict[str, float] = {}

    async def again(self, args: pulumi.ErrorHookArgs) -> bool:
        """True after a pause where the newest error says that something has not spread yet."""
        error = args.errors[0]
        row = next((row for row in NOT_YET if re.search(row.answer, error)), None)
        if row is None or _FAILED_OPERATION.search(error):
            return False
        now = monotonic()
        since = self._since.setdefault(args.urn, now)
        if now - since + RETRY_SECONDS > row.seconds:
            return False
        if now == since:
            pulumi.log.info(
                f"{args.name}: waiting for {row.waits_for}, {row.seconds // 60} minutes at most"
            )
        await sleep(RETRY_SECONDS)
        return True


async def for_grant(args: pulumi.ResourceHookArgs) -> None:
    """After a grant is made: time to spread, since a build refused for want of it is not retried.

    It runs beside the creation of the cluster, which takes longer.
    """
    pulumi.log.info(f"{args.name}: waiting {GRANT_SECONDS} s, once, until the grant has spread")
    await sleep(GRANT_SECONDS)


async def for_endpoint(args: pulumi.ResourceHookArgs) -> None:
    """After a cluster is made: until its DNS endpoint answers, whatever it answers.

    The Kubernetes provider asks once, when it is configured; an endpoint that is silent then is
    "unreachable" for the rest of the run.

    Raises:
        TimeoutError: nothing answered for eight minutes.
    """
    config = (args.new_outputs or {}).get("controlPlaneEndpointsConfig") or {}
    endpoint = (config.get("dnsEndpointConfig") or {}).get("endpoint")
    if not endpoint:
        return  # cluster.py says so
    url = f"https://{endpoint}/version"
    pulumi.log.info(
        f"{args.name}: waiting until {url} answers, {ENDPOINT_SECONDS // 60} minutes at most"
    )
    start = monotonic()
    while not await to_thread(_answers, url):
        if monotonic() - start > ENDPOINT_SECONDS:
            raise TimeoutError(
                f"{url} did not answer for {ENDPOINT_SECONDS // 60} minutes; run pulumi up again"
            )
        await sleep(_ENDPOINT_RETRY_SECONDS)


def _answers(url: str) -> bool:
    """Whether anything speaks HTTP there: 401 and 403 count, no login is needed."""
    try:
        with urllib.request.urlopen(url, timeout=5):  # noqa: S310
            return True
    except urllib.error.HTTPError:
        return True
    except (OSError, HTTPException):
        return False
