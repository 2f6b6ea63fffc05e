"""The way of a list: history → session → scores → rules → Redis and the log. Apps import only `reader`."""
