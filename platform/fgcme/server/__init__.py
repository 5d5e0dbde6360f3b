"""A classifier behind HTTP on this machine: questions in JSON, a page for people, and limits on all that comes in."""
