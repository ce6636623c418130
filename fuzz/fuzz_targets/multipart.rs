//! See `causeway_fuzz::multipart`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| causeway_fuzz::multipart(data));
