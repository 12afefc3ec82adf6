//! The `gridfront` program.
use std::process::ExitCode;

fn main() -> ExitCode {
    gridfront::cli::main()
}
