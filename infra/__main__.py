"""X's filtered stream into BigQuery: producer -> topic -> sink -> warehouse.

Settings, then the components in the order in which they need each other, then what a person needs
next. Each component is explained in its own file; the configuration in settings.py.
"""

import sys
from pathlib import Path

import pulumi

# pulumi runs this folder as a script, and `pulumi install` installs the packages but not us.
if (root := str(Path(__file__).resolve().parents[1])) not in sys.path:
    sys.path.insert(0, root)

from infra.alerts import Alerts, AlertsArgs
from infra.apis import Apis
from infra.build import Build, BuildArgs
from infra.cluster import Cluster, ClusterArgs
from infra.compliance import Compliance, ComplianceArgs
from infra.dashboard import Dashboard, DashboardArgs
from infra.image import Image, ImageArgs
from infra.outputs import outputs
from infra.preflight import Preflight
from infra.producer import Producer, ProducerArgs
from infra.pseudonyms import Pseudonyms, PseudonymsArgs
from infra.settings import Settings
from infra.sink import Sink, SinkArgs
from infra.topic import Topic, TopicArgs
from infra.warehouse import Warehouse, WarehouseArgs
from infra.x_token import Token, TokenArgs

settings = Settings.load()
preflight = Preflight("preflight", settings)
apis = Apis("apis", preflight)

# Where posts go ...
topic = Topic("topic", TopicArgs(settings, apis))
warehouse = Warehouse("warehouse", WarehouseArgs(settings, apis))
build = Build("build", BuildArgs(settings, apis))
if settings.pseudonym_key:
    Pseudonyms("pseudonyms", PseudonymsArgs(settings, apis, warehouse))
sink = Sink("sink", SinkArgs(settings, apis, build, topic, warehouse))

# ... and where they come from.
cluster = Cluster("cluster", ClusterArgs(settings, apis, preflight.cluster))
token = Token("token", TokenArgs(settings, apis, cluster))
image = Image("image", ImageArgs(settings, apis, cluster))
producer = Producer("producer", ProducerArgs(settings, apis, topic, sink, cluster, token, image))

# Who looks after it.
alerts = Alerts("alerts", AlertsArgs(settings, apis, topic, sink, cluster))
if settings.compliance_schedule:
    Compliance(
        "compliance",
        ComplianceArgs(settings, apis, topic, warehouse, cluster, token, image),
    )

if settings.dashboard:
    dashboard = Dashboard("dashboard", DashboardArgs(settings, apis, warehouse, image))
    pulumi.export("dashboardCommand", dashboard.open_command)

for name, value in outputs(settings, topic, warehouse, sink, cluster, image).items():
    pulumi.export(name, value)
