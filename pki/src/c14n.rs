//! Canonical XML: inclusive 1.0 and exclusive 1.0, both without comments, of one element of a parsed tree.
