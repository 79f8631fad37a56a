"""An administrator's main template (``spec.nginx.templateRef``): where it stands, and whether nginx refused it. Pure.

The shipped template is its backup. What nginx refused once is not tried again until the template's text changes: a
refusal is remembered by the text's digest, and so holds for whoever leads.
"""

import re
from collections.abc import Mapping
from typing import Final

from wsroute.api.balancer import TemplateRef
from wsroute.api.conditions import Problem, Reason
from wsroute.cluster.balancer_state import RefusedTemplate
from wsroute.cluster.objects import ConfigMap, Key
from wsroute.cluster.quarantine import clean_words
from wsroute.dataplane import names
from wsroute.dataplane.acknowledgement import Failure
from wsroute.dataplane.bundle import digest
from wsroute.graph.model import BalancerNode

FIELD: Final = "spec.nginx.templateRef"

KEYS_SHOWN: Final = 5


def find_main_template(node: BalancerNode, config_maps: Mapping[Key, ConfigMap]) -> str | Problem | None:
    """The text that a balancer's reference names, why there is none, or None where the shipped template is meant.

    Only labelled ConfigMaps are followed: the others of the namespace are nobody's business here.
    """
    reference = node.spec.nginx.template_ref if node.spec is not None else None
    if reference is None:
        return None
    found = config_maps.get(Key(node.key.namespace, reference.config_map))
    labels = {} if found is None else found.labels
    own = (labels.get(names.BALANCER_LABEL), labels.get(names.ROLE_LABEL))
    if found is None or own != (node.key.name, names.ROLE_TEMPLATE):
        return Problem(Reason.TEMPLATE_NOT_FOUND, f"{FIELD}.configMap", _not_labelled(node.key, reference))
    text = found.data.get(reference.key)
    if text is None:
        there = ", ".join(sorted(found.data)[:KEYS_SHOWN]) or "no keys"
        message = f"The ConfigMap {found.meta.key} has no key {reference.key} in its data, but {there}."
        return Problem(Reason.TEMPLATE_NOT_FOUND, f"{FIELD}.key", message)
    return text


def _not_labelled(balancer: Key, reference: TemplateRef) -> str:
    labels = f"{names.BALANCER_LABEL}={balancer.name} {names.ROLE_LABEL}={names.ROLE_TEMPLATE}"
    return (
        f"There is no ConfigMap {reference.config_map} in the namespace {balancer.namespace} that is labelled as a "
        f"template of this balancer. Make it, or label it: kubectl -n {balancer.namespace} label configmap "
        f"{reference.config_map} {labels}."
    )


def still_refused(known: RefusedTemplate | None, text: str | None) -> RefusedTemplate | None:
    """What is remembered, for as long as it speaks of the present template: None once that, or the reference, is
    another one."""
    return known if known is not None and text is not None and digest(text.encode()) == known.digest else None


def blamed(failure: Failure | None, text: str | None, routes: range) -> RefusedTemplate | None:
    """The template, where a refusal of a version that was made with it is the template's fault.

    ``routes`` are the lines of the version's routes: what nginx blames on one of these is a route's fault. All else in
    the file is the template's, or is right with the shipped one.
    """
    if failure is None or text is None:
        return None
    place = re.search(rf"(?:{re.escape(failure.version)}|/nginx)\.conf:([0-9]{{1,9}})", failure.message)
    if place is not None and int(place[1]) in routes:
        return None
    return RefusedTemplate(digest(text.encode()), clean_words(failure.message))


def describe_refused(refused: RefusedTemplate) -> Problem:
    """What to tell of a template that nginx refused."""
    message = (
        f"nginx refused what the template gives, and it is tried again once its text is another one: {refused.message}"
    )
    return Problem(Reason.CONFIG_REJECTED, FIELD, message)


def describe_unusable(why: str) -> Problem:
    """What to tell of a template that gives nothing."""
    return Problem(Reason.TEMPLATE_INVALID, FIELD, f"The template can't be used. {why}")
