"""A custom main template can neither leave out nor change what verification and routes need."""

import pytest

from tests.support.configurations import configuration
from tests.support.templates import example_template
from wsroute.nginx.paths import POD_OPTIONS, POD_PATHS
from wsroute.nginx.render import Rendered, render
from wsroute.nginx.sandbox import TemplateRefusedError
from wsroute.nginx.structure import Directive, directives

EXTENDING = '{% extends "nginx.conf.j2" %}\n'
WHOLE = """\
worker_processes  1;
{{ required.main }}
events { worker_connections  64; }
http {
    access_log  off;
    {{ required.http }}
}
"""


def rendered(template: str | None) -> Rendered:
    return render(configuration(main_template=template), POD_PATHS, options=POD_OPTIONS)


def refusal(template: str) -> str:
    with pytest.raises(TemplateRefusedError) as refused:
        rendered(template)
    return str(refused.value)


Entry = tuple[tuple[str, ...], tuple[str, ...]]


def entries(result: Rendered) -> list[Entry]:
    """All directives with the blocks around them; the version is left out."""

    def entry(found: Directive) -> Entry:
        return found.blocks, tuple(word.replace(result.version, "VERSION") for word in found.words)

    return [entry(found) for found in directives(result.text)]


def follow_one_another(part: list[Entry], whole: list[Entry]) -> bool:
    return any(whole[start : start + len(part)] == part for start in range(len(whole)))


@pytest.mark.parametrize(
    "template",
    [
        WHOLE,
        EXTENDING,
        example_template(),
        f"{EXTENDING}{{% block log %}}access_log off;{{% endblock %}}{{% block clients %}}{{% endblock %}}",
        # The order is the author's.
        "http { {{ required.http }} server_tokens off;}events{}worker_processes 1;{{ required.main }}",
        "events{}{{ required.main }}http { # {{ balancer }}\n server_tokens off; {{ required.http }} # more\n}",
    ],
)
def test_all_that_is_required_is_there(template: str) -> None:
    shipped = entries(rendered(None))
    main = [entry for entry in shipped if not entry[0] and entry[1][0] in ("pid", "error_log")]
    http = shipped[[entry[1][0] for entry in shipped].index("client_body_temp_path") :]
    assert len(main) == 3
    assert len(http) > 60
    found = entries(rendered(template))
    assert follow_one_another(main, found)
    assert follow_one_another(http, found)


def test_the_text_of_a_template_is_where_its_author_put_it() -> None:
    text = rendered(WHOLE).text
    assert text.startswith("# nginx.conf of the WebSocketBalancer shared, version ")
    assert "# The main template is a custom one" in text
    assert "# The main template is a custom one" not in rendered(None).text
    assert text.index("    access_log  off;\n\n    # -- Files and sizes") < text.index("upstream team-a_chat_0")
    assert text.endswith("        }\n    }\n}\n")
    assert "wsroute_required" not in text


def test_versions_and_structures_follow_the_template() -> None:
    shipped, whole, other = rendered(None), rendered(WHOLE), rendered(f"{WHOLE}# more\n")
    assert len({shipped.version, whole.version, other.version}) == 3
    assert len({shipped.structure, whole.structure, other.structure}) == 3
    assert f'return 200 "{whole.version}"' in whole.text
    assert rendered(WHOLE) == whole


@pytest.mark.parametrize("template", [None, WHOLE, f"{WHOLE}\n\n# below\n"])
def test_the_lines_of_the_routes_are_known(template: str | None) -> None:
    result = rendered(template)
    lines = result.text.split("\n")
    own = [lines[number - 1] for number in result.lines.routes]
    assert own[1:3] == ["    # team-a/chat", "    upstream team-a_chat_0 {"]
    assert own[-1] == "    }"
    assert lines[result.lines.routes.stop - 1 :][:1] == ["}"]
    assert not any("team-a" in line for line in lines[: result.lines.routes.start - 1])


MISPLACED = {
    "main in a comment": (WHOLE.replace("{{ required.main }}", "# {{ required.main }}"), "required.main }} is missing"),
    "main left out": (WHOLE.replace("{{ required.main }}", ""), "required.main }} is missing"),
    "http left out": (WHOLE.replace("{{ required.http }}", ""), "required.http }} is missing"),
    "http in a comment": (WHOLE.replace("    {{ required.http }}", "# {{ required.http }}"), "is missing"),
    "http in a string": (WHOLE.replace("{{ required.http }}", "set $a '{{ required.http }}';"), "is missing"),
    "http in a server": (
        WHOLE.replace("{{ required.http }}", "server { {{ required.http }} }"),
        "required.http }} stands in the wrong place: write it in http",
    ),
    "http in the main context": ("{{ required.main }}{{ required.http }}http {}", "stands in the wrong place"),
    "http in a stream": ("{{ required.main }}stream { {{ required.http }} }", "stands in the wrong place"),
    "http closed before": (WHOLE.replace("    {{ required.http }}", "} stream { {{ required.http }}"), "wrong place"),
    "http twice": (WHOLE.replace("{{ required.http }}", "{{ required.http }} {{ required.http }}"), "stands 2 times"),
    "main in http": (
        WHOLE.replace("{{ required.main }}", "").replace("access_log", "{{ required.main }} access_log"),
        "wrong",
    ),
    "main as an argument": (
        WHOLE.replace("{{ required.main }}", "env {{ required.main }}"),
        "required.main }} is missing",
    ),
    "main with an argument": (WHOLE.replace("{{ required.main }}", "wsroute_required_main a;"), "wrong place"),
    "a block too much": (WHOLE + "}", 'unexpected "}"'),
    "a block not closed": (WHOLE.replace("events {", "events { {"), "unexpected"),
    "a quote not closed": (WHOLE.replace("off;", '"off;'), "is not closed"),
}


@pytest.mark.parametrize("case", MISPLACED)
def test_what_is_required_counts_only_in_its_place(case: str) -> None:
    template, words = MISPLACED[case]
    assert words in refusal(template)


@pytest.mark.parametrize(
    ("place", "text", "words"),
    [
        ("main", "worker_shutdown_timeout 10s;", "it would close open sockets at a reload"),
        ("main", "master_process off;", "a reload needs nginx's master"),
        ("main", "daemon on;", "start script"),
        ("main", "pid /tmp/other;", "a part of required.main"),
        ("http", "server { listen unix:/run/wsroute/admin.sock default_server; }", "where versions are verified"),
        ("http", "server { listen 'unix:/run/wsroute/refuse.sock'; }", "where versions are verified"),
        ("http", "server { listen 8081; }", "can't listen on 8081"),
        ("http", "server { listen 0.0.0.0:8081; }", "can't listen on 0.0.0.0:8081"),
        ("http", "server { listen [::]:8082 ipv6only=on; }", "can't listen on [::]:8082"),
        ("http", "map $http_upgrade $wsroute_upgrade { default websocket; }", "begins with $wsroute_"),
        ("http", "geo $wsroute_trusted { default yes; }", "begins with $wsroute_"),
        ("http", "server { listen 8080; set $wsroute_route a; }", "begins with $wsroute_"),
    ],
)
def test_what_is_ours_stays_ours(place: str, text: str, words: str) -> None:
    assert words in refusal(f"{EXTENDING}{{% block {place} %}}{text}{{% endblock %}}")


@pytest.mark.parametrize(
    "text",
    [
        "server { listen 8080; server_name a.example.com; }",
        "map $http_upgrade $own { default $wsroute_route; }",
        "log_format own '$wsroute_route'; access_log /dev/stdout own;",
        "set_real_ip_from 10.0.0.0/8;",
    ],
)
def test_the_rest_is_the_administrators(text: str) -> None:
    assert text in rendered(f"{EXTENDING}{{% block log %}}{text}{{% endblock %}}").text
