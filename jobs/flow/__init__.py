"""What both jobs share: their source, their configuration, and the notes of what was submitted."""
