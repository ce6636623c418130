//! Operations that send management requests.
