//! See `causeway_fuzz::hash_chain`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| causeway_fuzz::hash_chain(data));
