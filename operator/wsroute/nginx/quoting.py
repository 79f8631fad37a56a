"""Typed emitters: the only way in which a value reaches nginx's configuration, one class for each kind of place.

The text of an emitter is made by validation in its constructor, so that holding one is the proof that its text is one
token of nginx's grammar (or, where the class says so, a part of one inside double quotes). What can't be expressed
raises EmitError. All inputs are taken for hostile, although ``graph`` has validated them already.

The grammar (``ngx_conf_read_token``): inside double quotes a backslash escapes ``"``, ``'`` and ``\\``, makes a control
character with ``t``, ``r`` and ``n``, and stands for itself elsewhere; a dollar sign starts a variable in most
directives and can't be escaped; a token longer than 4,095 bytes ends the parser.
"""

import re
from ipaddress import AddressValueError, IPv4Network, IPv6Address, IPv6Network, NetmaskValueError
from typing import Any, Final, Self, final

from wsroute.dataplane.ir import RouteRef

TOKEN_LIMIT: Final = 4_090
"""Bytes of one token, quotes and escapes included; nginx's buffer has 4,096."""

UNIX_PATH_LIMIT: Final = 107
"""Bytes of a Unix socket's path; ``sun_path`` has 108 with its final NUL (unix(7))."""

INTEGER_LIMIT: Final = 2**31 - 1
"""Largest integer, and largest duration in milliseconds, that nginx keeps on every platform."""

_BARE: Final = re.compile(r"[-A-Za-z0-9_~!()*+,=:@&./]+", re.ASCII)
_BARE_PATH: Final = re.compile(r"/[-A-Za-z0-9_~!()*+,=:@&./]*", re.ASCII)
_LABEL: Final = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
_HOST: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*", re.ASCII)
_NAME: Final = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
_ROUTE: Final = re.compile(rf"{_LABEL}/{_NAME}(?:\.{_NAME})*", re.ASCII)
_IDENTIFIER: Final = re.compile(r"[A-Za-z0-9][-A-Za-z0-9_.]{0,399}", re.ASCII)
"""Long enough for an upstream: a namespace of 63 characters, a name of 253, and a number."""

_COMMENT: Final = re.compile(r"[-A-Za-z0-9 ./_:*,()+]{1,1500}", re.ASCII)
"""Long enough for a host of 253 characters and three routes; nginx reads 4,096 bytes of a comment."""

_HEADER_NAME: Final = re.compile(r"[-!#%&'*+.^_`|~0-9A-Za-z]{1,256}", re.ASCII)
_RESERVED_HEADER: Final = re.compile(
    r"host|connection|upgrade|content[-_]length|transfer[-_]encoding|te|trailer|keep[-_]alive|http2[-_]settings|"
    r"sec[-_]websocket[-_].*|proxy([-_].*)?|forwarded|x[-_]forwarded([-_].*)?|x[-_]real[-_]ip|x[-_]wsroute[-_].*",
    re.ASCII | re.IGNORECASE,
)
"""Headers of the handshake, of framing and of ours: whoever may set one of them can smuggle requests or addresses."""

_OCTET: Final = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4: Final = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}", re.ASCII)
_IPV6: Final = re.compile(r"[0-9A-Fa-f:.]{2,45}", re.ASCII)
_REGEX_ESCAPES: Final = str.maketrans({sign: rf"\{sign}" for sign in ".^$*+?()[]{}|"} | {"\\": r"\\\\", '"': r"\""})
_FILE_PATH: Final = re.compile(r"(?:/[^/:]+)+", re.ASCII)


class EmitError(ValueError):
    """A value that nginx's configuration can't express. ``route`` is where it comes from, once the renderer knows."""

    def __init__(self, message: str, *, route: RouteRef | None = None) -> None:
        super().__init__(message)
        self.route = route


class Emitted(str):
    """Text that may stand in the configuration. Only its subclasses are made, each by validating its argument.

    A str, so that it is immutable and cheap; whatever is derived from it (joined, sliced, filtered) is a plain str
    again and is refused by the templates.
    """

    __slots__ = ()

    def __new__(cls, *_arguments: Any) -> Self:
        raise TypeError(f"{cls.__name__} has no constructor of its own")


def _shown(value: object) -> str:
    """A value for a message: short, in ASCII, without control characters."""
    text = ascii(value)
    return text if len(text) <= 80 else text[:77] + "..."


def matches(pattern: re.Pattern[str], value: object) -> bool:
    """Is it a text that the pattern matches as a whole? What JSON brings may be of any type."""
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _printable(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise EmitError(f"{what} must be a text, not {type(value).__name__}.")
    if not value.isprintable():
        raise EmitError(f"{what} must not contain control or invisible characters: {_shown(value)}.")
    return value


def _without_variables(value: object, what: str) -> str:
    text = _printable(value, what)
    if "$" in text:
        raise EmitError(f"{what} must not contain a dollar sign, which nginx reads as a variable: {_shown(text)}.")
    return text


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')


def _fitting(text: str, what: str) -> str:
    if len(text) > TOKEN_LIMIT or (not text.isascii() and len(text.encode()) > TOKEN_LIMIT):
        raise EmitError(f"{what} is too long for nginx: at most {TOKEN_LIMIT:,} bytes once quoted.")
    return text


def _path_fault(value: str, what: str) -> None:
    if not value.startswith("/"):
        raise EmitError(f"{what} must start with a slash: {_shown(value)}.")


@final
class Quoted(Emitted):
    """Any text without variables, in double quotes: header values, answers."""

    __slots__ = ()

    def __new__(cls, value: str) -> Self:
        escaped = _escaped(_without_variables(value, "A value"))
        return str.__new__(cls, _fitting(f'"{escaped}"', "A value"))


@final
class HeaderName(Emitted):
    """The name of a header, an RFC 9110 token without a dollar sign; quoted where its characters need it."""

    __slots__ = ()

    def __new__(cls, value: str) -> Self:
        if not matches(_HEADER_NAME, value):
            raise EmitError(f"A header's name must be an RFC 9110 token without a dollar sign: {_shown(value)}.")
        if _RESERVED_HEADER.fullmatch(value):
            raise EmitError(f"A header of the handshake, of framing or of the balancer must not be set: {value}.")
        return str.__new__(cls, value if _BARE.fullmatch(value) else f'"{value}"')


@final
class ServerName(Emitted):
    """A host for ``server_name``: a lower-case DNS name, or ``*.`` and a name, which becomes a regular expression.

    nginx's own wildcards cover any number of labels and ours exactly one.
    """

    __slots__ = ()

    def __new__(cls, value: str) -> Self:
        name = _printable(value, "A host").removeprefix("*.")
        if not _HOST.fullmatch(name) or len(value) > 253:
            raise EmitError(f"A host must be a lower-case DNS name, or a wildcard as *.example.com: {_shown(value)}.")
        if not value.startswith("*."):
            return str.__new__(cls, name)
        literal = name.replace(".", r"\.")
        return str.__new__(cls, rf"~^[^.]+\.{literal}$")


@final
class LocationPath(Emitted):
    """The path of a ``location``, after its modifier: nginx compares it with the decoded path of the request."""

    __slots__ = ()

    def __new__(cls, value: str) -> Self:
        if matches(_BARE_PATH, value):
            return str.__new__(cls, _fitting(value, "A path"))
        _path_fault(_printable(value, "A path"), "A path")
        return str.__new__(cls, _fitting(f'"{_escaped(value)}"', "A path"))


@final
class RegexLiteral(Emitted):
    """A text that a regular expression shall match literally; stands *inside* double quotes."""

    __slots__ = ()

    def __new__(cls, value: str) -> Self:
        escaped = _printable(value, "A path").translate(_REGEX_ESCAPES)
        return str.__new__(cls, _fitting(escaped, "A path"))


@final
class PathPattern(Emitted):
    """The regular expression of a ``location`` for a path and all ``below`` it (``/ws``, ``/ws/``, ``/ws/a``, but not
    ``/wsx``), or for the path alone.

    It ends in ``\\z``, because ``$`` would match before a line break, too.
    """

    __slots__ = ()

    def __new__(cls, value: str, *, below: bool = True) -> Self:
        _path_fault(_printable(value, "A path"), "A path")
        pattern = rf"^{RegexLiteral(value)}" + (r"(/|\z)" if below else r"\z")
        return str.__new__(cls, _fitting(pattern if _BARE_PATH.fullmatch(value) else f'"{pattern}"', "A path"))


@final
class RewriteTarget(Emitted):
    """The new path of a ``rewrite``, or its beginning, or nothing; stands *inside* double quotes.

    A question mark would start a query there, and anything but a slash in front might be a redirect.
    """

    __slots__ = ()

    def __new__(cls, value: str) -> Self:
        if _without_variables(value, "A new prefix"):
            _path_fault(value, "A new prefix")
        if "?" in value:
            raise EmitError(f"A new prefix must not contain a question mark: {_shown(value)}.")
        return str.__new__(cls, _fitting(_escaped(value), "A new prefix"))


@final
class SocketAddress(Emitted):
    """An IPv4 or IPv6 address without zone, and a port: ``10.1.2.3:80``, ``[2001:db8::1]:80``."""

    __slots__ = ()

    def __new__(cls, address: str, port: int) -> Self:
        if type(port) is not int or not 1 <= port <= 65535:
            raise EmitError(f"A port must be a whole number from 1 to 65535: {_shown(port)}.")
        if matches(_IPV4, address):
            return str.__new__(cls, f"{address}:{port}")
        try:
            if not matches(_IPV6, address):
                raise AddressValueError
            return str.__new__(cls, f"[{IPv6Address(address)}]:{port}")
        except AddressValueError:
            raise EmitError(f"An endpoint must be an IPv4 or IPv6 address: {_shown(address)}.") from None


@final
class Network(Emitted):
    """A network in CIDR form, without bits set beyond its prefix."""

    __slots__ = ()

    def __new__(cls, value: str) -> Self:
        try:
            address, slash, length = value.partition("/")
            if not slash or not re.fullmatch(r"[0-9]{1,3}", length, re.ASCII) or not _IPV6.fullmatch(address):
                raise AddressValueError
            network = IPv4Network(value) if _IPV4.fullmatch(address) else IPv6Network(value)
        except (AddressValueError, NetmaskValueError, ValueError, AttributeError, TypeError):
            raise EmitError(f"A network must be in CIDR form, as 10.0.0.0/8: {_shown(value)}.") from None
        return str.__new__(cls, str(network))


@final
class Integer(Emitted):
    """A whole number from ``minimum`` to ``maximum``."""

    __slots__ = ()

    def __new__(cls, value: int, *, minimum: int = 0, maximum: int = INTEGER_LIMIT) -> Self:
        if type(value) is not int or not minimum <= value <= maximum:
            raise EmitError(f"A number must be a whole one from {minimum} to {maximum}: {_shown(value)}.")
        return str.__new__(cls, value)


@final
class Duration(Emitted):
    """A time of at least a millisecond, given in milliseconds, in the largest unit that keeps it whole."""

    __slots__ = ()

    def __new__(cls, milliseconds: int) -> Self:
        if type(milliseconds) is not int or not 1 <= milliseconds <= INTEGER_LIMIT:
            raise EmitError(f"A duration must be 1 to {INTEGER_LIMIT} milliseconds: {_shown(milliseconds)}.")
        for unit, size in (("h", 3_600_000), ("m", 60_000), ("s", 1000)):
            if milliseconds % size == 0:
                return str.__new__(cls, f"{milliseconds // size}{unit}")
        return str.__new__(cls, f"{milliseconds}ms")


@final
class Size(Emitted):
    """A size in KiB, at least 32 (nginx wants eight pages for a shared zone), in MiB where that is whole."""

    __slots__ = ()

    def __new__(cls, kibibytes: int) -> Self:
        if type(kibibytes) is not int or not 32 <= kibibytes <= 2**20:
            raise EmitError(f"A size must be 32 KiB to 1 GiB: {_shown(kibibytes)} KiB.")
        whole, rest = divmod(kibibytes, 1024)
        return str.__new__(cls, f"{kibibytes}k" if rest else f"{whole}m")


@final
class Identifier(Emitted):
    """The name of an upstream, or a word of our own such as a route's ``namespace/name`` split at its slash."""

    __slots__ = ()

    def __new__(cls, value: str) -> Self:
        if not matches(_IDENTIFIER, value):
            raise EmitError(f"A name must consist of letters, digits and the characters - _ . : {_shown(value)}.")
        return str.__new__(cls, value)


@final
class RouteName(Emitted):
    """A route as ``namespace/name``, both lower-case DNS names; fit for a comment too."""

    __slots__ = ()

    def __new__(cls, route: RouteRef) -> Self:
        namespace, name = route
        text = f"{_printable(namespace, 'A namespace')}/{_printable(name, 'A name')}"
        if not _ROUTE.fullmatch(text) or len(name) > 253:
            raise EmitError(f"A route's namespace and name must be DNS names: {_shown(text)}.")
        return str.__new__(cls, text)


@final
class Comment(Emitted):
    """The text of a comment, from a small set of characters and on one line."""

    __slots__ = ()

    def __new__(cls, value: str) -> Self:
        if not matches(_COMMENT, value):
            raise EmitError(f"A comment must be a short line of plain characters: {_shown(value)}.")
        return str.__new__(cls, value)


def _checked_file_path(value: str) -> str:
    if not _FILE_PATH.fullmatch(_without_variables(value, "A file's path")):
        raise EmitError(f"A file's path must be absolute, without colons and final slash: {_shown(value)}.")
    return value


@final
class FilePath(Emitted):
    """An absolute path of a file or folder, quoted where it needs it."""

    __slots__ = ()

    def __new__(cls, value: str) -> Self:
        checked = _checked_file_path(value)
        return str.__new__(cls, _fitting(checked if _BARE.fullmatch(checked) else f'"{_escaped(checked)}"', "A path"))


@final
class NamedFile(Emitted):
    """The path of a file that a variable names, without the suffix ``.pem``, in a folder."""

    __slots__ = ()

    def __new__(cls, folder: str, variable: Identifier) -> Self:
        return str.__new__(cls, _fitting(f'"{_escaped(_checked_file_path(folder))}/${variable}.pem"', "A path"))


@final
class UnixSocket(Emitted):
    """A Unix socket as ``unix:/path``, quoted where it needs it."""

    __slots__ = ()

    def __new__(cls, value: str) -> Self:
        checked = _checked_file_path(value)
        if len(checked.encode()) > UNIX_PATH_LIMIT:
            raise EmitError(
                f"The path of a Unix socket has at most {UNIX_PATH_LIMIT} bytes: choose a shorter folder than "
                f"{_shown(value)}."
            )
        text = f"unix:{checked}"
        return str.__new__(cls, text if _BARE.fullmatch(text) else f'"{_escaped(text)}"')
