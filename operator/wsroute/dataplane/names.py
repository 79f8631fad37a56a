"""Names of the objects that travel between operator and agents, and of their labels and annotations."""

from typing import Final

ANNOTATIONS: Final = "wsroute.dev/"
"""What all of our annotations begin with."""

BALANCER_LABEL: Final = "wsroute.dev/balancer"
"""On every generated object, and on what an administrator adds for a balancer: the name of the balancer."""

ROLE_LABEL: Final = "wsroute.dev/role"
"""What a ConfigMap is for: one of the ROLE_ values."""

ROLE_NGINX: Final = "nginx"
"""The version in force; a pod that starts loads it."""

ROLE_NEXT: Final = "nginx-next"
"""The version under canary, which one pod loads; it holds no file and an empty version while nothing is tried. With
strategy Restart there is no canary: it holds the last version that all pods got ready with."""

ROLE_AGENTS: Final = "agents"
"""What the agents acknowledged, one key for each pod."""

ROLE_TEMPLATE: Final = "template"
"""An administrator's main template (``spec.nginx.templateRef``): read, and never written."""

ROLE_STATE: Final = "state"
"""What the operator remembers of the balancer (``cluster.balancer_state``); no agent reads it."""

ROLE_TLS: Final = "tls"
"""A Secret with the files of certificates; agents follow all of a balancer's by their names."""

TLS_TYPE: Final = "wsroute.dev/certificates"
"""The type of these Secrets. A Secret's type can't be changed, so that no apply of ours takes in somebody else's."""

TLS_SECRETS: Final = 4
"""How many of them a balancer has: a fixed number, so that roles can name them."""

TLS_SUFFIX: Final = ".pem"
"""What a file is called by in them, behind the SHA-256 of its content in hex."""

CERTIFICATES_ANNOTATION: Final = "wsroute.dev/certificates"
"""On either version: the files of certificates that it names, separated by blanks, without their suffix. A pod has to
have them before nginx loads it."""

SOURCES_ANNOTATION: Final = "wsroute.dev/sources"
"""On the Secrets with certificates: a JSON object that tells the last good file that came from each Secret of an
administrator, by the Secret's name."""

ROLE_TABLE: Final = "table"
"""A part of the tables of a Dynamic balancer (``dataplane.shards``)."""

TABLE_FORMAT_ANNOTATION: Final = "wsroute.dev/table-format"
"""On a part of a table: the format of its lines. On the version in force and on the next one: the format that this
version's nginx looks up, nothing where its routes stand in its file."""

SHARD_ANNOTATION: Final = "wsroute.dev/shard"
"""On a part of a table: which one it is, as ``r 3/8`` for the fourth of eight parts with hosts (``e``: endpoints). A
family is whole when all parts of one count are there."""

WRITTEN_ANNOTATION: Final = "wsroute.dev/written"
"""On a part of a table: when it was written, by the operator's clock, in seconds since 1970. Agents measure with it how
long a change takes; nothing goes by it."""

VERSION_ANNOTATION: Final = "wsroute.dev/version"
"""The version of the configuration that the ConfigMap holds."""

DIGEST_ANNOTATION: Final = "wsroute.dev/digest"
"""SHA-256 of the file's bytes, in hex."""

STRUCTURE_ANNOTATION: Final = "wsroute.dev/structure"
"""A name that versions share which differ in nothing but endpoints: what nginx accepted of one, it accepts of the
others, so that they need no canary."""

MADE_FOR_ANNOTATION: Final = "wsroute.dev/made-for"
"""What the balancer itself was when a version was made: its uid, its generation and the operator's version. Once nginx
has taken that, a refusal is the fault of what changed since."""

EPOCH_ANNOTATION: Final = "wsroute.dev/epoch"
"""The Lease's transition count of the leader that wrote it."""

DEFINITION_ANNOTATION: Final = "wsroute.dev/definition"
"""On the version in force: the uid of the CustomResourceDefinition whose routes it serves."""

CANARY_ANNOTATION: Final = "wsroute.dev/canary"
"""On the next version: the name of the pod that loads it.

A pod's aim is always a function of the two ConfigMaps: the next version when this names the pod and it has not refused
that version; else the version in force, when its turn has come or nothing is loaded yet. So a canary that is taken back
goes back to the version in force."""

PODS_ANNOTATION: Final = "wsroute.dev/pods"
"""On the version in force: the pods whose turn it is, separated by blanks, or ``*`` for all of them."""

LISTENER_PORTS_ANNOTATION: Final = "wsroute.dev/ports"
"""The ports of the configuration's listeners, separated by blanks: where agents count the clients' sockets."""

MAX_DRAINING_ANNOTATION: Final = "wsroute.dev/max-draining-generations"
"""On the version in force: how many generations of old workers a pod may have that hold sockets."""

DRAIN_TIMEOUT_ANNOTATION: Final = "wsroute.dev/drain-timeout"
"""On the version in force: how long old workers may live, in milliseconds."""

RELOADED_ANNOTATION: Final = "wsroute.dev/reloaded"
"""On either version: when it was published, and so brought reloads about; RFC 3339."""

RELOAD_REASON_ANNOTATION: Final = "wsroute.dev/reload-reason"
"""On either version: what made it necessary."""

CHANGES_ANNOTATION: Final = "wsroute.dev/reload-changes"
"""On either version: why it took another one's place, as a JSON list of reasons and what they are about
(``dataplane.reload_changes``)."""

SETTINGS_ANNOTATION: Final = "wsroute.dev/settings"
"""On either version: what it says of the balancer itself, as a JSON object. So an operator that did not make it can
tell what differs."""

INTERVAL_ANNOTATION: Final = "wsroute.dev/interval-from"
"""On either version: the reload from which the next interval between reloads counts. That is ``RELOADED_ANNOTATION``,
but for versions that could not wait, which take nothing from what waits already."""

REFUSED_ANNOTATION: Final = "wsroute.dev/refused"
"""On the version in force, with strategy Restart: the version whose rollout stalled, and why, or nothing. It is not
tried again while it is the one that is wanted."""

FIELD_MANAGER: Final = "wsroute"
"""The operator's field manager for server-side apply."""


def nginx_name(balancer: str) -> str:
    """The ConfigMap with the version in force."""
    return f"{balancer}-nginx"


def next_name(balancer: str) -> str:
    """The ConfigMap with the version under canary."""
    return f"{balancer}-nginx-next"


def state_name(balancer: str) -> str:
    """The ConfigMap with what the operator remembers."""
    return f"{balancer}-state"


def agents_name(balancer: str) -> str:
    """The ConfigMap in which agents acknowledge."""
    return f"{balancer}-agents"


def tls_name(balancer: str, number: int) -> str:
    """One of the Secrets with certificates."""
    return f"{balancer}-tls-{number}"


def tls_number(file: str) -> int:
    """Which one of them holds a file."""
    return int(file[:8], 16) % TLS_SECRETS


def table_name(balancer: str, family: str, index: int) -> str:
    """The ConfigMap with a part of a table."""
    return f"{balancer}-table-{family}{index}"
