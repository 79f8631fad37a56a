"""Where nginx's files are, and what else depends on the place in which it runs."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Paths:
    """``conf`` is the folder of the versions, read-only for nginx; ``run`` is the one that nginx's side writes.

    Both absolute. ``run`` must be short enough for the path of a Unix socket, and must hold a folder ``tmp``. ``tls``
    is the folder of the certificates, where that is not a part of ``conf``.
    """

    conf: str
    run: str
    tls: str = ""

    @property
    def certificates(self) -> str:
        """The folder of the certificates with their keys, read-only for nginx."""
        return self.tls or f"{self.conf}/tls"

    @property
    def pid(self) -> str:
        """The pid of nginx's master."""
        return f"{self.run}/nginx.pid"

    @property
    def error_log(self) -> str:
        """What the start script reads of nginx's words: alerts and worse only, so that it stays small."""
        return f"{self.run}/error.log"

    @property
    def admin_socket(self) -> str:
        """Answers ``GET /version`` and ``GET /readyz``."""
        return f"{self.run}/admin.sock"

    @property
    def refuse_socket(self) -> str:
        """Where nginx sends, to itself, what it answers with 426."""
        return f"{self.run}/refuse.sock"

    @property
    def decide_socket(self) -> str:
        """Where nginx asks itself which endpoint a request of a Dynamic balancer goes to."""
        return f"{self.run}/decide.sock"

    @property
    def table_state(self) -> str:
        """Where nginx keeps the table of a Dynamic balancer over a restart."""
        return f"{self.run}/table.json"

    def script(self, name: str) -> str:
        """A njs module, beside the versions."""
        return f"{self.conf}/{name}"

    @property
    def temporary(self) -> str:
        """The folder below which nginx keeps bodies that it must put aside."""
        return f"{self.run}/tmp"  # noqa: S108 - not the world's /tmp


@dataclass(frozen=True, slots=True)
class Options:
    """``readiness_port`` answers ``GET /readyz`` over TCP. ``user`` is the account of the workers.

    Without a user nginx, when root starts it, changes to the account that it was built for, which must then be able to
    reach ``Paths.run``. It ignores the name, with a warning, when somebody else starts it.
    """

    readiness_port: int | None = None
    user: str | None = None


POD_PATHS: Final = Paths(conf="/etc/wsroute", run="/run/wsroute", tls="/etc/wsroute-tls")
"""In a balancer pod."""

POD_OPTIONS: Final = Options(readiness_port=8081)
"""In a balancer pod, where nginx is started without root and the kubelet asks for readiness."""
