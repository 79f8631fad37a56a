"""Which certificates are served for which name."""

import pytest

from wsroute.dataplane.certificates import NO_CERTIFICATES, Files, ListenerTls, ServedCertificate, files_for

A = ServedCertificate("a", "ECDSA", ("chat.example.com",))
A_RSA = ServedCertificate("a-rsa", "RSA", ("chat.example.com", "other.example.com"))
WILD = ServedCertificate("wild", "ECDSA", ("*.example.com",))
WILD_RSA = ServedCertificate("wild-rsa", "RSA", ("*.example.com",))
LATER = ServedCertificate("later", "ECDSA", ("chat.example.com", "later.example.org"))


def tls(*certificates: ServedCertificate, default: Files = ("default",)) -> ListenerTls:
    return ListenerTls(default, certificates)


@pytest.mark.parametrize(
    ("certificates", "host", "files"),
    [
        ((A, A_RSA), "chat.example.com", ("a", "a-rsa")),
        ((A_RSA, A), "chat.example.com", ("a", "a-rsa")),
        ((WILD, A), "chat.example.com", ("a",)),
        ((WILD, A), "b.example.com", ("wild",)),
        ((A, WILD_RSA), "chat.example.com", ("a", "wild-rsa")),
        ((A_RSA, WILD), "other.example.com", ("wild", "a-rsa")),
        ((WILD, WILD_RSA, A, A_RSA), "b.example.com", ("wild", "wild-rsa")),
        ((A, LATER), "chat.example.com", ("a",)),
        ((LATER, A), "chat.example.com", ("later",)),
        ((WILD, A), "*.example.com", ("wild",)),
        ((A,), "*.example.com", ("default",)),
        ((WILD,), "x.y.example.com", ("default",)),
        ((WILD,), "example.com", ("default",)),
        ((WILD,), "*.y.example.com", ("default",)),
        ((A,), "b.example.com", ("default",)),
        ((), "b.example.com", ("default",)),
    ],
)
def test_the_files_for_a_host(certificates: tuple[ServedCertificate, ...], host: str, files: Files) -> None:
    assert files_for(tls(*certificates), host) == files


def test_without_a_default_what_nothing_covers_is_refused() -> None:
    assert files_for(tls(A, default=()), "b.example.com") == ()
    assert files_for(NO_CERTIFICATES, "b.example.com") == ()
