//! See `causeway_fuzz::transport`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| causeway_fuzz::transport(data));
