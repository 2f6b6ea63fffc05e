"""`liveshelf learn`: reads the topic, says when to learn, and puts what isn't worse to work."""
