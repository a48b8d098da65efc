"""Episodes on disk: JSON lines, a record for every episode, in docs/records.md's form."""
