"""The cluster's certificates, made with the `openssl` program (the standard library makes none)."""

from pathlib import Path

from localcluster.config import NODE_ADDRESS, SERVICE_ADDRESS
from localcluster.processes import run

_DAYS = "3650"
_SERVER_NAMES = (
    "DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,"
    f"DNS:kubernetes.default.svc.cluster.local,IP:127.0.0.1,IP:{SERVICE_ADDRESS},IP:{NODE_ADDRESS}"
)


def _openssl(*arguments: str | Path) -> None:
    run(["openssl", *arguments], what=f"openssl {arguments[0]}")


def _certificate(folder: Path, name: str, *, subject: str, extensions: str) -> None:
    _openssl(
        "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-subj", subject,
        "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.csr",
    )  # fmt: skip
    (folder / f"{name}.ext").write_text(extensions)
    _openssl(
        "x509", "-req", "-in", folder / f"{name}.csr", "-CA", folder / "ca.crt", "-CAkey", folder / "ca.key",
        "-CAcreateserial", "-days", _DAYS, "-extfile", folder / f"{name}.ext", "-out", folder / f"{name}.crt",
    )  # fmt: skip


def make(folder: Path) -> None:
    """Writes the authority, the API server's certificate, its client certificate for the kubelet, the token keys.

    The server's certificate names 127.0.0.1 too: processes on the host come through a relay on their loopback.
    """
    folder.mkdir(parents=True, mode=0o700)
    _openssl(
        "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-days", _DAYS,
        "-subj", "/CN=wsroute-local-cluster", "-addext", "keyUsage=critical,keyCertSign,cRLSign",
        "-keyout", folder / "ca.key", "-out", folder / "ca.crt",
    )  # fmt: skip
    _certificate(
        folder,
        "apiserver",
        subject="/CN=kube-apiserver",
        extensions=f"subjectAltName={_SERVER_NAMES}\nextendedKeyUsage=serverAuth\n",
    )
    _certificate(
        folder,
        "kubelet-client",
        subject="/O=system:masters/CN=kube-apiserver-kubelet-client",
        extensions="extendedKeyUsage=clientAuth\n",
    )
    key = folder / "service-accounts.key"
    _openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", key)
    _openssl("pkey", "-in", key, "-pubout", "-out", folder / "service-accounts.pub")
