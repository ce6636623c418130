//! Who calls: API keys, users with passwords, sessions, and from where and how often they may.
//!
//! ```text
//! <folder>/            the store of API keys, see host::store
//! ```
//!
//! Users are in a file of their own, which people edit or `causeway user` writes; see [`users`]. Sessions live in memory and end with the
//! process. Deleting the folder revokes all API keys.

mod keys;
mod rates;
mod sessions;
pub mod users;
mod whitelist;

pub use keys::{ApiKeys, KeyError, KeyInfo, NewKey};
pub use rates::Rates;
pub use sessions::{Session, Sessions};
pub use users::Users;
pub use whitelist::Whitelist;
