"""The model of which pages may open sockets, of routes and of balancers."""

from collections.abc import Iterable
from typing import Annotated, Final, Literal

from pydantic import Field

from wsroute.api.fields import Model, Text, many
from wsroute.api.grammar import Grammar, Hint
from wsroute.api.policies import OriginPolicy, OriginRules

_LABEL: Final = "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_PORT: Final = "([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"

ORIGIN: Final = Grammar(
    name="origin",
    pattern=rf"^(https?://(\*\.{_LABEL}\.)?{_LABEL}(\.{_LABEL})*(:{_PORT})?|null)$",
    max_length=267,
    sentence=(
        "An origin must be a scheme, a host and, unless it is the scheme's own, a port, as in https://chat.example.com "
        "or https://*.example.com:8443, or the word null"
    ),
    example="https://chat.example.com",
    hints=(
        Hint(r"^$", "An origin must not be empty"),
        Hint(
            r"[^\x00-\x7f]",
            "An origin must be in ASCII: write an international name in punycode, as in https://xn--bcher-kva.example",
        ),
        Hint(r"[\x00-\x20\x7f]", "An origin must not contain blanks or control characters"),
        Hint(r"[A-Z]", "An origin must be written in lower case"),
        Hint(r"^\*$", "An origin must not be * alone: policy: Off lets every page open sockets"),
        Hint(r"^wss?://", "An origin has the scheme of the page, http or https, not that of the socket"),
        Hint(r"^[^:/]*(:[0-9]+)?(/|$)", "An origin must begin with its scheme, as in https://chat.example.com"),
        Hint(r"@", "An origin must be written without user and password"),
        Hint(r"^https?://[^/]*[/?#]", "An origin must end with its host or port, without a slash or a path"),
        Hint(
            r"^https?://\*\.[^.]*$", "A wildcard must stand before a name of at least two labels, as in *.example.com"
        ),
        Hint(r"\*", "A wildcard must be the whole first label of the host, as in https://*.example.com"),
        Hint(r"^https?://\[", "An origin's host must be a name or an IPv4 address"),
        Hint(r":[0-9]+$", "An origin's port must be a number from 1 to 65535"),
    ),
)
"""A serialised origin (RFC 6454, section 6.2), with a wildcard for one label. Names of one label and addresses are good
too: pages in development come from there."""


class Origins(Model):
    """Which pages may open sockets: browsers say in the header Origin where a page comes from. Pages of the route's own
    hosts always may. Field by field, a balancer's default counts where a route says nothing."""

    policy: Literal["Enforce", "Report", "Off"] | None = Field(
        default=None,
        description=(
            "Enforce answers 403 to handshakes of other pages, Report lets them pass and writes their Origin into the "
            "access log, Off does not look. Enforce where neither route nor balancer says."
        ),
    )
    allow: tuple[Annotated[str, Text(ORIGIN)], ...] = many(
        "set",
        'Origins of further pages that may. A wildcard covers exactly one label. "null" is what sandboxed and local '
        "pages send.",
        minimum=0,
        maximum=32,
        default=(),
    )
    require_header: bool | None = Field(
        default=None,
        description=(
            "Whether clients that send no Origin, and so are no browsers, are refused too. false where neither route "
            "nor balancer says."
        ),
    )


def rules_in_force(own: Origins | None, default: Origins | None, hosts: Iterable[str]) -> OriginRules:
    """What counts for a route with these hosts: its own choices, else the balancer's, else ours."""
    given = [origins for origins in (own, default) if origins is not None]
    policy: OriginPolicy = next((origins.policy for origins in given if origins.policy is not None), "Enforce")
    required = next((origins.require_header for origins in given if origins.require_header is not None), False)
    allow = next((origins.allow for origins in given if "allow" in origins.model_fields_set), ())
    return OriginRules(
        policy=policy,
        own_hosts=tuple(sorted(hosts)),
        allow=tuple(sorted({normalised(origin) for origin in allow})),
        require_header=required,
    )


def normalised(origin: str) -> str:
    """An origin that the grammar accepts as browsers write it: without the scheme's default port."""
    return origin.removesuffix(":443" if origin.startswith("https:") else ":80")
