"""The view without names: what is in it, where its key is, and who could see either."""

import hashlib
import hmac
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from google.cloud import bigquery

from infra import pseudonyms
from local.engine.program import Program, ProgramError, evaluate
from local.engine.tables import create_dataset, create_table
from tests.bigquery_server import BigQueryServer
from tests.infra.environments import BASE, ENVIRONMENTS

SECRETS = ["xBearerToken", "pseudonymKey"]
KEY = "correct horse battery staple 2026, and some more"
WITH_KEY = {**ENVIRONMENTS["dev"], "pseudonymKey": KEY}
VIEW = "`my-project.tweet_data_pseudonymous.tweets_pseudonymous`"
KEY_TABLE = "my-project.tweet_data_key.hmac_sha256"


def declared(**config: object) -> Program:
    """The development environment with a key."""
    return evaluate("dev", {**WITH_KEY, **config}, secrets=SECRETS)


@pytest.fixture(scope="module")
def program() -> Program:
    """The environment with its default text option."""
    return declared()


@pytest.fixture(scope="module")
def server() -> Iterator[BigQueryServer]:
    """A stand-in of BigQuery with what the program declares, text included, and the key's row."""
    with BigQueryServer(project="my-project") as started:
        made, program = started.client(), declared(pseudonymousText=True)
        for dataset in program.of_type("bigquery/dataset:Dataset"):
            create_dataset(made, dataset.inputs)
        for table in program.of_type("bigquery/table:Table"):
            create_table(made, table.inputs)
        yield started


@pytest.fixture
def client(server: BigQueryServer) -> Iterator[bigquery.Client]:
    """The official client; posts and key are gone afterwards."""
    client = server.client()
    yield client
    for table in ("my-project.tweet_data.tweets", KEY_TABLE):
        client.query_and_wait(f"DELETE FROM `{table}` WHERE TRUE")
    client.close()  # type: ignore[no-untyped-call]


def keyed(said: str, key: str = KEY) -> str:
    """The pseudonym as Python's own HMAC makes it."""
    return hmac.new(key.encode(), said.encode(), hashlib.sha256).hexdigest()[:32]


def insert(client: bigquery.Client, *posts: dict[str, Any], key: str = KEY) -> None:
    """Posts into the table, and the key as its load job brings it."""
    assert client.insert_rows_json("my-project.tweet_data.tweets", list(posts)) == []
    assert client.insert_rows_json(KEY_TABLE, [json.loads(pseudonyms.key_row(key))]) == []


def post(**columns: Any) -> dict[str, Any]:
    """A row whose every id and handle can be recognised."""
    return {
        "id": "1990000000000000011",
        "original_id": "1990000000000000010",
        "created_at": "2026-11-20T10:00:00.123",
        "text": "안녕 @Other_One 🌊 https://x.com/other_one/status/1990000000000000005 ok",
        "author_id": "777000777",
        "author_username": "The_Author",
        "conversation_id": "1990000000000000009",
        "in_reply_to_user_id": "777000888",
        "mentions": ["Other_One", "sea_2"],
        "urls": ["https://x.com/other_one/status/1990000000000000005"],
        "referenced_posts": [{"type": "quoted", "id": "1990000000000000005"}],
        "raw": json.dumps({"data": {"id": "1990000000000000011", "author_id": "777000777"}}),
        "ingested_at": "2026-11-20T10:00:01Z",
    } | columns


def rows(client: bigquery.Client) -> list[dict[str, Any]]:
    """What a reader of the view sees."""
    return [dict(row) for row in client.query_and_wait(f"SELECT * FROM {VIEW}")]


def test_ids_and_handles_are_keyed_hashes(client: bigquery.Client) -> None:
    """HMAC-SHA256 of kind and value; handles in lower case, so that mention and author meet."""
    insert(client, post())
    (row,) = rows(client)
    assert row["post"] == keyed("post:1990000000000000011")
    assert row["original"] == keyed("post:1990000000000000010")
    assert row["conversation"] == keyed("post:1990000000000000009")
    assert row["author"] == keyed("user:777000777")
    assert row["in_reply_to_author"] == keyed("user:777000888")
    assert row["author_handle"] == keyed("handle:the_author")
    assert sorted(row["mentions"]) == sorted([keyed("handle:other_one"), keyed("handle:sea_2")])
    quoted = {"type": "quoted", "post": keyed("post:1990000000000000005")}
    assert (row["referenced_posts"], row["links"]) == ([quoted], 1)


def test_nothing_in_a_row_names_anyone(client: bigquery.Client) -> None:
    """No id, handle, link or raw line is anywhere in what the view gives; the text is masked."""
    insert(client, post())
    seen = json.dumps(rows(client), default=str, ensure_ascii=False).lower()
    assert not re.search(r"19900000|777000|other_one|the_author|x\.com", seen)
    assert "안녕 @[name] 🌊 [link] ok" in seen


def test_a_tag_that_is_a_query_names_nobody(client: bigquery.Client) -> None:
    """Tags are hashed, in any script: a rule without a tag of its own is known by its query."""
    tags = ["from:The_Author", "고양이 @other_one"]
    insert(client, post(rule_tags=tags))
    (row,) = rows(client)
    digests = [hashlib.sha256(tag.encode()).hexdigest() for tag in tags]
    assert sorted(row["rule_tags"]) == sorted(keyed(f"tag:{digest}") for digest in digests)


def test_what_a_post_lacks_stays_empty(client: bigquery.Client) -> None:
    """A missing author is NULL, not the hash of nothing that all such posts would share."""
    lacking = ("author_id", "author_username", "conversation_id", "in_reply_to_user_id")
    insert(client, post(**dict.fromkeys(lacking), mentions=[], referenced_posts=[]))
    (row,) = rows(client)
    assert [row[name] for name in ("author", "author_handle", "conversation")] == [None] * 3
    assert (row["in_reply_to_author"], row["mentions"], row["referenced_posts"]) == (None, [], [])


def test_one_row_a_post(client: bigquery.Client) -> None:
    """Deliveries of one post are one row, the last read."""
    insert(client, post(lang="en"), post(lang="ko", ingested_at="2026-11-20T10:00:02Z"))
    assert [row["lang"] for row in rows(client)] == ["ko"]


def test_without_a_key_there_are_no_rows(client: bigquery.Client) -> None:
    """A key that was not loaded shows nothing, rather than hashes without a key."""
    assert client.insert_rows_json("my-project.tweet_data.tweets", [post()]) == []
    assert rows(client) == []


@pytest.mark.parametrize("key", ["k" * 32, "k" * 64, "k" * 65, "열쇠" * 40])
def test_key_of_any_length_is_hmacs(client: bigquery.Client, key: str) -> None:
    """Shorter keys are padded, longer ones hashed, as RFC 2104 says."""
    insert(client, post(), key=key)
    assert rows(client)[0]["author"] == keyed("user:777000777", key)


def test_documented_columns_are_the_columns(client: bigquery.Client) -> None:
    """The comment names every column with its type; the text comes only if asked for."""
    said = re.findall(r"^-- (\w+) ([A-Z]+): \S", pseudonyms.SQL.read_text("utf-8"), re.MULTILINE)
    columns = client.query_and_wait(f"SELECT * FROM {VIEW} LIMIT 0").schema
    assert [(column.name, column.field_type) for column in columns] == [*said, ("text", "STRING")]


def test_text_is_left_out_unless_asked_for(program: Program) -> None:
    """By default no text: a search on X for it would give its author."""
    view = program.one("bigquery/table:Table", "pseudonyms-view").inputs["view"]["query"]
    assert "post.text" not in view
    assert "PSEUDONYM(" not in view.partition("SELECT")[2]


def test_key_is_in_its_file_alone(program: Program) -> None:
    """Neither SQL, descriptions, job nor any other resource holds the key or a form of it."""
    pads = json.loads(pseudonyms.key_row(KEY))
    holding = {
        resource.name
        for resource in program.resources
        for secret in (KEY, *pads.values())
        if secret in json.dumps(resource.inputs, default=str)
    }
    assert holding == {"pseudonyms-key"}
    (file,) = [
        resource
        for resource in program.of_type("storage/bucketObject:BucketObject")
        if resource.name == "pseudonyms-key"
    ]
    assert "content" in file.secret_inputs


def test_readers_get_one_dataset_and_no_more(program: Program) -> None:
    """The view's dataset is authorized on posts and key; the key's has no other readers."""
    readers = {"datasetId": "tweet_data_pseudonymous", "projectId": "my-project"}
    authorized = {"dataset": readers, "targetTypes": ["VIEWS"]}
    access = program.one("bigquery/datasetAccess:DatasetAccess", "pseudonyms-reads-posts").inputs
    assert access["authorizedDataset"] == authorized
    assert access["datasetId"] == "tweet_data"
    key = program.one("bigquery/dataset:Dataset", "pseudonyms-key").inputs
    assert key["accesses"] == [
        {"role": "OWNER", "specialGroup": "projectOwners"},
        {"dataset": authorized},
    ]
    owners = program.one("storage/bucketIAMBinding:BucketIAMBinding").inputs
    assert owners["role"] == "roles/storage.legacyObjectReader"
    assert owners["members"] == ["projectOwner:my-project"]


def test_datasets_are_opened_in_the_way_that_keeps_authorized_ones() -> None:
    """DatasetIam resources rewrite a dataset's access without its authorized datasets."""
    everything = {**ENVIRONMENTS["prod"], "pseudonymKey": KEY}
    program = evaluate("prod", everything, secrets=SECRETS)
    assert not [r.name for r in program.resources if "/datasetIam" in r.type]
    opened = program.of_type("bigquery/datasetAccess:DatasetAccess")
    grants = [access for access in opened if "userByEmail" in access.inputs]
    assert {access.inputs["role"] for access in grants} == {
        "READER",
        "roles/bigquery.metadataViewer",
    }
    # The account is new, and Google may not know it yet.
    assert {tuple(access.options.hooks.on_error) for access in grants} == {("apis-not-yet",)}


def test_another_location_makes_room_first(program: Program) -> None:
    """A dataset's id is fixed: what stands goes before it is made elsewhere, or Google answers 409.

    That posts go is asked for before (infra/standing.py); the key is loaded anew.
    """
    datasets = program.of_type("bigquery/dataset:Dataset")
    assert len(datasets) == 3
    assert [d.name for d in datasets if not d.options.deleteBeforeReplace] == []


def test_off_without_a_key() -> None:
    """Without the setting nothing of it is declared."""
    program = evaluate("dev", BASE)
    assert not [resource.name for resource in program.resources if "pseudonym" in resource.name]


@pytest.mark.parametrize(("key", "said"), [("short", "32 characters"), ("", "")])
def test_key_that_is_too_short_is_refused_unseen(key: str, said: str) -> None:
    """A key that could be tried out is refused without being shown; none is allowed."""
    config = {**BASE, "pseudonymKey": key}
    if not key:
        assert evaluate("dev", config, secrets=SECRETS)
        return
    with pytest.raises(ProgramError) as stopped:
        evaluate("dev", config, secrets=SECRETS)
    assert said in str(stopped.value)
    assert "config set --secret tweets:pseudonymKey" in str(stopped.value)
    assert key not in str(stopped.value)


def test_key_in_plain_text_is_refused_unseen() -> None:
    """A key that stands readable in the stack's file is refused."""
    with pytest.raises(
        ProgramError, match=r"pseudonymKey = \(secret\): it stands unencrypted"
    ) as stopped:
        evaluate("dev", WITH_KEY)
    assert KEY not in str(stopped.value)
