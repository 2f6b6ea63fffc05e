"""liveshelf: real-time, session-based personalization for shops, on Flink."""

import sys


def main() -> None:
    """Run the command line, or exit with 2 and say what to install.

    A bare `pip install liveshelf` is for apps that read.
    """
    from jobs.operate import extras

    missing = extras.missing("run")
    if missing:
        print(f"error: commands need {len(missing)} more packages: pip install 'liveshelf[run]'", file=sys.stderr)
        sys.exit(2)
    from jobs.cli import app

    app()
