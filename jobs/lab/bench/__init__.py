"""Measure liveshelf's jobs on a real cluster of one slot, beside the same jobs written as tutorials write them."""
