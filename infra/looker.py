"""The Data Studio link: one click makes a report on this stack's chart views.

Google calls Looker Studio Data Studio again (docs.cloud.google.com/data-studio); the addresses
still carry the old name.

It is an address of the Linking API (developers.google.com/looker-studio/integrate/linking-api):
`c.` parameters control the page, `r.` the report, `ds.<alias>.` one data source each. It carries
names, no data and no rights: whoever opens it sees what BigQuery lets them see.
"""

from collections.abc import Sequence
from urllib.parse import quote, urlencode

CREATE = "https://lookerstudio.google.com/reporting/create"

# One chart each, in the order of a report, which lists them as its data sources.
CHART_VIEWS = (
    "posts_by_minute",
    "posts_by_day",
    "posts_by_language",
    "posts_by_rule",
    "top_hashtags",
    "top_authors",
    "latency_by_minute",
    "stream_gaps",
    "dead_letters_by_minute",
    "spend_by_month",
)


def looker_studio_url(
    project: str, dataset_id: str, report: str, views: Sequence[str] = CHART_VIEWS
) -> str:
    """The address that opens a new report with a BigQuery data source for each view.

    Args:
        project: Google Cloud project of the dataset, which is billed for the report's queries too.
        dataset_id: the dataset, without the project.
        report: name of the new report, any text.
        views: views of the dataset.
    """
    parameters = {"c.mode": "edit", "r.reportName": report}
    for number, view in enumerate(views):
        source = {
            "connector": "bigQuery",
            "datasourceName": view,
            "type": "TABLE",
            "projectId": project,
            "datasetId": dataset_id,
            "tableId": view,
        }
        parameters |= {f"ds.ds{number}.{key}": value for key, value in source.items()}
    # A space as %20: a plus sign is a space in forms only.
    return f"{CREATE}?{urlencode(parameters, quote_via=quote, safe='')}"
