"""The ceiling: publish our producer's messages with no stream at all.

    python -m bench.ceiling LINES_FILE TOPIC client|requests

`client`: publish() of google-cloud-pubsub, a call a message, in batches of our size. `requests`:
the same library's generated client, ready-made requests of 1,000 messages from four threads:
nothing is done for a message but sending it.

Says {"ready"}; hears {"go": messages}.
"""

from __future__ import annotations

import itertools
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
from google import pubsub_v1 as generated
from google.cloud import pubsub_v1
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport

from bench.child import say, told
from bench.posts import messages
from producer.messages import Message
from producer.outbox import BATCH_BYTES, BATCH_MESSAGES, LINGER


def by_client(ready: list[Message], topic: str, count: int) -> None:
    """One publish() a message."""
    client = pubsub_v1.PublisherClient(
        pubsub_v1.types.BatchSettings(
            max_messages=BATCH_MESSAGES, max_bytes=BATCH_BYTES, max_latency=LINGER
        )
    )
    futures = [
        client.publish(topic, message.data, **message.attributes)
        for message in itertools.islice(itertools.cycle(ready), count)
    ]
    for future in futures:
        future.result()


def by_requests(ready: list[Message], topic: str, count: int) -> None:
    """Ready-made requests."""
    channel = grpc.insecure_channel(os.environ["PUBSUB_EMULATOR_HOST"])
    client = generated.PublisherClient(transport=PublisherGrpcTransport(channel=channel))
    request = generated.PublishRequest(
        topic=topic,
        messages=[
            generated.PubsubMessage(data=message.data, attributes=message.attributes)
            for message in ready[:BATCH_MESSAGES]
        ],
    )
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: client.publish(request), range(count // BATCH_MESSAGES)))


def main() -> None:
    """Publish as often as it is told."""
    ready = messages(Path(sys.argv[1]))
    publish = by_client if sys.argv[3] == "client" else by_requests
    say(ready=True)
    while order := told():
        publish(ready, sys.argv[2], int(order["go"]))


if __name__ == "__main__":
    main()
