fn main() {
    // Before any thread exists: the spawner forks without exec.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == belay_server::process::SPAWNER_ARGUMENT) {
        belay_server::process::spawner_main();
    }
}
