"""What the operator remembers of a balancer, between its ConfigMap and the pass. Pure but for its memory."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from wsroute.api.values import DNS_LABEL, host_fault
from wsroute.cluster.balancer_state import HOSTS_KEY, BalancerState, HostClaim, Reading, read_state, write_state
from wsroute.cluster.objects import ConfigMap, Key
from wsroute.controller import generated
from wsroute.controller.published_tables import HOSTS
from wsroute.controller.tables import Known, find_tables
from wsroute.dataplane import names
from wsroute.dataplane.bundle import Bundle, BundleError, unpack
from wsroute.dataplane.shards import TABLE_KEY, ShardError, parse_hosts
from wsroute.dataplane.table import HostRecord
from wsroute.nginx.served import served_hosts


class StateMemo:
    """Reads and writes the state of one balancer. It may hold 10,000 hosts, so that no text is read or made twice.

    What it remembers saves time and changes no result.
    """

    def __init__(self) -> None:
        self._read: tuple[Mapping[str, str], Reading] | None = None
        self._served: tuple[Bundle, Mapping[str, HostClaim]] | None = None
        self._looked_up: tuple[tuple[str, ...], Mapping[str, HostClaim]] | None = None
        self._completed: tuple[BalancerState, Mapping[str, HostClaim], BalancerState] | None = None
        self._written: tuple[BalancerState, Mapping[str, str]] | None = None

    def read(self, maps: Mapping[Key, ConfigMap], balancer: Key) -> BalancerState:
        """The state as it stands.

        When its ConfigMap was deleted, or spoiled by a hand, nobody shall lose a host to somebody who only waited for
        it: then the hosts of the version in force, or of its tables, belong to those that are served there.
        """
        namespace, name = balancer
        known = generated.ours(maps.get(Key(namespace, names.state_name(name))), balancer)
        data = known.data if known is not None else {}
        if self._read is None or self._read[0] != data:
            self._read = (data, read_state(data))
        state, whole = self._read[1]
        if whole:
            return state
        nginx = generated.ours(maps.get(Key(namespace, names.nginx_name(name))), balancer)
        if nginx is None:
            served: Mapping[str, HostClaim] = {}
        elif names.TABLE_FORMAT_ANNOTATION in nginx.annotations:
            served = self._hosts_in_tables(find_tables(balancer, maps))
        else:
            served = self._hosts_in_force(nginx)
        if self._completed is None or self._completed[0] is not state or self._completed[1] is not served:
            self._completed = (state, served, replace(state, hosts={**served, **state.hosts}))
        return self._completed[2]

    def data(self, state: BalancerState) -> Mapping[str, str]:
        """The text of a state."""
        if self._written is None or self._written[0] is not state:
            data = write_state(state)
            self._written = (state, data)
            # What will be read of it. All hosts have been checked, and the rest is little.
            rest = read_state({key: text for key, text in data.items() if key != HOSTS_KEY}).state
            again = replace(rest, hosts=state.hosts)
            # The very state, where that is what will be read: what follows from it is known.
            self._read = (data, Reading(state if again == state else again, whole=True))
        return self._written[1]

    def _hosts_in_force(self, nginx: ConfigMap) -> Mapping[str, HostClaim]:
        bundle = generated.read_file(nginx).bundle
        if self._served is None or self._served[0] != bundle:
            try:
                text = unpack(bundle.data, bundle.binary_data, expected_digest=bundle.digest)
            except BundleError:
                text = ""
            hosts = {
                host: HostClaim(namespace)
                for host, namespace in served_hosts(text).items()
                if host_fault(host) is None and DNS_LABEL.fault(namespace) is None
            }
            self._served = (bundle, hosts)
        return self._served[1]

    def _hosts_in_tables(self, known: Known) -> Mapping[str, HostClaim]:
        texts = tuple(
            part.data.get(TABLE_KEY, "")
            for (family, _), part in sorted(known.items(), key=lambda item: item[0])
            if family == HOSTS.family
        )
        if self._looked_up is None or self._looked_up[0] != texts:
            found = [host for text in texts for host in _hosts_of(text)]
            owners = {host.host: HostClaim(host.paths[0].route.namespace) for host in found if host.paths}
            self._looked_up = (texts, owners)
        return self._looked_up[1]


def _hosts_of(text: str) -> Iterable[HostRecord]:
    try:
        return parse_hosts(text)
    except ShardError:
        return ()
