"""What google-cloud-pubsub alone takes: publish() of our messages, with no stream and no store.

    python -m bench.client LINES_FILE TOPIC

Says {"ready"}; hears {"go": messages}, publishes so many in batches of our size and waits for all.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

from google.cloud import pubsub_v1

from bench.child import say, told
from bench.posts import messages
from producer.messages import Message
from producer.sender import BATCH_BYTES, BATCH_MESSAGES, LINGER


def publish(ready: list[Message], topic: str, count: int) -> None:
    """Publish message by message, as the pages of the library show it."""
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


def main() -> None:
    """Publish as often as it is told."""
    ready = messages(Path(sys.argv[1]))
    say(ready=True)
    while order := told():
        publish(ready, sys.argv[2], int(order["go"]))


if __name__ == "__main__":
    main()
