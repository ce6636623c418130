//! See `causeway_fuzz::rest`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| causeway_fuzz::rest(data));
