"""The settings of the ranker: typed here and nowhere else, held by what needs them.

`Settings` takes its fields for the ranker from this struct. So a new line here is a new variable `LIVESHELF_…`, is
saved with the job, and reaches the operator. This module needs msgspec only, because every worker imports it.
"""

from typing import Annotated

from msgspec import Meta, Struct


class RankerSettings(Struct, frozen=True, kw_only=True):
    """What the ranker is told. A field with a description is a setting; the others are worked out from settings."""

    model_dir: str  # absolute path of a bundle, or of a registry of versions
    shelves_dir: str = ""  # absolute path of the published versions of shelves; "" in jobs of releases without shelves
    model_public_key: str = ""  # the key's text, not its file, so that it is the same on every machine; "" for none
    shelf: Annotated[
        str, Meta(description="which of a visitor's lists the ranker writes: the last part of its key")
    ] = "home"
    list_size: Annotated[int, Meta(ge=1, le=100, description="items in a ranked list")] = 20
    list_ttl_s: Annotated[int, Meta(gt=0, description="expiry of a list, counted from its event time")] = 30 * 86_400
    session_gap_s: Annotated[
        int, Meta(gt=0, description="pause after which a visitor's next event starts a session")
    ] = 1800
    model_threads: Annotated[
        int, Meta(ge=1, description="threads that score a batch, for each slot: free cores divided by slots")
    ] = 2
