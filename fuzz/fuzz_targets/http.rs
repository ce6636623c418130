//! See `causeway_fuzz::http`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| causeway_fuzz::http(data));
