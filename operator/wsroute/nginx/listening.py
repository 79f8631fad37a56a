"""The heads of ``server`` blocks: where they listen, and with which certificates.

A server is written once for all of its listeners, with and without TLS; only listeners that have other certificates for
the host need one of their own.
"""

import re
from collections import defaultdict
from typing import Final

from wsroute.dataplane.certificates import Files, files_for
from wsroute.dataplane.ir import Configuration, VirtualServer
from wsroute.nginx.paths import Paths
from wsroute.nginx.quoting import EmitError, FilePath, Identifier, NamedFile
from wsroute.nginx.skeleton import ListenerView
from wsroute.nginx.templating import Block, macro

_LISTEN: Final = macro("blocks.conf.j2", "listen")
_CERTIFICATES: Final = macro("blocks.conf.j2", "certificates")
_LOOKED_UP: Final = macro("blocks.conf.j2", "looked_up_certificates")
_LISTEN_FOR_ALL: Final = macro("blocks.conf.j2", "listen_for_all")

_VARIABLES: Final = (Identifier("wsroute_certificate"), Identifier("wsroute_other_certificate"))
"""In which njs says which files they are."""

_FILE: Final = re.compile("[0-9a-f]{64}", re.ASCII)

_Key = tuple[tuple[str, ...], Files | None]
"""Listeners, and the files of their certificates; None where none of them ends TLS."""


class Listening:
    """Makes the heads of one configuration's servers. Equal heads are one object: there are thousands of servers."""

    def __init__(self, configuration: Configuration, views: tuple[ListenerView, ...], paths: Paths) -> None:
        self._ipv6 = configuration.ipv6
        self._folder = paths.certificates
        self._looks_up = configuration.shell is not None
        self._listeners = {listener.name: listener for listener in configuration.listeners}
        self._views = {listener.name: view for listener, view in zip(configuration.listeners, views, strict=True)}
        self._heads: dict[_Key, Block] = {}

    def heads(self, server: VirtualServer) -> tuple[Block, ...]:
        """The heads of a host's servers, one in most cases. Raises EmitError."""
        if not server.listeners:
            raise EmitError("A server must have a listener.")
        return tuple(self._head(key) for key in self._groups(server))

    def heads_for_all(self) -> tuple[Block, ...]:
        """The heads of the servers to which all other hosts go: one for all listeners without TLS, one for each with
        it."""
        plain = tuple(name for name, listener in self._listeners.items() if listener.tls is None)
        heads = [_LISTEN_FOR_ALL(listeners=self._shown(plain), ipv6=self._ipv6, certificates=None)] if plain else []
        for name, listener in self._listeners.items():
            if listener.tls is not None:
                files = self._certificates(listener.tls.default)
                heads.append(_LISTEN_FOR_ALL(listeners=self._shown((name,)), ipv6=self._ipv6, certificates=files))
        return tuple(Block(head.rstrip("\n")) for head in heads)

    def _groups(self, server: VirtualServer) -> list[_Key]:
        plain: list[str] = []
        by_files: defaultdict[Files, list[str]] = defaultdict(list)
        for name in server.listeners:
            tls = self._listeners[name].tls
            if tls is None:
                plain.append(name)
            else:
                by_files[files_for(tls, server.host)].append(name)
        if not by_files:
            return [(tuple(plain), None)]
        groups = [(tuple(names), files) for files, names in by_files.items()]
        return [((*plain, *groups[0][0]), groups[0][1]), *groups[1:]]

    def _head(self, key: _Key) -> Block:
        head = self._heads.get(key)
        if head is None:
            names, files = key
            certificates = None if files is None else self._certificates(files)
            text = _LISTEN(listeners=self._shown(names), ipv6=self._ipv6, certificates=certificates)
            head = self._heads[key] = Block(text.rstrip("\n"))
        return head

    def _shown(self, names: tuple[str, ...]) -> list[ListenerView]:
        return [self._views[name] for name in names]

    def _certificates(self, files: Files) -> Block:
        if self._looks_up:
            names = [NamedFile(self._folder, variable) for variable in _VARIABLES]
            return Block(_LOOKED_UP(files=names))
        return Block(_CERTIFICATES(files=[self._file(file) for file in files]))

    def _file(self, file: str) -> FilePath:
        if not _FILE.fullmatch(file):
            raise EmitError("A certificate's file must be named by its SHA-256.")
        return FilePath(f"{self._folder}/{file}.pem")
