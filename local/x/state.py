"""What all parts of one stand-in work on."""

from local.x.faults import XFaults
from local.x.ledger import Ledger, MonthUsage
from local.x.settings import Settings
from local.x.timeline import Timeline


class XState:
    """Settings, posts made, posts sent, and faults to come."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.timeline = Timeline(settings.seed)
        self.ledger = Ledger(MonthUsage(settings.usage, settings.usage_cap, settings.cap_reset_day))
        self.faults = XFaults()
