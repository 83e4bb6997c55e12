"""Files that go into a model and files that come out."""
