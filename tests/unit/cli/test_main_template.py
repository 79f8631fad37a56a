"""A custom main template among manifests: checked, used, and told when it can't be."""

import pytest

from wsroute.cli.manifests import parse_file
from wsroute.cli.offline import Outcome, evaluate
from wsroute.nginx.paths import POD_PATHS
from wsroute.nginx.render import render

BALANCER = """
apiVersion: wsroute.dev/v1alpha1
kind: WebSocketBalancer
metadata: {name: local}
spec:
  dataPlane: Static
  listeners: [{name: ws, port: 8880, protocol: HTTP}]
  nginx: {templateRef: {configMap: custom-main}}
"""

TEMPLATE = """
apiVersion: v1
kind: ConfigMap
metadata: {name: custom-main, labels: {wsroute.dev/balancer: local, wsroute.dev/role: ROLE}}
data:
  nginx.conf.j2: |
    {% extends "nginx.conf.j2" %}
    {% block http %}
    TEXT
    {% endblock %}
"""


def outcome(text: str = "add_header X-Mine yes;", role: str = "template") -> Outcome:
    manifests = f"{BALANCER}---{TEMPLATE.replace('TEXT', text).replace('ROLE', role)}"
    return evaluate(parse_file("all.yaml", manifests))


def file(of: Outcome) -> str:
    return render(of.configuration(ipv6=True), POD_PATHS).text


def test_a_good_template_is_used() -> None:
    good = outcome()
    assert good.findings == ()
    assert "add_header X-Mine yes;" in file(good)


@pytest.mark.parametrize(
    ("text", "role", "words"),
    [
        (
            "{{ nobody }}",
            "template",
            "spec.nginx.templateRef: The template can't be used. Line 3: 'nobody' is undefined.",
        ),
        ("}", "template", 'unexpected "}"'),
        ("pid /tmp/other;", "template", "The directive pid can't be used"),
        ("a b;", "other", "spec.nginx.templateRef.configMap: There is no ConfigMap custom-main"),
    ],
)
def test_one_that_cannot_be_used_is_a_fatal_finding_of_the_balancer(text: str, role: str, words: str) -> None:
    bad = outcome(text, role)
    [finding] = bad.fatal
    assert finding.name == "WebSocketBalancer default/local"
    assert words in finding.text
    assert "log_format wsroute" in file(bad)


def test_other_config_maps_are_nobodys_business() -> None:
    other = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: other}\ndata: {a: b}\n"
    plain = BALANCER.replace("  nginx: {templateRef: {configMap: custom-main}}\n", "")
    assert evaluate(parse_file("all.yaml", f"{plain}---\n{other}")).findings == ()
