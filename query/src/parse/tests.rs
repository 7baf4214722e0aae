//! Texts and what becomes of them.

use super::*;

fn message(text: &str) -> String {
    match parse_with(text, ParseOptions::ALL) {
        Ok(expr) => format!("parsed: {expr}"),
        Err(error) => error.to_string(),
    }
}
