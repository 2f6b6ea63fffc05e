"""Collect events over HTTP: check them, replace ids by pseudonyms, heed consent, and answer when Kafka has them.

`app` reads top to bottom. A POST goes through `networks` (whose address), `access` (origin, key, consent), `limits`,
`body` (limits, bytes), `admit` (contract, time, pseudonyms, `enrich`), `newcomers`, `consent` (what is written, and
`others`) and `deliver` (Kafka's confirmation). `guard` closes slow connections, `serve` starts and stops the collector,
and `tracker.js` is the script that pages load.
"""
