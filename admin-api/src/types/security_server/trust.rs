//! What the global configuration says.
