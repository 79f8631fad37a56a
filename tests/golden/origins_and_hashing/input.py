"""Whose pages may open sockets, on routes of several hosts; and the same endpoint for the same key."""

from tests.support.configurations import HOST, configuration, location, proxy, server, upstream
from wsroute.api.policies import HashKey, HashSource, OriginRules, Policy
from wsroute.dataplane.ir import RouteRef

ROOMS = RouteRef("team-b", "rooms")
ONE_LABEL = OriginRules("Enforce", ("*.rooms.example.com",))
LISTED = OriginRules("Enforce", (HOST, "talk.example.com"), ("https://*.example.net", "null"), require_header=True)
OFF, REPORT = OriginRules("Off", (HOST,)), OriginRules("Report", (HOST,))

CONFIGURATION = configuration(
    upstreams=[
        upstream(name="team-a_chat_0", balancing=Policy.HASH, hash_key=HashKey(HashSource.QUERY, "room")),
        upstream(name="team-b_rooms_0", balancing=Policy.HASH, hash_key=HashKey(HashSource.CLIENT_IP)),
    ],
    servers=[
        server(location("/", proxy("team-b_rooms_0", origins=ONE_LABEL), route=ROOMS), host="*.rooms.example.com"),
        server(
            location("/", proxy("team-b_rooms_0", origins=OFF), route=ROOMS),
            location("/report", proxy("team-a_chat_0", websocket_only=False, origins=REPORT)),
            location("/ws", proxy("team-a_chat_0", origins=LISTED)),
        ),
        server(location("/ws", proxy("team-a_chat_0", origins=LISTED)), host="talk.example.com"),
    ],
)
