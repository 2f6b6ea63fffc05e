"""Read files of sessions, and make the arrays that training reads."""
