"""The sentences about endpoints that do not count."""

from wsroute.graph.left_out import ADVICE, MAX_EXAMPLE, Excluded, LeftOut, explain, explain_not_allowed

EVERYDAY = {LeftOut.NOT_READY, LeftOut.NO_PORT}


def test_what_a_rule_forbids_has_advice_and_what_happens_every_day_has_none() -> None:
    assert set(ADVICE) == set(LeftOut) - EVERYDAY
    assert all(advice.endswith(".") for advice in ADVICE.values())


def test_nothing_to_say() -> None:
    assert explain([]) == ""
    assert explain_not_allowed("chat", [Excluded(why, 1, "10.0.0.1") for why in EVERYDAY]) == ""


def test_one_and_several() -> None:
    excluded = [Excluded(LeftOut.NODE, 1, "172.16.0.1"), Excluded(LeftOut.NOT_READY, 2, "10.0.0.1")]
    assert explain(excluded) == "1 endpoint has the address of a node, 2 endpoints are not ready."
    told = explain_not_allowed("chat", [*excluded, Excluded(LeftOut.CLUSTER_IP, 3, "10.96.0.1")])
    assert told == (
        "Not all endpoints of the Service chat may be used, and these get no socket: 1 endpoint (172.16.0.1) has the "
        "address of a node; 3 endpoints (as 10.96.0.1) have the cluster address of a Service. "
        f"{ADVICE[LeftOut.NODE]} {ADVICE[LeftOut.CLUSTER_IP]}"
    )


def test_every_reason_has_a_plural() -> None:
    for why in LeftOut:
        assert explain([Excluded(why, 2, "x")]).startswith("2 endpoints ")


def test_the_same_advice_is_given_once() -> None:
    excluded = [Excluded(why, 1, "x") for why in (LeftOut.FORBIDDEN_ADDRESS, LeftOut.API_SERVER)]
    told = explain_not_allowed("chat", excluded)
    assert told.count(ADVICE[LeftOut.API_SERVER]) == 1


def test_an_example_is_fit_for_a_terminal() -> None:
    hostile = "\x1b[31m10.0.0.1\n\u202e" + "x" * 1_000
    told = explain_not_allowed("chat", [Excluded(LeftOut.NOT_AN_ADDRESS, 1, hostile)])
    assert told.isprintable()
    assert told.isascii()
    assert "(?[31m10.0.0.1??xxx" in told
    assert "x" * MAX_EXAMPLE not in told


def test_all_reasons_at_once_stay_short() -> None:
    told = explain_not_allowed("x" * 63, [Excluded(why, 10**6, "x" * 1_000) for why in LeftOut])
    assert len(told) < 2_500
