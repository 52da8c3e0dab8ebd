//! What is decided where the evidence fails: `accidents [--json]`. Exits with 1 where a release passed without evidence.
#![expect(clippy::print_stdout, reason = "its output is its purpose")]

use coalmine_sim::accidents::{Cell, matrix, table, word};
use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let json = match std::env::args().nth(1).as_deref() {
        None => false,
        Some("--json") => true,
        Some(other) => return Err(format!("`{other}` is not known: accidents [--json]").into()),
    };
    let cells = matrix().await?;
    let wrong = cells.iter().filter(|cell| cell.decided.is_pass() || !cell.broken.is_empty()).count();
    if json {
        let cells: Vec<serde_json::Value> = cells.iter().map(as_json).collect();
        println!("{}", serde_json::json!({ "cells": cells, "wrong": wrong, "holds": wrong == 0 }));
    } else {
        print!("{}", table(&cells));
        println!("{} cells, {wrong} with a pass or a broken law", cells.len());
    }
    Ok(if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn as_json(cell: &Cell) -> serde_json::Value {
    serde_json::json!({
        "accident": cell.accident,
        "no_data": word(cell.then),
        "decided": cell.decided.to_string(),
        "is_pass": cell.decided.is_pass(),
        "why": cell.why,
        "minutes": cell.minutes,
        "broken_laws": cell.broken,
    })
}
