"""The command ``wsroute``. Each subcommand imports its own half of the program, so that the agent stays small."""

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wsroute import __version__

if TYPE_CHECKING:
    from wsroute.cli.kubectl import Kubectl

DEFAULT_RUN = "/run/wsroute"

FILES = click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="wsroute", message="%(prog)s %(version)s")
def main() -> None:
    """Keep WebSockets alive behind a shared nginx balancer."""


@main.command()
@click.option(
    "--default-balancer", metavar="NAMESPACE/NAME", default=None, help="Serves the routes that name no balancer."
)
@click.option(
    "--namespace", envvar="POD_NAMESPACE", required=True, help="Where balancers, their pods and the Lease are."
)
@click.option(
    "--watch-namespace",
    "watched",
    metavar="NAMESPACE",
    multiple=True,
    help="Serve routes of this namespace, and of no other but --namespace. May be given several times; without it the "
    "routes of all namespaces are served.",
)
@click.option("--identity", envvar="POD_NAME", required=True, help="Name of this replica.")
@click.option("--log-format", envvar="WSROUTE_LOG", type=click.Choice(["plain", "json"]), default="plain")
def operator(
    default_balancer: str | None, namespace: str, watched: tuple[str, ...], identity: str, log_format: str
) -> None:
    """Watch the routes of this cluster and drive its balancers. Runs in a pod."""
    from wsroute.api.values import DNS_LABEL
    from wsroute.cluster.objects import Key
    from wsroute.controller.runtime import OperatorConfig, run
    from wsroute.observability.logs import set_up

    set_up(form="json" if log_format == "json" else "plain")
    balancer = None
    if default_balancer is not None:
        owner, slash, name = default_balancer.partition("/")
        if not (owner and slash and name):
            raise click.BadParameter("write it as NAMESPACE/NAME", param_hint="--default-balancer")
        balancer = Key(owner, name)
    for name in watched:
        if DNS_LABEL.fault(name) is not None:
            raise click.BadParameter(f"{name!r} is not the name of a namespace", param_hint="--watch-namespace")
    config = OperatorConfig(
        namespaces=(namespace,),
        watched=watched,
        default_balancer=balancer,
        lease_namespace=namespace,
        lease_name="wsroute-operator",
        identity=f"{identity}_{os.urandom(4).hex()}",
    )
    asyncio.run(run(config))


@main.command()
@click.option("--log-format", envvar="WSROUTE_LOG", type=click.Choice(["plain", "json"]), default="plain")
def agent(log_format: str) -> None:
    """Bring versions to the nginx beside this process. Runs in a balancer's pod."""
    from wsroute.agent.runtime import ConfigError, config_from_environment, run
    from wsroute.kube.client import KubeClient
    from wsroute.observability.logs import set_up

    set_up(form="json" if log_format == "json" else "plain")
    try:
        config = config_from_environment(os.environ)
    except ConfigError as error:
        raise click.ClickException(str(error)) from error

    async def work() -> None:
        client = KubeClient.in_cluster()
        try:
            await run(config, client)
        finally:
            await client.close()

    asyncio.run(work())


@main.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False, exists=True))
def prepare(folder: Path) -> None:
    """Put the start script and the first configuration into FOLDER: a balancer pod's init container."""
    from wsroute.cli.prepare import prepare as run

    sys.exit(run(folder))


@main.command()
@FILES
def check(files: tuple[Path, ...]) -> None:
    """Print the problems of manifests (files or folders).

    Exit code 0: none. 1: there are problems. 2: a file can't be read as manifests.
    """
    from wsroute.cli.oneshot import check as run

    sys.exit(run(files))


@main.command()
@FILES
def render(files: tuple[Path, ...]) -> None:
    """Print the nginx.conf that manifests give (with a WebSocketBalancer among them), and their problems to stderr.

    Exit code 0: no problems. 1: some routes have problems, the others are rendered. 2: there is nothing to render.
    """
    from wsroute.cli.oneshot import render as run

    sys.exit(run(files))


@main.command()
@click.option("--sockets", is_flag=True, help="With each open socket.")
@click.option(
    "--run", "folder", type=click.Path(path_type=Path), default=DEFAULT_RUN, help="The folder of nginx's side."
)
def table(sockets: bool, folder: Path) -> None:
    """Print what the nginx of this pod serves, as lines of JSON; `wsroute routes` reads them. Runs in a balancer's pod,
    in the container of the agent."""
    from wsroute.cli.dump import run

    sys.exit(run(folder, sockets=sockets))


def of_a_cluster(command: Callable[..., None]) -> Callable[..., None]:
    """The options of the commands that run kubectl."""
    for decorate in (
        click.option("--kubeconfig", default=None, help="The file that kubectl is to use."),
        click.option("--context", default=None, help="The context in it."),
        click.option("--as", "user", default=None, help="Do it as this user."),
        click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text"),
    ):
        command = decorate(command)
    return command


def of_a_balancer(command: Callable[..., None]) -> Callable[..., None]:
    """The options of the commands that read a balancer's pods."""
    for decorate in (
        of_a_cluster,
        click.option("--pod", default=None, help="This pod only."),
        click.option("-n", "--namespace", default=None, help="The balancer's; without it all are searched."),
        click.argument("balancer", required=False),
    ):
        command = decorate(command)
    return command


def of_a_route(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say which routes of a balancer."""
    command = click.option("--route", default=None, metavar="NAMESPACE/NAME", help="This WebSocketRoute only.")(command)
    return click.option("--host", default=None, help="Only what takes requests for this host.")(command)


def _kubectl(context: str | None, kubeconfig: str | None, user: str | None) -> "Kubectl":
    from wsroute.cli.kubectl import Kubectl

    options = {"--context": context, "--kubeconfig": kubeconfig, "--as": user}
    return Kubectl(tuple(f"{name}={value}" for name, value in options.items() if value is not None))


@main.command()
@click.option("--sockets", is_flag=True, help="Each open socket instead: the same as `wsroute sockets`.")
@of_a_route
@of_a_balancer
def routes(
    sockets: bool, output: str, context: str | None, kubeconfig: str | None, user: str | None, **asked: str | None
) -> None:
    """Print the routes that the pods of a BALANCER serve now, with their endpoints and how many sockets these hold.

    It asks the running pods, through `kubectl exec`. What a pod serves in another way than the others, or than what is
    published, goes to stderr. Exit code 2: nothing could be read.
    """
    from wsroute.cli import routes as view

    show = view.sockets if sockets else view.routes
    sys.exit(show(_kubectl(context, kubeconfig, user), view.Asked(**asked), as_json=output == "json"))


@main.command()
@of_a_route
@of_a_balancer
def sockets(output: str, context: str | None, kubeconfig: str | None, user: str | None, **asked: str | None) -> None:
    """Print each open socket of a BALANCER: its age, the client's address, the endpoint, the route, pod and worker.

    Exit code 2: nothing could be read.
    """
    from wsroute.cli import routes as view

    sys.exit(view.sockets(_kubectl(context, kubeconfig, user), view.Asked(**asked), as_json=output == "json"))


@main.command()
@click.argument("url")
@click.option("--listener", default=None, help="The one that accepts the request; else the URL says which.")
@click.option("--origin", default=None, help="The header Origin, as a browser sends it.")
@click.option("-H", "--header", "headers", metavar="NAME:VALUE", multiple=True, help="A header of the request.")
@click.option("--client", default="127.0.0.1", help="The client's address.")
@click.option("--plain", is_flag=True, help="Plain HTTP in place of a handshake.")
@of_a_balancer
def explain(
    url: str,
    listener: str | None,
    origin: str | None,
    headers: tuple[str, ...],
    client: str,
    plain: bool,
    balancer: str | None,
    namespace: str | None,
    pod: str | None,
    output: str,
    context: str | None,
    kubeconfig: str | None,
    user: str | None,
) -> None:
    """Print what a handshake for a URL would get from a BALANCER: the route that takes it and why, what refuses it, and
    the endpoints that it may go to. No request is made.

    Exit code 0: it reaches an endpoint. 1: it is refused. 2: nothing could be read.
    """
    from wsroute.cli.explain import Question
    from wsroute.cli.explain import explain as run

    named = {"origin": origin} if origin is not None else {}
    for header in headers:
        name, colon, value = header.partition(":")
        if not colon or not name.strip():
            raise click.BadParameter("write it as NAME:VALUE", param_hint="--header")
        named[name.strip().lower()] = value.strip()
    question = Question(url, listener, plain, client, named)
    kubectl = _kubectl(context, kubeconfig, user)
    where = {"namespace": namespace, "balancer": balancer, "pod": pod}
    sys.exit(run(kubectl, question, **where, as_json=output == "json"))


@main.command()
@FILES
@click.option("--delete", is_flag=True, help="What deleting the objects of the files would do.")
@click.option("--server-side", is_flag=True, help="Apply them as `kubectl apply --server-side` does.")
@of_a_cluster
def plan(
    files: tuple[Path, ...],
    delete: bool,
    server_side: bool,
    output: str,
    context: str | None,
    kubeconfig: str | None,
    user: str | None,
) -> None:
    """Print what applying manifests (files, folders, or - for the standard input) would do to the routes, the
    balancers and the open sockets of a cluster. Nothing is changed: the API server is asked with a dry run.

    Exit code 0: nobody is harmed. 1: something is refused, a route would have problems, another one would lose what it
    serves, or open sockets would be closed. 2: it can't be told.
    """
    from wsroute.cli.plan import plan as run

    kubectl = _kubectl(context, kubeconfig, user)
    sys.exit(run(kubectl, files, delete=delete, server_side=server_side, as_json=output == "json"))


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--nginx", envvar="WSROUTE_NGINX", default=None, help="The nginx to run; else the PATH's, else the wheel's."
)
def standalone(folder: Path, nginx: str | None) -> None:
    """Serve a folder of manifests with a local nginx, picking up changes. This is not Kubernetes."""
    from wsroute.cli.standalone import main as run

    sys.exit(run(folder, nginx=nginx))


if __name__ == "__main__":
    main()
