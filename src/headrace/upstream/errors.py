"""What can go wrong with upstreams and their patch queues."""

from headrace.base.errors import HeadraceError


class UpstreamError(HeadraceError):
    """An upstream, its patch queue or a report about it cannot be used as it is."""

    exit_code = 61


class PatchError(UpstreamError):
    """A patch file is malformed; the message names file and line."""


class RecipeError(UpstreamError):
    """A build recipe cannot be used; the message names file, key and mend."""


class CandidateError(UpstreamError):
    """These builds do not make a candidate."""
