"""Origins: which are good, how they are written in the end, and whose word counts."""

from typing import Any

import pytest

from tests.unit.api.test_models import balancer, route
from wsroute.api.origins import ORIGIN, normalised
from wsroute.api.policies import OriginRules

HOSTS = ("chat.example.com",)


@pytest.mark.parametrize(
    "origin",
    [
        "https://chat.example.com",
        "http://chat.example.com:8080",
        "https://*.example.com",
        "https://*.example.com:8443",
        "http://localhost",
        "http://localhost:3000",
        "http://127.0.0.1:3000",
        "https://xn--bcher-kva.example",
        "https://a.example.com:65535",
        "https://a.example.com:1",
        f"https://*.{'a' * 63}.{'b' * 63}.example",
        "null",
    ],
)
def test_good_origins(origin: str) -> None:
    assert ORIGIN.fault(origin) is None


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("https://a.example.com:443", "https://a.example.com"),
        ("http://a.example.com:80", "http://a.example.com"),
        ("https://a.example.com:80", "https://a.example.com:80"),
        ("http://a.example.com:443", "http://a.example.com:443"),
        ("https://*.example.com:443", "https://*.example.com"),
        ("https://a.example.com:8443", "https://a.example.com:8443"),
        ("http://a.example.com:8080", "http://a.example.com:8080"),
        ("null", "null"),
    ],
)
def test_default_ports_are_left_out_as_browsers_do(written: str, sent: str) -> None:
    assert normalised(written) == sent


@pytest.mark.parametrize(
    ("defaults", "own", "expected"),
    [
        ({}, None, OriginRules("Enforce", HOSTS)),
        ({}, {}, OriginRules("Enforce", HOSTS)),
        ({"policy": "Report"}, None, OriginRules("Report", HOSTS)),
        ({"policy": "Report"}, {"policy": "Off"}, OriginRules("Off", HOSTS)),
        ({"policy": "Off"}, {"requireHeader": True}, OriginRules("Off", HOSTS, require_header=True)),
        ({"requireHeader": True}, {"policy": "Report"}, OriginRules("Report", HOSTS, require_header=True)),
        ({"requireHeader": True}, {"requireHeader": False}, OriginRules("Enforce", HOSTS)),
        ({"allow": ["null"]}, {"policy": "Enforce"}, OriginRules("Enforce", HOSTS, ("null",))),
        ({"allow": ["null"]}, {"allow": []}, OriginRules("Enforce", HOSTS)),
        (
            {"allow": ["null"]},
            {"allow": ["https://b.example.com:443", "https://a.example.com", "https://b.example.com"]},
            OriginRules("Enforce", HOSTS, ("https://a.example.com", "https://b.example.com")),
        ),
    ],
)
def test_rules_in_force(defaults: Any, own: Any, expected: OriginRules) -> None:
    assert route(origins=own).origin_rules(balancer(defaults={"origins": defaults}), HOSTS) == expected
