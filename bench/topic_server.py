"""A topic that takes everything: the method Publish of Pub/Sub and no more, on grpc.aio.

Says {"port"}. Hears {"reset": true}, {"away": whether it answers UNAVAILABLE}, {"wait": posts,
"seconds"} and {"stats"}; answers each with {"posts", "last": CLOCK_MONOTONIC of the last post}.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from functools import lru_cache

import grpc
from google import pubsub_v1

from bench.child import say, told

_Request = pubsub_v1.PublishRequest.pb()
_Response = pubsub_v1.PublishResponse.pb()


class CountingTopic:
    """Counts what is published."""

    def __init__(self) -> None:
        self.posts = 0
        self.last = 0.0
        self.away = False

    async def publish(self, data: bytes, context: grpc.aio.ServicerContext) -> bytes:
        """One Publish request, in its serialised form, so that it costs little here."""
        if self.away:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "away")
        request = _Request.FromString(data)
        # Events of ours are not posts; what others publish has no such attribute.
        self.posts += sum(m.attributes.get("kind") != "event" for m in request.messages)
        self.last = time.monotonic()
        return _ids(len(request.messages))


@lru_cache(maxsize=4096)
def _ids(count: int) -> bytes:
    data: bytes = _Response(message_ids=[str(n) for n in range(count)]).SerializeToString()
    return data


def _listen(topic: CountingTopic, loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> None:
    while order := told():
        if "reset" in order:
            topic.posts, topic.last = 0, 0.0
        topic.away = bool(order.get("away", topic.away))
        if "wait" in order:
            end = time.monotonic() + float(order["seconds"])
            while topic.posts < order["wait"] and time.monotonic() < end:
                time.sleep(0.005)
        say(posts=topic.posts, last=topic.last)
    loop.call_soon_threadsafe(ended.set)


async def main() -> None:
    """Serve until the parent goes."""
    topic, ended = CountingTopic(), asyncio.Event()
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", 32 << 20)])
    handler = grpc.unary_unary_rpc_method_handler(topic.publish)
    service = "google.pubsub.v1.Publisher"
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler(service, {"Publish": handler})]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    say(port=port)
    loop = asyncio.get_running_loop()
    threading.Thread(target=_listen, args=(topic, loop, ended), daemon=True).start()
    await ended.wait()
    await server.stop(0)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
