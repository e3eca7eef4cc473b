"""Settings of the stand-in; those in CHANGEABLE can be changed while it runs."""

from dataclasses import dataclass

from local.x.projection import Naming

CHANGEABLE = (
    "rate",
    "count",
    "keep_alive",
    "token",
    "connect_limit",
    "connect_window",
    "slow_reader",
    "naming",
    "archive_wait",
)


@dataclass
class Settings:
    """How the stand-in behaves.

    rate: posts a second, 0 for as fast as the client reads. count: new posts in all, None for no
    end. keep_alive, connect_window, slow_reader, compliance_delay: seconds (slow_reader 0: wait
    for ever). archive_wait: seconds between requests to the whole archive. kept: posts kept for
    search and backfill. token: the only token accepted, None for any but "bad-token". keep_posting:
    posts go on while nobody is connected, and are missed.
    """

    rate: float = 0.0
    count: int | None = None
    seed: int = 1
    token: str | None = None
    keep_alive: float = 20.0
    connect_limit: int = 50
    connect_window: float = 900.0
    slow_reader: float = 0.0
    keep_posting: bool = False
    kept: int = 300_000
    naming: Naming = "tweets"
    usage: int = 0
    usage_cap: int = 3_000_000
    cap_reset_day: int = 1
    compliance_delay: float = 0.0
    archive_wait: float = 1.0

    def __post_init__(self) -> None:
        """Raise ValueError for a value that cannot work."""
        for name in (
            "rate",
            "keep_alive",
            "connect_window",
            "slow_reader",
            "compliance_delay",
            "archive_wait",
        ):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be 0 or more")
        if not 1 <= self.cap_reset_day <= 31:
            raise ValueError(
                f"cap_reset_day is {self.cap_reset_day}: it must be 1 to 31, a day of the month"
            )
        if self.count is not None and self.count < 0:
            raise ValueError(f"count is {self.count}: it must be 0 or more")
