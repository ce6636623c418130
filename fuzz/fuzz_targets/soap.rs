//! See `causeway_fuzz::soap`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| causeway_fuzz::soap(data));
