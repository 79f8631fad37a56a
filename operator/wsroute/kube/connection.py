"""Where the API server is and who we are: from a pod's service account or from a kubeconfig.

Only this module and the client import ``kubernetes``; of that package they use the configuration and the HTTP layer.
"""

import os
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

import aiohttp
import yaml
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.client.rest import RESTClientObject
from kubernetes.aio.config import ConfigException, load_kube_config

from wsroute.kube.port import KubeError

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod finds its token and the authority's certificate."""

REFRESH: Final = 60.0
"""Seconds after which credentials are read again; the kubelet replaces a token at 80 % of its life, an hour or more."""

_KEEPALIVE: Final = 60.0
"""Seconds for which an idle connection is kept: less than the API server's 90."""


class Connections(RESTClientObject):
    """The session of ``kubernetes.aio``, with its TLS settings, and a connector for many watches beside writes.

    Its request method is not used: it knows neither streams nor compact JSON.
    """

    def session(self) -> aiohttp.ClientSession:
        """The one session; made when it is first needed, since it belongs to the running loop."""
        if self.pool_manager is None:
            self.pool_manager = self._create_pool_manager()
        return self.pool_manager

    def _create_connector(self) -> aiohttp.TCPConnector:
        # Watches hold their connections, so the number of connections says nothing; the client bounds its requests.
        return aiohttp.TCPConnector(limit=0, ssl=self.ssl_context, keepalive_timeout=_KEEPALIVE)


def in_cluster(*, account: Path = SERVICE_ACCOUNT, environment: Mapping[str, str] = os.environ) -> Configuration:
    """The configuration of a pod. Raises KubeError outside of one."""
    host = environment.get("KUBERNETES_SERVICE_HOST", "")
    port = environment.get("KUBERNETES_SERVICE_PORT", "")
    authority = account / "ca.crt"
    if not host or not port:
        raise KubeError("This is no pod: KUBERNETES_SERVICE_HOST is not set. Name a kubeconfig instead.")
    if not authority.is_file():
        raise KubeError(f"There is no {authority}: mount the pod's service account token, or name a kubeconfig.")
    configuration = Configuration(
        host=f"https://{f'[{host}]' if ':' in host else host}:{port}", ssl_ca_cert=str(authority)
    )

    async def read_token(configuration: Configuration) -> None:
        # A small file in memory: reading it does not hold up the loop.
        configuration.api_key["BearerToken"] = f"Bearer {(account / 'token').read_text().strip()}"

    return _refreshed(configuration, read_token)


async def from_kubeconfig(path: Path, *, context: str | None = None) -> Configuration:
    """The configuration that a kubeconfig and one of its contexts give (the current one when none is named).

    Tokens in files and those of exec plugins are renewed. Raises KubeError when the file is not usable.
    """
    configuration = Configuration()
    try:
        loader = await load_kube_config(  # type: ignore[no-untyped-call]
            config_file=str(path), context=context, client_configuration=configuration, persist_config=False
        )
    except yaml.YAMLError:
        # The parser's own words may quote the file, and with it a token.
        raise KubeError(f"The kubeconfig {path} is not usable: it is no YAML.") from None
    except (ConfigException, OSError, ValueError, TypeError, AttributeError) as error:
        raise KubeError(f"The kubeconfig {path} is not usable: {error}") from None
    return _refreshed(configuration, loader.load_and_set, read_at=time.monotonic())


async def authorization(configuration: Configuration) -> dict[str, str]:
    """The header that says who we are, nothing where a client certificate does; reads credentials when it is time."""
    token = await configuration.get_api_key_with_prefix("BearerToken")
    return {"Authorization": token} if token else {}


def _refreshed(
    configuration: Configuration,
    read: Callable[[Configuration], Awaitable[None]],
    *,
    read_at: float = float("-inf"),
) -> Configuration:
    """Have the credentials read again whenever they are older than REFRESH and a request needs them."""

    async def refresh(configuration: Configuration) -> None:
        nonlocal read_at
        if time.monotonic() - read_at >= REFRESH:
            await read(configuration)
            read_at = time.monotonic()

    configuration.refresh_api_key_hook = refresh  # type: ignore[assignment]
    return configuration
