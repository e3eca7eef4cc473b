"""BigQuery in trouble, instances lost: nothing is lost, nothing acknowledged too early."""

from __future__ import annotations

import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from google.cloud import bigquery, pubsub_v1

from local.pubsub import PubSubServer
from tests.producer.parts import wait_for
from tests.sink.deployed import SCHEMAS, Dataset, Function, Start, post, push


def push_all(function: Function, numbers: range) -> list[int]:
    """Push posts at the same time; the answers' statuses in order."""
    bodies = [push(post(n), message_id=f"m{n}") for n in numbers]
    with ThreadPoolExecutor(len(bodies)) as pool:
        return [answer.status for answer in pool.map(function.push, bodies)]


def test_short_outage_is_ridden_out(function: Function, dataset: Dataset) -> None:
    """A second of 503 costs time, not a redelivery."""
    dataset.server.faults(insert_status=503, seconds=1)
    assert push_all(function, range(20)) == [204] * 20
    assert dataset.count() == 20


def test_lasting_outage_is_handed_back(function: Function, dataset: Dataset) -> None:
    """While BigQuery answers 503 or 429 the messages get 503; afterwards they are written."""
    dataset.server.faults(insert_status=429)
    assert push_all(function, range(20)) == [503] * 20
    assert dataset.count() == 0
    lines = [line for line in function.logs() if "not written" in line["message"]]
    # One line for each insert, not for each message: an outage must not drown the log.
    assert 1 <= len(lines) < 20
    assert "429" in lines[0]["message"]
    dataset.server.faults()
    assert push_all(function, range(20)) == [204] * 20
    assert dataset.count() == 20


def test_stored_but_failed_is_doubled_only_in_the_table(
    function: Function, dataset: Dataset
) -> None:
    """A 500 after the rows were stored is tried again; the view shows the post once."""
    function.push(push(post(0)))
    dataset.server.faults(insert_status=500, stored=True, seconds=0.3)
    assert function.push(push(post(1))).status == 204
    assert dataset.count() > 2
    assert dataset.count("{latest}") == 2


def test_unreachable_bigquery_is_503(launch: Start, environment: dict[str, str]) -> None:
    """With nothing listening there, the answer is 503 and one line says so."""
    function = launch({**environment, "BIGQUERY_EMULATOR_HOST": "http://127.0.0.1:9"})
    try:
        assert function.push(push(post(1))).status == 503
        assert "cannot be reached" in function.logs()[-1]["message"]
        assert function.plain_output() == ""
    finally:
        function.kill()


def test_missing_table_is_passing(function: Function, dataset: Dataset) -> None:
    """A table that is not there yet is waited for, and the line names it and the cause."""
    dataset.client.delete_table(dataset.tweets)
    assert function.push(push(post(1))).status == 503
    line = function.logs()[-1]["message"]
    assert "404" in line
    assert "tweets" in line
    assert "just created" in line


def test_column_that_the_table_lacks_is_passing(function: Function, dataset: Dataset) -> None:
    """A table behind the code does not send the stream to the dead letters."""
    dataset.client.delete_table(dataset.tweets)
    columns = [
        column
        for column in dataset.client.schema_from_json(SCHEMAS / "tweets.json")
        if column.name != "source"
    ]
    dataset.client.create_table(bigquery.Table(dataset.tweets, schema=columns))
    answer = function.push(push(post(1)))
    assert (answer.status, "lacks a column" in answer.text) == (503, True)


def test_client_that_goes_away_harms_no_one(function: Function, dataset: Dataset) -> None:
    """A request whose sender hangs up does not take its group along, and its row is written."""
    function.push(push(post(0)))
    dataset.server.faults(insert_delay_ms=400)
    body = push(post(1))
    with socket.create_connection(("127.0.0.1", function.port)) as sender:
        sender.sendall(
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
        )
    assert push_all(function, range(2, 12)) == [204] * 10
    wait_for(lambda: dataset.count() == 12, 15)


def test_sigterm_finishes_what_is_in_flight(function: Function, dataset: Dataset) -> None:
    """At a scale-down each request in flight is answered 204 after its row, and the exit is 0."""
    function.push(push(post(1000)))
    dataset.server.faults(insert_delay_ms=1000)
    answers: list[int] = []
    sending = threading.Thread(target=lambda: answers.extend(push_all(function, range(20))))
    sending.start()
    time.sleep(0.4)
    assert function.terminate() == 0
    sending.join()
    assert answers == [204] * 20
    assert dataset.count() == 21


def test_kill_in_the_middle_loses_nothing(
    launch: Start,
    environment: dict[str, str],
    dataset: Dataset,
    pubsub: PubSubServer,
) -> None:
    """Function killed with -9 under a real push subscription: each post is in the view once."""
    topic = "projects/local-project/topics/posts"
    subscription = "projects/local-project/subscriptions/posts-push"
    first = launch(environment)
    total = 1500
    with pubsub_v1.PublisherClient() as publisher, pubsub_v1.SubscriberClient() as subscriber:
        publisher.create_topic(name=topic)
        subscriber.create_subscription(
            request={
                "name": subscription,
                "topic": topic,
                "push_config": {"push_endpoint": first.url},
                "ack_deadline_seconds": 10,
                "retry_policy": {
                    "minimum_backoff": {"seconds": 0},
                    "maximum_backoff": {"seconds": 1},
                },
            }
        )
        for number in range(total):
            data = json.dumps(post(number)).encode()
            publisher.publish(topic, data, kind="post", id=str(number), schema="1")
        wait_for(lambda: dataset.count() > 200, 15)
        first.kill()
        at_kill = dataset.count()
        second = launch(environment, first.port)
        try:
            wait_for(lambda: dataset.count("{latest}") == total, 40)
        finally:
            second.kill()
            subscriber.delete_subscription(subscription=subscription)
            publisher.delete_topic(topic=topic)
    assert at_kill < total, "the function was killed too late to prove anything"
    (row,) = dataset.rows("SELECT COUNT(*) AS n, COUNT(DISTINCT id) AS ids FROM {latest}")
    assert (row.n, row.ids) == (total, total)
