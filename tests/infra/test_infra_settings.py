"""Configuration: what is refused, what the person is told, and that the YAML files agree."""

from typing import Any

import pytest
import yaml

from infra.settings import PROVIDER_KEYS, Settings
from local.engine.program import ROOT, ProgramError, checked_in_config, evaluate
from tests.infra.environments import BASE, TOKEN

WRONG = [
    ("maxDeliveryAttempts", 3, "tweets:maxDeliveryAttempts = '3'", "greater than or equal to 5"),
    ("maxDeliveryAttempts", "many", "'many'", "valid integer"),
    ("backfillMinutes", 6, "tweets:backfillMinutes = '6'", "less than or equal to 5"),
    ("postBudget", -1, "tweets:postBudget = '-1'", "greater than or equal to 0"),
    ("protect", "maybe", "tweets:protect = 'maybe'", "valid boolean"),
    ("dataset", "tweet-data", "'tweet-data'", "BigQuery's rule"),
    ("bigqueryLocation", "U S", "'U S'", "EU"),
    ("bigqueryLocation", "Mars", "'Mars'", "US, EU or a region"),
    ("discardDataset", "tweet_data", "'tweet_data'", "project.dataset"),
    ("dashboardImage", "gcr.io/p/page", "'gcr.io/p/page'", "tag or digest"),
    ("image", "gcr.io/p/tweets", "'gcr.io/p/tweets'", "tag or digest"),
    ("cluster", "projects/p/clusters/c", "projects/p", "without its path"),
    ("sinkMemory", "512", "'512'", "512Mi"),
    ("sinkMemory", "8Gi", "'8Gi'", "from 128Mi to 4Gi"),
    ("sinkMemory", "64Mi", "'64Mi'", "from 128Mi to 4Gi"),
    ("sinkConcurrency", 1001, "'1001'", "less than or equal to 1000"),
    ("sinkMaxInstances", 0, "'0'", "greater than or equal to 1"),
    ("alertEmail", "me", "'me'", "e-mail"),
    ("quietMinutes", 1, "'1'", "greater than or equal to 5"),
    ("complianceSchedule", "daily", "'daily'", "cron"),
    ("tableExpirationDays", -2, "'-2'", "greater than or equal to 0"),
    ("rules", [], "tweets:rules = []", "at least 1 item"),
    ("rules", [{"value": "x" * 1025, "tag": "t"}], "tweets:rules[0].value", "1024"),
    ("rules", [{"value": "x"}], "tweets:rules[0].tag is missing", "pulumi config set"),
    ("rules", [{"value": "x", "tag": "t", "label": "u"}], "rules[0].label", "not permitted"),
    ("rules", [{"value": "x", "tag": "a"}, {"value": "x", "tag": "b"}], "'x'", "twice"),
    ("rules", "cats", "tweets:rules = 'cats'", "pulumi config set"),
    ("xFields", "media.fields=ur", "tweets:xFields = 'media.fields=ur'", "it has url;"),
    ("xFields", "expansions=zzz", "no 'zzz'", "referenced_tweets.id"),
    ("xFields", "tweet_fields=id", "'tweet_fields'", "tweet.fields, expansions"),
    ("xFields", "withheld", "'withheld'", "X's parameters"),
    ("gcp:project", "My Project", "gcp:project = 'My Project'", "project id"),
    ("gcp:region", "us-central1-a", "gcp:region = 'us-central1-a'", "not a zone"),
]


def refused(config: dict[str, object], stack: str = "dev") -> str:
    """The line that the program stops with."""
    with pytest.raises(ProgramError) as stopped:
        evaluate(stack, config)
    return str(stopped.value)


@pytest.mark.parametrize(("key", "value", "shown", "rule"), WRONG)
def test_wrong_value_is_named(key: str, value: object, shown: str, rule: str) -> None:
    """A wrong value stops the program with one line: key, value, rule and the command to fix it."""
    line = refused({**BASE, key: value})
    assert "\n" not in line
    assert shown in line
    assert rule in line
    assert "pulumi config set" in line


@pytest.mark.parametrize("stack", ["Dev", "7up", "a" * 17, "dev-", "de_v"])
def test_stack_name_must_fit(stack: str) -> None:
    """A stack's name that would break a resource name is refused by name."""
    line = refused(BASE, stack)
    assert line.startswith(f"stack = '{stack}': 1 to 16")
    assert "pulumi stack init" in line


@pytest.mark.parametrize("key", ["rules", "gcp:project"])
def test_missing_key_is_named(key: str) -> None:
    """A key without a default is asked for by its full name."""
    line = refused({name: value for name, value in BASE.items() if name != key})
    assert line.startswith((f"tweets:{key} is missing", f"{key} is missing"))
    assert "pulumi config set" in line


@pytest.mark.parametrize(
    "token", ["Bearer " + TOKEN, f'"{TOKEN}"', f"BEARER_TOKEN={TOKEN}", TOKEN + "\n", ""]
)
def test_token_that_was_pasted_wrong_is_refused_unseen(token: str) -> None:
    """A token with a prefix, quotes or a line end is refused, and never printed."""
    line = refused({**BASE, "xBearerToken": token})
    assert line.startswith("tweets:xBearerToken = (secret): ")
    assert TOKEN not in line
    assert line.endswith("pulumi config set --secret tweets:xBearerToken")


def test_token_in_plain_text_is_refused_unseen() -> None:
    """Set without --secret the token stands in a file that is committed; Pulumi lets it pass."""
    with pytest.raises(ProgramError) as stopped:
        evaluate("dev", {**BASE, "xBearerToken": TOKEN}, secrets=())
    line = str(stopped.value)
    assert line.startswith("tweets:xBearerToken = (secret): it stands unencrypted in Pulumi.dev")
    assert TOKEN not in line
    assert line.endswith("pulumi config set --secret tweets:xBearerToken")


@pytest.mark.parametrize("name", ["projects/p/secrets/x", "two words", "x" * 256])
def test_reference_to_the_token_is_a_short_name(name: str) -> None:
    """A path, or what Secret Manager would not take as a name, is refused with the rule."""
    line = refused({**BASE, "xBearerTokenSecret": name})
    assert line.startswith(f"tweets:xBearerTokenSecret = {name!r}: the short name of a Secret")


def test_misspelt_key_is_refused() -> None:
    """A key that nothing reads is an error with the near key, not a silent default."""
    line = refused({**BASE, "maxDeliveryAttempt": 7})
    assert line.startswith("tweets:maxDeliveryAttempt: no such key")
    assert "did you mean tweets:maxDeliveryAttempts?" in line


def test_every_wrong_key_gets_its_line() -> None:
    """Two faults are told in one run, a line each."""
    lines = refused({**BASE, "postBudget": -1, "sinkMemory": "big"}).splitlines()
    assert len(lines) == 2


def test_pulumi_yaml_declares_every_key_as_settings_read_it() -> None:
    """Pulumi.yaml has exactly the keys of the program, with their types, defaults and a text."""
    declared: dict[str, Any] = yaml.safe_load((ROOT / "Pulumi.yaml").read_text("utf-8"))["config"]
    declared.pop("gcp:region")
    types = {"int": "integer", "bool": "boolean", "str": "string"}
    fields = {
        str(field.alias): field
        for field in Settings.model_fields.values()
        if field.alias not in ("stack", *PROVIDER_KEYS)
    }
    # Pulumi refuses a default of a key that it is told to be secret ("must be encrypted").
    del fields["xBearerToken"], fields["pseudonymKey"]
    assert set(declared) == set(fields)
    assert not any("secret" in schema for schema in declared.values())
    for key, field in fields.items():
        schema = declared[key]
        assert schema["description"], key
        if field.is_required():
            # The CLI itself then asks for the value.
            assert "default" not in schema, key
        else:
            assert schema["default"] == field.default, key
            assert schema["type"] == types[type(field.default).__name__], key
    assert declared["rules"]["type"] == "array"


def test_checked_in_dev_stack_needs_only_a_project() -> None:
    """Pulumi.dev.yaml works as it is plus the one value that only its user has."""
    config = checked_in_config("dev")
    evaluated = evaluate("dev", {**config, "gcp:project": "my-project"})
    assert evaluated.outputs["table"] == "my-project.tweet_data.tweets"
    assert not any(resource.options.protect for resource in evaluated.resources)


def test_dataset_is_named_after_the_stack_unless_configured() -> None:
    """Two environments in one project get a dataset each without being told."""
    outputs = evaluate("pr-7", {**BASE, "protect": False}).outputs
    assert outputs["dataset"] == "my-project.tweet_data_pr_7"
