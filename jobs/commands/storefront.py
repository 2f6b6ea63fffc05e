"""storefront: a shop's page, whose lists change while one clicks."""

import typer

from jobs.commands.shared import load_settings, note, say


def register(app: typer.Typer) -> None:
    app.command()(storefront)


def storefront() -> None:
    """Show the shop's items and a visitor's lists on a page of this machine. Ctrl-C stops it.

    Needs a running system with items, active shelves and the rankings job. Clicks go through a collector at the same
    address. The page shows each list as it changes, the reason of each item, and a panel to sell an item out or to pin
    it. LIVESHELF_STOREFRONT_PORT chooses its port. `liveshelf demo` opens one by itself.

    \b
    Example:
      liveshelf up && liveshelf items load eshop2008 && liveshelf shelves publish --activate
      liveshelf submit all && liveshelf storefront
    """
    from jobs.cluster import runtime
    from jobs.lab.storefront import serve

    settings = load_settings()
    serve.check(settings)
    running = runtime.attach(settings, ("kafka", "redis"))
    serve.serve(settings, running, lambda url: say(f"the shop's page: {url}"))
    note("stopped")
