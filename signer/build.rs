//! Compiles `proto/signer.proto`, in Rust alone: no `protoc` is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto/signer.proto");
    let files = protox::compile(["proto/signer.proto"], ["proto"])?;
    // Messages hold PINs and are not to be printed: the ones that do have their own `Debug`.
    prost_build::Config::new()
        .bytes([".causeway.signer.v1.Sign.message"])
        .skip_debug([".causeway.signer.v1.Login", ".causeway.signer.v1.ChangePin"])
        .compile_fds(files)?;
    Ok(())
}
