"""The operator's HTTP server, asked over a socket."""

import aiohttp
import pytest

from wsroute.observability.http import make_app, serving
from wsroute.observability.metrics import Metrics


async def ask(port: int, path: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as answer:
        return answer.status, await answer.text()


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_a_check_answers_ok_or_why_not(path: str) -> None:
    why = ""
    app = make_app(metrics=Metrics(), unhealthy=lambda: why, unready=lambda: why)
    async with serving(app, host="127.0.0.1", port=0) as port:
        assert await ask(port, path) == (200, "ok\n")
        why = "Services were not listed yet."
        assert await ask(port, path) == (503, "Services were not listed yet.\n")


async def test_metrics_are_the_prometheus_text() -> None:
    metrics = Metrics()
    metrics.passes.labels("ok").inc()
    metrics.set_objects({"Service": 3})
    app = make_app(metrics=metrics, unhealthy=str, unready=str)
    async with serving(app, host="127.0.0.1", port=0) as port:
        status, text = await ask(port, "/metrics")
        assert status == 200
        assert 'wsroute_passes_total{outcome="ok"} 1.0' in text
        assert 'wsroute_objects{kind="Service"} 3.0' in text
        assert (await ask(port, "/elsewhere"))[0] == 404


def test_two_operators_in_one_process_share_no_metric() -> None:
    first, second = Metrics(), Metrics()
    first.leader.set(1)
    assert b"wsroute_leader 1.0" in first.render()
    assert b"wsroute_leader 0.0" in second.render()
