"""A real API server over a real etcd and nothing else, on the loopback: for tests of what talks to the API server.

It starts in about two seconds. The programs are those of the local cluster.
"""

import http.client
import json
import shutil
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

from localcluster import binaries, debian, pki
from tests.support.fault_proxy import FaultProxy
from tests.support.ports import free_ports

ADMIN = "admin"
NOBODY = "nobody"
"""A user who may do nothing that matters."""

_TOKENS = {ADMIN: "token-of-the-administrator", NOBODY: "token-of-nobody"}
_DEADLINE = 60.0


class ApiServer:
    """etcd and kube-apiserver; either can be stopped and started again. Their data lives in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._programs = binaries.ensure()
        self._etcd_port, self._peer_port, self.port = free_ports(3)
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._launcher = ThreadPoolExecutor(1)
        pki.make(folder / "pki")
        (folder / "tokens.csv").write_text(
            f'{_TOKENS[ADMIN]},{ADMIN},{ADMIN},"system:masters"\n{_TOKENS[NOBODY]},{NOBODY},{NOBODY}\n'
        )

    def start(self) -> None:
        """Start both and wait until the API server is ready."""
        self._run(
            "etcd",
            "etcd",
            f"--data-dir={self.folder}/etcd",
            f"--listen-client-urls=http://127.0.0.1:{self._etcd_port}",
            f"--advertise-client-urls=http://127.0.0.1:{self._etcd_port}",
            f"--listen-peer-urls=http://127.0.0.1:{self._peer_port}",
            f"--initial-advertise-peer-urls=http://127.0.0.1:{self._peer_port}",
            f"--initial-cluster=default=http://127.0.0.1:{self._peer_port}",
            "--unsafe-no-fsync",
            "--log-level=error",
        )
        self.start_server()

    def start_server(self) -> None:
        """Start the API server alone and wait until it is ready."""
        keys = self.folder / "pki"
        self._run(
            "kube-apiserver",
            str(self._programs / "kube-apiserver"),
            f"--etcd-servers=http://127.0.0.1:{self._etcd_port}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self.port}",
            f"--tls-cert-file={keys}/apiserver.crt",
            f"--tls-private-key-file={keys}/apiserver.key",
            f"--token-auth-file={self.folder}/tokens.csv",
            "--authorization-mode=RBAC",
            "--disable-admission-plugins=ServiceAccount",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-signing-key-file={keys}/service-accounts.key",
            f"--service-account-key-file={keys}/service-accounts.pub",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--endpoint-reconciler-type=none",
            "--profiling=false",
        )
        deadline = time.monotonic() + _DEADLINE
        while not self._ready():
            process = self._running["kube-apiserver"]
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"The API server does not start: {self.log('kube-apiserver')}")
            time.sleep(0.05)

    def stop_server(self) -> None:
        """Kill the API server as a crash would; etcd keeps what was written."""
        self._stop("kube-apiserver")

    def stop(self) -> None:
        """Kill both for good."""
        for name in list(self._running):
            self._stop(name)
        self._launcher.shutdown()

    def kubeconfig(self, user: str = ADMIN, *, token: str = "", through: FaultProxy | None = None) -> Path:
        """A kubeconfig for one of the users, or for whom a token belongs to, perhaps leading through a proxy."""
        path = self.folder / f"{user}-{through.port if through else self.port}.kubeconfig"
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [
                {
                    "name": "test",
                    "cluster": {
                        "server": f"https://127.0.0.1:{through.port if through else self.port}",
                        "certificate-authority": str(self.folder / "pki" / "ca.crt"),
                    },
                }
            ],
            "users": [{"name": user, "user": {"token": token or _TOKENS[user]}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": user}}],
        }
        path.write_text(json.dumps(content))
        return path

    def proxy(self) -> FaultProxy:
        """A proxy before it, with the API server's own certificate."""
        keys = self.folder / "pki"
        return FaultProxy(
            upstream=f"https://127.0.0.1:{self.port}",
            authority=keys / "ca.crt",
            certificate=keys / "apiserver.crt",
            key=keys / "apiserver.key",
            address=("127.0.0.1", free_ports(1)[0]),
            tokens={token: user for user, token in _TOKENS.items()},
        )

    def service_account(self, user: str = ADMIN) -> Path:
        """A folder like the one that a pod finds its credentials in."""
        folder = self.folder / f"account-{user}"
        folder.mkdir(exist_ok=True)
        shutil.copy(self.folder / "pki" / "ca.crt", folder / "ca.crt")
        (folder / "token").write_text(_TOKENS[user])
        return folder

    def log(self, name: str) -> str:
        """The last words of one of the programs."""
        return (self.folder / f"{name}.log").read_text(errors="replace")[-3_000:]

    def _ready(self) -> bool:
        trust = ssl.create_default_context(cafile=str(self.folder / "pki" / "ca.crt"))
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=trust, timeout=5)
        with closing(connection):
            try:
                connection.request("GET", "/readyz", headers={"Authorization": f"Bearer {_TOKENS[ADMIN]}"})
                return connection.getresponse().status == 200
            except (OSError, http.client.HTTPException):
                return False

    def _run(self, name: str, *command: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            # They end with us, however we end. "We" is the thread that started them, so this one lives as long as they.
            arguments = ["setpriv", "--pdeathsig", "KILL", *command]
            started = self._launcher.submit(
                subprocess.Popen, arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
            self._running[name] = started.result()

    def _stop(self, name: str) -> None:
        process = self._running.pop(name)
        process.kill()
        process.wait()


@contextmanager
def running() -> Iterator[ApiServer]:
    """An API server of one's own for the length of a block."""
    debian.ensure_packages(["etcd-server", "openssl", "util-linux"])
    with tempfile.TemporaryDirectory(prefix="wsroute-apiserver-") as folder:
        server = ApiServer(Path(folder))
        try:
            server.start()
            yield server
        finally:
            server.stop()
