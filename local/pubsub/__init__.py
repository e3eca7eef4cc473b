"""An embedded Pub/Sub server: the official client talks to it through PUBSUB_EMULATOR_HOST.

What it does not do is refused with UNIMPLEMENTED or INVALID_ARGUMENT, never ignored: StreamingPull,
lists, filters, ordering, schemas, snapshots, exactly-once delivery, unwrapped push, exports.
Nothing is forgotten for its age: retention and `expiration_policy` are only stored. With
PUBSUB_EMULATOR_HOST the official client takes no message above gRPC's default of 4 MiB.
"""

from local.pubsub.server import PubSubServer

__all__ = ["PubSubServer"]
