"""The live page of services/dashboard on Cloud Run; off unless `dashboard` is true.

Only callers with roles/run.invoker on the service get in, checked by Google before the container
sees a request, and nobody is given it here: the stack does not know its readers. IAP would spare
them the proxy, but outside an organization it needs an OAuth client made by hand
(docs.cloud.google.com/run/docs/securing/identity-aware-proxy-cloud-run), so it stays a choice of
the project. Tables and views belong to the warehouse.
"""

from dataclasses import dataclass

import pulumi
from pulumi_gcp import bigquery, cloudrunv2, projects, serviceaccount

from infra.apis import Apis
from infra.image import Image, built
from infra.settings import Settings
from infra.warehouse import Warehouse


@dataclass(frozen=True)
class DashboardArgs:
    """What the page reads; the producer's image brings the registry that this one goes to too."""

    settings: Settings
    apis: Apis
    warehouse: Warehouse
    image: Image


class Dashboard(pulumi.ComponentResource):
    """Cloud Run service `tweets-<stack>-dashboard`, its image, its account and grants.

    A ready image (`dashboardImage`) must lie where Cloud Run's own account of the project may read.
    """

    service: cloudrunv2.Service
    open_command: pulumi.Output[str]
    """Serves the page on localhost:8080 for the person who runs it, as that person."""

    def __init__(
        self, name: str, args: DashboardArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("tweets:index:Dashboard", name, None, opts)
        settings = args.settings
        account = serviceaccount.Account(
            name,
            account_id=f"{settings.prefix}-page",
            display_name=f"Dashboard of {settings.prefix}",
            opts=args.apis.after_apis(self),
        )
        grants = _grants(self, name, args, account)
        ref: pulumi.Input[str] = settings.dashboard_image or built(
            name,
            "dashboard",
            f"gcr.io/{settings.project}/{settings.prefix}-dashboard",
            args.apis.after_apis(self, depends_on=[args.image]),
        )
        self.service = cloudrunv2.Service(
            name,
            name=f"{settings.prefix}-dashboard",
            location=settings.region,
            description="Live page over the posts; read only.",
            ingress="INGRESS_TRAFFIC_ALL",
            invoker_iam_disabled=False,
            template={
                "service_account": account.email,
                # The page is one long websocket; Cloud Run ends it after an hour at most.
                "timeout": "3600s",
                "session_affinity": True,
                "max_instance_request_concurrency": 80,
                # One instance shares its answers among all readers; a second would bill them again.
                "scaling": {"min_instance_count": 0, "max_instance_count": 1},
                "containers": [
                    {
                        "image": ref,
                        "envs": [{"name": "DATASET", "value": args.warehouse.path}],
                        "ports": {"container_port": 8080},
                        "resources": {
                            "limits": {"cpu": "1", "memory": "1Gi"},
                            "cpu_idle": True,
                            "startup_cpu_boost": True,
                        },
                    }
                ],
            },
            labels=settings.labels,
            # It holds no data: it never blocks a destroy.
            deletion_protection=False,
            opts=args.apis.after_apis(self, depends_on=grants, replace_when_failed=True),
        )
        self.open_command = pulumi.Output.concat(
            "gcloud run services proxy ",
            self.service.name,
            f" --region={settings.region} --project={settings.project}",
        )
        self.register_outputs({"service": self.service.name, "open_command": self.open_command})


def _grants(
    parent: Dashboard, name: str, args: DashboardArgs, account: serviceaccount.Account
) -> list[pulumi.Resource]:
    child = args.apis.after_apis(parent)
    return [
        # On the dataset and not on the views: a view reads its tables with the reader's rights.
        # Not by DatasetIamMember, which takes authorized datasets away (pseudonyms.py has one).
        bigquery.DatasetAccess(
            f"{name}-reads",
            dataset_id=args.warehouse.dataset.dataset_id,
            role="READER",
            user_by_email=account.email,
            opts=child,
        ),
        # The right to run a query is given on a project only and opens no data.
        projects.IAMMember(
            f"{name}-runs-jobs",
            project=args.settings.project,
            role="roles/bigquery.jobUser",
            member=account.member,
            opts=child,
        ),
    ]
