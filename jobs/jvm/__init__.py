"""The Java part: its sources (`src/liveshelf`), how they are compiled into one jar, and the jars that they need."""
