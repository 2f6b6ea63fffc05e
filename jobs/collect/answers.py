"""Answer clients with counts and codes, never with anything that they sent."""

import math

import msgspec
from starlette.responses import Response

from jobs.collect.admit import Judged
from jobs.collect.refusal import RequestRefusedError

HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


RETRYABLE = (429, 503)


def refused(refusal: RequestRefusedError) -> Response:
    """Answer `{"error": code}`."""
    headers = dict(HEADERS)
    if refusal.status in RETRYABLE:
        headers["retry-after"] = str(max(1, math.ceil(refusal.retry_after_s)))
    else:
        headers["connection"] = "close"
    return Response(msgspec.json.encode({"error": refusal.code}), refusal.status, headers, "application/json")


def taken(judged: Judged) -> Response:
    """Answer with the verdict on each event. `rejected` names events by their place in the body, from 0."""
    rejected = [{"index": place, "reason": why.reason, "field": why.field} for place, why in judged.rejected.items()]
    document = {"accepted": len(judged.admitted), "suppressed": judged.suppressed, "rejected": rejected}
    return Response(msgspec.json.encode(document), 200, HEADERS, "application/json")
