"""The tables of handshakes, against the model of the Dynamic data plane's check."""

import pytest

from tests.support.handshakes import ORIGIN_CASES, OriginCase
from wsroute.dataplane.origin import origin_allowed


@pytest.mark.parametrize("case", [case for case in ORIGIN_CASES if case.rules.policy == "Enforce"], ids=repr)
def test_origins(case: OriginCase) -> None:
    rules = case.rules
    allowed = origin_allowed(
        case.origin or "", own_hosts=rules.own_hosts, allow=rules.allow, require_header=rules.require_header
    )
    assert allowed is case.passes
