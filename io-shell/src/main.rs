//! The door of the command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    io_shell::cli::main(std::env::args_os())
}
