//! See `causeway_fuzz::xml`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| causeway_fuzz::xml(data));
