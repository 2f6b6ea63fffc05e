"""What an app imports: the reader of lists, and the pseudonyms of visitors. Needs `redis` only."""
