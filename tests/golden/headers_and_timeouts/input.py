"""What a route may say about headers and times."""

from tests.support.configurations import configuration, location, proxy, server
from wsroute.dataplane.ir import RouteRef

CONFIGURATION = configuration(
    servers=[
        server(
            location(
                action=proxy(
                    connect_timeout=1_500,
                    idle_timeout=5_400_000,
                    set_headers=(("X-Greeting", 'say "hello"; # }'), ("X-Team", "a")),
                    remove_headers=("X-Debug",),
                )
            ),
            location("/pages", proxy(websocket_only=False, idle_timeout=60_000), route=RouteRef("team-a", "pages")),
        )
    ],
)
