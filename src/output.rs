//! What is printed. The standard library's macros panic where nobody reads any more or a disk is
//! full; here a reader that has enough changes nothing, and a full disk ends what was asked for.

use std::fmt;
use std::io::{self, ErrorKind, Write};

/// As `print!`.
macro_rules! say {
    ($($text:tt)*) => { $crate::output::say(format_args!($($text)*)) };
}

/// As `println!`.
macro_rules! say_line {
    () => { $crate::output::say(format_args!("\n")) };
    ($($text:tt)*) => { $crate::output::say(format_args!("{}\n", format_args!($($text)*))) };
}

/// As `eprintln!`.
macro_rules! complain {
    ($($text:tt)*) => { $crate::output::complain(format_args!($($text)*)) };
}

/// Writes to standard output. Where that cannot be done the process ends and says why, except where
/// the reader is gone: what is left to do then still decides the exit code.
pub(crate) fn say(text: fmt::Arguments<'_>) {
    match io::stdout().lock().write_fmt(text) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            complain(format_args!("barograph: cannot write the output: {error}"));
            std::process::exit(1);
        }
        _ => {}
    }
}

/// Writes a line to standard error; where that cannot be done there is nobody to tell.
pub(crate) fn complain(text: fmt::Arguments<'_>) {
    writeln!(io::stderr().lock(), "{text}").ok();
}
