"""Publishing alone, with no stream: by google-cloud-pubsub, and by our outbox, which keeps first.

    python -m bench.publishing client|outbox LINES_FILE TOPIC STATE_DIR

Says {"ready"}; hears {"go": messages, "rate": messages a second, 0 for as fast as they go}. What
comes together is as much as the stream gives at once.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path

from google.cloud import pubsub_v1

from bench.child import say, told
from bench.posts import messages
from producer.messages import POSTS, Entry, Message, now
from producer.outbox import Outbox
from producer.sender import BATCH_BYTES, BATCH_MESSAGES, LINGER
from producer.settings import Settings, XToken
from producer.stats import Stats
from producer.store import Store
from producer.transport import CHUNK, GATHER

Publish = Callable[[list[Message]], None]


def by_client(topic: str, _: Path) -> Publish:
    """Message by message, as the pages of the library show it; batches of our size."""
    client = pubsub_v1.PublisherClient(
        pubsub_v1.types.BatchSettings(
            max_messages=BATCH_MESSAGES, max_bytes=BATCH_BYTES, max_latency=LINGER
        )
    )

    def publish(together: list[Message]) -> None:
        for message in together:
            client.publish(topic, message.data, **message.attributes)

    return publish


def by_outbox(topic: str, folder: Path) -> Publish:
    """As the reader does: what came together and the coverage it proves, in one transaction."""
    store = Store(folder)
    outbox = Outbox(Settings(XToken(), topic), topic, store, Stats(), sys.exit)

    def publish(together: list[Message]) -> None:
        at = now()
        coverage = {"until": at, "last_id": int(together[-1].attributes["id"]), "gap": None}
        outbox.keep([Entry(POSTS, each, at) for each in together], {"coverage": coverage})

    return publish


def _together(ready: list[Message], count: int, rate: float) -> Iterator[list[Message]]:
    source = islice(cycle(ready), count)
    mean = sum(len(message.data) for message in ready) / len(ready)
    size = int(rate * GATHER) if rate else max(1, int(CHUNK / mean))
    due = time.monotonic()
    while chunk := list(islice(source, size)):
        yield chunk
        if rate:
            due += size / rate
            time.sleep(max(0.0, due - time.monotonic()))


def main() -> None:
    """Publish as often as it is told."""
    way, lines, topic, folder = sys.argv[1:]
    ready = messages(Path(lines))
    publish = (by_client if way == "client" else by_outbox)(topic, Path(folder))
    say(ready=True)
    while order := told():
        for chunk in _together(ready, int(order["go"]), float(order.get("rate", 0))):
            publish(chunk)


if __name__ == "__main__":
    main()
