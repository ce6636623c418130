//! Tokens, keys, certificate signing requests and certificates.
