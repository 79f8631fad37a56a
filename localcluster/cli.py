"""The commands: ``python3 -m localcluster up|down|status|list|kubeconfig|exec|image|relay``."""

import argparse
import asyncio
import time
from collections.abc import Callable, Sequence

from localcluster import api, imagebuild, linux, netns, readiness, relay, state
from localcluster.errors import ClusterError
from localcluster.images import IMAGES, by_name
from localcluster.paths import cluster_paths
from localcluster.processes import alive
from localcluster.progress import say


def _up(arguments: argparse.Namespace) -> int:
    started = time.monotonic()
    was_up = api.is_up(arguments.name)
    cluster = api.up(arguments.name)
    say(
        f"The cluster {cluster.name} was up already."
        if was_up
        else f"The cluster {cluster.name} is up after {time.monotonic() - started:.1f} s."
    )
    say(f"  export KUBECONFIG={cluster.kubeconfig}")
    say(f"  kubectl: {cluster.program}, or python3 -m localcluster exec --name {cluster.name} -- kubectl get pods -A")
    return 0


def _down(arguments: argparse.Namespace) -> int:
    started = time.monotonic()
    stopped = api.down(arguments.name)
    say(
        f"The cluster {arguments.name} is down after {time.monotonic() - started:.1f} s."
        if stopped
        else f"There is no cluster {arguments.name}."
    )
    return 0


def _status(arguments: argparse.Namespace) -> int:
    paths = cluster_paths(arguments.name)
    current = state.load(paths.state_file)
    healthy = readiness.healthy(paths, current)
    print(f"{arguments.name}: {'up' if healthy else 'down' if current is None else 'not healthy'}")
    if current is None:
        return 1
    print(f"  kubeconfig  {paths.kubeconfig}\n  logs        {paths.logs}\n  namespace   {current.namespace}")
    print(f"  images      {', '.join(state.load_mapping(paths.images_file)) or 'none'}")
    for relayed in current.relays:
        print(f"  relay       {relayed.listen} to {relayed.to}{'' if alive(relayed.process) else ' (ended)'}")
    for name, status in state.load_mapping(paths.components_file).items():
        again = f", started {status['starts']} times, last {status['last_exit']}" if status["starts"] > 1 else ""
        print(f"  {name:<24} {'running' if status['running'] else 'not running'}{again}")
    return 0 if healthy else 1


def _list(_: argparse.Namespace) -> int:
    for name in api.names():
        print(f"{name}\t{'up' if api.is_up(name) else 'not healthy'}\t{cluster_paths(name).kubeconfig}")
    return 0


def _kubeconfig(arguments: argparse.Namespace) -> int:
    print(api.get(arguments.name).kubeconfig)
    return 0


def _exec(arguments: argparse.Namespace) -> int:
    command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    if not command:
        raise ClusterError("exec needs a command after `--`.")
    return api.get(arguments.name).execute(command)


def _image_build(arguments: argparse.Namespace) -> int:
    for name in arguments.images or [image.name for image in IMAGES]:
        print(imagebuild.build(by_name(name)))
    return 0


def _image_load(arguments: argparse.Namespace) -> int:
    imported = api.get(arguments.name).load_images(arguments.images or None)
    say(f"Imported {', '.join(imported)}." if imported else "The cluster has them all already.")
    return 0


def _relay(arguments: argparse.Namespace) -> int:
    cluster = api.get(arguments.name)
    if arguments.background:
        print(cluster.relay(arguments.to, listen=arguments.listen))
        return 0
    host, port = relay.parse_address(arguments.to)
    listening = relay.listen(*relay.parse_address(arguments.listen))
    say(f"Relaying {arguments.listen} to {arguments.to} until it is interrupted.")
    linux.setns(netns.path_of(cluster.namespace), linux.CLONE_NEWNET)
    asyncio.run(relay.run_until_signalled(listening, host=host, port=port))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m localcluster", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(
        group: "argparse._SubParsersAction[argparse.ArgumentParser]",
        name: str,
        function: Callable[[argparse.Namespace], int],
        text: str,
        *,
        named: bool = True,
    ) -> argparse.ArgumentParser:
        added = group.add_parser(name, help=text, description=text)
        added.set_defaults(function=function)
        if named:
            added.add_argument("--name", default=api.DEFAULT_NAME, help=f"the cluster (default: {api.DEFAULT_NAME})")
        return added

    command(commands, "up", _up, "start a cluster, with all images")
    command(commands, "down", _down, "stop a cluster and remove everything of it")
    command(commands, "status", _status, "say how a cluster is; exit code 1 unless it is up")
    command(commands, "list", _list, "list the clusters", named=False)
    command(commands, "kubeconfig", _kubeconfig, "print the path of a kubeconfig that works on this host")
    execute = command(commands, "exec", _exec, "run a command in a cluster's network, with kubectl on its PATH")
    execute.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND")
    image = commands.add_parser("image", help="build images, load them into a cluster")
    actions = image.add_subparsers(required=True, metavar="ACTION")
    build = command(actions, "build", _image_build, "build images and print their archives", named=False)
    load = command(actions, "load", _image_load, "build images and load them into a cluster")
    for action in (build, load):
        action.add_argument("images", nargs="*", help=f"some of {', '.join(known.name for known in IMAGES)}")
    relaying = command(commands, "relay", _relay, "relay TCP connections from this host into a cluster")
    relaying.add_argument("--listen", required=True, metavar="ADDRESS:PORT")
    relaying.add_argument("--to", required=True, metavar="ADDRESS:PORT")
    relaying.add_argument("--background", action="store_true", help="leave it running until the cluster goes down")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    arguments = _parser().parse_args(argv)
    try:
        code: int = arguments.function(arguments)
    except ClusterError as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        say("Interrupted.")
        return 130
    return code
