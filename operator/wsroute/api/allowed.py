"""The models of what a balancer lets routes do: which namespaces they may come from, and which hosts they may claim."""

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from wsroute.api.fields import (
    HostPattern,
    LabelKey,
    LabelMap,
    Labels,
    LabelValue,
    Model,
    Rule,
    many,
)


class LabelRequirement(Model):
    """One requirement of a label selector."""

    key: LabelKey = Field(description="Key of the label.")
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"] = Field(
        description="In and NotIn compare with values, Exists and DoesNotExist look at the key alone."
    )
    values: tuple[LabelValue, ...] = many("atomic", "Values for In and NotIn.", minimum=0, maximum=16, default=())

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="(self.operator in ['In', 'NotIn']) == (has(self.values) && self.values.size() > 0)",
            sentence="In and NotIn need at least one value, Exists and DoesNotExist take none",
            broken=lambda item: [".values"] if (item.operator in ("In", "NotIn")) != bool(item.values) else [],
            field=".values",
        ),
    )

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether labels meet the requirement, as ``metav1.LabelSelectorRequirement`` means it."""
        if self.operator in ("Exists", "DoesNotExist"):
            return (self.key in labels) == (self.operator == "Exists")
        return (labels.get(self.key) in self.values) == (self.operator == "In")

    def __str__(self) -> str:
        """As ``kubectl --selector`` writes it."""
        match self.operator:
            case "Exists":
                return self.key
            case "DoesNotExist":
                return f"!{self.key}"
            case _:
                return f"{self.key} {self.operator.lower()} ({','.join(self.values)})"


class LabelSelector(Model):
    """Which namespaces are meant: those that meet all requirements."""

    match_labels: Annotated[Labels, LabelMap(16)] = Field(default=(), description="Labels that a namespace must have.")
    match_expressions: tuple[LabelRequirement, ...] = many(
        "atomic", "Further requirements.", minimum=0, maximum=16, default=()
    )

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel=(
                "(has(self.matchLabels) && self.matchLabels.size() > 0) || "
                "(has(self.matchExpressions) && self.matchExpressions.size() > 0)"
            ),
            sentence="An empty selector would select every namespace: write from: All if that is meant",
            broken=lambda selector: [] if selector.match_labels or selector.match_expressions else [""],
        ),
    )

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether an object with these labels is selected."""
        return all(labels.get(key) == value for key, value in self.match_labels) and all(
            requirement.matches(labels) for requirement in self.match_expressions
        )

    def __str__(self) -> str:
        """As ``kubectl --selector`` writes it."""
        return ",".join([*(f"{key}={value}" for key, value in self.match_labels), *map(str, self.match_expressions)])


def _selector_misplaced(namespaces: "AllowedNamespaces") -> Iterator[str]:
    if (namespaces.from_ == "Selector") != (namespaces.selector is not None):
        yield ".selector"


class AllowedNamespaces(Model):
    """The namespaces whose routes a balancer serves."""

    from_: Literal["Same", "All", "Selector"] = Field(
        alias="from",
        description="Same: the balancer's own namespace. All: every namespace. Selector: those that selector selects.",
    )
    selector: LabelSelector | None = Field(
        default=None, description="Selects namespaces by their labels; with from: Selector."
    )

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            # Backquotes would be right for Go; CEL escapes nothing but its own reserved words, and "from" is none.
            cel="(self.from == 'Selector') == has(self.selector)",
            sentence="A selector must be given with from: Selector, and only then",
            broken=_selector_misplaced,
            field=".selector",
        ),
    )


class AllowedRoutes(Model):
    """Which routes a balancer serves."""

    namespaces: AllowedNamespaces | None = Field(
        default=None, description="Namespaces whose routes are served. The balancer's own when left out."
    )
    hosts: tuple[HostPattern, ...] = many(
        "set",
        "Hosts that routes may claim beside <name>--<namespace>.<domain>: a host, *.example.com (one label) or *.",
        minimum=0,
        maximum=64,
        default=(),
    )
    max_per_namespace: Annotated[int, Field(ge=1, le=100_000)] | None = Field(
        default=None,
        description="How many routes of one namespace are served, the oldest first. Unlimited when left out.",
    )
    manual_endpoints: bool = Field(
        default=False,
        description=(
            "Whether routes may use EndpointSlices that were not made by Kubernetes, or whose endpoints are no pods of "
            "the Service's namespace. false when left out."
        ),
    )
    host_network_endpoints: bool = Field(
        default=False,
        description=(
            "Whether routes may use pods with hostNetwork, whose addresses are those of their nodes. Slices that were "
            "not made by Kubernetes never get sockets to nodes. false when left out."
        ),
    )

    @property
    def from_namespaces(self) -> Literal["Same", "All", "Selector"]:
        """Where routes may come from."""
        return self.namespaces.from_ if self.namespaces else "Same"

    def admits_namespace(self, namespace: str, *, labels: Mapping[str, str], own: str) -> bool:
        """Whether routes of a namespace with these labels are served by a balancer that lives in ``own``."""
        if self.namespaces is None or self.namespaces.from_ == "Same":
            return namespace == own
        if self.namespaces.from_ == "All":
            return True
        return self.namespaces.selector is not None and self.namespaces.selector.matches(labels)
