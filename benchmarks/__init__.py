"""Speed and memory beside peers: each row is a ratio of two ways to do the same work, measured alternately."""
