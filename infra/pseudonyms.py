"""`tweets_pseudonymous`: posts without names, for those who must not see who wrote them.

Three datasets, so that its readers get one of them and no more: the posts, the key, and the view.
The view's dataset is authorized on the other two; the key is a row of a table, loaded from a file,
since whatever stands in SQL can be read in the view's definition, in the plan of each query and in
the audit log. Who may read the view's dataset is not declared here: grant it as README says.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from string import Template

import pulumi
from pulumi_gcp import bigquery, storage

from infra.apis import Apis
from infra.settings import Settings
from infra.warehouse import Warehouse, description, with_columns

SQL = Path(__file__).with_name("pseudonyms.sql")
VIEW = "tweets_pseudonymous"
# Handles and links of the text are masked; what remains can be searched for on X.
_TEXT = r""",
  REGEXP_REPLACE(
    REGEXP_REPLACE(post.text, r'https?://\S+', '[link]'), r'[@＠]\w+', '@[name]'
  ) AS text"""
_MACRO = re.compile(r"PSEUDONYM\('(\w+)', ([\w.]+)\)")
_BLOCK = 64  # bytes that SHA-256 works on


@dataclass(frozen=True)
class PseudonymsArgs:
    """The key, and the posts that it hides names of."""

    settings: Settings
    apis: Apis
    warehouse: Warehouse


class Pseudonyms(pulumi.ComponentResource):
    """The view in a dataset of its own, the key in another, and the way from the setting to it."""

    view: bigquery.Table

    def __init__(
        self, name: str, args: PseudonymsArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("tweets:index:Pseudonyms", name, None, opts)
        settings, child = args.settings, pulumi.ResourceOptions(parent=self)
        readable = bigquery.Dataset(
            name,
            dataset_id=f"{settings.dataset_id}_pseudonymous",
            description=f"{VIEW}: posts without names. Grant readers this dataset alone.",
            location=settings.bigquery_location,
            labels=settings.labels,
            opts=args.apis.after_apis(self, delete_before_replace=True),
        )
        views_of_it: bigquery.DatasetAccessAuthorizedDatasetArgsDict = {
            "dataset": {"project_id": settings.project, "dataset_id": readable.dataset_id},
            "target_types": ["VIEWS"],
        }
        key = self._key(name, args, readable.dataset_id)
        opened = bigquery.DatasetAccess(
            f"{name}-reads-posts",
            dataset_id=args.warehouse.dataset.dataset_id,
            authorized_dataset=views_of_it,
            opts=child,
        )
        self.view = bigquery.Table(
            f"{name}-view",
            dataset_id=readable.dataset_id,
            table_id=VIEW,
            description=description(SQL.read_text("utf-8")),
            view={"query": query(settings), "use_legacy_sql": False},
            labels=settings.labels,
            deletion_protection=False,  # it holds no data
            opts=pulumi.ResourceOptions(
                parent=self, depends_on=[args.warehouse.tweets, key, opened]
            ),
        )
        self.register_outputs({"view": self.view.table_id})

    def _key(self, name: str, args: PseudonymsArgs, readers: pulumi.Input[str]) -> bigquery.Table:
        """The table with the key: neither a project's viewers nor its editors may read it."""
        settings, child = args.settings, pulumi.ResourceOptions(parent=self)
        row = pulumi.Output.secret(key_row(settings.pseudonym_key.get_secret_value()))
        bucket = storage.Bucket(
            f"{settings.prefix}-key",
            location=settings.bigquery_location,
            uniform_bucket_level_access=True,
            public_access_prevention="enforced",
            force_destroy=True,  # the key is in the stack's configuration
            soft_delete_policy={"retention_duration_seconds": 0},
            labels=settings.labels,
            opts=args.apis.after_apis(self),
        )
        # A new bucket lets the project's viewers read its objects.
        owners = storage.BucketIAMBinding(
            f"{name}-owners-read-key",
            bucket=bucket.name,
            role="roles/storage.legacyObjectReader",
            members=[f"projectOwner:{settings.project}"],
            opts=child,
        )
        file = storage.BucketObject(
            f"{name}-key",
            bucket=bucket.name,
            # Another key is another file: its load job is then another job.
            name=row.apply(lambda text: f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"),
            content=row,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[owners]),
        )
        dataset = bigquery.Dataset(
            f"{name}-key",
            dataset_id=f"{settings.dataset_id}_key",
            description=f"The key of {VIEW}. Whoever reads it can undo the pseudonyms.",
            location=settings.bigquery_location,
            accesses=[
                {"role": "OWNER", "special_group": "projectOwners"},
                {
                    "dataset": {
                        "dataset": {"project_id": settings.project, "dataset_id": readers},
                        "target_types": ["VIEWS"],
                    }
                },
            ],
            labels=settings.labels,
            delete_contents_on_destroy=True,
            opts=args.apis.after_apis(self, delete_before_replace=True),
        )
        table = bigquery.Table(
            f"{name}-key",
            dataset_id=dataset.dataset_id,
            table_id="hmac_sha256",
            description="One row: the key as HMAC uses it, RFC 2104. No row: the view is empty.",
            schema=json.dumps(
                [
                    {"name": pad, "type": "STRING", "mode": "REQUIRED"}
                    for pad in ("inner_pad", "outer_pad")
                ]
            ),
            labels=settings.labels,
            deletion_protection=False,
            opts=child,
        )
        bigquery.Job(
            f"{name}-key",
            # Google keeps the ids of jobs for half a year: a file made anew needs a new one.
            job_id=pulumi.Output.format("{0}-key-{1}", settings.prefix, file.generation),
            location=settings.bigquery_location,
            load={
                "source_uris": [pulumi.Output.concat("gs://", bucket.name, "/", file.name)],
                "source_format": "NEWLINE_DELIMITED_JSON",
                "destination_table": {
                    "project_id": settings.project,
                    "dataset_id": dataset.dataset_id,
                    "table_id": table.table_id,
                },
                "write_disposition": "WRITE_TRUNCATE",
            },
            labels=settings.labels,
            opts=child,
        )
        return table


def key_row(key: str) -> str:
    """The key as a line of JSON: HMAC's two padded forms of it (RFC 2104), in hex."""
    secret = key.encode()
    block = (hashlib.sha256(secret).digest() if len(secret) > _BLOCK else secret).ljust(
        _BLOCK, b"\0"
    )
    pads = {
        "inner_pad": bytes(b ^ 0x36 for b in block),
        "outer_pad": bytes(b ^ 0x5C for b in block),
    }
    return json.dumps({name: pad.hex() for name, pad in pads.items()})


def query(settings: Settings) -> str:
    """The view's SQL: tables filled in, and each PSEUDONYM(kind, value) written out."""
    dataset = f"{settings.project}.{settings.dataset_id}"
    text = _TEXT if settings.pseudonymous_text else ""
    sql = Template(SQL.read_text("utf-8")).substitute(
        dataset=dataset, key=f"{dataset}_key.hmac_sha256", text=text
    )
    return with_columns(_MACRO.sub(lambda found: _hmac(found[1], found[2]), sql))


def _hmac(kind: str, value: str) -> str:
    """SQL of HMAC-SHA256 over `kind:value`, its first 32 hex digits; NULL for NULL.

    Bytes are joined as hex: GoogleSQL joins them as they are too, the stand-in's engine does not,
    and it casts ASCII to bytes only; ids and X's handles are ASCII.
    """
    said = f"TO_HEX(CAST(CONCAT('{kind}:', LOWER(CAST({value} AS STRING))) AS BYTES))"
    inner = f"TO_HEX(SHA256(FROM_HEX(CONCAT(key.inner_pad, {said}))))"
    outer = f"TO_HEX(SHA256(FROM_HEX(CONCAT(key.outer_pad, {inner}))))"
    return f"IF({value} IS NULL, NULL, LEFT({outer}, 32))"
