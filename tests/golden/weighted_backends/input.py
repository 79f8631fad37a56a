"""Two backends with shares, one of them with twice as many endpoints; and a route that goes round robin."""

from tests.support.configurations import configuration, location, proxy, server, upstream
from wsroute.api.policies import Policy
from wsroute.dataplane.ir import Endpoint, RouteRef

CONFIGURATION = configuration(
    upstreams=[
        upstream(
            Endpoint("10.244.1.7", 8080, 9),
            Endpoint("10.244.2.4", 8080, 1),
            Endpoint("10.244.2.5", 8080, 1),
            name="team-a_chat_0",
        ),
        upstream(
            Endpoint("10.244.3.1", 7000, 1),
            Endpoint("fd00:10:244::7", 7000, 1),
            name="team-b_ticker_0",
            balancing=Policy.ROUND_ROBIN,
        ),
    ],
    servers=[
        server(),
        server(location("/", proxy("team-b_ticker_0"), route=RouteRef("team-b", "ticker")), host="ticker.example.com"),
    ],
)
