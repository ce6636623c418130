//! The `.metadata` files beside stored configuration parts: one JSON object each [trust dossier §2.9].
