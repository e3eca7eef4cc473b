"""The stack's configuration, read and checked in one place before any resource is declared.

This module is the only reader of Pulumi's configuration and the only home of defaults that the
program uses; Pulumi.yaml repeats each key with its type, description and default for people and
for `pulumi config`, and a test holds the two together.
"""

import difflib
import json
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Self

import pulumi
from pulumi.runtime.config import CONFIG, get_config, get_config_env, is_config_secret
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
    field_validator,
)
from pydantic.alias_generators import to_camel

NAMESPACE = "tweets"
# Keys of Pulumi's providers that the program reads too, by the setting that holds them.
PROVIDER_KEYS = {
    "project": "gcp:project",
    "region": "gcp:region",
    "buildDaemon": "docker-build:host",
}
_IMAGE = r"^$|^[^\s/@]+(/[^\s/@]+)+(:[\w.-]+|@sha256:[0-9a-f]{64})$"
_X_FIELDS = Path(__file__).parents[1] / "services/producer/producer/x_fields.json"


def _pattern(regex: str) -> StringConstraints:
    return StringConstraints(pattern=regex, strip_whitespace=True)


_UNSEEN = "pulumi config set --secret"  # asks for the value
_SECRETS = {f"{NAMESPACE}:xBearerToken", f"{NAMESPACE}:pseudonymKey"}
# What an error says of a key whose pattern alone would not tell a person what to write.
_RULES = {
    "stack": "1 to 16 of a-z, 0-9 and -, first a letter, last not - (it is part of every name, "
    "and a service account id has 30 characters)",
    "gcp:project": "a Google Cloud project id, not its number or display name",
    "gcp:region": "a region such as us-central1, not a zone",
    "tweets:xBearerToken": "an X bearer token alone: no spaces, no quotes, no 'Bearer' and no "
    "'BEARER_TOKEN=' before it",
    "tweets:xBearerTokenSecret": "the short name of a Secret Manager secret of the project",
    "tweets:dataset": "letters, digits and _ (BigQuery's rule)",
    "tweets:discardDataset": "a dataset's full name, project.dataset",
    "tweets:bigqueryLocation": "US, EU or a region such as us-central1",
    "tweets:image": "a reference with a tag or digest, host/path/name@sha256:...",
    "tweets:dashboardImage": "a reference with a tag or digest, host/path/name@sha256:...",
    "tweets:cluster": "the name of a GKE cluster in gcp:region, without its path",
    "tweets:sinkMemory": "a Kubernetes quantity such as 512Mi or 1Gi",
    "tweets:alertEmail": "one e-mail address",
    "tweets:complianceSchedule": "five cron fields such as '17 3 * * *'",
}


class ConfiguredRule(BaseModel):
    """One rule of the filtered stream: `value` in X's syntax, `tag` as the posts will carry it.

    X takes 1,000 rules of 1,024 characters (docs.x.com, filtered stream, pay per use).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)

    value: str = Field(min_length=1, max_length=1024)
    tag: str = Field(min_length=1, max_length=256)


class Settings(BaseModel):
    """One environment. The aliases (camelCase) are the keys under `tweets:`."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel)

    stack: Annotated[str, _pattern(r"^[a-z]([a-z0-9-]{0,14}[a-z0-9])?$")]
    project: Annotated[str, _pattern(r"^([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]$")]
    region: Annotated[str, _pattern(r"^[a-z]+-[a-z]+[0-9]+$")]
    build_daemon: str = ""

    rules: Annotated[tuple[ConfiguredRule, ...], Field(min_length=1, max_length=1000)]
    x_bearer_token_secret: Annotated[str, _pattern(r"^[A-Za-z0-9_-]{0,255}$")] = ""
    x_bearer_token: SecretStr | None = None
    """Where it is set, the token goes through Pulumi's encrypted configuration and state."""
    dataset: Annotated[str, _pattern(r"^[A-Za-z0-9_]{0,1024}$")] = ""
    discard_dataset: Annotated[str, _pattern(r"^$|^[^\s.][^\s]*\.[A-Za-z0-9_]+$")] = ""
    bigquery_location: Annotated[str, _pattern(r"^(US|EU|[a-z]+-[a-z]+[0-9]+)$")] = "US"
    table_expiration_days: Annotated[int, Field(ge=0, le=36_500)] = 0
    max_delivery_attempts: Annotated[int, Field(ge=5, le=100)] = 100
    post_budget: Annotated[int, Field(ge=0)] = 10_000
    backfill_minutes: Annotated[int, Field(ge=0, le=5)] = 0
    x_fields: str = "tweet.fields=withheld,paid_partnership&expansions=referenced_tweets.id"
    protect: bool = True
    image: Annotated[str, _pattern(_IMAGE)] = ""
    owns_registry: bool = True
    cluster: Annotated[str, _pattern(r"^$|^[a-z][a-z0-9-]{0,39}$")] = ""
    sink_concurrency: Annotated[int, Field(ge=1, le=1000)] = 500
    sink_memory: Annotated[str, _pattern(r"^[1-9][0-9]*(Mi|Gi)$")] = "512Mi"
    sink_max_instances: Annotated[int, Field(ge=1, le=1000)] = 10
    alert_email: Annotated[str, _pattern(r"^$|^[^@\s]+@[^@\s]+\.[^@\s]+$")] = ""
    quiet_minutes: Annotated[int, Field(ge=5, le=1410)] = 30
    spike_factor: Annotated[int, Field(ge=0, le=100)] = 0
    dashboard: bool = False
    dashboard_image: Annotated[str, _pattern(_IMAGE)] = ""
    compliance_schedule: Annotated[str, _pattern(r"^$|^(\S+ ){4}\S+$")] = ""
    pseudonym_key: SecretStr = SecretStr("")
    pseudonymous_text: bool = False

    @field_validator("x_bearer_token")
    @classmethod
    def _token_is_bare(cls, token: SecretStr | None) -> SecretStr | None:
        bare = r"[A-Za-z0-9%+/_.~-]+=*"
        if token is not None and not re.fullmatch(bare, token.get_secret_value()):
            raise ValueError(_RULES["tweets:xBearerToken"])
        return token

    @field_validator("x_fields")
    @classmethod
    def _x_has_them(cls, fields: str) -> str:
        known = json.loads(_X_FIELDS.read_text("utf-8"))
        for pair in fields.split("&") if fields else ():
            parameter, _, names = pair.partition("=")
            if parameter not in known:
                raise ValueError(f"{parameter!r} is none of X's parameters {', '.join(known)}")
            for name in names.split(","):
                if name not in known[parameter]:
                    near = (
                        difflib.get_close_matches(name, known[parameter], n=1) or known[parameter]
                    )
                    raise ValueError(
                        f"X has no {name!r} among its {parameter}; it has {', '.join(near)}"
                    )
        return fields

    @field_validator("pseudonym_key")
    @classmethod
    def _key_is_long(cls, key: SecretStr) -> SecretStr:
        if 0 < len(key.get_secret_value()) < 32:
            raise ValueError("32 characters or more, by chance: openssl rand -hex 32")
        return key

    @field_validator("sink_memory")
    @classmethod
    def _one_cpu_can_have_it(cls, memory: str) -> str:
        mebibytes = int(memory[:-2]) * (1024 if memory.endswith("Gi") else 1)
        if not 128 <= mebibytes <= 4096:
            raise ValueError("from 128Mi to 4Gi, which is what Cloud Run gives to one CPU")
        return memory

    @field_validator("spike_factor")
    @classmethod
    def _spike_is_a_multiple(cls, factor: int) -> int:
        if factor == 1:
            raise ValueError("0 for no such alert, or 2 to 100")
        return factor

    @field_validator("rules")
    @classmethod
    def _rules_differ(cls, rules: tuple[ConfiguredRule, ...]) -> tuple[ConfiguredRule, ...]:
        values = [rule.value for rule in rules]
        for value in values:
            if values.count(value) > 1:
                raise ValueError(f"each rule stands once (X refuses doubles); twice: {value!r}")
        return rules

    @property
    def prefix(self) -> str:
        """Start of every physical name, so that environments can share a project."""
        return f"tweets-{self.stack}"

    @property
    def dataset_id(self) -> str:
        """The dataset: as configured, else `tweet_data_<stack>`."""
        return self.dataset or f"tweet_data_{self.stack.replace('-', '_')}"

    @property
    def labels(self) -> dict[str, str]:
        """Labels of every resource that takes labels; billing reports group by them."""
        return {"app": "tweets", "stack": self.stack, "managed-by": "pulumi"}

    @property
    def token_secret(self) -> str:
        """The secret that a person made: as configured, else `tweets-<stack>-x-token`."""
        return self.x_bearer_token_secret or f"{self.prefix}-x-token"

    @cached_property
    def token(self) -> pulumi.Output[str] | None:
        """The X bearer token, where Pulumi holds it: secret from here to the state file."""
        given = self.x_bearer_token
        return pulumi.Output.secret(given.get_secret_value()) if given is not None else None

    @classmethod
    def load(cls) -> Self:
        """Read the configuration of the stack that runs.

        Raises:
            pulumi.RunError: one line for each wrong key: key, value, rule, fix. Pulumi prints it
                without a traceback and stops before any resource is declared.
        """
        aliases = {str(field.alias) for field in cls.model_fields.values()}
        aliases -= {"stack", *PROVIDER_KEYS}
        given = {"stack": pulumi.get_stack()}
        given |= {key: value for key, full in PROVIDER_KEYS.items() if (value := get_config(full))}
        for key in aliases:
            if (value := get_config(f"{NAMESPACE}:{key}")) is not None:
                given[key] = _decoded(value) if key == "rules" else value
        problems = [*_unknown_keys(aliases), *_plain_secrets()]
        try:
            settings = cls.model_validate(given)
        except ValidationError as error:
            found = error.errors(include_url=False)
            # A wrong rule is told once, not again as "no valid rule in the list".
            inner = {item["loc"][0] for item in found if len(item["loc"]) > 1}
            problems += [_problem(e) for e in found if e["loc"][0] not in inner or e["loc"][1:]]
        if problems:
            raise pulumi.RunError("\n".join(problems))
        return settings


def _decoded(value: str) -> Any:
    """Pulumi hands lists and objects to a program as JSON text."""
    try:
        return json.loads(value)
    except ValueError:
        return value


def _unknown_keys(known: set[str]) -> list[str]:
    """A misspelt key would otherwise leave its default in force, unseen."""
    given = {**get_config_env(), **CONFIG.get()}
    names = {key.partition(":")[2] for key in given if key.startswith(f"{NAMESPACE}:")}
    lines = []
    for name in sorted(names - known):
        near = difflib.get_close_matches(name, known, n=1)
        meant = f"did you mean {NAMESPACE}:{near[0]}? " if near else ""
        remove = f"remove it: pulumi config rm {NAMESPACE}:{name}"
        lines.append(f"{NAMESPACE}:{name}: no such key; {meant}{remove}")
    return lines


def _plain_secrets() -> list[str]:
    """Pulumi.yaml can't say that a key is secret and may be missing, so the CLI lets it pass."""
    return [
        f"{key} = (secret): it stands unencrypted in Pulumi.{pulumi.get_stack()}.yaml, so take it "
        f"for read by others and make a new one; encrypt that: {_UNSEEN} {key}"
        for key in sorted(_SECRETS)
        if get_config(key) is not None and not is_config_secret(key)
    ]


def _problem(error: Mapping[str, Any]) -> str:
    """One line: key, value, rule, fix."""
    first, *rest = error["loc"]
    key = first if first == "stack" else PROVIDER_KEYS.get(first, f"{NAMESPACE}:{first}")
    path = key + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in rest)
    said = error["msg"].removeprefix("Value error, ").replace("Input should", "must")
    rule = _RULES.get(key, said) if error["type"] == "string_pattern_mismatch" else said
    if key == "stack":
        fix = "choose another: pulumi stack init dev"
    elif key in _SECRETS:
        fix = f"set it: {_UNSEEN} {key}"
    elif rest or key == f"{NAMESPACE}:rules":
        fix = "set it: pulumi config set --path 'tweets:rules[0].value' 'cats lang:en' (and .tag)"
    else:
        fix = f"set it: pulumi config set {key} <value>"
    if error["type"] == "missing":
        return f"{path} is missing: {_RULES.get(key, 'it has no default')}; {fix}"
    shown = "(secret)" if key in _SECRETS else repr(error["input"])
    return f"{path} = {shown}: {rule}; {fix}"
