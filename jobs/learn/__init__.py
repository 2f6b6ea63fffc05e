"""`liveshelf learn`: read the topic, decide when to learn, and activate a version that isn't worse."""
