//! See `causeway_fuzz::client_hello`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| causeway_fuzz::client_hello(data));
