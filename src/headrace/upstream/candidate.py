"""What is qualified and rolled out: a set of components, each with where it came from. Values only."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import NewType

from headrace.upstream.build import Build, BuildId, BuildVerdict, Source
from headrace.upstream.errors import CandidateError
from headrace.upstream.model import CommitId

CandidateId = NewType("CandidateId", str)
"""'c-' and the first 12 digits of the digest of what it is made of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One part of a candidate."""

    name: str
    """What it is in the appliance: `linux` (or, as an image that boots in QEMU, `linux-image`) or `nginx`."""
    recipe: str
    recipe_digest: str
    build_id: BuildId
    upstream: str
    commit: CommitId | None
    """Upstream's commit below the patches; None when the source was no repository."""
    version: str
    """The version that the source says it is."""
    patches: tuple[str, ...]
    config_sha256: str
    toolchain: str
    toolchain_digest: str
    output_sha256: str
    """Equal digests are equal components, whatever commit they came from."""
    outputs: Mapping[str, str]
    """Name -> SHA-256."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A release to be: its components, Headrace itself, and the template of nginx's configuration."""

    candidate_id: CandidateId
    made_at_s: float
    components: tuple[Component, ...]
    headrace_version: str
    nginx_template_sha256: str = ""

    def component(self, name: str) -> Component | None:
        """The component of this name, if the candidate has one."""
        return next((one for one in self.components if one.name == name), None)


def make_component(name: str, build: Build, source: Source | None = None) -> Component:
    """A component from a build; `source` says which of the build's sources is meant (the latest when None).

    Raises:
        CandidateError: the build failed, or is a build of another component.
    """
    if build.verdict is not BuildVerdict.BUILT:
        raise CandidateError(f"{build.build_id} did not build: it cannot be part of a candidate")
    if name not in {output.name for output in build.outputs}:
        raise CandidateError(
            f"{build.build_id} is a build of {build.provenance.inputs.recipe}: it has no file {name!r}"
        )
    chosen = source or build.sources[-1]
    provenance = build.provenance
    return Component(
        name=name,
        recipe=provenance.inputs.recipe,
        recipe_digest=provenance.inputs.recipe_digest,
        build_id=build.build_id,
        upstream=chosen.upstream,
        commit=chosen.commit,
        version=chosen.version,
        patches=chosen.patches,
        config_sha256=provenance.config_sha256,
        toolchain=provenance.toolchain,
        toolchain_digest=provenance.inputs.toolchain_digest,
        output_sha256=build.output_sha256,
        outputs={output.name: output.sha256 for output in build.outputs},
    )


def make_candidate(
    components: tuple[Component, ...], *, headrace_version: str, nginx_template_sha256: str, now_s: float
) -> Candidate:
    """Name a set of components. The same set always has the same id, whenever it is made.

    Raises:
        CandidateError: no component, or two of one name.
    """
    names = [component.name for component in components]
    if not names or len(set(names)) != len(names):
        raise CandidateError("a candidate needs at least one component, and each only once")
    ordered = tuple(sorted(components, key=lambda component: component.name))
    parts = [asdict(component) for component in ordered]
    body = json.dumps([parts, headrace_version, nginx_template_sha256], sort_keys=True)
    return Candidate(
        candidate_id=CandidateId(f"c-{hashlib.sha256(body.encode()).hexdigest()[:12]}"),
        made_at_s=now_s,
        components=ordered,
        headrace_version=headrace_version,
        nginx_template_sha256=nginx_template_sha256,
    )
