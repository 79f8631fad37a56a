"""What the operator remembers of a balancer, between its ConfigMap and the pass. Pure but for its memory."""

from collections.abc import Mapping
from dataclasses import replace

from wsroute.api.values import DNS_LABEL, host_fault
from wsroute.cluster.balancer_state import HOSTS_KEY, BalancerState, HostClaim, Reading, read_state, write_state
from wsroute.cluster.objects import ConfigMap, Key
from wsroute.controller import generated
from wsroute.dataplane import names
from wsroute.dataplane.bundle import Bundle, BundleError, unpack
from wsroute.nginx.served import served_hosts


class StateMemo:
    """Reads and writes the state of one balancer. It may hold 10,000 hosts, so that no text is read or made twice.

    What it remembers saves time and changes no result.
    """

    def __init__(self) -> None:
        self._read: tuple[Mapping[str, str], Reading] | None = None
        self._served: tuple[Bundle, Mapping[str, HostClaim]] | None = None
        self._completed: tuple[BalancerState, Mapping[str, HostClaim], BalancerState] | None = None
        self._written: tuple[BalancerState, Mapping[str, str]] | None = None

    def read(self, maps: Mapping[Key, ConfigMap], balancer: Key) -> BalancerState:
        """The state as it stands.

        When its ConfigMap was deleted, or spoiled by a hand, nobody shall lose a host to somebody who only waited for
        it: then the hosts of the version in force belong to those that are served there.
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
        served = self._hosts_in_force(nginx) if nginx is not None else {}
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
            self._read = (data, Reading(replace(rest, hosts=state.hosts), whole=True))
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
