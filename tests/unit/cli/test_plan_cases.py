"""``wsroute plan`` where the operator does something else than serve what is written, and where kubectl has trouble."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.kubectl_world import (
    LISTENER,
    NAMESPACED,
    SYSTEM,
    KubectlWorld,
    balancer,
    deployment,
    installed,
    made,
    operator,
    route,
    service,
)
from wsroute.cli.plan import GOOD, HARM, UNUSABLE, plan

DEFAULT = f"--default-balancer={SYSTEM}/shared"


# --- what the operator does ---


def remembered(**data: str) -> Any:
    labels = {"wsroute.dev/balancer": "shared", "wsroute.dev/role": "state"}
    return made("ConfigMap", "shared-state", SYSTEM, labels=labels, data={"hosts": "", **data})


@pytest.mark.parametrize("left_out", [False, True])
def test_a_route_that_nginx_refuses_stays_refused_until_it_is_another_one(ask: Any, left_out: bool) -> None:
    world = installed()
    world.put(balancer(dataPlane="Static"), route("chat"))
    meta = world.objects["WebSocketRoute", "team-a", "chat"]["metadata"]
    entry = {"route": "team-a/chat", "uid": meta["uid"], "generation": meta["generation"], "identity": "0" * 16}
    entry |= {"version": "v1", "message": "unknown directive", "leftOut": left_out}
    world.put(remembered(quarantine=json.dumps(entry) + "\n"))
    code, lines, _ = ask(world, service("chat", "10.0.1.9")[1])
    assert code == GOOD, "it is as refused as before"
    code, lines, _ = ask(world, route("chat", timeouts={"idle": "10m"}))
    assert code == GOOD, "nobody knows that it is refused again"
    was = "404 no-route" if left_out else "refused, route-invalid"
    assert was not in "\n".join(lines)
    code, lines, _ = ask(world, route("chat"))
    assert code == HARM
    assert "      nginx refuses it as it is: unknown directive" in lines


def test_a_template_that_nginx_refused_is_not_tried_again(ask: Any) -> None:
    world = installed()
    digest = "185f8db32271fe25f561a6fc938b2e264306ec304eda518007d1764826381969"  # of "Hello"
    labels = {"wsroute.dev/balancer": "shared", "wsroute.dev/role": "template"}
    world.put(made("ConfigMap", "own", SYSTEM, labels=labels, data={"nginx.conf.j2": "Hello"}))
    world.put(remembered(template=json.dumps({"digest": digest, "message": "no http block"}) + "\n"))
    code, lines, _ = ask(world, balancer(nginx={"templateRef": {"configMap": "own"}}))
    assert code == HARM
    assert lines[1] == "  No reload: what changes is live within milliseconds, and nginx closes no open socket."
    assert lines[2].startswith("  ! spec.nginx.templateRef: nginx refused what the template gives")


def test_a_host_that_the_same_change_gives_up_is_on_hold(ask: Any) -> None:
    world = installed()
    world.put(route("chat", namespace="team-b"))
    moved = route("chat", namespace="team-b", host="elsewhere.example.com")
    code, lines, _ = ask(world, moved, route("mine", host="chat.example.com"))
    assert code == HARM
    assert "  ! team-a/mine is not accepted" in lines


def test_other_certificates_of_a_static_balancer_are_a_reload(ask: Any) -> None:
    def https(secret: str) -> Any:
        tls = {"certificates": [{"secretName": secret}]}
        return balancer(dataPlane="Static", listeners=({**LISTENER, "protocol": "HTTPS", "tls": tls},))

    world = installed()
    world.put(https("old"))
    assert "Certificates (spec.listeners[ws].tls)" in ask(world, https("new"))[1][1]


def test_a_balancer_that_is_not_valid_serves_on_and_so_do_its_routes(ask: Any) -> None:
    world = installed(sockets={"team-a/chat": 1})
    world.put(route("chat"))
    code, lines, _ = ask(world, balancer(listeners=({**LISTENER, "port": 80},)), route("new"))
    assert code == HARM
    assert lines[1] == "  ! It would not be valid, and its pods would keep what they serve:"
    assert "    the pods go on with it as it is now" in [line[2:] for line in lines]
    assert not any("404" in line for line in lines)


def test_a_balancer_that_is_valid_again(ask: Any) -> None:
    world = installed()
    world.put(balancer(listeners=({**LISTENER, "port": 80},)))
    _, lines, _ = ask(world, balancer())
    assert lines[1].startswith("  It would be valid again: what its pods serve now is unknown here")


def test_the_pods_of_another_deployment(ask: Any) -> None:
    world = installed()
    other = deployment()
    other["metadata"]["name"] = "other"
    _, lines, _ = ask(world, other, balancer(deploymentRef={"name": "other"}))
    assert "  ! It would have the pods of another Deployment: the former ones go on with what they serve." in lines


def test_the_service_of_the_balancer_goes(ask: Any) -> None:
    world = installed()
    entry = made("Service", "entry", SYSTEM, spec={"ports": [{"port": 80, "targetPort": 8080}]})
    world.put(entry, balancer(serviceRef={"name": "entry"}))
    code, lines, _ = ask(world, entry, delete=True)
    assert code == HARM
    assert lines[2].startswith("  ! spec.serviceRef: There is no Service entry in the balancer's namespace")


def test_the_sockets_of_a_namespace_that_goes_end_with_its_pods(ask: Any) -> None:
    world = installed(sockets={"team-a/chat": 1})
    world.put(route("chat"))
    code, lines, _ = ask(world, made("Namespace", "team-a"), delete=True)
    assert code == HARM
    assert lines[-1] == "      ! 2 open sockets end with the pods of the namespace"


def test_routes_that_are_held_are_told(ask: Any) -> None:
    world = installed()
    held = {"type": "Programmed", "status": "False", "reason": "RoutesHeld", "message": "The definition is gone."}
    world.put({**balancer(), "status": {"sockets": 1, "conditions": [held]}})
    assert ask(world, route("new"))[1][1] == "  ! Now: The definition is gone."


@pytest.mark.parametrize(
    "status", [None, [], {"sockets": "many", "draining": None}, {"sockets": True, "conditions": {}}]
)
def test_a_status_of_a_strange_hand(ask: Any, status: Any) -> None:
    world = installed()
    world.put({**balancer(), "status": status})
    assert ask(world, route("new"))[1][0].endswith(" 0 open sockets")


def test_a_deployment_of_an_application(ask: Any) -> None:
    app = deployment()
    app["metadata"] = {"name": "chat", "namespace": "team-a"}
    world = installed()
    world.put(app)
    code, lines, err = ask(world, app, delete=True)
    assert (code, lines) == (GOOD, ["Nothing changes for any route or balancer."])
    assert err.startswith("The pods of the Deployment team-a/chat may come and go with it, and endpoints with them")


def test_of_the_balancer_s_own_deployment_all_is_foretold(ask: Any) -> None:
    assert ask(installed(), deployment(), operator(DEFAULT)) == (
        GOOD,
        ["Nothing changes for any route or balancer."],
        "",
    )


def test_a_new_service_has_no_pods_yet(ask: Any) -> None:
    _, lines, err = ask(installed(), service("fresh")[0], route("new", service="fresh"))
    assert "  + team-a/new ws://new.example.com:8080/ws is new, and has no endpoint" in lines
    assert err.startswith("The Service team-a/fresh is new: it is told to have no endpoint")


@pytest.mark.parametrize(
    ("change", "effect"),
    [({"replicas": None}, ""), ({"template": {}, "paused": True}, ""), ({"replicas": 0}, "2 of its 2 pods end")],
)
def test_deployments_of_all_kinds(ask: Any, change: Any, effect: str) -> None:
    changed = deployment()
    changed["spec"] |= change
    if change.get("replicas", 2) is None:
        changed["spec"]["replicas"] = 2
        before = deployment()
        del before["spec"]["replicas"]
        world = installed()
        world.put(before)
    else:
        world = installed()
    lines = ask(world, changed)[1]
    assert any(f"Of its Deployment {effect}:" in line for line in lines) if effect else not any("!" in x for x in lines)


# --- operators ---


def test_the_operator_s_own_options_change(ask: Any) -> None:
    world = installed()
    world.put(route("chat"))
    code, lines, _ = ask(world, operator())
    assert code == HARM
    assert "  ! team-a/chat is not accepted" in lines
    assert any("names no balancer, and the operator has no default one" in line for line in lines)


def test_the_operator_goes(ask: Any) -> None:
    code, _, err = ask(installed(), operator(), delete=True)
    assert code == GOOD
    assert err.startswith("The operator of the namespace wsroute-system would be gone: nothing of this comes to pass")


def test_without_an_operator_in_sight(ask: Any) -> None:
    world = installed()
    del world.objects["Deployment", SYSTEM, "operator"]
    code, lines, err = ask(world, route("new"))
    assert code == GOOD
    assert "  + team-a/new ws://new.example.com:8080/ws is new" in lines
    assert err.startswith("No Deployment of an operator is seen beside a balancer")


def test_an_operator_without_a_default_balancer_serves_no_route_that_names_none(ask: Any) -> None:
    world = installed()
    world.put(operator())
    code, lines, _ = ask(world, route("new"))
    assert code == HARM
    assert "  ! team-a/new is not accepted" in lines


def test_two_operators_each_with_its_own(ask: Any) -> None:
    world = installed()
    world.put(operator(DEFAULT, "--watch-namespace=team-a"))
    second = "other-system"
    shared, deployed, their = (
        balancer(),
        deployment(),
        operator(f"--default-balancer={second}/shared", "--watch-namespace=team-b"),
    )
    for each in (shared, deployed, their):
        each["metadata"]["namespace"] = second
    world.put(made("Namespace", second), shared, deployed, their)
    code, lines, err = ask(world, route("one"), route("two", namespace="team-b"))
    assert (code, err) == (GOOD, "")
    assert "  + team-a/one ws://one.example.com:8080/ws is new" in lines
    assert "  + team-b/two ws://two.example.com:8080/ws is new" in lines
    assert [line for line in lines if line.startswith("Balancer ")] == [
        f"Balancer {namespace}/shared (Dynamic): {pods} pods ready, 0 open sockets"
        for namespace, pods in ((second, 0), (SYSTEM, 2))
    ]


def test_a_balancer_that_nobody_drives(ask: Any) -> None:
    world = installed()
    world.put(made("Namespace", "alone"))
    lone = balancer(name="lone")
    lone["metadata"]["namespace"] = "alone"
    assert ask(world, lone)[2] == (
        "No operator is seen in the namespace alone: nobody drives the balancer alone/lone.\n"
    )


# --- kubectl ---


def test_an_api_server_that_is_away_in_the_middle(ask: Any) -> None:
    world = installed()
    world.refused["new"] = "Unable to connect to the server: dial tcp 10.0.0.1:6443: i/o timeout"
    code, lines, _ = ask(world, route("new"), route("other"))
    assert (code, lines) == (UNUSABLE, [])


def test_what_is_refused_among_many_is_found_in_few_runs(ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = []
    applied = KubectlWorld._applied

    def counted(self: KubectlWorld, items: list[Any]) -> str:
        runs.append(len(items))
        return applied(self, items)

    monkeypatch.setattr(KubectlWorld, "_applied", counted)
    world = installed()
    world.refused["r77"] = "no"
    bad = route("r77")
    del bad["metadata"]["namespace"]
    code, lines, _ = ask(world, *(route(f"r{number}") for number in range(128) if number != 77), bad)
    assert code == HARM
    assert lines[-1] == "  ! WebSocketRoute r77: no"
    assert len([line for line in lines if line.startswith("  + ")]) == 127
    assert len(runs) < 20


def test_a_webhook_that_is_away_refuses_one_object(ask: Any) -> None:
    world = installed()
    world.refused["new"] = (
        'Error from server (InternalError): failed calling webhook "x": dial tcp 10.0.0.1:443: connection refused'
    )
    code, lines, _ = ask(world, route("new"), route("other"))
    assert code == HARM
    assert "  + team-a/other ws://other.example.com:8080/ws is new" in lines
    assert "What the API server refuses:" in lines


@pytest.mark.parametrize("kind", sorted(NAMESPACED | {"Namespace"}))
def test_a_missing_right_is_told_with_what_to_ask_for(ask: Any, kind: str) -> None:
    world = installed()
    world.forbidden.add(kind)
    code, lines, err = ask(world, route("new"))
    assert (code, lines) == (UNUSABLE, [])
    assert kind in err
    assert "ask who administers the cluster for the right to list websocketroutes" in err


def ask_for(world: KubectlWorld, text: str, tmp_path: Path) -> int:
    path = tmp_path / "change.yaml"
    path.write_text(text)
    return plan(world, [path], delete=False, server_side=False, as_json=False)


def test_lists_within_lists_and_lists_of_a_kind(ask: Any) -> None:
    inner = {"apiVersion": "wsroute.dev/v1alpha1", "kind": "WebSocketRouteList", "items": [route("b")]}
    _, lines, _ = ask(installed(), {"apiVersion": "v1", "kind": "List", "items": [route("a"), inner]})
    assert [line.split()[1] for line in lines if line.startswith("  + ")] == ["team-a/a", "team-a/b"]


def test_of_several_documents_of_one_object_the_last_one_counts(ask: Any) -> None:
    _, lines, _ = ask(installed(), route("a"), route("a", host="b.example.com"))
    assert [line for line in lines if line.startswith("  + ")] == ["  + team-a/a ws://b.example.com:8080/ws is new"]


def test_a_time_without_quotes_is_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body = json.dumps(route("new")).replace(
        '"metadata": {', '"metadata": {"annotations": {"at": 2026-01-01T00:00:00Z}, '
    )
    assert ask_for(installed(), body, tmp_path) == GOOD
    assert "team-a/new" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("meta", "words"),
    [
        ("{generateName: a-}", "metadata.name is missing; give the WebSocketRoute a name."),
        ("{name: a, namespace: [x]}", "metadata.namespace is no text"),
        ("{name: a, annotations: {b: !!binary aGk=}}", "hold what JSON has no word for"),
    ],
)
def test_manifests_that_are_none(meta: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = f"{{apiVersion: wsroute.dev/v1alpha1, kind: WebSocketRoute, metadata: {meta}}}"
    assert ask_for(installed(), text, tmp_path) == UNUSABLE
    assert words in capsys.readouterr().err


def test_objects_that_are_none_and_namespaces_of_another_kind_are_passed_over(ask: Any) -> None:
    world = installed()
    for number, strange in enumerate(({"name": 5}, {"namespace": "team-a"}, {"name": "x", "namespace": ["y"]})):
        world.objects["Service", "team-a", f"strange-{number}"] = {"kind": "Service", "metadata": strange}
    assert ask(world, route("new"))[0] == GOOD


def test_an_answer_that_is_no_object(ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KubectlWorld, "_applied", lambda *_: "[]")
    code, _, err = ask(installed(), route("new"))
    assert code == UNUSABLE
    assert err == "kubectl prints something else than objects of Kubernetes.\n"


def test_nothing_that_a_terminal_would_obey_is_printed(ask: Any) -> None:
    world = installed()
    world.refused["\x1b[2J"] = "no\x1b]0;"
    code, lines, err = ask(world, route("\x1b[2J"), route("new"))
    assert code == HARM
    assert "\x1b" not in "".join(lines) + err
