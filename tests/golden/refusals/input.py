"""Routes that can't be served now: their hosts and paths stay theirs, and say why."""

from tests.support.configurations import configuration, location, server
from wsroute.dataplane.ir import RefusalReason, Refuse, RouteRef

CONFIGURATION = configuration(
    upstreams=[],
    servers=[
        server(location(action=Refuse(RefusalReason.NO_ENDPOINTS))),
        server(
            location("/", Refuse(RefusalReason.ROUTE_INVALID), route=RouteRef("team-b", "broken")),
            host="broken.example.com",
        ),
    ],
)
