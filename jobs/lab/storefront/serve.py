"""Start the storefront: the shop's pages and a collector of its own at one address, until a signal comes."""

import secrets
from collections.abc import Callable
from pathlib import Path

from jobs.cluster.runtime import Runtime
from jobs.collect import serve as collecting
from jobs.errors import ServiceError, SettingsError
from jobs.lab.storefront.app import WRITES, Shop
from jobs.lab.storefront.catalogue import Catalogue
from jobs.lab.storefront.explain import Explainer
from jobs.lab.storefront.guard import Guard, WithCollector, origins
from jobs.lab.storefront.lists import Lists
from jobs.lab.storefront.live import Live
from jobs.lab.storefront.panel import Panel
from jobs.operate.facts import contracts_of
from jobs.settings import Settings
from liveshelf import key_file
from liveshelf.pseudonyms import Pseudonyms, add_key

HOST = "127.0.0.1"
COLLECTOR = "/collect"
KEY_NAME = "storefront"


def check(settings: Settings) -> None:
    """Raise SettingsError in the profile `secure`: whoever can open a port of this machine could use the panel."""
    if settings.profile == "secure":
        fix = "LIVESHELF_PROFILE=plain, for a show; a shop's own pages read lists with the SDK"
        raise SettingsError("the storefront has no login, and the profile is secure", fix)


def serve(settings: Settings, running: Runtime, started: Callable[[str], None]) -> None:
    """Serve until SIGTERM or Ctrl-C. `started` is called with the page's address once it answers.

    Raises SettingsError, and ServiceError if Kafka doesn't answer, the port is taken or there is no catalogue.
    """
    check(settings)
    with collecting.listening(HOST, settings.storefront_port, "storefront_port") as bound:
        own = origins(bound.getsockname()[1])
        keys, key = _keys(settings)
        as_collector = settings.model_copy(
            update={
                "pseudonym_keys": keys,
                "collector_write_keys": _write_keys(settings, key),
                "collector_origins": ",".join(own),
            }
        )
        contracts = contracts_of(settings)
        catalogue = Catalogue(running.kafka_bootstrap, contracts)
        if not catalogue.items:
            catalogue.close()
            raise ServiceError("the shop has no items", "liveshelf items load eshop2008, or a file of your own")
        collector = collecting.collector_of(as_collector, running.kafka_bootstrap, list)
        panel = Panel(settings, running.kafka_bootstrap, contracts)
        lists = Lists(running.redis_url, Pseudonyms.read(keys), panel.versions, settings.ranker.shelf)
        ends: list[Callable[[], bool]] = []  # the server is made of what asks whether it ends
        live = Live(lists, catalogue, lambda: any(end() for end in ends))
        token = secrets.token_urlsafe(24)
        explainer = Explainer(settings, running, contracts)
        shop = Shop(
            key, token, catalogue, live, panel, lambda *asked: explainer.explain(lists.pseudonym(asked[0]), *asked[1:])
        )
        app = Guard(WithCollector(shop.app(), collector.app(), COLLECTOR), own, token, WRITES)
        server = collecting.server_of(collector, app)
        ends.append(lambda: server.should_exit)
        try:
            collecting.run([(server, bound)], collector, lambda: started(f"{own[0]}/"))
        finally:
            catalogue.close()


def folder(settings: Settings) -> Path:
    """Return where the storefront keeps its keys."""
    return settings.state_dir / "storefront"


def _keys(settings: Settings) -> tuple[Path, str]:
    """Return the file of keys for pseudonyms, the shop's own if it has one, and a new write key for this run."""
    if settings.pseudonym_keys:
        return settings.pseudonym_keys, secrets.token_urlsafe(24)
    file = folder(settings) / "pseudonym.keys"
    if not file.is_file():
        add_key(file)
    return file, secrets.token_urlsafe(24)


def _write_keys(settings: Settings, key: str) -> Path:
    file = folder(settings) / "write.keys"
    key_file.write(file, [(KEY_NAME, key)])
    return file
