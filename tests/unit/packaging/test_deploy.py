"""What the shipped manifests must agree on with themselves."""

from pathlib import Path

import yaml

DEPLOY = Path(__file__).parents[3] / "deploy"


def test_the_start_script_knows_the_grace_period_of_its_pod() -> None:
    deployment = yaml.safe_load((DEPLOY / "balancer" / "deployment.yaml").read_text())
    pod = deployment["spec"]["template"]["spec"]
    [nginx] = [container for container in pod["containers"] if container["name"] == "nginx"]
    environment = {each["name"]: each["value"] for each in nginx["env"]}
    assert environment["WSROUTE_GRACE_PERIOD"] == str(pod["terminationGracePeriodSeconds"])


def test_the_shipped_balancer_says_what_a_reload_may_cost() -> None:
    balancer = yaml.safe_load((DEPLOY / "balancer" / "websocketbalancer.yaml").read_text())
    assert set(balancer["spec"]["reload"]) == {"strategy", "minInterval", "maxDrainingGenerations", "drainTimeout"}
