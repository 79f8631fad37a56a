"""Why the version that goes to a balancer's pods is another one than what runs there, and where it need not be. Pure
but for the balancer's memo.

What was in force is known from its annotations, whoever made it: so an operator that starts anew, or one of another
release, tells the same.
"""

from collections.abc import Mapping
from dataclasses import replace

from wsroute.cluster.objects import ConfigMap
from wsroute.controller import generated
from wsroute.controller.givens import Givens
from wsroute.controller.making import Made
from wsroute.controller.plan import NOTHING
from wsroute.controller.release import Released
from wsroute.controller.standing import unpacked
from wsroute.controller.versions import KnownVersion
from wsroute.dataplane.bundle import FILE_KEY, Bundle
from wsroute.dataplane.reload_changes import (
    Change,
    Reason,
    Settings,
    changed_routes,
    changed_settings,
    settings_from_text,
    settings_of,
    shortened,
)
from wsroute.nginx.meaning import same_meaning
from wsroute.nginx.reading import route_changes


def adopt(given: Givens, made: Made) -> Made:
    """What is wanted, as the version that stands where that says the same to nginx: then there is nothing to load.

    Its comments are others: another release's, or those of an edited main template.
    """
    for known in (given.nginx, given.tried):
        standing = generated.read_published(known)
        if made.version == standing.version:
            return made
        if known is None or not standing.version or standing.structure == made.structure:
            continue  # nothing stands there, or other endpoints do
        text = _standing_text(given, made, known, standing.version)
        if text is not None:
            given.memo.versions.add(standing.version, made.configuration)
            beside = {name: script for name, script in made.file.bundle.data.items() if name != FILE_KEY}
            stands = {name: text for name, text in known.data.items() if name == FILE_KEY}
            bundle = Bundle({**stands, **beside}, known.binary_data, generated.read_file(known).bundle.digest)
            # Its structure stays the other release's: it is not what tells that endpoints alone are others.
            file = replace(made.file, bundle=bundle, structure=standing.structure)
            return replace(made, version=standing.version, file=file)
    return made


def _standing_text(given: Givens, made: Made, known: ConfigMap, version: str) -> str | None:
    """The text that stands, if it says the same as what is wanted."""
    pair = (version, made.version)
    before, alike = given.memo.standing.alike
    if before == pair:
        return alike
    text, wanted = unpacked(generated.read_file(known)), unpacked(made.file)
    same = text is not None and wanted is not None and same_meaning(text, wanted, versions=pair)
    given.memo.standing.alike = (pair, text if same else None)
    return text if same else None


def known_settings(given: Givens, made: Made | None, unmade: KnownVersion | None) -> Mapping[str, Settings]:
    """What versions say of a Dynamic balancer itself: those that stand, those that pods still run and that were made
    here, and the wanted one, whose name is empty where no file can be made of it."""
    wished = made.configuration if made is not None else unmade.configuration if unmade is not None else None
    if wished is None or wished.shell is None:
        return {}
    found = {}
    for version in {pod.said.version for pod in given.pods if pod.said is not None}:
        known = given.memo.versions.configuration(version)
        if known is not None:
            found[version] = settings_of(known, release="")
    for config_map in (given.nginx, given.tried):
        settings = generated.read_settings(config_map)
        if settings is not None:
            found[generated.read_published(config_map).version] = settings
    if made is None:
        return {**found, NOTHING: settings_of(wished, release="")}
    wanted = settings_from_text(made.file.settings)
    return found if wanted is None else {**found, made.version: wanted}


def explain(given: Givens, made: Made, released: Released) -> tuple[Change, ...]:
    """What is new in the version that goes to the rollout, against the one in force."""
    published, versions = given.published, given.memo.versions
    standing = {each.version for each in (published.in_force, published.trial) if each is not None}
    if published.in_force is None or released.version in standing:
        return ()
    before, after = versions.get(published.in_force.version), versions.get(released.version)
    file = made.file if released.version == made.version else given.memo.standing.files.get(released.version)
    if after is None or file is None:
        return ()
    settings = settings_from_text(file.settings) or {}
    changes = changed_settings(generated.read_settings(given.nginx), settings)
    if before is not None:
        changes += changed_routes(before.configuration, after.configuration)
    elif made.configuration.shell is None:
        changes += route_changes(generated.read_text(given.nginx), unpacked(file) or "")
    return shortened(changes) or (Change(Reason.UNKNOWN, ""),)
