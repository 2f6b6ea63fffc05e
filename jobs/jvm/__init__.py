"""The one piece of Java: the event contract's check in the JVM, compiled at set-up from the source beside this file."""
