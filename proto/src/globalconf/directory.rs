//! The signed directory: one MIME document listing parts and their hashes [PR-GCONF §3.2; trust dossier §2.5].
