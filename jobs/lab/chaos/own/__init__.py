"""A cluster of an operator's own, and what hurts it: nothing in it is liveshelf's but the jobs."""
