"""The seed's way from the stream to Pub/Sub: on_response, json.dumps, publish, a post at a time.

    python -m bench.seed_producer STREAM_URL TOPIC

After the seed's step 2 and the article that it follows (dsstream.com, "Streaming Twitter data with
Google Cloud Pub/Sub and Apache Beam"): publish() is called for each post and its future is left
alone. Only the host that tweepy has built in is changed.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import tweepy
from google.cloud import pubsub_v1

from producer.fields import asked
from producer.transport import XAdapter


class TwitterStream(tweepy.StreamingClient):  # type: ignore[misc]
    """The seed's client."""

    def __init__(self, token: str, topic: str) -> None:
        super().__init__(token)
        self._publisher = pubsub_v1.PublisherClient()
        self._topic = topic

    def on_response(self, response: Any) -> None:
        """Write a post to Pub/Sub."""
        data = response.data.data
        self._publisher.publish(
            self._topic, data=json.dumps(data).encode("utf-8"), tweet_id=str(data["id"])
        )


def main() -> None:
    """Read until killed."""
    client = TwitterStream("bench", sys.argv[2])
    client.session.mount(XAdapter.TWEEPY_BASE, XAdapter(sys.argv[1]))
    client.filter(**{name.replace(".", "_"): names for name, names in asked("").items()})


if __name__ == "__main__":
    main()
