"""The models of how an endpoint is chosen for a new socket, of routes and of balancers."""

import re
from collections.abc import Iterator
from math import ceil
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field

from wsroute.api import policies
from wsroute.api.fields import Duration, Model, Rule, Text
from wsroute.api.grammar import Grammar, Hint

DEFAULT_POLICY: Final = policies.Policy.LEAST_CONNECTIONS

_NAME_PATTERN: Final = r"^[A-Za-z0-9_][-A-Za-z0-9_.]*$"

KEY_NAME: Final = Grammar(
    name="key name",
    pattern=_NAME_PATTERN,
    max_length=64,
    sentence="The name must consist of letters, digits and the characters - _ . and begin with neither hyphen nor dot",
    example="room",
)
"""Of a header, a query parameter or a cookie: of RFC 9110's and RFC 6265's token what such names are really made of."""

COOKIE_NAME: Final = Grammar(
    name="cookie name",
    pattern=_NAME_PATTERN,
    max_length=64,
    sentence=(
        "A cookie's name must consist of letters, digits and the characters - _ . and begin with neither hyphen nor dot"
    ),
    example="wsr",
    refusals=(
        Hint(
            "(?i)^__(host|secure)-",
            "Cookies that begin with __Host- or __Secure- need TLS on every listener: choose another name",
        ),
    ),
)

UNDERSCORED: Final = "Headers with an underscore never reach a backend: write the name with hyphens"


class Hash(Model):
    """What of a request decides which endpoint its socket goes to."""

    by: Literal["ClientIP", "Header", "Query", "Cookie"] = Field(
        description=(
            "What is hashed: the client's address, or the value of a header, a query parameter or a cookie. Requests "
            "without it go to any endpoint."
        )
    )
    name: Annotated[str, Text(KEY_NAME)] | None = Field(
        default=None, description="Name of the header, query parameter or cookie; with ClientIP there is none."
    )

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="self.by == 'ClientIP' || has(self.name)",
            sentence="name is required: it says which header, query parameter or cookie is hashed",
            broken=lambda chosen: [".name"] if chosen.by != "ClientIP" and chosen.name is None else [],
            field=".name",
        ),
        Rule(
            cel="self.by != 'ClientIP' || !has(self.name)",
            sentence="name means nothing with ClientIP: leave it out, or choose what is hashed by that name",
            broken=lambda chosen: [".name"] if chosen.by == "ClientIP" and chosen.name is not None else [],
            field=".name",
        ),
        Rule(
            cel="self.by != 'Header' || !has(self.name) || !self.name.contains('_')",
            sentence=UNDERSCORED,
            broken=lambda chosen: [".name"] if chosen.by == "Header" and "_" in (chosen.name or "") else [],
            field=".name",
        ),
    )


class StickyCookie(Model):
    """A cookie that brings a client back to the endpoint it had."""

    name: Annotated[str, Text(COOKIE_NAME)] = Field(
        description="Name of the cookie, one that the application itself does not use."
    )
    max_age: Duration | None = Field(
        default=None,
        description="How long the browser keeps it, rounded up to whole seconds. Its session long when left out.",
    )


class LoadBalancing(Model):
    """How an endpoint is chosen for a new socket. Field by field, a balancer's default counts where a route says
    nothing; hash is a part of policy."""

    policy: Literal["LeastConnections", "RoundRobin", "Hash"] | None = Field(
        default=None,
        description=(
            "LeastConnections takes the endpoint with the fewest sockets, RoundRobin the next one, Hash always the "
            "same one for the same key while it is there. LeastConnections where neither route nor balancer says."
        ),
    )
    hash: Hash | None = Field(default=None, description="The key of the policy Hash.")
    sticky_cookie: StickyCookie | None = Field(
        default=None, description="A cookie that brings a client back to the endpoint it had. None when left out."
    )

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="!has(self.hash) || (has(self.policy) && self.policy == 'Hash')",
            sentence="hash means nothing without policy: Hash: write that beside it, or leave hash out",
            broken=lambda chosen: [".hash"] if chosen.hash is not None and chosen.policy != "Hash" else [],
            field=".hash",
        ),
        Rule(
            cel="!has(self.policy) || self.policy != 'Hash' || has(self.hash)",
            sentence="The policy Hash needs hash, which says what is hashed, as in hash: {by: ClientIP}",
            broken=lambda chosen: [".hash"] if chosen.hash is None and chosen.policy == "Hash" else [],
            field=".hash",
        ),
    )


def policy_in_force(
    own: LoadBalancing | None, default: LoadBalancing | None
) -> tuple[policies.Policy, policies.HashKey | None]:
    """The route's own policy with its hash key, else the balancer's, else ours."""
    for chosen in (own, default):
        if chosen is not None and chosen.policy is not None:
            policy = policies.Policy(chosen.policy)
            key = chosen.hash
            return policy, None if key is None else policies.HashKey(policies.HashSource(key.by), key.name or "")
    return DEFAULT_POLICY, None


def sticky_in_force(own: LoadBalancing | None, default: LoadBalancing | None) -> policies.StickyCookie | None:
    """The route's own sticky cookie, else the balancer's, else none."""
    for chosen in (own, default):
        if chosen is not None and chosen.sticky_cookie is not None:
            cookie = chosen.sticky_cookie
            return policies.StickyCookie(cookie.name, 0 if cookie.max_age is None else ceil(cookie.max_age / 1000))
    return None


_NO_COOKIES: Final = (
    "The data plane Static has no sticky cookies: leave it out, choose the policy Hash, or a balancer with the data "
    "plane Dynamic"
)
_NO_NAME: Final = (
    "The data plane Static hashes headers whose names consist of letters, digits and hyphens, and query parameters and "
    "cookies whose names consist of letters, digits and underscores: choose such a name, or a balancer with the data "
    "plane Dynamic"
)
_STATIC_HEADER: Final = "^[A-Za-z0-9-]+$"
_STATIC_NAME: Final = "^[A-Za-z0-9_]+$"


def beyond_static(chosen: LoadBalancing | None) -> Iterator[tuple[str, str]]:
    """What nginx's own load balancing can't do, as field paths below ``loadBalancing`` and sentences.

    A header, a query parameter or a cookie has to be a variable of nginx.
    """
    if chosen is None:
        return
    if chosen.sticky_cookie is not None:
        yield ".stickyCookie", _NO_COOKIES
    name = None if chosen.hash is None else chosen.hash.name
    if chosen.hash is not None and name is not None:
        pattern = _STATIC_HEADER if chosen.hash.by == "Header" else _STATIC_NAME
        if re.fullmatch(pattern, name, re.ASCII) is None:
            yield ".hash.name", _NO_NAME


def _beyond(sentence: str, field: str, cel: str) -> Rule:
    default = "self.defaults.loadBalancing"

    def broken(spec: Any) -> Iterator[str]:
        if spec.data_plane == "Static":
            for path, told in beyond_static(spec.defaults.load_balancing):
                if told == sentence:
                    yield f".defaults.loadBalancing{path}"

    return Rule(
        cel=f"self.dataPlane != 'Static' || !has(self.defaults) || !has({default}) || {cel}",
        sentence=sentence,
        broken=broken,
        field=f".defaults.loadBalancing.{field}",
    )


DEFAULT_RULES: Final = (
    _beyond(_NO_COOKIES, "stickyCookie", "!has(self.defaults.loadBalancing.stickyCookie)"),
    _beyond(
        _NO_NAME,
        "hash.name",
        "!has(self.defaults.loadBalancing.hash) || !has(self.defaults.loadBalancing.hash.name) || "
        "(self.defaults.loadBalancing.hash.by == 'Header' "
        f"? self.defaults.loadBalancing.hash.name.matches('{_STATIC_HEADER}') "
        f": self.defaults.loadBalancing.hash.name.matches('{_STATIC_NAME}'))",
    ),
)
"""Of a balancer's spec: what it makes the default, its data plane can do."""
