//! The program: see [`belay_server::cli`].

fn main() -> std::process::ExitCode {
    belay_server::cli::main()
}
