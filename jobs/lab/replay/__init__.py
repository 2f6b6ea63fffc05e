"""Send recorded events, or real shops' clicks, into the events topic."""
