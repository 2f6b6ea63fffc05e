"""The collector: events from browsers and servers over HTTP into Kafka, pseudonymous, with consent, acknowledged.

`app` reads top to bottom what a POST goes through: `access` (origin, key, consent) → `rates` → `body` (limits, bytes) →
`admit` (contract, time, pseudonyms, `enrich`) → `deliver` (Kafka's confirmation). `guard` holds slow clients off,
`serve` starts and stops it all, `tracker.js` is what pages load.
"""
