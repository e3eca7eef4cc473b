"""The Looker Studio link, beside the documented parameters of the Linking API."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from infra.looker import CHART_VIEWS, looker_studio_url

VIEWS = Path(__file__).resolve().parents[2] / "infra" / "views"
# developers.google.com/looker-studio/integrate/linking-api, read 2026-11.
CONTROL = {"c.mode", "r.reportName"}
BIGQUERY = {"connector", "datasourceName", "type", "projectId", "datasetId", "tableId"}


def parameters(url: str) -> dict[str, str]:
    """What Looker Studio reads out of the address; a name that stands twice would be ambiguous."""
    pairs = parse_qsl(urlsplit(url).query, strict_parsing=True)
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def test_each_chart_view_is_a_source_of_its_own() -> None:
    """Each alias has all of the BigQuery connector's parameters, and only documented ones."""
    url = looker_studio_url("my-project", "tweet_data", "Posts")
    assert url.startswith("https://lookerstudio.google.com/reporting/create?c.mode=edit&")
    read = parameters(url)
    assert {name for name in read if not name.startswith("ds.")} == CONTROL
    for number, view in enumerate(CHART_VIEWS):
        source = {key: read.pop(f"ds.ds{number}.{key}") for key in BIGQUERY}
        assert source == {
            "connector": "bigQuery",
            "datasourceName": view,
            "type": "TABLE",
            "projectId": "my-project",
            "datasetId": "tweet_data",
            "tableId": view,
        }
    assert set(read) == CONTROL


def test_every_name_survives_the_address() -> None:
    """Spaces, colons, signs of the query itself and Korean come out as they went in."""
    project, report = "example.com:my-project", '고양이 & 개 = 100% #1 + "x"'
    url = looker_studio_url(project, "tweet_data", report, ["posts_by_day"])
    assert re.fullmatch(r"[\x21-\x7e]+", url)
    assert "+" not in url
    read = parameters(url)
    assert read["r.reportName"] == report
    assert read["ds.ds0.projectId"] == project


def test_the_views_exist() -> None:
    """A report on a view that is not declared would open with an error in each chart."""
    assert set(CHART_VIEWS) <= {path.stem for path in VIEWS.glob("*.sql")}


def test_the_address_is_short_enough_for_a_browser() -> None:
    """With the longest names that Google allows it stays below 8,000 characters."""
    assert len(looker_studio_url("p" * 30, "d" * 100, "r" * 100)) < 8000
