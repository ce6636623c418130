//! See `causeway_fuzz::asic`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| causeway_fuzz::asic(data));
