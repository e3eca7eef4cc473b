"""One stream connection, past or present."""

import time
import uuid
from dataclasses import dataclass, field

from local.x.snowflake import stamp
from local.x.wire import Wire


@dataclass
class StreamConnection:
    """One stream connection, past or present, as GET /2/connections tells it."""

    client_ip: str
    wire: Wire | None = None
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    connected_at: float = field(default_factory=time.time)
    disconnected_at: float | None = None
    disconnect_reason: str | None = None
    hold: float = 0.0
    killed: bool = False

    @property
    def open(self) -> bool:
        """Say whether lines can still be written to it."""
        return self.disconnected_at is None and (self.wire is None or self.wire.alive)

    @property
    def occupies(self) -> bool:
        """Say whether it takes the place of the one allowed connection: open, or held as stale."""
        if self.open or self.disconnected_at is None:
            return self.open or self.hold > 0
        return time.time() < self.disconnected_at + self.hold

    def shown(self) -> dict[str, str]:
        """Return the connection with X's field names."""
        shown = {
            "id": self.id,
            "endpoint_name": "filtered_stream",
            "connected_at": stamp(int(self.connected_at * 1000)),
            "client_ip": self.client_ip,
        }
        if not self.occupies and self.disconnected_at is not None:
            shown["disconnected_at"] = stamp(int(self.disconnected_at * 1000))
            shown["disconnect_reason"] = self.disconnect_reason or "client_disconnect"
        return shown
