//! Certificate signing requests as certification services expect them [RFC 2986; trust dossier §3.2].
