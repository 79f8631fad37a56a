"""How kopf is set: what keeps it watching through outages, and what keeps it from doing anything but watching."""

from pathlib import Path
from typing import Any, Final

import kopf

from wsroute.controller.feed import RESOURCES
from wsroute.controller.resync import SELECTORS
from wsroute.kube import connection
from wsroute.kube.backoff import OUTAGE

PREFIX: Final = "wsroute.dev"


def kopf_settings(*, discover: bool = True) -> kopf.OperatorSettings:
    """Fresh settings; kopf changes the object that it is given, so each start gets its own.

    ``discover`` says whether it may watch all Namespaces and definitions of custom resources; else it takes the
    namespaces as it is given them, and the resources as they are when it starts.
    """
    settings = kopf.OperatorSettings()
    settings.scanning.disabled = not discover
    # Endless: with kopf's own eight tries a minute of trouble, or one missing right, ends the operator.
    settings.networking.error_backoffs = OUTAGE
    settings.networking.connect_timeout = 5.0
    settings.networking.request_timeout = 30.0
    # Watches end regularly, beside the inactivity timeout that kopf has by default.
    settings.watching.server_timeout = 300  # whole seconds: the API server takes no others
    settings.watching.client_timeout = 360
    settings.watching.connect_timeout = 5.0
    for kind, selector in SELECTORS.items():
        resource = RESOURCES[kind]
        settings.watching.label_selectors[resource.group, resource.version, resource.plural] = selector
    settings.queueing.error_delays = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
    # We post Events ourselves, and only the leader does.
    settings.posting.enabled = False
    # A stray peering object of another team would pause us; a Lease elects who writes.
    settings.peering.standalone = True
    # Nothing of this is ever written, as no handler keeps state; should one, it must not be in kopf's name.
    settings.persistence.finalizer = f"{PREFIX}/finalizer"
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=PREFIX)
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=PREFIX)
    settings.process.ultimate_exiting_timeout = 30.0
    return settings


def register_login(registry: kopf.OperatorRegistry, kubeconfig: Path | None) -> None:
    """Have kopf log in as our own client does: from the kubeconfig, else by the pod's service account.

    kopf calls it again whenever the API server no longer takes the token, and then needs another one: the projected
    token is read from its file each time.
    """

    async def log_in(**_: Any) -> kopf.ConnectionInfo:
        configuration = connection.in_cluster() if kubeconfig is None else await connection.from_kubeconfig(kubeconfig)
        return await _connection_info(configuration)

    kopf.on.login(id="log-in", registry=registry)(log_in)


async def _connection_info(configuration: Any) -> kopf.ConnectionInfo:
    """What kopf needs of a client's configuration, whose annotations don't hold: it sets them to None at first."""
    await configuration.refresh_api_key_hook(configuration)
    scheme, _, token = str(configuration.api_key.get("BearerToken") or "").partition(" ")
    return kopf.ConnectionInfo(
        server=configuration.host,
        ca_path=configuration.ssl_ca_cert,
        insecure=not configuration.verify_ssl,
        certificate_path=configuration.cert_file,
        private_key_path=configuration.key_file,
        scheme=scheme or None,
        token=token or None,
    )
