//! What inputs look like where the bytes alone do not say it; the targets read it, `seeds.rs` writes it.

/// What divides two inputs in one.
pub(crate) const DIVIDER: &[u8] = b"\0\0--\0\0";
/// Boundary of the multiparts.
pub(crate) const BOUNDARY: &str = "xtopfuzz";
