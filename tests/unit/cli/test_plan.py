"""``wsroute plan``: what a change would do, with kubectl played by a cluster in memory."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.kubectl_world import (
    LISTENER,
    SYSTEM,
    Json,
    balancer,
    deployment,
    installed,
    made,
    operator,
    route,
    service,
)
from wsroute.cli.plan import GOOD, HARM, UNUSABLE, plan

HOLD = "team-b 2026-01-01T00:00:00Z"


HEAD = "Balancer wsroute-system/shared (Dynamic): 2 pods ready, 0 open sockets"
NO_RELOAD = "  No reload: what changes is live within milliseconds, and nginx closes no open socket."


def test_a_new_route(ask: Any) -> None:
    assert ask(installed(), route("new")) == (
        GOOD,
        [
            HEAD,
            NO_RELOAD,
            "",
            "Routes that you name:",
            "  + team-a/new ws://new.example.com:8080/ws is new",
            "      new.example.com /ws: to team-a/chat:80; idle 1h; connect 5s; LeastConnections; origins own hosts",
        ],
        "",
    )


def test_an_edit_tells_what_is_different_and_that_open_sockets_stay(ask: Any) -> None:
    world = installed(sockets={"team-a/chat": 3})
    world.put(route("chat"))
    code, lines, _ = ask(world, route("chat", timeouts={"idle": "10m"}, hosts=["chat.example.com", "b.example.com"]))
    assert code == GOOD
    assert lines[0].endswith("2 pods ready, 6 open sockets")
    assert lines[4:] == [
        "  ~ team-a/chat ws://b.example.com:8080/ws changes",
        "      b.example.com /ws: to team-a/chat:80; idle 10m; connect 5s; LeastConnections; origins own hosts",
        "      chat.example.com /ws: idle 1h → idle 10m",
        "      6 open sockets: nginx leaves them as they are",
    ]


def test_what_is_as_it_was(ask: Any) -> None:
    world = installed()
    world.put(route("chat"))
    code, lines, _ = ask(world, route("chat"))
    assert (code, lines[4:]) == (GOOD, ["  = team-a/chat ws://chat.example.com:8080/ws stays as it is"])


def test_a_deletion(ask: Any) -> None:
    world = installed(sockets={"team-a/chat": 1})
    world.put(route("chat"))
    code, lines, _ = ask(world, route("chat"), route("unknown"), delete=True)
    assert (code, lines[4:]) == (
        GOOD,
        [
            "  - team-a/chat is gone",
            "      chat.example.com /ws: 404 no-route",
            "      2 open sockets: nginx leaves them as they are",
        ],
    )
    assert ask(world, route("unknown"), delete=True)[1] == ["Nothing changes for any route or balancer."]


def test_a_service_that_goes_harms_the_routes_that_use_it(ask: Any) -> None:
    world = installed()
    world.put(route("chat"))
    code, lines, _ = ask(world, service("chat")[0], delete=True)
    assert code == HARM
    assert lines[3] == "Other routes that change with it:"
    assert lines[4] == "  ! team-a/chat ws://chat.example.com:8080/ws has no endpoint"
    assert "spec.paths[0].backends[0].service: " in lines[5]


def test_endpoints_that_go_harm_the_routes_that_use_them(ask: Any) -> None:
    world = installed()
    world.put(route("chat"))
    code, lines, _ = ask(world, service("chat")[1])
    assert code == HARM
    assert lines[4:] == ["  ! team-a/chat ws://chat.example.com:8080/ws has no endpoint"]


def test_a_namespace_takes_all_that_is_in_it_along(ask: Any) -> None:
    world = installed()
    world.put(route("chat", namespace="team-b"))
    code, lines, _ = ask(world, made("Namespace", "team-b"), delete=True)
    assert code == HARM
    assert lines[3:5] == ["Other routes that change with it:", "  ! team-b/chat is gone"]


def test_a_host_of_somebody_else(ask: Any) -> None:
    world = installed()
    world.put(route("chat", namespace="team-b"))
    code, lines, _ = ask(world, route("mine", host="chat.example.com"))
    assert code == HARM
    assert lines[4] == "  ! team-a/mine is not accepted"
    assert lines[5].startswith("      spec.hosts[0]: The host chat.example.com belongs to another namespace")
    assert not any("Other routes" in line for line in lines)


def test_a_host_that_is_on_record(ask: Any) -> None:
    """It was another namespace's until a moment ago, which only the operator's own record tells."""
    world = installed()
    labels = {"wsroute.dev/balancer": "shared", "wsroute.dev/role": "state"}
    world.put(made("ConfigMap", "shared-state", SYSTEM, labels=labels, data={"hosts": "chat.example.com team-b\n"}))
    code, lines, _ = ask(world, route("mine", host="chat.example.com"))
    assert code == HARM
    assert lines[4] == "  ! team-a/mine is not accepted"


def test_what_an_administrator_s_edit_does_to_everybody(ask: Any) -> None:
    world = installed()
    world.put(route("chat"), route("game", namespace="team-b", host="game.example.com"))
    code, lines, _ = ask(world, balancer(allowedRoutes={"namespaces": {"from": "All"}, "hosts": ["chat.example.com"]}))
    assert code == HARM
    assert lines[:2] == [HEAD, NO_RELOAD]
    assert lines[3] == "Other routes that change with it:"
    assert lines[4] == "  ! team-b/game is not accepted"
    assert len([line for line in lines if line.startswith("  ! ")]) == 1


def test_a_reload_is_told_with_its_reasons_and_what_it_costs(ask: Any) -> None:
    world = installed(sockets={"team-a/chat": 1})
    code, lines, _ = ask(world, balancer(listeners=(LISTENER, {"name": "two", "port": 8090, "protocol": "HTTP"})))
    assert code == GOOD
    assert lines[1:] == [
        "  nginx is reloaded, in one pod after another: ListenerAdded (spec.listeners[two]).",
        "  Open sockets stay with the workers that have them. Those still open after 1h, the drainTimeout, are closed.",
    ]


def test_a_listener_more_harms_nobody(ask: Any) -> None:
    """What is new of many routes is told of some, those that are harmed first."""
    world = installed()
    world.put(*(route(f"r{number:02}") for number in range(30)))
    two = LISTENER, {"name": "two", "port": 8090, "protocol": "HTTP"}
    code, lines, _ = ask(world, balancer(listeners=two))
    assert code == GOOD
    assert lines[4:7] == [
        "Other routes that change with it:",
        "  ~ team-a/r00 ws://r00.example.com:8080/ws changes",
        (
            "      r00.example.com /ws on two: to team-a/chat:80; idle 1h; connect 5s; LeastConnections; "
            "origins own hosts"
        ),
    ]
    assert lines[-1] == "  and 10 more, of which 0 are harmed; -o json has them all"
    world.put(balancer(listeners=two))
    world.put(route("r29", listeners=["two"]))
    code, lines, _ = ask(world, balancer())
    assert code == HARM
    assert lines[4] == "Other routes that change with it:"
    assert lines[5].startswith("  ! team-a/r00 ")
    assert "      r00.example.com /ws on two: 404 no-route" in lines


def test_a_reload_that_has_to_wait(ask: Any) -> None:
    world = installed()
    world.put({**balancer(), "status": {"sockets": 1, "draining": {"generations": 3}}})
    _, lines, _ = ask(world, balancer(nginx={"workerProcesses": 2}))
    assert lines[-1].startswith("  It has to wait: 3 generations of old workers hold sockets already")


def test_static_routes_are_a_reload(ask: Any) -> None:
    world = installed()
    world.put(balancer(dataPlane="Static"), route("chat"))
    code, lines, _ = ask(world, route("chat", timeouts={"idle": "10m"}), route("new"))
    assert code == GOOD
    assert lines[1] == (
        "  nginx is reloaded, in one pod after another: Routes (WebSocketRoute team-a/chat), "
        "Routes (WebSocketRoute team-a/new)."
    )


def test_a_restart_closes_sockets(ask: Any) -> None:
    world = installed()
    restarting = balancer(dataPlane="Static", reload={"strategy": "Restart"})
    world.put({**restarting, "status": {"sockets": 5}})
    code, lines, _ = ask(world, route("new"))
    assert code == HARM
    assert lines[1].startswith(
        "  ! Its pods are replaced (Routes (WebSocketRoute team-a/new)): that closes the sockets"
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (deployment(image="nginx:2"), "all of its pods are replaced"),
        (deployment(replicas=1), "1 of its 2 pods end"),
        (deployment(replicas=3), ""),
        (deployment(), ""),
    ],
)
def test_the_balancer_s_deployment(ask: Any, change: Json, words: str) -> None:
    code, lines, _ = ask(installed(sockets={"team-a/chat": 1}), change)
    if words:
        assert code == HARM
        assert lines[1] == "  No reload: nothing changes in its nginx.conf."
        assert lines[2].startswith(f"  ! Of its Deployment {words}: that closes the sockets there")
    else:
        assert (code, lines) == (GOOD, ["Nothing changes for any route or balancer."])


def test_what_the_api_server_refuses_is_told_and_the_rest_goes_on(ask: Any) -> None:
    world = installed()
    world.refused["bad"] = 'Warning: old\nThe WebSocketRoute "bad" is invalid: \n* spec.paths[0].path: no'
    code, lines, _ = ask(world, route("bad"), route("new"))
    assert code == HARM
    assert "  + team-a/new ws://new.example.com:8080/ws is new" in lines
    assert lines[-2:] == [
        "What the API server refuses:",
        '  ! WebSocketRoute team-a/bad: The WebSocketRoute "bad" is invalid: * spec.paths[0].path: no',
    ]


def test_a_namespace_that_comes_with_its_routes(ask: Any) -> None:
    """Nobody can be asked about what is in it; it is as young as can be, so that it takes nobody's host."""
    world = installed()
    world.put(route("chat"))
    new = made("Namespace", "team-c"), *service("chat", namespace="team-c")
    fresh, taken = (
        route(name, namespace="team-c", host=f"{host}.example.com") for name, host in (("a", "c"), ("b", "chat"))
    )
    code, lines, _ = ask(world, *new, fresh, taken)
    assert code == HARM
    assert "  + team-c/a ws://c.example.com:8080/ws is new, and has no endpoint" in lines
    assert "  ! team-c/b is not accepted" in lines
    assert not any("refuses" in line for line in lines)


def test_the_first_balancer_of_a_namespace(ask: Any) -> None:
    world = installed()
    code, lines, _ = ask(world, balancer(name="second", deploymentRef={"name": "none"}))
    assert code == HARM
    assert lines[:2] == ["Balancer wsroute-system/second (Dynamic): 0 pods ready, 0 open sockets", "  + It is new."]
    assert lines[2].startswith("  ! spec.deploymentRef: There is no Deployment none")


def test_a_balancer_that_goes(ask: Any) -> None:
    world = installed()
    world.put(route("chat"))
    code, lines, _ = ask(world, balancer(), delete=True)
    assert code == HARM
    assert lines[1].startswith("  ! It would be gone: its pods go on with what they serve")
    assert lines[4] == "  ! team-a/chat is not accepted"


def test_namespaces_that_the_operator_does_not_watch(ask: Any) -> None:
    world = installed()
    world.put(operator(f"--default-balancer={SYSTEM}/shared", "--watch-namespace=team-b"), route("chat"))
    _, lines, err = ask(world, route("chat"), route("other", namespace="team-b"))
    assert [line for line in lines if "team-a" in line] == []
    assert "  + team-b/other ws://other.example.com:8080/ws is new" in lines
    assert err == "The operator does not watch the namespace team-a: it would not serve team-a/chat.\n"


def test_without_the_right_to_look_into_pods_and_at_nodes(ask: Any) -> None:
    world = installed(sockets={"team-a/chat": 1})
    world.put(route("chat"))
    world.forbidden.update({"exec", "Node"})
    code, lines, err = ask(world, route("chat"), delete=True)
    assert code == GOOD
    assert lines[0].endswith("2 open sockets")
    assert lines[4:] == ["  - team-a/chat is gone", "      chat.example.com /ws: 404 no-route"]
    assert err.startswith("You may not list nodes:")


def test_without_the_right_to_list_routes(ask: Any) -> None:
    world = installed()
    world.forbidden.add("WebSocketRoute")
    code, lines, err = ask(world, route("chat"))
    assert (code, lines) == (UNUSABLE, [])
    assert "WebSocketRoute" in err


def test_files_without_anything_of_ours(ask: Any) -> None:
    code, _, err = ask(installed(), made("Secret", "s", "team-a"))
    assert code == UNUSABLE
    assert err.startswith("These files hold nothing that wsroute looks at, which is: ConfigMap, Deployment, ")


def test_the_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    text = io.TextIOWrapper(io.BytesIO(json.dumps(route("new")).encode()))
    monkeypatch.setattr("sys.stdin", text)
    assert plan(installed(), [Path("-")], delete=False, server_side=True, as_json=True) == GOOD
    told = json.loads(capsys.readouterr().out)
    assert not told["harms"]
    assert told["balancers"] == [
        {
            "balancer": "wsroute-system/shared",
            "sockets": 0,
            "valid": True,
            "problems": [],
            "reload": [],
            "rollout": "",
            "beside": [],
            "closesSockets": False,
        }
    ]
    [found] = told["routes"]
    [path] = found.pop("paths")
    assert found == {
        "route": "team-a/new",
        "named": True,
        "effect": "added",
        "harmed": False,
        "accepted": True,
        "endpoints": 2,
        "problems": [],
        "sockets": None,
    }
    assert (path["host"], path["path"], path["match"], path["listeners"]) == (
        "new.example.com",
        "/ws",
        "Prefix",
        ["ws"],
    )
    assert path["before"] == ["404 no-route"]
    assert path["after"][0] == "to team-a/chat:80"


def test_many_paths_are_counted(ask: Any) -> None:
    paths = [{"path": f"/p{number:02}", "backends": [{"service": "chat", "port": 80}]} for number in range(12)]
    _, lines, _ = ask(installed(), route("new", paths=paths))
    assert lines[-1] == "      and 4 more"
    assert len(lines) == 5 + 8 + 1
