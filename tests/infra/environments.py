"""The kinds of environment that people deploy."""

TOKEN = "AAAAAAAAAAAAAAAAAAAAAMLheAAAAAAA0%2BuSeid"
RULES = [{"value": "cats lang:en", "tag": "cats"}, {"value": "고양이", "tag": "고양이"}]

BASE: dict[str, object] = {
    "gcp:project": "my-project",
    "rules": RULES,
}
ENVIRONMENTS: dict[str, dict[str, object]] = {
    "dev": {**BASE, "protect": False, "dataset": "tweet_data"},
    "prod": {
        **BASE,
        "xBearerToken": TOKEN,
        "protect": True,
        "ownsRegistry": False,
        "complianceSchedule": "17 3 * * *",
        "alertEmail": "team@example.com",
        "dashboard": True,
    },
    "pr-7": {
        **BASE,
        "protect": False,
        "ownsRegistry": False,
        "xBearerTokenSecret": "pull-requests-x-token",
        "cluster": "shared",
        "image": "gcr.io/my-project/tweets@sha256:" + "a" * 64,
    },
}
