//! Prints every generated file as JSON, for `cargo xtask codegen`.

use std::io::Write as _;

fn main() -> anyhow::Result<()> {
    let json = serde_json::to_vec(&coalmine::generate::all())?;
    std::io::stdout().write_all(&json)?;
    Ok(())
}
