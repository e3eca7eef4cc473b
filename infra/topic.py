"""The topic that posts and events go through, and the one where what cannot be stored goes.

There is no Pub/Sub schema on the topic, on purpose: a schema is enforced at publish, so a field
that X adds tomorrow would turn a paid post into a publish error, and each change would need a
committed revision before the producer rolls. The contract is the BigQuery schema file, checked by
the sink, which dead-letters with the reason and loses nothing.
"""

from dataclasses import dataclass

import pulumi
from pulumi_gcp import pubsub

from infra.apis import Apis
from infra.settings import Settings

WEEK = "604800s"


@dataclass(frozen=True)
class TopicArgs:
    """What the topics are made from."""

    settings: Settings
    apis: Apis


class Topic(pulumi.ComponentResource):
    """`tweets-<stack>`, its dead-letter topic, and the subscription that keeps dead letters.

    Who may publish and who subscribes is granted where the publisher and the subscriber are
    declared (producer, sink).
    """

    topic: pubsub.Topic
    dead_letters: pubsub.Topic
    dead_letter_reader: pubsub.Subscription
    path: pulumi.Output[str]
    """projects/P/topics/T."""
    dead_letter_path: pulumi.Output[str]

    def __init__(
        self, name: str, args: TopicArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("tweets:index:Topic", name, None, opts)
        prefix, labels = args.settings.prefix, args.settings.labels
        first = args.apis.after_apis(self)

        # A week of replay: `gcloud pubsub subscriptions seek` after a fault in the sink.
        self.topic = pubsub.Topic(
            name,
            name=prefix,
            labels=labels,
            message_retention_duration=WEEK,
            opts=first,
        )
        self.dead_letters = pubsub.Topic(
            f"{name}-dead-letters",
            name=f"{prefix}-dead-letters",
            labels=labels,
            opts=first,
        )
        # Without this grant Pub/Sub keeps retrying for ever instead of dead-lettering.
        pubsub.TopicIAMMember(
            f"{name}-agent-publishes-dead-letters",
            topic=self.dead_letters.name,
            role="roles/pubsub.publisher",
            member=args.apis.pubsub_agent,
            opts=first,
        )
        # A topic keeps nothing by itself: dead letters published before this exists are gone.
        self.dead_letter_reader = pubsub.Subscription(
            f"{name}-dead-letters-reader",
            name=f"{prefix}-dead-letters-reader",
            topic=self.dead_letters.id,
            labels=labels,
            ack_deadline_seconds=60,
            message_retention_duration=WEEK,
            expiration_policy={"ttl": ""},
            # A letter that waits here is in no table.
            opts=pulumi.ResourceOptions(parent=self, protect=args.settings.protect),
        )

        self.path = self.topic.id
        self.dead_letter_path = self.dead_letters.id
        self.register_outputs({"path": self.path, "dead_letter_path": self.dead_letter_path})
