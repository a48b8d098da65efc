"""The shop's search engine, as Lucene's."""
