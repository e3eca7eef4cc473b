"""The injector: a fault that was asked for and did nothing would prove nothing."""

import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from google.cloud.pubsub_v1 import PublisherClient, SubscriberClient

from local.chaos.injector import Injector
from local.chaos.schedule import Fault
from local.demo.stack import LocalStack
from local.machine.process import Process
from local.machine.supervisor import Supervisor
from local.pubsub import PubSubServer
from local.x import XServer

TOPIC, READER = "projects/demo/topics/again", "projects/demo/subscriptions/again"


def test_a_redelivery_lasts_until_it_has_hit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy machine the next fault, a lost port, came before any message was acknowledged."""
    looked = threading.Event()
    with PubSubServer() as server, XServer(count=0) as x:
        stack = LocalStack()
        stack._controls = {"pubsub": server.control_url, "x": f"{x.url}/_standin"}
        stack._pushed, stack.logs = [], tmp_path
        stack.processes = {"producer": cast(Process, SimpleNamespace(env={}))}
        stack.supervisor = Supervisor({})
        posted: list[str] = []

        def control(name: str, page: str, *content: object) -> str:
            if page == "stats" and posted:
                looked.set()
            posted.extend([page] * (page == "faults"))
            return LocalStack.control(stack, name, page, *content)

        monkeypatch.setattr(stack, "control", control)
        plan = [Fault("Pub/Sub delivers again", "pubsub", "redeliver", {"count": 3})]
        injector = Injector(stack, plan)
        injector.turn(0)
        assert looked.wait(10), "the injector does not look whether it has hit"
        injector.turn(0)
        assert not injector.finished
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", server.address)
        with PublisherClient() as publisher, SubscriberClient() as subscriber:
            publisher.create_topic(name=TOPIC)
            subscriber.create_subscription(name=READER, topic=TOPIC)
            for _ in range(20):
                publisher.publish(TOPIC, b"x").result(10)
            found = subscriber.pull(subscription=READER, max_messages=20, timeout=10)
            ids = [each.ack_id for each in found.received_messages]
            subscriber.acknowledge(subscription=READER, ack_ids=ids)
        end = time.monotonic() + 30
        while not injector.finished and time.monotonic() < end:
            injector.turn(0)
        assert injector.finished
        assert server.stats()["faults"]["redelivered"] > 0
