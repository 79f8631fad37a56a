"""All kinds of paths on one host: exact, prefix, everything; pages and sockets; rewritten or not."""

from tests.support.configurations import configuration, location, proxy, server, upstream
from wsroute.dataplane.ir import Endpoint, PathMatch, RouteRef

GAME = RouteRef("team-a", "game")

CONFIGURATION = configuration(
    upstreams=[
        upstream(Endpoint("10.244.1.7", 8080, 1), name="team-a_chat_0"),
        upstream(Endpoint("10.244.1.9", 3000, 1), name="team-a_chat_1"),
        upstream(Endpoint("10.244.2.2", 9000, 1), name="team-a_game_0"),
    ],
    servers=[
        server(
            location("/", proxy("team-a_chat_1", websocket_only=False)),
            location("/chat", proxy(rewrite_prefix="/")),
            location("/v1.0/room", proxy(rewrite_prefix="/room/")),
            location("/game", proxy("team-a_game_0"), route=GAME),
            location("/game", proxy("team-a_game_0", rewrite_prefix="/lobby"), match=PathMatch.EXACT, route=GAME),
        )
    ],
)
