"""Hosts of several teams, one of them shared by routes of the same team, and a wildcard for one label."""

from tests.support.configurations import configuration, location, proxy, server, upstream
from wsroute.dataplane.ir import Endpoint, RouteRef

CONFIGURATION = configuration(
    upstreams=[
        upstream(Endpoint("10.244.1.7", 8080, 1), name="team-a_chat_0"),
        upstream(Endpoint("10.244.1.9", 8080, 1), name="team-a_chat-admin_0"),
        upstream(Endpoint("10.244.4.2", 8080, 1), name="team-b_rooms_0"),
    ],
    servers=[
        server(location("/ws", proxy("team-b_rooms_0"), route=RouteRef("team-b", "rooms")), host="*.rooms.example.com"),
        server(
            location("/admin", proxy("team-a_chat-admin_0"), route=RouteRef("team-a", "chat-admin")),
            location("/ws"),
        ),
        server(host="talk.example.com"),
    ],
)
