"""Settings of the stand-in; those in CHANGEABLE can be changed over HTTP while it runs."""

from dataclasses import dataclass

CHANGEABLE = ("rate", "count", "keep_alive")


@dataclass
class Settings:
    """How the stand-in behaves.

    rate: posts a second, 0 for as fast as the client reads. count: new posts in all, None for no
    end. keep_alive, connect_window, compliance_delay: seconds. archive_wait: seconds between
    requests to the whole archive. token: the only token accepted, None for any but "bad-token".
    """

    rate: float = 0.0
    count: int | None = None
    seed: int = 1
    token: str | None = None
    keep_alive: float = 20.0
    connect_limit: int = 50
    connect_window: float = 900.0
    usage: int = 0
    usage_cap: int = 3_000_000
    cap_reset_day: int = 1
    compliance_delay: float = 0.0
    archive_wait: float = 1.0

    def __post_init__(self) -> None:
        """Raise ValueError for a value that cannot work."""
        for name in CHANGEABLE:
            if (value := getattr(self, name)) is not None and value < 0:
                raise ValueError(f"{name} is {value}: it must be 0 or more")
