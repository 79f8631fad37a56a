"""`make demo`: the chat of `examples/chat` in a browser, through a balancer that the operator configures.

With ``CLUSTER=local`` (the default) on a real local cluster that this starts, with ``CLUSTER=current`` on the cluster
that ``KUBECONFIG`` names, and where neither is possible with `wsroute standalone`, which it says in capitals.
"""

import argparse
import base64
import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from localcluster import api, install
from localcluster.authority import DemoAuthority
from localcluster.errors import ClusterError
from localcluster.paths import REPOSITORY, state_root
from localcluster.progress import say, step

NAMESPACE = "chat-demo"
HOST = "chat.localhost"
"""Browsers take every name below localhost to the loopback address (RFC 6761)."""

PORT = int(os.environ.get("PORT", "8880"))
TLS_PORT = int(os.environ.get("TLS_PORT", "8843"))
CLUSTER_NAME = "demo"

PUBLIC_PORTS: install.Patches = {
    "WebSocketBalancer": [
        {"op": "replace", "path": f"/spec/listeners/{index}/public/port", "value": port}
        for index, port in enumerate((PORT, TLS_PORT))
    ]
}
"""Clients come through relays, so their ports are the ones that URLs have to name."""

SECOND_HOST = "talk.localhost"
CERTIFIED = (HOST, SECOND_HOST, "echo.localhost")
"""The hosts of the demo's certificate; the last one is the README's."""

TWO_HOSTS = json.dumps({"spec": {"hosts": [HOST, SECOND_HOST]}})


def experiments(choice: str) -> tuple[tuple[str, str], ...]:
    """What to try while the chat stays connected: what it shows, and the command. ``choice`` is CLUSTER's."""
    return (
        (
            "another chat server: new tabs may land there, open ones stay",
            f"kubectl -n {NAMESPACE} scale deployment/chat --replicas=2",
        ),
        (
            f"another address: http://{SECOND_HOST}:{PORT}/ works at once",
            f"kubectl -n {NAMESPACE} patch wsr chat --type=merge -p '{TWO_HOSTS}'",
        ),
        (
            "another certificate: new tabs over https get it, open ones stay",
            "make demo-certificate" + (" CLUSTER=current" if choice == "current" else ""),
        ),
    )


def main() -> int:
    """Start the demo, or stop it."""
    parser = argparse.ArgumentParser(prog="make demo")
    parser.add_argument("--down", action="store_true", help="stop what the demo started")
    parser.add_argument("--certificate", action="store_true", help="give the balancer of the demo a new certificate")
    arguments = parser.parse_args()
    choice = os.environ.get("CLUSTER", "local")
    try:
        if arguments.down:
            down(choice)
        elif arguments.certificate:
            certify(api.current() if choice == "current" else api.get(CLUSTER_NAME))
            say("The balancer has a new certificate.")
        elif choice == "current":
            on_current_cluster()
        elif choice == "local" and sys.platform == "linux" and os.geteuid() == 0 and shutil.which("apt-get"):
            on_local_cluster()
        elif choice in ("local", "none"):
            standalone("the local cluster needs root on Debian" if choice == "local" else "CLUSTER=none")
        else:
            raise ClusterError(f"CLUSTER={choice} is not known: take local, current or none.")
    except ClusterError as error:
        say(f"\n{error}")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def down(choice: str) -> None:
    """Stop the local cluster, or take the demo's namespace off the current one."""
    if choice == "current":
        api.current().kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found")
    else:
        api.down(CLUSTER_NAME)


def on_local_cluster() -> None:
    """Everything on this machine; ends with the chat's address, and leaves it running."""
    say("wsroute demo: a real Kubernetes on this machine (the first time it is built, which takes some minutes)")
    cluster = api.up(CLUSTER_NAME)
    with step("Installing the operator and a balancer of two pods"):
        install.install_locally(cluster, install.WSS, PUBLIC_PORTS)
        authority = certify(cluster)
    with step("Deploying the chat and its WebSocketRoute"):
        deploy_chat(cluster, install.LOCAL_IMAGES)
    with step("Waiting until it all serves"):
        wait_for_chat(cluster)
        address = cluster.kubectl(
            *("-n", install.NAMESPACE, "get", "service", f"{install.BALANCER}-balancer"),
            *("-o", "jsonpath={.spec.clusterIP}"),
        )
        for port, own in ((80, PORT), (443, TLS_PORT)):
            cluster.relay(f"{address}:{port}", listen=f"127.0.0.1:{own}")
        wait_for_pages(authority)
    show(cluster, authority)
    say("It goes on running. Look around with:")
    say(f"  export KUBECONFIG={cluster.kubeconfig} PATH={Path(cluster.program).parent}:$PATH")
    say("  kubectl get wsr,wsb -A")
    propose("local")
    say("Stop it with: make demo-down")


def on_current_cluster() -> None:
    """On the cluster that KUBECONFIG names, with images that it can pull; ends when it is interrupted."""
    cluster = api.current()
    images = install.pulled_images()
    with step("Installing the operator and a balancer of two pods"):
        install.install_operator(cluster, images)
        install.install_balancer(cluster, images, install.WSS)
        authority = certify(cluster)
    with step("Deploying the chat and its WebSocketRoute"):
        deploy_chat(cluster, images)
    with step("Waiting until it all serves"):
        wait_for_chat(cluster)
    command = ["port-forward", "-n", install.NAMESPACE, f"service/{install.BALANCER}-balancer"]
    ports = [f"{PORT}:80", f"{TLS_PORT}:443"]
    with subprocess.Popen([cluster.program, *command, *ports], env=cluster.environment()) as forward:
        try:
            wait_for_pages(authority)
            show(cluster, authority)
            propose("current")
            say("Stop it with Ctrl-C; take it off the cluster with: make demo-down CLUSTER=current")
            forward.wait()
        finally:
            forward.terminate()


def deploy_chat(cluster: install.Kubectl, images: Mapping[str, str]) -> None:
    """The chat in a namespace of its own, with the demo's host."""
    namespace = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": NAMESPACE,
            "labels": {
                "wsroute.dev/balancer": install.BALANCER,
                "pod-security.kubernetes.io/enforce": "restricted",
            },
        },
    }
    install.apply(cluster, json.dumps(namespace))
    install.apply(cluster, install.render(cluster, "examples/chat/manifests", images=images, namespace=NAMESPACE))
    patch = json.dumps({"spec": {"hosts": [HOST]}})
    cluster.kubectl("-n", NAMESPACE, "patch", "websocketroute", "chat", "--type=merge", "-p", patch)


def wait_for_chat(cluster: install.Kubectl) -> None:
    """Until pods run and the route says that it is served."""
    install.wait_until_ready(cluster)
    cluster.kubectl("-n", NAMESPACE, "rollout", "status", "deployment/chat", "--timeout=120s", timeout=150)
    cluster.kubectl(
        "-n", NAMESPACE, "wait", "--for=condition=Ready", "--timeout=60s", "websocketroute/chat", timeout=90
    )


def certify(cluster: install.Kubectl) -> Path:
    """Give the balancer a new certificate for the demo's hosts; returns the file of the authority that issued it.

    A Secret that somebody else made is left alone: ClusterError says so.
    """
    authority = DemoAuthority.open(state_root() / "demo_authority")
    issued = authority.issue(*CERTIFIED)
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": install.CERTIFICATE, "namespace": install.NAMESPACE},
        "type": "kubernetes.io/tls",
        "data": {
            "tls.crt": base64.b64encode(issued.chain).decode(),
            "tls.key": base64.b64encode(issued.key).decode(),
        },
    }
    cluster.kubectl("apply", "--server-side", "-f", "-", input=json.dumps(secret))
    return authority.file


def wait_for_pages(authority: Path) -> None:
    """Until the chat's page is there, in plain and over TLS, as a browser will ask for it."""
    wait_for_page(PORT)
    wait_for_page(TLS_PORT, ssl.create_default_context(cafile=authority))


def wait_for_page(port: int, tls: ssl.SSLContext | None = None) -> None:
    """Until the chat's page is there, as a browser will ask for it."""
    deadline = time.monotonic() + 30
    while (found := look_at_page(port, tls)) != "200":
        if time.monotonic() > deadline:
            raise ClusterError(f"The page does not come on port {port}: {found}.")
        time.sleep(0.1)


def look_at_page(port: int, tls: ssl.SSLContext | None) -> str:
    """The status with which the page comes, or why it does not."""
    try:
        connection = socket.create_connection(("127.0.0.1", port), timeout=5)
        with contextlib.closing(http.client.HTTPConnection(HOST, port)) as client:
            client.sock = connection
            if tls is not None:
                client.sock = tls.wrap_socket(connection, server_hostname=HOST)
            client.request("GET", "/")
            return str(client.getresponse().status)
    except (OSError, http.client.HTTPException) as error:
        return str(error)


def show(cluster: install.Kubectl, authority: Path) -> None:
    """What the operator says, and where to look."""
    say("")
    say(cluster.kubectl("get", "websocketroutes,websocketbalancers", "-A"))
    say(f"The chat: http://{HOST}:{PORT}/   (open it in two tabs)")
    say(f"Over TLS: https://{HOST}:{TLS_PORT}/  (with a wss socket)")
    say("  Your browser does not know who signed that certificate. Let its warning pass, or let it trust the signer,")
    say(f"  who can speak for names below localhost only: {authority}\n")


def propose(choice: str) -> None:
    """What to change while the chat is open."""
    say("Keep the chat open and change what is behind it; the page says since when its socket is open:")
    for what, command in experiments(choice):
        say(f"  {command}\n      # {what}")


def standalone(why: str) -> None:
    """The chat and `wsroute standalone`, both as processes of ours, until they are interrupted."""
    say(f"THIS IS NOT KUBERNETES: {why.upper()}.")
    say("It runs the same renderer and the same nginx with the manifests of examples/chat/standalone.\n")
    chat = subprocess.Popen(
        [sys.executable, "-m", "app", "--host", "127.0.0.1", "--port", "8080"], cwd=REPOSITORY / "examples" / "chat"
    )
    command = [str(Path(sys.executable).parent / "wsroute"), "standalone", str(REPOSITORY / "examples" / "chat")]
    balancer = subprocess.Popen(command)
    try:
        wait_for_page(PORT)
        say(f"\nThe chat: http://{HOST}:{PORT}/   (open it in two tabs; stop it with Ctrl-C)\n")
        balancer.wait()
    finally:
        for process in (balancer, chat):
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            process.wait()


if __name__ == "__main__":
    sys.exit(main())
